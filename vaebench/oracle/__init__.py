"""What a linear VAE must come to, in closed form and in float64: the ruler everything is graded against.

From the data's `spectrum` to the `optimum` of a linear β-VAE and the forecast of its active units; `probabilistic_pca`
is the model there, its evidence and its posterior; `stationary` has the other points where the gradient vanishes.
"""

from vaebench.oracle.optimum import (
    Forecast,
    StationaryPoint,
    beta_optimum,
    forecast,
    learned_variance_optimum,
    maximum_likelihood,
)
from vaebench.oracle.spectrum import Spectrum

__all__ = [
    "Forecast",
    "Spectrum",
    "StationaryPoint",
    "beta_optimum",
    "forecast",
    "learned_variance_optimum",
    "maximum_likelihood",
]
