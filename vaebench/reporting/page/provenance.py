"""Where the numbers come from: code, libraries, machines, and the command of every run."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from vaebench.records.record import Record
from vaebench.reporting.tables.labels import SEED, slug
from vaebench.reporting.tables.rows import Table


class Origin(NamedTuple):
    """One run: its id and labels, how it ended, how long it took, and the command that repeats it."""

    id: str
    name: str
    status: str
    seconds: str
    command: str


def origins(table: Table) -> list[Origin]:
    """Every run, in the order of the table's rows and of the seeds."""
    return [
        _origin(record, slug([*table.headings, SEED], [*row.labels, str(record.config[SEED])]))
        for row in table.rows
        for record in sorted((*row.group.done, *row.group.failed), key=lambda r: r.config[SEED])
    ]


def conditions(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Code, device and versions of the runs, one line a topic; where runs differ, every value."""
    many = [r.provenance for r in records]
    versions = [p.get("versions") or {} for p in many]
    topics: dict[str, list[Any]] = {
        "commit": [_commit(p) for p in many],
        "device": [p.get("device") for p in many],
        "TF32": ["in training" if p.get("tf32") else None for p in many],
        "bfloat16": [_bfloat16(p.get("bfloat16_error")) for p in many],
        "compiled": ["steps of the training" if p.get("compiled_steps") else None for p in many],
        "threads": [p.get("threads") for p in many],
        "platform": [p.get("platform") for p in many],
        **{name: [v.get(name) for v in versions] for name in dict.fromkeys(n for v in versions for n in v)},
    }
    known = {topic: sorted({str(value) for value in values if value}) for topic, values in topics.items()}
    days = sorted(str(p["finished"])[:10] for p in many if p.get("finished"))
    when = [("finished", " to ".join(dict.fromkeys((days[0], days[-1]))))] if days else []
    return [*((topic, ", ".join(values)) for topic, values in known.items() if values), *when]


def cost(records: Sequence[Record]) -> str:
    """How long all runs took, added up, by kind of device, e.g. `4.2 CPU minutes`; empty if no record says."""
    minutes: defaultdict[str, float] = defaultdict(float)
    for record in records:
        kind, _, name = str(record.provenance.get("device") or "cpu").partition(": ")
        spent = sum((record.provenance.get("seconds") or {}).values()) / 60
        minutes["CPU minutes" if kind == "cpu" else f"minutes of {name or kind}"] += spent
    return ", ".join(
        f"{spent:.2g} {unit}" if spent < 10 else f"{spent:.0f} {unit}"
        for unit, spent in sorted(minutes.items())
        if spent
    )


def finished(records: Sequence[Record]) -> str:
    """The day on which the last run ended, e.g. `2026-11-26`; empty if no record says."""
    return max((str(r.provenance.get("finished") or "")[:10] for r in records), default="")


def _origin(record: Record, name: str) -> Origin:
    seconds = sum((record.provenance.get("seconds") or {}).values())
    status = record.status if record.reason is None else f"{record.status}: {record.reason}"
    return Origin(record.id, name, status, f"{seconds:.1f}" if seconds else "", record.provenance.get("command") or "")


def _bfloat16(error: Mapping[str, Any] | None) -> str | None:
    if error is None:
        return None
    moves = f"IWAE moves by {error['iwae']:.2g} nats, a log-weight by at most {error['nats']:.2g}"
    return f"in the decoder: {moves} (means of {error['observations']} observations)"


def _commit(provenance: dict[str, Any]) -> str:
    commit = str(provenance.get("commit") or "")
    return f"{commit} with changes" if commit and provenance.get("dirty") else commit
