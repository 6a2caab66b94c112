"""The keywords a constructor takes, read from source so that nothing heavy is imported.

A component's file imports torch; a study must be checked before torch is. So the signature is read with `ast`:
keyword-only parameters of `__init__`, and, through `**kwargs`, those of the parents. Annotations and defaults are
evaluated with the names of `vaebench.registry` in sight (and the literals of Python), which is all they may use.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any


class SignatureError(TypeError):
    """An annotation or a default that cannot be read without importing the module it stands in."""


@dataclass(frozen=True)
class ClassSource:
    """One class statement and the file it stands in."""

    node: ast.ClassDef
    file: str

    @property
    def name(self) -> str:
        return self.node.name

    @cached_property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (ast.get_docstring(self.node) or "").partition("\n")[0]

    def registered_in(self, variable: str) -> bool:
        """Whether `@VARIABLE.register` stands above the class."""
        return any(ast.unparse(d) == f"{variable}.register" for d in self.node.decorator_list)

    def keywords(self, names: Mapping[str, Any]) -> dict[str, inspect.Parameter]:
        """Keyword-only parameters, own ones first, then those that `**kwargs` hands to the parents."""
        init = next((n for n in self.node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
        own = {p.name: p for p in self._parameters(init, names)} if init else {}
        if init and init.args.kwarg is None:
            return own
        for parent in self._parents():
            own = {**parent.keywords(names), **own} if not init else {**own, **_missing(parent.keywords(names), own)}
        return own

    def _parameters(self, init: ast.FunctionDef, names: Mapping[str, Any]) -> Iterator[inspect.Parameter]:
        for argument, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
            yield inspect.Parameter(
                argument.arg,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=self._value(argument.annotation, names) if argument.annotation else Any,
                default=self._value(default, names) if default else inspect.Parameter.empty,
            )

    def _value(self, node: ast.expr, names: Mapping[str, Any]) -> Any:
        try:
            return eval(compile(ast.Expression(node), self.file, "eval"), dict(names))
        except NameError as error:
            raise SignatureError(
                f"{self.file}:{node.lineno}: {self.name}: {ast.unparse(node)!r} cannot be read without importing "
                f"the file ({error}); use the names of vaebench.registry"
            ) from None

    def _parents(self) -> Iterator["ClassSource"]:
        """Base classes whose source lies in this package."""
        for base in self.node.bases:
            for module in (self.file, *imported_from(self.file, ast.unparse(base))):
                yield from (c for c in classes_in(module) if c.name == ast.unparse(base))


def _missing(new: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in new.items() if name not in old}


@lru_cache(maxsize=None)
def classes_in(file: str) -> tuple[ClassSource, ...]:
    """Every class at the top level of a file."""
    return tuple(ClassSource(n, file) for n in ast.parse(Path(file).read_text()).body if isinstance(n, ast.ClassDef))


@lru_cache(maxsize=None)
def imported_from(file: str, name: str) -> tuple[str, ...]:
    """The file, if it is one of ours, that `from vaebench.… import name` takes the name from."""
    for node in ast.parse(Path(file).read_text()).body:
        if isinstance(node, ast.ImportFrom) and name in (a.asname or a.name for a in node.names):
            if (node.module or "").startswith("vaebench."):
                return tuple(module_files(node.module or ""))
    return ()


def module_files(module: str) -> list[str]:
    """The source files of a module or of a package's modules, found without importing the modules themselves."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return []
    if spec.submodule_search_locations is None:
        return [spec.origin]
    return sorted(str(p) for folder in spec.submodule_search_locations for p in Path(folder).glob("*.py"))


def source_of(cls: type) -> ClassSource:
    """The source of a class that was registered from outside the package (a plug-in, a test)."""
    node = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    if not isinstance(node, ast.ClassDef):
        raise SignatureError(f"{cls!r}: no class statement found for it")
    return ClassSource(node, inspect.getsourcefile(cls) or "<unknown>")
