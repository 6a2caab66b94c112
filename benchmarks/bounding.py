"""Ways to compute the bounds of K draws, which `benchmarks/evaluation.py` compares."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import vaebench  # noqa: F401 (before lightning)

# isort: split

import torch
from clock import DEVICE, ON_GPU
from peers import mnist_is_here

from vaebench.config.registry import MODELS
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.published import MNIST, Digits
from vaebench.data.loaders import Batch
from vaebench.evaluation import bounds
from vaebench.evaluation.measure import build_metrics, measure

NETS = {"784-400-400-32": (28, (400, 400), 32), "64-64-64-10": (8, (64, 64), 10)}
"""Side of the image, hidden widths, latent units; the first is the one of the claims."""

POINTS, K = 10, 5000

SEEN = 10_000
"""Images of the brief training, repeated where there are fewer."""

ROWS = (5000, 25_000, 50_000) if ON_GPU else (250, 500, 1000)
"""Latents in a call of the floor."""

PYTHAE = "pythae"


def trained(net: str, points: int = POINTS) -> tuple[Any, Any]:
    """A model with logits as a trained one has them, and observations."""
    side, hidden, latent_dim = NETS[net]
    real = side == 28 and mnist_is_here()
    data = DataModule((MNIST if real else Digits)(binarize="Fixed"))
    data.setup()
    x = data.train.x[:SEEN] if real else torch.nn.functional.interpolate(data.train.x, size=(side, side))
    network = {"name": "MLP", "hidden": list(hidden)}
    model = MODELS.build({"name": "VAE", "latent_dim": latent_dim, "network": network}, (1, side, side), 0)
    model.prepare(x)
    stream, adam = torch.Generator().manual_seed(0), torch.optim.Adam(model.parameters(), 1e-3)
    for batch in x.repeat(-(-SEEN // len(x)), 1, 1, 1)[:SEEN].split(64):
        adam.zero_grad()
        (-model.objective(batch, model.noise(len(batch), stream)).mean()).backward()
        adam.step()
    test = torch.nn.functional.interpolate(data.test.x[:points], size=(side, side))
    return model.eval().requires_grad_(False).to(DEVICE), test.to(DEVICE)


def bounds_of(model: Any, x: Any, k: int, metrics: Sequence[str] = ("IWAE",)) -> dict[str, Any]:
    """The bounds of all k, as every record has them; or what other metrics say."""
    return {e.name: e.value for e in measure(model, [Batch(x)], build_metrics(metrics), k, 0).estimates}


def floors(model: Any, points: int = POINTS) -> dict[str, Callable[[], None]]:
    """The decoder's matrix products alone, into tensors that are there already, in calls of several sizes."""
    weights = [layer.weight.mT.contiguous() for layer in model.decoder if isinstance(layer, torch.nn.Linear)]

    def products(rows: int) -> None:
        first = torch.randn(rows, model.latent_dim, device=DEVICE)
        outputs = [torch.empty(rows, w.shape[1], device=DEVICE) for w in weights]
        for _ in range(points * K // rows):
            h = first
            for weight, output in zip(weights, outputs, strict=True):
                h = torch.mm(h, weight, out=output)

    return {f"in calls of {rows}": partial(products, rows) for rows in ROWS}


def operations(model: Any, points: int = POINTS) -> int:
    """Of those products."""
    sides = [layer.weight.shape for layer in model.decoder if isinstance(layer, torch.nn.Linear)]
    return 2 * points * K * sum(a * b for a, b in sides)


def pythae_of(model: Any, x: Any) -> dict[str, Callable[[], Any]]:
    """The same net and observations given to pythae, in its batches of 100 draws."""
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def forward(self, x: Any) -> Any:
            mean, log_variance = model.encoder(x).chunk(2, -1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def forward(self, z: Any) -> Any:
            return ModelOutput(reconstruction=model.decoder(z).sigmoid())

    config = VAEConfig(input_dim=tuple(x.shape[1:]), latent_dim=model.latent_dim, reconstruction_loss="bce")
    theirs = VAE(config, Encoder(), Decoder())

    def bound() -> float:
        model.requires_grad_()  # as after training; pythae records the gradient
        value = float(theirs.get_nll(x, n_samples=K, batch_size=100))  # of log p(x), whatever its name
        model.requires_grad_(False)
        return value

    return {PYTHAE: bound}


def error_of(model: Any, x: Any) -> float:
    """The largest difference of a bound of an observation to the same draws in float64, nats."""
    drawn = model.draws(Batch(x), K, torch.Generator(DEVICE).manual_seed(0), keep=K)
    found = bounds.iwae(drawn.log_weight, K)
    exact, x, z = model.double(), x.double(), drawn.z.double()
    with torch.no_grad():
        log_px = torch.cat([exact.decode(part).log_prob(x) for part in z.split(100)])
        log_ratio = exact.prior(exact.encode).log_prob(z) - exact.encode(x).log_prob(z).sum(-1)
    return float((found - bounds.iwae(log_px + log_ratio, K)).abs().max())
