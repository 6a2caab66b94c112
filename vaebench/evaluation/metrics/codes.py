"""How well the label can be read from the code: by a linear probe, nearest neighbours, or the model itself."""

from abc import abstractmethod
from collections.abc import Mapping
from functools import cache

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController
from torch import Tensor
from torch.nn.functional import one_hot
from torchmetrics.utilities.data import dim_zero_cat

from vaebench.config.registry import METRICS, Positive, PositiveInt
from vaebench.evaluation.metrics.base import MeasuredModel, Metric, ScalarMean
from vaebench.models.draws import Draws
from vaebench.records.description import Description, Direction, Panel
from vaebench.records.record import Estimate, NotApplicable

Codes = NDArray[np.float64]  # `[N, L]`
Classes = NDArray[np.int64]  # `[N]`, numbered from 0

FOLDS = 5  # parts of the split; each is classified by what was learnt on the others
DISTANCES = 2**18  # at a time, 8 bytes each


def folds(classes: Classes) -> NDArray[np.int64]:
    """Numbers of folds, `[N]`: in each one the classes have their shares.

    They are those of scikit-learn's `StratifiedKFold(FOLDS, shuffle=True, random_state=0)`.

    Args:
        classes: sorted.
    """
    random, found = np.random.RandomState(0), np.empty(len(classes), np.int64)
    sizes = [np.bincount(classes[i::FOLDS], minlength=classes[-1] + 1) for i in range(FOLDS)]
    for one, counts in enumerate(zip(*sizes, strict=True)):
        own = np.arange(FOLDS).repeat(counts)
        random.shuffle(own)
        found[classes == one] = own
    return found


@cache
def _blas() -> ThreadpoolController:
    """The libraries for matrices of NumPy and SciPy. Each would take every core, also beside other processes.

    Products this small are slower on several cores, and processes side by side would wait for each other.
    """
    import scipy.optimize  # noqa: F401  # its library has to be there, before it can be found

    return ThreadpoolController()


class Probe(Metric):
    """Accuracy of a classifier of the posterior's mean, cross-validated within the evaluated split.

    Five stratified folds, shuffled with a fixed seed after the observations were put in an order of their own, so that
    the number does not depend on how they came. The standard error is that of a share of N independent predictions,
    which `calibrate` grades. A subclass predicts, gives the name of the column, and says where its predictions are not
    independent.
    """

    column: str
    description: Description
    independent = True
    """Whether one observation's prediction tells nothing of another's, so that the standard error is known."""

    reads_codes_only = True
    codes: list[Tensor]
    labels: list[Tensor]

    @abstractmethod
    def predicted(self, codes: Codes, classes: Classes, asked: Codes) -> Classes:
        """The classes of other codes.

        Args:
            codes, classes: what is learnt from; every class is there.
            asked: the other codes.
        """

    def why_not_applicable(self, model: MeasuredModel) -> str | None:
        return None

    def columns(self, draws: int) -> Mapping[str, Description]:
        return {self.column: self.description}

    def update(self, draws: Draws) -> None:
        if draws.label is not None:
            self.codes.append(draws.posterior.mean)
            self.labels.append(draws.label)

    def compute(self) -> tuple[Estimate | NotApplicable, ...]:
        if not len(self.labels):
            return (NotApplicable(self.column, "the data has no labels"),)
        codes, labels = (dim_zero_cat(state).cpu().numpy() for state in (self.codes, self.labels))
        if (reason := self.unfit(codes, labels)) is not None:
            return (NotApplicable(self.column, reason),)
        order = np.lexsort((*codes.T, labels))
        codes, classes = codes[order].astype(np.float64), np.unique(labels[order], return_inverse=True)[1]
        fold, right = folds(classes), np.empty(len(classes), bool)
        with _blas().limit(limits=1, user_api="blas"):
            for here in (fold == number for number in range(FOLDS)):
                right[here] = self.predicted(codes[~here], classes[~here], codes[here]) == classes[here]
        n, accuracy = len(right), float(right.mean())
        error = (accuracy * (1 - accuracy) / (n - 1)) ** 0.5 if self.independent else None
        return (Estimate(self.column, accuracy, error, n),)

    def unfit(self, codes: np.ndarray, labels: np.ndarray) -> str | None:
        """Why these observations cannot be cross-validated, or None."""
        classes, sizes = np.unique(labels, return_counts=True)
        if len(classes) < 2:
            return f"every observation has the label {classes[0]}: there is nothing to tell apart"
        if sizes.min() < FOLDS:
            rare = classes[sizes.argmin()]
            return f"{sizes.min()} observations have the label {rare}, fewer than the {FOLDS} folds of the validation"
        return None if np.isfinite(codes).all() else "the codes are not finite"


@METRICS.register
class LinearProbe(Probe):
    """Accuracy of multinomial logistic regression from the posterior's mean to the label (Alain & Bengio 2016).

    Units are standardised first, so their scale does not matter; five-fold cross-validation within the evaluated split
    (`Probe`).

    Args:
        inverse_penalty: scikit-learn's C, by which the log-likelihood is weighed against half the squared norm.
    """

    packages = ("scipy.optimize",)
    column = "linear_probe_accuracy"
    description = Description("linear probe", Panel.REPRESENTATION, 30, better=Direction.HIGHER)

    def __init__(self, *, inverse_penalty: Positive = 1.0) -> None:
        super().__init__()
        self.inverse_penalty = inverse_penalty

    def predicted(self, codes: Codes, classes: Classes, asked: Codes) -> Classes:
        mean, variance = codes.mean(0), codes.var(0)
        rounding = len(codes) * np.finfo(float).eps
        varies = variance > rounding * variance + (rounding * mean) ** 2
        scale = np.where(varies, variance, 1.0) ** 0.5
        weights = logistic_regression((codes - mean) / scale, classes, self.inverse_penalty)
        found: Classes = _scores(weights, _with_one((asked - mean) / scale)).argmax(0)
        return found


