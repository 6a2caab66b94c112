"""How much of the labels a simple classifier reads off the code."""

from abc import abstractmethod

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from vaebench.evaluation.metrics.base import Blank, Diagnostic, Subject
from vaebench.models.draws import Draws
from vaebench.records.record import Estimate

FOLDS = 5
"""Parts of the split; each is classified by what was learnt on the others."""


class Probe(Diagnostic):
    """Accuracy of a classifier of the posterior's mean, cross-validated within the evaluated split.

    Five stratified folds, shuffled with a fixed seed after the observations were put in an order of their own, so that
    the number does not depend on how they came. The standard error is that of a share of N independent predictions,
    which `calibrate` grades. A subclass gives the classifier and the name of the column, and says where its predictions
    are not independent.
    """

    higher_is_better = True
    column: str
    independent = True
    """Whether one observation's prediction tells nothing of another's, so that the standard error is known."""

    codes: list[Tensor]
    labels: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("codes", "labels"):
            self.add_state(name, [], dist_reduce_fx="cat")

    @abstractmethod
    def classifier(self) -> BaseEstimator:
        """A fresh classifier, in scikit-learn's sense."""

    def applies_to(self, model: Subject) -> str | None:
        return None

    def columns(self, draws: int) -> tuple[str, ...]:
        return (self.column,)

    def update(self, draws: Draws) -> None:
        if draws.label is not None:
            self.codes.append(draws.posterior.mean)
            self.labels.append(draws.label)

    def compute(self) -> tuple[Estimate | Blank, ...]:
        if not len(self.labels):
            return (Blank(self.column, "the data has no labels"),)
        codes, labels = (dim_zero_cat(state).cpu().numpy() for state in (self.codes, self.labels))
        if (reason := self.unfit(codes, labels)) is not None:
            return (Blank(self.column, reason),)
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
