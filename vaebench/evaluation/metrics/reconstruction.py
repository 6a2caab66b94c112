"""How well a reconstruction matches its observation: squared error, explained variance, PSNR, SSIM."""

from collections.abc import Mapping

from jaxtyping import Float64
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from vaebench.config.registry import METRICS
from vaebench.evaluation.metrics.base import MeasuredModel, Metric, ScalarMean
from vaebench.models.draws import Draws
from vaebench.records.description import Description, Direction, Panel, Role
from vaebench.records.record import Estimate, NotApplicable


@METRICS.register
class SquaredError(ScalarMean):
    """Squared error of the decoder's mean at the posterior's mean, summed over pixels, in units of x²."""

    column = "squared_error"
    description = Description(
        "squared error", Panel.OBJECTIVE, 70, "x²", Direction.LOWER, role=Role.RECONSTRUCTION_ERROR
    )

    def why_not_applicable(self, model: MeasuredModel) -> str | None:
        return None

    def per_observation(self, draws: Draws) -> Float64[Tensor, " B"]:
        return (draws.reconstruction.double() - draws.x.double()).square().flatten(1).sum(1)


class ImageScore(ScalarMean):
    """Likeness of an image and its reconstruction (the decoder's mean at the posterior's mean), mean over images.

    Pixels must be in [0, 1]; the reconstruction is not clamped. A subclass gives `score`, the name of the column, and
    the smallest side of an image that it can judge.
    """

    outside: Tensor  # how many images have pixels outside [0, 1]
    smallest = 1
    shape: tuple[int, ...] = ()

    def why_not_applicable(self, model: MeasuredModel) -> str | None:
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
            x = draws.x.flatten(1)
            self.outside = self.outside + ((x < 0) | (x > 1)).any(1).sum()
            super().update(draws)

    def compute(self) -> tuple[Estimate | NotApplicable, ...]:
        reason = self._unfit()
        if self.outside:
            reason = f"{int(self.outside)} of {int(self.count)} images have pixels outside [0, 1]"
        return super().compute() if reason is None else (NotApplicable(self.column, reason),)

    def _unfit(self) -> str | None:
        """Why observations of this shape cannot be judged, or None."""
        size = " × ".join(map(str, self.shape))
        if len(self.shape) not in (2, 3):
            return f"observations of shape {size} are no images"
        fits = min(self.shape[-2:]) >= self.smallest
        return None if fits else f"a window of {self.smallest} × {self.smallest} pixels does not fit in {size}"


@METRICS.register
class PSNR(ImageScore):
    """Peak signal-to-noise ratio −10 log10 of the mean squared error of a pixel, dB, of each image, then averaged.

    The peak is 1. An image without error has no finite one.
    """

    column = "psnr"
    description = Description("PSNR in dB", Panel.REPRESENTATION, 10, "dB", Direction.HIGHER)

    def score(self, image: Tensor, reconstruction: Tensor) -> Float64[Tensor, " B"]:
        return peak_signal_noise_ratio(reconstruction, image, data_range=1.0, reduction="none", dim=(1, 2, 3))


WINDOW = 11  # pixels on a side of the Gaussian window of σ = 1.5


@METRICS.register
class SSIM(ImageScore):
    """Structural similarity (Wang et al. 2004), at most 1, mean over images: Gaussian window of 11 × 11 pixels with
    σ = 1.5, K1 = 0.01, K2 = 0.03, range 1.

    Averaged over the windows that lie within the image, as the authors do, and over channels. Images below 11 × 11
    pixels have no such window, so they have no number.
    """

    column = "ssim"
    description = Description("SSIM", Panel.REPRESENTATION, 20, better=Direction.HIGHER)
    smallest = WINDOW

    def score(self, image: Tensor, reconstruction: Tensor) -> Float64[Tensor, " B"]:
        _, full = structural_similarity_index_measure(
            reconstruction, image, sigma=1.5, reduction="none", data_range=1.0, return_full_image=True
        )
        inner = slice(WINDOW // 2, -(WINDOW // 2))  # beyond it torchmetrics reflects the image at its border
        return full[..., inner, inner].mean((1, 2, 3))


@METRICS.register
class ExplainedVariance(Metric):
    """1 − Σ‖x − x̂‖² / Σ‖x − x̄‖², both sums over the whole split, x̄ its mean; at most 1.

    It is one ratio of two sums. A mean of the ratios of batches or observations is another number, because it gives
    observations near the mean a large weight.
    """

    error: Tensor
    squares: Tensor
    total: Tensor
    count: Tensor

    def why_not_applicable(self, model: MeasuredModel) -> str | None:
        return None

    def columns(self, draws: int) -> Mapping[str, Description]:
        described = Description("explained variance", Panel.REPRESENTATION, 5, better=Direction.HIGHER)
        return {"explained_variance": described}

    def update(self, draws: Draws) -> None:
        x = draws.x.double().flatten(1)
        self.error = self.error + (x - draws.reconstruction.double().flatten(1)).square().sum()
        self.squares = self.squares + x.square().sum()
        self.total = self.total + x.sum(0)
        self.count = self.count + len(x)

    def compute(self) -> tuple[Estimate | NotApplicable, ...]:
        n = int(self.count)
        variance = float(self.squares - self.total.square().sum() / n)
        if variance <= 1e-12 * float(self.squares):
            return (NotApplicable("explained_variance", "all observations are equal: there is no variance"),)
        return (Estimate("explained_variance", 1 - float(self.error) / variance, n=n),)