def logistic_regression(codes: Codes, classes: Classes, inverse_penalty: float) -> NDArray[np.float64]:
    """Weights W `[C, L + 1]` that maximise Σ_n log softmax(W(x_n, 1))[c_n] − |W|²/2C', x_n being the codes.

    C' is the inverse penalty; the last column, the intercepts, is free of it. Of two classes the first has no weights.
    The steps are those of scikit-learn's `LogisticRegression`: L-BFGS from W = 0, until no slope of the mean is above
    1e-4. Its import, and its checks for every fold, would take several times as long.
    """
    from scipy.optimize import minimize  # when the first probe learns

    n, rows = len(codes), classes.max() + 1 if classes.max() > 1 else 1
    x, own, price = _with_one(codes), (classes, np.arange(n)), 1 / (inverse_penalty * n)

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(rows, -1)
        scores = _scores(weights, x)
        scores -= scores.max(0)
        missed = -scores[own].sum()
        shares = np.exp(scores, out=scores)
        total = shares.sum(0)
        shares /= total
        shares[own] -= 1
        slope, penalised = shares[-rows:] @ x / n, weights[:, :-1].ravel()
        slope[:, :-1] += price * weights[:, :-1]
        return (missed + np.log(total).sum()) / n + price / 2 * penalised @ penalised, slope.ravel()

    limits = {"maxiter": 1000, "maxls": 50, "gtol": 1e-4, "ftol": 64 * np.finfo(float).eps}
    start = np.zeros(rows * x.shape[1])
    found: NDArray[np.float64] = minimize(loss, start, jac=True, method="L-BFGS-B", options=limits).x
    return found.reshape(rows, -1)


def _with_one(codes: Codes) -> Codes:
    return np.c_[codes, np.ones(len(codes))]


def _scores(weights: NDArray[np.float64], x: Codes) -> NDArray[np.float64]:
    """The scores of the classes, `[C, N]`, of codes with a 1; the first of two classes has the score 0."""
    scores = weights @ x.T
    return np.r_[np.zeros_like(scores), scores] if len(scores) == 1 else scores


@METRICS.register
class NearestNeighbours(Probe):
    """Accuracy of the vote of the nearest neighbours, by Euclidean distance of posterior means, as they are scaled.

    Five-fold cross-validation within the evaluated split (`Probe`). No standard
    error is claimed: one observation votes on several, and the error of a share of N independent predictions is too
    small by a quarter.

    Args:
        neighbours: how many vote, equally.
    """

    column = "nearest_neighbours_accuracy"
    description = Description("nearest neighbours", Panel.REPRESENTATION, 40, better=Direction.HIGHER)
    independent = False

    def __init__(self, *, neighbours: PositiveInt = 5) -> None:
        super().__init__()
        self.neighbours = neighbours

    def predicted(self, codes: Codes, classes: Classes, asked: Codes) -> Classes:
        # The nearest have the largest ⟨x, y⟩ − |y|²/2; measured from the middle, rounding does not count.
        middle = codes.mean(0)
        known, others, voters = (torch.from_numpy(part) for part in (codes - middle, asked - middle, classes))
        half, votes = known.square().sum(1) / 2, []
        for some in others.split(max(1, DISTANCES // len(known))):
            near = (some @ known.mT - half).topk(self.neighbours).indices
            votes.append(one_hot(voters[near]).sum(1).argmax(1))
        found: Classes = torch.cat(votes).numpy()
        return found

    def unfit(self, codes: np.ndarray, labels: np.ndarray) -> str | None:
        known = len(labels) - -(-len(labels) // FOLDS)
        if known < self.neighbours:
            return f"{known} observations are known in a fold, fewer than {self.neighbours} neighbours"
        return super().unfit(codes, labels)


@METRICS.register
class ClassificationError(ScalarMean):
    """Share of observations whose most probable class is not their label, in %, for a model with a classifier.

    The model has learnt from the labels of the training split. (`LinearProbe` instead reads labels from the code of any
    model.)
    """

    column = "classification_error"
    description = Description(
        "error of the classifier in % (lower is better)", Panel.REPRESENTATION, 50, "%", Direction.LOWER
    )
    missing = "the model predicts no classes"

    def why_not_applicable(self, model: MeasuredModel) -> str | None:
        return None if model.classes is not None else f"this {type(model).__name__} has no classifier"

    def per_observation(self, draws: Draws) -> Float64[Tensor, " B"]:
        assert draws.logits is not None
        assert draws.label is not None
        return 100 * draws.logits.argmax(-1).ne(draws.label).double()

    def update(self, draws: Draws) -> None:
        if draws.logits is not None and draws.label is not None:
            super().update(draws)
        elif draws.logits is not None:
            self.missing = "the data has no labels"

    def compute(self) -> tuple[Estimate | NotApplicable, ...]:
        return super().compute() if int(self.count) else (NotApplicable(self.column, self.missing),)
