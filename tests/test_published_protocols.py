"""Data as published protocols take it: expected pixels, no validation split. What is new changes no old id."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vaebench.config import ConfigError, Run
from vaebench.config.registry import DATASETS, LIKELIHOODS
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.base import Dataset, Examples, Splits, data_root
from vaebench.data.datasets.published import Digits
from vaebench.records.record import Record
from vaebench.reporting.tables.labels import labels
from vaebench.sweeps.run import Execution, execute_pack
from vaebench.sweeps.trained import find
from vaebench.training.outside_pack import fit_outside_pack

ROOT = Path(__file__).parents[1]
RECORDS = sorted(ROOT.glob("results/*/records/*.json"))
MODEL = {"name": "VAE", "latent_dim": 2, "network": {"name": "MLP", "hidden": [8]}}


def test_runs_of_earlier_records_keep_their_ids() -> None:
    """Of every committed record. A new keyword of a component that is in one of them needs the mark `Later`."""
    records = [json.loads(path.read_text()) for path in RECORDS]
    assert len(records) > 100
    for record in records:
        again = Run.of(record["config"])
        assert (again.id, again.config) == (record["id"], record["config"])


def test_a_later_keyword_is_part_of_the_id_where_it_is_used() -> None:
    def config(**train: Any) -> dict[str, Any]:
        return Run.of({"model": MODEL, "data": {"name": "Digits", "binarize": "Fixed"},
                       "train": train}).config  # fmt: skip

    plain = config()
    assert config(optimizer="Adam", stages=[], early_stopping=None) == plain
    assert config(optimizer={"name": "Adam", "weight_decay": 0, "eps": 1e-8}) == plain
    used = config(optimizer={"name": "Adam", "weight_decay": 0.1}, early_stopping={"patience": 3})
    assert used["train"]["optimizer"]["weight_decay"] == 0.1
    assert used["train"]["early_stopping"]["patience"] == 3
    assert config(**used["train"]) == used


def test_a_table_says_the_default_of_a_later_keyword_that_varies() -> None:
    adam, sgd = (made(train={"optimizer": name}).config for name in ("Adam", "SGD"))
    decay = made(train={"optimizer": {"name": "Adam", "weight_decay": 0.1}}).config
    assert "optimizer" not in adam["train"]
    assert labels([adam, sgd], ["train.optimizer"])[0].texts == ("Adam", "SGD")
    assert labels([adam, decay], ["train.optimizer.weight_decay"])[0].texts == ("0", "0.1")
    early = made(train={"early_stopping": {"patience": 3}}).config
    assert labels([adam, early], ["train.early_stopping"])[0].texts[0] == "none"


# -- no validation split ----------------------------------------------------------------------------------------------


def splitting(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """Every data set that needs no download and takes `validation`."""
    from PIL import Image

    x = np.random.default_rng(0).random((40, 3)).astype(np.float32)
    np.savez(tmp_path / "whole.npz", x=x, label=np.arange(40) % 2)
    np.savez(tmp_path / "parts.npz", train=x[:25], validation=x[25:30], test=x[30:])
    for i in range(12):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 4), 20 * i, np.uint8)).save(tmp_path / "images" / f"{i}.png")
    own: dict[str, dict[str, Any]] = {
        "whole": {"name": "Arrays", "path": str(tmp_path / "whole.npz")},
        "parts": {"name": "Arrays", "path": str(tmp_path / "parts.npz")},
        "images": {"name": "ImageFolder", "path": str(tmp_path / "images"), "size": 4},
    }
    rest = {n: {"name": n} for n in DATASETS if "validation" in DATASETS.keywords(n) and not {"path"} & {
        *DATASETS.keywords(n)} and DATASETS[n].source is None and _is_here(n)}  # fmt: skip
    return {**own, **rest}


def _is_here(name: str) -> bool:
    files = (path for path in (data_root() / name).rglob("*") if path.is_file())  # a failed download leaves folders
    return name in ("Digits", "LinearGaussian", "Sprites") or any(files)


def rows(x: torch.Tensor) -> list[bytes]:
    return sorted(row.numpy().tobytes() for row in x)


def test_no_validation_split_means_that_its_examples_are_trained_on(tmp_path: Path) -> None:
    """For every data set that splits: the test set is the same, and training and validation are together."""
    known = splitting(tmp_path)
    assert {"whole", "parts", "images", "Digits", "LinearGaussian"} <= known.keys()
    for spec in known.values():
        usual, whole = (DataModule(DATASETS.build({**spec, **v}), batch_size=1) for v in ({}, {"validation": 0}))
        usual.setup("fit")
        whole.setup("fit")
        assert whole.sizes["validation"] == 0
        assert rows(whole.train.x) == rows(torch.cat([usual.train.x, usual.validation.x]))
        assert torch.equal(whole.test.x, usual.test.x)
        assert (whole.train.label is None) == (usual.train.label is None)
        preview = DATASETS.build({**spec, "validation": 0}).preview(tmp_path)
        assert preview is None or spec["name"] == "Arrays" or preview.training == whole.sizes["train"]


def test_a_data_set_that_knows_nothing_of_it_has_it_too() -> None:
    class Plain(Dataset):
        def load(self, root: Path) -> Splits:
            return Splits.of(Examples(torch.arange(20.0)[:, None]), scale=1.0)

    data = DataModule(Plain(validation=0), batch_size=4)
    data.setup("fit")
    assert data.sizes == {"train": 16, "validation": 0, "test": 4}


def made(**parts: Any) -> Run:
    data = {"name": "Digits", "binarize": "Fixed", **parts.pop("data", {})}
    train = {"epochs": 2, "batch_size": 300, **parts.pop("train", {})}
    evaluate = {"draws": 5, **parts.pop("evaluate", {})}
    return Run.of({"model": {**MODEL, **parts.pop("model", {})}, "data": data, "train": train, "evaluate": evaluate,
                   **parts})  # fmt: skip


def executed(runs: list[Run], folder: Path) -> list[Record]:
    folders = [folder / one.id for one in runs]
    found = list(execute_pack(runs, "protocols", [], folders, Execution(wandb="disabled"), lambda *_: None))
    assert [(record.status, record.reason) for record in found] == [("done", None)] * len(runs)
    return found


def test_without_a_validation_split_a_run_trains_alone_and_in_a_pack(tmp_path: Path) -> None:
    runs = [made(data={"validation": 0}, seed=seed) for seed in range(2)]
    for record in executed(runs, tmp_path):
        assert [*record.curve] == ["epoch", "train/objective"]
        assert record.config["data"]["validation"] == 0
    assert "val/objective" not in fit_outside_pack(runs[0], tmp_path, [], lambda *_: None, 60.0).curve


@pytest.mark.parametrize("use", [{"train": {"early_stopping": {"patience": 1}}}, {"evaluate": {"split": "validation"}}])
def test_use_of_a_validation_split_that_is_not_there_is_refused(use: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"expected no use of a validation split, since data\.validation is 0"):
        made(data={"validation": 0}, **use)


# -- expected pixels --------------------------------------------------------------------------------------------------


def test_the_likelihood_of_a_grey_image_is_the_expectation_over_binary_ones() -> None:
    """Every image of five pixels is enumerated; also the bound of K draws is below the expected one."""
    likelihood = LIKELIHOODS.build("Bernoulli", (5,))
    likelihood.expect()
    x, logits = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0]).double(), torch.randn(7, 5).double()
    likelihood.check(x)
    images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=5))).double()
    probability = (x * images + (1 - x) * (1 - images)).prod(-1)
    each = likelihood.log_prob(logits[:, None], images)
    torch.testing.assert_close(likelihood.log_prob(logits, x.expand(7, 5)), each @ probability)
    weights = torch.randn(7, 1).double()  # log p(z) − log q(z|x) of seven draws
    together = (likelihood.log_prob(logits, x.expand(7, 5))[:, None] + weights).logsumexp(0)
    assert float(together) <= float((each + weights).logsumexp(0) @ probability)


def test_expected_pixels_train_and_never_rank_with_other_binarisations(tmp_path: Path) -> None:
    grey = made(data={"binarize": "Expected"})
    (record,) = executed([grey], tmp_path)
    (other,) = executed([made()], tmp_path)
    assert record.comparability["binarize"] == "Expected"
    assert other.comparability["binarize"] == "Fixed"
    data = DataModule(Digits(binarize="Expected"))
    data.setup("fit")
    assert torch.equal(data.train.x, _raw())
    np.savez(tmp_path / "new.npz", x=_raw()[:3].numpy())
    observed, source = find(str(tmp_path / grey.id)).observations(tmp_path / "new.npz")
    assert torch.equal(observed.x, _raw()[:3])
    assert source["binarize"] == "Expected"


def _raw() -> torch.Tensor:
    plain = DataModule(Digits())
    plain.setup("fit")
    return plain.train.x


@pytest.mark.parametrize("name", [name for name in LIKELIHOODS if name != "Bernoulli"])
def test_a_likelihood_that_is_not_linear_refuses_expected_pixels(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"got Expected with x in \[0, 1\] in place of x in \{0, 1\}"):
        made(data={"binarize": "Expected"}, model={"likelihood": name})
    with pytest.raises(ValueError, match="`binarize: Expected` expects a likelihood of binary pixels"):
        LIKELIHOODS.build(name, (2,)).expect()
