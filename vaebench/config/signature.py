"""The keywords that a constructor takes, read from its source without importing it.

A component's file imports torch, and a study must be checked before torch is imported. So the signature is read with
`ast`: the keyword-only parameters of `__init__` and, through `**kwargs`, those of the parents. Annotations and defaults
may use the names of `vaebench.config.registry` and Python's literals, nothing else.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import vaebench


class SignatureError(TypeError):
    """An annotation or a default that cannot be read without importing its module."""


@dataclass(frozen=True)
class ClassSource:
    """One class statement and its file."""

    node: ast.ClassDef
    file: str

    @property
    def name(self) -> str:
        return self.node.name

    @cached_property
    def summary(self) -> str:
        """The first paragraph of the docstring, on one line."""
        return " ".join((ast.get_docstring(self.node) or "").partition("\n\n")[0].split())

    @cached_property
    def descriptions(self) -> dict[str, str]:
        """The docstrings' text about each argument, of the class and of its parents."""
        inherited = {name: text for parent in self.parents for name, text in parent.descriptions.items()}
        return inherited | arguments_described(ast.get_docstring(self.node) or "")

    @cached_property
    def parents(self) -> tuple["ClassSource", ...]:
        """Base classes whose source lies in this package, nearest first."""
        return tuple(
            source
            for base in map(ast.unparse, self.node.bases)
            for file in (self.file, *imported_from(self.file, base))
            for source in classes_in(file)
            if source.name == base
        )

    def registered_in(self, variable: str) -> bool:
        """Whether `@VARIABLE.register` stands above the class."""
        return any(ast.unparse(d) == f"{variable}.register" for d in self.node.decorator_list)

    def keywords(self, names: Mapping[str, Any]) -> dict[str, inspect.Parameter]:
        """Keyword-only parameters: the class's own first, then those that `**kwargs` passes to the parents.

        Args:
            names: what annotations and defaults may refer to.

        Raises:
            SignatureError: if one of them refers to something else.
        """
        init = next((n for n in self.node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
        own = {p.name: p for p in self._parameters(init, names)} if init else {}
        if init is None or init.args.kwarg is not None:
            fixed = {*own, *_passed_up(init)} if init else set()
            for parent in self.parents:
                own |= {k: p for k, p in parent.keywords(names).items() if k not in {*own, *fixed}}
        return own

    def constant(self, name: str) -> Any:
        """The literal that the class, or the nearest parent that has one, assigns to an attribute; None without one."""
        if name not in self._constants:
            self._constants[name] = self._constant(name)
        return self._constants[name]

    @cached_property
    def _constants(self) -> dict[str, Any]:
        return {}

    def _constant(self, name: str) -> Any:
        for node in self.node.body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if any(isinstance(t, ast.Name) and t.id == name for t in targets) and getattr(node, "value", None):
                return ast.literal_eval(node.value)  # type: ignore[attr-defined]
        return next((value for p in self.parents if (value := p.constant(name)) is not None), None)

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
                f"the file ({error}); use the names of vaebench.config.registry"
            ) from None


def _passed_up(init: ast.FunctionDef) -> set[str]:
    """Keywords that `super().__init__(…, name=…, **kwargs)` fixes, so that a YAML file cannot set them."""
    calls = [n for n in ast.walk(init) if isinstance(n, ast.Call) and ast.unparse(n.func) == "super().__init__"]
    return {k.arg for call in calls for k in call.keywords if k.arg is not None}


def arguments_described(docstring: str) -> dict[str, str]:
    """The texts of the `Args:` section of a docstring, by argument.

    >>> arguments_described("Train.\\n\\nArgs:\\n    epochs: passes over\\n        the data.")
    {'epochs': 'passes over the data.'}
    """
    section = re.search(r"^Args:\n((?:[ \t]+\S.*\n?|\n)+)", inspect.cleandoc(docstring), re.MULTILINE)
    found = re.findall(
        r"^(\w+): ((?:.+\n?(?:[ \t]+.+\n?)*))", textwrap.dedent(section[1]) if section else "", re.MULTILINE
    )
    return {name: " ".join(text.split()) for name, text in found}


@cache
def _tree(file: str) -> ast.Module:
    return ast.parse(Path(file).read_text(encoding="utf-8"))


@cache
def classes_in(file: str) -> tuple[ClassSource, ...]:
    """Every class at the top level of a file."""
    return tuple(ClassSource(n, file) for n in _tree(file).body if isinstance(n, ast.ClassDef))


@cache
def imported_from(file: str, name: str) -> tuple[str, ...]:
    """The file of this package that `from vaebench.… import name` takes the name from, if there is one."""
    for node in _tree(file).body:
        if isinstance(node, ast.ImportFrom) and name in (a.asname or a.name for a in node.names):
            module = vaebench.MODULES.get(name) if node.module == "vaebench" else node.module
            return tuple(module_files(module)) if module and module.startswith("vaebench.") else ()
    return ()


def module_files(module: str) -> list[str]:
    """The source files of a module or of a package's modules, found without importing them."""
    spec = find_spec(module)
    if spec is None:
        return []
    if spec.submodule_search_locations is None:
        return [spec.origin] if spec.origin else []
    return sorted(str(p) for folder in spec.submodule_search_locations for p in Path(folder).glob("*.py"))


@cache
def source_of(cls: type) -> ClassSource:
    """The source of a class that was registered from outside the package (a plug-in, a test)."""
    node = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    if not isinstance(node, ast.ClassDef):
        raise SignatureError(f"{cls!r}: no class statement found for it")
    return ClassSource(node, inspect.getsourcefile(cls) or "<unknown>")
