"""Measurements for the ledger that no training of a study gives. Each writes one record, with checksum and provenance.

A measurement is a function of a seed, or of a trained run and a seed. Its record names it in the configuration, so the
id of the record is the hash of what was measured, as for a run.

A linear autoencoder is brought to the minimum of the product's own objective by L-BFGS in float64. The expectation over
Gaussian noise is exact: the objective is quadratic in the noise, and the 2D vectors ±√D e_j have its first two moments.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.distributions import Normal

from vaebench.config import Run, Study
from vaebench.config.seeding import generator
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.base import data_root
from vaebench.data.datasets.published import MNIST, SCALE
from vaebench.data.datasets.synthetic import LinearGaussian
from vaebench.data.loaders import Batch
from vaebench.evaluation.estimators.base import mean_over_observations
from vaebench.evaluation.measure import build_metrics, evaluating, measure
from vaebench.evaluation.metrics.disentanglement import MIG, SAP, completeness, disentanglement, modularity
from vaebench.evaluation.stationarity import linear_vae_at
from vaebench.models.ae import AE, DenoisingAE, StochasticContractiveAE, squared_jacobian
from vaebench.models.parts.posteriors import kl_from_standard_normal
from vaebench.models.vae import VAE
from vaebench.oracle import Spectrum, maximum_likelihood
from vaebench.records import provenance, record
from vaebench.records.record import Estimate, Record, identity
from vaebench.reporting.ledger.verdict import MEASUREMENT
from vaebench.sweeps.trained import trained
from vaebench.training import memory

UNITS = 4  # L, of the linear autoencoders
NOISE = 0.8  # s, the standard deviation of the corruption of the linear denoising autoencoder
DECAY = 0.6  # λ, the weight decay: larger than the last eigenvalue that the units would keep, so that one of them dies
SMALL = 1e-3  # s → 0
LIKELIHOOD = {"name": "Gaussian", "variance": 0.5}  # −log p(x|z) = ‖x − x̂‖² + a constant
AFFINE: dict[str, Any] = {"latent_dim": UNITS, "network": "Affine", "likelihood": LIKELIHOOD}
SIGMOID: dict[str, Any] = AFFINE | {"network": {"name": "ActivatedMLP", "hidden": [], "activation": "Sigmoid"}}


def linear_denoising(seed: int) -> Iterator[Estimate]:
    """How far a linear denoising autoencoder is from U_L diag(λ/(λ + s²)) U_Lᵀ, as a share of its norm."""
    x, spectrum = _data()
    many, noises = _with_every_noise(x)
    model = DenoisingAE((x.shape[1],), seed, corruption={"name": "GaussianNoise", "std": NOISE}, **AFFINE).double()
    _minimise(model, lambda: -model.objective(many, noises).mean())
    values, directions = spectrum.eigenvalues[:UNITS], spectrum.directions[:, :UNITS]
    exact = directions * (values / (values + NOISE**2)) @ directions.mT
    yield Estimate("residual", float((_map(model) - exact).norm() / exact.norm()), n=len(x))
    yield Estimate("rank", float(torch.linalg.matrix_rank(_map(model), rtol=1e-6)))


def linear_subspace(seed: int) -> Iterator[Estimate]:
    """The squared error of a linear autoencoder over Σ_{i>L} λ_i, and the sine of its angle to the principal ones."""
    x, spectrum = _data()
    model = AE((x.shape[1],), seed, **AFFINE).double()
    _minimise(model, lambda: -model.objective(x, x).mean())
    with torch.no_grad():
        error = float((x - model.decoder(model.encoder(x))).square().sum(1).mean())
        span = torch.linalg.qr(_weights(model)[1])[0]
    yield Estimate("error_over_discarded", error / float(spectrum.eigenvalues[UNITS:].sum()), n=len(x))
    outside = span - spectrum.directions[:, :UNITS] @ (spectrum.directions[:, :UNITS].mT @ span)
    yield Estimate("sine_to_principal_subspace", float(torch.linalg.matrix_norm(outside, 2)), n=len(x))


def regularised_linear(seed: int) -> Iterator[Estimate]:
    """Under λ(‖W₁‖² + ‖W₂‖²): the squared singular values of the decoder against max(0, 1 − λ/σ²), and its axes."""
    x, spectrum = _data()
    model = AE((x.shape[1],), seed, **AFFINE).double()

    def loss() -> Tensor:
        decay = sum(weight.square().sum() for weight in _weights(model))
        return DECAY * decay - model.objective(x, x).mean()

    _minimise(model, loss)
    axes, singular, _ = torch.linalg.svd(_weights(model)[1].detach(), full_matrices=False)
    exact = (1 - DECAY / spectrum.eigenvalues[:UNITS]).clamp(min=0)
    yield Estimate("squared_singular_values", singular.square().tolist(), n=len(x))
    yield Estimate("largest_difference", float((singular.square() - exact).abs().max()), n=len(x))
    alive = int((exact > 0).sum())
    cosines = (axes[:, :alive] * spectrum.directions[:, :alive]).sum(0).abs()
    yield Estimate("smallest_cosine_of_axes", float(cosines.min()), n=len(x))
    yield Estimate("dead_units", float((singular.square() < 1e-6).sum()))


def contraction(seed: int) -> Iterator[Estimate]:
    """‖∂h/∂x‖² against its closed forms, and E‖h(x + sε) − h(x)‖² against s²‖∂h/∂x‖²; each as a ratio."""
    x, _ = _data()
    x = x[:50]

    def contractive(std: float, parts: dict[str, Any]) -> StochasticContractiveAE:
        corruption = {"name": "GaussianNoise", "std": std}
        return StochasticContractiveAE((x.shape[1],), seed, corruption=corruption, **parts).double()

    linear, sigmoid = (contractive(*each).requires_grad_(False) for each in ((NOISE, AFFINE), (SMALL, SIGMOID)))
    norm = float(_weights(linear)[0].square().sum())
    yield Estimate("linear_jacobian", float(squared_jacobian(linear.encoder, x).mean()) / norm, n=len(x))
    yield Estimate("linear_noise", _moved(linear, x) / (NOISE**2 * norm), n=len(x))
    code, weight = sigmoid.encoder(x), _weights(sigmoid)[0]
    exact = float(((code * (1 - code)).square() @ weight.square().sum(1)).mean())
    jacobian = float(squared_jacobian(sigmoid.encoder, x).mean())
    yield Estimate("sigmoid_jacobian", jacobian / exact, n=len(x))
    yield Estimate("sigmoid_small_noise", _moved(sigmoid, x) / (SMALL**2 * jacobian), n=len(x))


def moments(dim: int) -> Float64[Tensor, "K D"]:
    """K = 2D vectors with mean 0 and the covariance I exactly."""
    axes = torch.eye(dim, dtype=torch.float64) * dim**0.5
    return torch.cat([axes, -axes])


def _with_every_noise(x: Float64[Tensor, "N D"]) -> tuple[Float64[Tensor, "M D"], Float64[Tensor, "M D"]]:
    """Every observation with every one of the `moments`, M = 2ND."""
    noise = moments(x.shape[1])
    return x.repeat_interleave(len(noise), 0), noise.repeat(len(x), 1)


def _moved(model: StochasticContractiveAE, x: Tensor) -> float:
    """E‖h(x + sε) − h(x)‖² of the objective: what its penalty takes from the likelihood, at λ = 1."""
    many, noises = _with_every_noise(x)
    likelihood = model.likelihood.log_prob(model.decoder(model.encoder(many)), many)
    return float((likelihood - model.objective(many, noises)).mean())


def _data() -> tuple[Float64[Tensor, "N D"], Spectrum]:
    """Observations of eight dimensions with well separated eigenvalues, and their spectrum."""
    data = LinearGaussian(dim=8, latent_dim=5, noise=0.1, signal=(6.0, 3.0, 1.5, 0.4, 0.2))
    x = data.model.sample(200, generator(0, "identities of autoencoders"))[0].double()
    return x, Spectrum.of(x)


def _weights(model: AE) -> list[Tensor]:
    """The matrices of the encoder and of the decoder."""
    return [p for p in model.parameters() if p.ndim == 2]


def _map(model: AE) -> Tensor:
    first, second = _weights(model)
    return (second @ first).detach()


def _minimise(model: AE, loss: Callable[[], Tensor]) -> None:
    """Bring a model to a minimum, as far as float64 allows."""
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=5000, tolerance_grad=1e-12, tolerance_change=0.0, history_size=50,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)


FACTORS, VALUES, OBSERVATIONS = 5, 10, 3000
"""Factors that are independent and uniform, their values, and the observations."""


def constructed_codes(seed: int) -> Iterator[Estimate]:
    """DCI and modularity of importances made by hand; MIG and SAP of codes that are the factors, empty, or doubled."""
    one, two = np.eye(10), np.concatenate([np.eye(5), np.eye(5)], 1)
    yield Estimate("dci_diagonal", disentanglement(one))
    yield Estimate("dci_empty", disentanglement(np.zeros((10, 10))))
    yield Estimate("dci_one_code_of_two_factors", disentanglement(two))
    yield Estimate("dci_two_codes_of_one_factor", completeness(two.T))
    yield Estimate("modularity_diagonal", modularity(one))
    yield Estimate("modularity_one_empty_code", modularity(np.diag([1.0, 1.0, 0.0])))
    yield Estimate("modularity_one_code_of_two_factors", modularity(two))
    random = np.random.RandomState(seed)
    factors = random.randint(VALUES, size=(OBSERVATIONS, FACTORS)).astype(np.int64)
    codes = {"identity": factors, "empty": np.zeros_like(factors), "doubled": np.concatenate([factors, factors], 1)}
    for name, code in codes.items():
        for score in (MIG(), SAP()):
            (value,) = score.scores(code.astype(np.float64), factors, random)
            yield Estimate(f"{type(score).__name__.lower()}_{name}", float(value), n=OBSERVATIONS)


DRAWS = 4096  # K, of the bounds whose gap to the evidence is measured


def spectrum(seed: int) -> Iterator[Estimate]:
    """The covariance of MNIST's 60 000 training images, grey levels in [0, 1]. Nothing is random."""
    images = MNIST().halves(data_root())[0].x
    found = Spectrum.of(images, SCALE)
    yield Estimate("eigenvalues", found.eigenvalues[:5].tolist(), n=len(images))
    trace = float(found.eigenvalues.sum())
    yield Estimate("trace", trace, n=len(images))
    yield Estimate("squared_norm", trace + float(found.mean.square().sum()), n=len(images))


