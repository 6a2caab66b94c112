"""A YAML text: its values, and the line of each. It may use the values of YAML 1.2, plain kinds only, and no more.

PyYAML reads YAML 1.1, in which `010` is 8, `1:30` is 90 and `on` is true. YAML 1.2 reads 10, and two texts. Where the
two differ a person may mean either one, so the value is refused. The exceptions are `1e-3`, which is a number to
everybody, and a date, which is text.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import yaml

from vaebench.config.faults import Fault, Keys, Refused

MOST_DEPTH = 40  # levels of nested brackets and indentation
MOST_VALUES = 100_000  # keys and values of a file, with every alias written out
MOST_INTEGER = 2**63  # whole numbers stay below it, so that they fit into 64 bits

STR, INT, FLOAT, BOOL, NULL, MAP, SEQ, MERGE = (
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq", "merge")
)

PLAIN = {
    NULL: r"~|null|Null|NULL|",
    BOOL: r"true|True|TRUE|false|False|FALSE",
    INT: r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    FLOAT: r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    MERGE: r"<<",
}
"""The kind of a value without quotes: the first that matches all of it, else text (YAML 1.2, core schema)."""

BASES = {"0o": 8, "0x": 16}


class Refusal(yaml.MarkedYAMLError):
    """Text that YAML allows and a study does not."""

    def __init__(self, node: yaml.Node | yaml.Event, text: str) -> None:
        super().__init__(problem=text, problem_mark=cast("Any", node.start_mark))


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with the values of YAML 1.2."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node. Text that is nested too deeply is refused before Python's call stack is full."""
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise Refusal(self.peek_event(), f"expected at most {MOST_DEPTH} levels, got more; write it flatter")
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A whole number."""
        text = node.value
        if not re.fullmatch(PLAIN[INT], text):
            raise Refusal(node, f"expected a whole number, got {text[:20]!r}; write its digits alone")
        number = int(text[2:], BASES[text[:2]]) if text[:2] in BASES else int(text) if len(text) < 99 else MOST_INTEGER
        if abs(number) >= MOST_INTEGER:
            raise Refusal(
                node,
                f"expected a whole number below 2^63, got one of {len(text)} digits; write it as 1e21 is",
            )
        return number

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        """A number; −0 is 0, so that a run has one id."""
        text = node.value.lower()
        if not re.fullmatch(f"{PLAIN[INT]}|{PLAIN[FLOAT]}", node.value):
            raise Refusal(node, f"expected a number, got {node.value[:20]!r}")
        number = float(text.replace(".inf", "inf").replace(".nan", "nan"))
        if math.isinf(number) and "inf" not in text:
            raise Refusal(node, f"expected a number up to 1.8e308, got {node.value[:20]}; write a smaller one")
        return number + 0.0


Loader.yaml_implicit_resolvers = {None: [(tag, re.compile(rf"(?:{pattern})\Z")) for tag, pattern in PLAIN.items()]}
Loader.add_constructor(INT, Loader.construct_yaml_int)
Loader.add_constructor(FLOAT, Loader.construct_yaml_float)


def _too_large(root: yaml.Node) -> str | None:
    """What is wrong with the size of a text whose aliases form no circle."""
    size, levels = expanded(root, {})
    if size > MOST_VALUES:
        return f"expected at most {MOST_VALUES} values, every alias written out, got {size:.1e}; use fewer"
    if levels > MOST_DEPTH:
        return f"expected at most {MOST_DEPTH} levels, every alias written out, got {levels}; use fewer"
    return None


def expanded(node: yaml.Node, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How many nodes there are, and on how many levels, with every alias written out."""
    if id(node) not in known:
        if isinstance(node, yaml.MappingNode):
            inside = [part for pair in node.value for part in pair]
        else:
            inside = node.value if isinstance(node, yaml.SequenceNode) else []
        parts = [expanded(part, known) for part in inside]
        known[id(node)] = 1 + sum(size for size, _ in parts), 1 + max((levels for _, levels in parts), default=0)
    return known[id(node)]


def _refused(node: yaml.Node) -> str | None:
    """Why a key or a value, without what is inside it, is not allowed in a study; None if it is allowed."""
    if node.tag not in ((STR, *PLAIN) if isinstance(node, yaml.ScalarNode) else (MAP, SEQ)):
        tag = ascii(node.tag.replace("tag:yaml.org,2002:", "!!")[:40])
        return f"unknown tag {tag}; write the value without it"
    if not isinstance(node, yaml.ScalarNode):
        return None
    if node.tag in (BOOL, NULL) and not re.fullmatch(PLAIN[node.tag], node.value):  # by a tag, as in `!!bool text`
        kind = "true or false" if node.tag == BOOL else "null"
        return f"expected {kind}, got {node.value[:20]!r}; write the value without its tag"
    if re.search("[\ud800-\udfff]", node.value):
        return "half a character (a lone surrogate); write the whole one"
    if node.style is None and (old := _of_yaml_1_1(node.value)):
        new = "text" if node.tag == STR else str(int(node.value[:20]))
        remedy = f"write {old}" if old in ("true", "false") else "write its digits alone and without a 0 in front"
        return f"{node.value!r} is {old} in YAML 1.1 and {new} in YAML 1.2; {remedy}, or text in quotes"
    return None


