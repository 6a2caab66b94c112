"""A loader of `torch._dynamo`, torch's compiler: it is executed when something is compiled, and not before.

Its import takes as long as that of torch. Lightning imports it to ask whether a model was compiled, and torch to keep
the compiler away from some functions, e.g. `torch.manual_seed`. While nothing has used the compiler, no model was
compiled and nothing can be compiled. So this loader answers both questions, and executes the package at the first use
of any other name.
"""

import sys
from collections.abc import Callable
from functools import wraps
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import Any

NAME = "torch._dynamo"


class ImportedLoader:
    """Give a module that was imported while Python looked for it; else Python would execute it a second time."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.own = module, module.__spec__
        # Python takes the specification of the module, whatever a finder gives.
        self.spec = module.__spec__ = ModuleSpec(module.__name__, self)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module that is there."""
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        """It was executed; only its own specification has to be put back."""
        module.__spec__ = self.own


class CompilerLoader(SourceFileLoader):
    """Give the module what answers the two questions; execute it when it is used."""

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module as it is, with a `__getattr__` that executes it."""

        def execute() -> None:
            for name in ("__getattr__", "disable", "OptimizedModule"):
                delattr(module, name)
            super(CompilerLoader, self).exec_module(module)

        def __getattr__(name: str) -> object:  # noqa: N807
            if name.startswith("__"):
                raise AttributeError(f"module {NAME!r} has no attribute {name!r}")
            execute()
            return getattr(module, name)

        __getattr__.execute = execute  # type: ignore[attr-defined]
        module.__getattr__ = __getattr__  # type: ignore[method-assign]
        module.disable = _disable  # type: ignore[attr-defined]
        module.OptimizedModule = OptimizedModule  # type: ignore[attr-defined]


def is_waiting() -> bool:
    """Whether the compiler was imported but not executed."""
    module = sys.modules.get(NAME)
    return module is not None and hasattr(vars(module).get("__getattr__"), "execute")


def wait_no_longer() -> ModuleType:
    """Execute the compiler if it is waiting; returns it."""
    module = sys.modules[NAME]
    if is_waiting():
        module.__getattr__.execute()  # type: ignore[attr-defined]
    return module


class _AskTheCompiler(type):
    """Stand-ins for classes of the compiler: `isinstance` asks the class of that name, if the compiler is loaded."""

    def __instancecheck__(cls, model: object) -> bool:
        return not is_waiting() and isinstance(model, getattr(sys.modules[NAME], cls.__name__))


class OptimizedModule(metaclass=_AskTheCompiler):
    """What Lightning asks for: no model is one while the compiler is waiting."""


def _disable(function: Callable[..., Any] | None = None, *how: Any, **named: Any) -> Any:
    """`torch._dynamo.disable`, which keeps the compiler away from a function. Torch itself calls it so."""
    if function is None or not how or named.keys() - {"wrapping", "reason"}:
        return wait_no_longer().disable(function, *how, **named)
    disabled: list[Callable[..., Any]] = []

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if is_waiting():
            return function(*args, **kwargs)
        if not disabled:
            disabled.append(sys.modules[NAME].disable(function, *how, **named))
        return disabled[0](*args, **kwargs)

    return call
