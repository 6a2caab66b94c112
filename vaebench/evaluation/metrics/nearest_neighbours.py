"""How much of the labels is local in the code."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.neighbors import KNeighborsClassifier

from vaebench.config.registry import METRICS, PositiveInt
from vaebench.evaluation.metrics.cross_validated import FOLDS, Probe


@METRICS.register
class NearestNeighbours(Probe):
    """Accuracy of the vote of the nearest neighbours, by Euclidean distance of posterior means, as they are scaled.

    Five-fold cross-validation within the evaluated split (`vaebench.evaluation.metrics.cross_validated`). No standard
    error is claimed: one observation votes on several, and the error of a share of N independent predictions is too
    small by a quarter.

    Args:
        neighbours: how many vote, equally.
    """

    column = "nearest_neighbours_accuracy"
    independent = False

    def __init__(self, *, neighbours: PositiveInt = 5) -> None:
        super().__init__()
        self.neighbours = neighbours

    def classifier(self) -> BaseEstimator:
        return KNeighborsClassifier(self.neighbours)

    def unfit(self, codes: np.ndarray, labels: np.ndarray) -> str | None:
        known = len(labels) - -(-len(labels) // FOLDS)
        if known < self.neighbours:
            return f"{known} observations are known in a fold, fewer than {self.neighbours} neighbours"
        return super().unfit(codes, labels)
