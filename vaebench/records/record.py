"""A run's record: what was asked, what was measured, and what it ran on, as one JSON file.

Tables, pages and the decision whether a run is done read only the record. It is written under a temporary name in the
same folder and then renamed, so a record is never half-written.

Files are edited, copied and damaged, so every reading checks the record. It has the SHA-256 of its own content; its id
is the hash of its configuration; its folder (or file) is named after the id; its numbers must be possible. A record
that fails a check is refused, with its file's name. Records of format 1 have no SHA-256, but pass the other checks.

The file is strict JSON. A number that is not finite is written as `null` and read back as NaN in an estimate (as None
in a curve); the estimate's note says which value it was. It is never part of a mean.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import from_json

from vaebench.records.checksums import checksum, finite, laid_out, sha256
from vaebench.records.collection import without_collection
from vaebench.records.description import Description, Weights, earlier_description
from vaebench.records.files import PUBLISHED_RECORDS, RECORD, id_of, record_paths, write_atomically

FORMAT = 3  # version of the file; raised when a reader of the earlier version would misread it
SCALE = "scale"  # name of the fact: the data was divided by this number before the model saw it. Only for densities
DUPLICATES = "duplicates"  # name of the fact: how many of the measured observations are also in the training split

UNIT_RATES = "kl_per_unit"
"""Name of the estimate with the KL of every latent unit. Charts, curves and pictures of single units read it."""

UNIT_CURVE = f"val/{UNIT_RATES}/"
"""How the names of single units' curves begin. Only loggers have them: in a record they would be too long."""

COLLAPSED, EPSILONS = "collapse_curve", "collapse_epsilon"
"""Names of the arrays with the share of collapsed units, and the ε at which each was counted."""

BELOW, DEPTH, ONSET = "below_ceiling", "depth_can_buy", "collapse_onset"
"""Names of the estimates that tell how far a run is below the ceiling of all VAEs. A chart draws them."""

NOT_FINITE = "not a finite number"

SEAL = "sha256"  # name of the entry with the checksum of all other entries

Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]


class RecordError(ValueError):
    """A record is damaged or impossible. The message names the file and says what to do.

    Args:
        fault: what is wrong, and where.
        remedy: what the user should do about it.
    """

    def __init__(self, fault: str, remedy: str = "") -> None:
        super().__init__(f"{fault}; {remedy}" if remedy else fault)
        self.fault, self.remedy = fault, remedy


class NewerError(RecordError):
    """A newer version of vaebench wrote the record. It must not be renamed or overwritten."""


class Estimate(NamedTuple):
    """One measured number, or one array (a value a unit, a point a curve), of one run.

    Attributes:
        name: e.g. `iwae_5000`; the column of the table.
        value: the mean over observations, in the unit that the metric states; a list for an array.
        standard_error: of the value, over observations.
        n: number of observations.
        monte_carlo_error: standard error that remains, at these observations, from the finite number of draws.
        note: a reservation that every table shows beside the number.
        over: which observations it was taken over, where not the whole split. Two estimates are of the same
            observations exactly where this is equal, and only then do they compare.
        weights: how far the importance weights behind it can be trusted; None where it rests on none.
    """

    name: str
    value: Number | list[Number]
    standard_error: float | None = None
    n: int = 0
    monte_carlo_error: float | None = None
    note: str | None = None
    over: str | None = None
    weights: Weights | None = None

    @property
    def unreliable(self) -> bool:
        """Whether the weights behind it say that the number is not to be trusted."""
        return self.weights is not None and self.weights.unreliable


