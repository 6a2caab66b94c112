"""Claims in print: value, source, protocol and tolerance, as `results/paper/claims.yaml` states them before a run."""

import math
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from vaebench.config.yaml_document import Loader
from vaebench.records.files import PAPER
from vaebench.records.record import validation_faults

FILE = Path(PAPER, "claims.yaml")  # where the claims stand, below `results`


class State(StrEnum):
    """How far the published value was verified."""

    READ = "read"  # read in the authors' code, log or full text
    QUOTED = "quoted"  # quoted by somebody else
    EXACT = "exact"  # a theorem or a closed form
    MEMORY = "memory"  # not verified: it is listed and never judged


class Rule(StrEnum):
    """Where a tolerance comes from."""

    PUBLISHED = "published"
    """The 95 % prediction interval of two or more independent published runs, for the mean of our seeds."""
    SEEDS = "seeds"  # the 95 % prediction interval of our seeds, for one published run
    STATED = "stated"  # a number: the precision of an exact answer, or what the source allows


class Pick(StrEnum):
    """What stands for several seeds."""

    MEAN = "mean"
    LARGEST = "largest"  # the value farthest from 0: for a difference that must be small in every run


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far a measured number may be from the published one."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    rule: Rule  # where it comes from
    reason: str  # why this rule, in a sentence
    value: float | None = None  # the number, for the rule `stated` only

    def __post_init__(self) -> None:
        if (self.rule is Rule.STATED) != (self.value is not None):
            raise ValueError(f"expected a value for the rule {Rule.STATED}, and for no other; got {self.value}")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One published number, and where the measured one stands in a record."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str  # what it is
    published: float | list[float]  # the value; a list for independent runs
    read: str  # an estimate, a fact or a column of the curve (then its last value). The first of these that there is.
    error: float = 0.0  # half-width of the interval that the source states
    index: int | None = None  # of the value in an estimate that is an array
    times: float = 1.0  # factor of the measured number, e.g. −1 for a loss
    plus: float = 0.0  # summand of it after that, e.g. the constant of a Gaussian
    # paths of the configuration and their values, e.g. `{model.beta: 2}`; the records that it is measured on.
    of: dict[str, Any] = field(default_factory=dict)
    pick: Pick = Pick.MEAN  # what stands for several seeds
    tolerance: Tolerance | None = None  # of this point, where it is not that of the claim

    def __post_init__(self) -> None:
        if not self.values or not all(map(math.isfinite, self.values)):
            raise ValueError(f"{self.name}: expected finite published values, got {self.published}")

    @property
    def values(self) -> list[float]:
        """The published values, one an independent run."""
        return self.published if isinstance(self.published, list) else [self.published]


class Budget(NamedTuple):
    """A protocol that was shortened: how much was spent of what the source spent."""

    spent: float
    full: float
    unit: str


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What is in print, and how it is judged."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    id: int  # its number in the ledger
    title: str  # a few words
    source: str  # author, year, page, table or file, and URL
    state: State  # how far the value was verified
    # a study's file, or the configuration of a measurement; None where nothing can be run.
    protocol: Path | dict[str, Any] | None = None
    command: str = ""  # what measures it
    deviation: str = ""  # how the protocol differs from the source; empty for not at all
    tolerance: Tolerance | None = None  # of all points
    points: list[Point] = field(default_factory=list)  # the numbers
    sample: str = ""  # why the data are another sample of the same law; empty where they are the same
    incomparable: str = ""  # why the numbers do not compare; empty where they do
    budget: Budget | None = None  # how much of the source's budget the protocol has; None for all of it
    # the study with all of that budget. Where it has records, they are judged in place of the shorter ones.
    whole: Path | None = None
    # where the source's text and its code differ, or two versions of its code: which says what, and the command that
    # runs it so.
    options: dict[str, str] = field(default_factory=dict)
    printed: str = ""  # the option that the published number belongs to
    rest: str = ""  # what was not run although the source has it, with the command
    beside: int | None = None  # the claim next to which this one is read

    def __post_init__(self) -> None:
        if self.printed and self.printed not in self.options:
            wanted = " or ".join(self.options) or "options"
            raise ValueError(f"claim {self.id}: expected {wanted} as the option that was printed, got {self.printed}")
        wanting = [p.name for p in self.points if p.tolerance is None and self.tolerance is None]
        if wanting:
            raise ValueError(f"claim {self.id}: expected a tolerance before the run, got none for {wanting[0]}")
        alone = [p.name for p in self.points if self.allowed(p).rule is Rule.PUBLISHED and len(p.values) < 2]
        if alone:
            wanted = f"two or more published values for the rule {Rule.PUBLISHED}"
            raise ValueError(f"claim {self.id}: expected {wanted}, got one for {alone[0]}; use {Rule.SEEDS}")

    def allowed(self, point: Point) -> Tolerance:
        """The tolerance of a point: its own, or that of the claim."""
        tolerance = point.tolerance or self.tolerance
        assert tolerance is not None  # checked when it was made
        return tolerance


def read(path: Path) -> list[Claim]:
    """The claims of a file, in its order.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not YAML, or not a list of claims with different numbers.
    """
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader)
        claims: list[Claim] = TypeAdapter(list[Claim]).validate_python(found)
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: expected YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        raise ValueError("\n".join(f"{path}: {fault}" for fault in validation_faults(error))) from None
    numbers = [claim.id for claim in claims]
    if twice := sorted({n for n in numbers if numbers.count(n) > 1}):
        raise ValueError(f"{path}: expected every claim once, got two of number {twice[0]}")
    return claims
