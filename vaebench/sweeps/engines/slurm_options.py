"""What a job asks of SLURM: `--slurm key=value`, checked before anything is submitted."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from vaebench.config.registry import PositiveInt, did_you_mean

ELSEWHERE = {
    "cpus_per_task": "--threads",
    "gpus": "--gpus",
    "gpus_per_node": "--gpus",
    "array": "--workers",
    "array_parallelism": "--workers",
}
"""Parameters of sbatch that an option of every engine says."""


def minutes(said: Any) -> int:
    """Minutes of what sbatch takes for a time: `240`, `30:00`, `4:00:00`, `1-12`, `1-12:30` or `1-12:30:00`.

    Raises:
        ValueError: if it is none of these.
    """
    if not (found := re.fullmatch(r"(?:(\d{1,9})-)?(\d{1,9})(?::(\d{1,9}))?(?::(\d{1,9}))?", str(said))):
        raise ValueError("expected minutes, HH:MM:SS or D-HH:MM:SS")
    first, second = int(found[2]), int(found[3] or 0)
    if found[1]:
        return 60 * (24 * int(found[1]) + first) + second
    return 60 * first + second if found[4] else first


def memory(said: str) -> str:
    """What sbatch takes for an amount of memory.

    Raises:
        ValueError: if it is none.
    """
    if not re.fullmatch(r"\d{1,18}[KMGT]?B?", said):
        raise ValueError("expected e.g. 16G or 500M")
    return said


Minutes = Annotated[PositiveInt, BeforeValidator(minutes)]
Memory = Annotated[str, AfterValidator(memory)]


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What sbatch is given beside threads and GPUs; each as its manual says, where nothing else is said here.

    Args:
        cluster: `local` and `debug` try things out without SLURM: in processes of this machine, in this process.
        time: of a job. One that runs out of it is queued again and goes on, so that it may be short.
        signal_delay: seconds before the end of that time at which a job is told to go.
        setup: a line of shell before the job, e.g. `module load cuda`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    cluster: Literal["slurm", "local", "debug"] = "slurm"
    time: Minutes = 240
    signal_delay: PositiveInt = 90
    setup: str | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    mem: Memory | None = None
    mem_per_cpu: Memory | None = None
    mem_per_gpu: Memory | None = None
    constraint: str | None = None
    gres: str | None = None
    nodelist: str | None = None
    exclude: str | None = None
    exclusive: bool | None = None
    reservation: str | None = None
    licenses: str | None = None
    nice: int | None = None
    dependency: str | None = None
    comment: str | None = None
    mail_type: str | None = None
    mail_user: str | None = None

    @property
    def of_sbatch(self) -> dict[str, Any]:
        """Those that go to sbatch as they stand."""
        ours = ("cluster", "time", "signal_delay", "setup")
        return {
            f.name.replace("_", "-"): value
            for f in fields(self)
            if f.name not in ours and (value := getattr(self, f.name)) not in (None, False)
        }


def parameters(said: Sequence[str]) -> Parameters:
    """Parameters from `key=value` each.

    Raises:
        ValueError: if one is none, is unknown, is said twice, or has a value of another kind.
    """
    known, found = [f.name for f in fields(Parameters)], dict[str, str]()
    for one in said:
        key, is_there, value = one.partition("=")
        key = key.strip().lstrip("-").replace("-", "_")
        if not is_there or not value:
            raise ValueError(f"--slurm: expected key=value, e.g. partition=gpu, got {one!r}")
        if key in found:
            raise ValueError(f"--slurm {key}: said twice, {found[key]!r} and {value!r}")
        if key not in known:
            raise ValueError(f"--slurm {key}: {_unknown(key, known)}")
        found[key] = value
    try:
        return TypeAdapter(Parameters).validate_python(found)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        reason = fault["msg"].removeprefix("Value error, ")
        raise ValueError(f"--slurm {fault['loc'][0]}: {reason}, got {found[str(fault['loc'][0])]!r}") from None


def _unknown(key: str, known: Sequence[str]) -> str:
    if key in ELSEWHERE:
        return f"the option {ELSEWHERE[key]} says it"
    return f"unknown parameter{did_you_mean(key, known) or ', expected one of ' + ', '.join(known)}"
