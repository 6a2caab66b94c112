"""Observations for which the ceiling of all VAEs is known: `vaebench.oracle.ceiling` against closed forms."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from vaebench.calibration.grade import Answer, Grade, graded
from vaebench.config.seeding import generator
from vaebench.oracle.ceiling import CeilingProblem, linear_value
from vaebench.oracle.spectrum import Spectrum
from vaebench.records.record import Estimate

NAME = "the ceiling of all VAEs"

TOLERANCE = 1e-5
"""The bracket that is asked for, in nats; the value may be wrong by it."""

SAMPLE, SAMPLE_GAIN = 400, 0.05
"""Observations of a normal distribution, and nats that so few of them may leave below the linear optimum."""


def ceiling_grades() -> Iterator[Grade]:
    """One grade for every known answer."""
    for quantity, (measured, low, high) in _answers().items():
        answer = Answer(quantity, low, high)
        yield from graded(NAME, "ceiling", [answer], [Estimate(quantity, measured)], TOLERANCE)


def _answers() -> dict[str, tuple[float, float, float]]:
    """Measured value, and the bounds of the exact one."""
    a, tau = 2.0, 2.5
    pair, corners = torch.tensor([[a], [-a]]), torch.eye(6)
    equal = torch.full((9, 3), 0.7)
    normal = torch.randn(SAMPLE, 1, generator=generator(0, "ceiling"), dtype=torch.float64)
    linear = linear_value(Spectrum.of(normal).eigenvalues, 0.3)
    exact = _two_points(a, tau)
    return {
        "two points": (_value(pair, tau), exact, exact),
        "onset of two points": (CeilingProblem.gaussian(pair).onset, a * a, a * a),
        "equal observations": (_value(equal, 0.1), 0.0, 0.0),
        "simplex of six, τ → 0": (_value(corners, 1e-3), math.log(6), math.log(6)),
        "Gaussian data: near the linear optimum": (_value(normal, 0.3), linear - SAMPLE_GAIN, linear),
        "total collapse beyond the onset": (_value(pair, 5.0), a * a / 10, a * a / 10),
    }


def _value(x: Tensor, tau: float) -> float:
    return CeilingProblem.gaussian(x).at(tau, TOLERANCE).upper


def _two_points(a: float, tau: float) -> float:
    """(a² + m²)/2τ − log cosh(am/τ) with m = a tanh(am/τ)."""
    m = a
    for _ in range(10_000):
        m = a * math.tanh(a * m / tau)
    return (a * a + m * m) / (2 * tau) - math.log(math.cosh(a * m / tau))
