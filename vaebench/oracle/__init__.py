"""Exact answers for linear VAEs, and bounds for deep ones, in float64. Everything that measures is tested against them.

- `spectrum`: mean and principal directions of the data.
- `optimum`: the optimum of a linear β-VAE on this data, the forecast of its active units, and the optimum of a linear
  autoencoder: plain, denoising, or with weight decay.
- `probabilistic_pca`: the linear-Gaussian model, its evidence and its posterior.
- `ceiling`: what no VAE passes on given observations, however deep: the value of the best mixture. `solver` searches
  for it, and `mixture` is one mixture of components, with its steps of EM and Newton.
"""

from vaebench.oracle.optimum import Forecast as Forecast
from vaebench.oracle.optimum import LinearAutoencoder as LinearAutoencoder
from vaebench.oracle.optimum import StationaryPoint as StationaryPoint
from vaebench.oracle.optimum import beta_optimum as beta_optimum
from vaebench.oracle.optimum import forecast as forecast
from vaebench.oracle.optimum import learned_variance_optimum as learned_variance_optimum
from vaebench.oracle.optimum import maximum_likelihood as maximum_likelihood
from vaebench.oracle.spectrum import Spectrum as Spectrum
