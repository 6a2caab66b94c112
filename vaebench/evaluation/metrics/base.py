"""What every metric is: one of torchmetrics over Draws, that says what it estimates and where it means nothing."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from inspect import get_annotations
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torchmetrics import Metric as TorchMetric

from vaebench.models.draws import Draws
from vaebench.models.parts.posteriors import Form
from vaebench.records.description import Description
from vaebench.records.record import Estimate, NotApplicable


@runtime_checkable
class MeasuredModel(Protocol):
    """What a metric may ask of a model before it measures it."""

    stochastic: bool  # whether it has a posterior q(z|x) and a prior p(z)
    standard_normal_prior: bool  # whether p(z) = N(0, I). Then each unit has a KL in closed form
    sparse: bool  # whether most units of a code are exactly 0
    classes: int | None  # the number of classes that it predicts, or None
    why_no_code: str | None  # why q(z|x) has no mean, so that an observation has no code; None if it has one
    form: Form  # what is known about q(z|x)


def without_posterior(model: MeasuredModel) -> str | None:
    """The reason why a model has no q(z|x), or None if it has one."""
    return None if model.stochastic else f"{type(model).__name__} has no posterior q(z|x)"


def without_densities(model: MeasuredModel, *known: Form) -> str | None:
    """The reason why a model's q(z|x) has none of these forms, or None."""
    if (reason := without_posterior(model)) is not None or model.form in known:
        return reason
    return (
        f"{type(model).__name__} has {Form.NONE.value}"
        if model.form is Form.NONE
        else f"its q(z|x) is {model.form.value}"
    )


def without_latents(model: MeasuredModel) -> str | None:
    """The reason why a model has no p(z) and q(z|x), or None."""
    return without_densities(model, *(form for form in Form if form is not Form.NONE))


def without_unit_priors(model: MeasuredModel) -> str | None:
    """The reason why a model has no KL for a single unit, or None."""
    if (reason := without_densities(model, Form.DIAGONAL, Form.GAUSSIAN)) is not None:
        return reason
    return None if model.standard_normal_prior else f"the prior of this {type(model).__name__} is not N(0, I)"


def refuse_old_names(cls: type) -> None:
    """Raise TypeError if a metric or an estimator still has the method `applies_to`.

    It would not be called any more, and cells would be filled that should be blank.
    """
    if "applies_to" in vars(cls):
        raise TypeError(f"{cls.__name__}: rename its method applies_to to why_not_applicable; it is called so now")


class Metric(TorchMetric, ABC):
    """A measurement of a model on a split.

    `update` takes the draws of one batch, any number of times, in any sizes, and keeps what it needs in states. An
    attribute that a class declares as `Tensor` is a state that is summed, in float64 and from 0 on; one that it
    declares as `list[Tensor]` is a list. So the result is the same from one batch, from many, and from several
    processes, whose states are added or joined.
    """

    full_state_update = False

    reads_codes_only: ClassVar[bool] = False
    """Whether it reads nothing but codes (the means of q(z|x)) and labels, so that it can grade codes of any origin."""

    reads_log_densities_only: ClassVar[bool] = False
    """Whether it reads no code and no reconstruction, so that it needs no mean of q(z|x)."""

    packages: ClassVar[tuple[str, ...]] = ()
    """What it imports when it computes. A sweep imports them before it forks, so that no process does it again."""

    identities: ClassVar[Mapping[str, Sequence[Mapping[str, float]]]] = {}
    """By column, the sums of other columns that it equals, of the same draws: their names, each with its factor."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        refuse_old_names(cls)
        super().__init_subclass__(**keywords)

    def __init__(self) -> None:
        super().__init__()
        for name, kind in (pair for cls in reversed(type(self).__mro__) for pair in _declared(cls)):
            if kind in (Tensor, "Tensor", "torch.Tensor"):
                self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
            elif kind in (list[Tensor], "list[Tensor]", "list[torch.Tensor]"):
                self.add_state(name, [], dist_reduce_fx="cat")

    def why_not_applicable(self, model: MeasuredModel) -> str | None:
        """The reason why the metric has no meaning for this model, or None; the default asks for a posterior."""
        return without_posterior(model)

    @abstractmethod
    def columns(self, draws: int) -> Mapping[str, Description]:
        """The numbers (not arrays) that `compute` returns for K draws an observation, by name, and how to show each."""

    @abstractmethod
    def update(self, draws: Draws) -> None:
        """Take in one batch."""

    @abstractmethod
    def compute(self) -> tuple[Estimate | NotApplicable, ...]:
        """The estimates, over everything taken in; a number that it does not give is left blank, with the reason."""

    def result(self) -> tuple[Estimate | NotApplicable, ...]:
        """What `compute` gives for the states of all processes.

        torchmetrics' own wrapper of `compute` also looks for tensors in every field of every estimate. That takes half
        a millisecond, as long as a bound of 5000 draws of ten observations.
        """
        with self.sync_context():
            return type(self).compute(self)

    def estimated(self, states: Mapping[str, Tensor]) -> tuple[Estimate | NotApplicable, ...]:
        """What `compute` gives for states that were taken in elsewhere."""
        for name, state in states.items():
            setattr(self, name, state)
        return type(self).compute(self)  # torchmetrics' own wrapper knows of `update` alone


def count_above(values: Float64[Tensor, " N"], threshold: float) -> float:
    """How many numbers are above a threshold; NaN if one of them is NaN, because then the count is unknown.

    >>> count_above(torch.tensor([0.5, 2.0], dtype=torch.float64), 1.0)
    1.0
    >>> count_above(torch.tensor([0.5, torch.nan], dtype=torch.float64), 1.0)
    nan
    """
    return torch.nan if bool(values.isnan().any()) else float((values > threshold).sum())


def _declared(cls: type) -> Iterable[tuple[str, Any]]:
    """The attributes that a metric's own class declares, with their types."""
    return get_annotations(cls).items() if issubclass(cls, Metric) else ()


