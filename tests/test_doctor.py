"""The doctor names what is there, and goes on where something is not."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vaebench.cli import components as doctor
from vaebench.config.registry import DATASETS
from vaebench.records import provenance


@pytest.fixture
def empty_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VAEBENCH_DATA", str(tmp_path))
    return tmp_path


def of(topic: str) -> dict[str, doctor.Finding]:
    return {f.item: f for f in doctor.examine() if f.topic == topic}


def test_every_topic_is_examined_without_a_fault(empty_root: Path) -> None:
    findings = doctor.examine()
    assert list(dict.fromkeys(f.topic for f in findings)) == list(doctor.TOPICS)
    assert [f for f in findings if f.remedy is not None] == []


def test_versions_cover_every_requirement() -> None:
    assert {"python", "vaebench", "torch", "lightning", "wandb"} <= set(of("version"))


def test_version_beside_the_published_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "constraints.txt").write_text("# a reason\ntorch==0.0.1\n")
    monkeypatch.setattr(doctor, "CONSTRAINTS", tmp_path / "constraints.txt")
    found = of("version")
    assert found["torch"].found.endswith("(published numbers: 0.0.1)")
    assert "published" not in found["lightning"].found


def test_missing_library_has_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "required", lambda: ["a-library-that-does-not-exist"])
    finding = of("version")["a-library-that-does-not-exist"]
    assert finding.found == "not installed"
    assert finding.remedy


def test_constraints_pin_every_library_that_moves_numbers() -> None:
    assert {"torch", "torchvision", "lightning", "torchmetrics", "numpy", "scipy", "scikit-learn"} <= set(
        doctor.pinned(doctor.CONSTRAINTS.read_text())
    )


def test_every_data_set_is_looked_for(empty_root: Path) -> None:
    found = of("data")
    assert set(found) == {"root", *DATASETS}
    assert str(empty_root) in found["root"].found
    assert found["Digits"].found == "needs no download"
    assert found["MNIST"].found.startswith("not there")
    assert found["Arrays"].found == "your own; give path"


def test_damaged_files_are_named(empty_root: Path) -> None:
    raw = empty_root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{part}-ubyte").write_bytes(b"half")
    finding = of("data")["MNIST"]
    assert finding.found.startswith("cannot be read")
    assert str(empty_root) in (finding.remedy or "")


def test_whole_files_are_found(empty_root: Path) -> None:
    raw = empty_root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for half in ("train", "t10k"):
        for kind, shape in (("images-idx3", (2, 28, 28)), ("labels-idx1", (2,))):
            header = bytes([0, 0, 8, len(shape)]) + np.array(shape, dtype=">i4").tobytes()
            (raw / f"{half}-{kind}-ubyte").write_bytes(header + bytes(int(np.prod(shape))))
    assert of("data")["MNIST"].found == "found"


def test_a_topic_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[doctor.Finding]:
        yield doctor.Finding("device", "cpu", "2 cores")
        raise OSError("driver too old")

    monkeypatch.setitem(doctor.TOPICS, "device", broken)
    found = of("device")
    assert list(found) == ["cpu", "examination"]
    assert "driver too old" in found["examination"].found
    assert of("data")


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert provenance.cores() == 1


@pytest.mark.parametrize("halves", [(), ("background",), ("background", "evaluation")])
def test_a_half_of_omniglot_is_not_omniglot(
    halves: tuple[str, ...], empty_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its halves are two downloads, and its splits are of both."""
    from torchvision.datasets import Omniglot

    places = [f"images_{half}" for half in halves]
    monkeypatch.setattr(Omniglot, "_check_integrity", lambda self: self._get_target_folder() in places)
    for place in places:
        (empty_root / "omniglot-py" / place).mkdir(parents=True)
    assert of("data")["Omniglot"].found == ("found" if len(halves) == 2 else "not there; downloaded on first use")
