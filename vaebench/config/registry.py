"""The names that a YAML file may use, and the classes behind them.

There is one registry for each kind of component. `@MODELS.register` stands above a class. The name in YAML is the name
of the class, and the heading in the table. The rule of every constructor here: **positional parameters are what
vaebench supplies (a shape, a seed); keyword-only parameters are what a YAML file may set**, and their annotations are
the schema.
"""

import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

from annotated_types import Ge, Gt, Le, Lt, MinLen

from vaebench.config import imports
from vaebench.config.imports import Import
from vaebench.config.signature import ClassSource, classes_in, module_files, source_of, text_of

if TYPE_CHECKING:  # these files import torch
    from vaebench.data.binarization import Binarization
    from vaebench.data.datasets.base import Dataset
    from vaebench.evaluation.estimators.base import Estimator
    from vaebench.evaluation.metrics.base import Metric
    from vaebench.models.base import Autoencoder
    from vaebench.models.parts.corruptions import Corruption
    from vaebench.models.parts.likelihoods import Likelihood
    from vaebench.models.parts.networks import Network
    from vaebench.models.parts.posteriors import Posterior
    from vaebench.models.parts.priors import Prior
    from vaebench.models.parts.schedules import Schedule
    from vaebench.training.optimizers import Optimizer

T = TypeVar("T")
Class = TypeVar("Class", bound=type)

Spec = str | Mapping[str, Any]  # a component as a YAML file writes it: `MLP`, or `{name: MLP, hidden: [64]}`


@dataclass(frozen=True)
class Divides:
    """Marks a number that must divide another number of the study, e.g. `Divides("evaluate.draws")`."""

    path: str


@dataclass(frozen=True)
class Distinct:
    """Marks a list whose items must differ; components must differ in their names."""


@dataclass(frozen=True)
class Later:
    """Marks a keyword that came after the first records.

    Where it has its default, it is left out of the configuration that a run's id is the hash of. So the runs from
    before it keep their ids.
    """


Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
Decay = Annotated[float, Ge(0), Lt(1)]
PositiveInt = Annotated[int, Gt(0)]
NonNegativeInt = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0), Lt(2**32)]
Activation = Literal["ReLU", "Tanh", "SiLU", "GELU", "ELU", "LeakyReLU", "Softplus", "Sigmoid", "Identity"]
"""A class of torch.nn that maps every number by itself."""
DrawsDivisor = Annotated[int, Gt(0), Divides("evaluate.draws")]
DrawsDivisors = Annotated[tuple[DrawsDivisor, ...], MinLen(1), Distinct()]


class UnknownName(LookupError):
    """A name that a registry does not have."""


class Registry(Generic[T]):
    """Maps the name of a class to the class. The file of the class is imported only when the class itself is needed.

    Args:
        kind: the word for an entry in messages and in `vaebench list`.
        variable: the name under which this registry stands in this module, and thus in `@VARIABLE.register`.
        home: the module or package whose files are searched for registered classes.
    """

    def __init__(self, kind: str, variable: str, home: str) -> None:
        self.kind, self.variable, self.home = kind, variable, home
        self._classes: dict[str, type] = {}
        self._of_imports: tuple[tuple[Import, ...], dict[str, tuple[ClassSource, Import]]] | None = None

    def __repr__(self) -> str:
        return self.variable

    def register(self, cls: Class) -> Class:
        """Register a class under its own name (a decorator)."""
        if imports.is_of_file(cls.__module__):
            # The registry has it from the text of its file, while that file is imported. A file beside that one adds
            # nothing: else a run would have components that depend on what this process executed before.
            return cls
        known = self._classes.get(cls.__name__, cls)
        if known.__module__ != cls.__module__:
            raise ValueError(self._twice(cls.__name__, known.__module__, cls.__module__))
        self._classes[cls.__name__] = cls
        return cls

    def __getitem__(self, name: str) -> type[T]:
        self.source(name)
        if name in self._imported:
            source, origin = self._imported[name]
            return getattr(origin.load(source.file), name)
        if name not in self._classes:
            importlib.import_module(self._module(name))
        return self._classes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._files, *self._imported, *self._classes}))

    def __contains__(self, name: object) -> bool:
        return name in self._files or name in self._imported or name in self._classes

    def __len__(self) -> int:
        return len(list(iter(self)))

    def origin(self, name: str) -> Import | None:
        """The import that an entry comes from; None for an entry of this package."""
        return self._imported[name][1] if name in self._imported else None

    def measured_by_default(self) -> list[str]:
        """Every entry but those that are here only because their package is installed."""
        return [name for name in self if not ((origin := self.origin(name)) and origin.installed)]

    def source(self, name: str) -> ClassSource:
        """The class statement behind a name.

        Raises:
            UnknownName: with the nearest known name.
        """
        if name in self._files:
            return self._files[name]
        if name in self._imported:
            return self._imported[name][0]
        if name in self._classes:
            return source_of(self._classes[name])
        raise UnknownName(f"unknown {self.kind} {_short(name)}{did_you_mean(name, self)}; known: {', '.join(self)}")

    def keywords(self, name: str) -> dict[str, inspect.Parameter]:
        """The keywords that a YAML file may set for this entry."""
        return _keywords(self.source(name))

    def taking(self, keyword: str) -> list[str]:
        """The entries that take this keyword."""
        return [name for name in self if keyword in self.keywords(name)]

    def build(self, spec: Spec, *supplied: Any) -> T:
        """An instance from a name, or from a mapping with `name` and the keywords."""
        keywords = {} if isinstance(spec, str) else {key: value for key, value in spec.items() if key != "name"}
        cls: Callable[..., T] = self.named(spec)
        return cls(*supplied, **keywords)

    def named(self, spec: Spec) -> type[T]:
        """The class that a name, or a mapping with `name`, asks for."""
        return self[spec if isinstance(spec, str) else spec["name"]]

    @cached_property
    def _files(self) -> dict[str, ClassSource]:
        """The classes that the files of the home register. Files are read once per process, and not imported."""
        found: dict[str, ClassSource] = {}
        files = (file for file in module_files(self.home) if f"{self.variable}.register" in text_of(file))
        for source in (c for file in files for c in classes_in(file)):
            if source.registered_in(self.variable):
                if source.name in found:
                    raise ValueError(self._twice(source.name, found[source.name].file, source.file))
                found[source.name] = source
        return found

    @property
    def _imported(self) -> dict[str, tuple[ClassSource, Import]]:
        """The classes that the visible imports register, each with its import.

        Raises:
            ValueError: if a name is there twice.
        """
        known = self._of_imports
        if known is None or known[0] != imports.visible():
            found: dict[str, tuple[ClassSource, Import]] = {}
            for source, origin in ((c, i) for i in imports.visible() for c in i.classes()):
                if source.registered_in(self.variable):
                    first = found[source.name][0] if source.name in found else self._files.get(source.name)
                    if first is not None:
                        raise ValueError(self._twice(source.name, first.file, source.file))
                    found[source.name] = (source, origin)
            self._of_imports = known = (imports.visible(), found)
        return known[1]

    def _twice(self, name: str, first: str, second: str) -> str:
        return f"{self.kind} {name!r} is defined twice: {first}, {second}; rename one of them"

    def _module(self, name: str) -> str:
        stem = Path(self._files[name].file).stem
        return self.home if stem in (self.home.rpartition(".")[2], "__init__") else f"{self.home}.{stem}"


