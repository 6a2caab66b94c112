"""Records: what is written is read back, whole or not at all."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaebench.records import files
from vaebench.records.description import Description, Direction, Panel, Role, Weights
from vaebench.records.files import WriteError, write_atomically
from vaebench.records.record import (
    FORMAT,
    Estimate,
    NewerError,
    Record,
    RecordError,
    decode,
    encode,
    identity,
    read,
    read_all,
    write,
)

CONFIG = {"model": {"name": "BetaVAE", "beta": 4.0, "network": {"name": "MLP", "hidden": [64, 64]}}, "seed": 0}

ID = identity(CONFIG)

RECORD = Record(
    id=ID,
    study="beta",
    status="done",
    axes=["model.beta", "seed"],
    config=CONFIG,
    comparability={"checksum": "ab", "binarize": None},
    facts={"parameters": 1234, "variance": 0.1 + 0.2},
    estimates=[Estimate("elbo", -86.76, 0.1, 360, 0.01, "σ² is large"), Estimate("kl_per_unit", [0.0, 1e-300])],
    not_applicable={"IWAE": "no posterior"},
    descriptions={"elbo": Description("ELBO", Panel.BOUNDS, 10, "nats", Direction.HIGHER, role=Role.BOUND)},
    curve={"epoch": [1, 2], "val/elbo": [-90.5, None]},
    provenance={"commit": "c0ffee", "dirty": False},
)

finite = st.floats(allow_nan=False, allow_infinity=False)
errors = st.floats(0, allow_infinity=False)
plain = st.none() | st.booleans() | st.integers() | finite | st.text()
nested = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
mappings = st.dictionaries(st.text(), nested)
weights = st.builds(Weights, st.none() | finite, st.floats(1, 1e9), st.integers(1))
estimates = st.builds(
    Estimate,
    *(st.text(), finite | st.lists(finite), st.none() | errors, st.integers(0), st.none() | errors, st.text()),
    *(st.none() | st.text(), st.none() | weights),
)


@settings(max_examples=20)
@given(config=mappings, facts=mappings, measured=st.lists(estimates), reason=st.none() | st.text())
def test_what_is_written_is_read_back(config: dict, facts: dict, measured: list[Estimate], reason: str | None) -> None:
    measured = list({e.name: e for e in measured}.values())
    config = {k: v for k, v in config.items() if k not in ("seed", "train")}
    status = "failed" if reason else "done"
    record = replace(RECORD, id=identity(config), config=config, facts=facts, estimates=measured, curve={})
    record = replace(record, status=status, reason=reason)
    content = encode(record)
    assert decode(content, "here") == record
    assert encode(decode(content, "here")) == content


@pytest.mark.parametrize("bad", ["nan", {"pareto_k": 0.1, "effective": 5}, [0.1, 0, 10], [0.1, 5, 0], ["a", 5, 10]])
def test_weights_that_are_none_are_refused(bad: object) -> None:
    entries = json.loads(encode(RECORD))
    entries["estimates"][0]["weights"] = bad
    with pytest.raises(RecordError, match=r"estimates\.0\.weights"):
        decode(json.dumps(entries).encode(), "here")


def test_what_says_nothing_is_not_written() -> None:
    """So the files of earlier versions stay the same, byte for byte."""
    (elbo, _) = json.loads(encode(RECORD))["estimates"]
    assert list(elbo) == ["name", "value", "standard_error", "n", "monte_carlo_error", "note"]


@pytest.mark.parametrize(
    ("pareto_k", "effective", "unreliable"),
    [
        *((0.71, 49.9, True), (0.7, 1.0, False), (0.71, 50.0, False), (1.2, 1.0, True)),
        *((1.2, 99.9, False), (None, 2.1, False), (None, 1.9, True)),
    ],
)
def test_weights_are_unreliable_where_both_signs_say_so(pareto_k: float | None, effective: float, unreliable: bool):
    """A latent that has collapsed has equal weights and a k̂ of noise; without a k̂, one draw must carry all."""
    weights = Weights(pareto_k, effective, draws=100)
    assert weights.unreliable == unreliable
    assert Estimate("iwae_100", -1.0, weights=weights).unreliable == unreliable
    assert not Estimate("elbo", -1.0).unreliable


def test_a_record_is_one_file_with_a_version(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "beta" / ID / "record.json"
    write(RECORD, path)
    assert read(path) == RECORD
    assert json.loads(path.read_text())["format"] == FORMAT
    assert [p.name for p in path.parent.iterdir()] == ["record.json"]


def test_scalars_leave_out_arrays() -> None:
    assert [e.name for e in RECORD.scalars] == ["elbo"]
    assert RECORD.estimate("elbo") == RECORD.estimates[0]
    assert RECORD.estimate("rate") is None


@pytest.mark.parametrize(("value", "said"), [(math.nan, "nan"), (math.inf, "inf"), ([1.0, -math.inf], "-inf")])
def test_numbers_that_are_not_finite_become_null_with_a_note(value: float | list[float], said: str) -> None:
    content = encode(replace(RECORD, estimates=[Estimate("elbo", value)], curve={"val/elbo": [math.nan]}))
    written = json.loads(content, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    last = written["estimates"][0]["value"]
    assert (last[-1] if isinstance(value, list) else last) is None
    assert written["curve"]["val/elbo"] == [None]
    estimate = decode(content, "here").estimates[0]
    assert math.isnan(estimate.value[-1] if isinstance(estimate.value, list) else estimate.value)
    assert estimate.note == f"not finite: {said}"
    assert encode(decode(content, "here")) == content


def test_a_note_of_the_metric_is_kept() -> None:
    content = encode(replace(RECORD, estimates=[Estimate("elbo", math.nan, note="diverged")]))
    assert decode(content, "here").estimates[0].note == "diverged"


@pytest.mark.parametrize("cut", [0, 1, 40, 300, -2])
def test_half_a_file_names_itself(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(encode(RECORD)[:cut])
    with pytest.raises(RecordError, match=f"{path}: damaged or half-written.*run the same command again"):
        read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "damaged"),
        (b"[" * 10**5, "damaged"),
        (b"[]", "not a record"),
        (b'"text"', "not a record"),
        (b"{}", "not a record"),
        (b'{"format": true}', "not a record"),
        (b'{"format": 1}', "not a record: id: Field required"),
        (b'{"format": 99}', "format 99, but this version reads up to 3; update vaebench"),
        (encode(RECORD).replace(b'"done"', b'"finished"'), "status"),
        (encode(RECORD).replace(b'"facts"', b'"facets"'), "facts: Field|facets"),
        (encode(RECORD).replace(b"-86.76", b'"many"'), r"estimates\.0\.value"),
    ],
)
def test_what_is_no_record_is_refused_in_one_line(content: bytes, message: str) -> None:
    with pytest.raises(RecordError, match=message) as caught:
        decode(content, "runs/beta/record.json")
    assert str(caught.value).startswith("runs/beta/record.json: ")
    assert "\n" not in str(caught.value)


def test_only_plain_values_are_written(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=f"{ID}: expected plain numbers"):
        write(replace(RECORD, facts={"path": tmp_path}), tmp_path / "record.json")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ID / "record.json"
    write(RECORD, path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(WriteError, match=f"{path}: cannot be written .No space left on device.*is intact"):
        write(replace(RECORD, study="other"), path)
    assert read(path) == RECORD
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("in the way")
    with pytest.raises(WriteError, match="cannot be written"):
        write_atomically(tmp_path / "runs" / "record.json", b"")


def test_read_all_knows_both_homes_and_their_order(tmp_path: Path) -> None:
    configs = [CONFIG | {"seed": seed} for seed in (3, 1, 2)]
    records = [replace(RECORD, id=identity(config), config=config) for config in configs]
    for record in records:
        write(record, tmp_path / "runs" / record.id / "record.json")
        write(record, tmp_path / "results" / "records" / f"{record.id}.json")
    (tmp_path / "results" / "records" / ".0000000009.json").write_text("the temporary of a killed writer")
    by_id = sorted(records, key=lambda r: r.id)
    assert read_all(tmp_path / "runs") == read_all(tmp_path / "results") == by_id
    assert read_all(tmp_path / "nothing") == []


def test_all_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    for name in ("a", "b", ID):
        write(RECORD, tmp_path / name / "record.json")
    with pytest.raises(RecordError) as caught:
        read_all(tmp_path)
    lines = [
        f"{tmp_path}/{name}/record.json: the record of another run, {ID}; rename its folder to {ID}, or delete it"
        for name in "ab"
    ]
    assert [line.partition(" and ")[0] for line in str(caught.value).splitlines()] == lines


# -- a record proves itself -------------------------------------------------------------------------------------------


def same_or_refused(content: bytes, expected: Record) -> bool:
    """Whether the bytes are refused in one line; that they are read as anything but the record is an error."""
    try:
        assert decode(content, "here") == expected
    except RecordError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return True
    return False


def test_whichever_bit_is_flipped_no_other_record_is_read() -> None:
    """Every bit of the file, one at a time; those of the numbers and names are all refused."""
    content = encode(RECORD)
    refused = 0
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        refused += same_or_refused(bytes(flipped), RECORD)
    assert refused > 0.95 * 8 * len(content)


EDITS = {
    "id": "0123456789",
    "study": "alpha",
    "status": "failed",
    "reason": "because",
    "axes": ["seed"],
    "config": CONFIG | {"seed": 1},
    "comparability": {},
    "facts": {"parameters": 1235},
    "estimates": [],
    "not_applicable": {},
    "descriptions": {"elbo": {"heading": "IWAE"}},
    "curve": {},
    "provenance": {"commit": "c0ffee", "dirty": True},
    "sha256": "0" * 64,
    "format": 1,
}


def test_every_entry_has_an_edit() -> None:
    assert EDITS.keys() == json.loads(encode(RECORD)).keys()


@pytest.mark.parametrize("entry", EDITS)
def test_whatever_is_edited_is_refused(entry: str) -> None:
    edited = json.loads(encode(RECORD)) | {entry: EDITS[entry]}
    with pytest.raises(RecordError, match=r"^runs/x: changed after it was written .sha256 .*; delete it and run"):
        decode(json.dumps(edited).encode(), "runs/x")


@pytest.mark.parametrize("how", [{"indent": 4}, {"sort_keys": True}, {"separators": (",", ":")}])
def test_how_a_file_is_laid_out_says_nothing(how: dict) -> None:
    """Version control and editors change line ends and indents."""
    assert decode(json.dumps(json.loads(encode(RECORD)), **how).replace("\n", "\r\n").encode(), "here") == RECORD


CURVE = {"epoch": [1, 2], "val/elbo": [-90.5, None]}

IMPOSSIBLE = {
    "its id 0123456789 is not the hash": {"id": "0123456789"},
    "is not the hash of its configuration": {"config": CONFIG | {"seed": 1}},
    "a run that is failed has a reason": {"status": "failed"},
    "a run that is done has no reason": {"reason": "because"},
    "elbo is measured twice": {"estimates": RECORD.estimates + RECORD.estimates[:1]},
    "elbo: expected n and errors of 0 or more, got n -5": {"estimates": [Estimate("elbo", -1.0, 0.1, -5)]},
    r"elbo: .* errors \[-0.1\]": {"estimates": [Estimate("elbo", -1.0, -0.1, 5)]},
    r"elbo: .* errors \[0.1, -1.0\]": {"estimates": [Estimate("elbo", -1.0, 0.1, 5, -1.0)]},
    r"the columns of its curve have \[1, 2\] rows": {"curve": CURVE | {"val/elbo": [1.0]}},
    "expected epochs from 1 to inf": {"curve": CURVE | {"epoch": [0, 1]}},
    "from 1 to inf in its curve": {"curve": CURVE | {"epoch": [2, 1]}},
    "each once and in order": {"curve": CURVE | {"epoch": [1, None]}},
}


@pytest.mark.parametrize("said", IMPOSSIBLE)
def test_what_no_run_can_say_is_neither_written_nor_read(said: str) -> None:
    """Of format 1 too, which has no checksum."""
    wrong = replace(RECORD, **IMPOSSIBLE[said])
    with pytest.raises(RecordError, match=f"cannot be written: no record of a run: .*{said}"):
        encode(wrong)
    old = json.loads(encode(RECORD)) | {"format": 1}
    del old["sha256"]
    assert decode(json.dumps(old).encode(), "here") == RECORD
    changes = IMPOSSIBLE[said] | ({"estimates": [e._asdict() for e in wrong.estimates]})
    with pytest.raises(RecordError, match=f"^here: no record of a run: .*{said}"):
        decode(json.dumps(old | changes).encode(), "here")


@pytest.mark.parametrize(
    ("config", "said"),
    [({"seed": "x"}, "config.seed: expected a whole"), ({"train": {"epochs": 1}}, "expected epochs from 1 to 1")],
)
def test_a_configuration_that_hashes_to_the_id_and_does_not_fit_is_refused(config: dict, said: str) -> None:
    with pytest.raises(RecordError, match=said):
        encode(replace(RECORD, id=identity(CONFIG | config), config=CONFIG | config))


def test_a_record_stands_where_its_id_says(tmp_path: Path) -> None:
    for path in (tmp_path / "other" / "record.json", tmp_path / "records" / "other.json"):
        write(RECORD, path)
        with pytest.raises(RecordError, match=f"^{path}: the record of another run, {ID}; (rename its|restore it) "):
            read(path)
    path = tmp_path / ID / "record.json"
    write(RECORD, path)
    assert read(path, "beta") == RECORD
    with pytest.raises(RecordError, match=f"^{path}: the record of another study, beta, not alpha; "):
        read(path, "alpha")


def test_a_newer_record_is_refused_as_one(tmp_path: Path) -> None:
    with pytest.raises(NewerError, match=f"^x: format {FORMAT + 1}, .* reads up to {FORMAT}; update vaebench$"):
        decode(json.dumps({"format": FORMAT + 1}).encode(), "x")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / ID / "record.json").mkdir(parents=True)
    with pytest.raises(RecordError, match="expected a file, got something else"):
        read(tmp_path / ID / "record.json")


def test_the_same_run_twice_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / ID / "record.json", tmp_path / "records" / f"{ID}.json"):
        write(RECORD, path)
    with pytest.raises(RecordError, match=f"the same run {ID}"):
        read_all(tmp_path)


ODD = {
    "a tensor": torch.tensor(1.0),
    "two numbers in a tensor": torch.tensor([1.0, 1.0]),
    "nothing": None,
    "text": "abc",
    "a list of lists": [[1.0, 2.0]],
    "a list with nothing": [1.0, None],
    "an array": np.array([1.0, 2.0]),
}


@pytest.mark.parametrize("name", ODD)
def test_what_a_metric_of_a_user_returns_and_no_record_can_hold_is_a_fault_of_the_record(name: str) -> None:
    with pytest.raises(RecordError, match="expected plain numbers"):
        encode(replace(RECORD, estimates=[Estimate("mine", ODD[name])]))


@pytest.mark.parametrize(
    "changes",
    [
        {"estimates": [Estimate("mine", 1.0, weights=(1, 2, 3))]},
        {"facts": {"mine\udce9": 1}},
        {"provenance": {"command": "python -m vaebench train fr\udce9d/beta.yaml"}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_other_parts_that_no_record_can_hold_are_faults_of_the_record(changes: dict) -> None:
    with pytest.raises(RecordError):
        encode(replace(RECORD, **changes))
