"""What can be known before training is said before training, at its place, and once."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import vaebench
from PIL import Image

from vaebench.config import ConfigError, Study, load
from vaebench.config.registry import DATASETS
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.base import Dataset, Preview
from vaebench.records import provenance
from vaebench.records.files import WriteError, check_writable
from vaebench.sweeps import preflight
from vaebench.sweeps.engines import Inline

HEAD = """\
question: Does it matter?
model: {name: BetaVAE, latent_dim: 2, network: {name: MLP, hidden: [8]}, likelihood: Gaussian}
data: {name: Digits}
train: {epochs: 1}
grid:
  model.beta: [1, 2]
  seed: 0..4
"""

Write = Callable[[str], Study]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VAEBENCH_DATA", raising=False)

    def written(text: str) -> Study:
        Path("study.yaml").write_text(text)
        return load("study.yaml")

    return written


def refusal(study: Study) -> str:
    with pytest.raises(ConfigError) as caught:
        preflight.refuse(study, study.runs, Inline())
    return str(caught.value)


def with_data(spec: str) -> str:
    return HEAD.replace("{name: Digits}", spec)


KNOWN = {
    "batch beyond the data": (
        HEAD.replace("epochs: 1", "epochs: 1, batch_size: 1259"),
        "study.yaml:4: train.batch_size: expected at most 1258, the training examples of Digits, got 1259; lower it",
    ),
    "a number that no curve has": (
        HEAD.replace("epochs: 1", "epochs: 1, early_stopping: {patience: 1, monitor: val/elbow}"),
        "study.yaml:4: train.early_stopping.monitor: expected one of val/objective",
    ),
    "no file": (with_data("{name: Arrays, path: nope.npz}"), "study.yaml:3: data.path: Arrays: expected a file"),
    "no folder": (with_data("{name: ImageFolder, path: nope}"), "study.yaml:3: data.path: ImageFolder: expected a"),
    "no arrays": (with_data("{name: Arrays, path: study.yaml}"), "study.yaml:3: data: study.yaml: expected an .npy"),
    "no pictures": (with_data("{name: ImageFolder, path: .}"), "study.yaml:3: data: .: expected image files"),
    "more columns than dimensions": (
        with_data("{name: LinearGaussian, dim: 3}"),
        "study.yaml:3: data: expected latent_dim ≤ dim, got 4 > 3",
    ),
    "too few observations": (
        with_data("{name: LinearGaussian, n: 80}"),
        "train.batch_size: expected at most 56, the training examples of LinearGaussian, got 64; lower it",
    ),
    "network that takes no vectors": (
        with_data("{name: LinearGaussian}").replace("{name: MLP, hidden: [8]}", "Conv"),
        "study.yaml:2: model: ",
    ),
    "network beyond the memory": (HEAD.replace("[8]", "[99999999]"), "study.yaml:2: model: this run needs about"),
    "draws beyond the memory": (
        HEAD.replace("train: {epochs: 1}", "train: {epochs: 1}\nevaluate: {draws: 1000000000}"),
        "study.yaml:5: evaluate.draws: 1000000000 draws of a batch need about",
    ),
    "devices beyond the machine": (
        HEAD.replace("epochs: 1", "epochs: 1, devices: 999"),
        f"study.yaml:4: train.devices: expected at most {torch.cuda.device_count() or provenance.cores()}, ",
    ),
}


@pytest.mark.parametrize(("text", "expected"), KNOWN.values(), ids=KNOWN)
def test_a_study_that_is_known_to_fail_is_refused_in_one_line(write: Write, text: str, expected: str) -> None:
    message = refusal(write(text))
    assert "\n" not in message
    assert expected in message
    assert "grid point" not in message  # it is true of every run


def test_a_fault_of_one_value_of_an_axis_is_said_there(write: Write) -> None:
    text = HEAD + "  train.batch_size:\n  - 64\n  - 5000\n"
    assert refusal(write(text)).startswith("study.yaml:10: grid.train.batch_size[1]: expected at most 1258")


PICKY = '''
from vaebench import MODELS, VAE


@MODELS.register
class Picky{digit}(VAE):
    """A VAE with two numbers, of which one must be less than the other."""

    def __init__(self, shape, seed: int = 0, *, low: float = 0.1, high: float = 0.5, **kwargs):
        super().__init__(shape, seed, **kwargs)
        if low >= high:
            raise ValueError(f"expected less than {{high}}, got low {{low}}")
'''


@pytest.mark.parametrize("values", ["[0.1, 0.9]", "[0.9, 0.1]"])
def test_a_model_that_refuses_one_real_number_is_refused_wherever_that_stands(write: Write, values: str) -> None:
    """Both runs are of one pack: packs are told apart by architecture."""
    digit = values[3]
    Path("picky.py").write_text(PICKY.format(digit=digit))
    text = HEAD.replace("BetaVAE", f"Picky{digit}").replace("model.beta: [1, 2]", f"model.low: {values}")
    assert "expected less than 0.5, got low 0.9" in refusal(write(f"imports: [picky.py]\n{text}"))


def test_a_fault_of_an_override_is_said_of_the_command_line(write: Write) -> None:
    write(HEAD)
    assert refusal(load("study.yaml", ["batch_size=5000"])).startswith("command line: train.batch_size: expected at")


def test_what_another_machine_may_have_is_left_to_it(write: Write) -> None:
    class Elsewhere(Inline):
        is_here, devices = False, (None, "")

    study = write(with_data("{name: Arrays, path: nope.npz}").replace("epochs: 1", "epochs: 1, devices: 999"))
    preflight.refuse(study, study.runs, Elsewhere())


def test_nothing_is_refused_that_is_done(write: Write) -> None:
    preflight.refuse(write(with_data("{name: Arrays, path: nope.npz}")), [], Inline())


# -- what data sets know of themselves --------------------------------------------------------------------------------


def arrays(**shapes: tuple[int, ...]) -> Callable[[Path], dict[str, object]]:
    def made(folder: Path) -> dict[str, object]:
        np.savez(folder / "own.npz", **{name: np.zeros(shape, np.uint8) for name, shape in shapes.items()})
        return {"name": "Arrays", "path": "own.npz"}

    return made


def npy(folder: Path) -> dict[str, object]:
    np.save(folder / "own.npy", np.zeros((11, 3)))
    return {"name": "Arrays", "path": "own.npy"}


def pictures(*places: str) -> Callable[[Path], dict[str, object]]:
    def made(folder: Path) -> dict[str, object]:
        for place in places:
            for i in range(11):
                (folder / "own" / place).mkdir(parents=True, exist_ok=True)
                Image.new("L", (9, 7)).save(folder / "own" / place / f"{i}.png")
        return {"name": "ImageFolder", "path": "own", "size": 5, "grey": len(places) == 1}

    return made


OWN: dict[str, Callable[[Path], dict[str, object]]] = {
    "Digits": lambda _: {"name": "Digits"},
    "LinearGaussian": lambda _: {"name": "LinearGaussian", "n": 33, "dim": 5},
    "vectors": npy,
    "images": arrays(x=(15, 6, 7)),
    "channels first": arrays(images=(15, 3, 6, 7)),
    "channels last": arrays(x=(15, 6, 7, 3), label=(15,)),
    "Keras": arrays(x_train=(15, 6, 7), x_test=(4, 6, 7)),
    "MedMNIST": arrays(train_images=(15, 6, 7), val_images=(3, 6, 7), test_images=(4, 6, 7)),
    "pictures": pictures("."),
    "pictures in splits": pictures("train", "test"),
    "pictures in all splits": pictures("train/a", "test/a", "validation/a"),
}


@pytest.mark.parametrize("make", OWN.values(), ids=OWN)
def test_a_preview_is_what_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make) -> None:
    monkeypatch.chdir(tmp_path)
    spec = make(tmp_path)
    for keywords in ({}, {"validation": 0}):
        data = DataModule(DATASETS.build(spec | keywords), batch_size=1)
        data.setup()
        assert data.dataset.preview(tmp_path) == Preview(data.sizes["train"], data.shape)


SIZES = {
    "MNIST": Preview(50_000, (1, 28, 28)),
    "FashionMNIST": Preview(50_000, (1, 28, 28)),
    "KMNIST": Preview(50_000, (1, 28, 28)),
    "LucasMNIST": Preview(1000, (1, 28, 28)),
    "MNISTVariant": Preview(10_000, (1, 28, 28)),
    "Omniglot": Preview(17_352, (1, 28, 28)),
    "CIFAR10": Preview(45_000, (3, 32, 32)),
}


@pytest.mark.parametrize("name", SIZES)
def test_what_can_be_fetched_is_known_without_the_network(tmp_path: Path, name: str) -> None:
    """The sizes are those of its docstring, and nothing is written where it would be looked for."""
    assert DATASETS.build(name).preview(tmp_path) == SIZES[name]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", SIZES)
def test_without_a_validation_split_its_examples_are_known_to_be_trained_on(tmp_path: Path, name: str) -> None:
    whole = {"MNISTVariant": 12_000, "Omniglot": 19_280, "CIFAR10": 50_000}.get(name, 60_000)
    if "validation" in DATASETS.keywords(name):
        assert DATASETS.build({"name": name, "validation": 0}).preview(tmp_path).training == whole


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_is_tried_here(name: str) -> None:
    own = {"Arrays", "ImageFolder", "Digits", "LinearGaussian", "Sprites", "SparseDictionary"}
    assert name in own | SIZES.keys() or DATASETS.named(name).preview is Dataset.preview


# -- the machine ------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a login of W&B."""
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_CONFIG_DIR", "WANDB_IDENTITY_TOKEN_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_online_without_a_login_is_refused_without_the_network(no_login: Path) -> None:
    with pytest.raises(ValueError, match=r"nobody is logged in to api\.wandb\.ai on this machine; run `wandb login`"):
        preflight.check_login()
    (no_login / ".netrc").write_text("machine elsewhere login user password secret\n")
    with pytest.raises(ValueError, match="nobody is logged in"):
        preflight.check_login()


