"""Two configurations seed by seed: what the seeds share (data order, initial weights) drops out of the difference."""

from typing import NamedTuple

from vaebench.tables.grouping import Group
from vaebench.tables.intervals import Interval, t_interval
from vaebench.tables.quantities import Quantity


class Difference(NamedTuple):
    """A quantity in two configurations, over the seeds that both have, and the difference, first minus second."""

    quantity: Quantity
    first: Interval
    second: Interval
    difference: Interval

    @property
    def is_clear(self) -> bool:
        """Whether the 95 % interval of the difference excludes zero; one pair of seeds shows nothing."""
        width = self.difference.half_width
        return width is not None and abs(self.difference.mean) > width


def difference(first: Group, second: Group, quantity: Quantity) -> Difference | None:
    """The paired difference of a quantity, None where no seed has it in both."""
    ours, theirs = first.values(quantity), second.values(quantity)
    seeds = [seed for seed in ours if seed in theirs]
    if not seeds:
        return None
    gaps = [ours[seed] - theirs[seed] for seed in seeds]
    return Difference(
        quantity,
        t_interval([ours[seed] for seed in seeds]),
        t_interval([theirs[seed] for seed in seeds]),
        t_interval(gaps),
    )
