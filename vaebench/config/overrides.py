"""`key=values` on the command line: it replaces the values of an axis, or adds an axis."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vaebench.config.document import Document, Fault, NotYaml
from vaebench.config.fields import Fields, walk
from vaebench.config.grid import Axis, GridError, points, span
from vaebench.config.registry import nearest


def overridden(axes: list[Axis], overrides: Sequence[str], run: Fields, base: Mapping[str, Any]) -> list[Axis]:
    """The axes after `key=values` from the command line: an axis of the same key is replaced, others are added.

    Raises:
        GridError: for a key that is unknown, ambiguous or given twice, or values that cannot be read.
    """
    given = set[str]()
    # Whole sections first, then keys that are known by then: a component's name says which keys there are.
    pending = sorted(map(_split, overrides), key=lambda pair: pair[0] not in run)
    while pending:
        known = known_keys(axes, run, base)
        key, text = next((pair for pair in pending if _meant(pair[0], known)), pending[0])
        pending.remove((key, text))
        new = Axis(_full(key, known), _values(key, text))
        if new.key in given:
            raise GridError(Fault(0, (new.key,), "given twice; give its values once, with commas between them"))
        given.add(new.key)
        places = [i for i, axis in enumerate(axes) if axis.key == new.key]
        axes = [new if i in places else axis for i, axis in enumerate(axes)] + ([] if places else [new])
    return axes


def known_keys(axes: Sequence[Axis], run: Fields, base: Mapping[str, Any]) -> set[str]:
    """Every key that some run of the study takes."""
    named = [replace(axis, values=_naming(axis.values) or axis.values[:1]) for axis in axes]
    nodes = (node for point in points(named) for node in walk(run, point.applied_to(base)))
    return {".".join(map(str, node.keys)) for node in nodes}


def unknown(key: str, known: Iterable[str]) -> str:
    """The message about an unknown key, with the most similar key: in full, or by its last part."""
    full = {k.rpartition(".")[2]: k for k in sorted(known)} | {k: k for k in sorted(known)}
    near = nearest(key, full)
    if near:
        return f"unknown key (did you mean {full[near]}?)"
    return f"unknown key; the keys are {', '.join(sorted(known))}"


def _full(key: str, known: set[str]) -> str:
    found = _meant(key, known)
    if len(found) > 1:
        raise GridError(Fault(0, (key,), f"ambiguous; write {' or '.join(found)}"))
    if not found:
        raise GridError(Fault(0, (key,), unknown(key, known)))
    return found[0]


def _meant(key: str, known: set[str]) -> list[str]:
    return [key] if key in known else sorted(k for k in known if k.endswith(f".{key}"))


def _split(override: str) -> tuple[str, str]:
    key, sign, values = override.partition("=")
    if not (key.strip() and sign and values.strip()):
        raise GridError(Fault(0, (override,), "expected key=value, e.g. beta=4, latent_dim=5,10 or seed=0..4"))
    return key.strip(), values.strip()


def _values(key: str, text: str) -> Sequence[Any]:
    document = Document(f"values: [{text}]")
    if faults := document.faults:
        unreadable = f"expected values with commas between them, got {text[:60]!r}; quote it as YAML would"
        raise GridError(Fault(0, (key,), unreadable if isinstance(faults[0].text, NotYaml) else faults[0].text))
    try:
        return span(text) or document.value["values"]
    except ValueError as error:
        raise GridError(Fault(0, (key,), str(error))) from None


def _naming(values: Sequence[Any]) -> list[Any]:
    return [] if isinstance(values, range) else [v for v in values if isinstance(v, str | Mapping)]