def test_a_login_is_found_wherever_it_is_kept(no_login: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in preflight.WANDB:
        (no_login / ".netrc").write_text(f"machine {host}\n  login user\n  password secret\n")
        preflight.check_login()
    (no_login / "settings").write_text("[default]\nbase_url = https://wandb.example.org:8080\n")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(no_login))
    with pytest.raises(ValueError, match=r"wandb\.example\.org"):
        preflight.check_login()
    monkeypatch.setenv("NETRC", str(no_login / "passwords"))
    (no_login / "passwords").write_text("machine wandb.example.org login user password secret\n")
    preflight.check_login()
    monkeypatch.delenv("NETRC")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    preflight.check_login()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"beta: no file can be made here \(.*file is no folder\)"):
        check_writable(tmp_path / "file" / "beta")
    check_writable(tmp_path / "runs" / "beta")
    assert not [*(tmp_path / "runs" / "beta").iterdir()]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(WriteError, match=r"no file can be made here \(Permission denied\)"):
        check_writable(tmp_path / "runs" / "beta")


VERBS = {
    "batch": (["sweep", "study.yaml", "batch_size=5000"], "train.batch_size: expected at most 1258"),
    "train": (["train", "study.yaml", "beta=1", "seed=0", "batch_size=5000"], "train.batch_size: expected at most"),
    "login": (["sweep", "study.yaml", "--wandb", "online"], "--wandb online: nobody is logged in"),
    "login of one": (["train", "study.yaml", "--id", "beta=1,seed=0", "--wandb", "online"], "nobody is logged in"),
    "GPUs": (["sweep", "study.yaml", "--gpus", "99"], "--gpus: expected at most"),
    "endless GPUs": (["sweep", "study.yaml", "--engine", "slurm", "--gpus", "inf"], "--gpus: expected a finite"),
    "SLURM": (["sweep", "study.yaml", "--slurm", "time=10"], "--slurm: the engine"),
    "twice": (["sweep", "study.yaml", "beta=1", "beta=2"], "command line: model.beta: given twice"),
}


@pytest.mark.parametrize(("arguments", "expected"), VERBS.values(), ids=VERBS)
@pytest.mark.usefixtures("no_login")
def test_a_command_that_is_known_to_fail_leaves_nothing(arguments: list[str], expected: str) -> None:
    Path("study.yaml").write_text(HEAD)
    assert expected in " ".join(vaebench(*arguments, status=1).split())
    assert not Path("runs").exists()


def test_no_worker_is_a_fault_of_the_command(no_login: Path) -> None:
    (no_login / "study.yaml").write_text(HEAD)
    vaebench("sweep", "study.yaml", "--workers", "0", status=2)
