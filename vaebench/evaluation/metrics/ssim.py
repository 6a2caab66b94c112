"""Reconstruction as local structure."""

from jaxtyping import Float64
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from vaebench.config.registry import METRICS
from vaebench.evaluation.metrics.image_score import ImageScore

WINDOW = 11
"""Pixels on a side of the Gaussian window of σ = 1.5."""


@METRICS.register
class SSIM(ImageScore):
    """Structural similarity (Wang et al. 2004), at most 1, mean over images: Gaussian window of 11 × 11 pixels with
    σ = 1.5, K1 = 0.01, K2 = 0.03, range 1.

    Averaged over the windows that lie within the image, as the authors do, and over channels; images under 11 × 11
    have no such window, hence no number.
    """

    column = "ssim"
    smallest = WINDOW

    def score(self, image: Tensor, reconstruction: Tensor) -> Float64[Tensor, " B"]:
        _, full = structural_similarity_index_measure(
            reconstruction, image, sigma=1.5, reduction="none", data_range=1.0, return_full_image=True
        )
        inner = slice(WINDOW // 2, -(WINDOW // 2))  # beyond it torchmetrics reflects the image at its border
        return full[..., inner, inner].mean((1, 2, 3))
