"""Whether a trained linear VAE is at a maximum of its objective, at a saddle, or still moving.

The objective is the model's own, in closed form and in float64, as a function of all parameters. Its mean over the
training split is computed over 2D points with the same mean and covariance. The result is the same, because the
objective is quadratic in x. Gradient and curvature are reported with the nats that a step along them gains.

`extreme_eigenvalues` finds the smallest and the largest eigenvalue of a symmetric matrix from its products with
vectors, and says how uncertain they are. `scipy.sparse.linalg.eigsh` computes the same, but it raises if it does not
converge within its products. Here the number of products is limited, and the answer must say how far it can be trusted.
"""

import math
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor, nn
from torch.func import functional_call

from vaebench.config.seeding import generator
from vaebench.models.linear_vae import LinearVAE
from vaebench.models.parts.likelihoods import LearnedGaussian
from vaebench.oracle import StationaryPoint
from vaebench.oracle.spectrum import Spectrum

RESIDUAL = 1e-7  # stop when the residual is below this fraction of the largest magnitude
LOOK = 8  # compute the residual once in so many products

Product = Callable[[Float64[Tensor, " P"]], Float64[Tensor, " P"]]


class ExtremeEigenvalues(NamedTuple):
    """Estimates of the smallest and the largest eigenvalue."""

    smallest: float  # never below the true smallest eigenvalue, so a negative value proves that one is negative
    largest: float  # never above the true largest eigenvalue
    uncertainty: float  # the residual |Av − λv| of `smallest`. Some eigenvalue lies within this distance.
    direction: Float64[Tensor, " P"]  # v with |v| = 1 and vᵀAv = `smallest`


def extreme_eigenvalues(product: Product, start: Float64[Tensor, " P"], products: int) -> ExtremeEigenvalues:
    """Run Lanczos with full reorthogonalisation (Golub & Van Loan, Matrix Computations, 4th ed., §10.3).

    Args:
        product: v ↦ Av for a symmetric A.
        start: a vector with a component in every eigendirection, such as a random one.
        products: the largest number of products; fewer if the smallest eigenvalue has converged.
    """
    most = min(products, len(start))
    basis, (diagonal, beside) = start.new_empty(most, len(start)), start.new_empty(2, most)
    basis[0] = start / start.norm()
    for k in range(most):
        image = product(basis[k])
        diagonal[k] = basis[k] @ image
        for _ in range(2):  # a single pass leaves rounding errors, which grow with every step
            image = image - basis[: k + 1].mT @ (basis[: k + 1] @ image)
        beside[k] = image.norm()
        last = k + 1 == most or bool(beside[k] <= RESIDUAL * diagonal[: k + 1].abs().max())
        if last or k % LOOK == 0:
            found = _ritz(basis[: k + 1], diagonal[: k + 1], beside[: k + 1])
            if last or found.uncertainty <= RESIDUAL * max(abs(found.smallest), abs(found.largest)):
                return found
        basis[k + 1] = image / beside[k]
    raise AssertionError("the last product returns")


def _ritz(
    basis: Float64[Tensor, "K P"], diagonal: Float64[Tensor, " K"], beside: Float64[Tensor, " K"]
) -> ExtremeEigenvalues:
    off = beside[:-1]
    values, vectors = torch.linalg.eigh(torch.diag(diagonal) + torch.diag(off, 1) + torch.diag(off, -1))
    residual = float(beside[-1] * vectors[-1, 0].abs())
    return ExtremeEigenvalues(float(values[0]), float(values[-1]), residual, basis.mT @ vectors[:, 0])


MOVING = 0.01  # a point is stationary if a step along the gradient gains fewer nats than this
NEGLIGIBLE = 1e-5  # a gain below so many nats is rounding: it is the precision of float32 at 100 nats

DOMINANT = 3
"""A point is a saddle if a step along the curvature gains more than 3 times what a step along the gradient gains."""

CONVERGED = 1e-3  # above this uncertainty, as a fraction of the largest curvature, a saddle cannot be ruled out
MOST_PRODUCTS = 300  # the largest number of Hessian-vector products

WORK = 2e10
"""A limit on points × parameters × products, which takes a few seconds. It can reduce the number of products."""

FEWEST_PRODUCTS = 24  # the smallest number of Hessian-vector products, also for large models
HALVINGS = 24  # a step is tried with the length of the parameter vector, halved up to so many times


class Ending(Enum):
    """Where training ended. The values are the words of a record."""

    MOVING = "still moving"
    SADDLE = "saddle"
    MAXIMUM = "maximum"
    UNDECIDED = "undecided"  # too few Hessian-vector products to tell a maximum from a saddle


class Stationarity(NamedTuple):
    """Gradient and curvature of the mean objective f, which training maximises, at a trained model's parameters."""

    gradient_norm: float  # |∇f|, in nats per unit of parameter
    gradient_gain: float  # nats gained by the best step along the gradient
    # the smallest eigenvalue of −∇²f. Negative: f rises in this direction. Never below the true one.
    smallest_curvature: float
    uncertainty: float  # some eigenvalue lies within this distance of the smallest curvature
    largest_curvature: float  # the largest eigenvalue, the scale for comparisons
    # nats gained by the best step along the smallest curvature; 0 if the curvature is not negative.
    curvature_gain: float
    objective: float  # f, nats per observation

    @property
    def ending(self) -> Ending:
        """Where training ended, decided from the gains and the uncertainty."""
        if self.gradient_gain > MOVING:
            return Ending.MOVING
        if self.curvature_gain > max(NEGLIGIBLE, DOMINANT * self.gradient_gain):
            return Ending.SADDLE
        return Ending.MAXIMUM if self.uncertainty <= CONVERGED * self.largest_curvature else Ending.UNDECIDED


