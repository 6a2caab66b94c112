"""Packs one after another in this process: the default on a CPU or a single GPU."""

from collections.abc import Callable, Iterable, Iterator

from vaebench.sweeps.engines.base import Engine, Item, Result


class Inline(Engine):
    """Maps a function over items. An error does not stop the items that follow."""

    @property
    def workers(self) -> int:
        return 1

    def __str__(self) -> str:
        return "one pack after another, in this process"

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Result | Exception]]:
        for item in items:
            try:
                yield item, function(item)
            except Exception as error:
                yield item, error