@cache
def _keywords(source: ClassSource) -> dict[str, inspect.Parameter]:
    return source.keywords(globals())


def _short(name: str) -> str:
    return repr(name) if len(name) <= 60 else f"{name[:57]!r}..."


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most similar to a misspelt one, ignoring case; None if none is similar.

    >>> nearest("betavea", ["AE", "VAE", "BetaVAE"])
    'BetaVAE'
    """
    spelt = {k.casefold(): k for k in known}
    return next((spelt[near] for near in get_close_matches(name.casefold(), spelt, n=1)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean …?)` with the nearest known name; empty if none is similar."""
    near = nearest(name, known)
    return f" (did you mean {near}?)" if near else ""


PARTS = "vaebench.models.parts"  # a part may stand in any file of this package

MODELS: "Registry[Autoencoder]" = Registry("model", "MODELS", "vaebench.models")
NETWORKS: "Registry[Network]" = Registry("network", "NETWORKS", PARTS)
LIKELIHOODS: "Registry[Likelihood]" = Registry("likelihood", "LIKELIHOODS", PARTS)
PRIORS: "Registry[Prior]" = Registry("prior", "PRIORS", PARTS)
POSTERIORS: "Registry[Posterior]" = Registry("posterior", "POSTERIORS", PARTS)
CORRUPTIONS: "Registry[Corruption]" = Registry("corruption", "CORRUPTIONS", PARTS)
SCHEDULES: "Registry[Schedule]" = Registry("schedule", "SCHEDULES", PARTS)
DATASETS: "Registry[Dataset]" = Registry("data set", "DATASETS", "vaebench.data.datasets")
BINARIZATIONS: "Registry[Binarization]" = Registry("binarization", "BINARIZATIONS", "vaebench.data.binarization")
METRICS: "Registry[Metric]" = Registry("metric", "METRICS", "vaebench.evaluation.metrics")
ESTIMATORS: "Registry[Estimator]" = Registry("estimator", "ESTIMATORS", "vaebench.evaluation.estimators")
OPTIMIZERS: "Registry[Optimizer]" = Registry("optimizer", "OPTIMIZERS", "vaebench.training.optimizers")

REGISTRIES = (
    MODELS, NETWORKS, LIKELIHOODS, PRIORS, POSTERIORS, CORRUPTIONS, SCHEDULES, DATASETS, BINARIZATIONS, METRICS,
    ESTIMATORS, OPTIMIZERS,
)  # fmt: skip

ModelSpec = Annotated[Spec, MODELS]
NetworkSpec = Annotated[Spec, NETWORKS]
LikelihoodSpec = Annotated[Spec, LIKELIHOODS]
PriorSpec = Annotated[Spec, PRIORS]
PosteriorSpec = Annotated[Spec, POSTERIORS]
CorruptionSpec = Annotated[Spec, CORRUPTIONS]
ScheduleSpec = Annotated[Spec, SCHEDULES]
DatasetSpec = Annotated[Spec, DATASETS]
BinarizationSpec = Annotated[Spec, BINARIZATIONS]
MetricSpec = Annotated[Spec, METRICS]
EstimatorSpec = Annotated[Spec, ESTIMATORS]
OptimizerSpec = Annotated[Spec, OPTIMIZERS]
Validation = Annotated[Literal[0] | None, Later()]
MetricSpecs = Annotated[tuple[MetricSpec, ...], MinLen(1), Distinct()]
EstimatorSpecs = Annotated[tuple[EstimatorSpec, ...], Distinct()]
