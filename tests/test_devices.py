"""Everything on a device that is not the CPU: nothing is computed elsewhere, and the numbers are the CPU's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from elsewhere import DEVICE, Held, elsewhere
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor

from vaebench.config import load
from vaebench.config.registry import DATASETS, ESTIMATORS, LIKELIHOODS, MODELS, NETWORKS, POSTERIORS, PRIORS
from vaebench.data.datamodule import DataModule
from vaebench.data.loaders import Batch
from vaebench.evaluation.measure import Measurement, build_estimators, build_metrics, estimate, measure
from vaebench.records.files import CHECKPOINT
from vaebench.records.record import Record
from vaebench.sweeps import trained
from vaebench.sweeps.run import Execution, execute_pack
from vaebench.training.packed import capture

SHAPE = (1, 8, 8)

MODEL_SPECS = [
    *({"name": "VAE", "likelihood": likelihood, "prior": prior} for likelihood in LIKELIHOODS for prior in PRIORS),
    *({"name": "VAE", "posterior": posterior} for posterior in POSTERIORS if posterior != "Diagonal"),
    *({"name": model} for model in MODELS if model != "VAE"),
    *({"name": "AE", "network": network} for network in NETWORKS),
]

STUDY = """
question: Does a GPU give the numbers of the CPU?
data: {name: Digits, binarize: Dynamic}
train: {epochs: 1, batch_size: 256, validate_every: 1, gradient_clip: 1.0}
evaluate: {draws: 10, estimators: [{name: ErasedOrShifted, observations: 20}]}
grid:
  model: MODELS
  model.latent_dim: [3]
  seed: SEEDS
"""

PACKS = (
    [{"name": "BetaVAE", "beta": 1}, {"name": "BetaVAE", "beta": 4}, {"name": "BetaVAE", "learning_rate": 1e30}],
    [{"name": "DenoisingAE"}],
    [{"name": "StackedAE", "corruption": ["Masking"]}],
    [{"name": "ContractiveAE"}],
    [{"name": "VAE", "prior": "VampPrior", "network": "Conv"}],
    [{"name": "LinearVAE", "likelihood": "OptimalGaussian"}],
)


def label(spec: dict[str, Any]) -> str:
    return "-".join(map(str, spec.values()))


def observations(count: int = 9) -> Batch:
    stream = torch.Generator().manual_seed(0)
    return Batch(torch.bernoulli(torch.full((count, *SHAPE), 0.3), generator=stream), torch.arange(count) % 3)


def there(batch: Batch) -> Batch:
    return Batch(*(t.to(DEVICE) for t in batch))


def assert_same(found: Measurement, expected: Measurement) -> None:
    """Two measurements with equal names, reasons and numbers."""
    assert found.not_applicable == expected.not_applicable
    assert [e.name for e in found.estimates] == [e.name for e in expected.estimates]
    for ours, theirs in zip(found.estimates, expected.estimates, strict=True):
        assert ours.value == pytest.approx(theirs.value, rel=1e-4, abs=1e-4), ours.name


@pytest.mark.parametrize("spec", MODEL_SPECS, ids=label)
def test_objective_and_metrics_stay_on_the_model_s_device(spec):
    made, batch = MODELS.build({"latent_dim": 3, **spec}, SHAPE, 0), observations()
    expected = measure(made, [batch], build_metrics(None), 20, 0)
    with elsewhere():
        moved, seen = made.to(DEVICE), there(batch)
        objective = moved.objective(seen.x, moved.noise(len(seen.x), torch.Generator(DEVICE)))
        assert isinstance(objective, Held)
        objective.sum().backward()
        assert all(p.grad is None or isinstance(p.grad, Held) for p in moved.parameters())
        assert_same(measure(moved, [seen], build_metrics(None), 20, 0), expected)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_stay_on_the_model_s_device(name):
    few = {k: 2 for k, p in ESTIMATORS.keywords(name).items() if type(p.default) is int}
    made, batch = MODELS.build({"name": "VAE", "latent_dim": 3}, SHAPE, 0), observations()
    asked = build_estimators([{"name": name, **few}])
    expected = estimate(made, [batch], asked, 0)
    with elsewhere():
        assert_same(estimate(made.to(DEVICE), [there(batch)], asked, 0), expected)
    assert expected.estimates


@pytest.fixture
def on_the_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lightning trains on the device, and takes the model back to the CPU when it is done, as it does from a GPU.

    Programs are carried out and not recorded: a recording cannot look through tensors of this device.
    """

    class Accelerator(CPUAccelerator):
        def setup_device(self, device: torch.device) -> None:
            """Any is welcome."""

    class Trainer(lightning.Trainer):
        def __init__(self, accelerator: str, **keywords: Any) -> None:
            super().__init__(strategy=SingleDeviceStrategy(DEVICE, Accelerator()), **keywords)

    def carried_out(step: Any, fixed: Any, given: Any, gradient: bool = False) -> Any:
        def run(*data: Tensor) -> list[Tensor]:
            with torch.set_grad_enabled(gradient):
                made: list[Tensor] = step(*fixed, *data)
            return made

        return run

    monkeypatch.setattr(lightning, "Trainer", Trainer)
    monkeypatch.setattr(capture, "capture", carried_out)
    monkeypatch.setattr(trained, "device", lambda: DEVICE)
    with elsewhere():
        yield


