"""Linear models with closed forms for their evidence, optimum and collapse: the linear VAE, and probabilistic PCA."""

import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, Normal

from vaebench import oracle
from vaebench.config.registry import MODELS, LikelihoodSpec, NonNegative
from vaebench.data.loaders import Batch
from vaebench.models.beta_vae import BetaVAE
from vaebench.models.epoch import sum_and_count
from vaebench.models.parts.likelihoods import Gaussian, LearnedGaussian
from vaebench.models.parts.posteriors import CorrelatedNormal, Form
from vaebench.oracle.probabilistic_pca import LinearPosterior, ProbabilisticPCA, expectation_maximisation
from vaebench.oracle.spectrum import Spectrum


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
    outputs_per_unit = 1
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


@MODELS.register
class PPCA(LinearVAE):
    """Probabilistic PCA (Tipping & Bishop 1999): max log N(x; μ, WWᵀ + σ²I), with q(z|x) = p(z|x) exactly.

    Every log-weight of an observation is log p(x), so that ELBO, IWAE and evidence are one number. No gradient trains
    this model: either it has its maximum from the start, or each epoch is one iteration of EM over the whole training
    split. So it cannot train in a pack.

    https://doi.org/10.1111/1467-9868.00196

    Args:
        likelihood: Gaussian, with σ² fixed, or LearnedGaussian, with one σ² that is fitted with W. For EM, its variance
            is the start.
        fit: closed_form for the principal directions, or EM from a random W.

    Raises:
        ValueError: if the likelihood is another one.
    """

    trained_by_gradient = False
    why_one_device = "it is fitted to the whole training split at once"
    fixed = (*LinearVAE.fixed, "analytic", "beta", "schedule")

    def __init__(
        self,
        shape: tuple[int, ...],
        seed: int = 0,
        *,
        likelihood: LikelihoodSpec = "LearnedGaussian",
        fit: Literal["closed_form", "EM"] = "closed_form",
        **kwargs: Any,
    ) -> None:
        super().__init__(shape, seed, likelihood=likelihood, analytic=True, beta=1.0, schedule="Constant", **kwargs)
        if self.likelihood.refits or self._gaussian.sigma2().numel() > 1:
            raise ValueError(
                "PPCA expects one variance that is fixed or fitted with W, got another likelihood; set "
                "model.likelihood: Gaussian | LearnedGaussian"
            )
        self.way, self.form, self.automatic_optimization = fit, Form.GAUSSIAN, False
        # The posterior follows from W, μ and σ².
        self.encoder = nn.Identity()
        del self.log_variance
        self.spectrum: Spectrum | None = None

    @property
    def linear_posterior(self) -> LinearPosterior:
        return self.density.posterior

    def encode(self, x: Tensor) -> Distribution:
        exact, residual = self.density.posterior, x.flatten(1) - self.bias
        lower = torch.linalg.cholesky(exact.covariance).to(x).expand(len(x), -1, -1)
        return CorrelatedNormal(residual @ exact.weight.to(x).mT, scale_tril=lower, validate_args=False)

    def objective(self, x: Tensor, noise: Tensor) -> Float[Tensor, " B"]:
        """log p(x), in float64 and with a gradient; the noise plays no part."""
        weight, sigma2 = self.weight.double(), self._gaussian.sigma2().double()
        residual = (x.flatten(1) - self.bias).double()
        gram = weight.mT @ weight + sigma2 * torch.eye(self.latent_dim, dtype=weight.dtype, device=weight.device)
        factor = torch.linalg.cholesky(gram)
        inside = torch.linalg.solve_triangular(factor, weight.mT @ residual.mT, upper=False)
        square = (residual.square().sum(1) - inside.square().sum(0)) / sigma2
        dim = residual.shape[1]
        log_det = 2 * factor.diagonal().log().sum() + (dim - self.latent_dim) * sigma2.log()
        return (-0.5 * (square + log_det + dim * math.log(2 * math.pi))).to(x.dtype)

    @torch.no_grad()
    def prepare(self, x: Float[Tensor, "N *event"]) -> None:
        """Fit W, μ and σ² in closed form; for EM, only μ.

        Raises:
            ValueError: if σ² is fitted and L directions carry all of the variance.
        """
        super().prepare(x)
        self.spectrum, fixed = Spectrum.of(x), self.likelihood.fixed_variance
        best = (
            oracle.maximum_likelihood(self.spectrum, self.latent_dim)
            if fixed is None
            else oracle.beta_optimum(self.spectrum, self.latent_dim, 1.0, fixed)
        )
        self.bias.copy_(self.spectrum.mean)
        if self.way == "closed_form":
            self._set(best.model)

    def _set(self, density: ProbabilisticPCA) -> None:
        self.weight.copy_(density.weight)
        if isinstance(self.likelihood, LearnedGaussian):
            self.likelihood.log_variance.fill_(math.log(density.variance))

    @property
    def _gaussian(self) -> Gaussian:
        assert isinstance(self.likelihood, Gaussian)
        return self.likelihood

    def _spread(self) -> Float[Tensor, "*event"]:
        weight = self.density.weight
        return ((weight @ self.density.posterior.covariance) * weight).sum(1).to(self.weight).view(self.shape)

    # -- an epoch of training, without gradients ----------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        return []

    @torch.no_grad()
    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        if self.way == "EM":
            if (
                self.spectrum is None
            ):  # a Trainer with a plain loader prepares no model that continues from a checkpoint
                self.spectrum = Spectrum.of(self.whole_training_split().x)
            fits_variance = self.likelihood.fixed_variance is None
            self._set(expectation_maximisation(self.density, self.spectrum.covariance, fits_variance))

    @torch.no_grad()
    def training_step(self, batch: Batch, index: int) -> None:  # type: ignore[override]
        self._trained += sum_and_count(self.objective(batch.x, batch.x))
