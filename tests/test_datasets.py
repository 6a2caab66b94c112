"""Data sets: laws over every registered one, each from a small source laid out as the real one is."""

import errno
import math
import pickle
import struct
import urllib.request
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from filelock import FileLock, Timeout
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vaebench.config.registry import DATASETS
from vaebench.data.binarization import Fixed
from vaebench.data.datasets import published
from vaebench.data.datasets.base import Dataset, Examples, Splits, data_root, held_out
from vaebench.data.datasets.published import _omniglot, first_of_shards, rotated
from vaebench.oracle import maximum_likelihood
from vaebench.oracle.spectrum import Spectrum

N = 40
LABEL = np.arange(N) % 10
GREY = np.repeat(LABEL * 20 + 5, 28 * 28).astype(np.uint8).reshape(N, 28, 28)
"""Images whose brightness says their label, so that a label that went astray is seen."""


def idx(file: Path, array: np.ndarray) -> None:
    file.write_bytes(
        struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    )


def mnist_files(root: Path, name: str) -> None:
    (folder := root / name / "raw").mkdir(parents=True)
    for half in ("train", "t10k"):
        idx(folder / f"{half}-images-idx3-ubyte", GREY)
        idx(folder / f"{half}-labels-idx1-ubyte", LABEL)


def cifar_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10

    (folder := root / CIFAR10.base_folder).mkdir(parents=True)
    colour = np.repeat(GREY[:, 0, 0], 3 * 32 * 32).reshape(N, -1)
    colour[:, 1024:] += 1  # the green and the blue plane
    for name, _ in CIFAR10.train_list + CIFAR10.test_list:
        (folder / name).write_bytes(pickle.dumps({"data": colour, "labels": LABEL.tolist()}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("0123456789")}))
    for halves in ("train_list", "test_list"):
        monkeypatch.setattr(CIFAR10, halves, [[name, None] for name, _ in getattr(CIFAR10, halves)])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": None})


def omniglot_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import Omniglot as Source

    monkeypatch.setattr(Source, "_check_integrity", lambda self: (root / "omniglot-py").is_dir())
    _omniglot.cache_clear()
    for half in ("background", "evaluation"):
        for character in range(1, 5):
            folder = root / "omniglot-py" / f"images_{half}" / "Alphabet" / f"character{character:02}"
            folder.mkdir(parents=True)
            drawing = np.ones((105, 105), dtype=bool)  # white paper
            drawing[: 21 * character] = False  # black strokes, the more the later the character
            for copy in range(5):
                Image.fromarray(drawing).save(folder / f"{copy}.png")


def picture_files(root: Path) -> None:
    for n, (image, label) in enumerate(zip(GREY, LABEL, strict=True)):
        (folder := root / "pictures" / f"class{label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{n}.png")
    (root / "pictures" / "notes.txt").write_text("not a picture")


