"""Measure a model on a split: first all metrics from one set of draws, then the estimators, which call the model."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Distribution, Normal

from vaebench.config.registry import ESTIMATORS, METRICS, Spec
from vaebench.config.seeding import generator
from vaebench.data.loaders import Batch
from vaebench.evaluation.estimators.base import Estimator, evenly_spaced, part_of
from vaebench.evaluation.metrics.base import Metric
from vaebench.models.base import Autoencoder
from vaebench.models.draws import Draws
from vaebench.models.parts.networks import Decoder
from vaebench.records.description import Description
from vaebench.records.record import Estimate, NotApplicable

OBSERVATIONS_AT_ONCE = 64  # of one tensor. A loader has batches of its own size


class Measurement(NamedTuple):
    """What metrics and estimators found."""

    estimates: list[Estimate]  # in the order measured
    not_applicable: dict[str, str]  # name of an estimate -> why there is none
    descriptions: Mapping[str, Description] = {}  # name of an estimate -> how to show it

    @classmethod
    def from_outcomes(
        cls, outcomes: Iterable[Estimate | NotApplicable], described: Mapping[str, Description] = {}
    ) -> "Measurement":
        """Sort what metrics returned; only the descriptions of its estimates are kept."""
        found = list(outcomes)
        estimates = [o for o in found if not isinstance(o, NotApplicable)]
        reasons = {o.name: o.reason for o in found if isinstance(o, NotApplicable)}
        return cls(estimates, reasons, {e.name: described[e.name] for e in estimates if e.name in described})

    def joined_with(self, other: "Measurement") -> "Measurement":
        """Join this one and another one of the same model."""
        return Measurement(
            [*self.estimates, *other.estimates],
            self.not_applicable | other.not_applicable,
            {**self.descriptions, **other.descriptions},
        )


def build_metrics(specs: Iterable[Spec] | None) -> list[Metric]:
    """Build metrics; None for those that a study measures by default: those of this package and of its `imports`."""
    return [METRICS.build(spec) for spec in (METRICS.measured_by_default() if specs is None else specs)]


def build_estimators(specs: Iterable[Spec]) -> list[Estimator]:
    """Build the estimators that a study asks for."""
    return [ESTIMATORS.build(spec) for spec in specs]


def applicable_to(model: Autoencoder, metrics: Sequence[Metric], draws: int) -> tuple[list[Metric], dict[str, str]]:
    """The metrics that apply to a model, and for each column of a metric that does not apply the reason."""
    # Only bounds read log-densities alone. All others read the code, and so need the mean of q(z|x).
    reasons = [
        metric.why_not_applicable(model) or (None if metric.reads_log_densities_only else model.why_no_code)
        for metric in metrics
    ]
    pairs = list(zip(metrics, reasons, strict=True))
    return [m for m, r in pairs if r is None], {c: r for m, r in pairs if r is not None for c in m.columns(draws)}


def columns(metrics: Iterable[Metric], draws: int) -> dict[str, Description]:
    """The numbers of some metrics, by name, and how to show each."""
    return {name: d for metric in metrics for name, d in _explained(metric, metric.columns(draws)).items()}


def _explained(by: Metric | Estimator, described: Mapping[str, Description]) -> dict[str, Description]:
    """The descriptions of a metric's or an estimator's numbers, each with what it means."""
    return {name: description.explained(name, type(by)) for name, description in described.items()}


@torch.no_grad()
def measure(
    model: Autoencoder,
    batches: Iterable[Any],
    metrics: Sequence[Metric] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Measurement:
    """Compute all metrics of a model over the given batches.

    Args:
        model: on the device of the batches. It is in evaluation mode during the call.
        batches: a split; also a loader of x or (x, label), or all observations as one tensor.
        metrics: new metrics, without state; None for all that a study measures by default.
        draws: K, the number of posterior draws of each observation. A study's own default, `evaluate.draws`, is 5000.
        seed: of the draws. The same seed gives the same numbers.

    Raises:
        ValueError: if a tensor has no observations.
    """
    if isinstance(batches, Tensor) and not len(batches):
        raise ValueError("expected at least one observation to measure, got none")
    metrics = build_metrics(None) if metrics is None else metrics
    applicable, reasons = applicable_to(model, metrics, draws)
    measured = [metric.to(model.device) for metric in applicable]
    noise, codes_suffice = generator(seed, "evaluation", model.device), all(m.reads_codes_only for m in measured)
    if not measured:
        return _results([], draws, reasons)
    with evaluating(model):
        for given in batches.split(OBSERVATIONS_AT_ONCE) if isinstance(batches, Tensor) else batches:
            batch = given if isinstance(given, Batch) else model.as_batch(given)
            drawn = (
                _only_codes(model.encode(batch.x), batch.label) if codes_suffice else model.draws(batch, draws, noise)
            )
            if batch.factors is not None:
                drawn = drawn._replace(factors=batch.factors)
            for metric in measured:
                metric.update(drawn)
    return _results(measured, draws, reasons)


def measure_codes(
    code: Float[Tensor, "N L"],
    label: Int[Tensor, " N"] | None = None,
    factors: Int[Tensor, "N F"] | None = None,
) -> Measurement:
    """Compute the metrics that read nothing but codes and labels; for all others, say that the model is missing.

    Args:
        code: of each observation, for example the means of q(z|x).
        label: of each observation, if there are labels.
        factors: that made each observation, if they are known: the number of the value of each factor, from 0 on.
    """
    every = build_metrics(None)
    metrics, others = ([m for m in every if m.reads_codes_only is only] for only in (True, False))
    draws = _only_codes(Normal(code, torch.zeros_like(code), validate_args=False), label, factors)
    for metric in metrics:
        metric.update(draws)
    return _results(metrics, 1, dict.fromkeys(columns(others, 1), "codes alone have no model"))


def _results(metrics: Sequence[Metric], draws: int, reasons: dict[str, str]) -> Measurement:
    """What metrics say of all that they took in; the reasons are of the columns of other metrics."""
    outcomes = (outcome for metric in metrics for outcome in metric.result())
    return Measurement([], reasons).joined_with(Measurement.from_outcomes(outcomes, columns(metrics, draws)))


def _only_codes(posterior: Distribution, label: Tensor | None = None, factors: Tensor | None = None) -> Draws:
    """Draws for metrics that read nothing but codes and labels; all else is empty."""
    code = posterior.mean
    blank = code.new_empty(0, len(code))  # log-densities of no draws; blank.mT, `[B, 0]`, is B images without pixels
    return Draws(blank.mT, label, posterior, blank.mT, code[None], blank, blank, blank, factors=factors)


def estimate(model: Autoencoder, batches: Iterable[Batch], chosen: Sequence[Estimator], seed: int) -> Measurement:
    """Run all estimators, each on the number of observations that it asks for.

    Args:
        model: on the device of the batches. It is in evaluation mode during the call.
        batches: a split, which can be iterated more than once.
        chosen: the estimators.
        seed: of all randomness. The same seed gives the same numbers.
    """
    found, total = Measurement([], {}), sum(len(batch.x) for batch in batches) if chosen else 0
    for estimator in chosen:
        reason = estimator.why_not_applicable(model)
        if reason is None:
            try:
                with evaluating(model):
                    outcomes = estimator.estimate(model, evenly_spaced(batches, estimator.observations), seed)
            except FloatingPointError as error:
                reason = str(error)
        if reason is not None:
            outcomes = tuple(NotApplicable(column, reason) for column in estimator.columns)
        part = part_of(total, estimator.observations)
        stated = (_computed_over(part, outcome) for outcome in outcomes)
        found = found.joined_with(Measurement.from_outcomes(stated, _explained(estimator, estimator.columns)))
    return found


def _computed_over(part: str | None, outcome: Estimate | NotApplicable) -> Estimate | NotApplicable:
    """Fill in which part of the split an estimate was computed over, if the estimator did not say it."""
    return outcome._replace(over=part) if isinstance(outcome, Estimate) and outcome.over is None else outcome


@contextmanager
def evaluating(model: Autoencoder) -> Iterator[None]:
    """Put a model into evaluation mode for a block, in which it is also as quick as it can be."""
    keep_freed_memory()  # here, because every evaluation comes through here; a second call costs a microsecond
    was_training, decoder = model.training, getattr(model, "decoder", None)
    model.eval()
    try:
        with decoder.in_place() if isinstance(decoder, Decoder) else nullcontext():
            yield
    finally:
        model.train(was_training)


def keep_freed_memory() -> None:
    """Let the C library keep the memory of freed tensors of up to 8 MiB for the next tensors.

    Otherwise it gives the memory back to the system, which clears every page before it lends it again: for small nets
    that takes a sixth of the time. glibc keeps blocks of the largest size that was freed before
    (https://man7.org/linux/man-pages/man3/mallopt.3.html, M_MMAP_THRESHOLD).
    """
    torch.empty(2**23, dtype=torch.uint8)  # freed at once: this is what sets glibc's limit
