"""Disentanglement: how single units of the code relate to single factors that made the data.

All scores read the posterior's mean and the factors of the same observations. They follow the protocols of
disentanglement_lib (Locatello et al. 2019, https://github.com/google-research/disentanglement_lib), but take the
observations of a split in place of new ones. A factor that does not vary is left out. No score claims a standard error.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from vaebench.config.registry import METRICS, PositiveInt
from vaebench.evaluation.metrics.base import MeasuredModel, Metric
from vaebench.models.draws import Draws
from vaebench.records.description import Description, Direction, Panel
from vaebench.records.record import Estimate, NotApplicable

Codes = NDArray[np.float64]  # `[N, L]`
Factors = NDArray[np.int64]  # `[N, F]`
BINS = 20  # bins of equal width, from the smallest to the largest value, into which a unit is discretised
TRAINED_ON = 2 / 3  # the share of observations from which a classifier learns; its accuracy is measured on the others

BATCH = 64
"""The number of observations with one factor in common. The scores of FactorVAE and β-VAE read a statistic of them."""

PRUNED = 0.05
"""The FactorVAE score leaves out units with a smaller standard deviation, as disentanglement_lib's experiments do."""

ROUNDING = 1e-12  # information below it, in nats, is none: a sum of so many logarithms is no more exact
TINY = 1e-11  # added to importances before their entropy, as in disentanglement_lib


def _described(heading: str, place: int) -> Description:
    return Description(heading, Panel.DISENTANGLEMENT, place, better=Direction.HIGHER)


class FactorScore(Metric):
    """A score of codes against factors, computed once from all observations. A subclass computes its numbers.

    The observations are sorted first, and the seed is fixed. So the numbers do not depend on the order of the data.
    """

    described: ClassVar[Mapping[str, Description]]  # the numbers, and how to show each
    observations: int | None = None  # how many observations are used at most, chosen at random; None for all
    reads_codes_only = True
    codes: list[Tensor]
    factors: list[Tensor]

    @abstractmethod
    def scores(self, codes: Codes, factors: Factors, random: np.random.RandomState) -> Iterator[float]:
        """The numbers, in the order of `described`. Every factor varies, and there are at least two."""

    def why_not_applicable(self, model: MeasuredModel) -> str | None:
        return None

    def columns(self, draws: int) -> Mapping[str, Description]:
        return self.described

    def update(self, draws: Draws) -> None:
        if draws.factors is not None:
            self.codes.append(draws.posterior.mean)
            self.factors.append(draws.factors)

    def compute(self) -> tuple[Estimate | NotApplicable, ...]:
        if not len(self.factors):
            return self._blank("the data has no factors")
        codes, factors = dim_zero_cat(self.codes).double().cpu().numpy(), dim_zero_cat(self.factors).cpu().numpy()
        if not np.isfinite(codes).all():
            return self._blank("the codes are not finite")
        total, random = len(codes), np.random.RandomState(0)
        chosen = random.permutation(np.lexsort((*codes.T, *factors.T)))[: self.observations]
        codes, factors = codes[chosen], factors[chosen]
        varied = factors[:, (factors != factors[:1]).any(0)]
        if varied.shape[1] < 2:
            return self._blank(f"{varied.shape[1]} factors vary, and fewer than two cannot be told apart")
        values = zip(self.described, self.scores(codes, varied, random), strict=True)
        over = f"{len(codes)} of {total}" if len(codes) < total else None
        return tuple(Estimate(n, float(v), None, len(codes), over=over) for n, v in values)

    def _blank(self, reason: str) -> tuple[NotApplicable, ...]:
        return tuple(NotApplicable(name, reason) for name in self.described)


# -- information ------------------------------------------------------------------------------------------------------


def information(codes: Codes, factors: Factors) -> NDArray[np.float64]:
    """I(unit; factor) in nats, `[L, F]`, between units in `BINS` bins and factors, from their counts."""
    return np.array([[_information(unit, factor) for factor in factors.T] for unit in map(_binned, codes.T)])


