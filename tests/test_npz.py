"""Files of arrays, as hostile as they come: refused by what is wrong with them, before they take memory."""

import io
import pickle
import struct
import zipfile
from contextlib import suppress
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from vaebench.records.arrays import ArraysError, read_arrays
from vaebench.records.checksums import SealError, about

X = np.arange(24, dtype=np.float32).reshape(4, 6)


def npy(array: np.ndarray, **keywords) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **keywords)
    return out.getvalue()


def claiming(shape: str, kind: str = "<f4", version: int = 1) -> bytes:
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(header)) + header


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return out.getvalue()


FAULTY = {
    "empty": (b"", "empty, 0 bytes"),
    "words": (b"words", "no file of NumPy's"),
    "a pickle": (pickle.dumps({"x": [1, 2]}), "no file of NumPy's"),
    "half a magic": (b"\x93NUM", "no file of NumPy's"),
    "half a header": (npy(X)[:40], "damaged or cut off"),
    "half the numbers": (npy(X)[:-8], "takes 96 bytes, the file holds 88"),
    "931 GiB": (claiming("(250000000000,)") + bytes(64), "takes 1000000000000 bytes, the file holds 64"),
    "931 GiB, version 2": (claiming("(250000000000,)", version=2), "takes 1000000000000 bytes"),
    "more than 64 bits": (claiming(f"({10**30}, 7)"), "cut off or damaged"),
    "fewer than none": (claiming("(-1, 4)") + bytes(64), "cut off or damaged"),
    "a version to come": (claiming("(1,)", version=9), "named fields"),
    "objects": (npy(np.array([{}, 1], dtype=object), allow_pickle=True), "Python objects"),
    "no dtype": (claiming("(1,)", kind="?!"), "damaged"),
    "a huge header": (b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"{", "damaged"),
}


@pytest.mark.parametrize("name", FAULTY)
@pytest.mark.parametrize("packed", [False, True], ids=["npy", "npz"])
def test_what_is_no_array_is_refused_in_our_words(name, packed, tmp_path):
    content, message = FAULTY[name]
    (tmp_path / "x").write_bytes(zipped(x=content) if packed else content)
    with pytest.raises(ArraysError) as caught:
        read_arrays(tmp_path / "x")
    assert message in str(caught.value)
    assert ("x: " in str(caught.value)) <= packed
    for advice in ("allow_pickle", "weights_only", "max_header_size", "trust"):
        assert advice not in str(caught.value)


def test_an_archive_is_refused_if_any_byte_of_its_numbers_is_another(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.arange(1000), y=X)
    whole = (tmp_path / "x.npz").read_bytes()
    for place in range(200, 8000, 371):
        (tmp_path / "y.npz").write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(ArraysError, match="damaged or cut off"):
            read_arrays(tmp_path / "y.npz")


def test_a_member_that_grows_beyond_what_zip_can_do_is_refused(tmp_path):
    """The archive says so itself: a forged length costs nothing."""
    content = bytearray(zipped(x=claiming("(250000000,)") + bytes(1000)))
    entry = content.index(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = struct.pack("<I", 1_000_000_128)
    (tmp_path / "x.npz").write_bytes(bytes(content))
    with pytest.raises(ArraysError, match="claims 1000000128 bytes and holds"):
        read_arrays(tmp_path / "x.npz")


@pytest.mark.parametrize(
    "array",
    [X, X.T, np.asfortranarray(X), X.astype(">f8"), X[:0], np.array(3), X > 3],
    ids=lambda a: f"{a.shape}{a.dtype}",
)
def test_what_is_an_array_is_read(array, tmp_path):
    np.save(tmp_path / "x.npy", array)
    np.savez_compressed(tmp_path / "x.npz", a=array, b=X)
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive:
        archive.writestr("readme.txt", "passed over")
    (alone,), both = read_arrays(tmp_path / "x.npy").values(), read_arrays(tmp_path / "x.npz")
    assert [*both] == ["a", "b"]
    for found in (alone, both["a"]):
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)


@pytest.mark.parametrize("place", [".", "none", "/dev/zero"])
def test_what_is_no_file_is_refused_at_once(place, tmp_path):
    with pytest.raises(ArraysError, match=r"it is (a folder|no file)|no such file"):
        read_arrays(tmp_path / Path(place))


def damaged(content: bytes, places: range, chars: bytes, random: Random) -> bytes:
    """A file with up to three other bytes at random places, sometimes cut off."""
    made = bytearray(content)
    for _ in range(random.randint(1, 3)):
        made[random.choice(places)] = random.choice(chars)
    return bytes(made[: random.randrange(len(made))] if random.random() < 0.1 else made)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("content", "places", "chars"),
    [
        (npy(X), range(128), bytes(range(256))),
        (npy(X), range(10, 80), b"{}()',:[]<f48 \n\t\\\"#01x"),
        (zipped(x=npy(X), y=npy(X)), range(300), bytes(range(256))),
    ],
    ids=["npy", "header", "npz"],
)
def test_a_damaged_file_is_read_or_refused_whatever_its_bytes(content, places, chars, tmp_path):
    random, path = Random(0), tmp_path / "x"
    for _ in range(600):
        path.write_bytes(damaged(content, places, chars, random))
        with suppress(ArraysError):
            read_arrays(path)


def test_a_damaged_checkpoint_is_read_or_refused_whatever_its_bytes():
    """One of Lightning's, which has no checksum of its own."""
    out, random = io.BytesIO(), Random(0)
    torch.save({"state_dict": {"weight": torch.arange(6.0)}, "epoch": 1}, out)
    content = out.getvalue()
    for _ in range(1500):
        with suppress(SealError):
            about(damaged(content, range(len(content)), bytes(range(256)), random), "x")
