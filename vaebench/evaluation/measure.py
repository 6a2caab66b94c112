"""A model measured on a split: draws once, every diagnostic from the same draws; then what asks the model itself."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch

from vaebench.config.registry import ESTIMATORS, METRICS, Spec
from vaebench.config.seeding import generator
from vaebench.data.batch import Batch
from vaebench.evaluation.estimators.base import Estimator, evenly_spaced, part_of
from vaebench.evaluation.metrics.base import Diagnostic
from vaebench.models.base import Autoencoder
from vaebench.records.record import Estimate, NotApplicable


class Measurement(NamedTuple):
    """What was estimated, and, for the columns that stay blank, why."""

    estimates: list[Estimate]
    not_applicable: dict[str, str]

    @classmethod
    def of(cls, outcomes: Iterable[Estimate | NotApplicable]) -> "Measurement":
        """What diagnostics gave."""
        found = list(outcomes)
        blanks = {o.name: o.reason for o in found if isinstance(o, NotApplicable)}
        return cls([o for o in found if not isinstance(o, NotApplicable)], blanks)

    def beside(self, other: "Measurement") -> "Measurement":
        """This and another one of the same model."""
        return Measurement([*self.estimates, *other.estimates], self.not_applicable | other.not_applicable)


def diagnostics(specs: Iterable[Spec] | None) -> list[Diagnostic]:
    """The diagnostics a study asks for; every registered one if it does not say."""
    return [METRICS.build(spec) for spec in (METRICS if specs is None else specs)]


def estimators(specs: Iterable[Spec]) -> list[Estimator]:
    """The estimators that a study asks for."""
    return [ESTIMATORS.build(spec) for spec in specs]


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
    not_applicable = {c: r for m, r in zip(metrics, reasons, strict=True) if r is not None for c in m.columns(draws)}
    noise = generator(seed, "evaluation", model.device)
    with evaluating(model):
        for batch in batches:
            seen = model.draws(batch, draws, noise)
            for metric in measured:
                metric.update(seen)
    found = Measurement.of(outcome for metric in measured for outcome in metric.compute())
    return Measurement([], not_applicable).beside(found)


def estimate(model: Autoencoder, batches: Iterable[Batch], chosen: Sequence[Estimator], seed: int) -> Measurement:
    """Every estimator, on as many of the split's observations as each asks for.

    Args:
        model: on the device of the batches; it is put in evaluation mode for the while.
        batches: a split, which can be gone through again and again.
        chosen: what asks the model.
        seed: of all that is random; the same seed gives the same numbers.
    """
    seen, total = Measurement([], {}), sum(len(batch.x) for batch in batches) if chosen else 0
    for estimator in chosen:
        reason = estimator.applies_to(model)
        if reason is None:
            try:
                with evaluating(model):
                    outcomes = estimator.estimate(model, evenly_spaced(batches, estimator.observations), seed)
            except FloatingPointError as error:
                reason = str(error)
        if reason is not None:
            outcomes = tuple(NotApplicable(column, reason) for column in estimator.columns)
        over = part_of(total, estimator.observations)
        seen = seen.beside(Measurement.of(_of(over, outcome) for outcome in outcomes))
    return seen


def _of(over: str | None, outcome: Estimate | NotApplicable) -> Estimate | NotApplicable:
    """The outcome, an estimate with the observations it was taken over unless it names others itself."""
    return outcome._replace(over=over) if isinstance(outcome, Estimate) and outcome.over is None else outcome


@contextmanager
def evaluating(model: Autoencoder) -> Iterator[None]:
    """A block in which a model is in evaluation mode."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
