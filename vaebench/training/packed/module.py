"""The LightningModule of a pack.

Its members are ordinary models of one architecture that differ in values: seed, β, learning rate, variance of the
likelihood, level of corruption, weights. Each has the numbers that it has alone: its own initialisation, order of
examples, random pixels and noise, and its own learning rate and gradient clipping. Models that learn from labels do
not pack.

Words of this file:

- Shapes: M counts members, U different seeds, B examples of a batch and P parameters of a member.
- Stacks (`stacked.py`): for each tensor of a model one tensor `[M, …]` of all members. `stacks.matrix` holds the
  parameters, `[M, P]`, so that the optimiser changes those of all members at once.
- Seed groups (`stacked.py`): members with one seed read the same examples, pixels and noise, which are drawn once.
- Program (`capture.py`): one list of torch's operations on stacks, traced once from the code of the model. It gives
  the objective and the gradient of every member. A compiled step (`compiled.py`) is a program as machine code.
- Step, block, chunk: a step takes one batch of every member. A GPU takes a block of up to ten steps at once, as a CUDA
  graph (`cuda_graph.py`). Lightning takes a chunk of up to 50 steps for one batch (`loaders.py`).
- Phase: the layer that learns, in StackedAE. All other models have one phase.

What happens when a member diverges, so that its mean objective is NaN or infinite:

1. On a CPU, `_step` sees it at once, and the member's parameters no longer change. On a GPU, the device notes the step
   (`DeviceCounters` in `cuda_graph.py`); the CPU learns of it at the end of the epoch or for a snapshot, and until then
   the member trains on, with numbers that are not used. A validation may find it too. `_diverge` keeps the reason.
2. The other members go on with the same bits (tests/test_pack.py). If none is left, the training stops.
3. `training/fit.py` returns the error `Diverged` in place of a trained model, and writes no checkpoint.
4. `sweeps/run.py` writes a record with the status "failed" and the reason, and deletes the snapshot. The next sweep
   tries the run again from its start (`sweeps/sweep.py`).
5. `reporting/tables/table.py` leaves the run out of the mean, and lists it with its reason.
6. In the terminal, `sweeps/progress.py` prints a line when the run ends, and `reporting/terminal.py` repeats it below
   the table. `cli/train.py` exits with status 1.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import inf, isfinite
from typing import Any

import lightning
import torch
from jaxtyping import Float
from lightning.pytorch.loggers.logger import Logger
from torch import Tensor, nn

from vaebench.config.seeding import generator
from vaebench.data.loaders import Batch
from vaebench.models.base import Autoencoder
from vaebench.models.epoch import (
    PARAMETER,
    TRAINING_NOISE,
    TRAINING_OBJECTIVE,
    VALIDATION_NOISE,
    VALIDATION_OBJECTIVE,
    describe_divergence,
    progress_at,
)
from vaebench.training.checkpoints import Divergence, Snapshot, tensors
from vaebench.training.loggers import MemberLogs
from vaebench.training.optimizers import Adam, Optimizer
from vaebench.training.packed.capture import Unpackable
from vaebench.training.packed.compiled import CompiledStep
from vaebench.training.packed.cuda_graph import DeviceCounters, GraphedSteps
from vaebench.training.packed.loaders import Block, Chunk, DeviceBatches, PackedBatches, PackedData
from vaebench.training.packed.stacked import SeedGroups, Stacks, check_compatible


class Pack(lightning.LightningModule):
    """M models trained at once.

    Args:
        members: the untrained models.
        clips: for each member the largest norm of its gradient, or None. By default None for all.
        optimizers: of each member, all of one class. By default Adam.
        learning_rate_factors: for each member a function of the epoch, which multiplies its learning rate.
        loggers: for each member its loggers.
        start: for each member the snapshot from which it continues, all after the same number of steps.
        between_steps: called after every step but the last of an epoch. It may take snapshots, or stop training.
        compiles: whether steps may be compiled (`vaebench.training.packed.compiled`).

    Raises:
        Unpackable: if their steps cannot be stacked by vmap into one program; here, or in `fit` before the first step.
    """

    members: Sequence[Autoencoder]

    def __init__(
        self,
        members: Sequence[Autoencoder],
        *,
        clips: Sequence[float | None] | None = None,
        optimizers: Sequence[Optimizer] | None = None,
        learning_rate_factors: Sequence[Callable[[int], float]] | None = None,
        loggers: Sequence[Sequence[Logger]] | None = None,
        start: Sequence[Snapshot] | None = None,
        between_steps: Callable[[], None] | None = None,
        compiles: bool = False,
    ) -> None:
        super().__init__()
        check_compatible(members)
        self.automatic_optimization = False
        self.members = nn.ModuleList(members)  # type: ignore[assignment]
        self.clips = [None] * len(members) if clips is None else list(clips)
        self.optimizer_of = [Adam()] * len(members) if optimizers is None else list(optimizers)
        self.learning_rate_factors = learning_rate_factors
        self.logs = MemberLogs([()] * len(members) if loggers is None else loggers)
        self.seed_groups = SeedGroups(members)
        self.steps_done = 0
        self.divergences: list[Divergence | None] = [None] * len(members)
        self._total_steps = 0.0
        self._start, self._between_steps, self._compiles = start, between_steps, compiles
        self.compiled: CompiledStep | None = None
        self._noise_streams: list[torch.Generator] = []
        self._graphed_steps: GraphedSteps | None = None

    @property
    def is_training(self) -> list[bool]:
        """For each member whether it is still training."""
        return [divergence is None for divergence in self.divergences]

    @property
    def training_indices(self) -> list[int]:
        """Indices of the members that are still training."""
        return [i for i, is_training in enumerate(self.is_training) if is_training]

    # -- Lightning's hooks of an epoch: `vaebench.models.epoch` says what each part is for -----------------------------

    def setup(self, stage: str) -> None:
        if stage == "fit" and getattr(self.trainer, "datamodule", None) is not None:
            data: PackedData = self.trainer.datamodule  # type: ignore[attr-defined]
            # A new phase runs Python code, so the device cannot take the steps of a training with phases alone.
            data.may_select_on_device = not self.members[0].has_phases
            for member in self.members:
                member.prepare_for(data)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # Stack the members here: now they are on their device.
        self.stacks = Stacks(self.members)
        matrix = self.stacks.matrix
        self._objective_sum, self._count = matrix.values.new_zeros(len(self.members), dtype=torch.float64), 0
        rates, settings = [m.learning_rate for m in self.members], [o.settings for o in self.optimizer_of]
        self._optimizer = self.optimizer_of[0].packed(matrix, rates, self.clips, settings)
        self._device_counters = DeviceCounters(matrix.values)
        return self._optimizer

    def on_fit_start(self) -> None:
        self._noise_streams = self._streams(TRAINING_NOISE)
        if self._start is not None:
            self._restore(self._start)
            self._finish()  # if no epoch is left to train, no later hook would do it
            self._start = None
        self._check()

    def on_train_start(self) -> None:
        loader: PackedBatches = self.trainer.train_dataloader  # type: ignore[assignment]
        epochs = self.trainer.max_epochs
        self._total_steps = loader.steps_per_epoch * (inf if epochs in (None, -1) else epochs)
        self._device_counters.step.fill_(self.steps_done)
        self._graphed_steps = self._graphs(loader)
        if self._compiles:
            size = loader.streams[0].shard.batch_size
            self.compiled = CompiledStep(objective, self.stacks, self.seed_groups, self._optimizer, size)
        if self.steps_done:
            self._optimizer.continue_from(self._steps_of_phase())

    @torch.no_grad()
    def training_step(self, chunk: Chunk | Iterator[Block], index: int) -> None:
        before = self.steps_done
        loader: PackedBatches = self.trainer.train_dataloader  # type: ignore[assignment]
        self._set_learning_rates(loader)
        take: Callable[[Any], None] = self._step if self._graphed_steps is None else self._block
        for batch_or_block in chunk:
            take(batch_or_block)
            if self._between_steps is not None and self.steps_done % loader.steps_per_epoch:
                self._between_steps()
        # Lightning counts the steps of optimisers that it calls. Calling this one would cost more than a step, so the
        # count is set here.
        counted = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total
        counted.completed += self.steps_done - before

    def _step(self, x: Float[Tensor, "U B *event"]) -> None:
        """`vaebench.training.step.training_step` for all members at once, without labels."""
        progress = progress_at(self.steps_done, self._total_steps)
        self.stacks.progress.fill_(progress)
        if self.members[0].enter_phase(progress):
            for member in self.members[1:]:
                member.enter_phase(progress)
            self._optimizer.reset()
        mean_objective, gradients = self._gradients(x, compiled=self.compiled)
        if not isfinite(float(mean_objective.sum())):  # NaN or infinity in one member makes the sum not finite
            self._mark_diverged(mean_objective, TRAINING_OBJECTIVE)
        # Clip the gradients and change the parameters; those of a diverged member stay. A compiled step has done it
        # all already, and returns no gradients.
        if gradients:
            self._optimizer.advance(gradients, self.is_training)
        self._count += x.shape[1]
        self.steps_done += 1

    def _block(self, block: Block) -> None:
        """Start the steps of a block on the device."""
        loader: DeviceBatches = self.trainer.train_dataloader  # type: ignore[assignment]
        assert self._graphed_steps is not None
        self._graphed_steps.take(*block)
        loader.count(block.steps)
        self._count += block.batch_size * block.steps
        self.steps_done += block.steps

    def _step_on_device(self, loader: DeviceBatches, batch_size: int) -> None:
        """`_step` where the device needs nothing from the CPU, and the CPU waits for nothing.

        So the CPU does not know of a divergence when it happens. A member that diverges trains on until the end of the
        epoch, with numbers that are not used; `DeviceCounters` has noted the step.
        """
        self.stacks.progress.copy_(self._device_counters.step / max(1, self._total_steps - 1))  # as `progress_at`
        mean_objective, gradients = self._gradients(loader.read(batch_size))
        self._device_counters.count(mean_objective)
        self._optimizer.advance(gradients, [True] * len(self.members))

    def _gradients(
        self, x: Float[Tensor, "U B *event"], compiled: CompiledStep | None = None
    ) -> tuple[Float[Tensor, " M"], list[Tensor]]:
        """The mean objective of every member at its next noise, and the gradients, by one program.

        A compiled step that contains the optimiser also updates the parameters, so no gradients come back.
        """
        noise = self.seed_groups.noise_of_seeds(x.shape[1], self._noise_streams)

        def plain() -> list[Tensor]:
            data = (self.seed_groups.expand(x), self.seed_groups.expand(noise))
            return self.stacks.program(objective, data, train=True)(*data)

        results = None
        if compiled is not None:  # it may still leave this step to the plain program, and then returns None
            steps_left = self._total_steps - self.steps_done
            results = compiled(x, noise, self.is_training, plain, steps_left, self._total_steps)
        mean_objective, objective_sum, *gradients = plain() if results is None else results
        self._objective_sum += objective_sum
        return mean_objective, gradients

    def on_train_epoch_end(self) -> None:
        self.read_counters()
        self.log_all(TRAINING_OBJECTIVE, (self._objective_sum / max(1, self._count)).float().tolist())
        self._objective_sum.zero_()
        self._count = 0
        self.logs.end_epoch(self.current_epoch, self.steps_done)

    def on_validation_epoch_start(self) -> None:
        self.read_counters()
        self._refit()
        self._validated, self._seen = torch.zeros_like(self._objective_sum), 0
        self._validation_noise = self._streams(VALIDATION_NOISE)

    def validation_step(self, batch: Batch, index: int) -> None:
        data = (self._for_all(batch.x), self.seed_groups.noise(len(batch.x), self._validation_noise))
        self._validated += self.stacks.program(objective, data)(*data)[1]
        self._seen += len(batch.x)

    def on_validation_epoch_end(self) -> None:
        mean_objective = self._validated / self._seen
        if not bool(mean_objective.isfinite().all()):
            self._mark_diverged(mean_objective, VALIDATION_OBJECTIVE)
        self.log_all(VALIDATION_OBJECTIVE, mean_objective.float().tolist())

    def on_train_end(self) -> None:
        self.read_counters()
        self._finish()
        self._graphed_steps = None  # its memory is needed for the evaluation

    # -- parts of a step -----------------------------------------------------------------------------------------------

    def _graphs(self, loader: PackedBatches) -> GraphedSteps | None:
        if not isinstance(loader, DeviceBatches):
            return None
        generators = [*self._noise_streams, *loader.generators]
        return GraphedSteps(partial(self._step_on_device, loader), generators, self.device)

    def _set_learning_rates(self, loader: PackedBatches) -> None:
        """Set the learning rates of this epoch. A CUDA graph has them as constants, so new rates need a new graph."""
        if self.learning_rate_factors is None:
            return
        each = zip(self.members, self.learning_rate_factors, strict=True)
        rates = [m.learning_rate * factor(self.current_epoch) for m, factor in each]
        if rates != self._optimizer.learning_rates:
            self._optimizer.learning_rates, self._graphed_steps = rates, self._graphs(loader)

    @torch.no_grad()
    def _check(self) -> None:
        """Refuse, before anything is logged, what would fail or be wrong later."""
        data: PackedData = self.trainer.datamodule  # type: ignore[attr-defined]
        if data.seeds != self.seed_groups.seeds:
            raise ValueError(f"expected PackedData of the members' seeds {self.seed_groups.seeds}, got {data.seeds}")
        x = next(iter(data.batches("validation" if data.sizes["validation"] else "train"))).x
        for member in self.members:
            # Members with one seed share their noise, so it must not depend on anything but the seed.
            drawn = [m.noise(1, generator(member.seed, "check", self.device)) for m in (self.members[0], member)]
            if not torch.equal(*drawn):
                raise Unpackable(f"the noise of {type(member).__name__} depends on more than the seed")
        self.stacks.program(objective, (self._for_all(x), self.seed_groups.noise(len(x), self._streams("check"))))
        if self.members[0].has_phases and any(o.settings.get("weight_decay") for o in self.optimizer_of):
            raise Unpackable("weight decay would change, in a phase, parameters that do not learn in it")

    def _steps_of_phase(self) -> int:
        """How many steps the optimiser has taken. Each phase starts with a new one."""
        first = self.members[0]
        # Phases never go back, so bisection finds the first step of this one.
        return self.steps_done - bisect_left(
            range(self.steps_done), first.phase, key=lambda step: first.phase_at(progress_at(step, self._total_steps))
        )

    def _streams(self, purpose: str) -> list[torch.Generator]:
        return [generator(seed, purpose, self.device) for seed in self.seed_groups.seeds]

    def _for_all(self, x: Float[Tensor, "B *event"]) -> Float[Tensor, "M B *event"]:
        return x.expand(len(self.members), *x.shape).contiguous()

    def log_all(self, name: str, numbers: Sequence[float]) -> None:
        """Log a number of this epoch for every member that is still training."""
        for i in self.training_indices:
            self.logs.log(i, name, numbers[i])

    def read_counters(self) -> None:
        """Learn which members have diverged on a device. It waits for the steps that are started."""
        if self._graphed_steps is not None:
            for i, (step, value) in self._device_counters.diverged().items():
                self._diverge(i, step, value, TRAINING_OBJECTIVE)

    def _mark_diverged(self, mean_objective: Float[Tensor, " M"], name: str) -> None:
        for i, value in enumerate(mean_objective.tolist()):
            if not abs(value) < inf:  # true for NaN too
                self._diverge(i, self.steps_done, value, name)

    def _diverge(self, i: int, step: int, value: float, name: str) -> None:
        """Note that a member has diverged after so many steps of the whole training. The reason counts from one."""
        if self.divergences[i] is None:
            where = f"step {step + 1}" if name == TRAINING_OBJECTIVE else f"after step {step}"
            epoch = self.current_epoch + (name != PARAMETER)  # the end of training has counted its last epoch already
            self.divergences[i] = Divergence(step, describe_divergence(name, value, f"epoch {epoch}, {where}"))
        if not any(self.is_training):
            self.trainer.should_stop = True

    def _finish(self) -> None:
        """Make the members ready to be measured; one with a parameter that is not a finite number has diverged."""
        for i, row in enumerate(self.stacks.matrix.values):
            if not bool(row.isfinite().all()):
                self._diverge(i, self.steps_done, float(row.sum()), PARAMETER)
        self._refit()

    def _refit(self) -> None:
        for i in self.training_indices:
            self.members[i].refit(self.trainer.datamodule.batches("train"))  # type: ignore[attr-defined]

    # -- where a stopped training continues ----------------------------------------------------------------------------

    @property
    def _epoch_progress(self) -> Any:
        return self.trainer.fit_loop.epoch_progress.current  # Lightning declares a less exact type

    def snapshot(self, i: int, run: str = "") -> Snapshot:
        """A copy of a member's state after the steps that are done."""
        self.read_counters()
        data: PackedData = self.trainer.datamodule  # type: ignore[attr-defined]
        return Snapshot(
            run,
            self._epoch_progress.processed,
            self.steps_done,
            tensors(self.members[i]),
            self._optimizer.state_of(i).cpu(),
            self._noise_streams[self.seed_groups.seeds.index(self.members[i].seed)].get_state(),
            data.order(self.members[i].seed),
            self.logs.curves[i].finished(),
            self.divergences[i],
            float(self._objective_sum[i]),
            self._count,
            data=data.checksum,
        )

    def _restore(self, start: Sequence[Snapshot]) -> None:
        """Continue from the snapshot of each member. The members are on their device."""
        self.steps_done, self.divergences = start[0].steps, [s.divergence for s in start]
        for member, snapshot in zip(self.members, start, strict=True):
            member.load_state_dict(snapshot.weights)
        states = [s.optimizer_state for s in start if s.optimizer_state is not None]
        self._optimizer.continue_from(self.steps_done, states)
        # Members of one seed have the same noise and the same order of examples, so any one's snapshot serves.
        snapshot_of_seed = {m.seed: s for m, s in zip(self.members, start, strict=True)}
        for seed, stream in zip(self.seed_groups.seeds, self._noise_streams, strict=True):
            stream.set_state(snapshot_of_seed[seed].noise)
        orders = {seed: snapshot.order for seed, snapshot in snapshot_of_seed.items()}
        self.trainer.datamodule.resume(orders)  # type: ignore[attr-defined]
        self.logs.resume([s.rows for s in start])
        self._objective_sum.copy_(self._objective_sum.new_tensor([s.objective_sum for s in start]))
        self._count = start[0].examples_seen
        self._epoch_progress.processed = self._epoch_progress.completed = start[0].epochs
        self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total.completed = self.steps_done
        self.trainer.should_stop = not any(self.is_training)


def objective(model: Autoencoder, x: Tensor, noise: Tensor) -> Tensor:
    """What a member maximises: the function from which a pack records its program."""
    return model.objective(x, noise)