def iwae_gap(seed: int) -> Iterator[Estimate]:
    """log p(x) − IWAE-k of a linear VAE: over k where q(z|x) is a little wrong, and its size where q(z|x) is exact.

    The variances of q(z|x) are 1.2 times those of the exact posterior. The slope is fitted to log gap over log k.
    """
    data = DataModule(LinearGaussian(dim=16, latent_dim=4, noise=1.0, n=20_000), batch_size=500)
    data.setup()
    model = linear_vae_at(maximum_likelihood(Spectrum.of(data.train.x), 4))
    x, sizes = data.test.x.double(), [4, 8, 16, 32]
    evidence = float(model.density.log_prob(x).mean())
    for wrong in (False, True):
        if wrong:
            with torch.no_grad():
                model.log_variance.add_(math.log(1.2))
        batches = [Batch(part) for part in x.split(200)]
        bounds = measure(model, batches, build_metrics([{"name": "IWAE", "k": sizes}]), DRAWS, seed).estimates
        gaps = [evidence - e.value for e in bounds if not isinstance(e.value, list)]
        if not wrong:
            yield Estimate("largest_gap_of_exact_posterior", max(gaps, key=abs), n=len(x))
            continue
        yield Estimate("gap", gaps, n=len(x))
        yield Estimate("slope", _slope([math.log(k) for k in sizes], [math.log(gap) for gap in gaps]), n=len(x))


