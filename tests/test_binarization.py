"""Black and white from grey: laws over every registered rule."""

import hashlib
import math

import pytest
import torch

from vaebench.config.registry import BINARIZATIONS
from vaebench.data import binarization
from vaebench.data.binarization import Dynamic, Fixed, Threshold, binarized

GREY = torch.arange(256, dtype=torch.uint8).repeat(40).view(40, 1, 16, 16)


@pytest.fixture(params=list(BINARIZATIONS))
def rule(request):
    return BINARIZATIONS.build(request.param)


def test_certain_pixels_stay_certain(rule):
    u = torch.rand(10_000, generator=torch.Generator().manual_seed(0))
    assert not rule(torch.zeros(10_000), u).any()
    assert rule(torch.ones(10_000), u).all()
    assert rule(torch.ones(2), torch.tensor([0.0, 1 - 2**-24])).all()


def test_evaluation_sees_zeros_and_ones_and_sees_the_same_again(rule):
    torch.manual_seed(1)
    first = binarized(rule, GREY, 255.0, "test")
    torch.manual_seed(2)
    assert first.unique().tolist() == [0, 1]
    assert torch.equal(first, binarized(rule, GREY, 255.0, "test"))


def test_evaluation_does_not_depend_on_the_size_of_a_chunk(rule, monkeypatch):
    whole = binarized(rule, GREY, 255.0, "test")
    monkeypatch.setattr(binarization, "CHUNK", 7)
    assert torch.equal(whole, binarized(rule, GREY, 255.0, "test"))


def test_the_raw_number_and_its_scale_decide_not_its_type(rule):
    as_float = binarized(rule, GREY.double() / 255, 1.0, "test")
    assert torch.equal(as_float, binarized(rule, GREY, 255.0, "test"))


def test_threshold_is_exact_at_one_half():
    p = torch.tensor([0.0, 0.4999, 0.5, 0.5001, 1.0])
    assert Threshold()(p, torch.zeros(5)).tolist() == [False, False, True, True, True]


def test_dynamic_differs_from_fixed_in_training_only():
    assert torch.equal(binarized(Fixed(), GREY, 255.0, "test"), binarized(Dynamic(), GREY, 255.0, "test"))
    assert (Fixed.every_time, Dynamic.every_time, Threshold.every_time) == (False, True, False)


def test_each_split_has_numbers_of_its_own():
    assert not torch.equal(binarized(Fixed(), GREY, 255.0, "test"), binarized(Fixed(), GREY, 255.0, "validation"))


@pytest.mark.parametrize("rule", [Fixed(), Dynamic()], ids=lambda rule: rule.name)
@pytest.mark.parametrize("level", [1, 51, 128, 254])
def test_a_pixel_is_on_as_often_as_its_grey_level_says(rule, level):
    """Mean of 200 000 pixels within 5 standard errors; false alarm 6e-7 a case if the seed were drawn anew."""
    p, n = level / 255, 200_000
    on = binarized(rule, torch.full((n // 100, 100), level, dtype=torch.uint8), 255.0, "test")
    assert abs(on.double().mean().item() - p) < 5 * math.sqrt(p * (1 - p) / n)


def test_published_pixels_do_not_move():
    """A change here changes what every published bound on binarised data was measured on."""
    pixels = binarized(Fixed(), GREY, 255.0, "test").numpy().tobytes()
    assert hashlib.sha256(pixels).hexdigest()[:16] == "2fa13f9d3ee34627"
