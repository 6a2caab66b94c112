"""The records that speak to a claim: intact, each once, and of its protocol in everything but the seeds."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from vaebench.config import load
from vaebench.records import provenance, record
from vaebench.records.checksums import sha256
from vaebench.records.record import SEAL, Record, RecordError
from vaebench.records.run_folder import PAPER, place, record_paths
from vaebench.reporting.ledger.claims import FILE, Claim

MEASURED = Path(PAPER, "exact")
"""Folder of the records of exact measurements, below `runs` and `results`: `spectrum-3f2a61c09b.json`."""

MEASUREMENT = "measurement"
"""Key of a configuration that names an exact measurement instead of a training."""

SEED = "seed"
"""The end of the keys that choose a sample or a start. A protocol may be repeated with others."""

AT_ODDS = 1e-6
"""The relative difference from which two numbers that must be equal are not. In published records it is below 1e-9."""

RUN = "run"
"""Key of a measurement's configuration: the trained run that is measured."""


@dataclass(frozen=True)
class Evidence:
    """What is known about a claim.

    Attributes:
        records: of the protocol, done, sorted by file.
        protocols: the configurations that the protocol asks for, one a run.
        failed: how many runs of the protocol have a record that says why they failed.
        faults: why a file is refused: it is damaged, was changed after it was written, has no checksum, repeats another
            file, or is published and does not say which code wrote it.
        foreign: ids of intact records in the same folder that are of another protocol.
    """

    records: list[Record] = field(default_factory=list)
    protocols: list[dict[str, Any]] = field(default_factory=list)
    failed: int = 0
    faults: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


def evidence(claim: Claim, root: Path) -> Evidence:
    """The records below `root`, which is `results` or `runs`, that speak to a claim.

    Those that stand beside the claims are published, and must also say how to repeat them.

    Raises:
        ConfigError: if the claim's study has a file that does not load.
    """
    if claim.protocol is None:
        return Evidence()
    if isinstance(claim.protocol, dict):
        protocol: dict[str, Any] = {SEED: 0} | claim.protocol
        runs = _runs(Path(protocol.pop(RUN))) if RUN in protocol else [None]
        protocols = [protocol if run is None else protocol | {RUN: run} for run in runs]
        found = _sorted_out((root / MEASURED).glob(f"{protocol[MEASUREMENT]}-[!.]*.json"), protocols)
    elif claim.protocol.is_file():
        study = load(claim.protocol)
        paths = record_paths(root / place(claim.protocol))
        found = _sorted_out(paths, [run.config for run in study.runs], study.name)
    else:
        return Evidence()  # a protocol that needs what this version does not have
    if (root / FILE).is_file():
        found.faults.extend(_without_origin(found.records))
    return found


def _runs(study: Path) -> list[dict[str, Any]]:
    """The configurations of a study's runs; none where this version has no such study."""
    return [run.config for run in load(study).runs] if study.is_file() else []


def without_seeds(config: Any) -> Any:
    """A configuration with 0 for each of its seeds, wherever they stand. What is no seed by its value stays.

    >>> without_seeds({"data": {"name": "LinearGaussian", "data_seed": 3}, "seed": 7})
    {'data': {'name': 'LinearGaussian', 'data_seed': 0}, 'seed': 0}
    """
    if isinstance(config, Mapping):
        return {k: 0 if k.endswith(SEED) and type(v) is int and v >= 0 else without_seeds(v) for k, v in config.items()}
    return config


def _sorted_out(paths: Iterable[Path], protocols: list[dict[str, Any]], study: str | None = None) -> Evidence:
    allowed = {sha256(without_seeds(protocol)) for protocol in protocols}
    found: dict[Path, Record] = {}
    failed, faults, foreign = 0, [], []
    for path in sorted(paths):
        try:
            one = _intact(path, study)
        except RecordError as error:
            faults.append(str(error))
            continue
        if sha256(without_seeds(one.config)) not in allowed:
            foreign.append(one.id)
        elif one.status == "failed":
            failed += 1
        else:
            found[path] = one
    faults += _repeated(found)
    return Evidence(list(found.values()), protocols, failed, faults, foreign)


def _intact(path: Path, study: str | None) -> Record:
    """The record of a file, which is the one that was written there."""
    one = record.read(path, study)
    if not isinstance(entries := from_json(path.read_bytes()), dict) or SEAL not in entries:
        raise RecordError(f"{path}: has no checksum, since an earlier version wrote it; repeat the run")
    if path.parent.name == MEASURED.name and path.stem != f"{one.config.get(MEASUREMENT)}-{one.id}":
        raise RecordError(f"{path}: expected the name {one.config.get(MEASUREMENT)}-{one.id}.json; restore the file")
    if at_odds := _at_odds(one):
        raise RecordError(f"{path}: its numbers do not fit together: {at_odds}; repeat the run")
    return one


def _at_odds(one: Record) -> str:
    """Why the numbers of a record cannot come from one evaluation: a bound and its parts come from the same draws."""
    found = {e.name: e.value for e in one.scalars if not isinstance(e.value, list)}
    elbo = found.get("elbo")
    same = {"iwae_1": found.get("iwae_1")}
    if {"rate", "distortion"} <= found.keys():
        same["−rate − distortion"] = -found["rate"] - found["distortion"]
    for name, other in same.items():
        if elbo is not None and other is not None and abs(elbo - other) > AT_ODDS * max(1.0, abs(elbo), abs(other)):
            return f"expected elbo {elbo} to be {name}, {other}"
    return ""


def _repeated(found: Mapping[Path, Record]) -> Iterator[str]:
    """Files with the run of another file, and trainings with the numbers of another seed."""
    seen: dict[str, Path] = {}
    for path, one in found.items():
        numbers = sha256([list(map(str, one.estimates)), one.curve]) if one.curve else one.id
        for key in dict.fromkeys((one.id, numbers)):
            if (first := seen.setdefault(key, path)) != path:
                yield f"{path}: has the {'run' if key == one.id else 'numbers'} of {first}; delete the copy"


def _without_origin(records: Sequence[Record]) -> Iterator[str]:
    """Records that do not say how to repeat them: no command, no commit, or a commit that is not in the history.

    Where git cannot say which commits there are, a commit is believed.
    """
    unknown = provenance.not_in_history({str(r.provenance.get("commit")) for r in records})
    for one in records:
        origin, name = one.provenance, f"record {one.id} of {one.study}"
        if not origin.get("command") or not origin.get("commit"):
            yield f"{name}: names no command or no commit, so nobody can repeat it; publish a run of a git checkout"
        elif origin.get("dirty"):
            yield f"{name}: its code was changed after {origin['commit'][:10]}; publish a run of a clean checkout"
        elif origin["commit"] in unknown:
            yield f"{name}: its commit {origin['commit'][:10]} is not in the history; restore the record from git"
