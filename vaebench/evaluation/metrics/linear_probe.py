"""How much of the labels is linear in the code."""

from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vaebench.config.registry import METRICS, Positive
from vaebench.evaluation.metrics.cross_validated import Probe


@METRICS.register
class LinearProbe(Probe):
    """Accuracy of multinomial logistic regression from the posterior's mean to the label (Alain & Bengio 2016).

    Units are standardised first, so their scale does not matter; five-fold cross-validation within the evaluated split
    (`vaebench.evaluation.metrics.cross_validated`).

    Args:
        inverse_penalty: scikit-learn's C, by which the log-likelihood is weighed against half the squared norm.
    """

    column = "linear_probe_accuracy"

    def __init__(self, *, inverse_penalty: Positive = 1.0) -> None:
        super().__init__()
        self.inverse_penalty = inverse_penalty

    def classifier(self) -> BaseEstimator:
        return make_pipeline(StandardScaler(), LogisticRegression(C=self.inverse_penalty, max_iter=1000))
