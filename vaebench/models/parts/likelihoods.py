"""p(x|z): modules that turn a decoder's output into a normalised distribution over observations.

`likelihood(parameters)` with parameters `[..., *shape]` returns a distribution of that batch shape whose event is one
observation, so `log_prob` is already summed over pixels, in nats. A mean over pixels appears nowhere: it would put an
unstated β into every objective.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Bernoulli as BernoulliDistribution
from torch.distributions import Distribution, Independent, Normal

from vaebench.config.registry import LIKELIHOODS, Positive
from vaebench.models.parts import fast_log_prob
from vaebench.models.parts.continuous_bernoulli import ContinuousBernoulli as ContinuousBernoulliDistribution

SMALLEST_VARIANCE = 2.0**-46
"""The square of float32's rounding: a smaller squared error of pixels near 1 says nothing."""


class Likelihood(nn.Module, ABC):
    """A family of normalised distributions over observations of one shape.

    Args:
        shape: the shape of one observation.
    """

    support = "real"
    """The observations it has a place for: `binary` {0, 1}, `unit` [0, 1], `real`; a study is checked against it."""

    discrete = False
    """Whether p(x|z) is a probability (True) or a density (False); bounds of the two never compare."""

    fixed_variance: float | None = None
    """σ², where it is one number that the configuration sets; β·σ² is then the β of unit noise."""

    refits = False
    """Whether the likelihood wants `refit` before it is evaluated."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    @abstractmethod
    def pixels(self, parameters: Float[Tensor, "*any"]) -> Distribution:
        """The distribution of every pixel on its own."""

    def forward(self, parameters: Float[Tensor, "*any"]) -> Independent:
        """The distribution of an observation, its pixels independent given z."""
        return Independent(self.pixels(parameters), len(self.shape), validate_args=False)

    def log_prob(self, parameters: Float[Tensor, "*any"], x: Float[Tensor, "*other"]) -> Float[Tensor, "*batch"]:
        """log p(x|z) as the training objective takes it; the same as `self(parameters).log_prob(x)` unless said."""
        return self(parameters).log_prob(x)

    def score(self, x: Float[Tensor, "B *shape"]) -> fast_log_prob.Score:
        """log p(x|z) of these observations at many z, without gradient: `self(parameters).log_prob(x)` to rounding.

        A subclass says how that is had in fewer passes; it may overwrite the parameters. What it holds, such as σ², is
        that of this moment.
        """
        return lambda parameters: self(parameters).log_prob(x)

    def expected_log_prob(
        self, mean: Float[Tensor, "*any"], variance: Float[Tensor, "*any"], x: Float[Tensor, "*any"]
    ) -> Float[Tensor, "*batch"]:
        """E[log p(x|z)] when the decoder's output is random with this mean and variance, where it has a closed form."""
        raise NotImplementedError(f"{type(self).__name__} has no closed-form expectation: use a Gaussian likelihood")

    def output_bias(self, mean: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Parameters whose distribution has this mean: where the decoder's last bias starts."""
        return mean

    def check(self, x: Float[Tensor, "B *shape"]) -> None:
        """Refuse observations outside the support.

        Raises:
            ValueError: naming what came and the remedies.
        """

    def refit(self, squared_error: Float[Tensor, ""]) -> None:
        """Take in the training split's mean squared error a pixel: before a validation, and when training ends."""

    def facts(self) -> dict[str, float | int]:
        """What the table says of a trained likelihood beside its name."""
        return {}


@LIKELIHOODS.register
class Bernoulli(Likelihood):
    """Binary pixels x ∈ {0, 1}, the decoder's output being logits."""

    support = "binary"
    discrete = True

    def pixels(self, parameters: Tensor) -> Distribution:
        return BernoulliDistribution(logits=parameters, validate_args=False)

    def score(self, x: Tensor) -> fast_log_prob.Score:
        return super().score(x) if _between(x) else fast_log_prob.bernoulli(x)

    def output_bias(self, mean: Tensor) -> Tensor:
        return torch.logit(mean, eps=1e-3)

    def check(self, x: Tensor) -> None:
        if _between(x):
            raise ValueError(
                f"a Bernoulli likelihood expects x in {{0, 1}}, got values in [{x.min():.3g}, {x.max():.3g}] with grey "
                "levels; set `data.binarize: Fixed | Dynamic | Threshold`, or use ContinuousBernoulli or Gaussian"
            )


@LIKELIHOODS.register
class ContinuousBernoulli(Likelihood):
    """Pixels in [0, 1] under the normalised continuous Bernoulli (Loaiza-Ganem & Cunningham 2019)."""

    support = "unit"

    def pixels(self, parameters: Tensor) -> Distribution:
        return ContinuousBernoulliDistribution(logits=parameters, validate_args=False)

    def output_bias(self, mean: Tensor) -> Tensor:
        return torch.logit(mean, eps=1e-3)

    def check(self, x: Tensor) -> None:
        if bool(((x < 0) | (x > 1)).any()):
            raise ValueError(
                f"a ContinuousBernoulli likelihood expects x in [0, 1], got values in [{x.min():.3g}, {x.max():.3g}]; "
                "rescale the data, or use Gaussian"
            )


@LIKELIHOODS.register
class Gaussian(Likelihood):
    """Real pixels with one fixed variance: log N(x; μ, σ²I), its −D/2·log 2πσ² included.

    Args:
        variance: σ².
    """

    variance: Tensor

    def __init__(self, shape: tuple[int, ...], *, variance: Positive = 1.0) -> None:
        super().__init__(shape)
        # float64, so that a model made `double()` has the σ² that was written and not its nearest float32.
        self.register_buffer("variance", torch.tensor(variance, dtype=torch.float64))
        self.fixed_variance = float(variance)

    def pixels(self, parameters: Tensor) -> Distribution:
        return Normal(parameters, self.sigma2().sqrt().to(parameters.dtype), validate_args=False)

    def score(self, x: Tensor) -> fast_log_prob.Score:
        return fast_log_prob.gaussian(x, self.sigma2().sqrt().to(x.dtype))

    def expected_log_prob(self, mean: Tensor, variance: Tensor, x: Tensor) -> Tensor:
        sigma2 = self.sigma2().to(mean.dtype)
        excess = (variance / (2 * sigma2)).flatten(-len(self.shape)).sum(-1)
        return self(mean).log_prob(x) - excess

    def sigma2(self) -> Float[Tensor, "*pixels"]:
        """The variance σ² in force."""
        return self.variance

    def facts(self) -> dict[str, float | int]:
        return {"variance": float(self.sigma2().detach().mean())}


@LIKELIHOODS.register
class LearnedGaussian(Gaussian):
    """A Gaussian whose variance is trained with the other parameters, as log σ².

    Args:
        variance: where σ² starts.
        per_pixel: one variance a pixel rather than one in all.
    """

    def __init__(self, shape: tuple[int, ...], *, per_pixel: bool = False, **kwargs: Any) -> None:
        super().__init__(shape, **kwargs)
        start = self.variance.log().float().expand(shape if per_pixel else ())
        del self.variance
        self.fixed_variance = None
        self.log_variance = nn.Parameter(start.clone())

    def sigma2(self) -> Tensor:
        return self.log_variance.exp()


@LIKELIHOODS.register
class OptimalGaussian(Gaussian):
    """A Gaussian whose variance is always its maximiser, the mean squared error (Rybkin et al. 2021).

    While training it is that of the batch; the variance used in evaluation is that of the training split, taken before
    each validation and when training ends. Training never looks at the latter, so no number depends on how often a run
    is validated. The variance is at least `SMALLEST_VARIANCE`: an exact reconstruction has no maximum.
    """

    refits = True

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape)
        self.fixed_variance = None

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        if not self.training:
            return super().log_prob(parameters, x)
        return self._of_batch(parameters, (x - parameters).square()).log_prob(x)

    def expected_log_prob(self, mean: Tensor, variance: Tensor, x: Tensor) -> Tensor:
        if not self.training:
            return super().expected_log_prob(mean, variance, x)
        p = self._of_batch(mean, (x - mean).square() + variance)
        excess = (variance / (2 * p.variance)).flatten(-len(self.shape)).sum(-1)
        return p.log_prob(x) - excess

    def _of_batch(self, mean: Tensor, squared_error: Tensor) -> Independent:
        """The distribution whose σ² is the maximiser for these squared errors."""
        sigma2 = squared_error.mean().clamp(min=SMALLEST_VARIANCE)
        return Independent(Normal(mean, sigma2.sqrt(), validate_args=False), len(self.shape), validate_args=False)

    def refit(self, squared_error: Tensor) -> None:
        self.variance.copy_(squared_error.clamp(min=SMALLEST_VARIANCE))


def _between(x: Tensor) -> bool:
    """Whether any observation is neither 0 nor 1."""
    return bool(((x != 0) & (x != 1)).any())
