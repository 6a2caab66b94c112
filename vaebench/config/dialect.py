"""The YAML that a study may be written in: the values of YAML 1.2, the plain kinds only, and no more than a file needs.

PyYAML reads YAML 1.1, in which `010` is 8, `1:30` is 90 and `on` is true. YAML 1.2 reads 10, and two texts. Where the
two differ a person may mean either one, so the value is refused. The exceptions are `1e-3`, which is a number to
everybody, and a date, which is text.
"""

import math
import re
from collections.abc import Iterator
from typing import Any, cast

import yaml

MOST_DEPTH = 40
"""Levels of nested brackets and indentation."""

MOST_VALUES = 100_000
"""Keys and values of a file, with every alias written out."""

MOST_INTEGER = 2**63
"""Whole numbers stay below it, so that they fit into 64 bits."""

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


def refusals(root: yaml.Node) -> Iterator[Refusal]:
    """What a study does not allow, in a text that is valid YAML and whose aliases form no circle."""
    size, levels = expanded(root, {})
    if size > MOST_VALUES:
        yield Refusal(
            root, f"expected at most {MOST_VALUES} values, every alias written out, got {size:.1e}; use fewer"
        )
    elif levels > MOST_DEPTH:
        yield Refusal(root, f"expected at most {MOST_DEPTH} levels, every alias written out, got {levels}; use fewer")
    seen, waiting = set[int](), [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            text = _scalar(node)
        else:
            text = None if node.tag in (MAP, SEQ) else f"unknown tag {_shown(node.tag)}; write the value without it"
            waiting += _parts(node)
        if text is not None:
            yield Refusal(node, text)


def expanded(node: yaml.Node, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How many nodes there are, and on how many levels, with every alias written out."""
    if id(node) not in known:
        parts = [expanded(part, known) for part in _parts(node)]
        known[id(node)] = 1 + sum(size for size, _ in parts), 1 + max((levels for _, levels in parts), default=0)
    return known[id(node)]


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _scalar(node: yaml.ScalarNode) -> str | None:
    """Why a single value is refused; None if it is allowed."""
    if node.tag not in (STR, *PLAIN):
        return f"unknown tag {_shown(node.tag)}; write the value without it"
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


def _shown(tag: str) -> str:
    return ascii(tag.replace("tag:yaml.org,2002:", "!!")[:40])
