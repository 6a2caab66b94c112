"""How well the label can be read from the code: by a linear probe, nearest neighbours, or the model itself."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from vaebench.config.registry import METRICS, Positive, PositiveInt
from vaebench.evaluation.metrics.base import Metric, ScalarMean, Subject
from vaebench.models.draws import Draws
from vaebench.records.description import Description, Direction, Panel
from vaebench.records.record import Estimate, NotApplicable

if TYPE_CHECKING:  # scikit-learn is imported when the first classifier learns, not when a run starts
    from sklearn.base import BaseEstimator

FOLDS = 5  # parts of the split; each is classified by what was learnt on the others


class Probe(Metric):
    """Accuracy of a classifier of the posterior's mean, cross-validated within the evaluated split.

    Five stratified folds, shuffled with a fixed seed after the observations were put in an order of their own, so that
    the number does not depend on how they came. The standard error is that of a share of N independent predictions,
    which `calibrate` grades. A subclass gives the classifier and the name of the column, and says where its predictions
    are not independent.
    """

    column: str
    description: Description
    independent = True
    """Whether one observation's prediction tells nothing of another's, so that the standard error is known."""

    reads_codes_only = True
    packages = ("sklearn.model_selection", "sklearn.linear_model", "sklearn.neighbors")
    codes: list[Tensor]
    labels: list[Tensor]

    @abstractmethod
    def classifier(self) -> "BaseEstimator":
        """A fresh classifier, in scikit-learn's sense."""

    def why_not_applicable(self, model: Subject) -> str | None:
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
        from sklearn.model_selection import StratifiedKFold, cross_val_predict

        order = np.lexsort((*codes.T, labels))
        codes, labels = codes[order].astype(np.float64), labels[order]
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
        right = cross_val_predict(self.classifier(), codes, labels, cv=folds) == labels
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

    column = "linear_probe_accuracy"
    description = Description("linear probe", Panel.REPRESENTATION, 30, better=Direction.HIGHER)

    def __init__(self, *, inverse_penalty: Positive = 1.0) -> None:
        super().__init__()
        self.inverse_penalty = inverse_penalty

    def classifier(self) -> "BaseEstimator":
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        return make_pipeline(StandardScaler(), LogisticRegression(C=self.inverse_penalty, max_iter=1000))


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

    def classifier(self) -> "BaseEstimator":
        from sklearn.neighbors import KNeighborsClassifier

        return KNeighborsClassifier(self.neighbours)

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

    def why_not_applicable(self, model: Subject) -> str | None:
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
