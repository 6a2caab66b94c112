"""The stacked autoencoder: a deep network whose layers are trained one after another, then all together."""

from collections.abc import Iterator
from itertools import accumulate, chain
from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from vaebench.config.registry import CORRUPTIONS, MODELS, CorruptionSpec, NonNegativeInt, PositiveInt
from vaebench.data.loaders import Batch
from vaebench.models.ae import AE
from vaebench.models.draws import Draws
from vaebench.models.parts.networks import layers


@MODELS.register
class StackedAE(AE):
    """Stacked autoencoder (Bengio et al. 2007; denoising form: Vincent et al. 2010).

    First, each layer of the network is trained as an autoencoder of its own, from the lowest up: it reconstructs the
    clean codes h of the layer below, which no longer changes. The objective is log p(x|z) for the lowest layer,
    Σ h log ĥ + (1 − h) log(1 − ĥ) for the codes of sigmoids, and log N(h; ĥ, I) for others. Then all layers are trained
    together, on log p(x|z), or on log p(class|x) with a softmax on the code. Each of these phases has a new optimiser.
    https://www.jmlr.org/papers/v11/vincent10a.html

    Args:
        phases: how long each phase lasts, relative to the others, for example in epochs: one number for each layer from
            the lowest up, and one for the training of all layers. By default, all layers have half of the time.
        corruption: how the input of a single layer is corrupted: nothing, one for all layers, or one for each.
        classes: the number of classes of the softmax; null to train all layers together on log p(x|z).

    Raises:
        ValueError: if the decoder does not mirror the encoder, or the number of phases or of corruptions is wrong.
    """

    encoder: nn.Sequential

    def __init__(
        self,
        shape: tuple[int, ...],
        seed: int = 0,
        *,
        phases: tuple[NonNegativeInt, ...] = (),
        corruption: tuple[CorruptionSpec, ...] = (),
        classes: PositiveInt | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(shape, seed, **kwargs)
        self.layers, self.layers_back = layers(self.encoder), layers(self.decoder)[::-1]
        n, back = len(self.layers), len(self.layers_back)
        if not n or n != back:
            raise ValueError(
                f"StackedAE expects a decoder that mirrors its encoder layer by layer, got {back} layers for {n}; "
                "use the network Affine, MLP, ActivatedMLP or Conv"
            )
        corruptions = [CORRUPTIONS.build(spec) for spec in (corruption * n if len(corruption) == 1 else corruption)]
        if corruptions and len(corruptions) != n:
            raise ValueError(f"expected no corruption, one, or one for each of {n} layers, got {len(corruptions)}")
        self.corruptions = SimpleNamespace(**{f"layer_{i}": each for i, each in enumerate(corruptions)})
        with torch.no_grad():
            blank = torch.zeros(1, *self.shape)
            self.inputs = [tuple(self.encoder[: layer.start](blank).shape[1:]) for layer in self.layers]
        self.phases, self.phase_ends = _phases(tuple(phases) or (*[1] * n, n), n)
        if n == 1 and not corruptions and classes is None:
            self.phases, self.phase_ends = [None], []  # one layer by itself is the whole network
        self.classes = classes
        if classes is not None:
            self.head = nn.Linear(self.latent_dim, classes)
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def phase_at(self, progress: float) -> int:
        # In the precision of the buffer `progress`, so that a resumed run enters the same phase.
        share = torch.tensor(progress, dtype=torch.float32).item()
        return sum(share >= end for end in self.phase_ends)

    @property
    def layer(self) -> int | None:
        """The layer that learns by itself in this phase; None if all learn."""
        return self.phases[self.phase]

    def trainable_parameters(self) -> Iterator[nn.Parameter]:
        if self.layer is None:
            joint = (self.encoder, self.decoder, self.likelihood) if self.classes is None else (self.encoder, self.head)
            return chain.from_iterable(module.parameters() for module in joint)
        above = self.likelihood.parameters() if self.layer == 0 else ()
        own = self.encoder[self.layers[self.layer]].parameters()
        return chain(own, self._back(self.layer).parameters(), above)

    def noise(self, batch_size: int, generator: torch.Generator) -> Tensor:
        if self.layer is None or not vars(self.corruptions):
            return super().noise(batch_size, generator)
        return self._corruption(self.layer).draw((batch_size, *self.inputs[self.layer]), generator)

    def objective(self, x: Tensor, noise: Tensor) -> Float[Tensor, " B"]:
        if self.layer is None:
            return super().objective(x, noise)
        clean = self.encoder[: self.layers[self.layer].start](x).detach()
        corrupted = self._corruption(self.layer)(clean, noise) if vars(self.corruptions) else clean
        code, back = self.encoder[self.layers[self.layer]](corrupted), self._back(self.layer)
        if self.layer == 0:
            return self.likelihood.log_prob(back(code), x)
        if isinstance(back[-1], nn.Sigmoid):
            logits = back[:-1](code)
            return -binary_cross_entropy_with_logits(logits, clean, reduction="none").flatten(1).sum(1)
        return Normal(back(code), 1.0, validate_args=False).log_prob(clean).flatten(1).sum(1)

    def objective_of(self, batch: Batch, noise: Tensor) -> Float[Tensor, " B"]:
        if self.classes is None or self.layer is not None:
            return self.objective(batch.x, noise)
        assert batch.label is not None, "check_labels has refused it"
        return -cross_entropy(self.head(self.encoder(batch.x)), batch.label, reduction="none")

    def check_labels(self, label: Tensor | None) -> None:
        if self.classes is None:
            return
        if label is None:
            raise ValueError("model.classes: expected data with labels, got data without; set classes: null")
        low, high = int(label.min()), int(label.max())
        if low < 0 or high >= self.classes:
            wanted = f"expected labels from 0 to {self.classes - 1}, got {low} to {high}"
            raise ValueError(f"model.classes: {wanted}; set classes: {high + 1}")

    def draws_at(self, batch: Batch, *args: Any, **kwargs: Any) -> Draws:
        draws = super().draws_at(batch, *args, **kwargs)
        return draws if self.classes is None else draws._replace(logits=self.head(draws.posterior.mean))

    def _back(self, layer: int) -> nn.Sequential:
        """The decoder of a single layer."""
        modules = self.decoder[self.layers_back[layer]]
        assert isinstance(modules, nn.Sequential)
        return modules

    def _corruption(self, layer: int) -> Any:
        return vars(self.corruptions)[f"layer_{layer}"]


def _phases(lengths: tuple[int, ...], n: int) -> tuple[list[int | None], list[float]]:
    """What learns in each phase, and the share of training at which each phase but the last ends."""
    if len(lengths) != n + 1 or not sum(lengths):
        raise ValueError(f"phases: expected {n + 1} lengths, not all 0, for {n} layers; got {list(lengths)}")
    present = [(i if i < n else None, length) for i, length in enumerate(lengths) if length]
    ends = [end / sum(lengths) for end in accumulate(length for _, length in present)]
    return [layer for layer, _ in present], ends[:-1]
