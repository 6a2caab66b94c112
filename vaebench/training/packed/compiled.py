"""The gradients of a pack as machine code, for those who ask for it (`--compile`), on a CPU.

The captured program of `capture` runs about a hundred operations one after another. A compiler joins neighbouring
operations, so that a step passes over memory less often, and Python starts one function.

- The compiler of torch (AOTInductor, with g++) takes about half a minute of one core. Its library is kept in
  `~/.cache/vaebench/steps`, by everything that it depends on. Another training of the same shapes loads it in a
  millisecond.
- So the first steps are plain, and measured. Then it is decided once, by what is left to do: a library that is there is
  loaded; a new one is compiled if it saves more time than it costs; else the steps stay plain.
- The numbers are those of the plain program to rounding, not to the bit. Records say how many steps were compiled.
- The last batch of an epoch, if it is smaller, and whatever cannot be compiled, is computed by the plain program.
"""

import hashlib
import logging
import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import torch
from jaxtyping import Float
from torch import Tensor, fx

from vaebench.training.packed import torch_private
from vaebench.training.packed.capture import Program, objective_and_gradients
from vaebench.training.packed.functional import FunctionalCall
from vaebench.training.packed.recording import record
from vaebench.training.packed.stacked import SeedGroups, Stacks

MEASURED = 20
"""Plain steps that are timed before it is decided."""

SAVED = 0.15
"""The least share of a plain step that compiling saves."""

LOADING = 2.0
"""Seconds that a library must save: to record the program, and to look for its library, takes less than one."""

COMPILING = 60.0
"""Seconds that compiling must save: twice what it takes when nothing else runs."""

log = logging.getLogger(__name__)


class CompiledGradients:
    """Computes the gradients of a pack by a compiled library, from the step at which that pays.

    Args:
        function: takes a model, observations and noise, and returns the objective `[B]`.
        stacks: the tensors of the members.
        seed_groups: of the members.
        batch_size: of the steps to compile.

    Attributes:
        taken: how many steps the library computed.
    """

    def __init__(
        self, function: Callable[..., Tensor], stacks: Stacks, seed_groups: SeedGroups, batch_size: int
    ) -> None:
        self.function, self.stacks, self.seed_groups, self.batch_size = function, stacks, seed_groups, batch_size
        self.taken = 0
        self._library: Program | None = None
        self._plain, self._since = 0, 0.0
        # A phase would need a library of its own.
        self._decided = stacks.rows.values.device.type != "cpu" or stacks.models[0].phase_at(1.0) != 0

    def __call__(
        self, x: Float[Tensor, "U B *event"], noise: Float[Tensor, "U B *noise"], left: int | float
    ) -> list[Tensor] | None:
        """The results of `capture.program`, or None: then the caller computes them by the plain program.

        Args:
            x: the observations of each seed.
            noise: of each seed.
            left: the number of steps to do, with this one.
        """
        if x.shape[1] != self.batch_size:
            return None
        if not self._decided:
            self._decide(x, noise, left)
        if self._library is None:
            return None
        self.taken += 1
        return self._library(x, noise)

    def _decide(self, x: Tensor, noise: Tensor, left: int | float) -> None:
        """Measure enough plain steps; then load or compile the library, or leave it."""
        self._plain, self._since = self._plain + 1, self._since or perf_counter()
        if self._plain <= MEASURED:
            return
        self._decided = True
        saved = left * (perf_counter() - self._since) / MEASURED * SAVED
        if saved < LOADING:
            return
        try:
            self._library = self._found([x, noise], saved)
        except Exception as error:  # a compiler fails in many ways, and the plain program is always there
            log.warning("the training step is not compiled: %s", " ".join(str(error).split())[:200] or repr(error))

    def _found(self, given: Sequence[Tensor], saved: float) -> Program | None:
        fixed = [*self.stacks.fixed, self.seed_groups.place_of_seed]
        module = record(self._gradients, [*fixed, *given], gradient=True)
        path = library_path(module, [*fixed, *given])
        if not path.exists():
            if saved < COMPILING:
                return None
            check_compiler()
            log.warning("compiling the training step takes about half a minute, and saves about %.0f s", saved)
            build(module, [*fixed, *given], path)
        run = torch_private.load_library(path)
        return lambda x, noise: run([*fixed, x, noise])

    def _gradients(self, *stacks: Tensor) -> list[Tensor]:
        *fixed, places, x, noise = stacks
        function, rows = FunctionalCall(self.stacks.models[0], self.function, self.stacks.names).of, self.stacks.rows
        data = [self.seed_groups.expand_by(t, places) for t in (x, noise)]
        return objective_and_gradients(function, [*fixed, *data], len(rows.names))


def check_compiler() -> None:
    """Refuse to compile without a compiler for C++.

    Raises:
        FileNotFoundError: if there is none.
    """
    name = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(name) is None:
        raise FileNotFoundError(f"{name}, the compiler for C++, is not installed; CXX names another")


def build(module: fx.GraphModule, inputs: Sequence[Tensor], path: Path) -> None:
    """Compile a graph and put the library in its place, whole or not at all: other processes may look for it."""
    folder = path.with_suffix(f".{os.getpid()}")
    folder.mkdir(parents=True)
    try:
        torch_private.compile_library(module, inputs, folder / path.name)
        (folder / path.name).replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def library_path(module: fx.GraphModule, inputs: Sequence[Tensor]) -> Path:
    """Where the library of a graph lies. Its name depends on all that the machine code depends on."""
    parts = [torch.__version__, torch.get_num_threads(), _processor(), str(module.graph)]
    parts += [(tuple(t.shape), t.stride(), t.dtype) for t in inputs]
    parts += [(name, t.dtype, t.tolist()) for name, t in module.named_buffers()]
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "vaebench" / "steps" / f"{digest}.so"


def _processor() -> str:
    """What tells processors apart that run different machine code."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line for line in lines if line.startswith("flags"))
    except (OSError, StopIteration):
        return platform.processor()
