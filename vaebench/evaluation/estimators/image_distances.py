"""Distances between images: in pixels, between their codes, and between their posteriors."""

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy

from vaebench.models.base import Autoencoder
from vaebench.models.draws import ChunkSize
from vaebench.records.record import Estimate, NotApplicable

ROWS = ChunkSize(2**11, 2**14)
"""The number of images in one call of the model."""

NEIGHBOURS = 5
"""The number of nearest codes that vote for a class."""


class EncodedImages(NamedTuple):
    """Images a `[N, C, H, W]` with what a model computes from them.

    Attributes:
        image: a.
        posterior: the means and variances of the units of q(z|a), as a normal distribution `[N, L]` in float64.
        log_px: log p(x|z) of the original images x at the posterior mean of a, `[N]`, nats.
    """

    image: Float[Tensor, "N C H W"]
    posterior: Normal
    log_px: Float64[Tensor, " N"]

    @property
    def pixels(self) -> Float64[Tensor, "N D"]:
        """The images as vectors of D = C·H·W numbers."""
        return self.image.flatten(1).double()

    def code_distance(self, other: "EncodedImages") -> Float64[Tensor, " N"]:
        """The distance ‖μ − μ'‖ between the posterior means."""
        return (self.posterior.mean - other.posterior.mean).norm(dim=1)

    def posterior_distance(self, other: "EncodedImages") -> Float64[Tensor, " N"]:
        """Jeffreys' divergence KL(p‖q) + KL(q‖p) between two posteriors with independent normal units, nats."""
        p, q = self.posterior, other.posterior
        return (kl_divergence(p, q) + kl_divergence(q, p)).sum(1)


def encoded(model: Autoencoder, images: Float[Tensor, "N C H W"], originals: Float[Tensor, "N C H W"]) -> EncodedImages:
    """Encode images, and evaluate the likelihood of the originals at their codes.

    Raises:
        FloatingPointError: if a code or a likelihood is not finite.
    """
    means, spreads, log_px = [], [], []
    rows = ROWS.on(images)
    for image, x in zip(images.split(rows), originals.split(rows), strict=True):
        posterior = model.encode(image)
        means.append(posterior.mean)
        spreads.append(posterior.variance.sqrt())
        log_px.append(model.decode(posterior.mean).log_prob(x))
    mean, spread, likelihood = (torch.cat(parts).double() for parts in (means, spreads, log_px))
    bad = int((~mean.isfinite()).sum() + (~likelihood.isfinite()).sum())
    if bad:
        raise FloatingPointError(
            f"expected finite codes and log p(x|z) of altered images, got {bad} that are not: the model has diverged; "
            "train again with a lower model.learning_rate, or set train.gradient_clip"
        )
    return EncodedImages(images, Normal(mean, spread, validate_args=False), likelihood)


def squared_error(x: Float[Tensor, "N C H W"], a: Float[Tensor, "N C H W"]) -> Float64[Tensor, " N"]:
    """‖x − a‖², summed over pixels.

    >>> squared_error(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).tolist()
    [4.0]
    """
    return (x.double() - a.double()).square().flatten(1).sum(1)


def cross_entropy(x: Float[Tensor, "N C H W"], a: Float[Tensor, "N C H W"]) -> Float64[Tensor, " N"]:
    """−Σ x log a + (1 − x) log(1 − a), summed over pixels. Every logarithm is at least −100."""
    return binary_cross_entropy(a.double(), x.double(), reduction="none").flatten(1).sum(1)


def nearer(first: Float64[Tensor, " N"], second: Float64[Tensor, " N"]) -> Float64[Tensor, " N"]:
    """1 where the first distance is smaller, 0 where the second is, ½ where they are equal.

    >>> nearer(torch.tensor([1.0, 2.0, 3.0]).double(), torch.full((3,), 2.0).double()).tolist()
    [1.0, 0.5, 0.0]
    """
    return (first < second).double() + (first == second).double() / 2


def relative(name: str, original: Float64[Tensor, "N F"], edited: Float64[Tensor, "N F"]) -> Estimate | NotApplicable:
    """The root-mean-square distance between original and edited images, relative to that between two originals.

    Two different originals are √(2 Σ_f Var_f) apart. The standard error is of first order (delta method). It includes
    the covariance of numerator and denominator, because an image far from its edited version may be far from all
    others.
    """
    n, apart = len(original), float((2 * original.var(0).sum()).sqrt()) if len(original) > 1 else 0.0
    if not apart:
        return NotApplicable(name, "all originals are equal: there is no distance to compare with")
    squares = (original - edited).square().sum(1)
    length = float(squares.mean().sqrt())
    if not length:
        return Estimate(name, 0.0, 0.0, n)
    others = 2 * n / (n - 1) * (original - original.mean(0)).square().sum(1)  # its mean is apart²
    influence = (squares / length**2 - others / apart**2) / 2
    return Estimate(name, length / apart, length / apart * float(influence.std()) / math.sqrt(n), n)


def class_kept(
    name: str, original: EncodedImages, edited: EncodedImages, label: Int64[Tensor, " N"]
) -> Estimate | NotApplicable:
    """The share of edited images that their nearest codes, among the originals of the other half, classify correctly.

    There is no standard error, because one original votes on several edited images, which makes them dependent.
    """
    from sklearn.neighbors import KNeighborsClassifier

    codes, asked, classes = (t.cpu().numpy() for t in (original.posterior.mean, edited.posterior.mean, label))
    if len(classes) < 2 * NEIGHBOURS:
        return NotApplicable(name, f"{len(classes)} observations are fewer than two halves of {NEIGHBOURS} neighbours")
    right = np.empty(len(classes))
    for half, other in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
        fitted = KNeighborsClassifier(NEIGHBOURS).fit(codes[other], classes[other])
        right[half] = fitted.predict(asked[half]) == classes[half]
    return Estimate(name, float(right.mean()), n=len(right))
