"""Measurements for the ledger that no training of a study gives. Each writes one record, with checksum and provenance.

A measurement is a function of a seed, or of a trained run and a seed. Its record names it in the configuration, so the
id of the record is the hash of what was measured, as for a run.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Normal

from vaebench.calibration import autoencoder_identities
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
from vaebench.models.parts.posteriors import kl_from_standard_normal
from vaebench.models.vae import VAE
from vaebench.oracle import Spectrum, maximum_likelihood
from vaebench.records import provenance, record
from vaebench.records.record import Estimate, Record, identity
from vaebench.reporting.ledger.verdict import MEASUREMENT
from vaebench.sweeps.reevaluate import trained
from vaebench.training import memory

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


DRAWS = 4096
"""K, of the bounds whose gap to the evidence is measured."""


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
    "spectrum": spectrum,
    "iwae_gap": iwae_gap,
    "linear_denoising": autoencoder_identities.linear_denoising,
    "linear_subspace": autoencoder_identities.linear_subspace,
    "regularised_linear": autoencoder_identities.regularised_linear,
    "contraction": autoencoder_identities.contraction,
    "constructed_codes": constructed_codes,
}
"""Measurements that need no trained run, by the name in their configuration."""

OF_RUNS: dict[str, Callable[[Run, Path, int], Iterator[Estimate]]] = {
    "fault_without_draws": fault_without_draws,
    "fault_within_batches": fault_within_batches,
}
"""Measurements of every run of a study."""


def measured(name: str, seed: int, study: Study | None, runs: Path) -> Iterator[Record]:
    """The records of a measurement: one, or one for each run of a study.

    Args:
        name: of the measurement.
        seed: of all randomness.
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
    """The slope of the least-squares line."""
    centre = sum(x) / len(x)
    return sum((a - centre) * b for a, b in zip(x, y, strict=True)) / sum((a - centre) ** 2 for a in x)


# -- faults in print: numbers as public code computes them, wrong on purpose; tests/museum shows the right ones --------

BATCH = 50
"""The observations of a batch, as in public code; log 50 = 3.91."""


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