def entropy(factors: Factors) -> NDArray[np.float64]:
    """H(factor) in nats, `[F]`, from the counts of its values."""
    return np.array([_information(factor, factor) for factor in factors.T])


def _binned(unit: Codes) -> NDArray[np.int64]:
    low, high = unit.min(), unit.max()
    if not high > low:
        return np.zeros(len(unit), np.int64)
    return np.minimum((BINS * ((unit - low) / (high - low))).astype(np.int64), BINS - 1)


def _information(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    (_, i), (_, j) = (np.unique(x, return_inverse=True) for x in (a, b))
    joint = np.bincount(i * (j.max() + 1) + j, minlength=(i.max() + 1) * (j.max() + 1)).reshape(i.max() + 1, -1)
    p = joint / joint.sum()
    independent = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
    there = p > 0
    found = float((p[there] * np.log(p[there] / independent[there])).sum())
    return found if found > ROUNDING else 0.0


def gap(information: NDArray[np.float64], entropy: NDArray[np.float64]) -> float:
    """Mean over factors of the largest information of a unit minus the second largest, over the factor's entropy."""
    return float((_first_minus_second(information) / entropy).mean())


def _first_minus_second(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """For every column the largest entry minus the second largest, which is 0 if there is only one row."""
    return np.subtract(*np.sort(np.vstack([np.zeros_like(table[:1]), table]), axis=0)[[-1, -2]])


def modularity(information: NDArray[np.float64]) -> float:
    """Mean over units of 1 − Σ_{f ≠ f*} I²_f / (I²_{f*} (F − 1)), f* being the unit's factor; 0 for an empty unit."""
    squares = information**2
    largest = squares.max(1)
    others = (squares.sum(1) - largest) / np.where(largest > 0, largest * (squares.shape[1] - 1), 1.0)
    return float(np.where(largest > 0, 1 - others, 0.0).mean())


@METRICS.register
class MIG(FactorScore):
    """Mutual information gap (Chen et al. 2018): how much more the best unit knows of a factor than the second best.

    Mean over factors of (I₁ − I₂) / H(factor). Units are discretised into 20 bins; entropies come from the counts, so
    factors need not be uniform. A factor of more than 20 values cannot reach 1.
    """

    described: ClassVar[Mapping[str, Description]] = {"mig": _described("MIG", 10)}

    def scores(self, codes: Codes, factors: Factors, random: np.random.RandomState) -> Iterator[float]:
        yield gap(information(codes, factors), entropy(factors))


@METRICS.register
class Modularity(FactorScore):
    """Modularity (Ridgeway & Mozer 2018): whether each unit knows of one factor only; a unit that knows none counts 0.

    Two units for the same factor cost nothing here. Units are discretised into 20 bins.
    """

    described: ClassVar[Mapping[str, Description]] = {"modularity": _described("modularity", 60)}

    def scores(self, codes: Codes, factors: Factors, random: np.random.RandomState) -> Iterator[float]:
        yield modularity(information(codes, factors))


@METRICS.register
class SAP(FactorScore):
    """Separated attribute predictability (Kumar et al. 2018): how much better the best unit predicts a factor.

    Mean over factors of the best unit's score minus the second best's. If factors are amounts, a unit's score is its
    squared correlation with the number of the factor's value. If factors are classes only, it is the accuracy of a
    linear support vector machine on other observations.

    Args:
        continuous: whether factors are amounts. If not, the support vector machine classifies their values.
        observations: how many observations are used at most.
    """

    described: ClassVar[Mapping[str, Description]] = {"sap": _described("SAP", 20)}

    def __init__(self, *, continuous: bool = True, observations: PositiveInt = 5000) -> None:
        super().__init__()
        self.continuous, self.observations = continuous, observations

    def scores(self, codes: Codes, factors: Factors, random: np.random.RandomState) -> Iterator[float]:
        if self.continuous:
            table = squared_correlation(codes, factors)
        else:
            table = np.array([[_svc_accuracy(unit, factor) for factor in factors.T] for unit in codes.T])
        yield float(_first_minus_second(table).mean())


def squared_correlation(codes: Codes, factors: Factors) -> NDArray[np.float64]:
    """The squared correlation of every unit with every factor, `[L, F]`; 0 for a unit that does not vary."""
    units = np.where(np.ptp(codes, axis=0) > 0, codes - codes.mean(0), 0.0)
    units /= np.maximum(abs(units).max(0), np.finfo(float).tiny)
    values = factors - factors.mean(0)
    squares = np.outer((units**2).sum(0), (values**2).sum(0))
    return np.where(squares > 0, (units.T @ values) ** 2 / np.where(squares > 0, squares, 1.0), 0.0)


def _svc_accuracy(unit: Codes, factor: NDArray[np.int64]) -> float:
    n = int(TRAINED_ON * len(unit))
    if len(np.unique(factor[:n])) < 2:
        return float((factor[n:] == factor[0]).mean())
    from sklearn.svm import LinearSVC

    machine = LinearSVC(C=0.01, class_weight="balanced", max_iter=10_000, random_state=0)
    return float(machine.fit(unit[:n, None], factor[:n]).score(unit[n:, None], factor[n:]))


# -- importances ------------------------------------------------------------------------------------------------------


def disentanglement(importance: NDArray[np.float64]) -> float:
    """Mean over units of 1 − H(importances over factors) / log F, weighted by the units' importance.

    Args:
        importance: of every unit for every factor, `[L, F]`.
    """
    if importance.sum() == 0:
        return 0.0
    return float(_certainty(importance) @ (importance.sum(1) / importance.sum()))


def completeness(importance: NDArray[np.float64]) -> float:
    """Mean over factors of 1 − H(importances over units) / log L, weighted by the factors' importance."""
    return disentanglement(importance.T)


def _certainty(importance: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 − the entropy of every row over its largest; 1 if a row has one entry only."""
    p = importance + TINY
    p = p / p.sum(1, keepdims=True)
    return 1 - np.where(p > 0, -p * np.log(p), 0.0).sum(1) / np.log(max(2, p.shape[1]))


@METRICS.register
class DCI(FactorScore):
    """Disentanglement, completeness and informativeness (Eastwood & Williams 2018).

    Gradient-boosted trees (scikit-learn's defaults) predict each factor from the code, and say how important every unit
    was. Disentanglement: each unit serves one factor. Completeness: each factor is served by one unit. Informativeness:
    the accuracy on other observations, mean over factors. A code without importances has 0 in the first two.

    Trees are dear: their time grows with observations × units × values of all factors.

    Args:
        observations: how many observations are used at most; two thirds of them train the trees.
    """

    described: ClassVar[Mapping[str, Description]] = {
        "dci_disentanglement": _described("DCI disentanglement", 30),
        "dci_completeness": _described("DCI completeness", 40),
        "dci_informativeness": _described("DCI informativeness", 50),
    }

    def __init__(self, *, observations: PositiveInt = 1000) -> None:
        super().__init__()
        self.observations = observations

    def scores(self, codes: Codes, factors: Factors, random: np.random.RandomState) -> Iterator[float]:
        fits = [_boosted(codes, factor) for factor in factors.T]
        importance = np.stack([fit.importances for fit in fits], 1)
        yield disentanglement(importance)
        yield completeness(importance)
        yield float(np.mean([fit.accuracy for fit in fits]))


class Boosted(NamedTuple):
    """Trees that predict a factor: the importance of every unit, `[L]`, and the accuracy on other observations."""

    importances: NDArray[np.float64]
    accuracy: float


def _boosted(codes: Codes, factor: NDArray[np.int64]) -> Boosted:
    n = int(TRAINED_ON * len(codes))
    if len(np.unique(factor[:n])) < 2:
        return Boosted(np.zeros(codes.shape[1]), float((factor[n:] == factor[0]).mean()))
    from sklearn.ensemble import GradientBoostingClassifier

    trees = GradientBoostingClassifier(random_state=0).fit(codes[:n], factor[:n])
    return Boosted(np.abs(trees.feature_importances_), float(trees.score(codes[n:], factor[n:])))


# -- interventions ----------------------------------------------------------------------------------------------------


class Interventions:
    """Observations of a split that have one factor in common: instead of new images, those that are there.

    Args:
        factors: `[N, F]`.
        random: draws the factor, its value, and the observations.
    """

    def __init__(self, factors: Factors, random: np.random.RandomState) -> None:
        self.factors, self.random = factors, random
        self._sorted = [np.argsort(column, kind="stable") for column in factors.T]

    def draw(self, count: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Factors, with `BATCH` observations each that agree in it, as often as asked."""
        for factor in self.random.randint(self.factors.shape[1], size=count).tolist():
            first = np.full(BATCH, self.random.randint(len(self.factors)))
            yield factor, self._agreeing(factor, first)

    def pairs(self, count: int) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """Factors, with `BATCH` pairs of observations each, the two of a pair agreeing in it."""
        for factor in self.random.randint(self.factors.shape[1], size=count).tolist():
            first = self.random.randint(len(self.factors), size=BATCH)
            yield factor, first, self._agreeing(factor, first)

    def _agreeing(self, factor: int, observations: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each of these observations a random one that agrees in the factor; it may be the same."""
        values, order = self.factors[:, factor], self._sorted[factor]
        wanted = values[observations]
        first, last = (np.searchsorted(values, wanted, side, sorter=order) for side in ("left", "right"))
        return order[first + (self.random.random_sample(len(wanted)) * (last - first)).astype(np.int64)]


@METRICS.register
class FactorVAEScore(FactorScore):
    """The score of FactorVAE (Kim & Mnih 2018): does the unit that varies least tell which factor is fixed?

    In each batch of 64 observations with one factor in common, the unit with the smallest variance, relative to its
    variance over all observations, votes for the factor. The score is the accuracy of the majority on other batches.

    Args:
        votes: how many batches decide the majority, and how many it is measured on.
    """

    described: ClassVar[Mapping[str, Description]] = {"factor_vae_score": _described("FactorVAE score", 70)}

    def __init__(self, *, votes: PositiveInt = 1000) -> None:
        super().__init__()
        self.votes = votes

    def scores(self, codes: Codes, factors: Factors, random: np.random.RandomState) -> Iterator[float]:
        active = codes[:, codes.std(0) >= PRUNED]
        if not active.shape[1]:
            yield 0.0
            return
        variance, batches = active.var(0), Interventions(factors, random)

        def votes() -> NDArray[np.int64]:
            cast = np.zeros((active.shape[1], factors.shape[1]), np.int64)
            for factor, chosen in batches.draw(self.votes):
                cast[np.argmin(active[chosen].var(0) / variance), factor] += 1
            return cast

        majority, cast = votes().argmax(1), votes()
        yield cast[np.arange(len(cast)), majority].sum() / cast.sum()


@METRICS.register
class BetaVAEScore(FactorScore):
    """The score of β-VAE (Higgins et al. 2017): does the mean |z − z′| of pairs tell which factor they share?

    A logistic regression predicts the factor from the mean over 64 pairs. The score is its accuracy on other batches.

    Args:
        batches: how many batches train the regression; half as many measure it.
    """

    described: ClassVar[Mapping[str, Description]] = {"beta_vae_score": _described("β-VAE score", 80)}

    def __init__(self, *, batches: PositiveInt = 600) -> None:
        super().__init__()
        self.batches = batches

    def scores(self, codes: Codes, factors: Factors, random: np.random.RandomState) -> Iterator[float]:
        from sklearn.linear_model import LogisticRegression

        drawn = list(Interventions(factors, random).pairs(self.batches + -(-self.batches // 2)))
        shared = np.array([factor for factor, _, _ in drawn])
        features = np.stack([abs(codes[first] - codes[second]).mean(0) for _, first, second in drawn])
        train, test = slice(self.batches), slice(self.batches, None)
        if len(np.unique(shared[train])) < 2:
            yield float((shared[test] == shared[0]).mean())
            return
        yield (
            LogisticRegression(max_iter=10_000).fit(features[train], shared[train]).score(features[test], shared[test])
        )
