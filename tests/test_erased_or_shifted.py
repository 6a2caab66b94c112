"""A part erased against a shift: images whose answer is counted by hand, models whose code is the image or nothing."""

import math

import pytest
import torch
from torch.distributions import Normal

from vaebench.config.registry import ESTIMATORS, MODELS
from vaebench.data.loaders import Batch
from vaebench.evaluation.estimators import erased_or_shifted
from vaebench.evaluation.estimators.erased_or_shifted import (
    CHOICES,
    CLASSES,
    DISTANCES,
    SHARES,
    EncodedImages,
    cross_entropy,
    erase,
    relative,
    shift,
)
from vaebench.evaluation.measure import Measurement, build_estimators, estimate
from vaebench.evaluation.metrics.base import without_densities
from vaebench.models.ae import AE
from vaebench.models.base import Autoencoder
from vaebench.models.draws import ChunkSize
from vaebench.models.linear_vae import LinearVAE
from vaebench.models.parts.posteriors import Form
from vaebench.records.description import Panel
from vaebench.records.record import Estimate

SIDE = 6
SHAPE = (1, SIDE, SIDE)
PIXELS = SIDE * SIDE

ROW_SUMS = torch.eye(SIDE, dtype=torch.float64).repeat_interleave(SIDE, 1)
"""The ink of every row as a map of images: no shift to the right changes it as long as nothing leaves."""


def blocks(width: int, count: int = 12) -> torch.Tensor:
    """Blocks of two rows at the left edge, [N, 1, 6, 6]."""
    x = torch.zeros(count, *SHAPE, dtype=torch.float64)
    x[..., 2:4, :width] = 1.0
    return x


def grey(count: int = 40) -> torch.Tensor:
    """Images of noise in [0, 1], the last column of which is empty."""
    x = torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[..., -1] = 0
    return x


def linear(matrix: torch.Tensor) -> LinearVAE:
    """The linear VAE whose code is a matrix [L, D] times the image, and whose decoder is its transpose; in float64."""
    model = LinearVAE(SHAPE, 0, latent_dim=len(matrix)).double()
    with torch.no_grad():
        model.encoder[1].weight.copy_(matrix)
        model.decoder[0].weight.copy_(matrix.mT)
        model.encoder[1].bias.zero_()
        model.decoder[0].bias.zero_()
    return model


def asked(model: Autoencoder, x: torch.Tensor, label: torch.Tensor | None = None, **keywords: object) -> Measurement:
    return estimate(model, [Batch(x, label)], build_estimators([{"name": "ErasedOrShifted", **keywords}]), 0)


def seen(model: Autoencoder, x: torch.Tensor, label: torch.Tensor | None = None, **keywords: object) -> dict:
    return {e.name: e.value for e in asked(model, x, label, **keywords).estimates}


# -- the alterations --------------------------------------------------------------------------------------------------


def test_a_shift_moves_every_pixel_and_loses_what_leaves() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])[None, None]
    assert shift(x, 1)[0, 0].tolist() == [[0, 1, 2], [0, 4, 5]]
    assert shift(x, 2)[0, 0].tolist() == [[0, 0, 1], [0, 0, 4]]
    assert not shift(x, 3).any()
    assert not shift(x, 9).any()


