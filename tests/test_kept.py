"""Whatever is damaged in a run's folder, no number moves: it is done again, or refused in one line."""

import io
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from vaebench.config import Study, load
from vaebench.records import arrays
from vaebench.records.files import ARRAYS, CHECKPOINT, PROGRESS, RECORD, RESUME, WEIGHTS
from vaebench.records.record import Record, RecordError, decode
from vaebench.sweeps.run import Execution
from vaebench.sweeps.sweep import sweep
from vaebench.sweeps.trained import reevaluate

STUDY = """
question: Does it come out the same?
model: {name: BetaVAE, latent_dim: 2, network: {name: MLP, hidden: [8]}}
data: {name: Digits, binarize: Dynamic}
train: {epochs: 3, batch_size: 419}
evaluate: {draws: 2, metrics: [ELBO, KLPerUnit]}
grid:
  seed: 0..1
"""

LEFT = {RECORD, CHECKPOINT, WEIGHTS, ARRAYS}
"""What a run that is done leaves; what it goes on from is gone by then."""


def flipped(content: bytes, chance: random.Random, other: bytes) -> bytes:
    bit = chance.randrange(8 * len(content))
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def cut(content: bytes, chance: random.Random, other: bytes) -> bytes:
    return content[: chance.randrange(len(content))]


def swapped(content: bytes, chance: random.Random, other: bytes) -> bytes:
    return other


DAMAGES = (flipped, cut, swapped)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    path = tmp_path_factory.mktemp("study") / "tiny.yaml"
    path.write_text(STUDY)
    return load(path)


@pytest.fixture(scope="module")
def kept(study, tmp_path_factory) -> tuple[list[Record], dict[str, dict[str, bytes]]]:
    """The records of the study, and for each run the bytes of every file that it ever keeps."""
    folder = tmp_path_factory.mktemp("kept")
    records, _ = swept(study, folder)
    files = {run.id: {name: (folder / run.id / name).read_bytes() for name in LEFT} for run in study.runs}
    stopped = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaebench.sweeps.run._outcome", stop)
        for run in study.runs:
            with pytest.raises(KeyboardInterrupt):
                swept(replace(study, runs=(run,)), stopped)
            files[run.id][RESUME] = (stopped / run.id / RESUME).read_bytes()
            files[run.id][PROGRESS] = (
                b'{"runs": ["a"], "name": "a", "where": "b", "epoch": 1, "epochs": 3, "latest": {}}'
            )
    return records, files


def stop(*_: object) -> Record:
    raise KeyboardInterrupt


def swept(study: Study, folder: Path) -> tuple[list[Record], str]:
    heard = io.StringIO()
    outcome = sweep(study, folder, Execution(wandb="disabled", save_every=0.0), Console(file=heard, width=500))
    assert not outcome.missing, heard.getvalue()
    return [replace(r, provenance={}) for r in outcome.records], heard.getvalue()


def test_every_file_is_damaged_here(kept):
    _, files = kept
    assert all(own.keys() == LEFT | {RESUME, PROGRESS} for own in files.values())


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [RECORD, RESUME, PROGRESS, ARRAYS])
def test_a_sweep_goes_on_to_the_same_numbers(study, kept, tmp_path, name, damage: Callable):
    """Of two runs, what is kept of the first is damaged; it was stopped before it was measured, or it is done."""
    expected, files = kept
    first, second = study.runs
    there = {name, RESUME} if name in (RESUME, PROGRESS) else LEFT
    (tmp_path / first.id).mkdir(parents=True)
    for one in there:
        (tmp_path / first.id / one).write_bytes(files[first.id][one])
    wrong = damage(files[first.id][name], random.Random(0), files[second.id][name])
    (tmp_path / first.id / name).write_bytes(wrong)
    records, _ = swept(replace(study, runs=(first,)), tmp_path)
    assert records == [one for one in expected if one.id == first.id]
    again = swept(replace(study, runs=(first,)), tmp_path)
    assert again[0] == records
    assert "1 of 1 runs are done; 0 to go" in again[1]
    assert "damaged" not in again[1]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_not_measured(study, kept, tmp_path, damage: Callable):
    _, files = kept
    first, second = study.runs
    folder = tmp_path / first.id
    folder.mkdir()
    for name in LEFT:
        (folder / name).write_bytes(files[first.id][name])
    before = reevaluate(folder)
    for seed in range(20):
        wrong = damage(files[first.id][CHECKPOINT], random.Random(seed), files[second.id][CHECKPOINT])
        (folder / CHECKPOINT).write_bytes(wrong)
        with pytest.raises(
            RecordError, match=f"^{folder / CHECKPOINT}: not the file that run {first.id} left"
        ) as caught:
            reevaluate(folder)
        assert "\n" not in str(caught.value)
        assert "train the run again: python -m vaebench train" in str(caught.value)
    (folder / CHECKPOINT).write_bytes(files[first.id][CHECKPOINT])
    assert reevaluate(folder).estimates == before.estimates


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_pictures_are_neither_shown_nor_a_traceback(study, kept, tmp_path, damage: Callable):
    """By what the record says, and by themselves where a record says nothing of them."""
    _, files = kept
    first, second = study.runs
    made = decode(files[first.id][RECORD], "here")
    path, whole = tmp_path / ARRAYS, files[first.id][ARRAYS]
    for seed in range(100):
        path.write_bytes(damage(whole, random.Random(seed), files[second.id][ARRAYS]))
        with pytest.raises(RecordError, match=f"^{path}: not the file that run {first.id} left"):
            made.left(path)
        try:
            arrays.read_pictures(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: not a file of pictures")  # noqa: PT017
