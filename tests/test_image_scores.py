"""PSNR and SSIM against their definitions."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d

from vaebench.config.registry import METRICS
from vaebench.models.draws import Draws
from vaebench.records.record import Estimate, NotApplicable


def computed(name: str, x: torch.Tensor, reconstruction: torch.Tensor, *cuts: int) -> Estimate | NotApplicable:
    metric, none = METRICS.build(name), torch.zeros(1, len(x))
    for part, other in zip(x.tensor_split(cuts), reconstruction.tensor_split(cuts), strict=True):
        metric.update(Draws(part, None, None, other, none, none, none, none))
    (outcome,) = metric.compute()
    return outcome


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_psnr_of_a_constant_error() -> None:
    """−20 log10 of the error of every pixel."""
    x = images(5, 3, 8, 8)
    for error in (0.1, 0.01, 2.0):
        assert computed("PSNR", x, x + error).value == pytest.approx(-20 * np.log10(error), rel=1e-4)


@pytest.mark.parametrize("name", ["PSNR", "SSIM"])
@pytest.mark.parametrize("change", [lambda x: 255 * x, lambda x: x - 0.5], ids=["bytes", "centred"])
def test_pixels_of_another_range_have_no_number(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    x = images(3, 1, 16, 16)
    x[0] = 0.7
    seen = computed(name, torch.cat([x[:1], change(x[1:])]), x, 1)
    assert isinstance(seen, NotApplicable)
    assert seen.reason == "2 of 3 images have pixels outside [0, 1]"
    assert isinstance(computed(name, x.round(), x), Estimate)


def test_psnr_is_averaged_over_images() -> None:
    """Errors of 0.1 and 0.001 make 20 and 60 dB, 40 in the mean, and not the 23 of their mean squared error."""
    x = torch.zeros(2, 1, 4, 4)
    seen = computed("PSNR", x, x + torch.tensor([0.1, 0.001])[:, None, None, None])
    assert seen.value == pytest.approx(40, rel=1e-5)
    assert seen.standard_error == pytest.approx(20, rel=1e-5)


def test_psnr_follows_squared_error_of_equal_images() -> None:
    x, other = images(1, 1, 28, 28), images(1, 1, 28, 28, seed=1)
    squared = computed("SquaredError", x, other).value
    assert computed("PSNR", x, other).value == pytest.approx(-10 * np.log10(squared / 784), rel=1e-6)


def test_psnr_without_error_is_not_finite() -> None:
    x = images(2, 1, 4, 4)
    assert computed("PSNR", x, x).value == np.inf


def reference(image: np.ndarray, other: np.ndarray) -> float:
    """SSIM as in Wang et al. 2004: convolutions with the window, where it lies within the image."""
    axis = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(axis, axis) / axis.sum() ** 2

    def mean(values: np.ndarray) -> np.ndarray:
        return convolve2d(values, window, mode="valid")

    a, b = mean(image), mean(other)
    variance, other_variance = mean(image**2) - a**2, mean(other**2) - b**2
    covariance = mean(image * other) - a * b
    luminance = (2 * a * b + 0.01**2) / (a**2 + b**2 + 0.01**2)
    return float((luminance * (2 * covariance + 0.03**2) / (variance + other_variance + 0.03**2)).mean())


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 20), (1, 11, 11), (28, 28)])
def test_ssim_follows_the_definition(shape: tuple[int, ...]) -> None:
    """Reconstructions that blur, add noise, and leave [0, 1]; channels are averaged."""
    x = images(4, *shape)
    other = (0.7 * x + 0.5 * images(4, *shape, seed=1)) * torch.tensor([0.5, 1, 1.5, -1]).view(-1, *[1] * len(shape))
    planes = zip(x.double().reshape(-1, *shape[-2:]), other.double().reshape(-1, *shape[-2:]), strict=True)
    expected = np.mean([reference(a.numpy(), b.numpy()) for a, b in planes])
    assert computed("SSIM", x, other).value == pytest.approx(expected, rel=1e-6)


def test_ssim_of_equal_images_is_one() -> None:
    x = images(3, 1, 16, 16)
    assert computed("SSIM", x, x).value == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (0.2, 0.8), (0.5, 0.5)])
def test_ssim_of_flat_images_is_the_term_of_luminance(a: float, b: float) -> None:
    x = torch.full((2, 1, 16, 16), a)
    expected = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    assert computed("SSIM", x, torch.full_like(x, b)).value == pytest.approx(expected, rel=1e-5)


def test_no_window_fits_a_small_image() -> None:
    blank = computed("SSIM", images(3, 1, 8, 8), images(3, 1, 8, 8, seed=1), 1)
    assert blank == NotApplicable("ssim", "a window of 11 × 11 pixels does not fit in 1 × 8 × 8")
    assert isinstance(computed("PSNR", images(3, 1, 8, 8), images(3, 1, 8, 8, seed=1)), Estimate)


@pytest.mark.parametrize("name", ["PSNR", "SSIM"])
def test_a_vector_is_no_image(name: str) -> None:
    blank = computed(name, images(3, 64), images(3, 64, seed=1), 2)
    assert blank == NotApplicable(name.lower(), "observations of shape 64 are no images")


@pytest.mark.parametrize("name", ["PSNR", "SSIM"])
def test_scores_are_the_same_in_any_batches(name: str) -> None:
    x, other = images(7, 1, 12, 12), images(7, 1, 12, 12, seed=1)
    whole, parts = computed(name, x, other), computed(name, x, other, 1, 5)
    assert (whole.value, whole.standard_error) == pytest.approx((parts.value, parts.standard_error), rel=1e-12)
    assert whole.n == parts.n == 7
