"""How far the numbers of a GPU are from those of a CPU, for `benchmarks/gpu.py`.

A generator of a GPU gives other random numbers than one of the CPU. So here the noise of both comes from the CPU: then
all that differs is rounding.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import vaebench  # noqa: F401 (before lightning)

# isort: split

import torch
from one_pack import dataset_of, train
from torch import Tensor

from vaebench.config import Run, load
from vaebench.data.datamodule import DataModule
from vaebench.evaluation.measure import build_metrics, measure
from vaebench.models.beta_vae import BetaVAE
from vaebench.training.checkpoints import unpack

ROOT = Path(__file__).parents[1]
DRAWS, PART = 500, 50
MEASURED = ("ELBO", "IWAE")


class HostNoise(BetaVAE):
    """A β-VAE whose noise comes from the CPU, on every device."""

    twins: dict[int, tuple[torch.Generator, torch.Generator]] = {}  # noqa: RUF012

    def noise(self, batch_size: int, generator: torch.Generator) -> Tensor:
        return self._drawn((batch_size, self.latent_dim), generator)

    def draw_noise(self, x: Tensor, k: int, generator: torch.Generator, keep: int = 1) -> Iterator[Tensor]:
        for _ in range(0, k, PART):
            yield self._drawn((PART, len(x), self.latent_dim), generator)

    def _drawn(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Numbers of a generator of the CPU that has the seed of the given one."""
        if id(generator) not in self.twins:
            twin = torch.Generator().manual_seed(generator.initial_seed())
            self.twins[id(generator)] = (generator, twin)
        return torch.randn(shape, generator=self.twins[id(generator)][1]).to(generator.device)


class NudgedNoise(HostNoise):
    """The same with other last bits: what rounding alone does to a training, on one device."""

    def noise(self, batch_size: int, generator: torch.Generator) -> Tensor:
        noise = super().noise(batch_size, generator)
        return noise * (1 + torch.finfo(noise.dtype).eps)


class Numbers(NamedTuple):
    """Of each member: its losses by epoch, its estimates, its weights."""

    losses: list[list[float]]
    estimates: list[dict[str, float]]
    weights: list[dict[str, Tensor]]

    def only(self, member: int) -> "Numbers":
        """Those of one member."""
        return Numbers([self.losses[member]], [self.estimates[member]], [self.weights[member]])


def agreement(small: bool) -> dict[str, Any]:
    """The largest differences of losses and of estimates: GPU and CPU, alone and in a pack, graph and its steps."""
    own = ["data={name: Digits, binarize: Fixed}", "validate_every=5", f"train.epochs={2 if small else 10}"]
    runs = list(load(ROOT / "conf" / "beta.yaml", own).runs)[: 2 if small else 30]
    on_cpu, nudged = (numbers(runs, "cpu", make=_maker(kind)) for kind in (HostNoise, NudgedNoise))
    on_gpu = numbers(runs, make=_maker(HostNoise), graphs=False)
    graphed, stepped = numbers(runs), numbers(runs, graphs=False)
    return {
        "members": len(runs),
        "epochs": runs[0].train.epochs,
        "GPU and CPU": apart(on_gpu, on_cpu),
        "CPU and CPU, noise with other last bits": apart(nudged, on_cpu),
        "alone and in a pack": apart(numbers(runs[-1:]), graphed.only(-1)),
        "CUDA graph and its steps": apart(graphed, stepped),
    }


def _maker(kind: type[HostNoise]) -> Callable[..., HostNoise]:
    """What builds such a model from a configuration."""
    return lambda spec, shape, seed: kind(shape, seed, **{k: v for k, v in spec.items() if k != "name"})


def numbers(runs: list[Run], where: str | None = None, **how: Any) -> Numbers:
    """Train a pack, and measure its members on the same device."""
    HostNoise.twins.clear()
    trained = train(runs, where, **how)
    data = DataModule(dataset_of(runs[0]), batch_size=1000).to(trained.device)
    data.setup("test")
    models = [unpack(model, trained.device) for model in trained.models]
    taken = [measure(m, data.batches("test"), build_metrics(MEASURED), DRAWS, m.seed).estimates for m in models]
    estimates = [{e.name: float(e.value) for e in each} for each in taken]  # type: ignore[arg-type]
    return Numbers(trained.losses, estimates, [{k: v.cpu() for k, v in m.state_dict().items()} for m in models])


def apart(one: Numbers, other: Numbers) -> dict[str, float]:
    """The largest relative difference of the loss of an epoch, and of an estimate; whether all weights are equal."""
    losses = list(zip(one.losses, other.losses, strict=True))
    values = [(a[k], b[k]) for a, b in zip(one.estimates, other.estimates, strict=True) for k in a]
    same = all(torch.equal(v, b[k]) for a, b in zip(one.weights, other.weights, strict=True) for k, v in a.items())
    return {
        "first epoch": max(abs(a[0] / b[0] - 1) for a, b in losses),
        "last epoch": max(abs(a[-1] / b[-1] - 1) for a, b in losses),
        "estimates": max(abs(a / b - 1) for a, b in values),
        "nats": max(abs(a - b) for a, b in values),
        "same bits": float(same),
    }
