"""What the data say of a study before it is trained: spectrum, thresholds, active units, values, and the ceiling."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vaebench.config import Run
from vaebench.config.registry import DATASETS, MODELS
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.base import Dataset, data_root
from vaebench.data.loaders import Batch
from vaebench.evaluation.estimators.base import evenly_spaced
from vaebench.models.vae import VAE
from vaebench.oracle import Spectrum
from vaebench.oracle import forecast as forecast_units
from vaebench.oracle.ceiling import MOST_ROUNDS, CeilingProblem, linear_value
from vaebench.oracle.solver import Stopped, never
from vaebench.training.memory import capacity

LEADING = 5  # eigenvalues that are shown

BYTES_A_NUMBER, BLOCKS, BLOCKS_ON_GPU = 28, 2**27, 10 * 2**30
"""Memory for the ceiling: three copies in float64 and one in float32; and of its tables."""

MANY = 2000  # for more observations the cost of the ceiling is said before it is paid
MOST_LINES = 8  # lines that a sweep shows before it begins


class Value(NamedTuple):
    """The forecast at one τ = βσ²; values in units of F, nats per observation: the objective is −D/2·log 2πσ² − βF."""

    tau: float  # τ
    active_units: dict[int, int]  # of a linear VAE's optimum, by the number of latent units
    collapsed: float  # the value of total collapse
    linear: float  # the value of a linear VAE's optimum with any number of units
    lower: float | None = None  # of the ceiling's bracket; None if it was not asked for
    upper: float | None = None  # of the ceiling's bracket
    rate: float | None = None  # of the best mixture, nats


@dataclass(frozen=True, eq=False)
class DataForecast:
    """What is known of the training split of a data set."""

    name: str  # of the data set
    observations: int  # N
    spectrum: Spectrum  # of the training split, or of the training and validation splits
    # −E log p(x) of the test split under independent Bernoulli pixels with the means of these observations, where all
    # grey levels are in [0, 1]; else None. A VAE that is worse has learned nothing.
    no_latent: float | None
    onset: float | None  # the τ at which total collapse begins to be the optimum at any depth; None if it is not known
    used: int  # the number of observations of the ceiling
    values: tuple[Value, ...]  # at each τ, the largest first
    stopped: bool = False  # whether the search was ended before it was done; then some brackets are wide


def data_forecast(
    dataset: Dataset,
    taus: Sequence[float],
    units: Sequence[int],
    ceiling_of: int | None = None,
    with_validation: bool = False,
    pause: Callable[[], None] = never,
    tell: Callable[[str], None] = lambda text: None,
) -> DataForecast:
    """Compute a forecast; nothing is trained.

    Args:
        dataset: where the training split comes from.
        taus: βσ² of the runs.
        units: L of the runs.
        with_validation: take the validation split too.
        ceiling_of: for how many training observations, evenly spaced, the ceiling is computed; None for no ceiling.
        pause: called between short steps of the search; if it raises `Stopped`, the brackets are wider.
        tell: prints a line: what the ceiling of large data will cost, and each bracket when it is known.

    Raises:
        ValueError: if this machine has too little memory for the ceiling.
    """
    data = DataModule(dataset, batch_size=1)
    data.setup()
    x = torch.cat([data.train.x, data.validation.x]) if with_validation else data.train.x
    spectrum, ordered = _spectrum(dataset, x, with_validation), sorted(set(taus), reverse=True)
    values = [
        Value(
            tau,
            {n: forecast_units(spectrum, n, tau).active_units for n in sorted(set(units))},
            spectrum.tail(0) / (2 * tau),
            linear_value(spectrum.eigenvalues, tau),
        )
        for tau in ordered
    ]
    no_latent = _no_latent(x, data.test.x)
    found = DataForecast(dataset.name, len(x), spectrum, no_latent, None, 0, tuple(values))
    return _with_ceiling(found, evenly_spaced([Batch(x)], ceiling_of).x, pause, tell) if ceiling_of else found


def _with_ceiling(
    found: DataForecast, x: Float[Tensor, "N *event"], pause: Callable[[], None], tell: Callable[[str], None]
) -> DataForecast:
    """The forecast with the ceiling of these observations at each of its τ, and with the onset of total collapse."""
    problem, values = _problem(x, pause, tell), list[Value]()
    for value, c in zip(found.values, problem.descent([v.tau for v in found.values]), strict=True):
        values.append(value._replace(lower=c.lower, upper=c.upper, rate=c.rate))
        if len(x) > MANY:
            tell(f"βσ² = {c.tau:.4g}: the ceiling is in {c.lower:.3f} … {c.upper:.3f}")
    found = replace(found, onset=problem.onset, used=len(x), values=tuple(values))
    try:
        pause()
    except Stopped:  # the search was ended, perhaps within that for the onset
        found = replace(found, onset=None, stopped=True)
    return found


def _problem(x: Float[Tensor, "N *event"], pause: Callable[[], None], tell: Callable[[str], None]) -> CeilingProblem:
    """The search for the ceiling of these observations. What it will cost is said first, if they are many."""
    needed, held = BYTES_A_NUMBER * x.numel() + BLOCKS, capacity()
    if needed > held:
        text = f"the ceiling of {len(x)} observations needs about {needed / 2**30:.3g} GiB, and this machine has"
        raise ValueError(f"{text} {held / 2**30:.3g} GiB; give --ceiling a smaller number")
    problem = replace(CeilingProblem.gaussian(x), pause=pause)
    if len(x) > MANY:
        device = device_for(needed)
        problem = problem.on(device)
        tell(f"the ceiling of {len(x)} observations needs about {needed / 2**20:.0f} MiB beside the data")
        rounds = f"a round of its search takes about {problem.seconds_of_a_round:.2g} s on {device.type}"
        tell(f"{rounds}; each βσ² takes up to {MOST_ROUNDS} of them, and a longer search at its end")
        tell("Ctrl-C, or --seconds N, ends it with the brackets that are known then")
    return problem


def device_for(needed: int) -> torch.device:
    """A CUDA GPU with enough free memory, else the CPU. Float64 is a hundred times quicker on a card for computing."""
    if torch.cuda.is_available() and torch.cuda.mem_get_info()[0] > needed + BLOCKS_ON_GPU:
        return torch.device("cuda")
    return torch.device("cpu")


def _spectrum(dataset: Dataset, x: Float[Tensor, "N *event"], with_validation: bool) -> Spectrum:
    """From the numbers of the source where pixels are not binarised: float32 would round x / 255."""
    if dataset.binarization is not None:
        return Spectrum.of(x)
    splits = dataset.load(data_root())
    raw = torch.cat([splits.train.x, splits.validation.x]) if with_validation else splits.train.x
    return Spectrum.of(raw, splits.scale)


def _no_latent(x: Float[Tensor, "N *event"], test: Float[Tensor, "M *event"]) -> float | None:
    if any(float(part.min()) < 0 or float(part.max()) > 1 for part in (x, test)):
        return None
    mean = x.double().flatten(1).mean(0).clamp(1e-6, 1 - 1e-6)
    level = test.double().flatten(1).mean(0)
    return -float((level * mean.log() + (1 - level) * (-mean).log1p()).sum())


def announced(runs: Sequence[Run]) -> list[str]:
    """A few lines for a sweep to show before its first epoch: active units and the loss of total collapse.

    They are of every data set, L and σ² with β > 0 and Gaussian noise of one fixed σ². Other runs have no line, and
    data that cannot be read has none: the run says what is wrong with it.
    """
    asked: dict[str, tuple[Any, dict[tuple[int, float], set[float]]]] = {}
    for run in runs:
        model, likelihood = run.config["model"], run.config["model"].get("likelihood")
        beta = model.get("beta", 1.0)
        fixed = isinstance(likelihood, dict) and likelihood["name"] == "Gaussian" and "latent_dim" in model
        if fixed and issubclass(MODELS[model["name"]], VAE) and beta > 0:
            settings = asked.setdefault(repr(run.data), (run.data, defaultdict(set)))[1]
            settings[model["latent_dim"], float(likelihood["variance"])].add(float(beta))
    lines = [line for spec, settings in asked.values() for line in _lines(spec, settings)]
    more = [f"… {len(lines) - MOST_LINES} more: `vaebench forecast`"] if len(lines) > MOST_LINES else []
    return lines[:MOST_LINES] + more


def _lines(spec: Any, settings: dict[tuple[int, float], set[float]]) -> Iterator[str]:
    try:
        dataset = DATASETS.build(spec)
        data = DataModule(dataset, batch_size=1)
        data.setup()
        spectrum = _spectrum(dataset, data.train.x, with_validation=False)
    except Exception:
        return
    for (units, variance), betas in sorted(settings.items()):
        loss = spectrum.dim / 2 * math.log(2 * math.pi * variance) + spectrum.tail(0) / (2 * variance)
        kept = {beta: forecast_units(spectrum, units, beta * variance).active_units for beta in sorted(betas)}
        counts = ", ".join(f"{count} at β = {beta:g}" for beta, count in kept.items())
        head = f"forecast for {dataset.name}, σ² = {variance:g}: a linear VAE keeps of {units} units {counts}"
        yield f"{head}; total collapse loses {loss:.2f} nats"
