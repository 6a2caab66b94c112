"""Packs as jobs of SLURM: one array of sbatch, with one job for each pack.

Jobs continue when the command that submitted them ends. The same command, given again, waits for the runs that these
jobs work on, and its own jobs skip the runs that are done. A job that is preempted or runs out of time is queued again
with the same call, and its runs continue from their last snapshots.
"""

import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Generic, Literal

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from vaebench.config.registry import PositiveInt
from vaebench.records.files import SLURM
from vaebench.sweeps.engines import Choice, Engine, Item, Outcomes, Result

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
    """What a job asks of SLURM, beside threads and GPUs."""

    # `local` and `debug` try the engine without SLURM: in processes of this machine, or in this process.
    cluster: Literal["slurm", "local", "debug"] = "slurm"
    # minutes of a job. It may be short: a job that runs out of time is queued again and continues.
    time: Annotated[PositiveInt, BeforeValidator(minutes)] = 240
    signal_delay: PositiveInt = 90  # seconds before the end of that time. Then the job gets the signal to stop.
    setup: str | None = None  # a line of shell before the job, e.g. `module load cuda`
    # further options of sbatch, by their names without dashes at the front; True means no value.
    sbatch: Mapping[str, str | bool] = field(default_factory=dict)


OURS = [f.name for f in fields(SlurmOptions) if f.name != "sbatch"]


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
    ours = {name: given.pop(name) for name in OURS if name in given}
    flags = {"true": True, "false": False}
    sbatch = {key.replace("_", "-"): flags.get(value.lower(), value) for key, value in given.items()}
    try:
        return TypeAdapter(SlurmOptions).validate_python({**ours, "sbatch": {k: v for k, v in sbatch.items() if v}})
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        key, reason = str(fault["loc"][0]), fault["msg"].removeprefix("Value error, ")
        raise ValueError(f"--slurm {key}: {reason}, got {ours[key]!r}") from None


TIMEOUTS = 50
"""How often a job that runs out of time is queued again. A job whose epoch takes longer than its time must end."""

POLL_SECONDS = 2.0  # seconds between two looks for results


class Slurm(Engine):
    """Maps a function over items by jobs that submitit submits.

    Raises:
        ValueError: if `gpus` is not a whole number, or submitit or sbatch is missing here.
    """

    def __init__(self, choice: Choice) -> None:
        options, gpus = parse_options(choice.slurm), float(choice.gpus or 0)
        if not gpus.is_integer():
            raise ValueError(f"--gpus: SLURM gives whole GPUs to a job, got {gpus:g}; use a larger --pack to fill one")
        if options.cluster == "slurm" and shutil.which("sbatch") is None:
            raise ValueError(
                "--engine slurm: no sbatch on this machine; run this where jobs are submitted, or try the engine "
                "with --slurm cluster=local"
            )
        _submitit()
        self.folder, self.name = (choice.folder / SLURM).absolute(), f"vaebench-{choice.folder.name}"  # of the jobs
        self.options, self.threads, self.gpus, self.log = options, choice.threads, int(gpus), choice.log
        self.max_jobs, self.workers = choice.workers, choice.workers or 1
        self.is_here = options.cluster != "slurm"

    @property
    def devices(self) -> tuple[int | None, str]:
        return super().devices if self.is_here else (self.gpus or None, "the GPUs of a job (--gpus)")

    def __str__(self) -> str:
        each = f"{self.gpus} GPU{'s' * (self.gpus > 1)}, " if self.gpus else ""
        cores = f"{self.threads} core{'s' * (self.threads > 1)}"
        where = {"slurm": "jobs of SLURM", "local": "processes of this machine", "debug": "jobs in this process"}
        return f"packs as {where[self.options.cluster]}, {each}{cores} each; scripts and logs in {self.folder}"

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Outcomes[Item, Result]:
        left = self._submitted(function, list(items))
        jobs = [job for job, _ in left.values()]
        if self.options.cluster == "debug":
            ended = iter(jobs)  # a job runs when its result is read
        else:
            ended = _submitit().helpers.as_completed(jobs, poll_frequency=POLL_SECONDS)
            self.log(f"submitted {self._numbers(jobs)}; the jobs continue if this command ends; you may run it again")
        try:
            for job in ended:
                outcome = _outcome(job)
                yield left.pop(job.job_id)[1], outcome
        finally:
            if left and self.options.cluster == "slurm":
                numbers = self._numbers([job for job, _ in left.values()])
                self.log(f"{numbers} continue; to cancel them: scancel {numbers}; the same command waits for them")

    def _submitted(self, function: Callable[[Item], Result], items: Sequence[Item]) -> dict[str, tuple[Any, Item]]:
        """Submit one job for each item; returns the job and its item by the job's id."""
        try:
            jobs = self._executor().map_array(Requeued(function), items)
        except _submitit().core.utils.FailedJobError as error:
            raise OSError(f"sbatch refused the jobs: {' '.join(str(error).split())}") from None
        return {job.job_id: (job, item) for job, item in zip(jobs, items, strict=True)}

    def _executor(self) -> Any:
        options = self.options
        executor = _submitit().AutoExecutor(self.folder, cluster=options.cluster, slurm_max_num_timeout=TIMEOUTS)
        executor.update_parameters(
            name=self.name,
            timeout_min=options.time,
            cpus_per_task=self.threads,
            gpus_per_node=self.gpus or None,
            slurm_array_parallelism=self.max_jobs,
            slurm_signal_delay_s=options.signal_delay,
            slurm_setup=options.setup and [options.setup],
            slurm_srun_args=[f"--cpus-per-task={self.threads}"],  # srun does not inherit it from sbatch
            slurm_additional_parameters={"requeue": True, **options.sbatch},
        )
        return executor

    def _numbers(self, jobs: Sequence[Any]) -> str:
        return " ".join(sorted({job.job_id.partition("_")[0] for job in jobs}))


class Requeued(Generic[Item, Result]):
    """A function as a job. If the job is preempted or runs out of time, submitit queues the same call again."""

    def __init__(self, function: Callable[[Item], Result]) -> None:
        self.function = function

    def __call__(self, item: Item) -> Result:
        return self.function(item)

    def checkpoint(self, item: Item) -> Any:
        """Called by submitit when the job must stop: what to queue again."""
        return _submitit().helpers.DelayedSubmission(self, item)

    __submitit_checkpoint__ = checkpoint


def _outcome(job: Any) -> Any:
    """The result of a job, or an error whose message says in one line why there is none."""
    error = job.exception()
    if error is None:
        return job.result()
    if type(error).__module__.partition(".")[0] != "submitit":
        return error
    # submitit's error quotes the traceback between two lines of dashes; its last line names the error.
    raised = [line for line in str(error).partition("-" * 22)[2].partition("-" * 22)[0].splitlines() if line.strip()]
    reason = raised[-1].strip() if job.paths.result_pickle.exists() and raised else f"no result ({job.state})"
    return RuntimeError(f"job {job.job_id}: {reason}; its log: {job.paths.stderr}")


def _submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise ValueError("--engine slurm needs submitit: pip install 'vaebench[slurm]'") from None
    return submitit
