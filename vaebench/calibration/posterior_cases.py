"""Posteriors where the exact one has dependent units: what a full covariance reaches and a diagonal one cannot.

The models are affine and in float64, and their decoder has random columns, so that WᵀW is not diagonal. With the exact
posterior every log-weight is log p(x). The nearest diagonal posterior has an ELBO in closed form below it.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vaebench import oracle
from vaebench.calibration.grade import ERRORS, Answer, Grade, graded
from vaebench.config.registry import MODELS
from vaebench.data.loaders import Batch
from vaebench.evaluation.estimators.inference_gap import AMORTISATION, EVIDENCE, FAMILY, InferenceGap
from vaebench.evaluation.measure import diagnostics, measure
from vaebench.models.vae import VAE
from vaebench.oracle.probabilistic_pca import (
    LinearPosterior,
    ProbabilisticPCA,
    beta_elbo,
    distortion,
    expectation_maximisation,
)
from vaebench.oracle.spectrum import Spectrum
from vaebench.records.record import Estimate

CASES: dict[str, dict[str, Any]] = {
    "a decoder with dependent units, full covariance": {"name": "VAE", "posterior": "FullCovariance"},
    "a decoder with dependent units, nearest diagonal": {"name": "VAE"},
    "a decoder with dependent units, one step of couplings": {"name": "AugmentedFlow", "steps": 1},
    "a decoder with dependent units, PPCA": {"name": "PPCA"},
}

EXACT = ("FullCovariance", "PPCA")
"""The posterior and the model that have the exact posterior."""

ROUNDING = 1e-9
"""Of float64, relative to the answer."""

DRAWS = 500
"""K, for metrics."""

GAP_OBSERVATIONS, WRONG = 60, 0.5
"""Observations on which the gaps are measured, and by how much the first mean of a wrong encoder is wrong."""

SEARCH = 0.005
"""The best posterior may be missed by so many nats."""

ITERATIONS = 300
"""Of EM. Each multiplies the distance to the maximum by 0.9 or less here."""


def posterior_grades() -> Iterator[Grade]:
    """Grade bounds, rate and distortion of four models of one density, and the fixed point of EM."""
    stream = torch.Generator().manual_seed(3)
    weight = torch.randn(8, 3, generator=stream, dtype=torch.float64)
    density = ProbabilisticPCA(torch.randn(8, generator=stream, dtype=torch.float64), weight, 0.5)
    x, _ = density.sample(400, stream)
    for name, spec in CASES.items():
        is_exact = spec.get("posterior", spec["name"]) in EXACT
        q = density.posterior if is_exact else density.posterior.independent()
        answers = _answers(x, density, q, is_exact)
        estimates = measure(_model(spec, density, q), [Batch(x)], diagnostics(tuple(answers)), DRAWS, 0).estimates
        for metric, exacts in answers.items():
            yield from graded(name, metric, exacts, estimates, ROUNDING)
    yield from _gap_grades(x[:GAP_OBSERVATIONS], density)
    yield from _em_grades(stream)


def _gap_grades(x: Tensor, density: ProbabilisticPCA) -> Iterator[Grade]:
    """The gaps of an encoder that is right, and of one whose first mean is wrong by `WRONG`."""
    evidence = float(density.log_prob(x).mean())
    for name, spec in list(CASES.items())[:2]:
        is_exact = "posterior" in spec
        q = density.posterior if is_exact else density.posterior.independent()
        family = 0.0 if is_exact else evidence - float(beta_elbo(x, density, q).mean())
        for wrong, told in ((0.0, ""), (WRONG, ", first mean wrong")):
            moved = replace(q, bias=q.bias + wrong * torch.eye(len(q.bias), dtype=q.bias.dtype)[0])
            amortisation = float((beta_elbo(x, density, q) - beta_elbo(x, density, moved)).mean())
            answers = [
                Answer(EVIDENCE, evidence, monte_carlo=ERRORS),
                Answer(FAMILY, family, monte_carlo=ERRORS),
                Answer(AMORTISATION, amortisation, monte_carlo=ERRORS),
            ]
            found = InferenceGap(observations=len(x)).estimate(_model(spec, density, moved), Batch(x), 0)
            yield from graded(name + told, "InferenceGap", answers, found, SEARCH)


def _answers(x: Tensor, density: ProbabilisticPCA, q: LinearPosterior, is_exact: bool) -> dict[str, list[Answer]]:
    evidence, elbo = float(density.log_prob(x).mean()), float(beta_elbo(x, density, q).mean())
    variance = q.covariance.diagonal()
    kl = 0.5 * (variance + q.mean(x).square() - 1 - variance.log())
    full = {"EffectiveSampleSize": [Answer("effective_sample_size_median", float(DRAWS))]} if is_exact else {}
    return full | {
        "ELBO": [Answer("elbo", elbo, monte_carlo=0 if is_exact else ERRORS)],
        "IWAE": [Answer("iwae_500", elbo, evidence, monte_carlo=0 if is_exact else ERRORS)],
        "Rate": [Answer("rate", float(q.rate(x).mean()), monte_carlo=ERRORS)],
        "Distortion": [Answer("distortion", float(distortion(x, density, q).mean()), monte_carlo=ERRORS)],
        "KLPerUnit": [Answer("kl_per_unit", kl.mean(0))],
    }


def _model(spec: dict[str, Any], density: ProbabilisticPCA, q: LinearPosterior) -> VAE:
    """A model with this density and, unless it has none to set, this posterior."""
    affine = {} if spec["name"] == "PPCA" else {"network": "Affine"}
    likelihood = {"name": "Gaussian", "variance": density.variance}
    keywords = {"latent_dim": density.latent_dim, "likelihood": likelihood, **affine}
    model = MODELS.build(keywords | spec, (len(density.mean),), 0).double()
    assert isinstance(model, VAE)
    state = {"decoder.0.weight": density.weight, "decoder.0.bias": density.mean}
    if affine:
        lower = torch.linalg.cholesky(q.covariance)
        rows, columns = torch.tril_indices(density.latent_dim, density.latent_dim, -1)
        below = lower[rows, columns] if "posterior" in spec else lower.new_empty(0)
        bias = torch.cat([q.bias, 2 * lower.diagonal().log(), below])
        gain = torch.cat([q.weight, q.weight.new_zeros(len(bias) - len(q.bias), q.weight.shape[1])])
        state |= {"encoder.1.weight": gain, "encoder.1.bias": bias}
    model.load_state_dict(model.state_dict() | state)
    return model.eval()


def _em_grades(stream: torch.Generator) -> Iterator[Grade]:
    """EM from a random W against the closed form: the largest difference of WWᵀ + σ²I."""
    spectrum = Spectrum.given([4.0, 3.0, 2.5, 1.0, 0.8])
    model = ProbabilisticPCA(spectrum.mean, torch.randn(5, 3, generator=stream, dtype=torch.float64), 1.0)
    for _ in range(ITERATIONS):
        model = expectation_maximisation(model, spectrum.covariance)
    best = oracle.maximum_likelihood(spectrum, 3).model
    largest = float((model.covariance - best.covariance).abs().max())
    estimates = [Estimate("largest_difference", largest, n=ITERATIONS)]
    yield from graded("EM from a random W", "PPCA", [Answer("largest_difference", 0.0)], estimates, ROUNDING)
