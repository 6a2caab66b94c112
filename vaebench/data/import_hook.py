"""An import hook: some modules are found as Python finds them, but loaded by a loader of this package.

`vaebench/__init__.py` installs it, so it is there before the first of these imports in every process. It imports none
of these modules itself.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

from vaebench.data import late_compiler
from vaebench.data.late_compiler import CompilerLoader, ImportedLoader
from vaebench.data.late_packages import PACKAGES, PLOT, LateLoader, PlotLoader
from vaebench.data.torchvision_ops import TorchvisionLoader

LOADERS: dict[str, type[SourceFileLoader]] = {
    **dict.fromkeys(PACKAGES, LateLoader),
    PLOT: PlotLoader,
    late_compiler.NAME: CompilerLoader,
    "torchvision": TorchvisionLoader,
}
"""The loader of each of these modules."""


class Finder:
    """Find modules as Python does, but load some with the loaders of `LOADERS`."""

    def find_spec(self, fullname: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The specification of one of these modules, with the loader replaced; None for every other module."""
        if fullname.startswith(f"{late_compiler.NAME}.") and late_compiler.is_waiting():
            # Its files expect that the package was executed, and this may have imported the file.
            late_compiler.wait_no_longer()
            there = sys.modules.get(fullname)
            return None if there is None else ImportedLoader(there).spec
        if fullname not in LOADERS:
            return None
        spec = PathFinder.find_spec(fullname, path, target)  # type: ignore[arg-type]
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = LOADERS[fullname](spec.loader.name, spec.loader.path)
        return spec


def install() -> None:
    """Put the finder before all others, once in each process."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())
