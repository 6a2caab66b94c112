"""Faults: numbers of contractive and sparse autoencoders that public code rounds, averages or counts in a wrong way.

- The penalty of the contractive autoencoder is divided by the batch size with `//` (lisa-lab/DeepLearningTutorials,
  `code/cA.py`): it is rounded down to a whole number, so it is
  constant almost everywhere.
- The explained variance is a mean of ratios, one for each observation (SAEBench). An observation near the mean, whose
  variance is small, has as much weight as all others.
- The uniqueness of learned features is counted after a matching that gives each unit another feature. Then it is 1 for
  every dictionary.
"""

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.distributions import Normal

from vaebench.config.registry import METRICS, MODELS
from vaebench.data.datasets.synthetic import SparseDictionary
from vaebench.data.loaders import Batch
from vaebench.evaluation.known_truth import recovery
from vaebench.evaluation.measure import build_estimators, estimate
from vaebench.models.draws import Draws


def floored_penalty(h: Tensor, weight: Tensor) -> Tensor:
    jacobian = (h * (1 - h))[:, :, None] * weight
    return jacobian.square().sum() // len(h)


def mean_of_ratios(x: Tensor, reconstruction: Tensor) -> float:
    error, variance = (x - reconstruction).square().sum(1), (x - x.mean(0)).square().sum(1)
    return float((1 - error / variance).mean())


def uniqueness_of_matched(learned: Tensor, true: Tensor) -> float:
    cosines = (learned / learned.norm(dim=0)).mT @ (true / true.norm(dim=0))
    _, features = linear_sum_assignment(cosines.abs().numpy(), maximize=True)
    return len(set(features.tolist())) / len(features)


def test_the_penalty_is_not_rounded_down(show):
    sigmoid = {"name": "ActivatedMLP", "hidden": [], "activation": "Sigmoid"}
    model = MODELS.build({"name": "ContractiveAE", "network": sigmoid, "latent_dim": 30}, (20,), 0).double()
    x = torch.randn(50, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight = model.encoder[1].weight
    with torch.no_grad():
        h = model.encoder(x)
        wrong = floored_penalty(h, weight)
        exact = float(((h * (1 - h)).square() @ weight.square().sum(1)).mean())
    (right,) = estimate(model, [Batch(x)], build_estimators(["EncoderJacobian"]), 0).estimates
    show("‖∂h/∂x‖², divided with //", wrong, right.value, exact)
    assert right.value == pytest.approx(exact, rel=1e-12)
    assert float(wrong) == exact // 1 < exact - 0.1


def test_explained_variance_is_not_a_mean_of_ratios(show):
    """All observations have the same small error, 1 % of the mean variance. One of them lies close to the mean, so this
    error is 10 000 times its own variance."""
    stream = torch.Generator().manual_seed(0)
    x = torch.randn(100, 4, generator=stream, dtype=torch.float64)
    x = 2 * (x - x.mean(0)) / x.norm(dim=1, keepdim=True)
    x = x - x.mean(0)
    x[0] = x[1:].mean(0) + 0.002
    reconstruction = x + 0.2 * torch.nn.functional.normalize(torch.randn(100, 4, generator=stream).double(), dim=1)
    metric, none = METRICS.build("ExplainedVariance"), torch.zeros(1, 100)
    for part in (slice(0, 30), slice(30, 100)):
        code = torch.zeros(len(x[part]), 1)
        rest = (code[None], none[:, part], none[:, part], none[:, part])
        metric.update(Draws(x[part], None, Normal(code, code + 1), reconstruction[part], *rest))
    exact = 1 - float((x - reconstruction).square().sum() / (x - x.mean(0)).square().sum())
    wrong, right = mean_of_ratios(x, reconstruction), metric.compute()[0].value
    show("explained variance, a mean of ratios", wrong, right, exact)
    assert right == pytest.approx(exact, rel=1e-12)
    assert exact > 0.98
    assert wrong < 0


def test_uniqueness_is_not_counted_after_a_matching(show):
    """A dictionary that has one half of the features twice, and the other half not at all."""
    true = SparseDictionary(dim=12, features=12, orthonormal=True).dictionary
    learned = true[:, [0, 1, 2, 3, 4, 5] * 2]
    wrong, right = uniqueness_of_matched(learned, true), recovery(learned, true)[2].value
    show("uniqueness, counted after a matching", wrong, right, 0.5)
    assert (wrong, right) == (1.0, 0.5)
