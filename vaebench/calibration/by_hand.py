"""Cases made by hand, for instruments that a linear VAE has no closed form for.

Pictures of one grey value each, codes at places that say what a classifier must answer, weights of a known tail, and
pictures whose alterations can be counted.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Normal

from vaebench.calibration.alterations import alteration_grades
from vaebench.calibration.answers import Answer
from vaebench.calibration.grade import Grade
from vaebench.calibration.grading import graded
from vaebench.config.registry import METRICS, Spec
from vaebench.config.seeding import generator
from vaebench.models.draws import Draws
from vaebench.records.record import Estimate

NAME = "by hand"

ROUNDING = 1e-6
"""Relative; the constants of torchmetrics' picture scores are float32."""

TAILS = (0.2, 1.2)
"""Shapes of the weights' tails: harmless, and without a mean."""

TAIL_DRAWS, TAIL_OBSERVATIONS = 20_000, 400


class Case(NamedTuple):
    """Draws for one diagnostic, and what it must say of them."""

    diagnostic: Spec
    draws: Draws
    answers: tuple[Answer, ...]


def hand_grades() -> Iterator[Grade]:
    """The grades of every case."""
    for case in (*pictures(), *codes(), *weights(), *places(), *map(tail, TAILS)):
        metric = METRICS.build(case.diagnostic)
        metric.update(case.draws)
        estimates = [outcome for outcome in metric.compute() if isinstance(outcome, Estimate)]
        yield from graded(NAME, type(metric).__name__, case.answers, estimates, ROUNDING)
    yield from alteration_grades(NAME)


def pictures() -> Iterator[Case]:
    """Grey of 0.5 where there was grey of 0.4. The mean squared error of a pixel is 0.01, hence 20 dB; neither has any
    structure, so SSIM is its luminance term alone, (2ab + C)/(a² + b² + C) with C = 0.01² (Wang et al. 2004)."""
    a, b, c = 0.4, 0.5, 0.01**2
    draws = _draws(x=torch.full((3, 1, 16, 16), a).double(), reconstruction=torch.full((3, 1, 16, 16), b).double())
    yield Case("PSNR", draws, (Answer("psnr", 20.0),))
    yield Case("SSIM", draws, (Answer("ssim", (2 * a * b + c) / (a**2 + b**2 + c)),))


def codes() -> Iterator[Case]:
    """Two classes of 200 codes on a line, far apart, one label in ten swapped: whoever answers by the place is right in
    nine of ten, and no five neighbours have more than two swapped among them."""
    place = torch.arange(400)
    side = (place >= 200).long()
    swapped = (place % 10 == 5).long()
    code = torch.where(side == 1, 100.0, -100.0) + 0.01 * place
    draws = _draws(code=code[:, None].double(), label=side ^ swapped)
    yield Case("LinearProbe", draws, (Answer("linear_probe_accuracy", 0.9),))
    yield Case("NearestNeighbours", draws, (Answer("nearest_neighbours_accuracy", 0.9),))


def weights() -> Iterator[Case]:
    """One draw in four weighs three times the others: the mean is 3/2, the effective sample size (3/2)²/3 of all."""
    log_weight = torch.zeros(40, 6, dtype=torch.float64)
    log_weight[::4] = math.log(3)
    draws = _draws(log_weight=log_weight)
    effective = 40 * 1.5**2 / 3
    answers = (Answer("effective_sample_size_median", effective), Answer("effective_sample_size_5%", effective))
    yield Case("EffectiveSampleSize", draws, answers)
    yield Case(
        {"name": "IWAE", "k": (4, 40)}, draws, (Answer("iwae_4", math.log(1.5)), Answer("iwae_40", math.log(1.5)))
    )
    yield Case("ELBO", draws, (Answer("elbo", math.log(3) / 4),))


def places() -> Iterator[Case]:
    """Two observations at each of 100 places, the same in both units, hundreds of posterior widths apart: z tells the
    place and nothing else, and either unit tells all of the other. I = TC = log 100, and the aggregate KL is the rest
    of the rate."""
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


def tail(k: float) -> Case:
    """Weights of a generalised Pareto distribution of shape k, by inversion. The estimate of shape from M draws has a
    standard deviation of (1 + k)/√M and is drawn to 0.5 by the weight of ten; a median over n observations scatters by
    1.25/√n of that, and five times so much is allowed."""
    u = torch.rand(TAIL_DRAWS, TAIL_OBSERVATIONS, generator=generator(0, f"tail {k}"), dtype=torch.float64)
    size = int(3 * TAIL_DRAWS**0.5)
    expected, scatter = (size * k + 5) / (size + 10), 1.25 * (1 + k) / math.sqrt(size * TAIL_OBSERVATIONS)
    median = Answer("pareto_k_median", expected, scatter=scatter)
    share = Answer("pareto_k_above_0.7", float(k > 0.7))
    return Case("ParetoK", _draws(log_weight=((1 - u) ** -k / k).log()), (median, share))


def _draws(
    x: Tensor | None = None,
    reconstruction: Tensor | None = None,
    code: Tensor | None = None,
    label: Tensor | None = None,
    log_weight: Tensor | None = None,
) -> Draws:
    """Draws that say what is given, and nothing elsewhere."""
    given = next(t for t in (x, code) if t is not None) if log_weight is None else log_weight[0]
    n = len(given)
    code = torch.zeros(n, 1, dtype=torch.float64) if code is None else code
    x = torch.zeros(n, 1, dtype=torch.float64) if x is None else x
    table = torch.zeros(1, n, dtype=torch.float64) if log_weight is None else log_weight
    none = torch.zeros_like(table)
    posterior = Normal(code, torch.ones_like(code))
    return Draws(x, label, posterior, x if reconstruction is None else reconstruction, code[None], table, none, none)
