"""A `Study` asks a question and has `Run`s to answer it. A `Run` is everything that defines its numbers."""

import json
from collections.abc import Mapping
from copy import copy
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from vaebench.config import imports
from vaebench.config.faults import ConfigError, Refused
from vaebench.config.grid import SourceMap
from vaebench.config.imports import Import, ImportFault
from vaebench.config.key_types import Section, walk
from vaebench.config.presentation import Presentation
from vaebench.config.registry import (
    METRICS,
    DatasetSpec,
    EstimatorSpecs,
    Later,
    MetricSpecs,
    ModelSpec,
    NonNegative,
    NonNegativeInt,
    OptimizerSpec,
    Positive,
    PositiveInt,
    Seed,
)
from vaebench.config.validation import disagreements, validated
from vaebench.records.files import place
from vaebench.records.record import identity


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of training with one learning rate.

    Args:
        epochs: its length.
        factor: what multiplies `model.learning_rate`.
    """

    epochs: PositiveInt
    factor: Positive


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Stop training when a number of the validation split no longer improves. Such a run trains outside a pack.

    Args:
        patience: validations in a row without an improvement, after which training stops.
        monitor: the number, as curves name it, e.g. `val/elbo`. It says itself whether more or less of it is better.
        min_delta: an improvement is larger than this.
        restore_best: whether the trained model has the weights of its best validation, and not the last weights.
    """

    patience: PositiveInt
    monitor: str = "val/objective"
    min_delta: NonNegative = 0.0
    restore_best: bool = True


@dataclass(frozen=True, kw_only=True)
class Train:
    """How a model is trained.

    Args:
        epochs: passes over the training split.
        batch_size: observations per training step.
        validate_every: epochs between two evaluations of the validation split.
        gradient_clip: the largest norm of a gradient; null for no clipping.
        devices: GPUs (or processes on a CPU) that share every batch of one run. It changes numbers only by rounding,
            so it is not part of a run's id.
        optimizer: the rule that changes the parameters, one of torch's own; weight decay is one of its keywords. The
            learning rate is the model's.
        stages: parts of training, one after the other, each with its factor on the learning rate. Together they take
            all `epochs`; empty for the same learning rate throughout.
        early_stopping: when training stops before its last epoch; null for never.
    """

    epochs: PositiveInt = 100
    batch_size: PositiveInt = 64
    validate_every: PositiveInt = 1
    gradient_clip: Positive | None = None
    devices: PositiveInt = 1
    optimizer: Annotated[OptimizerSpec, Later()] = "Adam"
    stages: Annotated[tuple[Stage, ...], Later()] = ()
    early_stopping: Annotated[EarlyStopping | None, Later()] = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Train":
        """From checked values, with every default filled in."""
        stop = values["early_stopping"]
        return cls(
            **{**values, "stages": tuple(Stage(**stage) for stage in values["stages"])}
            | {"early_stopping": None if stop is None else EarlyStopping(**stop)}
        )

    def rate_factor(self, epoch: int) -> float:
        """What multiplies the learning rate in an epoch; the first epoch is 0.

        >>> stages = (Stage(epochs=1, factor=1.0), Stage(epochs=3, factor=0.5))
        >>> [Train(epochs=4, stages=stages).rate_factor(epoch) for epoch in range(4)]
        [1.0, 0.5, 0.5, 0.5]
        """
        factor, end = 1.0, 0
        for stage in self.stages:
            if epoch >= end:
                factor, end = stage.factor, end + stage.epochs
        return factor

    @property
    def why_not_packed(self) -> str | None:
        """Why such a run trains outside a pack; None if it may train in a pack."""
        if self.devices > 1:
            return "several devices"
        return None if self.early_stopping is None else "early stopping: the runs of a pack train equally long"


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """How a trained model is measured.

    Args:
        split: the part of the data on which the model is measured.
        draws: K, the number of posterior draws of each observation.
        metrics: reductions of these draws; null for every registered metric that applies to the model.
        estimators: measurements that query the model itself; each sets how many observations it uses.
        ceiling: for how many training observations, evenly spaced, the ceiling of all VAEs is computed; 0 for none.
            The time grows with the cube of the number: a value takes about a second for 500, seconds for 1300.
    """

    split: Literal["train", "validation", "test"] = "test"
    draws: PositiveInt = 5000
    metrics: MetricSpecs | None = None
    estimators: EstimatorSpecs = ()
    ceiling: Annotated[NonNegativeInt, Later()] = 500


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training and its evaluation, all defaults filled in.

    Args:
        model: the autoencoder.
        data: the data set that it learns from.
        train: how it is trained.
        evaluate: how it is measured.
        seed: the seed of the initialisation, of the order of the data and of the noise.
    """

    model: ModelSpec
    data: DatasetSpec
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    seed: Seed = 0
    slug: str = field(default="", init=False, compare=False)
    """The run's label in its study, e.g. `beta=4,seed=0`. It does not define the run."""
    source: str = field(default="", init=False, compare=False)
    """The study's file and the overrides, quoted for a shell. It does not define the run."""
    imports: tuple[Import, ...] = field(default=(), init=False)
    """The imported files that define its components. Their checksums are part of its configuration."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Run":
        """The run with these values: those of a study at one grid point, or the configuration in a record.

        Raises:
            Refused: if they are not valid, or if a file that a record names is not imported, or not in that version.
        """
        chosen, values = None, dict(values)
        if IMPORTS in values:
            try:
                chosen = imports.recorded(values.pop(IMPORTS))
            except ImportFault as error:
                raise Refused([((IMPORTS,), str(error))]) from None
        full = validated(Section(cls), values)
        if places := list(disagreements(SECTIONS, full)):
            raise Refused(places)
        run = cls(**full | {"train": Train.of(full["train"]), "evaluate": Evaluate(**full["evaluate"])})
        object.__setattr__(run, IMPORTS, _imported_by(full) if chosen is None else chosen)
        return run

    @cached_property
    def config(self) -> dict[str, Any]:
        """Everything that defines the run, as JSON values."""
        parts = {key: getattr(self, key) for key in SECTIONS}
        parts = {key: asdict(part) if isinstance(part, Train | Evaluate) else part for key, part in parts.items()}
        defining = validated(Section(Run), parts, identifying=True)
        plain: dict[str, Any] = json.loads(json.dumps(defining, allow_nan=False))
        del plain["train"]["devices"]
        checksums = {key: sha for each in self.imports for key, sha in each.checksums.items()}
        return plain | ({IMPORTS: checksums} if checksums else {})

    @cached_property
    def id(self) -> str:
        """The run's name everywhere: the hash of its configuration."""
        return identity(self.config)

    @cached_property
    def unseeded(self) -> str:
        """The whole run but its seed, as text: `config`, with `train` in full. The seeds of a study share one text."""
        rest = {key: value for key, value in self.config.items() if key != "seed"}
        return json.dumps(rest | {"train": asdict(self.train)}, sort_keys=True)

    def with_seed(self, seed: Any) -> "Run":
        """The same run with another seed.

        Raises:
            Refused: if it is no seed.
        """
        run, seed = copy(self), validated(SECTIONS["seed"].kind, seed, ("seed",))
        # By its dictionary, since a run is frozen; with what is known of the other seed already, but without its id.
        run.__dict__.update(seed=seed, config={**self.config, "seed": seed}, unseeded=self.unseeded)
        run.__dict__.pop("id", None)
        return run

    def named(self, slug: str, source: str) -> "Run":
        """The same run with its label and its origin in a study."""
        run = copy(self)
        run.__dict__.update(slug=slug, source=source)
        return run