def _of_yaml_1_1(text: str) -> str | None:
    """How YAML 1.1 reads a plain value, in words, if that is a number or a switch and YAML 1.2 reads it differently."""
    resolvers = yaml.SafeLoader.yaml_implicit_resolvers.get(text[:1], [])
    old = next((tag for tag, pattern in resolvers if pattern.match(text)), STR)
    if old == BOOL and not re.fullmatch(PLAIN[BOOL], text):
        return "true" if yaml.SafeLoader.bool_values[text.lower()] else "false"
    if old in (INT, FLOAT) and not any(re.fullmatch(PLAIN[kind], text) for kind in (INT, FLOAT)):
        return "a number"
    if re.fullmatch(r"[-+]?0[0-9]+", text):
        return "a number in base 8" if old == INT else "text"
    return None


MOST_REFERENCES = 20
"""References `${…}` in one run. Each may refer to others, so their expansion can grow exponentially."""

CIRCLE = "the alias refers to a value that contains it; write the value out"


class NotYaml(str):
    """The text about a syntax that YAML does not have."""


@dataclass(frozen=True)
class Document:
    """One YAML text, in the dialect that a study may use; `${…}` is not resolved here."""

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
        faults = list(_faults_in(root, (), set()))
        if not any(fault.text == CIRCLE for fault in faults) and (text := _too_large(root)):
            faults.append(Fault(root.start_mark.line + 1, (), text))
        if not faults:
            try:
                _expanded(self.value, resolve=False)
            except Refused as error:
                faults = [Fault(self.line(keys), keys, text) for keys, text in error.places]
        return faults

    @cached_property
    def _loader(self) -> Loader:
        return Loader(self.text)

    @cached_property
    def _root(self) -> yaml.Node | None:
        node: yaml.Node | None = self._loader.get_single_node()
        return node


def resolved(value: dict[str, Any]) -> dict[Any, Any]:
    """The mapping with every `${…}` replaced by what it refers to.

    Raises:
        Refused: if one of them refers to nothing, or if there are too many.
    """
    if (count := references(value)) > MOST_REFERENCES:
        text = f"expected at most {MOST_REFERENCES} references `${{…}}` in a run, got {count}; write values out"
        raise Refused([((), text)])
    return _expanded(value, resolve=True)


def _expanded(value: dict[str, Any], resolve: bool) -> dict[Any, Any]:
    if not references(value):
        return value
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        plain = OmegaConf.to_container(OmegaConf.create(value), resolve=resolve)
    except OmegaConfBaseException as error:
        steps = (error.full_key or "").replace("[", ".").replace("]", "").split(".")
        reason = f"{str(error).partition(chr(10))[0]}; write `${{model.latent_dim}}` for the value of that key"
        raise Refused([(tuple(int(s) if s.isdecimal() else s for s in steps if s), reason)]) from None
    assert isinstance(plain, dict)
    return plain


def references(value: Any) -> int:
    """The number of `${…}` in a value."""
    if isinstance(value, str):
        return value.count("${")
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(map(references, parts))


def _step(node: yaml.Node | None, step: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        # The last one: keys that a merge `<<` brought in stand before the mapping's own.
        return next(((k.start_mark.line + 1, v) for k, v in reversed(node.value) if k.value == str(step)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark.line + 1, node.value[step]
    return None


def _faults_in(node: yaml.Node, path: Keys, seen: set[int], above: tuple[yaml.Node, ...] = ()) -> Iterator[Fault]:
    """What a study does not allow in a node. A node that several aliases refer to is visited once."""
    if any(node is n for n in above):
        yield Fault(node.start_mark.line + 1, path, CIRCLE)
    if id(node) in seen:
        return
    seen.add(id(node))
    if text := _refused(node):
        yield Fault(node.start_mark.line + 1, path, text)
    above = (*above, node)
    if isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            yield from _faults_in(item, (*path, i), seen, above)
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            yield from _faults_in(key, path, seen, above)
            line, inside = key.start_mark.line + 1, (*path, key.value) if key.tag == STR else path
            if key.tag not in (STR, MERGE):
                yield Fault(line, path, f"expected a name as a key, got {_shown(key)}; write it in quotes if it is one")
            elif key.value in first:
                since = first[key.value]
                yield Fault(line, (*path, key.value), f"given twice, first on line {since}; keep one of them")
            elif key.tag == STR:
                first[key.value] = line
            yield from _faults_in(value, inside, seen, above)


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