def executed(folder: Path, models: list[dict[str, Any]]) -> list[Record]:
    """The runs of a study in one pack; two seeds if the pack has several models."""
    folder.mkdir()
    seeds = "0..1" if len(models) > 1 else "[0]"
    (folder / "study.yaml").write_text(STUDY.replace("MODELS", str(models)).replace("SEEDS", seeds))
    runs, how = load(folder / "study.yaml").runs, Execution(wandb="disabled")
    return list(execute_pack(runs, "study", [], [folder / run.id for run in runs], how, lambda *_: None))


@pytest.fixture(params=PACKS, ids=lambda models: label(models[0]))
def models(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[list[dict[str, Any]], list[Record]]:
    """Models of a pack, and their records on the CPU."""
    return request.param, executed(tmp_path / "here", request.param)


def test_runs_on_a_device_have_the_records_of_the_cpu(models, tmp_path, on_the_device):
    """Trained, measured, explained and pictured."""
    specs, expected = models
    for ours, theirs in zip(executed(tmp_path / "there", specs), expected, strict=True):
        folder = tmp_path / "there" / ours.id
        assert (ours.status, ours.reason, ours.facts.keys()) == (theirs.status, theirs.reason, theirs.facts.keys())
        assert_same(
            Measurement(ours.estimates, ours.not_applicable), Measurement(theirs.estimates, theirs.not_applicable)
        )
        if ours.status == "done":
            assert ours.provenance["device"].startswith(DEVICE.type)
            assert (folder / "arrays.npz").is_file()
            assert all(t.device.type == "cpu" for t in torch.load(folder / CHECKPOINT)["state_dict"].values())
            recorded = {e.name: e for e in ours.estimates}
            again = trained.reevaluate(folder, draws=10)
            assert_same(again, Measurement([recorded[e.name] for e in again.estimates], again.not_applicable))


def test_data_without_a_trainer_is_where_it_is_placed(on_the_device):
    """As after a training in processes of its own, and in an evaluation of what was trained before."""
    data = DataModule(DATASETS.build("Digits"))
    data.setup("test")
    assert isinstance(next(iter(data.to(DEVICE).batches("test"))).x, Held)
    assert isinstance(data.on_device("train")[torch.arange(3)].x, Held)
    assert not isinstance(next(iter(data.to(torch.device("cpu")).batches("test"))).x, Held)


def test_tensors_of_two_devices_are_refused():
    """Else none of this would say anything."""
    with elsewhere(), pytest.raises(RuntimeError, match="expected all tensors on one device"):
        torch.ones(3, device=DEVICE) + torch.ones(3)
