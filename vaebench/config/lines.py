"""A YAML text: what it says, and on which line it says it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

Keys = tuple[str | int, ...]
"""Keys and positions from the top of a file inwards, e.g. `("grid", "model.beta", 2)`."""


class Fault(NamedTuple):
    """What is wrong at one place of a file."""

    line: int
    keys: Keys
    text: str


@dataclass(frozen=True)
class Document:
    """One YAML file. Numbers are read as YAML 1.2 has them (`1e-3` is a number); `${…}` is left as it stands."""

    text: str

    @cached_property
    def faults(self) -> list[Fault]:
        """What makes the text unreadable, or ambiguous: bad syntax, keys that are not text, keys given twice."""
        try:
            root = self._root
        except yaml.MarkedYAMLError as error:
            return [_syntax(error)]
        except yaml.YAMLError as error:
            return [Fault(1, (), f"not readable as YAML ({' '.join(str(error).split())}); save it as plain UTF-8 text")]
        if root is None:
            return [Fault(1, (), "the file is empty; a study starts with its `question:`")]
        if not isinstance(root, yaml.MappingNode):
            got = "a list" if isinstance(root, yaml.SequenceNode) else "plain text"
            return [Fault(1, (), f"expected `key: value` lines at the top, got {got}; start with `question:`")]
        return list(_key_faults(root, ())) or self._value_faults()

    @cached_property
    def value(self) -> dict[Any, Any]:
        """The mapping. Ask for it only where there are no faults."""
        value = OmegaConf.to_container(OmegaConf.create(self.text), resolve=False)
        assert isinstance(value, dict)
        return value

    def line(self, keys: Sequence[str | int]) -> int:
        """The line of the innermost key, or list item, among the keys that the file has."""
        node, line = self._root, 1
        for step in keys:
            found = _step(node, step)
            if found is None:
                break
            line, node = found
        return line

    def _value_faults(self) -> list[Fault]:
        try:
            _ = self.value
        except yaml.MarkedYAMLError as error:
            return [_syntax(error)]
        except OmegaConfBaseException as error:
            keys = _keys(error)
            return [Fault(self.line(keys), keys, _reason(error))]
        return []

    @cached_property
    def _root(self) -> yaml.Node | None:
        return yaml.compose(self.text, Loader=yaml.SafeLoader)


class DeadReference(LookupError):
    """A `${…}` that refers to nothing, as (where, what)."""

    def __init__(self, keys: Keys, text: str) -> None:
        self.places = [(keys, text)]
        super().__init__(f"{dotted(keys)}: {text}")


def dotted(keys: Keys) -> str:
    """Keys as messages write them: `grid.model.beta[2]`."""
    return "".join(f"[{k}]" if isinstance(k, int) else f".{k}" for k in keys).lstrip(".")


def resolved(value: dict[str, Any]) -> dict[Any, Any]:
    """The mapping with every `${…}` replaced by what it refers to.

    Raises:
        DeadReference: if one of them leads nowhere.
    """
    if not _refers(value):
        return value
    try:
        plain = OmegaConf.to_container(OmegaConf.create(value), resolve=True)
    except OmegaConfBaseException as error:
        raise DeadReference(_keys(error), _reason(error)) from None
    assert isinstance(plain, dict)
    return plain


def _refers(value: Any) -> bool:
    if isinstance(value, str):
        return "${" in value
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_refers, parts))


def _keys(error: OmegaConfBaseException) -> Keys:
    steps = (error.full_key or "").replace("[", ".").replace("]", "").split(".")
    return tuple(int(s) if s.isdecimal() else s for s in steps if s)


def _reason(error: OmegaConfBaseException) -> str:
    return f"{str(error).partition(chr(10))[0]}; write `${{model.latent_dim}}` for the value of that key"


def _step(node: yaml.Node | None, step: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((k.start_mark.line + 1, v) for k, v in node.value if k.value == str(step)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark.line + 1, node.value[step]
    return None


def _key_faults(node: yaml.Node, path: Keys, above: tuple[yaml.Node, ...] = ()) -> Iterator[Fault]:
    if any(node is n for n in above):
        yield Fault(node.start_mark.line + 1, path, "the alias refers to what it stands in; write the value out")
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            yield from _key_faults(item, (*path, i), (*above, node))
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.tag != "tag:yaml.org,2002:str":
                yield Fault(line, path, f"expected a name as a key, got {_shown(key)}; write it in quotes if it is one")
            elif key.value in first:
                yield Fault(
                    line, (*path, key.value), f"given twice, first on line {first[key.value]}; keep one of them"
                )
            else:
                first[key.value] = line
                yield from _key_faults(value, (*path, key.value), (*above, node))


def _shown(node: yaml.Node) -> str:
    return repr(node.value) if isinstance(node, yaml.ScalarNode) else "a list or a mapping"


def _syntax(error: yaml.MarkedYAMLError) -> Fault:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or "not YAML"
    if "'\\t'" in problem:
        problem = "a tab where YAML takes only spaces; indent with two spaces"
    elif "mapping values are not allowed" in problem:
        problem = "a second `:` on the line, or a wrong indentation; put text that holds `: ` in quotes"
    else:
        problem = (
            f"not YAML: {' '.join([error.context or '', problem]).strip()}; check brackets, quotes and indentation"
        )
    return Fault(mark.line + 1 if mark else 1, (), problem)
