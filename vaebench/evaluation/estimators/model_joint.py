"""p(x, z) = p(z) p(x|z) of a trained model: its samples, and its two factors as functions of z."""

import torch
from jaxtyping import Float
from torch import Tensor

from vaebench.evaluation.estimators.hmc import LogDensity
from vaebench.models.vae import VAE


class Joint:
    """The joint distribution of a model whose parameters stay as they are.

    Samples come from torch's global generator (distributions know no other): take them in a block of
    `vaebench.config.seeding.seeded`.

    Args:
        model: in evaluation mode.
    """

    def __init__(self, model: VAE) -> None:
        self.model = model
        with torch.no_grad():
            self.prior = model.prior(model.encode)

    @torch.no_grad()
    def latents(self, *shape: int) -> Float[Tensor, "*chains L"]:
        """Samples of p(z)."""
        return self.prior.sample(shape)

    @torch.no_grad()
    def observations(self, z: Float[Tensor, "*chains L"]) -> Float[Tensor, "*chains_event"]:
        """A sample of p(x|z) for each z, of which z is in turn an exact sample of p(z|x)."""
        return self.model.decode(z).sample()

    @torch.no_grad()
    def guesses(self, x: Float[Tensor, "B *event"], count: int) -> Float[Tensor, "P B L"]:
        """Samples of q(z|x): near the posterior if the encoder is any good, and nothing may rest on it."""
        return self.model.encode(x).sample((count,))

    def log_prior(self, z: Float[Tensor, "*chains L"]) -> Float[Tensor, "*chains"]:
        """log p(z)."""
        log_pz: Tensor = self.prior.log_prob(z)
        return log_pz

    def log_likelihood(self, x: Float[Tensor, "B *event"], quick: bool = False) -> LogDensity:
        """log p(x|z) as a function of z `[…, B, L]`, the b-th column for the b-th observation.

        `quick` has no gradient; see `VAE.log_likelihood`.
        """
        return self.model.log_likelihood(x, quick)


def check_finite(log_density: Float[Tensor, "*chains"], where: str) -> None:
    """Refuse log-densities that are not numbers.

    Raises:
        FloatingPointError: saying how many are not, and what to do.
    """
    bad = int((~log_density.isfinite()).sum())
    if bad:
        raise FloatingPointError(
            f"expected a finite log p(x|z) at {where}, got {bad} of {log_density.numel()} that are not: the decoder "
            "has diverged; train again with a lower model.learning_rate, or set train.gradient_clip"
        )
