"""How a pack continues after a stop between any two steps: each member from its own snapshot."""

from collections.abc import Sequence
from typing import Any

import lightning
import torch
from torch import Tensor

from vaebench.models.base import Autoencoder
from vaebench.training.epochs import MemberLogs
from vaebench.training.model_files import tensors
from vaebench.training.packed.loaders import PackedData
from vaebench.training.packed.rows import PackedOptimizer
from vaebench.training.packed.stacked import SeedGroups
from vaebench.training.snapshot import Divergence, Snapshot


class Resumable(lightning.LightningModule):
    """The state of a pack's training: taken as snapshots, and restored from them."""

    models: list[Autoencoder]  # the members
    logs: MemberLogs  # the epochs of each member
    seed_groups: SeedGroups  # the members grouped by seed
    steps_done: int  # the number of steps in all epochs
    divergences: list[Divergence | None]  # for each member how it diverged, or None
    _optimizer: PackedOptimizer
    _noise_streams: list[torch.Generator]
    _objective_sum: Tensor
    _count: int
    _start: Sequence[Snapshot] | None

    @property
    def is_active(self) -> list[bool]:
        """For each member whether it is still training."""
        return [divergence is None for divergence in self.divergences]

    @property
    def _epoch_progress(self) -> Any:
        return self.trainer.fit_loop.epoch_progress.current  # Lightning declares a less exact type

    def read_counters(self) -> None:
        """Learn what a device has counted by itself."""
        raise NotImplementedError

    def snapshot(self, i: int, run: str = "") -> Snapshot:
        """A copy of a member's state after the steps that are done."""
        self.read_counters()
        data: PackedData = self.trainer.datamodule  # type: ignore[attr-defined]
        seed = self.seed_groups.seeds.index(self.models[i].seed)
        return Snapshot(
            run,
            self._epoch_progress.processed,
            self.steps_done,
            tensors(self.models[i]),
            self._optimizer.moments(i).cpu(),
            self._noise_streams[seed].get_state(),
            data.order(self.models[i].seed),
            self.logs.curves[i].finished(),
            self.divergences[i],
            float(self._objective_sum[i]),
            self._count,
        )

    def restore(self) -> bool:
        """Restore the snapshots in `_start`, if any. Call this when the members are on their device.

        Returns:
            Whether there were snapshots.
        """
        resumed = self._start is not None
        if self._start is not None:
            self._from_snapshots(self._start)
        self._start = None
        return resumed

    def _from_snapshots(self, start: Sequence[Snapshot]) -> None:
        self.steps_done, self.divergences = start[0].steps, [s.divergence for s in start]
        for member, snapshot in zip(self.models, start, strict=True):
            member.load_state_dict(snapshot.weights)
        self._optimizer.resume(self.steps_done, [s.moments for s in start if s.moments is not None])
        of = {m.seed: s for m, s in zip(self.models, start, strict=True)}
        for seed, stream in zip(self.seed_groups.seeds, self._noise_streams, strict=True):
            stream.set_state(of[seed].noise)
        self.trainer.datamodule.resume({seed: s.order for seed, s in of.items()})  # type: ignore[attr-defined]
        self.logs.resume([s.rows for s in start])
        self._objective_sum.copy_(self._objective_sum.new_tensor([s.total for s in start]))
        self._count = start[0].seen
        self._epoch_progress.processed = self._epoch_progress.completed = start[0].epochs
        self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total.completed = self.steps_done
        self.trainer.should_stop = not any(self.is_active)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse Lightning's checkpoint: it does not contain the members' states.

        Raises:
            ValueError: always.
        """
        raise ValueError("a pack goes on from its members' snapshots (`start`), not from Lightning's checkpoint")
