"""The linear VAE: a model with closed forms for its evidence, optimum and collapse."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, Normal

from vaebench.config.registry import MODELS, LikelihoodSpec, NonNegative
from vaebench.models.beta_vae import BetaVAE
from vaebench.models.parts.likelihoods import Gaussian
from vaebench.oracle.probabilistic_pca import LinearPosterior, ProbabilisticPCA


@MODELS.register
class LinearVAE(BetaVAE):
    """Linear VAE (Lucas et al. 2019): x = Wz + μ + σε, q(z|x) = N(V(x − m) + b, diag d) with one learned d for all x.

    m is the mean of the training observations. Without it, b would have to follow every change of V, and training would
    take many times as long. The optimum is probabilistic PCA, so the evidence, the active units and the collapse are
    known in closed form (`vaebench.oracle`).

    Args:
        likelihood: a Gaussian one, with fixed, learned or optimal variance.
        analytic: compute E_q[log p(x|z)] in closed form instead of from one draw.
        beta: the weight of the rate; 1 gives the ELBO.

    Raises:
        ValueError: if the likelihood is not a Gaussian.
    """

    linear = True
    statistics = 1
    fixed: tuple[str, ...] = ("network", "prior", "posterior")
    centre: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        seed: int = 0,
        *,
        likelihood: LikelihoodSpec = "LearnedGaussian",
        analytic: bool = True,
        beta: NonNegative = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            shape,
            seed,
            network="Affine",
            prior="StandardNormal",
            posterior="Diagonal",
            likelihood=likelihood,
            beta=beta,
            **kwargs,
        )
        if not isinstance(self.likelihood, Gaussian):
            raise ValueError(
                f"LinearVAE expects a Gaussian likelihood, got {type(self.likelihood).__name__}; "
                "set model.likelihood: Gaussian | LearnedGaussian | OptimalGaussian"
            )
        self.analytic = analytic
        self.register_buffer("centre", torch.zeros(self.shape))
        self.log_variance = nn.Parameter(torch.zeros(self.latent_dim))

    @torch.no_grad()
    def prepare(self, x: Float[Tensor, "N *event"]) -> None:
        super().prepare(x)
        self.centre.copy_(x.mean(0))

    @property
    def weight(self) -> Float[Tensor, "D L"]:
        """W, the decoder's matrix."""
        weight = self.decoder[0].weight
        assert isinstance(weight, Tensor)
        return weight

    @property
    def bias(self) -> Float[Tensor, " D"]:
        """μ, the decoder's bias."""
        bias = self.decoder[0].bias
        assert isinstance(bias, Tensor)
        return bias

    @property
    def density(self) -> ProbabilisticPCA:
        """p(x) with the present parameters, as a distribution with closed forms, in float64 and on the CPU."""
        assert isinstance(self.likelihood, Gaussian)
        exact = [t.detach().cpu().double() for t in (self.bias, self.weight, self.likelihood.sigma2().flatten())]
        return ProbabilisticPCA(*exact)

    @property
    def linear_posterior(self) -> LinearPosterior:
        """q(z|x) with the present parameters, in closed form and float64."""
        assert isinstance(self.encoder, nn.Sequential)
        affine, variance = self.encoder[1], self.log_variance.detach().double().exp()
        assert isinstance(affine, nn.Linear)
        weight = affine.weight.detach().double()
        bias = affine.bias.detach().double() - weight @ self.centre.double().flatten()
        return LinearPosterior.diagonal(weight, bias, variance)

    def encode(self, x: Tensor) -> Distribution:
        mean = self.encoder(x - self.centre)
        return Normal(mean, (0.5 * self.log_variance).exp().expand_as(mean), validate_args=False)

    def expected_log_likelihood(self, x: Tensor, posterior: Distribution, z: Tensor) -> Float[Tensor, " B"]:
        if not self.analytic:
            return super().expected_log_likelihood(x, posterior, z)
        spread = self._spread()
        return self.likelihood.expected_log_prob(self.parameters_at(posterior.mean), spread, x)

    def expected_error(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return (x - self.parameters_at(self.encode(x).mean)).square() + self._spread()

    def _spread(self) -> Float[Tensor, "*event"]:
        """Var[Wz] under q(z|x), the same for all x."""
        return (self.weight.square() @ self.log_variance.exp()).view(self.shape)
