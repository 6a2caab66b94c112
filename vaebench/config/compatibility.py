"""What two parts of a run must agree on, as far as it can be known before torch is imported.

A class may declare what it needs, in a literal or in an annotation; no class is named here.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from vaebench.config.annotations import Keywords, item_of, parameters, registry_of, shown
from vaebench.config.document import Keys
from vaebench.config.registry import Divides, Registry
from vaebench.config.signature import ClassSource

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


def disagreements(keywords: Keywords, run: Mapping[str, Any]) -> Iterator[Disagreement]:
    """What does not fit together in a run whose parts are each valid."""
    placed = [c for key, p in keywords.items() for c in components(p.annotation, run[key], (key,))]
    for component in placed:
        yield from _indivisible(component, run)
    yield from _outside_support(placed)


def components(annotation: Any, value: Any, path: Keys = ()) -> Iterator[Placed]:
    """Every component in a value that has all defaults filled in, from the outside inwards."""
    registry = registry_of(annotation)
    if registry is not None and isinstance(value, Mapping):
        yield Placed(path, registry, value)
        for key, inner in _inner(registry.source(value["name"]), registry):
            yield from components(inner, value[key], (*path, key))
    elif isinstance(value, Mapping):
        for key, p in parameters(annotation).items():
            yield from components(p.annotation, value[key], (*path, key))
    elif isinstance(value, tuple):
        item = item_of(annotation)
        for i, one in enumerate(value) if registry_of(item) is not None else ():
            yield from components(item, one, (*path, i))


@cache
def _inner(source: ClassSource, registry: Registry) -> list[tuple[str, Any]]:
    """The keywords of a component that are components themselves, or lists of them."""
    keywords = registry.keywords(source.name).items()
    return [
        (key, p.annotation) for key, p in keywords if registry_of(p.annotation) or registry_of(item_of(p.annotation))
    ]


@cache
def _divisors(source: ClassSource, registry: Registry) -> list[tuple[str, Divides]]:
    """The keywords of a component that must divide a number elsewhere in the run."""
    keywords = registry.keywords(source.name).items()
    marks = [(key, _divides(p.annotation) or _divides(item_of(p.annotation))) for key, p in keywords]
    return [(key, mark) for key, mark in marks if mark is not None]


def _indivisible(component: Placed, run: Mapping[str, Any]) -> Iterator[Disagreement]:
    registry, spec = component.registry, component.spec
    for key, mark in _divisors(registry.source(spec["name"]), registry):
        value = spec[key]
        if value is None:
            continue
        total: Any = run
        for step in mark.path.split("."):
            total = total[step]
        for bad in [v for v in (value if isinstance(value, tuple) else (value,)) if total % v]:
            text = f"expected a divisor of {mark.path} = {total}, got {shown(bad)}; change one of the two"
            yield Disagreement((*component.path, key), text)


def _divides(annotation: Any) -> Divides | None:
    marks = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return next((m for m in marks if isinstance(m, Divides)), None)


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
    for key, p in source.registry.keywords(source.spec["name"]).items():
        if registry := registry_of(p.annotation):
            fit = [n for n in registry if _covers(likelihood.support, registry.source(n).constant("support"))]
            if fit:
                yield f"{'.'.join(map(str, (*source.path, key)))}: {' | '.join(fit)}"
    registry = likelihood.registry
    fit = [n for n in registry if _covers(registry.source(n).constant("support"), source.support)]
    if fit:
        yield f"{'.'.join(map(str, likelihood.path))}: {' | '.join(fit)}"


def _covers(wide: str | None, narrow: str | None) -> bool:
    return wide in SUPPORTS and narrow in SUPPORTS and SUPPORTS.index(wide) >= SUPPORTS.index(narrow)
