"""A YAML text: its values, and the line of each."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from vaebench.config.dialect import MERGE, MOST_DEPTH, STR, Loader, Refusal, refusals

if TYPE_CHECKING:
    from omegaconf.errors import OmegaConfBaseException

MOST_REFERENCES = 20
"""References `${…}` in one run. Each may refer to others, so their expansion can grow exponentially."""

CIRCLE = "the alias refers to a value that contains it; write the value out"

Keys = tuple[str | int, ...]
"""Keys and positions from the top of a file inwards, e.g. `("grid", "model.beta", 2)`."""


class Fault(NamedTuple):
    """What is wrong at one place of a file."""

    line: int
    keys: Keys
    text: str


class NotYaml(str):
    """The text about a syntax that YAML does not have."""


@dataclass(frozen=True)
class Document:
    """One YAML text, in the dialect of `vaebench.config.dialect`; `${…}` is not resolved here."""

    text: str

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (self.text,)  # pickled as its text; what was read from it is read again

    @cached_property
    def faults(self) -> list[Fault]:
        """What makes the text unreadable, or ambiguous: bad syntax, keys that are not text, keys given twice."""
        try:
            return self._faults()
        except yaml.MarkedYAMLError as error:
            return [_syntax(error)]
        except yaml.reader.ReaderError as error:
            line = self.text.count("\n", 0, error.position) + 1
            return [Fault(line, (), f"a character that no text has ({error.character!r}); save it as plain UTF-8 text")]
        except RecursionError:
            return [Fault(1, (), f"expected at most {MOST_DEPTH} levels, got far more; write it flatter")]

    @cached_property
    def value(self) -> dict[str, Any]:
        """The mapping. Only valid if there are no faults."""
        value = self._loader.construct_document(self._root)
        assert isinstance(value, dict)
        return value

    def line(self, keys: Sequence[str | int]) -> int:
        """The line of the innermost of these keys (or list items) that the file has."""
        node, line = self._root, 1
        for step in keys:
            found = _step(node, step)
            if found is None:
                break
            line, node = found
        return line

    def _faults(self) -> list[Fault]:
        root = self._root
        if root is None:
            return [Fault(1, (), "the file is empty; a study starts with its `question:`")]
        if not isinstance(root, yaml.MappingNode):
            got = "a list" if isinstance(root, yaml.SequenceNode) else "plain text"
            return [Fault(1, (), f"expected `key: value` lines at the top, got {got}; start with `question:`")]
        faults = list(_key_faults(root, (), set()))
        if not any(fault.text == CIRCLE for fault in faults):
            faults += [_syntax(refusal) for refusal in refusals(root)]
        return faults or self._reference_faults()

    def _reference_faults(self) -> list[Fault]:
        if not _references(self.value):
            return []
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        try:
            OmegaConf.to_container(OmegaConf.create(self.value), resolve=False)
        except OmegaConfBaseException as error:
            keys = _keys(error)
            return [Fault(self.line(keys), keys, _reason(error))]
        return []

    @cached_property
    def _loader(self) -> Loader:
        return Loader(self.text)

    @cached_property
    def _root(self) -> yaml.Node | None:
        node: yaml.Node | None = self._loader.get_single_node()
        return node


class DeadReference(LookupError):
    """A `${…}` that refers to nothing: its place, and a text."""

    def __init__(self, keys: Keys, text: str) -> None:
        self.places = [(keys, text)]
        super().__init__(f"{dotted(keys)}: {text}")


def dotted(keys: Keys) -> str:
    """Keys as messages write them: `grid.model.beta[2]`."""
    return "".join(f"[{k}]" if isinstance(k, int) else f".{_printable(k)}" for k in keys).removeprefix(".")


def resolved(value: dict[str, Any]) -> dict[Any, Any]:
    """The mapping with every `${…}` replaced by what it refers to.

    Raises:
        DeadReference: if one of them refers to nothing.
    """
    if not (references := _references(value)):
        return value
    if references > MOST_REFERENCES:
        text = f"expected at most {MOST_REFERENCES} references `${{…}}` in a run, got {references}; write values out"
        raise DeadReference((), text)
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        plain = OmegaConf.to_container(OmegaConf.create(value), resolve=True)
    except OmegaConfBaseException as error:
        raise DeadReference(_keys(error), _reason(error)) from None
    assert isinstance(plain, dict)
    return plain


def _references(value: Any) -> int:
    """The number of `${…}` in a value."""
    if isinstance(value, str):
        return value.count("${")
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(map(_references, parts))


def _printable(key: str) -> str:
    """A key on one line, cut to a readable length."""
    text = key if key.isprintable() else json.dumps(key)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _keys(error: "OmegaConfBaseException") -> Keys:
    steps = (error.full_key or "").replace("[", ".").replace("]", "").split(".")
    return tuple(int(s) if s.isdecimal() else s for s in steps if s)


def _reason(error: "OmegaConfBaseException") -> str:
    return f"{str(error).partition(chr(10))[0]}; write `${{model.latent_dim}}` for the value of that key"


def _step(node: yaml.Node | None, step: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        # The last one: keys that a merge `<<` brought in stand before the mapping's own.
        return next(((k.start_mark.line + 1, v) for k, v in reversed(node.value) if k.value == str(step)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark.line + 1, node.value[step]
    return None


def _key_faults(node: yaml.Node, path: Keys, seen: set[int], above: tuple[yaml.Node, ...] = ()) -> Iterator[Fault]:
    """What is wrong with the keys below a node. A node that several aliases refer to is visited once."""
    if any(node is n for n in above):
        yield Fault(node.start_mark.line + 1, path, CIRCLE)
    if id(node) in seen:
        return
    seen.add(id(node))
    above = (*above, node)
    if isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            yield from _key_faults(item, (*path, i), seen, above)
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            line, inside = key.start_mark.line + 1, path
            if key.tag not in (STR, MERGE):
                yield Fault(line, path, f"expected a name as a key, got {_shown(key)}; write it in quotes if it is one")
            elif key.value in first:
                since = first[key.value]
                yield Fault(line, (*path, key.value), f"given twice, first on line {since}; keep one of them")
                continue
            elif key.tag == STR:
                first[key.value], inside = line, (*path, key.value)
            yield from _key_faults(value, inside, seen, above)


def _shown(node: yaml.Node) -> str:
    return repr(node.value[:40]) if isinstance(node, yaml.ScalarNode) else "a list or a mapping"


def _syntax(error: yaml.MarkedYAMLError) -> Fault:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or "not YAML"
    if isinstance(error, Refusal):
        pass
    elif "'\\t'" in problem:
        problem = "a tab where YAML takes only spaces; indent with two spaces"
    elif "mapping values are not allowed" in problem:
        problem = "a second `:` on the line, or a wrong indentation; put text that holds `: ` in quotes"
    else:
        said = " ".join([error.context or "", problem]).strip()
        problem = NotYaml(f"not YAML: {said}; check brackets, quotes and indentation")
    return Fault(mark.line + 1 if mark else 1, (), problem)
