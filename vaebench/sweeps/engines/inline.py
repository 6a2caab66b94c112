"""One pack after the other, in this process: the default on a CPU or a single GPU."""

from collections.abc import Callable, Iterable, Iterator

from vaebench.sweeps.engines.base import Engine, Item, Result


class Inline(Engine):
    """Maps a function over items, keeping what fails from stopping the rest."""

    @property
    def workers(self) -> int:
        return 1

    def __str__(self) -> str:
        return "one pack after the other, in this process"

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Result | Exception]]:
        """Every item with its result, or with the exception in its place."""
        for item in items:
            try:
                yield item, function(item)
            except Exception as error:
                yield item, error
