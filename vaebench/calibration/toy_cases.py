"""Toy cases: inputs whose answers follow by counting or from a short formula.

They calibrate the metrics and estimators for which a linear VAE has no closed form. There are images of one grey level,
codes that a classifier must assign in a known way, weights with a known tail, and images whose edits can be counted.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from vaebench.calibration.grade import Answer, Grade, graded
from vaebench.config.registry import METRICS, Spec
from vaebench.config.seeding import generator
from vaebench.data.loaders import Batch
from vaebench.evaluation.estimators.erased_or_shifted import ErasedOrShifted
from vaebench.evaluation.measure import estimate
from vaebench.models.draws import Draws
from vaebench.models.linear_vae import LinearVAE
from vaebench.oracle.ceiling import CeilingProblem, linear_value
from vaebench.oracle.spectrum import Spectrum
from vaebench.records.record import Estimate

NAME = "toy cases"

ROUNDING = 1e-6  # allowed relative rounding error. torchmetrics computes image scores with constants in float32
TAILS = (0.2, 1.2)  # tail shapes of the weights: with a finite variance, and without a mean

TAIL_DRAWS, TAIL_OBSERVATIONS = 20_000, 400

SIDE, COUNT = 6, 40  # side and number of the images that are erased and shifted
EDIT_ROUNDING = 1e-12  # allowed relative rounding error of sums of a few dozen numbers in float64


class Case(NamedTuple):
    """Draws for one metric, and the exact answers that it must give."""

    metric: Spec  # its name or specification
    draws: Draws  # the input
    answers: tuple[Answer, ...]  # one for each estimate that is graded


def toy_case_grades() -> Iterator[Grade]:
    """Grade every case."""
    exact = (*grey_images(), *labelled_codes(), *weights(), *separate_posteriors(), *factor_codes())
    for case in (*exact, *map(pareto_tail, TAILS)):
        metric = METRICS.build(case.metric)
        metric.update(case.draws)
        estimates = [outcome for outcome in metric.compute() if isinstance(outcome, Estimate)]
        yield from graded(NAME, type(metric).__name__, case.answers, estimates, ROUNDING)
    estimates = estimate(_row_sums(), [_rows_of_ink()], [ErasedOrShifted(share=0.5)], 0).estimates
    yield from graded(NAME, ErasedOrShifted.__name__, _edit_answers(), estimates, EDIT_ROUNDING)


def grey_images() -> Iterator[Case]:
    """Images of grey level a = 0.4, reconstructed with grey level b = 0.5.

    The mean squared error of a pixel is 0.01, so the PSNR is 20 dB. The images have no structure, so only the luminance
    term of SSIM remains: (2ab + C)/(a² + b² + C) with C = 0.01² (Wang et al. 2004).
    """
    a, b, c = 0.4, 0.5, 0.01**2
    draws = _draws(x=torch.full((3, 1, 16, 16), a).double(), reconstruction=torch.full((3, 1, 16, 16), b).double())
    yield Case("PSNR", draws, (Answer("psnr", 20.0),))
    yield Case("SSIM", draws, (Answer("ssim", (2 * a * b + c) / (a**2 + b**2 + c)),))


def labelled_codes() -> Iterator[Case]:
    """Two clusters of 200 codes on a line; the label is the cluster, but one label in ten is swapped.

    A classifier that predicts the cluster has an accuracy of 0.9. Among five neighbours at most two labels are swapped,
    so nearest neighbours predict the cluster as well. A model that predicts the cluster has an error of 10 %.
    """
    index = torch.arange(400)
    cluster = (index >= 200).long()
    swapped = (index % 10 == 5).long()
    code = torch.where(cluster == 1, 100.0, -100.0) + 0.01 * index
    draws = _draws(code=code[:, None].double(), label=cluster ^ swapped)
    yield Case("LinearProbe", draws, (Answer("linear_probe_accuracy", 0.9),))
    yield Case("NearestNeighbours", draws, (Answer("nearest_neighbours_accuracy", 0.9),))
    predicted = draws._replace(logits=torch.stack([1 - cluster, cluster], 1).double())
    yield Case("ClassificationError", predicted, (Answer("classification_error", 10.0),))
    used = torch.tensor([[1.0, 0.0, -2.0, 0.0], [0.5, 0.0, 0.0, 0.0]]).double()  # two units of four are never used
    yield Case("Sparsity", _draws(code=used), (Answer("l0", 1.5), Answer("dead_units", 2.0)))


def factor_codes() -> Iterator[Case]:
    """All combinations of three factors with 4 values each, and codes that say them in a known way.

    A unit for each factor has every score 1. Two factors turned into one another by 45° have a gap of 0, since both
    units know as much of either; the third factor keeps its own, so that MIG and SAP are 1/3. Two copies of a unit have
    no gap. A constant code has 0.
    """
    grid = torch.cartesian_prod(*[torch.arange(4)] * 3)
    own = grid.double()
    turned = torch.stack([own[:, 0] + own[:, 1], own[:, 0] - own[:, 1], own[:, 2]], 1)
    for code, mig, sap in ((own, 1.0, 1.0), (turned, 1 / 3, 1 / 3), (own.repeat(1, 2), 0.0, 0.0), (0 * own, 0.0, 0.0)):
        draws = _draws(code=code, factors=grid)
        yield Case("MIG", draws, (Answer("mig", mig),))
        yield Case("SAP", draws, (Answer("sap", sap),))
    alone = _draws(code=own, factors=grid)
    yield Case("Modularity", alone, (Answer("modularity", 1.0),))
    yield Case("FactorVAEScore", alone, (Answer("factor_vae_score", 1.0),))
    yield Case("BetaVAEScore", alone, (Answer("beta_vae_score", 1.0),))
    perfect = ("dci_disentanglement", "dci_completeness", "dci_informativeness")
    yield Case("DCI", alone, tuple(Answer(name, 1.0) for name in perfect))
    constant = _draws(code=0 * own, factors=grid)
    yield Case("Modularity", constant, (Answer("modularity", 0.0),))
    yield Case("FactorVAEScore", constant, (Answer("factor_vae_score", 0.0),))
    yield Case("DCI", constant, tuple(Answer(name, 0.0) for name in perfect[:2]))


def weights() -> Iterator[Case]:
    """One draw in four has the weight 3, the others 1: E[w] = 3/2, E[w²] = 3, effective sample size K (3/2)²/3."""
    log_weight = torch.zeros(40, 6, dtype=torch.float64)
    log_weight[::4] = math.log(3)
    draws = _draws(log_weight=log_weight)
    effective = 40 * 1.5**2 / 3
    names = ("effective_sample_size_median", "effective_sample_size_5%")
    yield Case("EffectiveSampleSize", draws, tuple(Answer(name, effective) for name in names))
    bounds = tuple(Answer(name, math.log(1.5)) for name in ("iwae_4", "iwae_40"))
    yield Case({"name": "IWAE", "k": (4, 40)}, draws, bounds)
    yield Case("ELBO", draws, (Answer("elbo", math.log(3) / 4),))


def separate_posteriors() -> Iterator[Case]:
    """Posteriors at 100 positions that do not overlap, with two observations at each; both units have the same mean.

    z identifies the position and nothing else, so I(x; z) = log 100. Each unit determines the position of the other, so
    the total correlation is log 100 too. The aggregate KL is the rate minus I(x; z).
    """
    spread, information = 0.01, math.log(100)
    code = torch.arange(-50, 50, dtype=torch.float64).repeat(2)[:, None].expand(-1, 2)
    noise = torch.randn(code.shape, generator=generator(0, "places"), dtype=torch.float64)
    posterior, z = Normal(code, torch.full_like(code, spread)), code + spread * noise
    log_qz, log_pz = (q.log_prob(z).sum(-1)[None] for q in (posterior, Normal(torch.zeros_like(code), 1.0)))
    draws = Draws(code, None, posterior, code, z[None], torch.zeros_like(log_pz), log_pz, log_qz)
    rest = float((log_qz - log_pz).mean()) - information
    parts = (Answer("mutual_information", information), Answer("aggregate_kl", rest))
    yield Case("RateDecomposition", draws, parts)
    yield Case("TotalCorrelation", draws, (Answer("total_correlation", information),))


def pareto_tail(k: float) -> Case:
    """Weights from a generalised Pareto distribution of shape k, by inversion of its distribution function.

    The estimate from M draws of the tail has the standard deviation (1 + k)/√M. The prior pulls it towards 0.5 like ten
    more draws. The median over n observations has 1.25/√n of this standard deviation.
    """
    u = torch.rand(TAIL_DRAWS, TAIL_OBSERVATIONS, generator=generator(0, f"tail {k}"), dtype=torch.float64)
    size = int(3 * TAIL_DRAWS**0.5)
    expected, scatter = (size * k + 5) / (size + 10), 1.25 * (1 + k) / math.sqrt(size * TAIL_OBSERVATIONS)
    median = Answer("pareto_k_median", expected, scatter=scatter)
    share = Answer("pareto_k_above_0.7", float(k > 0.7))
    return Case("ParetoK", _draws(log_weight=((1 - u) ** -k / k).log()), (median, share))


def _rows_of_ink() -> Batch:
    """Images with two adjacent pixels in one row; the images of class 1 have the same two in an upper row too."""
    x, label = torch.zeros(COUNT, 1, SIDE, SIDE, dtype=torch.float64), torch.arange(COUNT) // 2 % 2
    x[..., 4, 1:3] = 1
    x[label == 1, :, 1, 1:3] = 1
    return Batch(x, label)


def _row_sums() -> LinearVAE:
    """A linear VAE whose code is the sum of each row, and whose decoder is the transpose of its encoder."""
    model = LinearVAE((1, SIDE, SIDE), latent_dim=SIDE).double()
    sums = torch.eye(SIDE, dtype=torch.float64).repeat_interleave(SIDE, 1)
    encoder, decoder = (layer for layer in model.modules() if isinstance(layer, nn.Linear))
    with torch.no_grad():
        for layer, weight in ((encoder, sums), (decoder, sums.mT)):
            layer.weight.copy_(weight)
            layer.bias.zero_()
    return model


def _edit_answers() -> Iterator[Answer]:
    """Half of the ink is erased: the upper of two rows, or the only row. A shift changes two pixels of a row.

    - Pixels: the squared error is 2 (erased) against 4 (shifted) for two rows, and 2 against 2 for one row, a tie.
    - Code: a shift does not change the sums of rows. An erased row changes one sum by 2.
    - Reconstruction: the decoder sets all six pixels of a row to its sum 2. So |2 − x|² = 4·2² + 2·1² = 18 for a row
      that is kept, and 2 for an erased row. The erased image is always nearer.
    - Class: an image of two rows becomes an image of one row. An empty image is nearer to one row than to two.

    Variances divide by COUNT − 1.
    """
    for by in ("squared_error", "cross_entropy"):
        yield Answer(f"wrong_by_{by}", 0.75)
    yield Answer("wrong_by_reconstruction", 1.0)
    yield Answer("wrong_by_code", 0.0)
    yield Answer("wrong_by_posterior", 0.0)
    spread = COUNT / (COUNT - 1) / 4  # the variance of each of the two pixels in the upper row
    yield Answer("shifted_in_pixels", math.sqrt((4 + 2) / 2 / (2 * 2 * spread)))
    yield Answer("erased_in_pixels", math.sqrt(2 / (2 * 2 * spread)))
    yield Answer("shifted_in_code", 0.0)
    yield Answer("erased_in_code", math.sqrt(4 / (2 * 4 * spread)))
    for name, share in (("unaltered", 1.0), ("shifted", 1.0), ("erased", 0.5)):
        yield Answer(f"{name}_as_class", share)


def _draws(**given: Any) -> Draws:
    """Draws with the given tensors, and zeros elsewhere; `code` is the posterior's mean, and z."""
    n = given["log_weight"].shape[1] if "log_weight" in given else len(next(iter(given.values())))
    code = given.pop("code", torch.zeros(n, 1, dtype=torch.float64))
    x = given.pop("x", torch.zeros(n, 1, dtype=torch.float64))
    log_weight = given.pop("log_weight", torch.zeros(1, n, dtype=torch.float64))
    none = torch.zeros_like(log_weight)
    posterior = Normal(code, torch.ones_like(code))
    return Draws(x, None, posterior, x, code[None], log_weight, none, none)._replace(**given)