def linear_vae_at(point: StationaryPoint, learned: bool = False, **keywords: Any) -> LinearVAE:
    """Make a linear VAE with the parameters of a stationary point, in float64, for vectors of the spectrum's size.

    Args:
        point: a saddle or the optimum.
        learned: whether σ² is a parameter.
        keywords: other arguments of `LinearVAE`.
    """
    likelihood = {"name": "LearnedGaussian" if learned else "Gaussian", "variance": point.variance}
    chosen: dict[str, Any] = {"latent_dim": point.latent_dim, "likelihood": likelihood, "beta": point.beta} | keywords
    model = LinearVAE((point.spectrum.dim,), **chosen).double()
    exact = {
        "beta": torch.tensor(point.beta, dtype=torch.float64),
        "decoder.0.weight": point.model.weight,
        "decoder.0.bias": point.model.mean,
        "encoder.1.weight": point.posterior.weight,
        "encoder.1.bias": point.posterior.bias,
        "log_variance": point.posterior.covariance.diagonal().log(),
    }
    if isinstance(model.likelihood, LearnedGaussian):
        start = model.likelihood.log_variance
        exact["likelihood.log_variance"] = torch.full_like(start, math.log(point.variance))
    model.load_state_dict(model.state_dict() | exact)
    return model


class Loss(nn.Module):
    """The negative mean objective of a linear VAE over some points, as a function of its parameter vector."""

    def __init__(self, model: LinearVAE, points: Float64[Tensor, "P D"]) -> None:
        super().__init__()
        self.model = type(model)(**model.hparams).to(model.device).double()
        self.model.load_state_dict(model.state_dict())
        # The closed form has no sampling noise. β is at the end of its schedule.
        self.model.analytic = True
        self.model.progress.fill_(1.0)
        self.model.train()  # as it is trained: an optimal σ² moves with the other parameters
        self._points = points.to(model.device).view(-1, *model.shape)
        self._names = [name for name, _ in self.named_parameters()]
        self._parameters_like = list(self.parameters())

    @property
    def at(self) -> Float64[Tensor, " P"]:
        """The vector of the model's parameters."""
        return torch.cat([p.detach().flatten() for p in self._parameters_like])

    def forward(self) -> Float64[Tensor, ""]:
        noise = self._points.new_zeros(len(self._points), self.model.latent_dim)
        return -self.model.objective(self._points, noise).mean()

    def loss(self, vector: Float64[Tensor, " P"]) -> Float64[Tensor, ""]:
        """The negative mean objective, nats per observation."""
        parts = vector.split([p.numel() for p in self._parameters_like])
        named = zip(self._names, parts, self._parameters_like, strict=True)
        return functional_call(self, {name: part.view_as(like) for name, part, like in named}, ())

    @torch.no_grad()
    def gain(self, direction: Float64[Tensor, " P"], lengths: Float64[Tensor, " H"]) -> float:
        """Nats gained by the best step along a direction, over the given lengths."""
        at, size = self.at, direction.norm()
        if not float(size) > 0:
            return 0.0
        here = float(self.loss(at))
        return max(0.0, here - min(float(self.loss(at + s * direction / size)) for s in lengths))


def off_diagonal_share(model: LinearVAE) -> float | None:
    """|WᵀW − diag| / |WᵀW| in Frobenius norms: 0 if the columns are principal directions and not a rotation of them.

    None if W is 0: then there are no directions.
    """
    gram = model.weight.detach().double()
    gram = gram.mT @ gram
    return float((gram - gram.diagonal().diag()).norm() / gram.norm()) if bool(gram.any()) else None


def stationarity(model: LinearVAE, spectrum: Spectrum) -> Stationarity:
    """Probe a trained linear VAE with any Gaussian likelihood. The model does not change.

    Args:
        spectrum: of its training split.
    """
    function = Loss(model, spectrum.points)
    at = function.at.requires_grad_()
    loss = function.loss(at)
    slope = torch.autograd.grad(loss, at, create_graph=True)[0]
    # A fixed start for Lanczos, so the same model always gives the same curvature.
    bound = int(WORK / (2 * spectrum.dim * len(at)))
    start = torch.randn(len(at), generator=generator(0, "curvature"), dtype=torch.float64).to(at.device)
    found = extreme_eigenvalues(
        lambda v: torch.autograd.grad(slope, at, v, retain_graph=True)[0],  # a Hessian-vector product
        start,
        min(MOST_PRODUCTS, max(FEWEST_PRODUCTS, bound)),
    )
    # The sign of an eigenvector is arbitrary, so steps along the curvature are tried both ways.
    lengths = at.detach().norm() * 0.5 ** torch.arange(HALVINGS, dtype=at.dtype, device=at.device)
    way_up = found.direction if found.smallest < 0 else torch.zeros_like(found.direction)
    return Stationarity(
        float(slope.detach().norm()),
        function.gain(-slope.detach(), lengths),
        found.smallest,
        found.uncertainty,
        found.largest,
        function.gain(way_up, torch.cat([lengths, -lengths])),
        -float(loss.detach()),
    )
