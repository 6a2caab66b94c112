"""Loaders of packages whose `__init__` imports everything they have: they are imported part by part.

Lightning needs one class of torchmetrics, `Metric`. To get it, Python executes `torchmetrics/__init__.py`, which
imports metrics of sound, text and images, and for these scipy.signal and torchvision. wandb imports its job launcher in
the same way. `LateLoader` does for these packages what PEP 562 proposes: a name is imported from the file that has it
when it is first used. Which file has it is read from the package's own `__init__`.
A name that this does not tell is found by executing the whole `__init__`: nothing is missing, it only comes later.

The file of torchmetrics that draws a metric imports matplotlib. It is executed as if matplotlib were not installed,
and as it is when somebody draws a metric.
"""

import ast
import importlib
from collections.abc import Callable, Sequence
from functools import wraps
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec, resolve_name
from types import ModuleType
from typing import Any

PACKAGES = (
    "torchmetrics",
    "torchmetrics.functional",
    "torchmetrics.functional.image",
    "torchmetrics.utilities",
    "wandb.sdk.launch",
)
"""The packages that are imported part by part."""

PLOT, DRAWING = "torchmetrics.utilities.plot", ("plot_single_or_multi_val", "plot_confusion_matrix", "plot_curve")
"""The file that draws a metric, and its functions that need matplotlib."""


class LateLoader(SourceFileLoader):
    """Execute of a package's `__init__` what imports nothing of the package; the rest waits until it is used."""

    def exec_module(self, module: ModuleType) -> None:
        """Execute all but conditions and imports from the package itself, and give the module a `__getattr__`."""
        tree = ast.parse(self.get_data(self.path))
        places: dict[str, tuple[str, str]] = {}
        now: list[ast.stmt] = []
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and (source := self._inside(node)) and node.names[0].name != "*":
                places |= {alias.asname or alias.name: (source, alias.name) for alias in node.names}
            elif not isinstance(node, ast.If):
                now.append(node)

        def __getattr__(name: str) -> object:  # noqa: N807
            return self._late(module, name, *places.get(name, (module.__name__, name)))

        module.__getattr__ = __getattr__  # type: ignore[method-assign]
        exec(compile(ast.Module(now, []), self.path, "exec"), module.__dict__)

    def _inside(self, node: ast.ImportFrom) -> str:
        """The module that a statement imports from, if it is the package or in it; otherwise empty."""
        source = resolve_name("." * node.level + (node.module or ""), self.name)
        return source if f"{source}.".startswith(f"{self.name}.") else ""

    def _late(self, module: ModuleType, name: str, source: str, original: str) -> object:
        """What a package calls `name`, from the module that has it as `original`."""
        if name.startswith("__"):
            raise AttributeError(f"module {self.name!r} has no attribute {name!r}")
        if source != self.name:
            found = getattr(importlib.import_module(source), original)
        elif find_spec(f"{source}.{original}") is not None:
            return importlib.import_module(f"{source}.{original}")
        else:
            del module.__getattr__
            super().exec_module(module)
            return getattr(module, name)
        setattr(module, name, found)
        return found


class PlotLoader(SourceFileLoader):
    """Execute the file without the condition in which it imports matplotlib; as it is, when a metric is drawn."""

    def exec_module(self, module: ModuleType) -> None:
        """Execute what the file does where matplotlib is missing, and replace the functions that need it."""
        tree = ast.parse(self.get_data(self.path))
        parts = [part for node in tree.body for part in _without_matplotlib(node)]
        exec(compile(ast.Module(parts, []), self.path, "exec"), module.__dict__)
        for name in DRAWING:
            setattr(module, name, self._late(module, name))

    def _late(self, module: ModuleType, name: str) -> Callable[..., Any]:
        @wraps(getattr(module, name))
        def call(*args: Any, **kwargs: Any) -> Any:
            if getattr(module, name) is call:
                super(PlotLoader, self).exec_module(module)
            return getattr(module, name)(*args, **kwargs)

        return call


def _without_matplotlib(node: ast.stmt) -> Sequence[ast.stmt]:
    """A statement of the file; of a condition in which matplotlib is imported, the other branch."""
    if isinstance(node, ast.If) and any(
        isinstance(n, ast.Import) and n.names[0].name == "matplotlib" for n in node.body
    ):
        return node.orelse
    return [node]
