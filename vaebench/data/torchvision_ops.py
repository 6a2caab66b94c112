"""The first import of torchvision, made to survive a torch without its compiled operators.

Where torch is a CPU build and torchvision the registry's CUDA build, torchvision's C++ library does not load, and
`import torchvision` (hence lightning and torchmetrics, which import it) dies of
`RuntimeError: operator torchvision::nms does not exist` (pytorch/vision #9077, #9085): Python code there attaches shape
rules to operators that only the library declares. Declaring their schemas and executing the module again cures it;
nothing in vaebench calls these operators.

`vaebench/__init__.py` installs the hook, so it stands before the first import of torchvision in every process: tests,
workers, a notebook. It imports nothing itself, and where the operators load it changes nothing.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Literal

SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
"""The operators that torchvision's Python code expects at import, as its C++ code declares them."""

OpsState = Literal["compiled", "declared", "not imported"]


class TorchvisionFinder:
    """Finds torchvision where Python would, and has it loaded by `TorchvisionLoader`."""

    def find_spec(self, fullname: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The specification of torchvision itself, which has no parent and so no `path`; of anything else, None."""
        if fullname != "torchvision":
            return None
        spec = PathFinder.find_spec(fullname, None, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = TorchvisionLoader(spec.loader.name, spec.loader.path)
        return spec


class TorchvisionLoader(SourceFileLoader):
    """Executes torchvision, and once more after declaring the operators it missed."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code in its namespace.

        Raises:
            RuntimeError: of torchvision's own, if it is about anything else than an operator that does not exist.
        """
        try:
            super().exec_module(module)
        except RuntimeError as error:
            if "operator torchvision::" not in str(error) or not declare_missing():
                raise
            super().exec_module(module)


def install() -> None:
    """Put the finder before all others, once a process."""
    if not any(isinstance(finder, TorchvisionFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, TorchvisionFinder())


def declare_missing() -> list[str]:
    """Declare the operators of `SCHEMAS` that torch does not know; their names."""
    import torch

    missing = [name for name in SCHEMAS if not hasattr(torch.ops.torchvision, name)]
    for name in missing:
        torch.library.define(f"torchvision::{name}", SCHEMAS[name])
    return missing


def state() -> OpsState:
    """Which case holds in this process, once torchvision has been imported."""
    extension = sys.modules.get("torchvision.extension")
    if extension is None or "torchvision" not in sys.modules:
        return "not imported"
    return "compiled" if extension._has_ops() else "declared"
