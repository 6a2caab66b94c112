"""The conditions of every test: shapes are checked, one thread a process, nothing leaves the machine."""

import ast
import os

# Before torch is imported: two processes of several threads each would wait for one another on a small machine.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ["MPLBACKEND"] = "Agg"

import hypothesis
import jaxtyping
from jaxtyping import _import_hook


class Transformer(_import_hook.JaxtypingTransformer):
    """Checks every function but constructors.

    Lightning's `save_hyperparameters` reads the arguments off the stack of constructors, and stops at the frame that a
    check would put between a class and its parent: a model would forget half its hyper-parameters, under pytest only.
    """

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        return node if node.name == "__init__" else super().visit_FunctionDef(node)


# Before any module of the package: annotations such as Float[Tensor, "K B"] become checks, under pytest only.
_import_hook.JaxtypingTransformer = Transformer
jaxtyping.install_import_hook("vaebench", "beartype.beartype")

import vaebench  # noqa: E402, F401 (installs the hook that lets torchvision be imported)

# Always the same examples: a run of the tests says something about the code and nothing about luck. No deadline, since
# a shared machine has slow moments.
hypothesis.settings.register_profile(
    "vaebench",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=50,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("vaebench")
