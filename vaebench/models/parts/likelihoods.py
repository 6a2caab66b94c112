"""Likelihoods p(x|z): modules that turn a decoder's output into a normalised distribution over observations.

`likelihood(parameters)` with parameters `[..., *shape]` returns a distribution with batch shape `[...]`. Its event is
one observation, so `log_prob` is a sum over pixels, in nats. Nothing is averaged over pixels, because that would be the
same as a different β.

For many latents of the same observations, `bernoulli_log_prob` and `gaussian_log_prob` give the same numbers without
gradients. The distributions read the decoder's output about ten times, which costs a third of its matrix products;
these functions read it three times.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Bernoulli as BernoulliDistribution
from torch.distributions import Distribution, Independent, Normal
from torch.nn.functional import logsigmoid

from vaebench.config.registry import LIKELIHOODS, Positive
from vaebench.models.parts.continuous_bernoulli import ContinuousBernoulli as ContinuousBernoulliDistribution
from vaebench.records.description import Description, Panel

LogProb = Callable[[Float[Tensor, "K B *shape"]], Float[Tensor, "K B"]]
"""log p(x|z) of B observations, as a function of the decoder's output for K latents of each.

It overwrites its argument, because allocating another tensor of that size would cost as much as computing it.
"""

SMALLEST_VARIANCE = 2.0**-46
"""The square of float32's machine epsilon. A smaller squared error of pixels near 1 is only rounding."""


