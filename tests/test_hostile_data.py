"""Own data as hostile as it comes: one line that says what was expected, what came, and what to do."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vaebench.config import load
from vaebench.config.registry import DATASETS
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.base import Dataset, Examples, Splits
from vaebench.models.epoch import Diverged
from vaebench.training.fit import fit

N = 40
RANDOM = np.random.RandomState(0)
FLOATS = RANDOM.randn(N, 12)
GREY = RANDOM.randint(0, 255, (N, 8, 8), np.uint8)
LABEL = np.arange(N) % 4


def splits(folder: Path, scale: float | None = None, **arrays: np.ndarray) -> Splits:
    np.savez(folder / "x.npz", **arrays)
    found = DATASETS.build({"name": "Arrays", "path": "x.npz", "scale": scale}).load(folder)
    found.check("Arrays")
    return found


REFUSED = {
    "too few labels": (
        {"x": GREY, "label": LABEL[:-1]},
        r"x.npz, label: expected 40 labels, one for each of x, got 39",
    ),
    "too many labels": ({"x": GREY, "label": np.tile(LABEL, 2)}, r"expected 40 labels, .* got 80"),
    "too few of a split": (
        {"train": GREY, "test": GREY, "train_label": LABEL, "test_label": LABEL[:3]},
        r"test_label: expected 40 labels, one for each of test, got 3",
    ),
    "labels beyond 63 bits": (
        {"x": GREY, "label": LABEL.astype(np.uint64) + np.uint64(2**63)},
        r"labels below 2\^63, got 9223372036854775811",
    ),
    "float labels": ({"x": GREY, "label": LABEL / 1}, r"one integer an observation, .* float64; number the classes"),
    "words for labels": ({"x": GREY, "label": LABEL.astype(str)}, r"one integer an observation, .* <U\d+; number"),
    "complex labels": ({"x": GREY, "label": LABEL * 1j}, r"one integer an observation"),
    "a row of labels": ({"x": GREY, "label": LABEL[None]}, r"one integer an observation, got shape \[1, 40\]"),
    "1e300": (
        {"x": FLOATS * 1e300},
        r"float32 can hold, up to 3.4e\+38 in magnitude, got 480 beyond, up to .*e\+300; divide",
    ),
    "1e-300": ({"x": FLOATS * 1e-300}, r"float32 can hold, got none above .*e-300, which it takes for 0; multiply"),
    "1e38": (
        {"x": FLOATS * 1e37},
        r"in float32, up to 5.3e\+18 .* scale the data, best to a standard deviation",
    ),
    "NaN": ({"x": np.where(FLOATS > 2, np.nan, FLOATS)}, r"expected finite numbers, got \d+ NaN or infinite; remove"),
    "infinity": ({"x": np.where(FLOATS > 2, np.inf, FLOATS)}, r"expected finite numbers"),
    "no rows": ({"x": FLOATS[:0]}, r"at least one observation of at least one number, got shape \[0, 12\]"),
    "no rows in a split": ({"train": GREY, "test": GREY[:0]}, r"test: expected at least one observation"),
    "no columns": ({"x": FLOATS[:, :0]}, r"at least one observation of at least one number"),
    "no width": ({"x": GREY[:, :, :0]}, r"at least one observation of at least one number"),
    "one row": ({"x": FLOATS[:1]}, r"expected at least one observation"),
    "complex": ({"x": FLOATS * 1j}, r"got numbers of type complex128; convert them"),
    "words": ({"x": FLOATS.astype(str)}, r"got numbers of type <U\d+; convert them"),
    "times": ({"x": FLOATS.astype("datetime64[s]")}, r"got numbers of type datetime64\[s\]; convert them"),
    "fields": ({"x": np.zeros((N, 2), [("a", "f4")])}, r"got numbers of type .*; convert them"),
    "negative": ({"x": GREY.astype(int) - 300}, r"integers from 0 to 255, or floats, got -300 to -4\d; convert them"),
    "one axis": ({"x": FLOATS[:, 0]}, r"expected \[N, D\]"),
    "five axes": ({"x": GREY[:, None, None]}, r"expected \[N, D\]"),
    "other shapes": (
        {"train": GREY, "test": GREY[:, :4]},
        r"like the training set's, shape \[1, 8, 8\] .* got shape \[1, 4, 8\]",
    ),
    "other kinds": (
        {"train": FLOATS, "test": FLOATS > 0},
        r"like the training set's, .* torch.float32, got .* torch.uint8",
    ),
    "no test": ({"train": GREY, "validation": GREY}, r"or two named train and test; got train, validation; rename one"),
    "no arrays": ({}, r"got none; rename one"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_sense_is_one_line(name, tmp_path):
    arrays, message = REFUSED[name]
    with pytest.raises(ValueError, match=message) as caught:
        splits(tmp_path, **arrays)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scale", [1e-30, 1e-300, 1e39, 1e300])
def test_a_scale_that_leaves_nothing_of_the_data_is_refused(scale, tmp_path):
    with pytest.raises(ValueError, match=r"stands for 1\); scale the data|scale that float32 can hold"):
        splits(tmp_path, scale, x=FLOATS * 100)


@pytest.mark.parametrize(
    "x",
    [
        FLOATS.astype(">f8"), np.asfortranarray(FLOATS), FLOATS.astype(np.float16), FLOATS[::-1], FLOATS.astype("g"),
        FLOATS * 1e15, FLOATS * 1e-30, FLOATS > 0, (GREY > 9).astype(">i8"), GREY.astype(">u2"), GREY[..., None],
    ],
    ids=lambda a: f"{a.dtype.str}{a.strides}",
)  # fmt: skip
@pytest.mark.parametrize(
    "label", [LABEL.astype(t) for t in ("u1", ">i2", "u8", "?")] + [LABEL - 2], ids=lambda a: a.dtype.str
)
def test_what_makes_sense_comes_through_whole(x, label, tmp_path):
    found = splits(tmp_path, x=x, label=label)
    ours = torch.cat([e.x for e in found[:3]]).flatten(1).double().sort(0).values.numpy()
    np.testing.assert_allclose(ours, np.sort(x.reshape(N, -1).astype(float), 0), rtol=1e-3)
    assert sorted(torch.cat([e.label for e in found[:3]]).tolist()) == sorted(label.astype(int).tolist())


def test_a_source_of_one_s_own_is_told_of_labels_that_do_not_match():
    with pytest.raises(ValueError, match="expected 40 labels, one an observation, got 3"):
        Splits.of(Examples(torch.zeros(N, 2), torch.zeros(3, dtype=torch.int64)), 1.0)


class Given(Dataset):
    """What a test gives."""

    def __init__(self, splits: object, validation: float | None = None) -> None:
        super().__init__(validation=validation)
        self.splits = splits

    def load(self, root: Path) -> Splits:
        return self.splits


def loaded(splits: object, **keywords: float) -> Splits:
    data = DataModule(Given(splits, **keywords), batch_size=4)
    data.setup()
    return data._loaded


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_floats_of_a_source_of_one_s_own_are_converted(kind):
    x = torch.from_numpy(FLOATS).to(kind)
    found = loaded(Splits.of(Examples(x, torch.arange(N, dtype=torch.int32)), 1.0))
    assert {e.x.dtype for e in found[:3]} == {torch.float32}
    assert {e.label.dtype for e in found[:3]} == {torch.int64}
    every = torch.cat([e.x[e.label.argsort()] for e in found[:3]])
    order = torch.cat([e.label.sort().values for e in found[:3]]).argsort()
    assert torch.equal(every[order], x.to(torch.float32))


@pytest.mark.parametrize("kind", [torch.int64, torch.int16, torch.uint8], ids=str)
def test_grey_levels_of_a_source_of_one_s_own_are_converted(kind):
    grey = torch.from_numpy(GREY)[:, None]
    assert torch.equal(
        loaded(Splits.of(Examples(grey.to(kind)), 255.0)).test.x, Splits.of(Examples(grey), 255.0).test.x
    )


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ((1, 2), "Given: expected Splits from load, e.g. by Splits.of, got tuple"),
        (Splits(*[torch.zeros(9, 2)] * 3, 1.0), r"Given, train: expected Examples\(x, label\), got Tensor"),
        (Splits(Examples(torch.zeros(9, 2)), None, None, 1.0), "Given, validation: expected Examples.*got NoneType"),
        (Splits(*[Examples(FLOATS)] * 3, 1.0), "Given, train: expected a tensor as x, got ndarray; convert it"),
        (Splits(*[Examples(torch.zeros(9, 2), LABEL)] * 3, 1.0), "expected a tensor as label, got ndarray"),
        (Splits(*[Examples(torch.full((9, 2), torch.inf, dtype=torch.float64))] * 3, 1.0), "NaN or infinite"),
        (Splits(*[Examples(torch.full((9, 2), 1e300, dtype=torch.float64))] * 3, 1.0), "that float32 can hold"),
        (Splits(*[Examples(torch.full((9, 2), 256))] * 3, 1.0), "in uint8 or float32, got torch.int64; convert them"),
    ],
)
def test_a_source_of_one_s_own_that_gives_something_else_is_said(splits, said):
    with pytest.raises(ValueError, match=said):
        loaded(splits)


def test_without_a_validation_split_every_example_of_a_source_of_one_s_own_is_kept():
    """Its own validation split is trained on, after its training split; an empty one changes nothing."""
    x = torch.arange(20.0)[:, None]
    parts = [Examples(x[a:b], torch.arange(a, b)) for a, b in ((0, 9), (9, 13), (13, 20))]
    found = loaded(Splits(*parts, 1.0), validation=0)
    assert torch.equal(found.train.x, x[:13])
    assert torch.equal(found.train.label, torch.arange(13))
    assert len(found.validation.x) == 0
    assert torch.equal(found.test.x, x[13:])
    none = loaded(Splits(parts[0], Examples(x[:0], torch.arange(0)), parts[2], 1.0), validation=0)
    assert torch.equal(none.train.x, x[:9])
    with pytest.raises(ValueError, match="validation: expected at least one observation"):
        loaded(Splits(parts[0], Examples(x[:0]), parts[2], 1.0))


def test_a_validation_split_that_does_not_fit_is_not_trained_on():
    """Without one, it is refused as it is with one; what only joining would lose is refused too."""
    x, label, factors = torch.rand(20, 3), torch.arange(20), torch.zeros(20, 2).long()
    train, test = Examples(x, label, factors), Examples(x + 1, label, factors)
    wrong = {
        "validation: expected observations like the training set's": train._replace(x=torch.rand(20, 4)),
        "validation: expected observations like": train._replace(x=torch.zeros(20, 3).byte()),
        "validation: expected finite": train._replace(x=x * torch.nan),
        "validation: expected labels like.* it has no labels": train._replace(label=None),
        "validation: expected factors like.* it has no factors": train._replace(factors=None),
        "validation: expected factors like.* it has other factors": train._replace(factors=torch.zeros(20, 3).long()),
    }
    for said, validation in wrong.items():
        with pytest.raises(ValueError, match=said):
            loaded(Splits(train, validation, test, 1.0), validation=0)
    with pytest.raises(ValueError, match=r"validation: expected labels like.* it has its own labels"):
        loaded(Splits(Examples(x), Examples(x, label), test, 1.0), validation=0)
    other = test._replace(x=torch.zeros(20, 3).byte())
    with pytest.raises(ValueError, match="test: expected observations like"):
        loaded(Splits(train, train, other, 1.0), validation=0)


def test_a_training_that_cannot_hold_large_numbers_is_told_of_them(tmp_path, monkeypatch):
    """Neither together nor alone is a learning rate to blame for numbers that no network starts well on."""
    np.savez(tmp_path / "x.npz", x=FLOATS.astype(np.float32) * np.float32(1e15))
    monkeypatch.setenv("VAEBENCH_DATA", str(tmp_path))
    study = "question: Q?\nmodel: {name: VAE, likelihood: Gaussian}\ndata: {name: Arrays, path: x.npz}\n"
    (tmp_path / "a.yaml").write_text(study + "train: {epochs: 3, batch_size: 10}\ngrid: {seed: 0..1}\n")
    runs = load(tmp_path / "a.yaml", []).runs
    folders = [tmp_path / run.id for run in runs]
    for folder in folders:
        folder.mkdir()
    for outcome in fit(runs, folders, [[]] * 2, lambda *_: None):
        assert isinstance(outcome, Diverged)
        assert "scale the data to a standard deviation of about 1" in str(outcome)
        assert "learning_rate" not in str(outcome)


def test_ordinary_data_is_not_blamed(tmp_path):
    for data in ("Digits", "LinearGaussian"):
        module = DataModule(DATASETS.build(data), root=tmp_path)
        module.setup()
        assert module.values_too_large is None


def pictures(folder: Path, size: int = 4) -> Splits:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PIL warns of some files as well
        return DATASETS.build({"name": "ImageFolder", "path": str(folder), "size": size}).load(folder)


def png(folder: Path) -> bytes:
    Image.fromarray(GREY[0]).save(folder / "0.png")
    return (folder / "0.png").read_bytes()


def test_a_damaged_picture_is_named_wherever_the_damage_is(tmp_path):
    """PIL may read past some damage; whatever it raises is one line."""
    whole, said = png(tmp_path), []
    for place in range(0, len(whole), 3):
        (tmp_path / "0.png").write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        try:
            pictures(tmp_path)
        except ValueError as error:
            said.append(str(error))
    assert len(said) > len(whole) // 6
    assert all(text.startswith(f"{tmp_path / '0.png'}: expected an image (") for text in said)
    assert "\n" not in "".join(said)


@pytest.mark.parametrize(
    ("levels", "fault"),
    [
        (np.full((8, 8), 2**20, np.int32), "grey levels from 0 to 65535"),
        (np.full((8, 8), -1, np.int32), "grey levels from 0 to 65535"),
        (np.ones((8, 8), np.float32), "its pixels are floats"),
    ],
)
def test_pixels_that_would_be_cut_off_are_refused(levels, fault, tmp_path):
    Image.fromarray(levels).save(tmp_path / "0.tiff")
    with pytest.raises(ValueError, match=rf"0.tiff: expected an image \(.*{fault}"):
        pictures(tmp_path)


def test_sixteen_bits_and_any_size_become_one_size_of_eight(tmp_path):
    for i, side in enumerate((1, 3, 8, 50)):
        Image.fromarray(np.full((side, 2 * side), 65535 // 2, np.uint16)).save(tmp_path / f"{i}.png")
    found = torch.cat([e.x for e in pictures(tmp_path)[:3]])
    assert found.shape == (4, 3, 4, 4)
    assert found.unique().tolist() == [127]


def test_what_is_no_file_is_no_picture(tmp_path):
    """Neither a folder with such a name nor a pipe, which would never end; a link to nothing is named."""
    link = tmp_path / "link.png"
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ValueError, match=r"expected image files .* got none; see `path`"):
        pictures(tmp_path)
    link.symlink_to(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"link.png: expected an image \(No such file"):
        pictures(tmp_path)


@pytest.mark.parametrize("path", ["", ".", "/dev/zero"])
def test_a_path_that_is_no_file_is_said(path, tmp_path):
    with pytest.raises(ValueError, match=r"expected an .npy or .npz file of numbers \(it is (a folder|no file)\)"):
        DATASETS.build({"name": "Arrays", "path": path}).load(tmp_path)
