"""Models that pythae has saved, read without pythae and without running anything from the folder.

A folder has `model_config.json` and `model.pt`, a dictionary of tensors. pythae's default networks have one hidden
layer of 512 units, so they are built again here. Networks of the user's own are saved as pickles, `encoder.pkl` and
`decoder.pkl`. Reading a pickle runs code that the folder contains, so this is done only if it is asked for.

https://github.com/clementchadebec/benchmark_VAE (Chadebec et al. 2022)
"""

import json
import pickle
import warnings
from collections.abc import Callable, Mapping
from math import inf, prod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vaebench.models.base import Autoencoder
from vaebench.models.parts.priors import Encode, Prior, mixture
from vaebench.models.subject import DeterministicSubject, Subject, frozen

HIDDEN = 512  # units of the hidden layer of pythae's default networks

NORMAL_PRIOR = (
    "VAE", "BetaVAE", "DisentangledBetaVAE", "BetaTCVAE", "FactorVAE", "INFOVAE_MMD", "IWAE", "MIWAE", "PIWAE", "CIWAE",
)  # fmt: skip
"""pythae's models with q(z|x) = N(μ, diag σ²) and p(z) = N(0, I), by the beginnings of their configurations' names."""

DETERMINISTIC = ("AE", "RAE_L2", "WAE_MMD")  # pythae's models with a code instead of a distribution


class PythaeModel(NamedTuple):
    """A model of pythae, as one of this package."""

    model: Autoencoder  # in evaluation mode
    name: str  # of its class in pythae
    config: Mapping[str, Any]  # the content of `model_config.json`
    state: Mapping[str, Tensor]  # the content of `model.pt`
    binary: bool  # whether p(x|z) is a Bernoulli distribution

    @property
    def own(self) -> list[str]:
        """The networks that are not pythae's default ones."""
        return [part for part in ("encoder", "decoder") if not self.config.get(f"uses_default_{part}", True)]


def read(folder: Path, trust: bool = False) -> PythaeModel:
    """Read a folder that pythae's trainer has written (`final_model` or a checkpoint).

    Args:
        folder: with `model_config.json` and `model.pt`.
        trust: read `encoder.pkl` and `decoder.pkl`, which runs the code in them.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the folder has pickles and `trust` is not set, or the model is not one of those known here.
    """
    config, state = _config(folder / "model_config.json"), _state(folder / "model.pt")
    name = str(config.get("name", "")).removesuffix("Config").removesuffix("_")
    known = (*NORMAL_PRIOR, "VAMP", *DETERMINISTIC)
    if name not in known:
        raise ValueError(f"{folder}: {name or 'no'} model; expected one of {', '.join(known)}")
    shape, latent_dim = tuple(config["input_dim"]), int(config["latent_dim"])
    if (loss := config.get("reconstruction_loss", "mse")) not in ("mse", "bce"):
        raise ValueError(
            f"{folder}: expected the reconstruction loss mse (a Gaussian) or bce (Bernoulli), got {loss!r}"
        )
    binary = loss == "bce"
    encoder = _network(folder, "encoder", config, trust)
    decoder = _network(folder, "decoder", config, trust)
    encoder = _filled(
        folder, "encoder", state, encoder, lambda: _Encoder(prod(shape), latent_dim, name in DETERMINISTIC)
    )
    decoder = _filled(folder, "decoder", state, decoder, lambda: _Decoder(shape, latent_dim, logits=binary))
    if binary and not isinstance(decoder, _Decoder):
        decoder = _Logits(decoder)
    likelihood = "Bernoulli" if binary else {"name": "Gaussian", "variance": 1.0}
    x, parts = torch.zeros(1, *shape), (frozen(encoder), frozen(decoder))
    try:
        if name in DETERMINISTIC:
            model: Autoencoder = DeterministicSubject(*parts, x, likelihood=likelihood)
        else:
            prior: Any = _VampPrior(latent_dim, shape, state) if name == "VAMP" else "StandardNormal"
            model = Subject(*parts, x, likelihood=likelihood, prior=prior, beta=config.get("beta", 1.0))
    except Exception as error:  # whatever networks of the user's own raise
        raise ValueError(f"{folder}: expected the parts of a {name} ({_reason(error)})") from error
    return PythaeModel(model.eval(), name, config, state, binary)


