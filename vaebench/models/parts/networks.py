"""Networks: each architecture makes an encoder and a decoder that mirrors it.

An encoder maps observations `[B, *shape]` to `[B, features]`. A decoder maps latents `[B, L]` to the parameters of the
likelihood, `[B, *shape]`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from math import prod

from torch import nn

from vaebench.config.registry import NETWORKS, Activation, PositiveInt


class Decoder(nn.Sequential):
    """Layers from latents `[B, L]` to the parameters of the likelihood, `[B, *shape]`."""

    @property
    def output_bias(self) -> nn.Parameter:
        """The bias of the last layer that has one. Before training it is set to the mean of the training data."""
        return next(bias for layer in reversed(self) if isinstance(bias := getattr(layer, "bias", None), nn.Parameter))

    @property
    def widest(self) -> int:
        """The most outputs that a linear layer has."""
        return max((layer.out_features for layer in self if isinstance(layer, nn.Linear)), default=1)

    @property
    def returns_new_tensors(self) -> bool:
        """Whether no output shares its memory with the input or a parameter, so that it may be overwritten."""
        last = next((layer for layer in reversed(self) if not isinstance(layer, nn.Unflatten)), None)
        return type(last) in (nn.Linear, nn.ConvTranspose2d)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let a ReLU overwrite the output of the linear layer before it, for a block: the same bits in less time."""
        relus = [relu for layer, relu in pairwise(self) if isinstance(layer, nn.Linear) and type(relu) is nn.ReLU]
        before = [relu.inplace for relu in relus]
        try:
            for relu in relus:
                relu.inplace = True
            yield
        finally:
            for relu, was in zip(relus, before, strict=True):
                relu.inplace = was


class Network(ABC):
    """An architecture, which makes encoders and decoders."""

    @abstractmethod
    def encoder(self, shape: tuple[int, ...], features: int) -> nn.Module:
        """`[B, *shape]` → `[B, features]`."""

    @abstractmethod
    def decoder(self, latent_dim: int, shape: tuple[int, ...]) -> Decoder:
        """`[B, L]` → `[B, *shape]`."""


@NETWORKS.register
class Affine(Network):
    """One affine map in each direction. With a Gaussian likelihood this is probabilistic PCA."""

    def encoder(self, shape: tuple[int, ...], features: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(prod(shape), features))

    def decoder(self, latent_dim: int, shape: tuple[int, ...]) -> Decoder:
        return Decoder(nn.Linear(latent_dim, prod(shape)), nn.Unflatten(-1, shape))


@NETWORKS.register
class MLP(Network):
    """Fully connected layers; the decoder has the same widths in reverse order.

    Args:
        hidden: widths of the hidden layers, from the observation to the latent.
        activation: a class of torch.nn.
    """

    def __init__(
        self,
        *,
        hidden: tuple[PositiveInt, ...] = (64, 64),
        activation: Activation = "ReLU",
    ) -> None:
        self.hidden = tuple(hidden)
        self.activation = getattr(nn, activation)

    def encoder(self, shape: tuple[int, ...], features: int) -> nn.Module:
        body = self._body((prod(shape), *self.hidden))
        return nn.Sequential(nn.Flatten(), *body, nn.Linear((prod(shape), *self.hidden)[-1], features))

    def decoder(self, latent_dim: int, shape: tuple[int, ...]) -> Decoder:
        widths = (latent_dim, *reversed(self.hidden))
        return Decoder(*self._body(widths), nn.Linear(widths[-1], prod(shape)), nn.Unflatten(-1, shape))

    def _body(self, widths: tuple[int, ...]) -> list[nn.Module]:
        return [layer for i, o in pairwise(widths) for layer in (nn.Linear(i, o), self.activation())]


@NETWORKS.register
class ActivatedMLP(MLP):
    """An MLP whose code passes through the activation too, like the output of every hidden layer.

    With a sigmoid, this is the network of the denoising and contractive autoencoders (Vincent et al. 2010; Rifai et al.
    2011).
    """

    def encoder(self, shape: tuple[int, ...], features: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), *self._body((prod(shape), *self.hidden, features)))


@NETWORKS.register
class Conv(Network):
    """4×4 convolutions with stride 2, each halving height and width, and transposed convolutions back.

    After DCGAN (Radford et al. 2016, https://arxiv.org/abs/1511.06434).

    Args:
        channels: numbers of channels, from the observation to the latent.
        activation: a class of torch.nn.

    Raises:
        ValueError: if an observation is not `[C, H, W]` with H and W divisible by 2^len(channels).
    """

    def __init__(
        self,
        *,
        channels: tuple[PositiveInt, ...] = (32, 64),
        activation: Activation = "ReLU",
    ) -> None:
        self.channels = tuple(channels)
        self.activation = getattr(nn, activation)

    def encoder(self, shape: tuple[int, ...], features: int) -> nn.Module:
        core = self._core(shape)
        body = [
            layer
            for i, o in pairwise((shape[0], *self.channels))
            for layer in (nn.Conv2d(i, o, kernel_size=4, stride=2, padding=1), self.activation())
        ]
        return nn.Sequential(*body, nn.Flatten(), nn.Linear(prod(core), features))

    def decoder(self, latent_dim: int, shape: tuple[int, ...]) -> Decoder:
        core = self._core(shape)
        body = [
            layer
            for i, o in pairwise((*reversed(self.channels), shape[0]))
            for layer in (self.activation(), nn.ConvTranspose2d(i, o, kernel_size=4, stride=2, padding=1))
        ]
        return Decoder(nn.Linear(latent_dim, prod(core)), nn.Unflatten(-1, core), *body)

    def _core(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """The shape `[C, H, W]` of the innermost feature map."""
        halvings = 2 ** len(self.channels)
        if len(shape) != 3 or shape[1] % halvings or shape[2] % halvings:
            raise ValueError(
                f"Conv with {len(self.channels)} layers expects images [C, H, W] with H and W divisible by {halvings}, "
                f"got {list(shape)}; give fewer `channels`, or use MLP"
            )
        return (self.channels[-1] if self.channels else shape[0], shape[1] // halvings, shape[2] // halvings)


def layers(network: nn.Module) -> list[slice]:
    """The layers of a chain of modules: each is a module with parameters, and those without that belong to it."""
    if not isinstance(network, nn.Sequential):
        return []
    modules = list(network)
    starts = [0]
    for i in range(1, len(modules)):
        learns = any(True for _ in modules[i].parameters()) and not isinstance(modules[i - 1], nn.Flatten)
        starts += [i] if learns or isinstance(modules[i], nn.Flatten) else []
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(modules)], strict=True)]
