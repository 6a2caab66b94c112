"""The whole calibration: toy cases, linear cases, coverage of claimed errors, and the trained runs of a study.

Coverage is the standard deviation of an estimate over seeds, divided by the error that it claims. The ratio is 1 if the
claim is right, and above 1 if the claimed error is too small. No exact answer is needed, so all registered metrics and
estimators that claim an error are graded. The estimates are means of many numbers, so they are nearly Gaussian, and the
ratio of S independent repetitions scatters like √(χ²_{S−1}/(S − 1)).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from rich.console import Console
from scipy.stats import chi2
from torch.distributions import Normal

from vaebench.calibration.grade import Answer, Grade, graded
from vaebench.calibration.linear_cases import LinearProblem, linear_case_grades, linear_grades
from vaebench.calibration.toy_cases import ceiling_grades, toy_case_grades
from vaebench.config import Run, Study
from vaebench.config.registry import ESTIMATORS, METRICS, Spec
from vaebench.config.seeding import generator, seeded
from vaebench.data.datamodule import data_of
from vaebench.data.datasets.synthetic import LinearGaussian
from vaebench.data.loaders import Batch
from vaebench.evaluation.measure import build_metrics, estimate, measure
from vaebench.models.draws import Draws
from vaebench.models.linear_vae import LinearVAE
from vaebench.models.vae import VAE
from vaebench.records.files import CHECKPOINT
from vaebench.records.record import Estimate, NotApplicable, Record
from vaebench.sweeps.run import Execution
from vaebench.sweeps.sweep import sweep

SEEDS = 100  # the number of repetitions of fast measurements
FALSE_ALARM = 1e-3  # the probability that a right claim gets a wrong grade
CAUTIOUS = 0.8  # the smallest allowed ratio: a claimed error may be too large by a quarter

DRAWS, OBSERVATIONS, POPULATION = 50, 16, 60
"""K; the number of observations whose draws are repeated; the number of observations that are sampled again."""

TAILS = (0.3, 0.7, 1.2)  # tail shapes of the weights: with a finite variance, without a variance, and without a mean

FEW: dict[str, tuple[dict[str, object], int]] = {
    "NaiveMonteCarlo": ({"draws": 100}, SEEDS),
    "AnnealedImportanceSampling": ({"chains": 4, "temperatures": 6, "leapfrog": 1}, SEEDS // 2),
    "InferenceGap": ({"draws": 50, "steps": 5}, SEEDS),
}
"""Arguments of costly estimators, and the number of repetitions. Few samples are a hard case for a claimed error."""

Kind = Literal["monte_carlo_error", "standard_error"]


class Claims(NamedTuple):
    """How to check one kind of claimed error."""

    problem: str  # its name in the table
    kind: Kind  # the claimed error
    # the observations for a seed. They are the same for all seeds if only the draws are random.
    batches: Callable[[int], list[Batch]]


def coverage_grades() -> Iterator[Grade]:
    """Grade every claimed error."""
    vae = model()
    for claims in (
        Claims("other draws of the same observations", "monte_carlo_error", lambda seed: [_sample(OBSERVATIONS, 0)]),
        Claims("other observations of one population", "standard_error", lambda seed: [_sample(POPULATION, seed)]),
    ):
        yield from _metrics(vae, claims)
        for name in ESTIMATORS:
            yield from _estimator(vae, claims, name)
    for tail in TAILS:
        problem, k = f"weights with a tail of {tail:g}", 500
        runs = [_heavy(tail, k, seed) for seed in range(SEEDS)]
        yield from covered(problem, {f"iwae_{k}": "IWAE"}, runs, "monte_carlo_error")
    runs = [_guessed(seed) for seed in range(SEEDS)]
    columns = {"classification_error": "ClassificationError", "l0": "Sparsity"}
    yield from covered("guessed classes and random codes", columns, runs, "standard_error")


def covered(
    problem: str, instruments: Mapping[str, str], runs: Sequence[Sequence[Estimate]], kind: Kind
) -> Iterator[Grade]:
    """Grade every column that claims an error of this kind.

    Args:
        instruments: the metric or estimator of each column.
    """
    seeds = len(runs)
    margin = math.sqrt(chi2.ppf(1 - FALSE_ALARM, seeds - 1) / (seeds - 1)) - 1
    basis = f"a false alarm in {1 / FALSE_ALARM:.0f}, of {seeds} seeds"
    for column, instrument in instruments.items():
        found = [e for run in runs for e in run if e.name == column and not isinstance(e.value, list)]
        claims = [getattr(e, kind) for e in found]
        if not claims or all(claim is None for claim in claims):
            continue
        if not any(claims) and len({e.value for e in found}) == 1:
            continue  # a constant estimate with error 0: there is no spread to compare
        claimed = torch.tensor([math.nan if claim is None else claim for claim in claims], dtype=torch.float64)
        spread = torch.tensor([e.value for e in found], dtype=torch.float64).std()
        ratio = float(spread / claimed.square().mean().sqrt())
        quantity = f"{column}: spread / {kind.replace('_', ' ').replace('monte carlo', 'Monte-Carlo')}"
        yield Grade(problem, instrument, quantity, ratio, CAUTIOUS, 1.0, margin, basis, found[0].n)


def model() -> VAE:
    """A VAE of small binary images, not trained: its decoder separates the latents, and its posterior is a poor fit."""
    vae = VAE((1, 12, 12), 0, latent_dim=2, network={"name": "MLP", "hidden": [16]}).eval()
    with torch.no_grad():
        for parameter in vae.decoder.parameters():
            parameter.mul_(2.0)
    return vae


def _sample(count: int, seed: int) -> Batch:
    """Observations that the model simulates; the label is the sign of the first latent unit."""
    vae = model()
    with torch.no_grad(), seeded(seed, "claims"):
        z = vae.prior(vae.encode).sample((count,))
        return Batch(vae.decode(z).sample(), (z[:, 0] > 0).long())


def _metrics(vae: VAE, claims: Claims) -> Iterator[Grade]:
    def measured(seed: int, names: Sequence[Spec]) -> Sequence[Estimate]:
        return measure(vae, claims.batches(seed), build_metrics(names), DRAWS, seed).estimates

    columns = {column: name for name in METRICS for column in METRICS.build(name).columns(DRAWS)}
    claiming = {columns[e.name] for e in measured(0, tuple(METRICS)) if getattr(e, claims.kind) is not None}
    runs = [measured(seed, sorted(claiming)) for seed in range(SEEDS)]
    yield from covered(claims.problem, columns, runs, claims.kind)


def _estimator(vae: VAE, claims: Claims, name: str) -> Iterator[Grade]:
    keywords, seeds = FEW.get(name, ({}, SEEDS))
    if claims.kind == "monte_carlo_error" and "bracket" in ESTIMATORS.keywords(name):
        keywords = {**keywords, "bracket": False}
    estimator = ESTIMATORS.build({"name": name, **keywords, "observations": POPULATION})

    def repeated(seed: int) -> Sequence[Estimate]:
        return estimate(vae, claims.batches(seed), [estimator], seed).estimates

    if all(getattr(e, claims.kind) is None for e in repeated(0)):
        return
    columns = dict.fromkeys(estimator.columns, name)
    yield from covered(claims.problem, columns, [repeated(seed) for seed in range(seeds)], claims.kind)


def _heavy(tail: float, k: int, seed: int) -> Sequence[Estimate]:
    """IWAE-k of weights u^−tail, u uniform."""
    u = torch.rand(k, OBSERVATIONS, generator=generator(seed, "weights of claims"), dtype=torch.float64)
    code, none = torch.zeros(OBSERVATIONS, 1, dtype=torch.float64), torch.zeros_like(u)
    metric = METRICS.build({"name": "IWAE", "k": (k,)})
    metric.update(Draws(code, None, Normal(code, code + 1), code, code[None], -tail * u.log(), none, none))
    return [outcome for outcome in metric.compute() if not isinstance(outcome, NotApplicable)]


def _guessed(seed: int) -> Sequence[Estimate]:
    """The error of a classifier that guesses one of three classes, and L0 of codes whose units are 0 by chance."""
    stream, none = generator(seed, "guesses"), torch.zeros(1, POPULATION)
    label, code = torch.arange(POPULATION) % 3, torch.rand(POPULATION, 5, generator=stream).round()
    logits = torch.rand(POPULATION, 3, generator=stream)
    draws = Draws(code, label, Normal(code, code + 1), code, code[None], none, none, none, logits)
    metrics = build_metrics(("ClassificationError", "Sparsity"))
    for metric in metrics:
        metric.update(draws)
    return [o for metric in metrics for o in metric.compute() if not isinstance(o, NotApplicable)]


CONVERGED = 0.05  # a trained linear VAE may be this many nats below its optimum
ABOVE = 1e-3  # rounding in float32 may put it this many nats above its optimum


class CalibrationError(ValueError):
    """A study whose runs have no exact answers; the message says what to change."""


def calibrate(study: Study, folder: Path, how: Execution, console: Console) -> list[Grade]:
    """Compute all grades. The study is trained first.

    Args:
        study: linear VAEs on linear-Gaussian data.
        folder: of the runs. Runs that are complete there are not trained again.

    Raises:
        CalibrationError: if the study has other runs, or if one of them failed.
    """
    for run in study.runs:
        _check(run)
    outcome = sweep(study, folder, how, console)
    if outcome.failed or outcome.missing:
        reasons = [f"{r.id} failed ({r.reason})" for r in outcome.failed]
        reasons += [f"{r.id} is missing" for r in outcome.missing]
        raise CalibrationError(f"{folder}: every run must be done to be graded: {'; '.join(reasons)}")
    records = {record.id: record for record in outcome.records}
    trained = [grade for run in study.runs for grade in trained_grades(run, records[run.id], folder / run.id)]
    return [*toy_case_grades(), *linear_case_grades(), *ceiling_grades(), *coverage_grades(), *trained]


def trained_grades(run: Run, record: Record, folder: Path) -> Iterator[Grade]:
    """Compare the numbers in the record of a run with the exact ones of the model in its checkpoint."""
    data = data_of(run)
    data.setup()
    assert isinstance(data.dataset, LinearGaussian)
    record.left(folder / CHECKPOINT)
    model = LinearVAE.load_from_checkpoint(folder / CHECKPOINT, weights_only=True)
    x = {"train": data.train, "validation": data.validation, "test": data.test}[run.evaluate.split].x
    name = f"trained: {run.slug}"
    problem = LinearProblem(name, model, x, run.evaluate.draws, data.dataset.model)
    yield from linear_grades(problem, record.estimates)
    answers = (
        Answer("below_optimum", -ABOVE, CONVERGED),
        Answer("collapsed_by_optimisation", 0.0),
        Answer("collapsed_by_objective", float(model.latent_dim - record.facts["forecast_active_units"])),
    )
    yield from graded(name, "collapse diagnosis", answers, record.estimates, 0.0)


def _check(run: Run) -> None:
    """Refuse a run whose numbers have no closed form."""
    for key, wanted in (("model", "LinearVAE"), ("data", "LinearGaussian")):
        spec = getattr(run, key)
        name = spec if isinstance(spec, str) else spec["name"]
        if name != wanted:
            raise CalibrationError(f"{run.slug}: expected {key}.name: {wanted}, whose numbers are known, got {name}")
