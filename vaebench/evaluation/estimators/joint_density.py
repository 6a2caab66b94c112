"""The joint density p(x, z) = p(z) p(x|z) of a trained model: its samples, and its two factors as functions of z."""

import torch
from jaxtyping import Float
from torch import Tensor

from vaebench.evaluation.estimators.hmc import LogDensity
from vaebench.models.vae import VAE


class JointDensity:
    """The joint density of a model whose parameters do not change.

    torch's distributions sample from the global generator only. So take samples inside `config.seeding.seeded`.

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
        """One sample x ~ p(x|z) for each z. If z ~ p(z), then z is also an exact sample of the posterior p(z|x)."""
        return self.model.decode(z).sample()

    @torch.no_grad()
    def guesses(self, x: Float[Tensor, "B *event"], count: int) -> Float[Tensor, "P B L"]:
        """Samples of q(z|x). They lie near p(z|x) if the encoder is good, but no result may depend on that."""
        return self.model.encode(x).sample((count,))

    def log_prior(self, z: Float[Tensor, "*chains L"]) -> Float[Tensor, "*chains"]:
        """log p(z)."""
        log_pz: Tensor = self.prior.log_prob(z)
        return log_pz

    def log_likelihood(self, x: Float[Tensor, "B *event"], quick: bool = False) -> LogDensity:
        """log p(x|z) as a function of z `[…, B, L]`; z[…, b, :] is a latent of the b-th observation.

        With `quick` it is faster and has no gradient (see `VAE.log_likelihood`).
        """
        return self.model.log_likelihood(x, quick)


def check_finite(log_density: Float[Tensor, "*chains"], where: str) -> None:
    """Check that all log-densities are finite.

    Args:
        log_density: any shape.
        where: the latents, for the message.

    Raises:
        FloatingPointError: with the number of values that are not finite, and what to do.
    """
    bad = int((~log_density.isfinite()).sum())
    if bad:
        raise FloatingPointError(
            f"expected a finite log p(x|z) at {where}, got {bad} of {log_density.numel()} that are not: the decoder "
            "has diverged; train again with a lower model.learning_rate, or set train.gradient_clip"
        )
