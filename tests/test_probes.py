"""The probes on codes whose accuracy is known."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits
from torch.distributions import Normal

from vaebench.config.registry import METRICS
from vaebench.evaluation.metrics import codes
from vaebench.models.draws import Draws
from vaebench.records.record import Estimate, NotApplicable

PROBES = ("LinearProbe", "NearestNeighbours")
every_probe = pytest.mark.parametrize("name", PROBES)


def computed(name: str | dict, code: torch.Tensor, label: torch.Tensor | None) -> Estimate | NotApplicable:
    metric, none = METRICS.build(name), torch.zeros(1, len(code))
    for part in torch.arange(len(code)).split(100):
        mean, labels = code[part], None if label is None else label[part]
        posterior = Normal(mean, torch.ones_like(mean), validate_args=False)
        metric.update(Draws(mean, labels, posterior, mean, mean[None], none, none, none))
    (outcome,) = metric.compute()
    return outcome


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


CLASSES = torch.arange(600) % 3
CENTRES = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])


@every_probe
def test_classes_apart_are_told_apart(name: str) -> None:
    """Three clusters of standard deviation 1 at distance 9: the best rule errs once in 3e5."""
    seen = computed(name, CENTRES[CLASSES] + normal(600, 2), CLASSES)
    assert (seen.value, seen.standard_error, seen.n) == (1.0, 0.0 if name == "LinearProbe" else None, 600)


@every_probe
def test_labels_at_random_are_guessed(name: str) -> None:
    """A third, within 4.5 standard errors (false alarms 7e-6 each): no fold sees its own labels."""
    label = torch.randint(3, (600,), generator=torch.Generator().manual_seed(1))
    seen = computed(name, normal(600, 4), label)
    assert abs(seen.value - 1 / 3) < 4.5 * (2 / 9 / 600) ** 0.5
    if name == "LinearProbe":
        assert seen.standard_error == pytest.approx((seen.value * (1 - seen.value) / 599) ** 0.5)


def test_two_overlapping_classes_are_told_apart_as_well_as_can_be() -> None:
    """N(±1, 1): the best rule, which is linear, is right at a rate of Φ(1) = 0.8413; within 4.5 standard errors."""
    label = torch.arange(2000) % 2
    seen = computed("LinearProbe", normal(2000, 1) + (2 * label - 1)[:, None], label)
    assert abs(seen.value - 0.8413) < 4.5 * seen.standard_error


def test_what_is_local_but_not_linear_tells_the_two_apart() -> None:
    """Exclusive or of two signs, with a gap between them: neighbours know, no plane does (at most 3/4)."""
    code = normal(600, 2)
    code = code + 2 * code.sign()
    label = (code.prod(1) > 0).long()
    assert computed("NearestNeighbours", code, label).value == 1.0
    assert computed("LinearProbe", code, label).value < 0.76


KNOWN = {
    "LinearProbe": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    "NearestNeighbours": lambda: KNeighborsClassifier(5),
}


@every_probe
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize(("units", "middle", "spread"), [(1, 0, 1), (10, 1e-3, 1e-6), (20, 5, 1), (40, -1e3, 1e2)])
def test_predictions_and_folds_are_those_of_scikit_learn(
    name: str, classes: int, units: int, middle: float, spread: float
) -> None:
    """No prediction differs, though each is made in other sums: of 150 codes in float32, some of all but dead units."""
    label = np.sort(np.arange(150) % classes)
    code = (middle + spread * (normal(classes, units)[label] + normal(150, units, seed=1))).double().numpy()
    fold = codes.folds(label)
    for number, (known, asked) in enumerate(StratifiedKFold(5, shuffle=True, random_state=0).split(code, label)):
        assert np.flatnonzero(fold == number).tolist() == asked.tolist()
        found = METRICS.build(name).predicted(code[known], label[known], code[asked])
        assert found.tolist() == KNOWN[name]().fit(code[known], label[known]).predict(code[asked]).tolist()


@every_probe
def test_a_probe_takes_one_core(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The libraries of NumPy and SciPy have one thread while it learns, and all that they had when it has ended."""
    kind = type(METRICS.build(name))
    learn, seen = kind.predicted, []

    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    def predicted(self: codes.Probe, *given: np.ndarray) -> np.ndarray:
        seen.append(threads())
        return learn(self, *given)

    monkeypatch.setattr(kind, "predicted", predicted)
    with threadpool_limits(2, user_api="blas"):
        computed(name, CENTRES[CLASSES] + normal(600, 2), CLASSES)
        assert (seen, threads()) == ([{1}] * codes.FOLDS, {2})


@every_probe
def test_the_order_of_observations_does_not_matter(name: str) -> None:
    code, label = CENTRES[CLASSES] / 4 + normal(600, 2), CLASSES
    order = torch.randperm(600, generator=torch.Generator().manual_seed(2))
    assert computed(name, code, label) == computed(name, code[order], label[order])


def test_the_linear_probe_does_not_see_the_scale_of_a_unit() -> None:
    code = CENTRES[CLASSES] / 4 + normal(600, 2)
    scaled = computed("LinearProbe", code.double() * torch.tensor([1e3, 1e-3]).double() + 5, CLASSES)
    assert scaled == computed("LinearProbe", code.double(), CLASSES)


def test_a_unit_without_variance_is_no_trouble() -> None:
    code = torch.cat([CENTRES[CLASSES] + normal(600, 2), torch.full((600, 1), 0.1)], 1)
    assert computed("LinearProbe", code, CLASSES).value == 1.0


@every_probe
@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (None, "the data has no labels"),
        (torch.zeros(20).long(), "every observation has the label 0: there is nothing to tell apart"),
        (torch.tensor([7] * 4 + [1] * 16), "4 observations have the label 7, fewer than the 5 folds of the validation"),
    ],
)
def test_labels_that_cannot_be_learnt_leave_a_blank(name: str, label: torch.Tensor | None, reason: str) -> None:
    assert computed(name, normal(20, 2), label) == NotApplicable(METRICS.build(name).column, reason)


@every_probe
def test_codes_that_are_not_finite_leave_a_blank(name: str) -> None:
    code = normal(20, 2)
    code[3] = torch.nan
    assert computed(name, code, torch.arange(20) % 2).reason == "the codes are not finite"


def test_more_neighbours_than_observations_leave_a_blank() -> None:
    blank = computed({"name": "NearestNeighbours", "neighbours": 17}, normal(20, 2), torch.arange(20) % 2)
    assert blank.reason == "16 observations are known in a fold, fewer than 17 neighbours"
