"""The LightningModule of a pack.

Its members are ordinary models of one architecture that differ in values: seed, β, learning rate, variance of the
likelihood, level of corruption, weights. Each has the numbers that it has alone: its own initialisation, order of
examples, random pixels and noise, and its own learning rate and gradient clipping. If a member diverges, it stops, and
the others continue.

In shapes, M counts members, U different seeds, B examples of a batch and P parameters of a member. A chunk is what
Lightning sees as one batch: up to 50 steps (`CHUNK`), which a GPU takes in blocks of ten (`BLOCK`).
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
from vaebench.models import epoch
from vaebench.models.base import Autoencoder
from vaebench.training.checkpoints import Divergence, Snapshot, tensors
from vaebench.training.loggers import MemberLogs
from vaebench.training.optimizers import Adam, Optimizer
from vaebench.training.packed.capture import Unpackable
from vaebench.training.packed.compiled import CompiledStep
from vaebench.training.packed.cuda_graph import Counters, GraphedSteps
from vaebench.training.packed.loaders import Block, Chunk, PackedBatches, PackedData, ResidentBatches
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
        Unpackable: if one program cannot train them; here, or in `fit` before the first step.
    """

    members: nn.ModuleList

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
        self.members, self.models = nn.ModuleList(members), list(members)
        self.clips = [None] * len(members) if clips is None else list(clips)
        self.optimizer_of = [Adam()] * len(members) if optimizers is None else list(optimizers)
        self.learning_rate_factors = learning_rate_factors
        self.logs = MemberLogs([()] * len(members) if loggers is None else loggers)
        self.seed_groups = SeedGroups(self.models)
        self.steps_done = 0
        self.divergences: list[Divergence | None] = [None] * len(members)
        self._total_steps = 0.0
        self._start, self._between_steps = start, between_steps
        self._compiles = compiles
        self.compiled: CompiledStep | None = None
        self._noise_streams: list[torch.Generator] = []
        self._graphed: GraphedSteps | None = None

    @property
    def is_active(self) -> list[bool]:
        """For each member whether it is still training."""
        return [divergence is None for divergence in self.divergences]

    @property
    def active(self) -> list[int]:
        """Indices of the members that are still training."""
        return [i for i, is_active in enumerate(self.is_active) if is_active]

    # -- an epoch of training: `vaebench.models.epoch` says what each part is for --------------------------------------

    def setup(self, stage: str) -> None:
        if stage == "fit" and getattr(self.trainer, "datamodule", None) is not None:
            data: PackedData = self.trainer.datamodule  # type: ignore[attr-defined]
            # A new phase runs Python code, so the device cannot take the steps of a training with phases alone.
            data.may_be_resident = not self.models[0].has_phases
            for member in self.models:
                member.prepare_for(data)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # Stack the members here: now they are on their device.
        self.stacks = Stacks(self.models)
        rows = self.stacks.rows
        self._objective_sum = rows.values.new_zeros(len(self.models), dtype=torch.float64)
        self._count = 0
        rates, settings = [m.learning_rate for m in self.models], [o.settings for o in self.optimizer_of]
        self._optimizer = self.optimizer_of[0].packed(rows, rates, self.clips, settings)
        self._counters = Counters(rows.values)
        return self._optimizer

    def on_fit_start(self) -> None:
        self._noise_streams = self._streams(epoch.TRAINING_NOISE)
        if self._start is not None:
            self._restore(self._start)
            self._refit()  # if no epoch is left to train, no later hook would do it
            self._start = None
        self._check()

    def on_train_start(self) -> None:
        loader: PackedBatches = self.trainer.train_dataloader  # type: ignore[assignment]
        epochs = self.trainer.max_epochs
        self._total_steps = loader.steps_per_epoch * (inf if epochs in (None, -1) else epochs)
        self._counters.step.fill_(self.steps_done)
        self._graphed = self._graphs(loader)
        if self._compiles:
            size = loader.streams[0].shard.batch_size
            self.compiled = CompiledStep(objective, self.stacks, self.seed_groups, self._optimizer, size)
        if self.steps_done:
            self._optimizer.resume(self._steps_of_phase(), self._moments())

    @torch.no_grad()
    def training_step(self, chunk: Chunk | Iterator[Block], index: int) -> None:
        before = self.steps_done
        loader: PackedBatches = self.trainer.train_dataloader  # type: ignore[assignment]
        self._set_learning_rates(loader)
        for part in chunk:
            if isinstance(part, Block):
                assert self._graphed is not None
                assert isinstance(loader, ResidentBatches)
                self._graphed.take(*part)
                loader.count(part.steps)
                self._count += part.batch_size * part.steps
                self.steps_done += part.steps
            else:
                self._step(part)
            if self._between_steps is not None and self.steps_done % loader.steps_per_epoch:
                self._between_steps()
        # Lightning counts the steps of optimisers that it calls. Calling this one would cost more than a step, so the
        # count is set here.
        counted = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total
        counted.completed += self.steps_done - before

    def _step(self, x: Float[Tensor, "U B *event"]) -> None:
        """`vaebench.training.step.training_step` for all members at once."""
        progress = epoch.progress(self.steps_done, self._total_steps)
        self.stacks.progress.fill_(progress)
        if self.models[0].enter(progress):
            for member in self.models[1:]:
                member.enter(progress)
            # A new phase begins with a new optimiser: no steps taken, no means of gradients.
            self._optimizer.resume(0, [torch.zeros_like(m) for m in self._moments()])
        mean, gradients = self._gradients(x, compiled=self.compiled)
        if not isfinite(float(mean.sum())):  # NaN or infinity in one member makes the sum not finite
            self._mark_diverged(mean, epoch.TRAINING_OBJECTIVE)
        # Clip and change the parameters; those of a diverged member stay. A compiled step has done it all.
        if gradients:
            self._optimizer.advance(gradients, self.is_active)
        self._count += x.shape[1]
        self.steps_done += 1

    def _step_on_device(self, loader: ResidentBatches, batch_size: int) -> None:
        """`_step` where the device needs nothing from the CPU, and the CPU waits for nothing.

        So the CPU does not know of a divergence when it happens. The row of a diverged member goes on with
        numbers that are not used.
        """
        self.stacks.progress.copy_(self._counters.step / max(1, self._total_steps - 1))  # as `epoch.progress`
        mean, gradients = self._gradients(loader.read(batch_size))
        self._counters.count(mean)
        self._optimizer.advance(gradients, [True] * len(self.models))

    def _gradients(
        self, x: Float[Tensor, "U B *event"], compiled: CompiledStep | None = None
    ) -> tuple[Float[Tensor, " M"], list[Tensor]]:
        """The mean objective of every member at its next noise, and the gradients, by one captured program.

        If it is compiled together with the optimiser, it changes the parameters too, and there are no gradients.
        """
        noise = self.seed_groups.noise_of_seeds(x.shape[1], self._noise_streams)

        def plain() -> list[Tensor]:
            data = (self.seed_groups.expand(x), self.seed_groups.expand(noise))
            return self.stacks.program(objective, data, train=True)(*data)

        found = None
        if compiled is not None:
            left = self._total_steps - self.steps_done
            found = compiled(x, noise, self.is_active, plain, left, self._total_steps)
        mean, total, *gradients = found or plain()
        self._objective_sum += total
        return mean, gradients

    def on_train_epoch_end(self) -> None:
        self.read_counters()
        self.log_all(epoch.TRAINING_OBJECTIVE, (self._objective_sum / max(1, self._count)).float().tolist())
        self._objective_sum.zero_()
        self._count = 0
        self.logs.end_epoch(self.current_epoch, self.steps_done)

    def on_validation_epoch_start(self) -> None:
        self.read_counters()
        self._refit()
        self._validated = torch.zeros_like(self._objective_sum)
        self._seen = 0
        self._validation_noise = self._streams(epoch.VALIDATION_NOISE)

    def validation_step(self, batch: Batch, index: int) -> None:
        data = (self._for_all(batch.x), self.seed_groups.noise(len(batch.x), self._validation_noise))
        self._validated += self.stacks.program(objective, data)(*data)[1]
        self._seen += len(batch.x)

    def on_validation_epoch_end(self) -> None:
        mean = self._validated / self._seen
        if not bool(mean.isfinite().all()):
            self._mark_diverged(mean, epoch.VALIDATION_OBJECTIVE)
        self.log_all(epoch.VALIDATION_OBJECTIVE, mean.float().tolist())

    def on_train_end(self) -> None:
        self._refit()
        self._graphed = None  # its memory is needed for the evaluation

    # -- parts of a step -----------------------------------------------------------------------------------------------

    def _graphs(self, loader: PackedBatches) -> GraphedSteps | None:
        if not isinstance(loader, ResidentBatches):
            return None
        generators = [*self._noise_streams, *loader.generators]
        return GraphedSteps(partial(self._step_on_device, loader), generators, self.device)

    def _set_learning_rates(self, loader: PackedBatches) -> None:
        """Set the learning rates of this epoch. A CUDA graph has them as constants, so new rates need a new graph."""
        if self.learning_rate_factors is None:
            return
        each = zip(self.models, self.learning_rate_factors, strict=True)
        rates = [m.learning_rate * factor(self.current_epoch) for m, factor in each]
        if rates != self._optimizer.learning_rates:
            self._optimizer.learning_rates, self._graphed = rates, self._graphs(loader)

    @torch.no_grad()
    def _check(self) -> None:
        """Refuse, before anything is logged, what would fail or be wrong later."""
        data: PackedData = self.trainer.datamodule  # type: ignore[attr-defined]
        if data.seeds != self.seed_groups.seeds:
            raise ValueError(f"expected PackedData of the members' seeds {self.seed_groups.seeds}, got {data.seeds}")
        x = next(iter(data.batches("validation" if data.sizes["validation"] else "train"))).x
        for member in self.models:
            # Members with one seed share their noise, so it must not depend on anything but the seed.
            drawn = [m.noise(1, generator(member.seed, "check", self.device)) for m in (self.models[0], member)]
            if not torch.equal(*drawn):
                raise Unpackable(f"the noise of {type(member).__name__} depends on more than the seed")
        self.stacks.program(objective, (self._for_all(x), self.seed_groups.noise(len(x), self._streams("check"))))
        if self.models[0].has_phases and any(o.settings.get("weight_decay") for o in self.optimizer_of):
            raise Unpackable("weight decay would change, in a phase, parameters that do not learn in it")

    def _steps_of_phase(self) -> int:
        """How many steps the optimiser has taken. Each phase starts with a new one."""
        first = self.models[0]

        def phase(step: int) -> int:
            return first.phase_at(epoch.progress(step, self._total_steps))

        # Phases never go back, so bisection finds the first step of this one.
        return self.steps_done - bisect_left(range(self.steps_done), first.phase, key=phase)

    def _moments(self) -> list[Tensor]:
        return [self._optimizer.moments(i) for i in range(len(self.models))]

    def _streams(self, purpose: str) -> list[torch.Generator]:
        return [generator(seed, purpose, self.device) for seed in self.seed_groups.seeds]

    def _for_all(self, x: Float[Tensor, "B *event"]) -> Float[Tensor, "M B *event"]:
        return x.expand(len(self.models), *x.shape).contiguous()

    def log_all(self, name: str, numbers: Sequence[float]) -> None:
        """Log a number of this epoch for every member that is still training."""
        for i in self.active:
            self.logs.log(i, name, numbers[i])

    def read_counters(self) -> None:
        """Learn which members have diverged on a device. It waits for the steps that are started."""
        if self._graphed is not None:
            for i, (step, value) in self._counters.diverged().items():
                self._diverge(i, step, value, epoch.TRAINING_OBJECTIVE)

    def _mark_diverged(self, mean: Float[Tensor, " M"], name: str) -> None:
        for i, value in enumerate(mean.tolist()):
            if not abs(value) < inf:  # true for NaN too
                self._diverge(i, self.steps_done, value, name)

    def _diverge(self, i: int, step: int, value: float, name: str) -> None:
        if self.divergences[i] is None:
            where = f"epoch {self.current_epoch}, step {step}"
            self.divergences[i] = Divergence(step, epoch.divergence(name, value, where))
        if not any(self.is_active):
            self.trainer.should_stop = True

    def _refit(self) -> None:
        for i in self.active:
            self.models[i].refit(self.trainer.datamodule.batches("train"))  # type: ignore[attr-defined]

    # -- where a stopped training continues ----------------------------------------------------------------------------

    @property
    def _epoch_progress(self) -> Any:
        return self.trainer.fit_loop.epoch_progress.current  # Lightning declares a less exact type

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

    def _restore(self, start: Sequence[Snapshot]) -> None:
        """Continue from the snapshot of each member. The members are on their device."""
        self.steps_done, self.divergences = start[0].steps, [s.divergence for s in start]
        for member, snapshot in zip(self.models, start, strict=True):
            member.load_state_dict(snapshot.weights)
        self._optimizer.resume(self.steps_done, [s.moments for s in start if s.moments is not None])
        # Members of one seed have the same noise and the same order of examples, so any one's snapshot serves.
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


def objective(model: Autoencoder, x: Tensor, noise: Tensor) -> Tensor:
    """What a member maximises: the function that a pack captures."""
    return model.objective(x, noise)