class NotApplicable(NamedTuple):
    """What a metric or an estimator returns in place of an `Estimate` that the model or the data does not allow."""

    name: str  # the name of the estimate
    reason: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """One run, done or failed.

    Attributes:
        id: hash of the configuration; the same run has the same id everywhere.
        study: stem of the study's file.
        status: `failed` runs have a `reason` and may lack every measurement.
        axes: paths into `config` that the study's grid names, in the order of the file, e.g. `["model.beta", "seed"]`.
        config: the validated configuration with every default filled in: model, data, train, evaluate, seed.
        comparability: bounds of two runs compare only where these are equal (checksum, split, binarize, measure).
        facts: what is known without measuring, or is a property of the model (parameters, beta, forecast_active_units);
            `dimensions` = D and, where it is a vector and no image, `shape` = [D].
        estimates: scalars and arrays, in the order measured.
        not_applicable: name of an estimate or of a fact -> why this run has none.
        descriptions: name of an estimate or a fact that is shown as one number -> how to show it.
        curve: columns of the validation curve, `epoch` first.
        provenance: commit, dirty, versions, device, seconds, command; `files`: the SHA-256 of each file that was left
            beside the record, by its name.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    id: str
    study: str
    status: Literal["done", "failed"]
    reason: str | None = None
    axes: list[str] = field(default_factory=list)
    config: dict[str, Any]
    comparability: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    estimates: list[Estimate] = field(default_factory=list)
    not_applicable: dict[str, str] = field(default_factory=dict)
    descriptions: dict[str, Description] = field(default_factory=dict)
    curve: dict[str, list[int | float | None]] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def estimate(self, name: str) -> Estimate | None:
        """The estimate with this name; None if it was not measured."""
        return self._by_name.get(name)

    def number(self, name: str) -> float | None:
        """The value of the estimate with this name; None if it was not measured, is an array, or is not finite."""
        found = self.estimate(name)
        return found.value if found and isinstance(found.value, float) and math.isfinite(found.value) else None

    @cached_property
    def _by_name(self) -> dict[str, Estimate]:
        return {e.name: e for e in reversed(self.estimates)}  # the first of a name, if there are several

    @cached_property
    def tells_weights(self) -> bool:
        """Whether its estimates say themselves on which importance weights they rest; older records do not."""
        return any(e.weights is not None for e in self.estimates)

    def description(self, name: str) -> Description:
        """How to show a number: as the record says; by the frozen list if the record is older than descriptions."""
        return self.descriptions.get(name) or earlier_description(name) or Description()

    @property
    def blanks(self) -> list[str]:
        """The estimates that the run does not have, a text for each reason: `elbo, rate: AE has no posterior`."""
        odd = (e for e in self.estimates if isinstance(e.value, float) and not math.isfinite(e.value))
        return by_reason(self.not_applicable | {e.name: e.note or NOT_FINITE for e in odd})

    def left(self, path: Path, name: str | None = None) -> bytes:
        """The content of a file that the run wrote, checked against the SHA-256 in the record.

        Args:
            path: where the file is.
            name: its name in the run's folder, if it has another name now.

        Raises:
            FileNotFoundError: if there is no such file.
            RecordError: if the file was changed since, or belongs to another run.
        """
        content = path.read_bytes()
        if checksum(content) != self.provenance.get("files", {}).get(name or path.name, checksum(content)):
            command = self.provenance.get("command")
            again = f"train the run again: {command}" if command else "train the run again"
            raise RecordError(f"{path}: not the file that run {self.id} left ({SEAL} is another)", again)
        return content

    @property
    def scalars(self) -> Iterator[Estimate]:
        """The estimates with a single number."""
        return (e for e in self.estimates if not isinstance(e.value, list))


def by_reason(reasons: Mapping[str, str]) -> list[str]:
    """Names and the reason of each, in a text for each reason.

    >>> by_reason({"elbo": "no posterior", "accuracy": "no labels", "rate": "no posterior"})
    ['elbo, rate: no posterior', 'accuracy: no labels']
    """
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    return [f"{', '.join(each)}: {reason}" for reason, each in names.items()]


def encode(record: Record) -> bytes:
    """The bytes of a record's file: one line for each entry, so that diffs are short.

    Raises:
        RecordError: if a value is not plain JSON (a tensor, a path), or the result could not be read back.
    """
    entries: dict[str, Any] = {"format": FORMAT, **{f.name: getattr(record, f.name) for f in fields(record)}}
    try:
        entries["estimates"] = [_entry(_noted(e)) for e in record.estimates]
        entries["descriptions"] = {n: d.recorded(n).entries for n, d in record.descriptions.items()}
        entries = json.loads(json.dumps(finite(entries), allow_nan=False))
        sealed = {"format": FORMAT, SEAL: sha256(entries)} | entries
        content = ("{\n" + ",\n".join(f"{json.dumps(k)}: {laid_out(v)}" for k, v in sealed.items()) + "\n}\n").encode()
        decode(content, f"record {record.id}: cannot be written")
    except RecordError as error:
        raise RecordError(error.fault) from None
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise RecordError(f"record {record.id}: expected plain numbers, strings, lists and mappings: {error}") from None
    return content


def decode(content: bytes, source: str | Path) -> Record:
    """The record in a file's bytes.

    Raises:
        NewerError: if a newer version wrote it.
        RecordError: if the bytes are half a file or not a record, or if the record was changed after it was written.
    """
    remedy = remedy_of(Path(source))
    try:
        entries = from_json(content)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{source}: damaged or half-written: {error}", remedy) from None
    version = entries.get("format") if isinstance(entries, dict) else None
    if type(version) is not int or version < 1:
        raise RecordError(f"{source}: not a record (expected an object with 'format': {FORMAT})", remedy)
    if version > FORMAT:
        raise NewerError(f"{source}: format {version}, but this version reads up to {FORMAT}", "update vaebench")
    del entries["format"]
    seal = entries.pop(SEAL, None)
    # `not_applicable` had another name in earlier formats.
    named = {{"absent": "not_applicable"}.get(k, k): v for k, v in entries.items()} if version < FORMAT else entries
    try:
        record: Record = _adapter().validate_python(named)
    except ValidationError as error:
        raise RecordError(f"{source}: not a record: {validation_faults(error)[0]}", remedy) from None
    # Format 1 had no checksum. A record of "format 1" with a checksum was edited, and is checked as well.
    if (seal is not None or version > 1) and seal != sha256({"format": version, **entries}):
        raise RecordError(f"{source}: changed after it was written ({SEAL} is not that of its content)", remedy)
    if fault := next(faults(record), None):
        raise RecordError(f"{source}: no record of a run: {fault}", remedy)
    return record


def write(record: Record, path: Path) -> None:
    """Write a record atomically.

    Raises:
        RecordError: if the record is not plain JSON.
        WriteError: if the disk is full or the folder cannot be written.
    """
    write_atomically(path, encode(record))


def read(path: Path, study: str | None = None) -> Record:
    """Read one record, and check that it is at the right place.

    Args:
        path: `<id>/record.json` or `records/<id>.json`. At other places the id is not compared.
        study: the study that the record must belong to; None for any.

    Raises:
        FileNotFoundError: if there is no file.
        RecordError: if the record is damaged, or belongs to another run or study.
    """
    if not path.is_file() and path.exists():
        raise RecordError(f"{path}: expected a file, got something else", remedy_of(path))
    record, place = decode(path.read_bytes(), path), path.absolute()
    has_id = path.name == RECORD or place.parent.name == PUBLISHED_RECORDS
    if has_id and record.id != id_of(place):
        remedy = f"rename its folder to {record.id}, or {remedy_of(path)}" if path.name == RECORD else remedy_of(path)
        raise RecordError(f"{path}: the record of another run, {record.id}", remedy)
    if study not in (None, record.study):
        raise RecordError(f"{path}: the record of another study, {record.study}, not {study}", remedy_of(path))
    return record


def written_at(path: Path) -> int | None:
    """When a file was written, in nanoseconds; None if it does not exist. It tells a record from its replacement."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


