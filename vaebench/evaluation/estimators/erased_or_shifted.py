"""Compare an image with itself shifted and with itself partly erased: which one does a distance call nearer?"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vaebench.config.registry import ESTIMATORS, Fraction, PositiveInt
from vaebench.data.loaders import Batch
from vaebench.evaluation.estimators.base import Estimator, mean_over_observations
from vaebench.evaluation.estimators.image_distances import (
    EncodedImages,
    class_kept,
    cross_entropy,
    encoded,
    nearer,
    relative,
    squared_error,
)
from vaebench.evaluation.metrics.base import without_densities
from vaebench.models.base import Autoencoder
from vaebench.models.parts.posteriors import Form
from vaebench.records.description import Description, Direction, Panel, Role, Within
from vaebench.records.record import Estimate, NotApplicable


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

    def applies_to(self, model: Autoencoder) -> str | None:
        size = " × ".join(map(str, model.shape))
        return None if len(model.shape) == 3 else f"observations of shape {size} are no images to shift"

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
        """The images as they are, shifted, and erased."""
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
