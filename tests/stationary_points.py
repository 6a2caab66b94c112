"""All stationary points of a linear β-VAE, and which of them are maxima: a second implementation, for the tests alone.

W built from any subset of directions with λ > τ has zero gradient (Tipping & Bishop 1999, Lucas et al. 2019). It is a
maximum only if no kept λ lies below a discarded λ > τ. A zero column is stable only if every unused λ ≤ τ.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from vaebench.config.seeding import generator
from vaebench.evaluation.stationarity import extreme_eigenvalues
from vaebench.oracle.optimum import StationaryPoint
from vaebench.oracle.probabilistic_pca import LinearPosterior, ProbabilisticPCA, beta_elbo
from vaebench.oracle.spectrum import Spectrum

PRODUCTS = 1000
"""The largest number of Hessian-vector products. As many as parameters are always enough."""

Loss = Callable[[Float[Tensor, " P"]], Float[Tensor, ""]]


def stationary_point(
    spectrum: Spectrum, kept: Iterable[int], latent_dim: int, beta: float = 1.0, variance: float | None = None
) -> StationaryPoint:
    """The stationary point that keeps a chosen set of principal directions (0 is the first).

    Args:
        spectrum: of the data.
        kept: the directions that get a latent unit.
        latent_dim: L.
        beta: β > 0.
        variance: σ², or None for the stationary σ² = Σ_left λ / (D − β|kept|).

    Raises:
        ValueError: if there is no such point: more directions than units, or a direction with λ ≤ βσ².
    """
    chosen = tuple(kept)
    if len(set(chosen)) != len(chosen) or not set(chosen) <= set(range(spectrum.dim)) or len(chosen) > latent_dim:
        raise ValueError(f"expected at most {latent_dim} different directions of 0 … {spectrum.dim - 1}, got {chosen}")
    denominator = spectrum.dim - beta * len(chosen)
    if variance is None:
        variance = spectrum.total_without(chosen) / denominator if denominator > 0 else 0.0
    if not (beta > 0 and variance > 0):
        raise ValueError(f"expected β > 0 and σ² > 0, got β = {beta}, σ² = {variance}: no such point keeps {chosen}")
    if weak := [i for i in chosen if i >= spectrum.count_above(beta * variance)]:
        raise ValueError(f"directions {weak} do not exceed βσ² = {beta * variance:.4g}, so none has a column")
    return StationaryPoint(spectrum, chosen, latent_dim, float(beta), float(variance))


def spectrum_of(values: list[float]) -> Spectrum:
    """A spectrum whose directions are in general position, off the origin."""
    size, stream = len(values), torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(size, size, generator=stream, dtype=torch.float64))[0]
    return Spectrum.given(values, turn, torch.ones(size))


def every_point(values: list[float], latent_dim: int, beta: float, variance: float | None) -> list[StationaryPoint]:
    """All stationary points of a problem: its eigenvalues, L, β, σ² (None: stationary)."""
    spectrum, found = spectrum_of(values), []
    for kept in (kept for count in range(latent_dim + 1) for kept in combinations(range(spectrum.dim), count)):
        with suppress(ValueError):
            found.append(stationary_point(spectrum, kept, latent_dim, beta, variance))
    return found


def is_stable(point: StationaryPoint) -> bool:
    """Whether the point is a maximum, by the rule on eigenvalues above (σ² fixed or learned)."""
    spectrum = point.spectrum
    unused = [i for i in range(spectrum.count_above(point.tau)) if i not in point.kept]
    if not unused:
        return True
    if len(point.kept) < point.latent_dim:
        return False
    weakest = min(float(spectrum.eigenvalues[i]) for i in point.kept)
    return float(spectrum.eigenvalues[unused[0]]) <= weakest + spectrum.resolution


def loss_around(point: StationaryPoint, learned_variance: bool) -> tuple[Loss, Float[Tensor, " P"]]:
    """The negative mean objective as a function of one vector, and the vector of this stationary point.

    The vector is (W, V, log d) and, if σ² is learned, log σ². The means μ and b stay at their optimum. The objective is
    concave in them, and they have no second-order interaction with the other parameters.
    """
    dim, latent, data, mean = point.spectrum.dim, point.latent_dim, point.spectrum.points, point.spectrum.mean
    variance = point.posterior.covariance.diagonal()
    parts = [point.model.weight.flatten(), point.posterior.weight.flatten(), variance.log()]
    noise = torch.tensor([point.variance], dtype=torch.float64)

    def loss(vector: Float[Tensor, " P"]) -> Float[Tensor, ""]:
        weight, gain, log_d, log_noise = vector.split([dim * latent, dim * latent, latent, int(learned_variance)])
        gain = gain.view(latent, dim)
        model = ProbabilisticPCA(mean, weight.view(dim, latent), log_noise.exp() if learned_variance else noise)
        posterior = LinearPosterior.diagonal(gain, -gain @ mean, log_d.exp())
        return -beta_elbo(data, model, posterior, point.beta).mean()

    return loss, torch.cat([*parts, noise.log()] if learned_variance else parts)


def smallest_curvature(loss: Loss, at: Float[Tensor, " P"]) -> float:
    """The smallest eigenvalue of the Hessian of a loss. It is negative at a saddle and not negative at a minimum.

    Lanczos on Hessian-vector products, from a fixed start. The estimate approaches the eigenvalue from above, so a
    negative answer is certain. A positive one has an error of 1e-7 of the largest curvature if `PRODUCTS` are enough.
    """
    at = at.detach().requires_grad_()
    slope = torch.autograd.grad(loss(at), at, create_graph=True)[0]
    start = torch.randn(len(at), generator=generator(0, "curvature"), dtype=at.dtype)
    found = extreme_eigenvalues(lambda v: torch.autograd.grad(slope, at, v, retain_graph=True)[0], start, PRODUCTS)
    return found.smallest