def test_as_few_rows_are_erased_as_hold_the_share() -> None:
    x = torch.zeros(1, 1, 5, 2)
    x[0, 0, 1:] = 1.0  # four rows of ink below an empty one
    left = {share: int(erase(x, share).sum()) // 2 for share in (0.0, 0.1, 0.25, 0.26, 0.5, 0.75, 1.0)}
    assert left == {0.0: 4, 0.1: 3, 0.25: 3, 0.26: 2, 0.5: 2, 0.75: 1, 1.0: 0}
    assert torch.equal(erase(x, 0.25)[0, 0, 2:], x[0, 0, 2:])
    assert not erase(torch.zeros(1, 1, 5, 2), 0.5).any()


def test_each_image_loses_its_own_rows_in_all_channels() -> None:
    x = torch.stack([torch.eye(4).expand(3, 4, 4), torch.ones(3, 4, 4)])
    x[0, :, 0] = 0
    cut = erase(x, 0.5)
    assert torch.equal(cut[0, :, 3:], x[0, :, 3:])
    assert torch.equal(cut[1, :, 2:], x[1, :, 2:])
    assert not cut[0, :, :3].any()
    assert not cut[1, :, :2].any()


# -- images whose answer is counted -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "wrong"), [(1, 1.0), (3, 1.0), (4, 0.5), (5, 0.0)])
def test_a_block_is_counted(width: int, wrong: float) -> None:
    """The shift of two rows changes a pixel at either end of each, four in all; half erased is one row, `width`."""
    found = seen(AE(SHAPE).double(), blocks(width), share=0.5)
    assert found["wrong_by_squared_error"] == wrong
    assert found["wrong_by_cross_entropy"] == wrong  # of 0 and 1 it counts pixels too


def test_cross_entropy_is_that_of_the_observation_under_the_altered_image() -> None:
    x, a = torch.tensor([[[[0.0, 1.0, 0.5, 0.5]]]]), torch.tensor([[[[0.0, 1.0, 0.25, 0.0]]]])
    by_hand = -0.5 * math.log(0.25) - 0.5 * math.log(0.75) + 0.5 * 100  # a pixel of 0 costs x·100, as in torch
    assert float(cross_entropy(x, a)) == pytest.approx(by_hand)


def test_a_distance_is_one_where_the_alteration_is_as_far_as_another_image() -> None:
    original = torch.tensor([[0.0], [2.0]], dtype=torch.float64)
    assert relative("a", original, original.flip(0)).value == pytest.approx(1.0)
    assert relative("a", original, original + 1) == Estimate("a", pytest.approx(0.5), pytest.approx(0.0), 2)
    with_spread = relative("a", original, original + torch.tensor([[0.0], [2.0]]))
    assert with_spread.value == pytest.approx(math.sqrt(2) / 2)
    # squares 0 and 4: their mean has the standard error 2, its root 2 / (2√2), over the distance 2
    assert with_spread.standard_error == pytest.approx(2 / (2 * math.sqrt(2)) / 2)


def test_more_erased_is_farther_in_pixels() -> None:
    over = seen(AE(SHAPE).double(), grey(), share=0.25)
    curve = over["wrong_by_squared_error_over_share"]
    assert over["erased_share"] == list(SHARES)
    assert curve == sorted(curve, reverse=True)
    assert curve[SHARES.index(0.25)] == over["wrong_by_squared_error"]
    assert over["wrong_by_code_over_share"][SHARES.index(0.25)] == over["wrong_by_code"]


# -- models whose code is known ---------------------------------------------------------------------------------------


def test_a_code_that_is_the_image_chooses_as_pixels_do() -> None:
    found = seen(linear(torch.eye(PIXELS)), grey(), share=0.75)
    assert 0 < found["wrong_by_squared_error"] < 1
    assert found["wrong_by_code"] == found["wrong_by_squared_error"]
    assert found["wrong_by_posterior"] == found["wrong_by_squared_error"]  # all units have one variance
    assert found["wrong_by_reconstruction"] == found["wrong_by_squared_error"]  # it gives the altered image back
    assert found["shifted_in_code"] == pytest.approx(found["shifted_in_pixels"], rel=1e-12)
    assert found["erased_in_code"] == pytest.approx(found["erased_in_pixels"], rel=1e-12)


def test_a_code_that_says_nothing_chooses_by_the_toss_of_a_coin() -> None:
    model = linear(torch.zeros(3, PIXELS))
    measured = asked(model, grey())
    found = {e.name: e.value for e in measured.estimates}
    assert [found[f"wrong_by_{by}"] for by in ("code", "posterior", "reconstruction")] == [0.5] * 3
    assert found["wrong_by_code_over_share"] == [0.5] * len(SHARES)
    assert measured.not_applicable["shifted_in_code"] == "all originals are equal: there is no distance to compare with"


def test_a_code_that_no_shift_changes_is_never_wrong() -> None:
    found = seen(linear(ROW_SUMS), grey())
    assert found["wrong_by_squared_error"] > 0.9
    assert found["wrong_by_code"] == found["wrong_by_posterior"] == 0.0
    assert found["shifted_in_code"] == pytest.approx(0.0, abs=1e-12)


def test_a_linear_model_chooses_by_the_norm_of_its_matrix() -> None:
    """‖V(x − a)‖, and ‖V(x − a)‖ over the posterior's standard deviations, computed apart."""
    matrix = torch.randn(4, PIXELS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model, x = linear(matrix), grey()
    spread = torch.tensor([0.1, 1.0, 3.0, 0.01], dtype=torch.float64)
    with torch.no_grad():
        model.log_variance.copy_(2 * spread.log())
    found = seen(model, x, share=0.4)
    wrong, right = ((x - a).flatten(1) @ matrix.mT for a in (erase(x, 0.4), shift(x, 1)))
    by_code = (wrong.norm(dim=1) < right.norm(dim=1)).double().mean()
    by_posterior = ((wrong / spread).norm(dim=1) < (right / spread).norm(dim=1)).double().mean()
    assert 0 < by_code < 1
    assert by_posterior != by_code
    assert found["wrong_by_code"] == pytest.approx(float(by_code))
    assert found["wrong_by_posterior"] == pytest.approx(float(by_posterior))


def test_the_divergence_of_posteriors_is_jeffreys() -> None:
    """Of N(0, 1) and N(1, 4): ½(Δ² (1 + 1/4) + 4 + 1/4 − 2)."""
    one, two = (torch.full((1, 1), float(v), dtype=torch.float64) for v in (1, 2))
    first, second = (EncodedImages(one, Normal(mean, std), one[0]) for mean, std in ((0 * one, one), (one, two)))
    assert float(first.posterior_distance(second)) == pytest.approx(0.5 * (1.25 + 4.25 - 2))
    assert float(second.posterior_distance(first)) == pytest.approx(float(first.posterior_distance(second)))
    assert float(first.code_distance(second)) == 1.0


def test_classes_are_kept_or_lost() -> None:
    """Half of the images have two rows, the others the lower one alone: erasing half turns the first into the second.

    What is left of the others is nothing, nearer to one row than to two.
    """
    x, label = torch.zeros(40, *SHAPE, dtype=torch.float64), torch.arange(40) // 2 % 2
    x[..., 4, 1:3] = 1.0
    x[label == 0, :, 1, 1:3] = 1.0
    found = seen(linear(ROW_SUMS), x, label, share=0.5)
    assert [found[name] for name in CLASSES] == [1.0, 1.0, 0.5]


# -- the estimator among others ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_asked(name: str) -> None:
    """All columns, but that a point mass has no divergence from another; the model and torch's generator as before."""
    model = MODELS.build({"name": name, "likelihood": "Gaussian", "latent_dim": 2}, (1, 4, 4), 0)
    x, label = grey()[..., :4, 1:5].float(), torch.arange(40) % 3
    state = torch.get_rng_state()
    measured = asked(model, x, label)
    numbers = {e.name for e in measured.estimates if not isinstance(e.value, list)}
    assert numbers | measured.not_applicable.keys() == {*CHOICES, *DISTANCES, *CLASSES}
    reason = without_densities(model, Form.DIAGONAL)
    assert measured.not_applicable == ({} if reason is None else {"wrong_by_posterior": reason})
    assert model.stochastic or reason == f"{name} has no posterior q(z|x)"
    assert all(e.n == 40 for e in measured.estimates)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training


def test_many_images_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = linear(ROW_SUMS), grey()
    whole = seen(model, x, torch.arange(40) % 3)
    monkeypatch.setattr(erased_or_shifted, "ROWS", ChunkSize(7, 7))
    assert seen(model, x, torch.arange(40) % 3) == whole
    assert {e.n for e in asked(model, x, observations=11).estimates} == {11}


def test_where_there_is_nothing_to_alter_every_column_is_blank_with_the_reason() -> None:
    columns = {*CHOICES, *DISTANCES, *CLASSES}
    vectors = asked(LinearVAE((5,), 0), torch.rand(12, 5))
    assert vectors.not_applicable == dict.fromkeys(columns, "observations of shape 5 are no images to shift")
    bright = asked(AE(SHAPE), 2 + torch.rand(12, *SHAPE))
    assert set(bright.not_applicable) == columns
    assert "not in [0, 1]" in bright.not_applicable["wrong_by_code"]
    assert vectors.estimates == bright.estimates == []
    assert asked(AE(SHAPE), torch.rand(12, *SHAPE)).not_applicable["erased_as_class"] == "the data has no labels"
    few = asked(AE(SHAPE), torch.rand(4, *SHAPE), torch.arange(4))
    assert few.not_applicable["erased_as_class"] == "4 observations are fewer than two halves of 5 neighbours"


def test_a_diverged_model_is_blank_with_what_to_do() -> None:
    model = AE(SHAPE)
    with torch.no_grad():
        model.encoder[-1].bias.fill_(math.nan)
    measured = asked(model, torch.rand(12, *SHAPE))
    assert measured.estimates == []
    assert all("train again with a lower model.learning_rate" in reason for reason in measured.not_applicable.values())


def test_every_column_has_a_heading() -> None:
    for description in ESTIMATORS.build("ErasedOrShifted").columns.values():
        assert description.heading
        assert description.panel in (Panel.ALTERED, Panel.DISTANCE)


def test_what_is_shown_are_the_images_and_what_the_model_makes_of_them() -> None:
    model, x = AE(SHAPE).double(), grey(3)
    rows = ESTIMATORS.build({"name": "ErasedOrShifted", "share": 0.5}).example_images(model, x)
    assert rows.shape == (6, 3, *SHAPE)
    images = (x, shift(x, 1), erase(x, 0.5))
    assert torch.equal(rows[:3], torch.stack(images))
    assert torch.allclose(rows[3:], torch.stack([model(a).detach() for a in images]))
