"""What of the rate says something of x."""

import math

from vaebench.config.registry import METRICS
from vaebench.evaluation.metrics.aggregate_posterior import AggregateDiagnostic, estimate
from vaebench.records.record import Estimate

SATURATED = 0.1
"""Nats below its cap where the mutual information no longer tells."""


@METRICS.register
class RateDecomposition(AggregateDiagnostic):
    """R = I_q(x;z) + KL(q(z)‖p(z)), nats per observation, with q(z) = (1/N) Σ_n q(z|x_n) over the whole evaluated
    split (Hoffman & Johnson 2016).

    I is the mean of log q(z_n|x_n) − log q(z_n) at the kept draws: unbiased for the mutual information of z and the
    number of an observation in the split, and never above log N, the cap. As an estimate for all x it is too low, and
    KL(q(z)‖p(z)) as much too high, by (E[q(z|x)/q(z)] − 1)/2N to first order; within 0.1 nats of the cap it is marked
    saturated. Any prior. That the parts add up to the rate of the same draws is checked, and said where they do not.
    """

    def columns(self, draws: int) -> tuple[str, ...]:
        return ("mutual_information", "mutual_information_cap", "aggregate_kl")

    def compute(self) -> tuple[Estimate, ...]:
        sample = self.sample()
        log_q = sample.log_aggregate
        information, aggregate_kl = sample.unit_log_qz.sum(-1) - log_q, log_q - sample.log_pz
        _, remark = sample.gap(float((information + aggregate_kl).mean()))
        cap = math.log(len(log_q))
        near = float(information.mean()) > cap - SATURATED
        saturated = f"saturated: within {SATURATED:g} nats of its cap log N = {cap:.4g}" if near else None
        return (
            estimate("mutual_information", information, saturated, remark),
            Estimate("mutual_information_cap", cap, n=len(log_q)),
            estimate("aggregate_kl", aggregate_kl, saturated, remark),
        )