class Columns(NamedTuple):
    """Means over observations, their standard errors, and what of them comes from the finite number of draws."""

    mean: Float64[Tensor, " C"]
    standard_error: Float64[Tensor, " C"] | None  # None for a single observation
    monte_carlo_error: Float64[Tensor, " C"] | None
    n: int

    def estimates(self, names: Sequence[str]) -> tuple[Estimate, ...]:
        """The columns under these names."""
        pair = (self.standard_error, self.monte_carlo_error)
        errors = ([None] * len(names) if error is None else error.tolist() for error in pair)
        rows = zip(names, self.mean.tolist(), *errors, strict=True)
        return tuple(Estimate(name, mean, error, self.n, of_draws) for name, mean, error, of_draws in rows)


class MeanOverObservations(Metric):
    """Means of columns of numbers that every observation has, with their standard errors.

    A subclass names the columns and computes them.
    """

    total: Tensor
    squares: Tensor
    summed_monte_carlo_variance: Tensor
    count: Tensor

    @abstractmethod
    def observe(self, draws: Draws) -> Float64[Tensor, "B C"]:
        """The columns, one row an observation."""

    @abstractmethod
    def estimates(self, columns: Columns) -> tuple[Estimate, ...]:
        """The columns under their names."""

    def monte_carlo_variance(self, draws: Draws) -> Float64[Tensor, "B C"] | None:
        """Variance of every entry from the finite number of draws; None if it cannot be estimated."""
        return None

    def update(self, draws: Draws) -> None:
        values = self.observe(draws)
        self.total = self.total + values.sum(0)
        self.squares = self.squares + values.square().sum(0)
        self.count = self.count + len(values)
        if (variance := self.monte_carlo_variance(draws)) is not None:
            self.summed_monte_carlo_variance = self.summed_monte_carlo_variance + variance.sum(0)

    def compute(self) -> tuple[Estimate | NotApplicable, ...]:
        n = int(self.count)
        if n == 0:
            raise ValueError(f"{type(self).__name__} expects at least one observation, got none; call update first")
        total, squares = self.total.cpu(), self.squares.cpu()
        of_draws = self.summed_monte_carlo_variance.cpu()
        mean = total / n
        variance = (squares / n - mean.square()).clamp(min=0) * n / max(1, n - 1)
        error = (variance / n).sqrt() if n > 1 else None
        return self.estimates(Columns(mean, error, of_draws.sqrt() / n if of_draws.ndim else None, n))


class ScalarMean(MeanOverObservations):
    """A mean over observations of one number each. A subclass computes the number, `[B]`, names and describes it."""

    column: str
    description: Description = Description()

    def columns(self, draws: int) -> Mapping[str, Description]:
        return {self.column: self.description}

    @abstractmethod
    def per_observation(self, draws: Draws) -> Float64[Tensor, " B"]:
        """The number of every observation."""

    def observe(self, draws: Draws) -> Tensor:
        return self.per_observation(draws).double()[:, None]

    def estimates(self, columns: Columns) -> tuple[Estimate, ...]:
        return columns.estimates([self.column])


def variance_of_mean(table: Float[Tensor, "K B"]) -> Float64[Tensor, "B 1"] | None:
    """Monte-Carlo variance of the mean over K draws, as the one column of a `ScalarMean`; None for a single draw."""
    return (table.double().var(0) / len(table))[:, None] if len(table) > 1 else None
