"""The importance-weighted autoencoder: the VAE trained on the bound of several draws."""

import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from vaebench.config.registry import MODELS, PositiveInt
from vaebench.models.parts.posteriors import Form, log_density, reparameterise, without_gradient
from vaebench.models.vae import VAE


@MODELS.register
class IWAE(VAE):
    """Importance-weighted autoencoder (Burda et al. 2016): max L_k = E[log (1/k) Σ_i w_i], w = p(x|z) p(z) / q(z|x).

    L_1 is the ELBO, with the rate taken from the draw: log q(z|x) − log p(z). L_k rises with k towards log p(x).
    Two estimates of the gradient of L_k are known. They agree in the mean.

    `plain` differentiates log (1/k) Σ w. The encoder's gradient then has a ratio of mean to standard deviation that
    falls as k^−½ (Rainforth et al. 2018). `DReG`, the doubly reparameterised gradient, gives the encoder the gradient
    Σ ŵ_i² ∂log w_i/∂z_i ∂z_i/∂φ with ŵ = w / Σ w, and this ratio rises as k^½ (Tucker et al. 2019). It costs one more
    evaluation of the decoder. If q(z|x) is the exact posterior, L_k is log p(x) for every draw. Then the encoder's
    gradient is 0 for every draw with DReG, and only in the mean with `plain`.

    https://arxiv.org/abs/1509.00519, https://arxiv.org/abs/1802.04537, https://arxiv.org/abs/1810.04152

    Args:
        k: the number of draws in the bound.
        gradient: the estimate of the gradient.

    Raises:
        ValueError: if the likelihood takes its variance from the batch. That variance maximises the likelihood of a
            draw, and not L_k. Or if `DReG` would need the density of a flow away from its draws.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        seed: int = 0,
        *,
        k: PositiveInt = 5,
        gradient: Literal["plain", "DReG"] = "plain",
        **kwargs: Any,
    ) -> None:
        super().__init__(shape, seed, **kwargs)
        if self.likelihood.refits:
            raise ValueError(
                f"IWAE expects a likelihood with a fixed or learned variance, got {type(self.likelihood).__name__}: "
                "its variance maximises the likelihood of one draw, and not the bound; "
                "set model.likelihood: LearnedGaussian"
            )
        if gradient == "DReG" and self.form is Form.FLOW:
            raise ValueError(
                "DReG expects a posterior with a density in closed form, got a Flow; set model.gradient: plain, or "
                "model.posterior: Diagonal | FullCovariance"
            )
        self.k, self.gradient = k, gradient

    def noise(self, batch_size: int, generator: torch.Generator) -> Tensor:
        return torch.randn(batch_size, self.k, self.latent_dim, generator=generator, device=generator.device)

    def objective(self, x: Tensor, noise: Float[Tensor, "B k L"]) -> Float[Tensor, " B"]:
        posterior = self.encode(x)
        z = reparameterise(posterior, noise.transpose(0, 1))
        if self.gradient == "DReG":
            share = self.log_weight(x, posterior, z).softmax(0).detach()
            z = z.detach() + share[..., None] * (z - z.detach())  # the same numbers; the gradient gets the second ŵ
            posterior = without_gradient(posterior)
        # The mean of the k weights. `iwae_groups_by_size` in evaluation/bounds.py measures the same bound.
        return self.log_weight(x, posterior, z).logsumexp(0) - math.log(self.k)

    def log_weight(self, x: Tensor, posterior: Distribution, z: Float[Tensor, "k B L"]) -> Float[Tensor, "k B"]:
        """log p(x|z) + log p(z) − log q(z|x)."""
        log_px = self.likelihood.log_prob(self.parameters_at(z), x)
        return log_px + self.prior(self.encode).log_prob(z) - log_density(posterior, z)
