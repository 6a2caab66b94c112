"""The steps of a pack as machine code, for those who ask for it (`--compile`), on a CPU.

The captured program of `capture` runs about a hundred operations one after another. A compiler joins neighbouring
operations, and those of the optimiser (Adam, AdamW) with them. So a step passes over memory less often, and Python
starts one function.

- The compiler of torch (AOTInductor, with g++) takes about half a minute of one core. Its library is kept in
  `~/.cache/vaebench/steps`, by everything that it depends on. Another training of the same shapes loads it in a
  millisecond.
- It is decided once, before the first step, from the time of the plain program: a library that is there is loaded if
  the training is long; a new one is compiled if it saves more time, in what is left to do, than it costs; else the
  steps stay plain. So a run that is stopped and goes on loads the library that it had. In the same pack it has the same
  bits as one that was never stopped.
- The numbers are those of the plain program to rounding, not to the bit. Whether a library is used depends on how fast
  the machine is, and on what lies in the cache. So nothing is compiled unasked: a run that anyone repeats has its bits.
  Records say how many steps were compiled.
- A member has the same bits in every pack of two members or more. Alone it has them too, except LinearVAE and
  FreeBitsVAE: for one member the compiler drops a dimension, and takes other instructions for their exponentials.
  Tested for BetaVAE, and tried once for every other model that a pack trains, with one and five members.
- The last batch of an epoch, if it is smaller, and whatever cannot be compiled, is computed by the plain program.
"""

import hashlib
import logging
import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from time import perf_counter

import torch
from jaxtyping import Float
from torch import Tensor, fx

from vaebench.training.packed import torch_private
from vaebench.training.packed.capture import Program, objective_and_gradients, record
from vaebench.training.packed.graph_passes import arrange_products
from vaebench.training.packed.optimizers import PackedOptimizer
from vaebench.training.packed.stacked import FunctionalCall, SeedGroups, Stacks
from vaebench.training.packed.vmap_rules import COMPILED_RULES

MEASURED = 5  # how often the plain program is timed before it is decided
SAVED = 0.15  # the least share of the plain program that compiling saves
LOADING = 2.0
"""Seconds that a library must save in the whole training: to record the program, and to look for it, takes one."""

COMPILING = 60.0  # seconds that compiling must save: twice what it takes when nothing else runs

log = logging.getLogger(__name__)


class CompiledStep:
    """Takes the steps of a pack by a compiled library, if that pays.

    Args:
        function: takes a model, observations and noise, and returns the objective `[B]`.
        stacks: the tensors of the members.
        seed_groups: of the members.
        optimizer: of the members. Its step is part of the library if it has a formula.
        batch_size: of the steps to compile.

    Attributes:
        taken: how many steps the library computed.
    """

    def __init__(
        self,
        function: Callable[..., Tensor],
        stacks: Stacks,
        seed_groups: SeedGroups,
        optimizer: PackedOptimizer,
        batch_size: int,
    ) -> None:
        self.function, self.stacks, self.seed_groups, self.optimizer = function, stacks, seed_groups, optimizer
        self.batch_size, self.taken = batch_size, 0
        self._library: Program | None = None
        # A phase would need a library of its own.
        self._decided = stacks.matrix.values.device.type != "cpu" or stacks.members[0].has_phases
        states = optimizer.state_stacks() if optimizer.has_formula else []
        self._fixed = [*stacks.fixed, seed_groups.place_of_seed, *chain.from_iterable(states)]

    def __call__(
        self,
        x: Float[Tensor, "U B *event"],
        noise: Float[Tensor, "U B *noise"],
        is_training: Sequence[bool],
        plain: Callable[[], object],
        steps_left: int | float,
        steps: int | float,
    ) -> list[Tensor] | None:
        """The results of `capture.program`, or None: then the caller computes them by the plain program.

        The library of an optimiser that has a formula returns no gradients, because it has changed the parameters.

        Args:
            is_training: for each member whether it takes the step, if its objective is finite.
            plain: computes the same by the plain program, which changes nothing.
            steps_left: the number of steps to do, with this one.
            steps: the number of steps of the whole training.
        """
        if x.shape[1] != self.batch_size:
            return None
        if not self._decided:
            self._decided = True
            self._decide([x, noise], plain, steps_left, steps)
        if self._library is None:
            return None
        self.taken += 1
        return self._library([*self._fixed, *self.optimizer.begin_compiled(is_training), x, noise])

    def _decide(self, data: list[Tensor], plain: Callable[[], object], steps_left: float, steps: float) -> None:
        """Measure the plain program; then load or compile the library, or leave it."""
        plain()  # the first call captures it
        since = perf_counter()
        for _ in range(MEASURED):
            plain()
        saved = (perf_counter() - since) / MEASURED * SAVED
        if steps * saved < LOADING:
            return
        try:
            self._library = self._library_for(data, steps_left * saved)
        except Exception as error:  # a compiler fails in many ways, and the plain program is always there
            log.warning("the training step is not compiled: %s", " ".join(str(error).split())[:200] or repr(error))

    def _library_for(self, data: list[Tensor], saved: float) -> Program | None:
        """The library, found or compiled; None if compiling costs more than the seconds that it saves."""
        # Recording changes the parameters by a step, so it is done on copies.
        members = [True] * len(self.stacks.members)
        steering = self.optimizer.steering(members, 1.0) if self.optimizer.has_formula else []
        inputs = [_copy(t) for t in (*self._fixed, *steering, *data)]
        recorder = record(self._step, inputs, gradient=True)
        arrange_products(recorder.graph)
        module = recorder.module()
        path = library_path(module, inputs)
        if not path.exists():
            if saved < COMPILING:
                return None
            check_compiler()
            log.warning("compiling the training step takes about half a minute, and saves about %.0f s", saved)
            build(module, inputs, path)
        return torch_private.load_library(path)

    def _step(self, *tensors: Tensor) -> list[Tensor]:
        """`Pack._step`, with every tensor as an argument: a library keeps no tensors of its own."""
        count, trained = len(self.stacks.fixed), len(self.stacks.matrix.names)
        fixed, places, (*others, x, noise) = tensors[:count], tensors[count], tensors[count + 1 :]
        function = FunctionalCall(self.stacks.members[0], self.function, self.stacks.names).of
        data = [self.seed_groups.expand_by(t, places) for t in (x, noise)]
        mean, total, *gradients = objective_and_gradients(function, [*fixed, *data], trained, COMPILED_RULES)
        if not self.optimizer.has_formula:
            return [mean, total, *gradients]
        *states, is_training, clip, numbers = others
        own = [states[i : i + trained] for i in range(0, len(states), trained)]
        takes = is_training & mean.isfinite()
        self.optimizer.step_by_formula(fixed[:trained], gradients, own, takes, clip, numbers)
        return [mean, total]


def _copy(x: Tensor) -> Tensor:
    """A copy with the same strides, and memory of its own."""
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device).copy_(x)


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