def array_files(root: Path) -> None:
    np.savez(root / "mine.npz", images=GREY, labels=LABEL)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A data folder with a small source for every data set that needs files."""
    for name in ("MNIST", "FashionMNIST", "KMNIST"):
        mnist_files(tmp_path, name)
    cifar_files(tmp_path, monkeypatch)
    omniglot_files(tmp_path, monkeypatch)
    picture_files(tmp_path)
    array_files(tmp_path)
    return tmp_path


REQUIRED = {"Arrays": {"path": "mine.npz"}, "ImageFolder": {"path": "pictures", "size": 28, "grey": True}}
"""Keywords of the data sets that cannot do without."""


@pytest.fixture(params=list(DATASETS))
def dataset(request) -> Dataset:
    return DATASETS.build({"name": request.param, **REQUIRED.get(request.param, {})})


def brightness(examples: Examples) -> torch.Tensor:
    return examples.x.flatten(1).double().mean(1)


def test_every_data_set_loads_and_passes_its_own_check(dataset, root):
    splits = dataset.load(root)
    splits.check(dataset.name)
    assert all(len(examples.x) for examples in splits.named().values())
    if splits.train.x.dtype == torch.uint8:
        assert 0 < splits.train.x.max() <= splits.scale


def test_loading_again_gives_the_same_whatever_the_global_generators(dataset, root):
    first = dataset.load(root)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    second = dataset.load(root)
    for a, b in zip(first[:3], second[:3], strict=True):
        assert torch.equal(a.x, b.x)
        assert (a.label is b.label is None) or torch.equal(a.label, b.label)


def test_labels_stay_with_their_observations(dataset, root):
    """In every source of these tests that has labels, two examples of one label are equally bright."""
    for examples in dataset.load(root)[:3]:
        if examples.label is not None and dataset.name not in ("Digits", "Sprites"):
            for label in examples.label.unique():
                assert brightness(examples)[examples.label == label].unique().numel() == 1


def test_every_data_set_says_what_it_is(dataset):
    assert DATASETS.source(dataset.name).summary.endswith(".")
    assert all(p.annotation is not p.empty for p in DATASETS.keywords(dataset.name).values())


def test_images_can_be_binarised(root):
    for name in DATASETS:
        keywords = DATASETS.keywords(name)
        if "binarize" in keywords:
            built = DATASETS.build({"name": name, **REQUIRED.get(name, {}), "binarize": "Fixed"})
            assert isinstance(built.binarization, Fixed)


@given(n=st.integers(1, 60), share=st.floats(0, 1))
def test_what_is_held_out_and_what_is_kept_are_the_whole_in_order(n, share):
    examples = Examples(torch.arange(n)[:, None].float(), torch.arange(n))
    out_of = round(share * n)
    kept, out = held_out(examples, out_of)
    assert len(out.x) == out_of
    assert sorted([*kept.label.tolist(), *out.label.tolist()]) == list(range(n))
    for part in (kept, out):
        assert part.label.tolist() == sorted(part.label.tolist())
        assert torch.equal(part.x[:, 0].long(), part.label)


def test_the_split_of_a_source_in_one_piece_is_70_10_20():
    splits = Splits.of(Examples(torch.rand(1000, 2)), 1.0)
    assert [len(e.x) for e in splits[:3]] == [700, 100, 200]


def test_published_splits_do_not_move():
    """A change here moves examples between training and test in every published table."""
    _, out = held_out(Examples(torch.zeros(1000, 1), torch.arange(1000)), 8)
    assert out.label.tolist() == [192, 359, 559, 629, 684, 707, 763, 835]


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    splits = DATASETS.build("Digits").load(Path())
    images = torch.cat([e.x for e in splits[:3]])
    assert images.shape == (1797, 1, 8, 8)
    assert splits.scale == 16 == images.max()
    rows = sorted(zip(images.flatten(1).tolist(), torch.cat([e.label for e in splits[:3]]).tolist(), strict=True))
    source = load_digits()
    assert rows == sorted(zip(source.data.tolist(), source.target.tolist(), strict=True))


def test_omniglot_strokes_are_bright_and_its_test_characters_are_new(root):
    splits = DATASETS.build("Omniglot").load(root)
    assert splits.train.x.shape[1:] == (1, 28, 28)
    assert set(splits.train.label.tolist()) | set(splits.validation.label.tolist()) == set(range(4))
    assert set(splits.test.label.tolist()) == set(range(4, 8))
    drawn = brightness(splits.test)[splits.test.label == 4]
    assert drawn.numpy() == pytest.approx(255 * 21 / 105, abs=1)


def test_cifar_colours_are_planes(root):
    x = DATASETS.build("CIFAR10").load(root).test.x.int()
    assert (x[:, 1] - x[:, 0]).unique().tolist() == (x[:, 2] - x[:, 0]).unique().tolist() == [1]


needs_mnist = pytest.mark.skipif(
    not (data_root() / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file(),
    reason="no MNIST under VAEBENCH_DATA",
)


@needs_mnist
def test_the_real_mnist():
    splits = DATASETS.build("MNIST").load(data_root())
    assert [len(e.x) for e in splits[:3]] == [50_000, 10_000, 10_000]
    train = torch.cat([splits.train.x, splits.validation.x])
    assert train.double().mean().item() / 255 == pytest.approx(0.1306604762738429, abs=1e-12)  # the well-known 0.1307
    assert splits.test.label.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_the_notebooks_images_are_a_sixtieth_of_every_shard():
    chosen = list(first_of_shards(600))
    assert len(set(chosen)) == 10
    assert [number % 10 for number in chosen] == list(range(10))


@needs_mnist
@pytest.mark.parametrize("variant", ["basic", "rot", "bg-rand"])
def test_variants_of_mnist_share_their_law_and_no_image(variant):
    """The split's sizes; 12 000 images on average as bright as MNIST, or (255 + 1/2)/2 where all is noise."""
    splits = DATASETS.build({"name": "MNISTVariant", "variant": variant}).load(data_root())
    assert [len(e.x) for e in splits[:3]] == [10_000, 2_000, 50_000]
    again = DATASETS.build({"name": "MNISTVariant", "variant": variant, "data_seed": 1}).load(data_root())
    assert not torch.equal(splits.train.x, again.train.x)
    corner, middle = splits.train.x[:, 0, :3, :3].double(), splits.train.x[:, 0, 12:16, 12:16].double()
    assert middle.mean() > corner.mean()
    if variant == "bg-rand":
        assert corner.mean() == pytest.approx(127.5, abs=4 * 73.9 / math.sqrt(corner.numel()))
    else:
        assert splits.train.x.double().mean() / 255 == pytest.approx(0.131, abs=0.002)
        assert corner.mean() < 1


