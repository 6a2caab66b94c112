"""A model measured on a split: draws once, every diagnostic from the same draws."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch

from vaebench.draws import Batch
from vaebench.metrics.base import Blank, Diagnostic
from vaebench.models.base import Autoencoder
from vaebench.record import Estimate
from vaebench.registry import METRICS, Spec
from vaebench.seeding import generator


class Measurement(NamedTuple):
    """What was estimated, and, for the columns that stay blank, why."""

    estimates: list[Estimate]
    absent: dict[str, str]


def diagnostics(specs: Iterable[Spec] | None) -> list[Diagnostic]:
    """The diagnostics a study asks for; every registered one if it does not say."""
    return [METRICS.build(spec) for spec in (METRICS if specs is None else specs)]


@torch.no_grad()
def measure(
    model: Autoencoder, batches: Iterable[Batch], metrics: Sequence[Diagnostic], draws: int, seed: int
) -> Measurement:
    """Every diagnostic of a model over the given batches.

    Args:
        model: on the device of the batches; it is put in evaluation mode for the while.
        batches: a split.
        metrics: fresh diagnostics.
        draws: K, the number of posterior draws of each observation.
        seed: of the draws; the same seed gives the same numbers.
    """
    reasons = [metric.applies_to(model) for metric in metrics]
    measured = [m.to(model.device) for m, reason in zip(metrics, reasons, strict=True) if reason is None]
    absent = {c: r for m, r in zip(metrics, reasons, strict=True) if r is not None for c in m.columns(draws)}
    noise = generator(seed, "evaluation", model.device)
    was_training = model.training
    model.eval()
    for batch in batches:
        seen = model.draws(batch, draws, noise)
        for metric in measured:
            metric.update(seen)
    model.train(was_training)
    outcomes = [outcome for metric in measured for outcome in metric.compute()]
    blanks = {o.name: o.reason for o in outcomes if isinstance(o, Blank)}
    return Measurement([o for o in outcomes if not isinstance(o, Blank)], absent | blanks)
