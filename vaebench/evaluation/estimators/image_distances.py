"""What a model takes an image for, and how far one image is from another: in pixels, in the code, as posteriors."""

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy

from vaebench.evaluation.metrics.base import Blank
from vaebench.models.base import Autoencoder
from vaebench.models.chunk_size import Block
from vaebench.records.record import Estimate

ROWS = Block(2**11, 2**14)
"""Images in one call of the model."""

NEIGHBOURS = 5
"""Codes that vote for a class."""


class View(NamedTuple):
    """Images a `[N, C, H, W]` as a model sees them.

    Attributes:
        image: a.
        posterior: q(z|a), batch shape `[N, L]`, in float64.
        log_px: log p(x|z) of the originals x at the posterior's mean of a, `[N]`, nats.
    """

    image: Float[Tensor, "N C H W"]
    posterior: Normal
    log_px: Float64[Tensor, " N"]

    @property
    def pixels(self) -> Float64[Tensor, "N D"]:
        """The images as vectors."""
        return self.image.flatten(1).double()

    def to_code(self, other: "View") -> Float64[Tensor, " N"]:
        """The distance of the posterior means."""
        return (self.posterior.mean - other.posterior.mean).norm(dim=1)

    def to_posterior(self, other: "View") -> Float64[Tensor, " N"]:
        """KL both ways, nats."""
        p, q = self.posterior, other.posterior
        return (kl_divergence(p, q) + kl_divergence(q, p)).sum(1)


def view(model: Autoencoder, images: Float[Tensor, "N C H W"], originals: Float[Tensor, "N C H W"]) -> View:
    """Images as a model sees them, and how likely it makes the originals from there.

    Raises:
        FloatingPointError: if the model's code or its likelihood is not finite.
    """
    means, spreads, log_px = [], [], []
    rows = ROWS.where(images)
    for image, x in zip(images.split(rows), originals.split(rows), strict=True):
        posterior = model.encode(image)
        means.append(posterior.mean)
        spreads.append(posterior.stddev)
        log_px.append(model.decode(posterior.mean).log_prob(x))
    mean, spread, likelihood = (torch.cat(parts).double() for parts in (means, spreads, log_px))
    bad = int((~mean.isfinite()).sum() + (~likelihood.isfinite()).sum())
    if bad:
        raise FloatingPointError(
            f"expected finite codes and log p(x|z) of altered images, got {bad} that are not: the model has diverged; "
            "train again with a lower model.learning_rate, or set train.gradient_clip"
        )
    return View(images, Normal(mean, spread, validate_args=False), likelihood)


def squared_error(x: Float[Tensor, "N C H W"], a: Float[Tensor, "N C H W"]) -> Float64[Tensor, " N"]:
    """‖x − a‖², summed over pixels."""
    return (x.double() - a.double()).square().flatten(1).sum(1)


def cross_entropy(x: Float[Tensor, "N C H W"], a: Float[Tensor, "N C H W"]) -> Float64[Tensor, " N"]:
    """−Σ x log a + (1 − x) log(1 − a), every logarithm at least −100."""
    return binary_cross_entropy(a.double(), x.double(), reduction="none").flatten(1).sum(1)


def nearer(first: Float64[Tensor, " N"], second: Float64[Tensor, " N"]) -> Float64[Tensor, " N"]:
    """1 where the first distance is the smaller, 0 where the second is, one half where they are equal."""
    return (first < second).double() + (first == second).double() / 2


def relative(name: str, original: Float64[Tensor, "N F"], altered: Float64[Tensor, "N F"]) -> Estimate | Blank:
    """The root mean square of the distance to the alterations, over that of two different originals, √(2 Σ Var).

    The standard error is to first order in both (delta method): an image may be far from its alteration and from other
    images alike.
    """
    n, apart = len(original), float((2 * original.var(0).sum()).sqrt()) if len(original) > 1 else 0.0
    if not apart:
        return Blank(name, "all originals are equal: there is no distance to compare with")
    squares = (original - altered).square().sum(1)
    length = float(squares.mean().sqrt())
    if not length:
        return Estimate(name, 0.0, 0.0, n)
    others = 2 * n / (n - 1) * (original - original.mean(0)).square().sum(1)  # whose mean is apart²
    influence = (squares / length**2 - others / apart**2) / 2
    return Estimate(name, length / apart, length / apart * float(influence.std()) / math.sqrt(n), n)


def class_kept(name: str, original: View, altered: View, label: Int64[Tensor, " N"]) -> Estimate | Blank:
    """The share of alterations whose nearest codes, among originals of the other half, are of their own class.

    No standard error is claimed, as one original votes on several alterations.
    """
    from sklearn.neighbors import KNeighborsClassifier

    codes, asked, classes = (t.cpu().numpy() for t in (original.posterior.mean, altered.posterior.mean, label))
    if len(classes) < 2 * NEIGHBOURS:
        return Blank(name, f"{len(classes)} observations are fewer than two halves of {NEIGHBOURS} neighbours")
    right = np.empty(len(classes))
    for half, other in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
        fitted = KNeighborsClassifier(NEIGHBOURS).fit(codes[other], classes[other])
        right[half] = fitted.predict(asked[half]) == classes[half]
    return Estimate(name, float(right.mean()), n=len(right))