IMPORTS = "imports"
"""The key of a study with its imports, and of a run's configuration with the SHA-256 of those that it uses."""


def _imported_by(values: Mapping[str, Any]) -> tuple[Import, ...]:
    """The imports with a component that a run names, or that it measures because it names no metrics."""
    if not imports.visible():
        return ()
    nodes = [node for node in walk(SECTIONS, values) if node.kind.component and isinstance(node.value, Mapping)]
    origins = [node.kind.component.registry.origin(node.value["name"]) for node in nodes if node.kind.component]
    if values["evaluate"]["metrics"] is None:
        origins += [METRICS.origin(name) for name in METRICS.measured_by_default()]
    used = {origin.asked: origin for origin in origins if origin is not None}
    return tuple(used[asked] for asked in sorted(used))


SECTIONS = Section(Run).fields  # the sections of a study file: the keywords of a run


@dataclass(frozen=True)
class Study:
    """A question, and the runs that answer it.

    Attributes:
        name: the stem of the file.
        path: the file.
        presentation: its question, and how its results are shown.
        runs: in the order of the grid, the last axis fastest.
        axes: the keys that vary, in the order of the file, then of the command line.
        source_map: from the keys of the runs to lines of the file; None for a study without a file.
    """

    name: str
    path: Path
    presentation: Presentation
    runs: tuple[Run, ...]
    axes: tuple[str, ...]
    source_map: SourceMap | None = field(default=None, compare=False, repr=False)

    @property
    def place(self) -> Path:
        """Its folder below `runs` and `results`."""
        return place(self.path)

    @property
    def question(self) -> str:
        """What the study asks, in one sentence."""
        return self.presentation.question

    def only(self, name: str | None = None) -> Run:
        """The run with that id (or start of an id) or slug; without a name, the only run.

        Raises:
            ConfigError: if no run or several runs fit.
        """
        found = [r for r in self.runs if name is None or r.id.startswith(name) or r.slug == name]
        if len(found) == 1:
            return found[0]
        meant = f"{len(found)} runs are meant; choose one by its id" if found else f"no run {name!r}"
        near = get_close_matches(name or "", [r.slug for r in self.runs], n=3)
        listed = ", ".join(f"{r.id} ({r.slug})" for r in found or self.runs if not near or r.slug in near)
        raise ConfigError([f"{self.path}: {meant}; there is {listed if len(listed) <= 400 else listed[:397] + '…'}"])
