"""Compare an image with itself shifted and with itself partly erased: which one does a distance call nearer?

The distances are in pixels, between codes, and between posteriors.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy

from vaebench.config.registry import ESTIMATORS, Fraction, PositiveInt
from vaebench.data.loaders import Batch
from vaebench.evaluation.estimators.base import Estimator, mean_over_observations
from vaebench.evaluation.metrics.base import without_densities
from vaebench.models.base import Autoencoder
from vaebench.models.draws import ChunkSize
from vaebench.models.parts.posteriors import Form
from vaebench.records.description import Description, Direction, Panel, Role, Within
from vaebench.records.record import Estimate, NotApplicable

ROWS = ChunkSize(2**11, 2**14)  # the number of images in one call of the model
NEIGHBOURS = 5  # the number of nearest codes that vote for a class


class EncodedImages(NamedTuple):
    """Images a `[N, C, H, W]` with what a model computes from them."""

    image: Float[Tensor, "N C H W"]  # a
    posterior: Normal  # the means and variances of the units of q(z|a), as a normal distribution `[N, L]` in float64
    log_px: Float64[Tensor, " N"]  # log p(x|z) of the original images x at the posterior mean of a, `[N]`, nats

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


def shift(x: Float[Tensor, "N C H W"], pixels: int) -> Float[Tensor, "N C H W"]:
    """Shift images to the right. Pixels that leave on the right are lost, and background enters on the left.

    >>> shift(torch.tensor([[[[1.0, 2.0, 3.0]]]]), 1).flatten().tolist()
    [0.0, 1.0, 2.0]
    """
    moved = torch.zeros_like(x)
    moved[..., pixels:] = x[..., :-pixels]
    return moved


def erase(x: Float[Tensor, "N C H W"], share: float) -> Float[Tensor, "N C H W"]:
    """Erase the uppermost rows: as few as together hold at least this share of the ink, the sum of all pixels.

    >>> erase(torch.tensor([[[[1.0], [2.0], [5.0]]]]), 0.25).flatten().tolist()
    [0.0, 0.0, 5.0]
    """
    ink = x.double().sum((1, 3))
    above = ink.cumsum(1) - ink  # ink in the rows above each row
    kept = above >= share * ink.sum(1, keepdim=True)
    return x * kept[:, None, :, None]


SHARES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75)
"""Shares of the ink at which the arrays say how the choice changes with the share that is erased."""

_CHOICE = Description(
    "",
    Panel.ALTERED,
    within=Within.OBSERVATIONS,
    meaning="Share of images to which the image with a part erased is nearer than the shifted one, by this distance.",
)
_DISTANCE = Description(
    "",
    Panel.DISTANCE,
    within=Within.OBSERVATIONS,
    meaning="Root-mean-square distance of an image and the edited one, in units of that of two different images.",
)
_CLASS = _DISTANCE._replace(
    meaning="Share of such images that the five nearest codes of originals assign to their class."
)

CHOICES = {
    "wrong_by_squared_error": _CHOICE._replace(heading="by squared error", place=10, role=Role.ALTERED_BY_PIXELS),
    "wrong_by_cross_entropy": _CHOICE._replace(heading="by cross-entropy", place=20),
    "wrong_by_reconstruction": _CHOICE._replace(heading="by reconstruction", place=30, better=Direction.LOWER),
    "wrong_by_code": _CHOICE._replace(heading="by code", place=40, better=Direction.LOWER, role=Role.ALTERED_BY_CODE),
    "wrong_by_posterior": _CHOICE._replace(heading="by posterior", place=50, better=Direction.LOWER),
}
DISTANCES = {
    "shifted_in_pixels": _DISTANCE._replace(heading="pixels, shifted", place=10),
    "erased_in_pixels": _DISTANCE._replace(heading="pixels, erased", place=20),
    "shifted_in_code": _DISTANCE._replace(heading="code, shifted", place=30),
    "erased_in_code": _DISTANCE._replace(heading="code, erased", place=40),
}
CLASSES = {
    "unaltered_as_class": _CLASS._replace(heading="class, unaltered", place=50),
    "shifted_as_class": _CLASS._replace(heading="class, shifted", place=60),
    "erased_as_class": _CLASS._replace(heading="class, erased", place=70),
}


@ESTIMATORS.register
class ErasedOrShifted(Estimator):
    """Which is nearer to an image: itself with a part erased, or itself shifted (after Doersch 2016, figure 3)?

    An image without its uppermost rows has lost content; an image shifted to the right by a pixel has not. Yet
    distances between pixels may call the erased one nearer. Doersch shows this for one digit; here it is counted over a
    split. The model sees both edited images as they are.

    `wrong_by_…` is the share of images to which the erased image is nearer. A tie counts ½, so a code that ignores the
    image has 0.5. The distances between the image x and an edited image a are:

    - `squared_error`: ‖x − a‖². Every Gaussian p(x|z) with mean a and one σ² makes the same choice. It uses no model.
    - `cross_entropy`: −Σ x log a + (1 − x) log(1 − a), the choice of a Bernoulli with mean a. Every logarithm is at
      least −100, as in torch; where a pixel of a is 0, the value depends on that limit. On binary images it counts the
      pixels that differ, as the squared error does. It uses no model.
    - `reconstruction`: −log p(x|z) at the posterior mean of a, by the model's own likelihood.
    - `code`: ‖μ(x) − μ(a)‖ between posterior means.
    - `posterior`: KL(q(z|x)‖q(z|a)) + KL(q(z|a)‖q(z|x)) (Jeffreys 1946), which does not depend on the scale of a unit.

    `shifted_in_…` and `erased_in_…` are root-mean-square distances, in units of that between two different images.
    `…_as_class` is the share of edited images that the five nearest codes of originals in the other half of the images
    assign to the right class. The arrays `wrong_by_…_over_share` have one value for each of `erased_share`.

    Doersch 2016, "Tutorial on variational autoencoders": https://arxiv.org/abs/1606.05908

    Args:
        observations: the number of observations, evenly spaced in the split; all of them if the split has fewer.
        shift: the distance of the shift in pixels.
        share: the share of the ink that is erased, rounded up to whole rows.
    """

    def __init__(self, *, observations: PositiveInt = 10_000, shift: PositiveInt = 1, share: Fraction = 0.25) -> None:
        self.observations, self.shift, self.share = observations, shift, share

    @property
    def columns(self) -> Mapping[str, Description]:
        return CHOICES | DISTANCES | CLASSES

    def why_not_applicable(self, model: Autoencoder) -> str | None:
        size = " × ".join(map(str, model.shape))
        return model.why_no_code if len(model.shape) == 3 else f"observations of shape {size} are no images to shift"

    @torch.no_grad()
    def estimate(self, model: Autoencoder, batch: Batch, seed: int) -> tuple[Estimate | NotApplicable, ...]:
        if bool(((batch.x < 0) | (batch.x > 1)).any()):
            reason = "the images are not in [0, 1], so that no value is known to be the ground"
            return tuple(NotApplicable(column, reason) for column in self.columns)
        original, shifted, erased = (encoded(model, images, batch.x) for images in self._edits(batch.x))
        return (
            *self._choices(model, original, shifted, erased),
            *(relative(name, *pair) for name, pair in zip(DISTANCES, _pairs(original, shifted, erased), strict=True)),
            *_classes(original, (original, shifted, erased), batch.label),
            *self._over_share(model, original, shifted),
        )

    @torch.no_grad()
    def example_images(self, model: Autoencoder, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "R N C H W"]:
        images = torch.stack(self._edits(x))
        return torch.cat([images, torch.stack([model(part) for part in images])])

    def _edits(self, x: Float[Tensor, "N C H W"]) -> tuple[Tensor, Tensor, Tensor]:
        return x, shift(x, self.shift), erase(x, self.share)

    @staticmethod
    def _choices(
        model: Autoencoder, original: EncodedImages, shifted: EncodedImages, erased: EncodedImages
    ) -> tuple[Estimate | NotApplicable, ...]:
        """The columns `wrong_by_…`, in the order of CHOICES."""
        choices = [
            nearer(squared_error(original.image, erased.image), squared_error(original.image, shifted.image)),
            nearer(cross_entropy(original.image, erased.image), cross_entropy(original.image, shifted.image)),
            nearer(-erased.log_px, -shifted.log_px),
            nearer(original.code_distance(erased), original.code_distance(shifted)),
        ]
        estimates = tuple(map(mean_over_observations, CHOICES, choices))
        if (reason := without_densities(model, Form.DIAGONAL)) is not None:
            return *estimates, NotApplicable("wrong_by_posterior", reason)
        by_posterior = nearer(original.posterior_distance(erased), original.posterior_distance(shifted))
        return *estimates, mean_over_observations("wrong_by_posterior", by_posterior)

    @staticmethod
    def _over_share(model: Autoencoder, original: EncodedImages, shifted: EncodedImages) -> tuple[Estimate, ...]:
        """How the choices by pixels and by code change with the share that is erased."""
        x, n = original.image, len(original.image)
        erasures = [encoded(model, erase(x, share), x) for share in SHARES]
        pixels, codes = squared_error(x, shifted.image), original.code_distance(shifted)
        by_pixels = [float(nearer(squared_error(x, e.image), pixels).mean()) for e in erasures]
        by_code = [float(nearer(original.code_distance(e), codes).mean()) for e in erasures]
        return (
            Estimate("erased_share", list(SHARES), n=n),
            Estimate("wrong_by_squared_error_over_share", by_pixels, n=n),
            Estimate("wrong_by_code_over_share", by_code, n=n),
        )


def _pairs(
    original: EncodedImages, *edited: EncodedImages
) -> list[tuple[Float64[Tensor, "N F"], Float64[Tensor, "N F"]]]:
    """Pairs of original and edited pixels, then pairs of their codes, in the order of DISTANCES."""
    pixels = [(original.pixels, each.pixels) for each in edited]
    return [*pixels, *((original.posterior.mean, each.posterior.mean) for each in edited)]


def _classes(
    original: EncodedImages, edited: tuple[EncodedImages, ...], label: Tensor | None
) -> tuple[Estimate | NotApplicable, ...]:
    """The columns `…_as_class`, in the order of CLASSES."""
    if label is None:
        return tuple(NotApplicable(name, "the data has no labels") for name in CLASSES)
    return tuple(class_kept(name, original, each, label) for name, each in zip(CLASSES, edited, strict=True))