def fault_without_draws(run: Run, folder: Path, seed: int) -> Iterator[Estimate]:
    """The "ELBO" of a trained run with z = the posterior's mean in evaluation, as a loss."""
    model, data = trained(run, folder)
    assert isinstance(model, VAE)
    with evaluating(model):
        values = torch.cat([elbo_without_draws(model, batch.x) for batch in data.batches(run.evaluate.split)])
    yield mean_over_observations("elbo_without_draws", values)


def fault_within_batches(run: Run, folder: Path, seed: int) -> Iterator[Estimate]:
    """The mutual information of a trained run, estimated within batches of 50."""
    model, data = trained(run, folder)
    assert isinstance(model, VAE)
    with evaluating(model):
        x = torch.cat([batch.x for batch in data.batches(run.evaluate.split)])
        whole = x[: len(x) // BATCH * BATCH].split(BATCH)
        yield Estimate("information_within_batches", information_within_batches(model, whole, seed), n=len(x))


ALONE: dict[str, Callable[[int], Iterator[Estimate]]] = {
    each.__name__: each
    for each in (
        *(spectrum, iwae_gap, linear_denoising, linear_subspace, regularised_linear, contraction, constructed_codes),
    )
}
"""Measurements that need no trained run, by the name in their configuration."""

OF_RUNS: dict[str, Callable[[Run, Path, int], Iterator[Estimate]]] = {
    each.__name__: each for each in (fault_without_draws, fault_within_batches)
}
"""Measurements of every run of a study."""


def measured(name: str, seed: int, study: Study | None, runs: Path) -> Iterator[Record]:
    """The records of a measurement: one, or one for each run of a study.

    Args:
        study: whose trained runs are measured, for a measurement of runs.
        runs: the folder of all studies' runs.

    Raises:
        ValueError: if there is no measurement of that name, or if it needs a study and has none, or the reverse.
        FileNotFoundError: if a run of the study was not trained.
    """
    if name not in {*ALONE, *OF_RUNS}:
        raise ValueError(f"no measurement {name!r}; there is {', '.join(sorted([*ALONE, *OF_RUNS]))}")
    if (study is None) != (name in ALONE):
        wanted = "no study" if name in ALONE else "a study whose runs are trained, e.g. conf/paper/pytorch_vae.yaml"
        raise ValueError(f"{name}: expected {wanted}; see `python -m vaebench measure --help`")
    words = f"python -m vaebench measure {name}{'' if study is None else f' {study.path}'} --seed {seed}"
    if study is None:
        yield _record(name, {}, seed, list(ALONE[name](seed)), words)
        return
    for run in study.runs:
        found = list(OF_RUNS[name](run, runs / study.place / run.id, seed))
        yield _record(name, {"run": run.config}, seed, found, words)


def write(made: Record, folder: Path) -> Path:
    """Write a record as `<measurement>-<id>.json` into a folder."""
    path = folder / f"{made.config[MEASUREMENT]}-{made.id}.json"
    record.write(made, path)
    return path


def _record(name: str, about: dict[str, Any], seed: int, estimates: list[Estimate], command: str) -> Record:
    config = {MEASUREMENT: name, **about, "seed": seed}
    origin = {"command": command, **provenance.here()}
    return Record(
        id=identity(config),
        study="exact",
        status="done",
        config=config,
        estimates=estimates,
        provenance=origin | memory.hardware("cpu"),
    )


def _slope(x: list[float], y: list[float]) -> float:
    centre = sum(x) / len(x)
    return sum((a - centre) * b for a, b in zip(x, y, strict=True)) / sum((a - centre) ** 2 for a in x)


# -- faults in print: numbers as public code computes them, wrong on purpose; tests/museum shows the right ones --------

BATCH = 50  # the observations of a batch, as in public code; log 50 = 3.91


@torch.no_grad()
def elbo_without_draws(vae: VAE, x: Float[Tensor, "B *event"]) -> Float[Tensor, " B"]:
    """log p(x|z) − KL(q(z|x)‖p(z)) at z = the posterior's mean: no bound, since the spread of z costs nothing.

    pytorch/examples returned the mean in evaluation until 2018, and many copies still do.
    """
    posterior = _diagonal(vae, x)
    return vae.decode(posterior.mean).log_prob(x) - kl_from_standard_normal(posterior).sum(-1)


@torch.no_grad()
def information_within_batches(vae: VAE, batches: Iterable[Float[Tensor, "B *event"]], seed: int = 0) -> float:
    """Mean over batches of E_x E_q[log q(z|x)] − E[log q(z)], q(z) being the mixture of that batch: at most log B."""
    values, stream = [], generator(seed, "museum")
    for x in batches:
        q = _diagonal(vae, x)
        z = q.mean + q.stddev * torch.randn(q.mean.shape, generator=stream, dtype=x.dtype).to(x.device)
        density = Normal(q.mean[None], q.stddev[None]).log_prob(z[:, None]).sum(-1)
        log_qz = torch.logsumexp(density, dim=1) - math.log(len(x))
        values.append(float(density.diagonal().mean() - log_qz.mean()))
    return sum(values) / len(values)


def _diagonal(vae: VAE, x: Tensor) -> Normal:
    """q(z|x), which public code of these faults takes for a diagonal Gaussian."""
    posterior = vae.encode(x)
    if not isinstance(posterior, Normal):
        raise ValueError(f"expected the posterior Diagonal, got {type(posterior).__name__}; set model.posterior")
    return posterior
