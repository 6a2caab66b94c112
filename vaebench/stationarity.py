"""Where a trained linear VAE stands on its own objective: at a maximum, at a saddle, or still on its way.

The objective is the model's own, in closed form and in float64, as a function of all of its parameters. Its mean over
the training split is taken over the 2D points that have the split's mean and covariance: it is the same number, since
the objective is quadratic in x. What the gradient and the curvature are worth is told in nats.
"""

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor, nn
from torch.func import functional_call

from vaebench.lanczos import ends
from vaebench.likelihoods import LearnedGaussian
from vaebench.models.linear_vae import LinearVAE
from vaebench.oracle import StationaryPoint
from vaebench.oracle.spectrum import Spectrum
from vaebench.seeding import generator

MOVING = 0.01
"""Nats that a step along the gradient may still gain at a point that counts as stationary."""

NEGLIGIBLE = 1e-5
"""Nats below which a gain is rounding: float32 holds an objective of a hundred nats no better."""

DOMINANT = 3
"""A way up by curvature makes a saddle where it gains so many times more than the gradient does."""

CONVERGED = 1e-3
"""Of the largest curvature: an uncertainty of the smallest one above which it does not say that there is no way up."""

MOST_PRODUCTS = 300
"""Hessian-vector products of a probe at most."""

WORK = 2e10
"""Points × parameters × products of a probe at most: a few seconds; below it, `MOST_PRODUCTS` are taken."""

FEWEST_PRODUCTS = 24
"""Hessian-vector products of a probe at least, however large the model."""

HALVINGS = 24
"""Lengths tried of a step: the length of the parameter vector, halved so many times."""


class Stationarity(NamedTuple):
    """Gradient and curvature of the mean objective −f at the parameters of a trained model.

    Attributes:
        gradient_norm: |∇f|, nats a unit of parameter.
        gradient_gain: nats gained by the best step along the gradient.
        smallest_curvature: smallest eigenvalue of −∇²f: below zero, a way up; never below the true one.
        uncertainty: an eigenvalue lies no farther from the smallest curvature than this.
        largest_curvature: what the curvatures are to be compared with.
        curvature_gain: nats gained by the best step along the direction of smallest curvature; 0 where it is no way up.
        objective: f, nats per observation.
    """

    gradient_norm: float
    gradient_gain: float
    smallest_curvature: float
    uncertainty: float
    largest_curvature: float
    curvature_gain: float
    objective: float

    @property
    def verdict(self) -> str:
        """`still moving`, `saddle`, `maximum`, or `undecided` where so few products leave the curvature open."""
        if self.gradient_gain > MOVING:
            return "still moving"
        if self.curvature_gain > max(NEGLIGIBLE, DOMINANT * self.gradient_gain):
            return "saddle"
        return "maximum" if self.uncertainty <= CONVERGED * self.largest_curvature else "undecided"

    @property
    def explanation(self) -> str:
        """The verdict in a sentence without numbers of this run, so that equal verdicts share a footnote."""
        return {
            "still moving": f"still moving: one step along the gradient gains more than {MOVING:g} nats",
            "saddle": "a saddle: hardly any gradient, but a way up along the smallest curvature",
            "undecided": "undecided: hardly any gradient, but too few products to rule out that it is a saddle",
            "maximum": f"a maximum: no step along gradient or smallest curvature gains more than {MOVING:g} nats",
        }[self.verdict]


def linear_vae_at(point: StationaryPoint, learned: bool = False, **keywords: Any) -> LinearVAE:
    """The linear VAE that has the parameters of a stationary point, in float64, for vectors of the spectrum's size.

    Args:
        point: a saddle, or the optimum.
        learned: whether its σ² is a parameter.
        keywords: further ones of `LinearVAE`.
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


class Objective(nn.Module):
    """The negative mean objective of a linear VAE over some points as a function of one vector, its parameters."""

    def __init__(self, model: LinearVAE, points: Float64[Tensor, "P D"]) -> None:
        super().__init__()
        self.model = type(model)(**model.hparams).to(model.device).double()
        self.model.load_state_dict(model.state_dict())
        # One draw would add noise to what has a closed form; β is at the end of its schedule.
        self.model.analytic = True
        self.model.progress.fill_(1.0)
        self.model.eval()
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
        """Nats gained by the best step along a direction, of any of the lengths."""
        at, size = self.at, direction.norm()
        if not float(size) > 0:
            return 0.0
        here = float(self.loss(at))
        return max(0.0, here - min(float(self.loss(at + s * direction / size)) for s in lengths))


def off_diagonal_share(model: LinearVAE) -> float:
    """|WᵀW − diag| / |WᵀW|, Frobenius norms: 0 where the columns are principal directions, not a rotation of them."""
    gram = model.weight.detach().double()
    gram = gram.mT @ gram
    return float((gram - gram.diagonal().diag()).norm() / gram.norm())


def stationarity(model: LinearVAE, spectrum: Spectrum) -> Stationarity:
    """The probe of a trained linear VAE of any Gaussian likelihood; the model is left as it is.

    Args:
        model: the trained model.
        spectrum: of its training split.
    """
    objective = Objective(model, spectrum.points)
    at = objective.at.requires_grad_()
    loss = objective.loss(at)
    slope = torch.autograd.grad(loss, at, create_graph=True)[0]
    bound = int(WORK / (2 * spectrum.dim * len(at)))
    start = torch.randn(len(at), generator=generator(0, "curvature"), dtype=torch.float64).to(at.device)
    found = ends(
        lambda v: torch.autograd.grad(slope, at, v, retain_graph=True)[0],
        start,
        min(MOST_PRODUCTS, max(FEWEST_PRODUCTS, bound)),
    )
    lengths = at.detach().norm() * 0.5 ** torch.arange(HALVINGS, dtype=at.dtype, device=at.device)
    way_up = found.direction if found.smallest < 0 else torch.zeros_like(found.direction)
    return Stationarity(
        float(slope.detach().norm()),
        objective.gain(-slope.detach(), lengths),
        found.smallest,
        found.uncertainty,
        found.largest,
        objective.gain(way_up, torch.cat([lengths, -lengths])),
        -float(loss.detach()),
    )
