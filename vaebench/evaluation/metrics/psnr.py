"""Reconstruction on a scale of decibels."""

from jaxtyping import Float64
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from vaebench.config.registry import METRICS
from vaebench.evaluation.metrics.image_score import ImageScore


@METRICS.register
class PSNR(ImageScore):
    """Peak signal-to-noise ratio −10 log10 of the mean squared error of a pixel, dB, of each image, then averaged.

    The peak is 1. An image without error has no finite one.
    """

    column = "psnr"

    def score(self, image: Tensor, reconstruction: Tensor) -> Float64[Tensor, " B"]:
        return peak_signal_noise_ratio(reconstruction, image, data_range=1.0, reduction="none", dim=(1, 2, 3))
