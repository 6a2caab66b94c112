"""The linear VAE: the model whose every number is known."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Normal

from vaebench.config.registry import MODELS, LikelihoodSpec, NonNegative, Positive, PositiveInt, ScheduleSpec
from vaebench.models.beta_vae import BetaVAE
from vaebench.models.parts.likelihoods import Gaussian
from vaebench.oracle.probabilistic_pca import LinearPosterior, ProbabilisticPCA


@MODELS.register
class LinearVAE(BetaVAE):
    """Linear VAE (Lucas et al. 2019): x = Wz + μ + σε, q(z|x) = N(V(x − m) + b, diag d) with one learned d for all x.

    m is the mean of the training observations: were it left to b, b would have to make up for every step of V, and
    training would take many times as long. The optimum is probabilistic PCA, so its evidence, its active units and its
    collapse are known in closed form (`vaebench.oracle`).

    Args:
        likelihood: a Gaussian one, of fixed, learned or optimal variance.
        analytic: take E_q[log p(x|z)] in closed form rather than from one draw.
        beta: the price of a nat of rate; 1 is the ELBO.
        schedule: how β gets there during training.

    Raises:
        ValueError: if the likelihood is not a Gaussian.
    """

    linear = True
    statistics = 1
    centre: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        seed: int = 0,
        *,
        latent_dim: PositiveInt = 8,
        likelihood: LikelihoodSpec = "LearnedGaussian",
        analytic: bool = True,
        beta: NonNegative = 1.0,
        schedule: ScheduleSpec = "Constant",
        learning_rate: Positive = 1e-3,
    ) -> None:
        super().__init__(
            shape,
            seed,
            latent_dim=latent_dim,
            network="Affine",
            likelihood=likelihood,
            beta=beta,
            schedule=schedule,
            learning_rate=learning_rate,
        )
        del self.hparams["network"], self.hparams["prior"]  # chosen here: whoever loads a checkpoint does not give them
        if not isinstance(self.likelihood, Gaussian):
            raise ValueError(
                f"LinearVAE expects a Gaussian likelihood, got {type(self.likelihood).__name__}; "
                "set model.likelihood: Gaussian | LearnedGaussian | OptimalGaussian"
            )
        self.analytic = analytic
        self.register_buffer("centre", torch.zeros(self.shape))
        self.log_variance = nn.Parameter(torch.zeros(latent_dim))

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
    def density(self) -> ProbabilisticPCA:
        """p(x), of which everything has a closed form; float64, its parameters those of this moment."""
        decoder = self.decoder[0]
        assert isinstance(decoder, nn.Linear)
        assert isinstance(self.likelihood, Gaussian)
        sigma2 = self.likelihood.sigma2().detach().double().flatten()
        return ProbabilisticPCA(decoder.bias.detach().double(), self.weight.detach().double(), sigma2)

    @property
    def linear_posterior(self) -> LinearPosterior:
        """q(z|x) as a closed form; float64, its parameters those of this moment."""
        assert isinstance(self.encoder, nn.Sequential)
        affine, variance = self.encoder[1], self.log_variance.detach().double().exp()
        assert isinstance(affine, nn.Linear)
        weight = affine.weight.detach().double()
        bias = affine.bias.detach().double() - weight @ self.centre.double().flatten()
        return LinearPosterior.diagonal(weight, bias, variance)

    def encode(self, x: Tensor) -> Normal:
        mean = self.encoder(x - self.centre)
        return Normal(mean, (0.5 * self.log_variance).exp().expand_as(mean), validate_args=False)

    def expected_log_likelihood(self, x: Tensor, posterior: Normal, z: Tensor) -> Float[Tensor, " B"]:
        if not self.analytic:
            return super().expected_log_likelihood(x, posterior, z)
        spread = self._spread()
        return self.likelihood.expected_log_prob(self.parameters_at(posterior.mean), spread, x)

    def expected_error(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return (x - self.parameters_at(self.encode(x).mean)).square() + self._spread()

    def _spread(self) -> Float[Tensor, "*event"]:
        """Var[Wz] under q(z|x), the same for all x."""
        return (self.weight.square() @ self.log_variance.exp()).view(self.shape)