# -- observations for which the ceiling of all VAEs has a closed form (vaebench.oracle.ceiling) ------------------------

CEILING = "the ceiling of all VAEs"

BRACKET = 1e-5  # the bracket that is asked for, in nats; the value may be wrong by it

SAMPLE, SAMPLE_GAIN = 400, 0.05
"""Observations of a normal distribution, and nats that so few of them may leave below the linear optimum."""


def ceiling_grades() -> Iterator[Grade]:
    """One grade for every known answer."""
    for quantity, (measured, low, high) in _ceilings().items():
        answer = Answer(quantity, low, high)
        yield from graded(CEILING, "ceiling", [answer], [Estimate(quantity, measured)], BRACKET)


def _ceilings() -> dict[str, tuple[float, float, float]]:
    a, tau = 2.0, 2.5
    pair, corners = torch.tensor([[a], [-a]]), torch.eye(6)
    equal = torch.full((9, 3), 0.7)
    normal = torch.randn(SAMPLE, 1, generator=generator(0, "ceiling"), dtype=torch.float64)
    linear = linear_value(Spectrum.of(normal).eigenvalues, 0.3)
    exact = _two_points(a, tau)
    return {
        "two points": (_ceiling_at(pair, tau), exact, exact),
        "onset of two points": (CeilingProblem.gaussian(pair).onset, a * a, a * a),
        "equal observations": (_ceiling_at(equal, 0.1), 0.0, 0.0),
        "simplex of six, τ → 0": (_ceiling_at(corners, 1e-3), math.log(6), math.log(6)),
        "Gaussian data: near the linear optimum": (_ceiling_at(normal, 0.3), linear - SAMPLE_GAIN, linear),
        "total collapse beyond the onset": (_ceiling_at(pair, 5.0), a * a / 10, a * a / 10),
    }


def _ceiling_at(x: Tensor, tau: float) -> float:
    return CeilingProblem.gaussian(x).at(tau, BRACKET).upper


def _two_points(a: float, tau: float) -> float:
    """(a² + m²)/2τ − log cosh(am/τ) with m = a tanh(am/τ)."""
    m = a
    for _ in range(10_000):
        m = a * math.tanh(a * m / tau)
    return (a * a + m * m) / (2 * tau) - math.log(math.cosh(a * m / tau))
