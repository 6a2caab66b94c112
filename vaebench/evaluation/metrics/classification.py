"""How often a model that predicts classes is wrong."""

from jaxtyping import Float64
from torch import Tensor

from vaebench.config.registry import METRICS
from vaebench.evaluation.metrics.base import ScalarMean, Subject
from vaebench.models.draws import Draws
from vaebench.records.description import Description, Direction, Panel
from vaebench.records.record import Estimate, NotApplicable


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

    def applies_to(self, model: Subject) -> str | None:
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
