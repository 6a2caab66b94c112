"""Metrics of all members of a pack at once; one by one if they cannot be mapped over members."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_sum

from vaebench.config.seeding import generator
from vaebench.data.loaders import Batch
from vaebench.evaluation.measure import Measurement, applicable_to, columns, measure
from vaebench.evaluation.metrics.base import Metric
from vaebench.models.base import Autoencoder
from vaebench.models.draws import ChunkSize, Draws
from vaebench.training.packed.capture import Unpackable
from vaebench.training.packed.stacked import SeedGroups, Stacks

PIXELS = ChunkSize(2**15, 2**20)
"""Decoded pixels per member at a time (but at least one draw): about what training holds in memory."""


class PackMetrics:
    """Computes metrics of the members of a pack, as often as needed.

    One captured program takes a batch and its noise, and returns the increments of all sums of all metrics.

    Args:
        stacks: the members' tensors.
        seed_groups: the members grouped by seed.
        metrics: the metrics.
        draws: K, the number of posterior draws of each observation.
    """

    def __init__(self, stacks: Stacks, seed_groups: SeedGroups, metrics: Sequence[Metric], draws: int) -> None:
        first = stacks.members[0]
        self.stacks, self.seed_groups, self.draws = stacks, seed_groups, draws
        self.metrics, self.not_applicable = applicable_to(first, metrics, draws)
        self._increments = increments_of(self.metrics)
        self._together = type(first).draws is Autoencoder.draws and all(map(_is_a_sum, self.metrics))

    @torch.no_grad()
    def measure(self, members: Sequence[int], batches: Iterable[Batch]) -> list[Measurement]:
        """The result of `vaebench.evaluation.measure.measure` for each of these members.

        Args:
            members: their indices.
            batches: of a split; iterated once per member in the worst case.
        """
        if self._together:
            try:
                sums = [state.unbind() for state in self._sums(batches)]
            except Unpackable:
                self._together = False
            else:
                return [self._measurement([state[i] for state in sums]) for i in members]
        models = [self.stacks.members[i] for i in members]
        blank = Measurement([], self.not_applicable)
        return [blank.joined_with(measure(m, batches, deepcopy(self.metrics), self.draws, m.seed)) for m in models]

    def _sums(self, batches: Iterable[Batch]) -> list[Float[Tensor, "M *state"]]:
        """All states of all metrics, summed over batches, on the CPU."""
        first, seeds = self.stacks.members[0], self.seed_groups.seeds
        streams = [generator(seed, "evaluation", first.device) for seed in seeds]
        total: list[Tensor] = []
        for batch in batches:
            drawn = zip(*(first.draw_noise(batch.x, self.draws, stream) for stream in streams), strict=True)
            noise = [self.seed_groups.expand(part) for some in drawn for part in _parts(torch.stack(some), batch.x)]
            x = batch.x.expand(len(self.stacks.members), *batch.x.shape).contiguous()
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
        found = Measurement.from_outcomes(outcomes, columns(self.metrics, self.draws))
        return Measurement([], self.not_applicable).joined_with(found)


def increments_of(metrics: Sequence[Metric]) -> Callable[..., list[Tensor]]:
    """The increments of the metrics' states, as a function of a model, a batch and its noise; states are sums."""
    own = deepcopy(list(metrics))  # during capture their states hold no numbers

    def increments(model: Autoencoder, x: Tensor, *noise: Tensor) -> list[Tensor]:
        draws = model.draws_at(Batch(x), noise, quick=False)
        return [state for metric in own for state in _increments(metric, x, draws)]

    return increments


def _increments(metric: Metric, x: Tensor, draws: Draws) -> list[Tensor]:
    for name, start in metric._defaults.items():
        assert isinstance(start, Tensor)
        setattr(metric, name, x.new_zeros(start.shape, dtype=start.dtype))
    metric.update(draws)
    return [getattr(metric, name) for name in metric.metric_state]


def _is_a_sum(metric: Metric) -> bool:
    """Whether every state is a sum, so that its increment does not depend on its value."""
    return all(reduction is dim_zero_sum for reduction in metric._reductions.values())


def _parts(noise: Float[Tensor, "U S B *any"], x: Float[Tensor, "B *event"]) -> Iterator[Tensor]:
    """Split the noise into parts of a few draws. Their size does not depend on the number of members."""
    return iter(noise.split(max(1, PIXELS.on(x) // x.numel()), 1))
