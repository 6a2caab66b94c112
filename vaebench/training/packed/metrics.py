"""Diagnostics of all members of a pack at once, from draws of all of them; one by one where draws cannot be mapped."""

from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_sum

from vaebench.config.seeding import generator
from vaebench.data.batch import Batch
from vaebench.evaluation.measure import Measurement, applicable_to, columns, measure
from vaebench.evaluation.metrics.base import Diagnostic
from vaebench.models.base import Autoencoder
from vaebench.models.chunk_size import ChunkSize
from vaebench.models.draws import Draws
from vaebench.training.packed.capture import Unpackable
from vaebench.training.packed.stacked import Shared, Stacks

PIXELS = ChunkSize(2**15, 2**20)
"""Pixels of a member that are decoded at a time, or one draw: what its training holds, or little more."""


class PackDiagnostics:
    """Diagnostics of the members of a pack, whenever they are asked for.

    A batch is one program, from the observations and the noise to what each diagnostic's sums grow by.

    Args:
        stacks: the members' tensors.
        shared: what belongs to their seeds.
        metrics: the diagnostics.
        draws: K, the number of posterior draws of each observation.
    """

    def __init__(self, stacks: Stacks, shared: Shared, metrics: Sequence[Diagnostic], draws: int) -> None:
        first = stacks.models[0]
        self.stacks, self.shared, self.draws = stacks, shared, draws
        self.metrics, self.not_applicable = applicable_to(first, metrics, draws)
        self._increments = Increments(self.metrics)
        self._together = type(first).draws is Autoencoder.draws and all(map(_is_a_sum, self.metrics))

    @torch.no_grad()
    def of(self, members: Sequence[int], batches: Iterable[Batch]) -> list[Measurement]:
        """What `vaebench.evaluation.measure.measure` finds of each of these members over the given batches.

        Args:
            members: their numbers.
            batches: a split, which can be gone through again and again.
        """
        if self._together:
            try:
                sums = [state.unbind() for state in self._sums(batches)]
            except Unpackable:
                self._together = False
            else:
                return [self._measurement([state[i] for state in sums]) for i in members]
        models = [self.stacks.models[i] for i in members]
        blank = Measurement([], self.not_applicable)
        return [blank.beside(measure(m, batches, deepcopy(self.metrics), self.draws, m.seed)) for m in models]

    def _sums(self, batches: Iterable[Batch]) -> list[Float[Tensor, "M *state"]]:
        """All states of all diagnostics, on the CPU."""
        first, seeds = self.stacks.models[0], self.shared.seeds
        streams = [generator(seed, "evaluation", first.device) for seed in seeds]
        total: list[Tensor] = []
        for batch in batches:
            drawn = zip(*(first.draw_noise(batch.x, self.draws, stream) for stream in streams), strict=True)
            noise = [self.shared.spread(part) for some in drawn for part in _parts(torch.stack(some), batch.x)]
            x = batch.x.expand(len(self.stacks.models), *batch.x.shape).contiguous()
            found = self.stacks.mapped(self._increments, (x, *noise))(x, *noise)
            total = [a + b for a, b in zip(total, found, strict=True)] if total else found
        return [state.cpu() for state in total]

    def _measurement(self, states: Sequence[Tensor]) -> Measurement:
        left = iter(states)
        outcomes = [
            outcome
            for metric in self.metrics
            for outcome in metric.estimated({name: next(left) for name in metric.metric_state})
        ]
        found = Measurement.of(outcomes, columns(self.metrics, self.draws))
        return Measurement([], self.not_applicable).beside(found)


class Increments:
    """What the states of diagnostics grow by, as a function of a model and of what it sees.

    Args:
        metrics: whose states are sums.
    """

    def __init__(self, metrics: Sequence[Diagnostic]) -> None:
        self.metrics = deepcopy(list(metrics))  # in a recording, their states are no numbers

    def __call__(self, model: Autoencoder, x: Tensor, *noise: Tensor) -> list[Tensor]:
        draws = model.draws_at(Batch(x), noise, quick=False)
        return [state for metric in self.metrics for state in _increments(metric, x, draws)]


def _increments(metric: Diagnostic, x: Tensor, draws: Draws) -> list[Tensor]:
    for name, start in metric._defaults.items():
        assert isinstance(start, Tensor)
        setattr(metric, name, x.new_zeros(start.shape, dtype=start.dtype))
    metric.update(draws)
    return [getattr(metric, name) for name in metric.metric_state]


def _is_a_sum(metric: Diagnostic) -> bool:
    """Whether what every state grows by does not depend on what it is."""
    return all(reduction is dim_zero_sum for reduction in metric._reductions.values())


def _parts(noise: Float[Tensor, "U S B *any"], x: Float[Tensor, "B *event"]) -> Iterator[Tensor]:
    """The noise for some draws at a time, as many whatever the number of members."""
    return iter(noise.split(max(1, PIXELS.on(x) // x.numel()), 1))
