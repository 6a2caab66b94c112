"""Conflicts between two parts of a run, as far as they can be found before torch is imported.

A class declares what it needs in a literal or in an annotation, so this file names no class.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from vaebench.config.document import Keys
from vaebench.config.fields import Fields, Node, component_fields, shown, walk
from vaebench.config.registry import Registry

WORDS = {
    "binary": "x in {0, 1}",
    "unit": "x in [0, 1]",
    "real": "x in R",
    "expected": "x in [0, 1] in place of x in {0, 1}",
}
SUPPORTS = tuple(WORDS)
"""{0, 1} ⊂ [0, 1] ⊂ R. Expected pixels need a likelihood of binary ones, whose log p(x|z) is linear in x.

A likelihood declares the support that it covers, and data declare the support of x, both as the literal `support` of
the class. A class without it (a user's files, whose values are not known yet) is checked when the data is read.
"""


class Disagreement(NamedTuple):
    """One conflict: its place in the run, and a text."""

    path: Keys
    text: str


class Placed(NamedTuple):
    """A component of a run: its place, its registry, and its mapping with every default filled in."""

    path: Keys
    registry: Registry
    spec: Mapping[str, Any]

    @property
    def support(self) -> str | None:
        constant: str | None = self.registry.source(self.spec["name"]).constant("support")
        return constant if constant in SUPPORTS else None


VALIDATION_USERS = (("train", "early_stopping"), ("evaluate", "split"))
"""Keys that may ask for a validation split."""


def disagreements(fields: Fields, run: Mapping[str, Any]) -> Iterator[Disagreement]:
    """Every conflict in a run whose parts are each valid."""
    placed = []
    for node in walk(fields, run):
        if node.kind.component and isinstance(node.value, Mapping):
            placed.append(Placed(node.keys, node.kind.component.registry, node.value))
        if node.kind.divides:
            yield from _indivisible(node, node.kind.divides, run)
    yield from _outside_support(placed)
    yield from _uncovered_epochs(run["train"])
    if run["data"].get("validation") == 0:
        for section, key in VALIDATION_USERS:
            if run[section][key] not in (None, "train", "test"):
                text = "expected no use of a validation split, since data.validation is 0; change one of the two"
                yield Disagreement((section, key), text)


def _uncovered_epochs(train: Mapping[str, Any]) -> Iterator[Disagreement]:
    total = sum(stage["epochs"] for stage in train["stages"])
    if train["stages"] and total != train["epochs"]:
        text = f"expected stages of train.epochs = {train['epochs']} epochs in all, got {total}; change one of the two"
        yield Disagreement(("train", "stages"), text)


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
    if model and data and not _covers(model[-1].support, data[-1].support):  # the innermost component decides
        likelihood, source = model[-1], data[-1]
        yield Disagreement(
            likelihood.path,
            f"{likelihood.spec['name']} expects {WORDS[likelihood.support or '']}, got {source.spec['name']} with "
            f"{WORDS[source.support or '']}; set {' or '.join(_remedies(likelihood, source))}",
        )


def _remedies(likelihood: Placed, source: Placed) -> Iterator[str]:
    """What may be set instead: a conversion that the data set offers, or another likelihood."""
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
    if "expected" in (wide, narrow):
        return (wide, narrow) == ("binary", "expected")
    return wide in SUPPORTS and narrow in SUPPORTS and SUPPORTS.index(wide) >= SUPPORTS.index(narrow)
