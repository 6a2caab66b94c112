"""What `--slurm key=value` says of a job.

Four keys are ours and are checked here. Every other key is an option of sbatch. It is passed on as it stands: sbatch
knows its own options, and refuses a wrong one when the jobs are submitted, before anything is trained.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from vaebench.config.registry import PositiveInt

RESERVED = {
    "cpus_per_task": "--threads sets it",
    "gpus": "--gpus sets it",
    "gpus_per_node": "--gpus sets it",
    "gpus_per_task": "--gpus sets it",
    "array": "--workers sets it",
    "array_parallelism": "--workers sets it",
    "signal": "signal_delay sets it",
    **dict.fromkeys(("job_name", "output", "error", "open_mode", "nodes", "ntasks", "wrap"), "submitit sets it"),
}
"""Options of sbatch that another option sets, or that submitit needs for itself."""


def minutes(time: Any) -> int:
    """Minutes of a time as sbatch writes it.

    >>> [minutes(time) for time in ("240", "30:00", "4:00:00", "1-12", "1-12:30", "1-12:30:00")]
    [240, 30, 240, 2160, 2190, 2190]

    Raises:
        ValueError: if it is not in one of these forms.
    """
    if not (found := re.fullmatch(r"(?:(\d{1,9})-)?(\d{1,9})(?::(\d{1,9}))?(?::(\d{1,9}))?", str(time))):
        raise ValueError("expected minutes, HH:MM:SS or D-HH:MM:SS")
    first, second = int(found[2]), int(found[3] or 0)
    if found[1]:  # days-hours[:minutes]
        return 60 * (24 * int(found[1]) + first) + second
    return 60 * first + second if found[4] else first  # hours:minutes:seconds, or minutes[:seconds]


@dataclass(frozen=True, kw_only=True)
class SlurmOptions:
    """What a job asks of SLURM, beside threads and GPUs.

    Args:
        cluster: `local` and `debug` try the engine without SLURM: in processes of this machine, or in this process.
        time: minutes of a job. It may be short: a job that runs out of time is queued again and continues.
        signal_delay: seconds before the end of that time. Then the job gets the signal to stop.
        setup: a line of shell before the job, e.g. `module load cuda`.
        sbatch: further options of sbatch, by their names without dashes at the front; True means no value.
    """

    cluster: Literal["slurm", "local", "debug"] = "slurm"
    time: Annotated[PositiveInt, BeforeValidator(minutes)] = 240
    signal_delay: PositiveInt = 90
    setup: str | None = None
    sbatch: Mapping[str, str | bool] = field(default_factory=dict)


def parse_options(words: Sequence[str]) -> SlurmOptions:
    """Options from words `key=value`; `key=true` is an option without a value, and `key=false` leaves it out.

    >>> parse_options(["time=1-12", "partition=gpu", "exclusive=true"]).sbatch
    {'partition': 'gpu', 'exclusive': True}

    Raises:
        ValueError: if a word has another form, a key is given twice or reserved, or one of our keys has a wrong value.
    """
    given: dict[str, str] = {}
    for word in words:
        key, has_value, value = word.partition("=")
        key = key.strip().lstrip("-").replace("-", "_")
        if not has_value or not value or not re.fullmatch(r"[a-z]\w*", key) or not value.isprintable():
            raise ValueError(f"--slurm: expected key=value, e.g. partition=gpu, got {word!r}")
        if key in given:
            raise ValueError(f"--slurm {key}: given twice, {given[key]!r} and {value!r}")
        if key in RESERVED:
            raise ValueError(f"--slurm {key}: {RESERVED[key]}")
        given[key] = value
    ours = {name: given.pop(name) for name in _our_keys() if name in given}
    flags = {"true": True, "false": False}
    sbatch = {key.replace("_", "-"): flags.get(value.lower(), value) for key, value in given.items()}
    try:
        return TypeAdapter(SlurmOptions).validate_python({**ours, "sbatch": {k: v for k, v in sbatch.items() if v}})
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        key, reason = str(fault["loc"][0]), fault["msg"].removeprefix("Value error, ")
        raise ValueError(f"--slurm {key}: {reason}, got {ours[key]!r}") from None


def _our_keys() -> list[str]:
    return [f.name for f in fields(SlurmOptions) if f.name != "sbatch"]
