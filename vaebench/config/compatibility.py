"""What two parts of a run must agree on, as far as it can be known before torch is imported.

A class may declare what it needs, in a literal or in an annotation; no class is named here.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from vaebench.config.document import Keys
from vaebench.config.fields import Fields, Node, component_fields, shown, walk
from vaebench.config.registry import Registry

WORDS = {"binary": "x in {0, 1}", "unit": "x in [0, 1]", "real": "x in R"}
SUPPORTS = tuple(WORDS)
"""{0, 1} ⊂ [0, 1] ⊂ R. A likelihood declares the one it covers, a data set or a binarization the one it gives, as the
literal `support` of the class. Without it (own files, whose values are not known yet) the question waits for the data.
"""


class Disagreement(NamedTuple):
    """Where in the run, and what."""

    path: Keys
    text: str


class Placed(NamedTuple):
    """A component of a run: where it stands, what it is, and its mapping with every default filled in."""

    path: Keys
    registry: Registry
    spec: Mapping[str, Any]

    @property
    def support(self) -> str | None:
        constant: str | None = self.registry.source(self.spec["name"]).constant("support")
        return constant if constant in SUPPORTS else None


def disagreements(fields: Fields, run: Mapping[str, Any]) -> Iterator[Disagreement]:
    """What does not fit together in a run whose parts are each valid."""
    placed = []
    for node in walk(fields, run):
        if node.kind.component and isinstance(node.value, Mapping):
            placed.append(Placed(node.keys, node.kind.component.registry, node.value))
        if node.kind.divides:
            yield from _indivisible(node, node.kind.divides, run)
    yield from _outside_support(placed)


def _indivisible(node: Node, divided: str, run: Mapping[str, Any]) -> Iterator[Disagreement]:
    total: Any = run
    for key in divided.split("."):
        total = total[key]
    values = node.value if isinstance(node.value, tuple) else () if node.value is None else (node.value,)
    for bad in [value for value in values if total % value]:
        text = f"expected a divisor of {divided} = {total}, got {shown(bad)}; change one of the two"
        yield Disagreement(node.keys, text)


def _outside_support(placed: list[Placed]) -> Iterator[Disagreement]:
    model = [c for c in placed if c.path[0] == "model" and c.support]
    data = [c for c in placed if c.path[0] == "data" and c.support]
    if model and data and not _covers(model[-1].support, data[-1].support):  # the innermost has the last word
        likelihood, source = model[-1], data[-1]
        yield Disagreement(
            likelihood.path,
            f"{likelihood.spec['name']} expects {WORDS[likelihood.support or '']}, got {source.spec['name']} with "
            f"{WORDS[source.support or '']}; set {' or '.join(_remedies(likelihood, source))}",
        )


def _remedies(likelihood: Placed, source: Placed) -> Iterator[str]:
    """What may be set instead: a conversion that the data set offers, another likelihood."""
    for key, field in component_fields(source.registry, source.spec["name"]).items():
        if offered := field.kind.component:
            fit = [
                n
                for n in offered.registry
                if _covers(likelihood.support, offered.registry.source(n).constant("support"))
            ]
            if fit:
                yield f"{'.'.join(map(str, (*source.path, key)))}: {' | '.join(fit)}"
    registry = likelihood.registry
    fit = [n for n in registry if _covers(registry.source(n).constant("support"), source.support)]
    if fit:
        yield f"{'.'.join(map(str, likelihood.path))}: {' | '.join(fit)}"


def _covers(wide: str | None, narrow: str | None) -> bool:
    return wide in SUPPORTS and narrow in SUPPORTS and SUPPORTS.index(wide) >= SUPPORTS.index(narrow)
