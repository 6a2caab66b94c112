"""Records: what is written is read back, whole or not at all."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaebench import atomic
from vaebench.atomic import WriteError, write_atomically
from vaebench.record import FORMAT, Estimate, Record, RecordError, decode, encode, read, read_all, write
from vaebench.weights import Weights

RECORD = Record(
    id="0123456789",
    study="beta",
    status="done",
    axes=["model.beta", "seed"],
    config={"model": {"name": "BetaVAE", "beta": 4.0, "network": {"name": "MLP", "hidden": [64, 64]}}, "seed": 0},
    comparability={"checksum": "ab", "binarize": None},
    facts={"parameters": 1234, "variance": 0.1 + 0.2},
    estimates=[Estimate("elbo", -86.76, 0.1, 360, 0.01, "σ² is large"), Estimate("kl_per_unit", [0.0, 1e-300])],
    absent={"IWAE": "no posterior"},
    curve={"epoch": [1, 2], "val/elbo": [-90.5, None]},
    provenance={"commit": "c0ffee", "dirty": False},
)

finite = st.floats(allow_nan=False, allow_infinity=False)
plain = st.none() | st.booleans() | st.integers() | finite | st.text()
nested = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
mappings = st.dictionaries(st.text(), nested)
weights = st.builds(Weights, st.none() | finite, st.floats(1, 1e9), st.integers(1))
estimates = st.builds(
    Estimate,
    *(st.text(), finite | st.lists(finite), st.none() | finite, st.integers(0), st.none() | finite, st.text()),
    *(st.none() | st.text(), st.none() | weights),
)


@settings(max_examples=20)
@given(config=mappings, facts=mappings, measured=st.lists(estimates), reason=st.none() | st.text())
def test_what_is_written_is_read_back(config: dict, facts: dict, measured: list[Estimate], reason: str | None) -> None:
    record = replace(RECORD, config=config, facts=facts, estimates=measured, reason=reason, curve={})
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
    path = tmp_path / "runs" / "beta" / "0123456789" / "record.json"
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
        (b'{"format": 1}', "not a record: id: Field required"),
        (b'{"format": 99}', "format 99, but this version reads up to 1; update vaebench"),
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
    with pytest.raises(RecordError, match="0123456789: expected plain numbers"):
        write(replace(RECORD, facts={"path": tmp_path}), tmp_path / "record.json")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    write(RECORD, path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(WriteError, match=f"{path}: cannot be written .No space left on device.*is intact"):
        write(replace(RECORD, study="other"), path)
    assert read(path) == RECORD
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("in the way")
    with pytest.raises(WriteError, match="cannot be written"):
        write_atomically(tmp_path / "runs" / "record.json", b"")


def test_read_all_knows_both_homes_and_their_order(tmp_path: Path) -> None:
    records = [replace(RECORD, id=f"{i:010x}") for i in (3, 1, 2)]
    for record in records:
        write(record, tmp_path / "runs" / record.id / "record.json")
        write(record, tmp_path / "results" / "records" / f"{record.id}.json")
    (tmp_path / "results" / "records" / ".0000000009.json").write_text("the temporary of a killed writer")
    by_id = sorted(records, key=lambda r: r.id)
    assert read_all(tmp_path / "runs") == read_all(tmp_path / "results") == by_id
    assert read_all(tmp_path / "nothing") == []


def test_the_same_run_twice_is_an_error(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(RECORD, tmp_path / name / "record.json")
    with pytest.raises(RecordError, match="the same run 0123456789"):
        read_all(tmp_path)