class Likelihood(nn.Module, ABC):
    """A family of normalised distributions over observations of one shape.

    Args:
        shape: the shape of one observation.
    """

    support = "real"
    """The allowed observations: `binary` {0, 1}, `unit` [0, 1], or `real`. Every study is checked for this."""

    discrete = False
    """Whether p(x|z) is a probability (True) or a density (False). Bounds of the two are never compared."""

    fixed_variance: float | None = None
    """σ² if it is one number that the configuration sets, else None. Then β·σ² is the β for unit noise."""

    refits = False
    """Whether the likelihood needs `refit` before it is evaluated."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    @abstractmethod
    def pixels(self, parameters: Float[Tensor, "*any"]) -> Distribution:
        """The distribution of each pixel."""

    def forward(self, parameters: Float[Tensor, "*any"]) -> Independent:
        """The distribution of an observation, whose pixels are independent given z."""
        return Independent(self.pixels(parameters), len(self.shape), validate_args=False)

    def log_prob(self, parameters: Float[Tensor, "*any"], x: Float[Tensor, "*other"]) -> Float[Tensor, "*batch"]:
        """log p(x|z) for the training objective. It is `self(parameters).log_prob(x)`, unless a subclass differs."""
        return self(parameters).log_prob(x)

    def fast_log_prob(self, x: Float[Tensor, "B *shape"]) -> LogProb:
        """log p(x|z) of these observations as a function of the parameters, without gradients.

        It equals `self(parameters).log_prob(x)` to rounding. Override it with a fused implementation, which may
        overwrite the parameters. The function keeps the current σ².
        """
        return lambda parameters: self(parameters).log_prob(x)

    def expected_log_prob(
        self, mean: Float[Tensor, "*any"], variance: Float[Tensor, "*any"], x: Float[Tensor, "*any"]
    ) -> Float[Tensor, "*batch"]:
        """E[log p(x|z)] for a random decoder's output with this mean and variance, if there is a closed form.

        Raises:
            NotImplementedError: if there is none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no closed-form expectation: use a Gaussian likelihood")

    def output_bias(self, mean: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The parameters whose distribution has this mean. The decoder's last bias is initialised with them."""
        return mean

    def check(self, x: Float[Tensor, "B *shape"]) -> None:
        """Refuse observations outside the support.

        Raises:
            ValueError: with the values and the remedies.
        """

    def expect(self) -> None:
        """Take grey levels x as E[b] of binary pixels b, so that log p(x|z) is E[log p(b|z)].

        Raises:
            ValueError: if log p(x|z) is no such expectation, because it is not linear in x or b is not allowed.
        """
        raise ValueError(
            f"`binarize: Expected` expects a likelihood of binary pixels whose log p(x|z) is linear in x, Bernoulli, "
            f"got {type(self).__name__}; use Bernoulli, or leave `binarize` out"
        )

    def refit(self, squared_error: Float[Tensor, ""]) -> None:
        """Use the mean squared error of a pixel on the training split: before each validation and after training."""

    fact_descriptions: ClassVar[Mapping[str, Description]] = {}
    """How to show the facts."""

    def facts(self) -> dict[str, float | int]:
        """Facts about the trained likelihood for the table."""
        return {}

    def facts_not_applicable(self) -> dict[str, str]:
        """Why facts of other likelihoods are missing, by the name of the fact."""
        return {} if "variance" in self.facts() else {"variance": f"{type(self).__name__} has no σ²"}


@LIKELIHOODS.register
class Bernoulli(Likelihood):
    """Binary pixels x ∈ {0, 1}. The decoder's output is their logits.

    log p(x|z) is linear in x. So with `binarize: Expected` it is E[log p(b|z)] over pixels b ~ Bernoulli(x), and a
    bound on log p(x) is one on E[log p(b)]: the weights of several draws are combined by a convex function of log p.
    """

    support = "binary"
    discrete = True
    is_expected = False

    def pixels(self, parameters: Tensor) -> Distribution:
        return BernoulliDistribution(logits=parameters, validate_args=False)

    def fast_log_prob(self, x: Tensor) -> LogProb:
        return super().fast_log_prob(x) if _between(x) else bernoulli_log_prob(x)

    def output_bias(self, mean: Tensor) -> Tensor:
        return torch.logit(mean, eps=1e-3)

    def expect(self) -> None:
        self.is_expected = True

    def check(self, x: Tensor) -> None:
        if _between(x) and not (self.is_expected and x.min() >= 0 and x.max() <= 1):
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
    """Real pixels with one fixed variance: log N(x; μ, σ²I), including −D/2·log 2πσ².

    Args:
        variance: σ².
    """

    variance: Tensor

    def __init__(self, shape: tuple[int, ...], *, variance: Positive = 1.0) -> None:
        super().__init__(shape)
        # float64, so that a model in double precision has exactly the configured σ².
        self.register_buffer("variance", torch.tensor(variance, dtype=torch.float64))
        self.fixed_variance = float(variance)

    def pixels(self, parameters: Tensor) -> Distribution:
        return Normal(parameters, self.sigma2().sqrt().to(parameters.dtype), validate_args=False)

    def fast_log_prob(self, x: Tensor) -> LogProb:
        return gaussian_log_prob(x, self.sigma2().sqrt().to(x.dtype))

    def expected_log_prob(self, mean: Tensor, variance: Tensor, x: Tensor) -> Tensor:
        sigma2 = self.sigma2().to(mean.dtype)
        excess = (variance / (2 * sigma2)).flatten(-len(self.shape)).sum(-1)
        return self(mean).log_prob(x) - excess

    def sigma2(self) -> Float[Tensor, "*pixels"]:
        """The current variance σ², one for all pixels or one for each."""
        return self.variance

    fact_descriptions: ClassVar[Mapping[str, Description]] = {
        "variance": Description(
            "σ²",
            Panel.OBJECTIVE,
            40,
            "x²",
            meaning="Variance of the noise of the decoder; the mean over pixels where each has its own.",
        )
    }

    def facts(self) -> dict[str, float | int]:
        return {"variance": float(self.sigma2().detach().mean())}


@LIKELIHOODS.register
class LearnedGaussian(Gaussian):
    """A Gaussian whose variance is trained with the other parameters, as log σ².

    Args:
        variance: the initial σ².
        per_pixel: whether each pixel has its own variance.
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
    """A Gaussian whose variance always maximises the likelihood: it is the mean squared error (Rybkin et al. 2021).

    In training it is the mean squared error of the batch. In evaluation it is that of the training split, computed
    before each validation and after training. Training never uses the second, so no number depends on how often a run
    is validated. The variance is at least `SMALLEST_VARIANCE`, because an exact reconstruction has no maximum.

    https://arxiv.org/abs/2006.13202
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
        """The distribution with the σ² that maximises the likelihood of these squared errors."""
        sigma2 = squared_error.mean().clamp(min=SMALLEST_VARIANCE)
        return Independent(Normal(mean, sigma2.sqrt(), validate_args=False), len(self.shape), validate_args=False)

    def refit(self, squared_error: Tensor) -> None:
        self.variance.copy_(squared_error.clamp(min=SMALLEST_VARIANCE))


def _between(x: Tensor) -> bool:
    """Whether any pixel is neither 0 nor 1.

    >>> _between(torch.tensor([0.0, 1.0])), _between(torch.tensor([0.0, 0.5]))
    (False, True)
    """
    return bool(((x != 0) & (x != 1)).any())


# -- log p(x|z) without gradients, in few passes over the decoder's output ---------------------------------------------

FACTORS = 32
"""The number of probabilities in one product. It fills a processor's vectors, and the product rarely underflows."""


def bernoulli_log_prob(x: Float[Tensor, "B *shape"]) -> LogProb:
    """Σ log σ(±l), with + for pixels of 1 and − for pixels of 0: multiply probabilities, then take logarithms.

    All terms are negative, so no digits cancel. If a product underflows, the logarithms of its draw are taken one by
    one; no other draw changes.

    Args:
        x: observations in {0, 1}.
    """
    sign = (2 * x - 1).flatten(1)

    def log_prob(logits: Tensor) -> Tensor:
        signed = logits.flatten(2).mul_(sign)
        products, tiny = _products(torch.sigmoid(signed)), torch.finfo(x.dtype).tiny
        lost = None if bool(products.amin() >= tiny) else ~(products >= tiny).all(-1)  # too small, or NaN
        total = products.log_().sum(-1)
        if lost is not None:
            total[lost] = logsigmoid(signed[lost]).sum(-1)
        return total

    return log_prob


def gaussian_log_prob(x: Float[Tensor, "B *shape"], std: Float[Tensor, "*pixels"]) -> LogProb:
    """−½ |(x − μ)/σ|² − Σ log σ − D/2 · log 2π.

    Args:
        x: real observations.
        std: σ, one for all pixels or one for each.
    """
    own = std.expand(x.shape[1:]).flatten()
    constant = own.log().sum() + 0.5 * math.log(2 * math.pi) * len(own)
    target = x.flatten(1)

    def log_prob(mean: Tensor) -> Tensor:
        residual = mean.flatten(2).sub_(target).div_(own if std.ndim else std)
        return -0.5 * torch.linalg.vector_norm(residual, dim=-1).square() - constant

    return log_prob


def _products(factors: Float[Tensor, "K B D"]) -> Float[Tensor, "K B G"]:
    """Products of groups of `FACTORS` factors. The last group may be smaller.

    >>> _products(torch.full((1, 1, 33), 2.0)).flatten().tolist() == [2.0**32, 2.0]
    True
    """
    whole = factors.shape[-1] // FACTORS * FACTORS
    groups = factors[..., :whole].unflatten(-1, (-1, FACTORS)).prod(-1)
    if whole == factors.shape[-1]:
        return groups
    return torch.cat([groups, factors[..., whole:].prod(-1, keepdim=True)], -1)
