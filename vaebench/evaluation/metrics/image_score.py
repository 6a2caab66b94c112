"""What the scores of images share."""

from jaxtyping import Float64
from torch import Tensor

from vaebench.evaluation.metrics.base import Blank, ScalarMean, Subject
from vaebench.models.draws import Draws
from vaebench.records.record import Estimate


class ImageScore(ScalarMean):
    """Likeness of an image and its reconstruction (the decoder's mean at the posterior's mean), mean over images.

    Pixels are in [0, 1]; the reconstruction is not clamped. A subclass gives `score`, the name of the column, and the
    smallest side of an image that it can judge.
    """

    higher_is_better = True
    smallest = 1
    shape: tuple[int, ...] = ()

    def applies_to(self, model: Subject) -> str | None:
        return None

    def score(self, image: Float64[Tensor, "B C H W"], reconstruction: Float64[Tensor, "B C H W"]) -> Tensor:
        """The likeness of each image, `[B]`."""
        raise NotImplementedError

    def per_observation(self, draws: Draws) -> Float64[Tensor, " B"]:
        pair = (draws.x.double(), draws.reconstruction.double())
        return self.score(*(x if x.ndim == 4 else x[:, None] for x in pair))

    def update(self, draws: Draws) -> None:
        self.shape = tuple(draws.x.shape[1:])
        if self._unfit() is None:
            super().update(draws)

    def compute(self) -> tuple[Estimate | Blank, ...]:
        reason = self._unfit()
        return super().compute() if reason is None else (Blank(self.column, reason),)

    def _unfit(self) -> str | None:
        """Why observations of this shape cannot be judged, or None."""
        size = " × ".join(map(str, self.shape))
        if len(self.shape) not in (2, 3):
            return f"observations of shape {size} are no images"
        fits = min(self.shape[-2:]) >= self.smallest
        return None if fits else f"a window of {self.smallest} × {self.smallest} pixels does not fit in {size}"
