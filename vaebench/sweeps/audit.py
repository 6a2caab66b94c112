"""A model that another package has trained, measured here, beside what that package says of it."""

import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaebench.config.registry import Spec
from vaebench.config.seeding import seeded
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets import own
from vaebench.data.datasets.base import Dataset, Examples, Splits
from vaebench.data.loaders import Batch
from vaebench.evaluation.collapse import diagnose
from vaebench.evaluation.estimators.base import evenly_spaced
from vaebench.evaluation.measure import Measurement, build_metrics, measure
from vaebench.models import pythae_folder
from vaebench.models.pythae_folder import PythaeModel
from vaebench.training.trainer import device

BATCH = 100  # draws of an observation that pythae's `get_nll` takes at a time
THEIRS = ("get_nll", "training loss")  # the names of what pythae says


class Audit(NamedTuple):
    """What was measured of a model."""

    read: PythaeModel  # the model
    observations: int  # how many were measured
    measurement: Measurement  # by the metrics of this package
    facts: dict[str, Any]  # the forecast of active units, among others
    theirs: dict[str, float | str]  # what pythae says, by its name; text where it says nothing, with the reason


class Whole(Dataset):
    """A file whose observations of this shape are all measured, at most `most`: each split has all of them."""

    def __init__(self, file: Path, shape: tuple[int, ...], most: int, binarize: Spec | None = None) -> None:
        super().__init__(binarize=binarize)
        self.file, self.shape, self.most = file, shape, most

    @property
    def name(self) -> str:
        """The file, for messages."""
        return str(self.file)

    def load(self, root: Path) -> Splits:
        """All observations, three times.

        Raises:
            ValueError: if they do not have the model's shape.
        """
        examples, scale = own.whole(self.file, self.shape)
        same = Examples(*evenly_spaced([Batch(*examples)], self.most))
        return Splits(same, same, same, scale)


def audit(
    folder: Path,
    file: Path,
    draws: int = 1000,
    most: int = 1000,
    seed: int = 0,
    trust: bool = False,
    binarize: Spec | None = None,
) -> Audit:
    """Measure a model that pythae has saved.

    Args:
        folder: that pythae's trainer wrote.
        file: observations, .npy or .npz.
        draws: K, the number of posterior draws of each observation.
        most: how many observations are measured, evenly spaced.
        trust: read pickled networks, which runs the code in them.
        binarize: how grey levels become 0 and 1.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if folder or file cannot be read, or do not fit each other.
    """
    read = pythae_folder.read(folder, trust)
    model, whole = read.model.to(device()), Whole(file, read.model.shape, most, binarize)
    data = DataModule(whole, seed, batch_size=1).to(device())
    data.setup("test")
    model.likelihood.check(data.test.x)
    data.batch_size = min(64, data.sizes["test"])
    found = measure(model, data.batches("test"), build_metrics(None), draws, seed)
    why = diagnose(model, data)
    x = data.test.x
    return Audit(read, len(x), found.joined_with(why.measurement), why.facts, _theirs(read, x, draws, seed))


def _theirs(read: PythaeModel, x: Tensor, draws: int, seed: int) -> dict[str, float | str]:
    """What pythae's own methods say of the same observations; why they say nothing, if they fail."""
    try:
        import pythae.models  # noqa: F401
    except ImportError:
        return dict.fromkeys(THEIRS, "pythae is not installed")
    try:
        return _said(read, x, draws, seed)
    except Exception as error:  # its code, with what the folder says
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        return dict.fromkeys(THEIRS, f"pythae fails ({reason})")


def _said(read: PythaeModel, x: Tensor, draws: int, seed: int) -> dict[str, float | str]:
    import pythae.models

    own = {k: v for k, v in read.config.items() if k not in ("name", "uses_default_encoder", "uses_default_decoder")}
    own["input_dim"] = tuple(own["input_dim"])
    decoder = read.model.decoder.decoder if read.binary and "decoder" in read.own else read.model.decoder
    parts = {"encoder": read.model.encoder, "decoder": decoder}
    parts = {part: parts[part] for part in read.own}
    model = getattr(pythae.models, read.name)(getattr(pythae.models, read.config["name"])(**own), **parts)
    model.load_state_dict(read.state)
    model = model.to(x.device).eval()
    said: dict[str, float | str] = {}
    with torch.no_grad(), seeded(seed, "pythae"), redirect_stdout(io.StringIO()):  # it prints its progress
        if hasattr(model, "get_nll"):
            said["get_nll"] = float(model.get_nll(x, n_samples=draws, batch_size=min(draws, BATCH)))
        else:
            said["get_nll"] = f"{read.name} of pythae has none"
        said["training loss"] = float(model({"data": x}).loss)
    return said
