"""What of the rate says nothing of x: dependence between units, and units that are not the prior."""

from torch.distributions import Normal

from vaebench.config.registry import METRICS
from vaebench.evaluation.metrics.aggregate_posterior import AggregateDiagnostic, estimate
from vaebench.evaluation.metrics.base import Subject
from vaebench.evaluation.metrics.kl_per_unit import without_unit_priors
from vaebench.records.record import Estimate


@METRICS.register
class TotalCorrelation(AggregateDiagnostic):
    """KL(q(z)‖p(z)) = TC + Σ_i KL(q(z_i)‖p(z_i)), TC = KL(q(z)‖Π_i q(z_i)), nats per observation, with q(z) =
    (1/N) Σ_n q(z|x_n) over the whole evaluated split (Chen et al. 2018).

    Means at the kept draws of log q(z) − Σ_i log q(z_i) and log q(z_i) − log p(z_i): unbiased for the split's own q(z),
    so a small one may come out below zero. As estimates for all x, each unit's KL is too high by (E[q(z_i|x)/q(z_i)] −
    1)/2N to first order, and the total correlation by what is left of the whole's (see `RateDecomposition`). It costs
    N²L exponentials. The array `rate_identity` is R of the same draws, I, TC, Σ_i KL_i, R − (I + TC + Σ_i KL_i), and
    what rounding may leave of that; more is said beside the numbers.
    """

    def applies_to(self, model: Subject) -> str | None:
        return without_unit_priors(model)

    def columns(self, draws: int) -> tuple[str, ...]:
        return ("total_correlation", "dimension_kl")

    def compute(self) -> tuple[Estimate, ...]:
        sample = self.sample()
        log_q, units = sample.log_aggregate, sample.unit_log_aggregate
        information = float((sample.unit_log_qz.sum(-1) - log_q).mean())
        correlation, unit_kl = log_q - units.sum(-1), units - Normal(0.0, 1.0).log_prob(sample.z)
        parts = [information, float(correlation.mean()), float(unit_kl.sum(-1).mean())]
        gap, remark = sample.gap(sum(parts))
        n = len(log_q)
        return (
            estimate("total_correlation", correlation, remark),
            estimate("dimension_kl", unit_kl.sum(-1), remark),
            Estimate("dimension_kl_per_unit", unit_kl.mean((0, 1)).tolist(), n=n),
            Estimate("rate_identity", [sum(parts) + gap, *parts, gap, sample.rounding], n=n),
        )
