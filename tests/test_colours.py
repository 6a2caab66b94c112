"""Colours of charts differ visibly on a light and on a dark page: neighbours in an order, and any two of a list."""

import itertools
import math
import re
from pathlib import Path

import pytest

STYLE = (Path(__file__).parents[1] / "vaebench/reporting/page/templates/style.css").read_text(encoding="utf-8")

LEAST_IN_ORDER, LEAST_IN_LIST = 15.0, 14.0
"""CIEDE2000; about 2 is the least difference that is seen side by side, and lines of a chart are thin."""


def palette(kind: str, n: int, theme: int) -> list[tuple[float, float, float]]:
    return [lab(re.findall(rf"--{kind}{i}: (#[0-9a-f]{{6}})", STYLE)[theme]) for i in range(n)]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colours_are_told_apart(theme: int) -> None:
    ramp, listed = palette("r", 8, theme), palette("c", 10, theme)
    assert min(difference(*pair) for pair in itertools.pairwise(ramp)) >= LEAST_IN_ORDER
    assert min(difference(*pair) for pair in itertools.combinations(ramp, 2)) >= LEAST_IN_ORDER
    assert min(difference(*pair) for pair in itertools.combinations(listed, 2)) >= LEAST_IN_LIST


@pytest.mark.parametrize(
    ("first", "second", "known"),
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
        ((90.8027, -2.0831, 1.4410), (91.1528, -1.6435, 0.0447), 1.4441),
    ],
)
def test_the_difference_is_that_of_the_standard(first, second, known) -> None:
    """Pairs of Sharma, Wu & Dalal 2005, "The CIEDE2000 color-difference formula", table 1."""
    assert difference(first, second) == pytest.approx(known, abs=5e-5)


def lab(colour: str) -> tuple[float, float, float]:
    """CIE L*a*b* of sRGB, at the white of daylight (D65)."""
    coded = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    rgb = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in coded]
    rows = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
    xyz = [sum(a * b for a, b in zip(row, rgb, strict=True)) for row in rows]
    ratios = [value / white for value, white in zip(xyz, (0.95047, 1.0, 1.08883), strict=True)]
    x, y, z = (t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in ratios)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def difference(first: tuple[float, float, float], second: tuple[float, float, float]) -> float:
    """CIEDE2000."""
    (l1, a1, b1), (l2, a2, b2) = first, second
    mean7 = ((math.hypot(a1, b1) + math.hypot(a2, b2)) / 2) ** 7
    stretch = 1.5 - 0.5 * math.sqrt(mean7 / (mean7 + 25**7))
    c1, c2 = math.hypot(a1 * stretch, b1), math.hypot(a2 * stretch, b2)
    h1, h2 = (math.degrees(math.atan2(b, a * stretch)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    hue = (h1 + turn / 2) % 360 if c1 * c2 else h1 + h2
    c, l50 = (c1 + c2) / 2, ((l1 + l2) / 2 - 50) ** 2
    angles = ((-0.17, 1, -30), (0.24, 2, 0), (0.32, 3, 6), (-0.20, 4, -63))
    t = 1 + sum(w * math.cos(math.radians(k * hue + shift)) for w, k, shift in angles)
    light = (l2 - l1) / (1 + 0.015 * l50 / math.sqrt(20 + l50))
    chroma = (c2 - c1) / (1 + 0.045 * c)
    turned = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2)) / (1 + 0.015 * c * t)
    rotation = -2 * math.sqrt(c**7 / (c**7 + 25**7)) * math.sin(math.radians(60 * math.exp(-(((hue - 275) / 25) ** 2))))
    return math.sqrt(light**2 + chroma**2 + turned**2 + rotation * chroma * turned)