def _filled(
    folder: Path, part: str, state: Mapping[str, Tensor], own: nn.Module | None, default: Callable[[], nn.Module]
) -> nn.Module:
    """A network with its numbers from the file; pythae's default one if there is no other.

    A default network takes no memory before the shapes of the numbers are known to fit it.
    """
    numbers = {k.removeprefix(f"{part}."): v for k, v in state.items() if k.startswith(f"{part}.")}
    try:
        if own is not None:
            own.load_state_dict(numbers)
            return own
        with torch.device("meta"):
            network = default()
        network.load_state_dict(numbers, assign=True)
        return network.float()
    except (RuntimeError, TypeError, OverflowError) as error:
        raise ValueError(f"{folder}: model.pt does not fit the {part} ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    """An error in one line, without the rest of a long one."""
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the folder that pythae's trainer wrote, e.g. final_model")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        good = isinstance(config, dict) and all(type(n) is int and n > 0 for n in (*config["input_dim"],))
        if not good or type(config["latent_dim"]) is not int or config["latent_dim"] < 1:
            raise ValueError("input_dim and latent_dim are not whole numbers above 0")
        if type(beta := config.get("beta", 1.0)) not in (int, float) or not 0 <= beta < inf:
            raise ValueError(f"beta is {beta!r}, not a number of at least 0")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: no configuration of a pythae model ({type(error).__name__}: {error})") from None
    return config


def _state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the folder that pythae's trainer wrote, e.g. final_model")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about some foreign files
            state: Any = torch.load(path, "cpu", weights_only=True)
        state = state["model_state_dict"] if isinstance(state, dict) else None
        if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
            raise ValueError("model_state_dict has no tensors by name")
        for name, tensor in state.items():
            dense = isinstance(tensor, Tensor) and tensor.layout is torch.strided and not tensor.is_meta
            if not dense or tensor.is_complex():
                raise ValueError(f"{name} is no tensor of real numbers")
    except pickle.UnpicklingError:  # torch's own message advises to read it all the same
        raise ValueError(
            f"{path}: expected a dictionary of tensors, got other objects; nothing of it was run"
        ) from None
    except (RuntimeError, LookupError, EOFError, OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"{path}: expected a dictionary of tensors, and read nothing else ({_reason(error)})"
        ) from None
    if bad := [name for name, tensor in state.items() if not bool(tensor.isfinite().all())]:
        raise ValueError(
            f"{path}: expected finite numbers, got NaN or infinity in {', '.join(bad[:3])}; its training has diverged, "
            "so train it again"
        )
    return dict(state)


def _network(folder: Path, part: str, config: Mapping[str, Any], trust: bool) -> nn.Module | None:
    """The user's own network; None if the model has pythae's default one."""
    path = folder / f"{part}.pkl"
    if config.get(f"uses_default_{part}", True):
        return None
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, but the model has an {part} of its own")
    if not trust:
        raise ValueError(
            f"{path}: a pickle, and reading it runs code from the folder; nothing was run. If you trust where the "
            "folder comes from, give --trust"
        )
    try:
        with path.open("rb") as file:
            network = pickle.load(file)
    except Exception as error:
        raise ValueError(f"{path}: cannot be read ({_reason(error)}); install what it needs, e.g. pythae") from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"{path}: expected a module, got {type(network).__name__}")
    return network


class _Encoder(nn.Module):
    """pythae's `Encoder_VAE_MLP` and `Encoder_AE_MLP`, with the names of their parameters."""

    def __init__(self, dimensions: int, latent_dim: int, deterministic: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(dimensions, HIDDEN), nn.ReLU())])
        self.embedding = nn.Linear(HIDDEN, latent_dim)
        self.log_var = None if deterministic else nn.Linear(HIDDEN, latent_dim)

    def forward(self, x: Tensor) -> Any:
        hidden = self.layers[0](x.flatten(1))
        return self.embedding(hidden) if self.log_var is None else (self.embedding(hidden), self.log_var(hidden))


class _Decoder(nn.Module):
    """pythae's `Decoder_AE_MLP`; with `logits`, without the sigmoid at its end."""

    def __init__(self, shape: tuple[int, ...], latent_dim: int, logits: bool) -> None:
        super().__init__()
        last = nn.Identity() if logits else nn.Sigmoid()
        hidden = nn.Sequential(nn.Linear(latent_dim, HIDDEN), nn.ReLU())
        self.layers = nn.ModuleList([hidden, nn.Sequential(nn.Linear(HIDDEN, prod(shape)), last)])
        self.shape = shape

    def forward(self, z: Tensor) -> Tensor:
        return self.layers[1](self.layers[0](z)).unflatten(-1, self.shape)


class _Logits(nn.Module):
    """The logits of a decoder that returns probabilities. They are kept from 0 and 1 by one step of float32."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, z: Tensor) -> Tensor:
        return torch.logit(self.decoder(z)["reconstruction"], eps=2.0**-24)


class _VampPrior(Prior):
    """pythae's VampPrior: equal weights, and pseudo-inputs from one layer, held in [0, 1]."""

    pseudo_inputs: Tensor

    def __init__(self, latent_dim: int, shape: tuple[int, ...], state: Mapping[str, Tensor]) -> None:
        super().__init__(latent_dim, shape)
        inputs = (state["pseudo_inputs.0.weight"].T + state["pseudo_inputs.0.bias"]).clamp(0, 1)
        self.register_buffer("pseudo_inputs", inputs.unflatten(-1, shape))

    def forward(self, encode: Encode) -> Distribution:
        return mixture(self.pseudo_inputs.new_zeros(len(self.pseudo_inputs)), encode(self.pseudo_inputs))
