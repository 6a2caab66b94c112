"""One run after the other, in this process: the default on a CPU or a single GPU."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Inline:
    """Maps a function over items, keeping what fails from stopping the rest."""

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Result | Exception]]:
        """Every item with its result, or with the exception in its place."""
        for item in items:
            try:
                yield item, function(item)
            except Exception as error:
                yield item, error
