"""Whether claimed errors cover: how far an estimate really scatters from seed to seed, over the error that it claims.

No exact answer is needed, so every instrument of the registries is graded that claims an error here. The ratio is 1
where the claim is right; above, the error is too small. Repetitions are independent, and S of them tell a ratio of 1 to
within √(χ²_{S−1}/(S − 1)), the estimates being means of many numbers and so nearly Gaussian.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch
from scipy.stats import chi2
from torch.distributions import Normal

from vaebench.calibration.grade import Grade
from vaebench.config.registry import ESTIMATORS, METRICS, Spec
from vaebench.config.seeding import generator, seeded
from vaebench.data.batch import Batch
from vaebench.evaluation.estimators.base import Estimator
from vaebench.evaluation.estimators.joint_density import JointDensity
from vaebench.evaluation.measure import diagnostics, estimate, measure
from vaebench.models.draws import Draws
from vaebench.models.vae import VAE
from vaebench.records.record import Estimate, NotApplicable

SEEDS = 100
"""Repetitions of what is quick."""

FALSE_ALARM = 1e-3
"""Of one grade, if its claim is right."""

CAUTIOUS = 0.8
"""The ratio down to which a claimed error may be too large: by a quarter."""

DRAWS, OBSERVATIONS, POPULATION = 50, 16, 60
"""K; observations whose draws are taken again and again; observations that are taken again and again."""

TAILS = (0.3, 0.7, 1.2)
"""Shapes of the weights' tails: harmless, without a variance, and without a mean."""

FEW: dict[str, tuple[dict[str, object], int]] = {
    "NaiveMonteCarlo": ({"draws": 100}, SEEDS),
    "AnnealedImportanceSampling": ({"chains": 4, "temperatures": 6, "leapfrog": 1}, SEEDS // 2),
}
"""How much is asked of an estimator, and how often: little, so that what its claim is made of is little as well."""

Kind = Literal["monte_carlo_error", "standard_error"]

Repetition = Callable[[int], Sequence[Estimate]]
"""The estimates with a seed."""


class Claims(NamedTuple):
    """What is repeated to check one kind of claim.

    Attributes:
        problem: as the table has it.
        kind: the error that is claimed.
        batches: the observations with a seed: the same for all seeds, or others.
    """

    problem: str
    kind: Kind
    batches: Callable[[int], list[Batch]]


def coverage_grades() -> Iterator[Grade]:
    """The grades of every claimed error."""
    subject = model()
    for claims in (
        Claims("other draws of the same observations", "monte_carlo_error", lambda seed: [_sample(OBSERVATIONS, 0)]),
        Claims("other observations of one population", "standard_error", lambda seed: [_sample(POPULATION, seed)]),
    ):
        yield from _diagnostics(subject, claims)
        for name in ESTIMATORS:
            yield from _estimator(subject, claims, name)
    for tail in TAILS:
        problem, k = f"weights with a tail of {tail:g}", 500
        runs = [_heavy(tail, k, seed) for seed in range(SEEDS)]
        yield from covered(problem, {f"iwae_{k}": "IWAE"}, runs, "monte_carlo_error")


def covered(
    problem: str, instruments: Mapping[str, str], runs: Sequence[Sequence[Estimate]], kind: Kind
) -> Iterator[Grade]:
    """A grade for every column that claims an error of this kind.

    Args:
        problem: its name.
        instruments: which instrument gives which column.
        runs: the estimates of every repetition.
        kind: the claim.
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
            continue  # what never differs claims no error
        told = torch.tensor([math.nan if claim is None else claim for claim in claims], dtype=torch.float64)
        spread = torch.tensor([e.value for e in found], dtype=torch.float64).std()
        ratio = float(spread / told.square().mean().sqrt())
        quantity = f"{column}: spread / {kind.replace('_', ' ').replace('monte carlo', 'Monte-Carlo')}"
        yield Grade(problem, instrument, quantity, ratio, CAUTIOUS, 1.0, margin, basis, found[0].n)


def model() -> VAE:
    """A VAE of small binary pictures whose decoder tells its latents apart, and whose encoder knows little of it."""
    subject = VAE((1, 12, 12), 0, latent_dim=2, network={"name": "MLP", "hidden": [16]}).eval()
    with torch.no_grad():
        for parameter in subject.decoder.parameters():
            parameter.mul_(2.0)
    return subject


def _sample(count: int, seed: int) -> Batch:
    """Observations that the model itself simulates, labelled by the side on which their latent lies."""
    joint = JointDensity(model())
    with seeded(seed, "claims"):
        z = joint.latents(count)
        return Batch(joint.observations(z), (z[:, 0] > 0).long())


def _diagnostics(subject: VAE, claims: Claims) -> Iterator[Grade]:
    def measured(seed: int, names: Sequence[Spec]) -> Sequence[Estimate]:
        return measure(subject, claims.batches(seed), diagnostics(names), DRAWS, seed).estimates

    columns = {column: name for name in METRICS for column in METRICS.build(name).columns(DRAWS)}
    claiming = {columns[e.name] for e in measured(0, tuple(METRICS)) if getattr(e, claims.kind) is not None}
    runs = [measured(seed, sorted(claiming)) for seed in range(SEEDS)]
    yield from covered(claims.problem, columns, runs, claims.kind)


def _estimator(subject: VAE, claims: Claims, name: str) -> Iterator[Grade]:
    keywords, seeds = FEW.get(name, ({}, SEEDS))
    bracket = (
        {} if claims.kind == "standard_error" or "bracket" not in ESTIMATORS.keywords(name) else {"bracket": False}
    )
    estimator = ESTIMATORS.build({"name": name, **keywords, **bracket, "observations": POPULATION})
    repeated = partial(_estimated, subject, claims, estimator)
    if all(getattr(e, claims.kind) is None for e in repeated(0)):
        return
    columns = dict.fromkeys(estimator.columns, name)
    yield from covered(claims.problem, columns, [repeated(seed) for seed in range(seeds)], claims.kind)


def _estimated(subject: VAE, claims: Claims, estimator: Estimator, seed: int) -> Sequence[Estimate]:
    return estimate(subject, claims.batches(seed), [estimator], seed).estimates


def _heavy(tail: float, k: int, seed: int) -> Sequence[Estimate]:
    """IWAE-k of weights u^−tail, u uniform."""
    u = torch.rand(k, OBSERVATIONS, generator=generator(seed, "weights of claims"), dtype=torch.float64)
    code, none = torch.zeros(OBSERVATIONS, 1, dtype=torch.float64), torch.zeros_like(u)
    metric = METRICS.build({"name": "IWAE", "k": (k,)})
    metric.update(Draws(code, None, Normal(code, code + 1), code, code[None], -tail * u.log(), none, none))
    return [outcome for outcome in metric.compute() if not isinstance(outcome, NotApplicable)]
