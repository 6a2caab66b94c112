"""A loader that lets torchvision be imported if its compiled operators do not load.

If torch is a CPU build and torchvision is the CUDA build of the registry, the C++ library of torchvision does not load.
Then `import torchvision` fails with `RuntimeError: operator torchvision::nms does not exist` (pytorch/vision #9077,
#9085), and so do lightning and torchmetrics, which import it. The reason is Python code in torchvision that attaches
shape rules to operators which only the library declares. The loader declares these operators and runs the module again.
vaebench never calls them. If the operators load, it changes nothing.
"""

import sys
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Literal

SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
"""The operators that the Python code of torchvision needs at import, with the declarations of its C++ code."""

OpsState = Literal["compiled", "declared", "not imported"]


class TorchvisionLoader(SourceFileLoader):
    """Run torchvision's module. If operators are missing, declare them and run it again."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code in its namespace.

        Raises:
            RuntimeError: from torchvision, if the reason is not a missing operator.
        """
        try:
            super().exec_module(module)
        except RuntimeError as error:
            if "operator torchvision::" not in str(error) or not declare_missing():
                raise
            super().exec_module(module)


def declare_missing() -> list[str]:
    """Declare the operators of `SCHEMAS` that torch does not know; return their names."""
    import torch

    missing = [name for name in SCHEMAS if not hasattr(torch.ops.torchvision, name)]
    for name in missing:
        torch.library.define(f"torchvision::{name}", SCHEMAS[name])
    return missing


def state() -> OpsState:
    """How torchvision got its operators in this process."""
    extension = sys.modules.get("torchvision.extension")
    if extension is None or "torchvision" not in sys.modules:
        return "not imported"
    return "compiled" if extension._has_ops() else "declared"
