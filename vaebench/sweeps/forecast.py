"""What the data say of a study before it is trained: spectrum, thresholds, active units, values, and the ceiling."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from vaebench.oracle.ceiling import CeilingProblem, linear_value

LEADING = 5
"""Eigenvalues that are shown."""

MOST_LINES = 8
"""Lines that a sweep shows before it begins."""


class Value(NamedTuple):
    """The forecast at one τ = βσ²; values in units of F, nats per observation: the objective is −D/2·log 2πσ² − βF.

    Attributes:
        tau: τ.
        active_units: of a linear VAE's optimum, by the number of latent units.
        collapsed: the value of total collapse.
        linear: the value of a linear VAE's optimum with any number of units.
        lower: of the ceiling's bracket; None if it was not asked for.
        upper: of the ceiling's bracket.
        rate: of the best mixture, nats.
    """

    tau: float
    active_units: dict[int, int]
    collapsed: float
    linear: float
    lower: float | None = None
    upper: float | None = None
    rate: float | None = None


@dataclass(frozen=True, eq=False)
class DataForecast:
    """What is known of the training split of a data set.

    Attributes:
        name: of the data set.
        observations: N.
        spectrum: of the training split, or of the training and validation splits.
        no_latent: −E log p(x) of the test split under independent Bernoulli pixels with the means of these
            observations, where all grey levels are in [0, 1]; else None. A VAE that is worse has learned nothing.
        onset: the τ at which total collapse begins to be the optimum at any depth; None if it was not asked for.
        used: the number of observations of the ceiling.
        values: at each τ, the largest first.
    """

    name: str
    observations: int
    spectrum: Spectrum
    no_latent: float | None
    onset: float | None
    used: int
    values: tuple[Value, ...]

    @property
    def collapses_at(self) -> float:
        """λ₁: the optimum of a linear VAE is total collapse from this τ on."""
        return float(self.spectrum.eigenvalues[0])

    def loss_of_collapse(self, variance: float) -> float:
        """The squared error term Σλ/2σ² of total collapse at σ²."""
        return self.spectrum.tail(0) / (2 * variance)


def data_forecast(
    dataset: Dataset,
    taus: Sequence[float],
    units: Sequence[int],
    ceiling_of: int | None = None,
    with_validation: bool = False,
) -> DataForecast:
    """Compute a forecast; nothing is trained.

    Args:
        dataset: where the training split comes from.
        taus: βσ² of the runs.
        units: L of the runs.
        with_validation: take the validation split too.
        ceiling_of: for how many training observations, evenly spaced, the ceiling is computed; None for no ceiling.
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
    onset, used = None, 0
    if ceiling_of:
        part = evenly_spaced([Batch(x)], ceiling_of).x
        problem, used = CeilingProblem.gaussian(part), len(part)
        onset, found = problem.onset, problem.path(ordered)
        values = [v._replace(lower=c.lower, upper=c.upper, rate=c.rate) for v, c in zip(values, found, strict=True)]
    return DataForecast(dataset.name, len(x), spectrum, _no_latent(x, data.test.x), onset, used, tuple(values))


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
        if fixed and _has_rate(model["name"]) and beta > 0:
            settings = asked.setdefault(repr(run.data), (run.data, defaultdict(set)))[1]
            settings[model["latent_dim"], float(likelihood["variance"])].add(float(beta))
    lines = [line for spec, settings in asked.values() for line in _lines(spec, settings)]
    more = [f"… {len(lines) - MOST_LINES} more: `vaebench forecast`"] if len(lines) > MOST_LINES else []
    return lines[:MOST_LINES] + more


def _has_rate(model: str) -> bool:
    return issubclass(MODELS[model], VAE)


def _lines(spec: Any, settings: dict[tuple[int, float], set[float]]) -> Iterator[str]:
    """One line for each L and σ²."""
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