def test_a_quarter_turn_and_a_whole_one():
    """Bilinear interpolation at the pixels' own places is exact to rounding."""
    x = torch.randint(0, 256, (5, 1, 6, 6), dtype=torch.uint8)
    quarters = rotated(x.repeat(4, 1, 1, 1), torch.arange(4).repeat_interleave(5) * math.pi / 2).view(4, 5, 1, 6, 6)
    assert torch.equal(quarters[0], x)
    assert {tuple(torch.rot90(x, k, (2, 3)).flatten().tolist()) for k in range(4)} == {
        tuple(quarter.flatten().tolist()) for quarter in quarters
    }


@needs_mnist
def test_the_real_images_of_lucas():
    """Their maximum at L = 200, by N; by N − 1 it is what the notebook prints. Validation has none of them."""
    splits = DATASETS.build("LucasMNIST").load(data_root())
    assert [len(e.x) for e in splits[:3]] == [1000, 1000, 10_000]
    spectrum = Spectrum.of(splits.train.x, splits.scale)
    assert maximum_likelihood(spectrum, 200).evidence == pytest.approx(942.04657, abs=1e-5)
    printed = maximum_likelihood(Spectrum.given(spectrum.eigenvalues * 1000 / 999), 200)
    assert printed.evidence == pytest.approx(941.65433, abs=1e-4)
    rows = {split: set(map(tuple, e.x.flatten(1).tolist())) for split, e in splits.named().items()}
    assert not rows["train"] & rows["validation"]


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST", "CIFAR10", "Omniglot"])
def test_offline_the_error_says_where_to_put_which_files(name, tmp_path, monkeypatch):
    def closed(*args, **kwargs):
        raise URLError(OSError(errno.ENETUNREACH, "Network is unreachable"))

    monkeypatch.setattr(urllib.request, "urlopen", closed)
    _omniglot.cache_clear()
    with pytest.raises(FileNotFoundError) as caught:
        DATASETS.build(name).load(tmp_path / "not-yet")
    message = str(caught.value)
    assert "Network is unreachable" in message
    assert f"{name}: not found in {tmp_path / 'not-yet'}" in message
    assert "VAEBENCH_DATA" in message
    assert ("raw" in message) or (".zip" in message) or (".tar.gz" in message)
    assert "\n" not in message