@without_collection()
def read_all(folder: Path) -> list[Record]:
    """Every record in `runs/<study>` or `results/<study>`, sorted by id.

    Raises:
        RecordError: if records cannot be read, with one line for each, or if two files have the same run.
    """
    found: dict[str, Path] = {}
    records, wrong = [], []
    for path in record_paths(folder):
        try:
            record = read(path)
        except RecordError as error:
            wrong.append(error)
            continue
        if record.id in found:
            raise RecordError(f"{path}: the same run {record.id} as {found[record.id]}; delete one of them")
        found[record.id] = path
        records.append(record)
    if wrong:
        raise wrong[0] if len(wrong) == 1 else RecordError("\n".join(map(str, wrong)))
    return sorted(records, key=lambda r: r.id)


@cache
def _adapter() -> TypeAdapter:
    return TypeAdapter(Record)


def validation_faults(error: ValidationError) -> list[str]:
    """The faults of a validation, each as `place: what is wrong`."""
    found = []
    for fault in error.errors(include_url=False):
        place = ".".join(str(part) for part in fault["loc"] if "[" not in str(part))
        found.append(f"{place or 'the whole file'}: {fault['msg']}")
    return found


def _noted(estimate: Estimate) -> Estimate:
    """The estimate; if its value is not finite and it has no note, with a note that says so."""
    values = estimate.value if isinstance(estimate.value, list) else [estimate.value]
    odd = sorted({str(v) for v in values if not math.isfinite(v)})
    return estimate._replace(note=f"not finite: {', '.join(odd)}") if odd and estimate.note is None else estimate


