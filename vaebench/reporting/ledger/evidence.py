"""The records that speak to a claim: intact, and of its protocol in everything but the seeds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from vaebench.config import ConfigError, load
from vaebench.records import record
from vaebench.records.plain_json import sha256
from vaebench.records.record import SEAL, Record, RecordError
from vaebench.records.run_folder import PAPER, place, record_paths
from vaebench.reporting.ledger.claims import Claim

MEASURED = Path(PAPER, "exact")
"""Folder of the records of exact measurements, below `runs` and `results`: `spectrum-3f2a61c09b.json`."""

MEASUREMENT = "measurement"
"""Key of a configuration that names an exact measurement instead of a training."""

SEED = "seed"
"""The end of the keys that choose a sample or a start. A protocol may be repeated with others."""


@dataclass(frozen=True)
class Evidence:
    """What is known about a claim.

    Attributes:
        records: of the protocol, done, sorted by id.
        failed: how many runs of the protocol have a record that says why they failed.
        faults: files that are damaged, were changed after they were written, or have no checksum.
        foreign: ids of intact records in the same folder that are of another protocol.
    """

    records: list[Record] = field(default_factory=list)
    failed: int = 0
    faults: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


def evidence(claim: Claim, root: Path) -> Evidence:
    """The records below `root`, which is `results` or `runs`, that speak to a claim.

    Raises:
        ConfigError: if the claim's study has a file that does not load.
    """
    if claim.protocol is None:
        return Evidence()
    if isinstance(claim.protocol, dict):
        protocol = dict(claim.protocol)
        runs = _runs(Path(protocol.pop("run"))) if "run" in protocol else [None]
        protocols = [protocol if run is None else protocol | {"run": run} for run in runs]
        return _sorted_out((root / MEASURED).glob(f"{protocol[MEASUREMENT]}-[!.]*.json"), protocols)
    if not claim.protocol.is_file():
        return Evidence()  # a protocol that needs what this version does not have
    study = load(claim.protocol)
    return _sorted_out(record_paths(root / place(claim.protocol)), [run.config for run in study.runs], study.name)


def _runs(study: Path) -> list[dict[str, Any]]:
    """The configurations of a study's runs; none where this version has no such study."""
    return [run.config for run in load(study).runs] if study.is_file() else []


def without_seeds(config: Any) -> Any:
    """A configuration without its seeds, wherever they stand.

    >>> without_seeds({"data": {"name": "LinearGaussian", "data_seed": 3}, "seed": 0})
    {'data': {'name': 'LinearGaussian'}}
    """
    if isinstance(config, Mapping):
        return {key: without_seeds(value) for key, value in config.items() if not str(key).endswith(SEED)}
    return config


def _sorted_out(paths: Iterable[Path], protocols: list[dict[str, Any]], study: str | None = None) -> Evidence:
    allowed = {sha256(without_seeds(protocol)) for protocol in protocols}
    found = Evidence()
    failed = 0
    for path in sorted(paths):
        try:
            one = record.read(path, study)
            if not isinstance(entries := from_json(path.read_bytes()), dict) or SEAL not in entries:
                raise RecordError(f"{path}: has no checksum, since an earlier version wrote it; repeat the run")
        except RecordError as error:
            found.faults.append(str(error))
            continue
        if sha256(without_seeds(one.config)) not in allowed:
            found.foreign.append(one.id)
        elif one.status == "failed":
            failed += 1
        else:
            found.records.append(one)
    return Evidence(found.records, failed, found.faults, found.foreign)


__all__ = ["MEASURED", "MEASUREMENT", "ConfigError", "Evidence", "evidence", "without_seeds"]
