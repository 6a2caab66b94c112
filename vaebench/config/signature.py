"""The keywords that a constructor takes, read from its source without importing it.

A component's file imports torch, and a study must be checked before torch is imported. So the signature is read with
`ast`: the keyword-only parameters of `__init__` and, through `**kwargs`, those of the parents. Annotations and defaults
may use the names of `vaebench.config.registry` and Python's literals, nothing else.
"""

import ast
import copy
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


class SignatureError(ValueError):
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
            if source.name == base.rpartition(".")[2] and source.node is not self.node
        )

    def registered_in(self, variable: str) -> bool:
        """Whether `@VARIABLE.register` stands above the class, or `@vaebench.VARIABLE.register`."""
        decorators = (ast.unparse(d).split(".") for d in self.node.decorator_list)
        return any(words[-2:] == [variable, "register"] for words in decorators)

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

    @cache  # noqa: B019, sources live as long as the process
    def constant(self, name: str) -> Any:
        """The literal that the class, or the nearest parent that has one, assigns to an attribute; None without one."""
        for node in self.node.body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if any(isinstance(t, ast.Name) and t.id == name for t in targets) and getattr(node, "value", None):
                return self._literal(node.value)  # type: ignore[attr-defined]
        return next((value for p in self.parents if (value := p.constant(name)) is not None), None)

    def _literal(self, node: ast.expr) -> Any:
        try:
            return ast.literal_eval(node)
        except ValueError:
            raise SignatureError(
                f"{self.file}:{node.lineno}: {self.name}: {ast.unparse(node)!r} cannot be read without importing the "
                "file; write the value itself"
            ) from None

    def _parameters(self, init: ast.FunctionDef, names: Mapping[str, Any]) -> Iterator[inspect.Parameter]:
        for argument, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
            yield inspect.Parameter(
                argument.arg,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=self._annotation(argument.annotation, names) if argument.annotation else Any,
                default=self._value(default, names) if default else inspect.Parameter.empty,
            )

    def _annotation(self, node: ast.expr, names: Mapping[str, Any]) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):  # in quotes
            text = node.value
            try:
                node = ast.copy_location(ast.parse(text, mode="eval").body, node)
            except SyntaxError:
                raise SignatureError(f"{self.file}:{node.lineno}: {self.name}: {text!r} is no annotation") from None
        if any(isinstance(n, ast.Name) and n.id == "list" for n in ast.walk(node)):
            raise SignatureError(
                f"{self.file}:{node.lineno}: {self.name}: {ast.unparse(node)!r}: lists of YAML are tuples "
                "here, which cannot change; write tuple[int, ...] for list[int]"
            )
        return self._value(node, names)

    def _value(self, node: ast.expr, names: Mapping[str, Any]) -> Any:
        try:
            node = _Bare(self.file).visit(copy.deepcopy(node))
            if odd := next((n for n in ast.walk(node) if not isinstance(n, READABLE)), None):
                raise TypeError(f"{type(odd).__name__} is not read")
            return eval(compile(ast.Expression(node), self.file, "eval"), {**names, "__builtins__": TYPES})
        except Exception as error:
            raise SignatureError(
                f"{self.file}:{node.lineno}: {self.name}: {ast.unparse(node)!r} cannot be read without importing "
                f"the file ({error}); use the names of vaebench.config.registry"
            ) from None


NAMING = ("vaebench", "vaebench.config.registry", "typing")  # modules with the names that annotations use


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


class _Bare(ast.NodeTransformer):
    """Turns `vaebench.Positive` into `Positive`: the name that a file has through a module, into the name itself."""

    def __init__(self, file: str) -> None:
        self.file = file

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        bare = ast.copy_location(ast.Name(node.attr, ast.Load()), node)
        return bare if _is_module(self.file, ast.unparse(node.value)) else node


READABLE = (
    *(ast.Name, ast.Load, ast.Constant, ast.Subscript, ast.Tuple, ast.List, ast.Dict, ast.BinOp, ast.BitOr),
    *(ast.UnaryOp, ast.USub, ast.Call, ast.keyword, ast.Sub, ast.Add),
)
"""The syntax of annotations and defaults. Without attributes and names of Python's own functions, it runs no code."""

TYPES = {t.__name__: t for t in (bool, dict, float, int, list, str, tuple)}


def text_of(file: str) -> str:
    """The text of a source file, with `\\n` at the end of every line, and without a byte order mark."""
    return Path(file).read_text(encoding="utf-8-sig")


@cache
def _tree(text: str) -> ast.Module:
    return ast.parse(text)


def classes_in(file: str) -> tuple[ClassSource, ...]:
    """Every class at the top level of a file."""
    return classes_of(text_of(file), file)


@cache
def classes_of(text: str, file: str) -> tuple[ClassSource, ...]:
    """Every class at the top level of a file with this text."""
    return tuple(ClassSource(n, file) for n in _tree(text).body if isinstance(n, ast.ClassDef))


def imported_from(file: str, name: str) -> tuple[str, ...]:
    """The files that may have a name which `from module import name`, or `from module import *`, gives to a file.

    They are of this package, or beside the file. `name` may also be `vaebench.Name`, after `import vaebench`.
    """
    package, _, last = name.rpartition(".")
    for node in sorted(_tree(text_of(file)).body, key=_takes_all):
        if isinstance(node, ast.ImportFrom) and (
            name in (a.asname or a.name for a in node.names) or (_takes_all(node) and _has(file, node, name))
        ):
            module = vaebench.MODULES.get(name) if node.module == "vaebench" else node.module
            return tuple(_files(file, module or "", node.level))
        if isinstance(node, ast.Import) and (package, "vaebench") in ((a.asname or a.name, a.name) for a in node.names):
            return tuple(module_files(vaebench.MODULES.get(last, "vaebench")))
    return ()


def _takes_all(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.names[0].name == "*"


def _has(file: str, node: ast.ImportFrom, name: str) -> bool:
    if node.module == "vaebench":
        return name in vaebench.MODULES
    return any(
        source.name == name for each in _files(file, node.module or "", node.level) for source in classes_in(each)
    )


def _is_module(file: str, name: str) -> bool:
    """Whether a file has, under this name, a module whose names annotations and defaults may use."""
    imports = (node for node in _tree(text_of(file)).body if isinstance(node, ast.Import))
    return any((a.asname or a.name) == name and a.name in NAMING for node in imports for a in node.names)


def _files(file: str, module: str, level: int) -> list[str]:
    """The files of an imported module whose classes may be parents; nothing is imported to find them."""
    if module.startswith("vaebench."):
        return module_files(module)
    folder = Path(file).parents[max(0, level - 1)]
    beside = folder.joinpath(*module.split(".")).with_suffix(".py") if module else folder / "__init__.py"
    found = beside if beside.is_file() else None if level else module_path(module)
    return [] if found is None else [str(found)]


def module_path(module: str) -> Path | None:
    """The file of a module, or the `__init__.py` of a package. No part of it is imported; None if there is none."""
    first, *rest = module.split(".")
    try:
        spec = find_spec(first)
    except (ImportError, ValueError):
        return None
    if spec is None or not all(part.isidentifier() for part in rest):
        return None
    places = [Path(p) for p in spec.submodule_search_locations or ()]
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    found = (place.joinpath(*rest) for place in places)
    files = (file for path in found for file in (path.with_suffix(".py"), path / "__init__.py"))
    return next((file for file in files if file.is_file()), None)


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