def _entry(estimate: Estimate) -> dict[str, Any]:
    """The estimate as it is written; fields of later versions are left out if None, so old records keep their bytes."""
    weights = estimate.weights and estimate.weights._asdict()
    later = {k: v for k, v in (("over", estimate.over), ("weights", weights)) if v is not None}
    return {k: v for k, v in estimate._asdict().items() if k not in ("over", "weights")} | later


def identity(config: dict[str, Any]) -> str:
    """The id of a run: ten hexadecimal digits of the SHA-256 of its configuration; the order of keys does not matter.

    >>> identity({"seed": 0})
    'bd04888434'
    """
    return sha256(config)[:10]


def faults(record: "Record") -> Iterator[str]:
    """The faults of a record whose entries have the right types, but impossible values."""
    if record.id != (expected := identity(record.config)):
        yield f"its id {record.id} is not the hash of its configuration, {expected}"
    if (record.status == "failed") != bool(record.reason):
        yield f"a run that is {record.status} has {'a' if record.status == 'failed' else 'no'} reason"
    seed = record.config.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        yield f"config.seed: expected a whole number, got {seed!r}"
    names = [e.name for e in record.estimates]
    if len(set(names)) < len(names):
        yield from (f"{name} is measured twice" for name in names if names.count(name) > 1)
    for e in record.estimates:
        if e.n < 0 or (e.standard_error or 0) < 0 or (e.monte_carlo_error or 0) < 0:
            spreads = [s for s in (e.standard_error, e.monte_carlo_error) if s is not None]
            yield f"{e.name}: expected n and errors of 0 or more, got n {e.n}, errors {spreads}"
    yield from _faults_of_curve(record.curve, record.config.get("train"))


def _faults_of_curve(curve: dict[str, list[int | float | None]], train: Any) -> Iterator[str]:
    if len({len(column) for column in curve.values()}) > 1:
        yield f"the columns of its curve have {sorted({len(c) for c in curve.values()})} rows"
    epochs = curve.get("epoch", [])
    last = train.get("epochs", math.inf) if isinstance(train, dict) else math.inf
    if any(e is None for e in epochs) or epochs != sorted({e for e in epochs if e is not None and 1 <= e <= last}):
        yield f"expected epochs from 1 to {last} in its curve, each once and in order"


def remedy_of(path: Path) -> str:
    """What the user should do about a damaged record; a published one is in version control."""
    published = path.parent.name == PUBLISHED_RECORDS
    return "restore it from version control" if published else "delete it and run the same command again"