def test_omniglot_that_was_not_unpacked_is_not_there(tmp_path, monkeypatch):
    from torchvision.datasets import Omniglot

    monkeypatch.setattr(Omniglot, "_check_integrity", lambda self: True)
    _omniglot.cache_clear()
    with pytest.raises(FileNotFoundError, match=r"No such file .*images_background.*the folders unpacked"):
        DATASETS.build("Omniglot").load(tmp_path)


def test_damaged_files_are_named_and_not_trained_on(tmp_path):
    mnist_files(tmp_path, "MNIST")
    images = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"the files under {tmp_path} cannot be read .*remove them"):
        DATASETS.build("MNIST").load(tmp_path)


def test_files_are_read_under_a_lock_where_somebody_could_be_writing_them(tmp_path, monkeypatch):
    from torchvision.datasets import MNIST

    mnist_files(tmp_path, "MNIST")
    locked, exists = [], MNIST._check_exists

    def look(self) -> bool:
        try:
            FileLock(tmp_path / ".MNIST.lock").acquire(timeout=0).lock.release()
        except Timeout:
            locked.append(True)
        return exists(self)

    monkeypatch.setattr(MNIST, "_check_exists", look)
    DATASETS.build("MNIST").load(tmp_path)
    assert locked == [True, True]


def test_a_folder_that_cannot_be_written_needs_no_lock(tmp_path, monkeypatch):
    mnist_files(tmp_path, "MNIST")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(published.os, "access", lambda *_: False)
    DATASETS.build("MNIST").load(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_data_folder_that_cannot_be_made_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match=r"cannot be made .*VAEBENCH_DATA"):
        DATASETS.build("MNIST").load(tmp_path / "file" / "data")


def test_the_data_root_is_the_environments_or_data(monkeypatch, tmp_path):
    monkeypatch.setenv("VAEBENCH_DATA", str(tmp_path))
    assert data_root() == tmp_path
    for unset in ("", None):
        monkeypatch.setenv("VAEBENCH_DATA", "") if unset == "" else monkeypatch.delenv("VAEBENCH_DATA")
        assert data_root() == Path("data")


FLOAT = torch.rand(N, 12, generator=torch.Generator().manual_seed(0)).numpy()


@pytest.mark.parametrize(
    ("array", "shape", "scale", "dtype"),
    [
        (GREY, (1, 28, 28), 255, torch.uint8),
        (GREY.astype(np.int64), (1, 28, 28), 255, torch.uint8),
        (GREY.reshape(N, -1), (784,), 255, torch.uint8),
        (np.stack([GREY] * 3, 1), (3, 28, 28), 255, torch.uint8),
        (np.stack([GREY] * 3, 3), (3, 28, 28), 255, torch.uint8),
        (GREY[..., None], (1, 28, 28), 255, torch.uint8),
        (GREY > 100, (1, 28, 28), 1, torch.uint8),
        ((GREY > 100).astype(np.int32), (1, 28, 28), 1, torch.uint8),
        (FLOAT * 9 - 4, (12,), 1, torch.float32),
        (FLOAT.astype(np.float64).reshape(N, 3, 4), (1, 3, 4), 1, torch.float32),
        (np.asfortranarray(FLOAT.astype(">f4")), (12,), 1, torch.float32),
    ],
)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_arrays_in_every_layout(array, shape, scale, dtype, suffix, tmp_path):
    file = tmp_path / f"x.{suffix}"
    np.save(file, array) if suffix == "npy" else np.savez(file, x=array)
    splits = DATASETS.build({"name": "Arrays", "path": str(file)}).load(Path())
    splits.check("Arrays")
    assert [len(e.x) for e in splits[:3]] == [28, 4, 8]
    x = splits.train.x
    assert (tuple(x.shape[1:]), splits.scale, x.dtype, splits.train.label) == (shape, scale, dtype, None)


