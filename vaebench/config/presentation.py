"""How a study is shown: its question, the columns of its headline, its answer. Nothing here changes a number."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaebench.config.document import Document, Fault
from vaebench.config.fields import shown

QUESTION, HEADLINE, ANSWER = "question", "headline", "answer"

KEYS: Mapping[str, Mapping[str, Any]] = {
    QUESTION: {"type": "string", "minLength": 1, "description": "what the study asks, in one sentence"},
    HEADLINE: {
        "type": "array",
        "items": {"type": "string"},
        "description": "numbers that the headline shows beside the best bound, by their names in a record",
    },
    ANSWER: {
        "type": "string",
        "description": "the answer in words; {iwae_500 @ beta=1} is filled in from the records, and so is "
        "{ais - iwae_500 @ beta=1}",
    },
}
"""The keys of a study file, and the schema of each."""


@dataclass(frozen=True)
class Presentation:
    """How a study is shown.

    Args:
        question: what it asks, in one sentence.
        headline: numbers that the headline shows beside the best bound, by their names in a record.
        answer: a sentence with places for numbers of the records; empty if the study has none.
    """

    question: str = ""
    headline: tuple[str, ...] = ()
    answer: str = ""


PLAIN = Presentation()
"""Of records whose study's file is not known."""


def of(document: Document) -> Presentation:
    """What a file says of it. Values of a wrong type are left out; `faults` names them."""
    value = document.value if isinstance(document.value, Mapping) else {}
    names = value.get(HEADLINE, ())
    return Presentation(
        question=value[QUESTION] if isinstance(value.get(QUESTION), str) else "",
        headline=tuple(names) if _are_names(names) else (),
        answer=value[ANSWER] if isinstance(value.get(ANSWER), str) else "",
    )


def read(path: Path) -> Presentation:
    """What a study's file says of it; nothing if the file cannot be read. No run is checked."""
    try:
        document = Document(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError):
        return PLAIN
    return PLAIN if document.faults else of(document)


def faults(document: Document) -> list[Fault]:
    """What is wrong with these keys."""
    value, found = document.value, []
    question = value.get(QUESTION)
    if not isinstance(question, str) or not question.strip():
        found.append((QUESTION, f"expected the question that the study asks, in one sentence; got {shown(question)}"))
    if not _are_names(value.get(HEADLINE, ())):
        found.append(
            (HEADLINE, f"expected a list of names, e.g. [linear_probe_accuracy]; got {shown(value[HEADLINE])}")
        )
    if not isinstance(value.get(ANSWER, ""), str):
        found.append((ANSWER, f"expected text; got {shown(value[ANSWER])}"))
    return [Fault(document.line((key,)), (key,), text) for key, text in found]


def _are_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
