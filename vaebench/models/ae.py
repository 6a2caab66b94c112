"""The autoencoder: a code instead of a distribution."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Normal

from vaebench.config.registry import MODELS
from vaebench.data.loaders import Batch
from vaebench.models.base import Autoencoder
from vaebench.models.draws import Draws


@MODELS.register
class AE(Autoencoder):
    """Autoencoder: max log p(x|z = f(x)).

    It has no prior and no posterior density, and so no bound on log p(x): these metrics do not apply.
    """

    def noise(self, batch_size: int, generator: torch.Generator) -> Tensor:
        return torch.empty(batch_size, 0, device=generator.device)

    def encode(self, x: Tensor) -> Normal:
        """The code, as a point mass."""
        code = self.encoder(x)
        return Normal(code, torch.zeros_like(code), validate_args=False)

    def objective(self, x: Tensor, noise: Tensor) -> Float[Tensor, " B"]:
        return self.likelihood.log_prob(self.decoder(self.encoder(x)), x)

    def draws_at(
        self, batch: Batch, noise: Iterable[Tensor], keep: int = 1, out: Tensor | None = None, quick: bool = True
    ) -> Draws:
        posterior = self.encode(batch.x)
        p = self.decode(posterior.mean)
        none = batch.x.new_empty(0, len(batch.x))
        return Draws(
            x=batch.x,
            label=batch.label,
            posterior=posterior,
            reconstruction=p.mean,
            z=posterior.mean[None],
            log_px=p.log_prob(batch.x)[None],
            log_pz=none,
            log_qz=none,
        )
