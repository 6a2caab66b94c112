"""Whether a part erased counts for less than a shift by a pixel: in pixels, in the code, and in the reconstruction."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vaebench.config.registry import ESTIMATORS, Fraction, PositiveInt
from vaebench.data.batch import Batch
from vaebench.evaluation.estimators.base import Estimator, mean_over_observations
from vaebench.evaluation.estimators.image_distances import (
    View,
    class_kept,
    cross_entropy,
    nearer,
    relative,
    squared_error,
    view,
)
from vaebench.evaluation.estimators.image_edits import erased, shifted
from vaebench.evaluation.metrics.base import Blank
from vaebench.models.base import Autoencoder
from vaebench.records.record import Estimate

SHARES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75)
"""Of the ink, where the arrays say how the choice turns with how much is erased."""

CHOICES = tuple(f"wrong_by_{by}" for by in ("squared_error", "cross_entropy", "reconstruction", "code", "posterior"))
DISTANCES = ("shifted_in_pixels", "erased_in_pixels", "shifted_in_code", "erased_in_code")
CLASSES = ("unaltered_as_class", "shifted_as_class", "erased_as_class")


@ESTIMATORS.register
class ErasedOrShifted(Estimator):
    """Which is nearer to an image: itself with a part erased, or shifted by a pixel (after Doersch 2016, figure 3).

    The erased one (`erased`: its uppermost rows) has lost what told it from others, the shifted one (`shifted`: to the
    right) nothing; measures of pixels may choose the wrong one all the same. The figure shows this of one digit; here
    it is counted over a split. The model is shown both alterations as they are.

    `wrong_by_…` is the share of images to which the erased one is nearer; a tie counts one half, so that a code which
    says nothing has 0.5.

    - `squared_error`: ‖x − a‖² of the image x and the altered one a. It is also the choice of every Gaussian p(x|z) of
      one σ² that has its mean at a. No model takes part.
    - `cross_entropy`: −Σ x log a + (1 − x) log(1 − a), every logarithm at least −100, as in torch: the choice of a
      Bernoulli with mean a, whose figure hangs on that bound where a pixel is 0. No model takes part. Of images of 0
      and 1 it counts the pixels that differ, as the squared error does.
    - `reconstruction`: −log p(x|z) at the posterior's mean of a, by the model's own likelihood.
    - `code`: ‖μ(x) − μ(a)‖ between posterior means.
    - `posterior`: KL(q(z|x)‖q(z|a)) + KL(q(z|a)‖q(z|x)) (Jeffreys 1946), which does not depend on how units are scaled.

    `shifted_in_…` and `erased_in_…` are distances, root mean squares, where that of two different images is 1.
    `…_as_class` is the share of images whose alteration has the image's own class by the vote of five nearest codes
    of images in the other half: what an alteration does to the class. The arrays `wrong_by_…_over_share` are over
    `erased_share`.

    Args:
        observations: on how many, evenly spaced in the split; all of them where there are no more.
        shift: pixels.
        share: of the ink that is erased, rounded up to whole rows.
    """

    def __init__(self, *, observations: PositiveInt = 10_000, shift: PositiveInt = 1, share: Fraction = 0.25) -> None:
        self.observations, self.shift, self.share = observations, shift, share

    @property
    def columns(self) -> tuple[str, ...]:
        return (*CHOICES, *DISTANCES, *CLASSES)

    def applies_to(self, model: Autoencoder) -> str | None:
        size = " × ".join(map(str, model.shape))
        return None if len(model.shape) == 3 else f"observations of shape {size} are no images to shift"

    @torch.no_grad()
    def estimate(self, model: Autoencoder, batch: Batch, seed: int) -> tuple[Estimate | Blank, ...]:
        if bool(((batch.x < 0) | (batch.x > 1)).any()):
            reason = "the images are not in [0, 1], so that no value is known to be the ground"
            return tuple(Blank(column, reason) for column in self.columns)
        original, right, wrong = (view(model, images, batch.x) for images in self._alterations(batch.x))
        return (
            *self._choices(model, original, right, wrong),
            *(relative(name, *pair) for name, pair in zip(DISTANCES, _pairs(original, right, wrong), strict=True)),
            *_classes(original, (original, right, wrong), batch.label),
            *self._over_share(model, original, right),
        )

    @torch.no_grad()
    def pictured(self, model: Autoencoder, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "R N C H W"]:
        images = torch.stack(self._alterations(x))
        return torch.cat([images, torch.stack([model(part) for part in images])])

    def _alterations(self, x: Float[Tensor, "N C H W"]) -> tuple[Tensor, Tensor, Tensor]:
        """The images, shifted, and erased."""
        return x, shifted(x, self.shift), erased(x, self.share)

    @staticmethod
    def _choices(model: Autoencoder, original: View, right: View, wrong: View) -> tuple[Estimate | Blank, ...]:
        choices = [
            nearer(squared_error(original.image, wrong.image), squared_error(original.image, right.image)),
            nearer(cross_entropy(original.image, wrong.image), cross_entropy(original.image, right.image)),
            nearer(-wrong.log_px, -right.log_px),
            nearer(original.to_code(wrong), original.to_code(right)),
        ]
        stated = tuple(map(mean_over_observations, CHOICES, choices))
        if not model.stochastic:
            return *stated, Blank(CHOICES[-1], f"{type(model).__name__} has no posterior q(z|x)")
        by_posterior = nearer(original.to_posterior(wrong), original.to_posterior(right))
        return *stated, mean_over_observations(CHOICES[-1], by_posterior)

    @staticmethod
    def _over_share(model: Autoencoder, original: View, right: View) -> tuple[Estimate, ...]:
        """How the choice by pixels and by code turns with the share erased."""
        x, n = original.image, len(original.image)
        wrongs = [view(model, erased(x, share), x) for share in SHARES]
        pixels, codes = squared_error(x, right.image), original.to_code(right)
        by_pixels = [float(nearer(squared_error(x, w.image), pixels).mean()) for w in wrongs]
        by_code = [float(nearer(original.to_code(w), codes).mean()) for w in wrongs]
        return (
            Estimate("erased_share", list(SHARES), n=n),
            Estimate("wrong_by_squared_error_over_share", by_pixels, n=n),
            Estimate("wrong_by_code_over_share", by_code, n=n),
        )


def _pairs(original: View, *altered: View) -> list[tuple[Float64[Tensor, "N F"], Float64[Tensor, "N F"]]]:
    """The images beside each alteration, then the codes."""
    pixels = [(original.pixels, each.pixels) for each in altered]
    return [*pixels, *((original.posterior.mean, each.posterior.mean) for each in altered)]


def _classes(original: View, views: tuple[View, ...], label: Tensor | None) -> tuple[Estimate | Blank, ...]:
    if label is None:
        return tuple(Blank(name, "the data has no labels") for name in CLASSES)
    return tuple(class_kept(name, original, each, label) for name, each in zip(CLASSES, views, strict=True))
