"""Autoencoders compared honestly: one protocol, one set of bounds, one command a table.

What you write your own parts with is here: `from vaebench import MODELS, VAE, Positive`. A name is imported when it is
first used, so `import vaebench` imports neither torch nor lightning, and `--help`, tables and errors in a study never
wait for them.
"""

# ruff: noqa: I001 (`X as X` exports X to type checkers; a module stays one statement)

import importlib
from typing import TYPE_CHECKING

from vaebench.data import import_hook

if TYPE_CHECKING:
    from vaebench.config import ConfigError as ConfigError, Run as Run, Study as Study, load_study as load_study
    from vaebench.config.registry import (
        BINARIZATIONS as BINARIZATIONS,
        CORRUPTIONS as CORRUPTIONS,
        DATASETS as DATASETS,
        ESTIMATORS as ESTIMATORS,
        LIKELIHOODS as LIKELIHOODS,
        METRICS as METRICS,
        MODELS as MODELS,
        NETWORKS as NETWORKS,
        OPTIMIZERS as OPTIMIZERS,
        POSTERIORS as POSTERIORS,
        PRIORS as PRIORS,
        SCHEDULES as SCHEDULES,
        BinarizationSpec as BinarizationSpec,
        CorruptionSpec as CorruptionSpec,
        Fraction as Fraction,
        LikelihoodSpec as LikelihoodSpec,
        NetworkSpec as NetworkSpec,
        NonNegative as NonNegative,
        Positive as Positive,
        PositiveInt as PositiveInt,
        PosteriorSpec as PosteriorSpec,
        PriorSpec as PriorSpec,
        ScheduleSpec as ScheduleSpec,
        Seed as Seed,
    )
    from vaebench.config.seeding import generator as generator, seeded as seeded
    from vaebench.data.loaders import Batch as Batch
    from vaebench.data.binarization import Binarization as Binarization
    from vaebench.data.datamodule import DataModule as DataModule
    from vaebench.data.datasets.base import Dataset as Dataset, Examples as Examples, Splits as Splits
    from vaebench.evaluation.estimators.base import (
        Estimator as Estimator,
        mean_over_observations as mean_over_observations,
    )
    from vaebench.evaluation.scoring import Scores as Scores, score as score
    from vaebench.evaluation.measure import measure as measure
    from vaebench.evaluation.metrics.base import (
        Columns as Columns,
        Metric as Metric,
        MeanOverObservations as MeanOverObservations,
        ScalarMean as ScalarMean,
    )
    from vaebench.models.ae import AE as AE
    from vaebench.models.base import Autoencoder as Autoencoder
    from vaebench.models.beta_vae import BetaVAE as BetaVAE
    from vaebench.models.draws import Draws as Draws
    from vaebench.models.parts.corruptions import Corruption as Corruption
    from vaebench.models.parts.likelihoods import Likelihood as Likelihood
    from vaebench.models.parts.networks import Decoder as Decoder, Network as Network
    from vaebench.models.parts.posteriors import (
        Form as Form,
        Posterior as Posterior,
        reparameterise as reparameterise,
    )
    from vaebench.models.parts.priors import Encode as Encode, Prior as Prior
    from vaebench.models.parts.schedules import Schedule as Schedule
    from vaebench.models.subject import DeterministicSubject as DeterministicSubject, Subject as Subject
    from vaebench.models.vae import VAE as VAE
    from vaebench.records.description import (
        Description as Description,
        Direction as Direction,
        Panel as Panel,
        Role as Role,
    )
    from vaebench.records.record import Estimate as Estimate, NotApplicable as NotApplicable, Record as Record
    from vaebench.sweeps.trained import load as load
    from vaebench.training.optimizers import Optimizer as Optimizer

__version__ = "0.1.0"

EXPORTS = {
    "vaebench.config": ("ConfigError", "Run", "Study", "load_study"),
    "vaebench.config.registry": (
        *("BINARIZATIONS", "CORRUPTIONS", "DATASETS", "ESTIMATORS", "LIKELIHOODS", "METRICS", "MODELS", "NETWORKS"),
        *("OPTIMIZERS", "POSTERIORS", "PRIORS", "SCHEDULES", "BinarizationSpec", "CorruptionSpec", "LikelihoodSpec"),
        *("NetworkSpec", "PosteriorSpec", "PriorSpec", "ScheduleSpec", "Fraction", "NonNegative", "Positive"),
        *("PositiveInt", "Seed"),
    ),
    "vaebench.config.seeding": ("generator", "seeded"),
    "vaebench.data.loaders": ("Batch",),
    "vaebench.data.binarization": ("Binarization",),
    "vaebench.data.datamodule": ("DataModule",),
    "vaebench.data.datasets.base": ("Dataset", "Examples", "Splits"),
    "vaebench.evaluation.estimators.base": ("Estimator", "mean_over_observations"),
    "vaebench.evaluation.measure": ("measure",),
    "vaebench.evaluation.scoring": ("Scores", "score"),
    "vaebench.evaluation.metrics.base": ("Columns", "Metric", "MeanOverObservations", "ScalarMean"),
    "vaebench.models.ae": ("AE",),
    "vaebench.models.base": ("Autoencoder",),
    "vaebench.models.beta_vae": ("BetaVAE",),
    "vaebench.models.draws": ("Draws",),
    "vaebench.models.parts.corruptions": ("Corruption",),
    "vaebench.models.parts.likelihoods": ("Likelihood",),
    "vaebench.models.parts.networks": ("Decoder", "Network"),
    "vaebench.models.parts.posteriors": ("Form", "Posterior", "reparameterise"),
    "vaebench.models.parts.priors": ("Encode", "Prior"),
    "vaebench.models.parts.schedules": ("Schedule",),
    "vaebench.models.subject": ("DeterministicSubject", "Subject"),
    "vaebench.models.vae": ("VAE",),
    "vaebench.records.description": ("Description", "Direction", "Panel", "Role"),
    "vaebench.records.record": ("Estimate", "NotApplicable", "Record"),
    "vaebench.sweeps.trained": ("load",),
    "vaebench.training.optimizers": ("Optimizer",),
}
"""Module -> the names that the package takes from it at their first use (PEP 562). Type checkers read those above."""

MODULES = {name: module for module, names in EXPORTS.items() for name in names}

__all__ = [*MODULES]
"""The names that `from vaebench import *` takes; all of them are imported then."""


def __getattr__(name: str) -> object:
    if name not in MODULES:
        raise AttributeError(f"module 'vaebench' has no attribute {name!r}")
    globals()[name] = found = getattr(importlib.import_module(MODULES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *MODULES})


import_hook.install()