@pytest.mark.parametrize(
    "names",
    [
        {"train": "train", "test": "test", "train_label": "train", "test_label": "test"},
        {"x_train": "train", "x_test": "test", "y_train": "train", "y_test": "test"},
        {f"{s}_{k}": s for s in ("train", "val", "test") for k in ("images", "labels")},
    ],
    ids=["own", "keras", "medmnist"],
)
def test_arrays_that_come_in_splits_keep_them(names, tmp_path):
    rows = {"train": slice(0, 20), "val": slice(20, 25), "test": slice(25, N)}
    label = LABEL[:, None] if "val_labels" in names else LABEL
    np.savez(
        tmp_path / "x.npz", **{k: (label if "label" in k or k[0] == "y" else GREY)[rows[s]] for k, s in names.items()}
    )
    splits = DATASETS.build({"name": "Arrays", "path": "x.npz"}).load(tmp_path)
    splits.check("Arrays")
    assert torch.equal(splits.test.x[:, 0], torch.from_numpy(GREY[25:]))
    assert splits.test.label.tolist() == LABEL[25:].tolist()
    assert [len(e.x) for e in splits[:2]] == ([20, 5] if "val_images" in names else [18, 2])


def test_a_scale_may_be_given(tmp_path):
    np.save(tmp_path / "x.npy", GREY.astype(np.float32))
    splits = DATASETS.build({"name": "Arrays", "path": "x.npy", "scale": 255.0}).load(tmp_path)
    assert (splits.scale, splits.train.x.max().item()) == (255, GREY.max())


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": GREY.astype(int) + 200}, r"integers from 0 to 255, or floats, got 205 to 385; convert"),
        ({"x": GREY.astype(int) - 100}, r"got -95 to 85"),
        ({"x": GREY.astype(np.float32)}, r"float images in \[0, 1\], got 5 to 185; give `scale`"),
        ({"x": FLOAT.astype(complex)}, r"got numbers of type complex128"),
        ({"x": LABEL}, r"expected \[N, D\], .* got \[40\]"),
        ({"pictures": GREY, "names": LABEL}, r"named x or images, .* got names, pictures; rename"),
        ({"train": GREY}, r"two named train and test"),
        ({"x": GREY, "label": FLOAT}, r"one integer an observation, got shape \[40, 12\] of type float32"),
        ({"x": GREY, "label": LABEL * 0.5}, r"one integer an observation"),
        ({"x": np.array([{"a": 1}], dtype=object)}, r"expected an .npy or .npz file of numbers \(.*pickle"),
    ],
)
def test_arrays_that_make_no_sense_are_refused(arrays, message, tmp_path):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        DATASETS.build({"name": "Arrays", "path": "x.npz"}).load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a zip", b"\x93NUMPY half a header", b"words"])
def test_a_file_that_is_no_array_is_refused(content, tmp_path):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"x.npz: expected an .npy or .npz file of numbers"):
        DATASETS.build({"name": "Arrays", "path": "x.npz"}).load(tmp_path)


