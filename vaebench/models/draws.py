"""What a model says of a batch: its draws and their log-densities. Metrics read nothing else."""

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Normal


class _Fields(NamedTuple):
    """The fields of `Draws`. A named tuple has no place for cached results, so `Draws` is a subclass."""

    x: Float[Tensor, "B *event"]
    label: Int[Tensor, " B"] | None
    posterior: Normal
    reconstruction: Float[Tensor, "B *event"]
    z: Float[Tensor, "S B L"]
    log_px: Float[Tensor, "K B"]
    log_pz: Float[Tensor, "K B"]
    log_qz: Float[Tensor, "K B"]


class Draws(_Fields):
    """What a model says of B observations, from K draws z_k ~ q(z|x) of each, in nats.

    The log-densities are kept for all K draws as `[K, B]`; the draws themselves only for the first S, so that
    K = 5000 costs a table and not a cloud. A deterministic model (AE) has one draw, its code, and empty `log_pz` and
    `log_qz`: it has no prior and no density to weigh with.

    Attributes:
        x: observations `[B, *event]`.
        label: class labels `[B]` or None.
        posterior: q(z|x), batch shape `[B, L]`; its mean is the code.
        reconstruction: the likelihood's mean at the posterior's mean, `[B, *event]`.
        z: the first S draws, `[S, B, L]`.
        log_px: log p(x|z_k), `[K, B]`.
        log_pz: log p(z_k), `[K, B]`.
        log_qz: log q(z_k|x), `[K, B]`.
    """

    @cached_property
    def log_weight(self) -> Float[Tensor, "K B"]:
        """log w_k = log p(x|z_k) + log p(z_k) − log q(z_k|x)."""
        return self.log_px + self.log_pz - self.log_qz

    def of_weights(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """A function of the log-weights `[K, B]`, computed once even if several metrics need it."""
        if function not in self._computed:
            self._computed[function] = function(self.log_weight)
        return self._computed[function]

    @cached_property
    def _computed(self) -> dict[Callable[[Tensor], Tensor], Tensor]:
        return {}
