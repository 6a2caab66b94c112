"""From the signature of a constructor to a strict check of what a YAML file says of it.

The pydantic models are derived when a name is first met, so a study pays for the components it names. Whatever they
refuse is said in the words of this suite: what was expected, what came, what to do.
"""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, is_dataclass
from functools import cache, reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from annotated_types import MinLen
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, PydanticUndefined

from vaebench.config.annotations import (
    Keywords,
    alternatives,
    described,
    expected,
    list_of,
    named,
    registry_of,
    shown,
)
from vaebench.config.registry import Distinct, Registry, Spec, UnknownName, did_you_mean
from vaebench.config.signature import ClassSource

STRICT = ConfigDict(
    strict=True, extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, protected_namespaces=()
)


class Checked(BaseModel):
    """The values of some keywords: every one known, none missing, each of its type and in its range."""

    model_config = STRICT
    title: ClassVar[str] = ""
    keywords: ClassVar[Keywords] = {}
    registry: ClassVar[Registry | None] = None

    @model_validator(mode="wrap")
    @classmethod
    def _in_our_words(cls, value: Any, handler: Any) -> Any:
        if not isinstance(value, Mapping):
            raise fault(f"expected a mapping with any of {', '.join(cls.keywords)}; got {shown(value)}")
        try:
            return handler({key: _canonical(v) for key, v in value.items()})
        except ValidationError as error:
            said = {e["loc"]: e for e in cls._said(error, value)}  # one fault a place
            raise ValidationError.from_exception_data(cls.title, list(said.values())) from None

    @classmethod
    def _said(cls, error: ValidationError, value: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        for e in error.errors(include_url=False, include_context=False):
            loc, key = e["loc"], str(e["loc"][0]) if e["loc"] else ""
            if e["type"] == "fault":
                text = e["msg"]
            elif e["type"] == "missing":
                text = f"missing; expected {described(cls.keywords[key].annotation)}"
            elif e["type"] == "extra_forbidden":
                text = cls._unknown(key)
            else:
                loc, text = (key,), expected(cls.keywords[key].annotation, value.get(key, e["input"]))
            yield InitErrorDetails(type=fault(text), loc=loc, input=e["input"])

    @classmethod
    def _unknown(cls, key: str) -> str:
        near = did_you_mean(key, cls.keywords)
        takers = cls.registry.taking(key) if cls.registry and not near else []
        takes = f"{cls.title} takes {', '.join(cls.keywords) or 'no keywords'}"
        also = f"; {', '.join(takers)} would take it" if takers else ""
        return f"unknown key{near}" if near else f"unknown key; {takes}{also}"


@dataclass(frozen=True)
class Component:
    """The check of a component: its name, a mapping with `name`, or a plain value where the annotation admits one."""

    annotation: Any
    default: Any = None

    def __call__(self, value: Any) -> Any:
        registry = registry_of(self.annotation)
        assert registry is not None
        value = named(value, self.default)
        if not isinstance(value, str | Mapping):
            return self._plain(value)
        spec = {"name": value} if isinstance(value, str) else dict(value)
        if "name" not in spec:
            raise fault(f"no `name`; expected {described(Annotated[Spec, registry])}")
        try:
            if not isinstance(spec["name"], str):
                raise UnknownName(expected(Annotated[Spec, registry], spec["name"]))
            return entry(registry, spec["name"]).model_validate(spec)
        except UnknownName as error:
            where = ("name",) if isinstance(value, Mapping) else ()
            details = InitErrorDetails(type=fault(str(error)), loc=where, input=value)
            raise ValidationError.from_exception_data(registry.kind, [details]) from None

    def _plain(self, value: Any) -> Any:
        others = tuple(a for a in alternatives(self.annotation) if registry_of(a) is None)
        for other in others:
            with suppress(ValidationError):
                return _adapter(other).validate_python(value)
        raise fault(expected(self.annotation, value))


def entry(registry: Registry, name: str) -> type[Checked]:
    """The check of one entry of a registry.

    Raises:
        UnknownName: if the registry has no such entry.
    """
    return _entry(registry, registry.source(name))


@cache
def _entry(registry: Registry, source: ClassSource) -> type[Checked]:
    return derive(source.name, registry.keywords(source.name), registry)


def derive(title: str, keywords: Keywords, registry: Registry | None = None) -> type[Checked]:
    """The check of some keywords; with a registry, those of one of its entries, `name` among them.

    Fields go by an alias, so that a keyword may have any name, be it that of a method of pydantic's.
    """
    fields: dict[str, Any] = {"name_": (Literal[title], Field(alias="name"))} if registry else {}
    for key, p in keywords.items():
        default = asdict(p.default) if is_dataclass(p.default) else p.default  # type: ignore[arg-type]
        default = PydanticUndefined if p.default is p.empty else default
        fields[f"{key}_"] = (checked(p.annotation, p.default), Field(default, alias=key))
    model = create_model(title, __base__=Checked, **fields)
    model.title, model.keywords, model.registry = title, keywords, registry
    return model


def section(cls: type) -> type[Checked]:
    """The check of a plain dataclass, from its constructor."""
    return derive(cls.__name__.lower(), inspect.signature(cls).parameters)


def checked(annotation: Any, default: Any = None) -> Any:
    """The annotation as pydantic is to see it: components replaced by their checks."""
    registry = registry_of(annotation)
    if registry is not None:
        return Annotated[Any, PlainValidator(Component(annotation, default))]
    if is_dataclass(annotation):
        return section(annotation)  # type: ignore[arg-type]
    if (listed := list_of(annotation)) is not None:
        rules = {MinLen: _some, Distinct: _distinct}
        marks = (AfterValidator(rules[type(mark)]) for mark in get_args(annotation)[1:])
        return Annotated[(checked(listed), *marks)]
    if get_origin(annotation) is tuple:
        return tuple[tuple(a if a is ... else checked(a) for a in get_args(annotation))]  # type: ignore[misc]
    if get_origin(annotation) in (Union, UnionType):
        return reduce(or_, map(checked, get_args(annotation)))
    return annotation


def _some(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """The items, one at least. Pydantic's own rule would count a wrong one as missing, too."""
    if not items:
        raise ValueError
    return items


def _distinct(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """The items, none of them twice; a component is known by its name, since its numbers have names after it."""
    names = [getattr(item, "name_", item) for item in items]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise fault(f"{' and '.join(map(str, twice[:3]))} named twice; name it once, with all that it takes")
    return items


def fault(text: str) -> PydanticCustomError:
    """A refusal in words of our own."""
    return PydanticCustomError("fault", "{text}", {"text": text})


@cache
def _adapter(annotation: Any) -> TypeAdapter:
    return TypeAdapter(checked(annotation), config=STRICT)


def _canonical(value: Any) -> Any:
    """Lists as tuples, and −0.0 as 0.0, so that a run has one id."""
    if isinstance(value, list):
        return tuple(map(_canonical, value))
    return value + 0.0 if isinstance(value, float) else value
