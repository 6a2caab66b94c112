"""Blocks of steps on a CUDA device, each as one CUDA graph: the CPU starts all kernels of a block with one call.

A step of a pack has about a hundred small kernels. To start one of them costs the CPU more time than many of them
take. A CUDA graph records the kernels of a block once, and starts them together. For this, a step must be the same
kernels on the same memory every time: nothing comes from the CPU, and nothing waits for it. So the device counts its
steps by itself, and notes when each member diverged (`DeviceCounters`).

Where torch cannot record a block, the same steps are started one by one, and a message says why.
"""

import logging
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

log = logging.getLogger(__name__)

WARM_UP = 1
"""Blocks of each kind that are computed before one is recorded: libraries allocate memory at their first use."""

Kind = tuple[int, int]  # the batch size and the number of steps of a block


class GraphedSteps:
    """Computes blocks of steps; on CUDA as graphs.

    Args:
        step: computes one step with batches of a size. It reads and changes only tensors that keep their memory.
        generators: all generators that a step draws from.
        device: of the steps.

    Attributes:
        failure: why a CUDA device uses no graphs; None if nothing failed.
    """

    def __init__(
        self, step: Callable[[int], None], generators: Sequence[torch.Generator], device: torch.device
    ) -> None:
        self.step, self.generators, self.device = step, list(generators), device
        self.failure: str | None = None
        self.graphs: dict[Kind, torch.cuda.CUDAGraph] = {}
        self._computed: dict[Kind, int] = {}

    def take(self, batch_size: int, steps: int) -> None:
        """Compute a block. On CUDA this returns before the block is computed."""
        kind = (batch_size, steps)
        computed = self._computed[kind] = self._computed.get(kind, 0) + 1
        if self.device.type == "cuda" and self.failure is None and computed > WARM_UP and kind not in self.graphs:
            self._record(kind)
        if kind in self.graphs:
            self.graphs[kind].replay()
        else:
            self._run(kind)

    def _run(self, kind: Kind) -> None:
        batch_size, steps = kind
        for _ in range(steps):
            self.step(batch_size)

    def _record(self, kind: Kind) -> None:
        states, stream = [g.clone_state() for g in self.generators], torch.cuda.current_stream()
        graph = torch.cuda.CUDAGraph()
        for generator in self.generators:
            graph.register_generator_state(generator)
        # All graphs share one pool of memory: they never run at the same time, and keep nothing in it.
        pool = next(iter(self.graphs.values())).pool() if self.graphs else None
        try:
            # Other threads of this process (heartbeat, W&B) may use CUDA meanwhile.
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                self._run(kind)
        except (RuntimeError, ValueError, NotImplementedError) as error:
            torch.cuda.set_stream(stream)
            self._give_up(error.__context__ or error, states)
        else:
            self.graphs[kind] = graph

    def _give_up(self, error: BaseException, states: Sequence[torch.Generator]) -> None:
        # A generator whose recording failed would refuse to draw, so each gets a new state, with the numbers of before.
        # Graphs of before advance the old states, so they cannot be used any more.
        self.graphs.clear()
        for generator, state in zip(self.generators, states, strict=True):
            generator.graphsafe_set_state(state)
        self.failure = " ".join(str(error).split())[:200] or type(error).__name__
        log.warning("no CUDA graph of the training step, so every kernel is started one by one: %s", self.failure)


class DeviceCounters:
    """The number of steps, and for each member the step and the objective at which it diverged, all on the device.

    The CPU starts the steps of a GPU and does not wait for them. So it cannot look at each objective, and learns of a
    divergence when it reads these counters (`Pack.read_counters`), at the end of an epoch or for a snapshot.

    Args:
        matrix: the parameters, a row per member, on the device.

    Attributes:
        step: the number of the next step, counted from zero.
    """

    def __init__(self, matrix: Float[Tensor, "M P"]) -> None:
        self.step = matrix.new_zeros((), dtype=torch.float64)
        self._diverged_at = matrix.new_full((len(matrix),), -1.0, dtype=torch.float64)
        self._objective = matrix.new_zeros(len(matrix))

    def count(self, mean_objective: Float[Tensor, " M"]) -> None:
        """Count a step, with the mean objective of each member before it. Nothing waits for the device."""
        diverges = mean_objective.isfinite().logical_not() & (self._diverged_at < 0)
        self._diverged_at.copy_(torch.where(diverges, self.step, self._diverged_at))
        self._objective.copy_(torch.where(diverges, mean_objective, self._objective))
        self.step += 1

    def diverged(self) -> dict[int, tuple[int, float]]:
        """For each member that has diverged its step and its objective. This waits for the device."""
        found = enumerate(zip(self._diverged_at.tolist(), self._objective.tolist(), strict=True))
        return {i: (int(step), value) for i, (step, value) in found if step >= 0}
