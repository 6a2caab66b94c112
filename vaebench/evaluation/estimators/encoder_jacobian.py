"""How far a small change of an observation moves its code."""

from collections.abc import Mapping

import torch

from vaebench.config.registry import ESTIMATORS, PositiveInt
from vaebench.data.loaders import Batch
from vaebench.evaluation.estimators.base import Estimator, mean_over_observations
from vaebench.models.ae import squared_jacobian
from vaebench.models.base import Autoencoder
from vaebench.records.description import Description, Panel, Within
from vaebench.records.record import Estimate, NotApplicable

AT_ONCE = 2**22  # the number of derivatives that are held at a time


@ESTIMATORS.register
class EncoderJacobian(Estimator):
    """Mean of ‖∂h/∂x‖²_F, the sum of the squared derivatives of all units by all pixels (Rifai et al. 2011).

    h is the code, for a VAE the mean of q(z|x). The number is exact for each observation. It depends on the scale of
    the code, so it compares models whose codes have the same range.

    Args:
        observations: the number of observations, evenly spaced in the split.
    """

    def __init__(self, *, observations: PositiveInt = 1000) -> None:
        self.observations = observations

    @property
    def columns(self) -> Mapping[str, Description]:
        described = Description("‖∂h/∂x‖²", Panel.OBJECTIVE, 97, "1/x²", within=Within.OBSERVATIONS)
        return {"encoder_jacobian": described}

    def why_not_applicable(self, model: Autoencoder) -> str | None:
        return model.why_no_code

    @torch.no_grad()
    def estimate(self, model: Autoencoder, batch: Batch, seed: int) -> tuple[Estimate | NotApplicable, ...]:
        rows = max(1, AT_ONCE // (model.latent_dim * batch.x[0].numel()))
        values = torch.cat([squared_jacobian(lambda x: model.encode(x).mean, x) for x in batch.x.split(rows)])
        if not bool(values.isfinite().all()):
            raise FloatingPointError("expected a finite Jacobian; train again with a lower model.learning_rate")
        return (mean_over_observations("encoder_jacobian", values),)
