"""The conditions of every test: shapes are checked, one thread a process, nothing leaves the machine."""

import ast
import os
import signal

# A shell's background job ignores Ctrl-C, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Before torch is imported: two processes of several threads each would wait for one another on a small machine.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ["MPLBACKEND"] = "Agg"

import hypothesis
import jaxtyping
import pytest
from jaxtyping import _import_hook


def has_shape(annotation: ast.expr) -> bool:
    """Whether an annotation names the axes of a tensor, as Float[Tensor, "K B"] does."""
    parts = (
        part.slice.elts
        for part in ast.walk(annotation)
        if isinstance(part, ast.Subscript) and isinstance(part.slice, ast.Tuple)
    )
    return any(isinstance(e, ast.Constant) and isinstance(e.value, str) for elements in parts for e in elements)


class Transformer(_import_hook.JaxtypingTransformer):
    """Checks every function with a shape in its annotations, but constructors.

    One function in eight has one. A check costs more than most functions take: on all, the calibration took three times
    as long. mypy reads the types of the others.

    Lightning's `save_hyperparameters` reads the arguments off the stack of constructors, and stops at the frame that a
    check would put between a class and its parent: a model would forget half its hyper-parameters, under pytest only.
    """

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        annotations = [a for a in (node.returns, *(argument.annotation for argument in arguments)) if a is not None]
        if node.name != "__init__" and any(map(has_shape, annotations)):
            return super().visit_FunctionDef(node)
        self.generic_visit(node)
        return node


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


@pytest.hookimpl(trylast=True)  # of the tests that are left
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, dealt to the workers in turn: at the end no worker waits for a long test of another.

    A file stays together, since its tests share what it prepares. `--dist worksteal` gives each worker an equal number
    of tests that follow one another.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    files: dict[object, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    slow = [file for file in files.values() if any(item.get_closest_marker("slow") for item in file)]
    quick = [item for file in files.values() if file not in slow for item in file]
    dealt: list[pytest.Item] = []
    for worker in range(workers):
        dealt += [item for file in slow[worker::workers] for item in file]
        room = max(0, (worker + 1) * len(items) // workers - len(dealt))
        dealt += quick[:room]
        del quick[:room]
    items[:] = dealt + quick