@pytest.mark.parametrize("name", ["Arrays", "ImageFolder"])
def test_a_path_that_is_not_there_is_named_with_both_places(name, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        DATASETS.build({"name": name, "path": "missing"}).load(tmp_path)
    assert str(tmp_path / "missing") in str(caught.value)
    assert str(Path("missing").absolute()) in str(caught.value)


def pictures(path: Path, **keywords) -> Splits:
    splits = DATASETS.build({"name": "ImageFolder", "path": str(path), **keywords}).load(Path())
    splits.check("ImageFolder")
    return splits


def test_pictures_are_cropped_resized_and_turned_upright(tmp_path):
    wide = np.zeros((20, 60, 3), dtype=np.uint8)
    wide[:, 20:40] = (255, 0, 0)
    for n in range(10):
        Image.fromarray(wide).save(tmp_path / f"{n}.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # stands on its side
    sideways = Image.new("RGB", (16, 16))
    sideways.paste((255, 255, 255), (0, 0, 8, 16))
    sideways.save(tmp_path / "turned.tiff", exif=exif)
    splits = pictures(tmp_path, size=8)
    images = torch.cat([e.x for e in splits[:3]])
    assert images.shape == (11, 3, 8, 8)
    assert splits.train.label is None
    red = images[images[:, 1:].flatten(1).max(1).values == 0]
    assert len(red) == 10
    assert red[:, 0].min() > 200  # the resampling reaches a little over the edge
    (turned,) = images[images[:, 1:].flatten(1).max(1).values > 0]
    assert turned[0, :4].min() > 200
    assert turned[0, 4:].max() < 55


def test_a_folder_that_comes_in_splits_keeps_them(tmp_path):
    for split, size in {"train": 6, "test": 3, "validation": 2}.items():
        for n in range(size):
            (folder := tmp_path / split / f"class{n % 2}").mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), 100 * (n % 2)).save(folder / f"{n}.png")
    splits = pictures(tmp_path, size=4, grey=True)
    assert [len(e.x) for e in splits[:3]] == [6, 2, 3]
    assert all(torch.equal(e.x[:, 0, 0, 0].long(), 100 * e.label) for e in splits[:3])


def test_links_are_followed_and_what_is_hidden_is_not_seen(tmp_path):
    for n, place in enumerate(("pics/dogs", "elsewhere/cats", "pics/.ipynb_checkpoints", "pics/dogs/.thumbs")):
        (tmp_path / place).mkdir(parents=True)
        for i in range(10):
            Image.new("L", (4, 4), 60 * n).save(tmp_path / place / f"{i}.png")
    (tmp_path / "pics/cats").symlink_to("../elsewhere/cats")
    (tmp_path / "pics/cats/back").symlink_to("../../pics")  # a circle
    Image.new("L", (4, 4), 200).save(tmp_path / "pics/dogs/._0.png")
    splits = pictures(tmp_path / "pics", size=4, grey=True)
    x, label = (torch.cat([e[i] for e in splits[:3]]) for i in (0, 1))
    assert label.bincount().tolist() == [10, 10], "cats and dogs, and no dog a second time behind the circle"
    assert sorted(x[:, 0, 0, 0].unique().tolist()) == [0, 60]


def test_sixteen_bits_are_scaled_and_not_cut(tmp_path):
    for n in range(10):
        Image.fromarray(np.full((4, 4), 0x80FF, dtype=np.uint16)).save(tmp_path / f"{n}.png")
    assert pictures(tmp_path, size=4, grey=True).train.x.unique().tolist() == [0x80]


def test_a_broken_picture_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"broken.png: expected an image"):
        pictures(tmp_path)


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected image files"):
        pictures(tmp_path)


GOOD = Examples(torch.rand(5, 3), torch.arange(5))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (GOOD._replace(x=torch.tensor([[1.0, 2.0, float("nan")]] * 5)), "expected finite numbers, got 5 NaN"),
        (GOOD._replace(x=torch.full((5, 3), float("inf"))), "got 15 NaN or infinite"),
        (Examples(torch.empty(0, 3)), "expected at least one observation"),
        (Examples(torch.empty(5, 0)), "expected at least one observation"),
        (GOOD._replace(label=torch.arange(4)), "expected 5 labels in int64, .* got shape .4."),
        (GOOD._replace(label=torch.arange(5).int()), "got shape .5. in torch.int32"),
        (GOOD._replace(x=torch.rand(5, 3).double()), "uint8 or float32, got torch.float64"),
        (GOOD._replace(x=torch.rand(5, 4)), "like the training set's, shape .3. in torch.float32, got shape .4."),
    ],
)
def test_data_that_would_mean_nothing_is_refused(bad, message):
    with pytest.raises(ValueError, match=f"Mine, test: .*{message}"):
        Splits(GOOD, GOOD, bad, 1.0).check("Mine")


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_cannot_divide_is_refused(scale):
    with pytest.raises(ValueError, match="positive, finite scale"):
        Splits(GOOD, GOOD, GOOD, scale).check("Mine")
