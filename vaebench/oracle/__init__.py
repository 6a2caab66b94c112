"""Exact answers for linear VAEs, and bounds for deep ones, in float64. Everything that measures is tested against them.

- `spectrum`: mean and principal directions of the data.
- `optimum`: the optimum of a linear β-VAE on this data, the forecast of its active units, and the optimum of a linear
  autoencoder: plain, denoising, or with weight decay.
- `probabilistic_pca`: the linear-Gaussian model, its evidence and its posterior.
- `ceiling`: what no VAE passes on given observations, however deep: the value of the best mixture. `solver` searches
  for it, and `mixture` is one mixture of components, with its steps of EM and Newton.
"""

from vaebench.oracle.optimum import (
    Forecast,
    LinearAutoencoder,
    StationaryPoint,
    beta_optimum,
    forecast,
    learned_variance_optimum,
    maximum_likelihood,
)
from vaebench.oracle.spectrum import Spectrum

__all__ = [
    "Forecast",
    "LinearAutoencoder",
    "Spectrum",
    "StationaryPoint",
    "beta_optimum",
    "forecast",
    "learned_variance_optimum",
    "maximum_likelihood",
]
