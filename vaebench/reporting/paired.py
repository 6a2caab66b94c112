"""Compares two configurations, paired by seed.

Runs of one seed share the order of data and the initial weights, so that their effect cancels in the difference.
"""

from collections.abc import Sequence
from typing import NamedTuple

from vaebench.reporting.tables.intervals import Gap, Interval, paired, t_interval
from vaebench.reporting.tables.labels import canonical
from vaebench.reporting.tables.layout import leaf
from vaebench.reporting.tables.quantities import Fact, Quantity, observations, quantities
from vaebench.reporting.tables.rows import Group


class Difference(NamedTuple):
    """A quantity in two configurations over the seeds that both have, and the difference, first minus second.

    Attributes:
        quantity: what is compared.
        first, second: its value in each configuration.
        gap: the difference.
        cautions: for each configuration, what the mark of its value says; None if it has no mark.
    """

    quantity: Quantity
    first: Interval
    second: Interval
    gap: Gap
    cautions: tuple[str | None, str | None] = (None, None)

    @property
    def difference(self) -> Interval:
        """The difference, with its interval."""
        return self.gap.interval

    @property
    def is_clear(self) -> bool:
        """Whether the seeds show a difference; one pair of runs never does, and a marked number never does."""
        return self.gap.is_clear and self.cautions == (None, None)


class Incomparable(NamedTuple):
    """A quantity that both configurations have, and why its values cannot be compared."""

    quantity: Quantity
    first: Interval
    second: Interval
    reason: str


def difference(first: Group, second: Group, quantity: Quantity) -> Difference | Incomparable | None:
    """The paired difference of a quantity; None if no seed has it in both configurations."""
    ours, theirs = first.values(quantity), second.values(quantity)
    seeds = [seed for seed in ours if seed in theirs]
    gap = paired(ours, theirs)
    if gap is None:
        return None
    sides = t_interval([ours[seed] for seed in seeds]), t_interval([theirs[seed] for seed in seeds])
    cells = [group.cell(quantity) for group in (first, second)]
    if cells[0].over != cells[1].over:
        words = " against ".join(dict.fromkeys(observations(cell.over) for cell in cells))
        return Incomparable(quantity, *sides, f"it was taken over other observations in each ({words})")
    return Difference(quantity, *sides, gap, (cells[0].caution, cells[1].caution))


def differences(first: Group, second: Group) -> list[Difference | Incomparable]:
    """The difference of every measured quantity that both configurations have.

    Raises:
        ValueError: if there is nothing to pair, or if the two differ in the data or the measure.
    """
    if reason := obstacle(first, second):
        raise ValueError(reason)
    measured = [q for q in quantities([*first.done, *second.done]) if not isinstance(q, Fact)]
    return [d for q in measured if (d := difference(first, second, q)) is not None]


def obstacle(first: Group, second: Group) -> str | None:
    """Why two configurations cannot be compared; None if they can."""
    for name, group in (("first", first), ("second", second)):
        if not group.done:
            reasons = "; ".join(dict.fromkeys(str(record.reason) for record in group.failed))
            return f"no run of the {name} finished: {reasons or 'there is none'}"
    keys = dict.fromkeys((*first.comparability, *second.comparability))
    apart = [k for k in keys if canonical(first.comparability.get(k)) != canonical(second.comparability.get(k))]
    if apart:
        values = [f"{k} {leaf(first.comparability.get(k))} and {leaf(second.comparability.get(k))}" for k in apart]
        return f"not comparable: {', '.join(values)}; a bound means something else on other pixels or another measure"
    ours, theirs = ([record.config["seed"] for record in group.done] for group in (first, second))
    if not set(ours) & set(theirs):
        return f"no seed in common: {_listed(ours)} and {_listed(theirs)}; run both with the same seeds"
    return None


def _listed(seeds: Sequence[int]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
