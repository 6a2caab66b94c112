"""The draws of a model for a batch, their log-densities, and how many are computed at a time.

Metrics read nothing else of a model.
"""

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Distribution


class _Fields(NamedTuple):
    """The fields of `Draws`. A named tuple cannot store cached results, so `Draws` is a subclass."""

    x: Float[Tensor, "B *event"]
    label: Int[Tensor, " B"] | None
    posterior: Distribution
    reconstruction: Float[Tensor, "B *event"]
    z: Float[Tensor, "S B L"]
    log_px: Float[Tensor, "K B"]
    log_pz: Float[Tensor, "K B"]
    log_qz: Float[Tensor, "K B"]
    logits: Float[Tensor, "B C"] | None = None
    unit_rates: Float[Tensor, "B L"] | None = None
    factors: Int[Tensor, "B F"] | None = None


class Draws(_Fields):
    """K draws z_k ~ q(z|x) for each of B observations, and their log-densities in nats.

    The log-densities `[K, B]` are kept for all K draws, the draws themselves only for the first S. So memory grows with
    K·B and not with K·B·L. A deterministic model (AE) has one draw, its code, and empty `log_pz` and `log_qz`: it has
    neither a prior nor a density.

    Attributes:
        x: observations `[B, *event]`.
        label: class labels `[B]` or None.
        posterior: q(z|x), as `Autoencoder.encode` returns it; its mean `[B, L]` is the code.
        reconstruction: the mean of the likelihood at the mean of the posterior, `[B, *event]`.
        z: the first S draws, `[S, B, L]`.
        log_px: log p(x|z_k), `[K, B]`.
        log_pz: log p(z_k), `[K, B]`.
        log_qz: log q(z_k|x), `[K, B]`.
        logits: of the classes that the model predicts, `[B, C]`; None if it predicts none.
        unit_rates: the mean of log q(z_i|·) − log p(z_i|·) over the K draws, each given the layer before, `[B, L]`;
            None for a model with one layer.
        factors: the number of the value of each factor that made an observation, `[B, F]`; None if the data has none.
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


class ChunkSize(NamedTuple):
    """Elements computed at a time. A chunk fits a CPU's cache; on an accelerator it fills one kernel launch.

    Where random numbers are drawn chunk by chunk, the size decides in which order they are used. So it is a part of
    every result, as `NOISE_AT_ONCE` in `models/vae.py`. Elsewhere it changes results by rounding at most.
    """

    cpu: int
    accelerator: int

    def on(self, x: Tensor) -> int:
        """The chunk size on the device of a tensor."""
        return self.cpu if x.device.type == "cpu" else self.accelerator
