"""Intervals over seeds: as scipy has them, and covering what they say."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vaebench.reporting.tables.intervals import Interval, gap, prediction_half_width, t_interval, t_quantile


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 30, 101, 1000])
def test_the_quantile_is_scipy_s(freedom):
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-11)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=9))
def test_the_interval_is_scipy_s(values):
    made, low_high = t_interval(values), stats.t.interval(0.95, len(values) - 1, 0, stats.sem(values) or 1e-300)
    assert made.mean == pytest.approx(sum(values) / len(values), abs=1e-9)
    assert made.half_width == pytest.approx(low_high[1], abs=1e-9)


@pytest.mark.parametrize("size", [1e59, 1e61, 1e160, 1e300])
def test_large_numbers_have_intervals(size):
    values = {0: 1.0, 1: 2.5, 2: 2.0}
    large = {seed: value * size for seed, value in values.items()}
    others = {seed + 5: 2 * value for seed, value in values.items()}
    expected, welch = t_interval([*values.values()]), gap(values, others)
    assert t_interval([*large.values()]).half_width == pytest.approx(expected.half_width * size)
    found = gap(large, {seed: value * size for seed, value in others.items()})
    assert found.interval[:2] == pytest.approx([n * size for n in welch.interval[:2]])
    assert found.is_clear is welch.is_clear


def test_one_seed_has_no_interval_and_none_no_mean():
    assert t_interval([3.0]) == Interval(3.0, None, 1)
    assert prediction_half_width([3.0], 2) is None
    with pytest.raises(ValueError, match="at least one value"):
        t_interval([])


@pytest.mark.parametrize("n", [2, 3, 5])
def test_both_intervals_cover_what_they_say(n):
    """4000 experiments: 95 % within 4 standard errors (± 1.4 %); false alarms about 6 in 100 000 for each of two."""
    generator, confidence, prediction = random.Random(n), 0, 0
    for _ in range(4000):
        values, further = ([generator.gauss(0, 1) for _ in range(k)] for k in (n, 3))
        mean, half_width, _ = t_interval(values)
        confidence += abs(mean) < half_width
        prediction += abs(mean - sum(further) / 3) < prediction_half_width(values, 3)
    tolerance = 4 * math.sqrt(0.95 * 0.05 / 4000)
    assert confidence / 4000 == pytest.approx(0.95, abs=tolerance)
    assert prediction / 4000 == pytest.approx(0.95, abs=tolerance)
