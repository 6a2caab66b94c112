"""Which runs of a sweep train together: decided from their configurations, before anything is loaded."""

import json
import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from vaebench.config import Run

MOST = 32
"""Members of a pack unless said: more share no further cost, and their numbers leave a processor's cache."""


def most_of(pack: str) -> int:
    """The largest pack that `--pack auto|off|N` allows.

    Raises:
        ValueError: if it is none of these.
    """
    if pack in ("auto", "off"):
        return MOST if pack == "auto" else 1
    if not re.fullmatch(r"0*[1-9][0-9]{0,5}", pack):
        raise ValueError(f"--pack: expected auto, off, or how many runs may train together, got {pack[:20]!r}")
    return int(pack)


def packs_of(runs: Sequence[Run], most: int = MOST, workers: int = 1) -> list[list[Run]]:
    """The runs in packs: those of one architecture, data and schedule together, in parts of about the same size.

    Args:
        runs: in any order.
        most: the largest size of a pack.
        workers: how many packs are worked on at a time; each has a pack where there are as many runs.
    """
    if not runs:
        return []
    alike: dict[str, list[Run]] = {}
    for run in runs:
        alike.setdefault(shared(run), []).append(run)
    most = min(most, math.ceil(len(runs) / workers))
    return [pack for group in alike.values() for pack in _parts(group, math.ceil(len(group) / most))]


def shared(run: Run) -> str:
    """What the runs of a pack have in common: everything but numbers of the model that are no sizes, and the seed.

    How they are measured may differ as well, since each is measured by itself. A run on several devices has nothing in
    common with any other.
    """
    train = {key: value for key, value in run.config["train"].items() if key != "gradient_clip"}
    alone = run.id if run.train.devices > 1 else None
    return json.dumps([_sizes(run.config["model"]), run.config["data"], train, alone], sort_keys=True)


def decision(packs: Sequence[Sequence[Run]], most: int) -> str:
    """One line on who trains with whom, and why."""
    count, largest = sum(map(len, packs)), max(map(len, packs), default=0)
    if count == 1:
        return "one run"
    if most == 1:
        return f"{count} runs, each by itself: --pack off"
    if largest <= 1:
        return f"{count} runs, each by itself: no two share architecture, data, batch size and epochs"
    sizes = sorted({len(pack) for pack in packs})
    of = f"of {sizes[0]}" if len(sizes) == 1 else f"of {sizes[0]} to {sizes[-1]}"
    packed = f"{count} runs as 1 pack" if len(packs) == 1 else f"{count} runs as {len(packs)} packs {of}"
    return f"{packed}: the runs of a pack share architecture, data, batch size and epochs (at most {most}, --pack)"


def _sizes(value: Any) -> Any:
    """A part of a configuration with every real number taken out."""
    if isinstance(value, dict):
        return {k: _sizes(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_sizes(v) for v in value]
    return "a number" if isinstance(value, float) else value


def _parts(group: list[Run], n: int) -> list[list[Run]]:
    borders = [len(group) * i // n for i in range(n + 1)]
    return [group[a:b] for a, b in pairwise(borders)]
