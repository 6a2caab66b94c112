"""The names a YAML file may use, and what they stand for.

One registry a kind. `@MODELS.register` stands at the class; the name in YAML is the name of the class is the heading in
the table. The rule of every constructor here: **positional parameters are what the suite supplies (a shape, a seed);
keyword-only parameters are what a YAML file may set**, and their annotations are the schema.
"""

import importlib
import inspect
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar  # noqa: F401 (Literal: for annotations read from source)

from annotated_types import Ge, Gt, Le, Lt

from vaebench.signature import ClassSource, classes_in, module_files, source_of

T = TypeVar("T", bound=type)

Spec = str | Mapping[str, Any]
"""A component as a YAML file writes it: `MLP`, or `{name: MLP, hidden: [64]}`."""

Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
PositiveInt = Annotated[int, Gt(0)]
Seed = Annotated[int, Ge(0), Lt(2**32)]


class UnknownName(LookupError):
    """A name that stands for nothing in its registry."""


class Registry:
    """Maps the name of a class to the class, importing its file only when the class itself is asked for.

    Args:
        kind: what the entries are called in messages and by `vaebench list`.
        variable: the name under which this registry stands in this module, and thus in `@VARIABLE.register`.
        home: the module or package whose files are searched for registered classes.
    """

    def __init__(self, kind: str, variable: str, home: str) -> None:
        self.kind, self.variable, self.home = kind, variable, home
        self._classes: dict[str, type] = {}

    def register(self, cls: T) -> T:
        """Enter a class under its own name (a decorator)."""
        known = self._classes.setdefault(cls.__name__, cls)
        if known is not cls and known.__module__ != cls.__module__:
            raise ValueError(f"{self.kind} {cls.__name__!r} is defined twice: {known.__module__}, {cls.__module__}")
        return cls

    def __getitem__(self, name: str) -> type:
        self.source(name)
        if name not in self._classes:
            importlib.import_module(self._module(name))
        return self._classes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._files(), *self._classes}))

    def __contains__(self, name: object) -> bool:
        return name in set(self)

    def source(self, name: str) -> ClassSource:
        """The class statement behind a name.

        Raises:
            UnknownName: with the nearest known name.
        """
        if name in (files := self._files()):
            return files[name]
        if name in self._classes:
            return source_of(self._classes[name])
        near = get_close_matches(name, list(self), n=1, cutoff=0.5)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UnknownName(f"unknown {self.kind} {name!r}{hint}; known: {', '.join(self)}")

    def keywords(self, name: str) -> dict[str, inspect.Parameter]:
        """What a YAML file may say of this entry."""
        return self.source(name).keywords(globals())

    def build(self, spec: Spec, *supplied: Any) -> Any:
        """An instance from a name, or from a mapping with `name` and the keywords."""
        name, keywords = (spec, {}) if isinstance(spec, str) else (spec["name"], {**spec})
        keywords.pop("name", None)
        return self[name](*supplied, **keywords)

    def _files(self) -> dict[str, ClassSource]:
        found = (c for f in module_files(self.home) for c in classes_in(f))
        return {c.name: c for c in found if c.registered_in(self.variable)}

    def _module(self, name: str) -> str:
        file = Path(self._files()[name].file)
        return self.home if file.stem == self.home.rpartition(".")[2] else f"{self.home}.{file.stem}"


MODELS = Registry("model", "MODELS", "vaebench.models")
NETWORKS = Registry("network", "NETWORKS", "vaebench.networks")
LIKELIHOODS = Registry("likelihood", "LIKELIHOODS", "vaebench.likelihoods")
PRIORS = Registry("prior", "PRIORS", "vaebench.priors")
CORRUPTIONS = Registry("corruption", "CORRUPTIONS", "vaebench.corruptions")
SCHEDULES = Registry("schedule", "SCHEDULES", "vaebench.schedules")
DATASETS = Registry("data set", "DATASETS", "vaebench.datasets")
BINARIZATIONS = Registry("binarization", "BINARIZATIONS", "vaebench.binarization")
METRICS = Registry("metric", "METRICS", "vaebench.metrics")

REGISTRIES = (MODELS, NETWORKS, LIKELIHOODS, PRIORS, CORRUPTIONS, SCHEDULES, DATASETS, BINARIZATIONS, METRICS)

NetworkSpec = Annotated[Spec, NETWORKS]
LikelihoodSpec = Annotated[Spec, LIKELIHOODS]
PriorSpec = Annotated[Spec, PRIORS]
CorruptionSpec = Annotated[Spec, CORRUPTIONS]
ScheduleSpec = Annotated[Spec, SCHEDULES]
