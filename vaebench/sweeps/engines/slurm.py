"""Packs as jobs of SLURM, for those whose only door is sbatch: one array, a job a pack.

The queue outlives whoever fills it. Jobs go on when the driver ends; the same command, run again, waits for the runs
that they work on, and its own jobs find what is done done. A job that is preempted or runs out of time is queued again
with the same call, and its runs go on from their snapshots.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic

from vaebench.sweeps.engines.base import Engine, Item, Result
from vaebench.sweeps.engines.slurm_options import Parameters

TIMEOUTS = 50
"""How often a job that runs out of time is queued again; one whose epoch is longer than that time must end some day."""

LOOK = 2.0
"""Seconds from one look for results to the next."""


class Slurm(Engine):
    """Maps a function over items by jobs that submitit submits.

    Args:
        folder: for scripts and logs; every node has to reach it.
        parameters: of sbatch.
        workers: how many jobs may run at a time; as many as SLURM lets if None.
        threads: CPU cores of each.
        gpus: GPUs of each, on one node; none if None.
        name: of the jobs, in the queue.
        tell: hears what was submitted, and what goes on when the driver ends.

    Raises:
        ValueError: if GPUs are no whole number, or there is no submitit or no sbatch here.
    """

    def __init__(
        self,
        folder: Path,
        parameters: Parameters,
        workers: int | None = None,
        threads: int = 1,
        gpus: float | None = None,
        name: str = "vaebench",
        tell: Callable[[str], None] = print,
    ) -> None:
        if gpus is not None and not float(gpus).is_integer():
            raise ValueError(f"--gpus: SLURM gives whole GPUs to a job, got {gpus:g}; a larger --pack fills one")
        if parameters.cluster == "slurm" and shutil.which("sbatch") is None:
            raise ValueError(
                "--engine slurm: no sbatch on this machine; run this where jobs are submitted, or try it out "
                "by --slurm cluster=local"
            )
        _submitit()
        self.folder, self.parameters, self.asked = folder.absolute(), parameters, workers
        self.threads, self.gpus, self.name, self.tell = threads, int(gpus or 0), name, tell

    @property
    def workers(self) -> int:
        return self.asked or 1

    @property
    def is_here(self) -> bool:
        return self.parameters.cluster != "slurm"

    @property
    def devices(self) -> int | None:
        return super().devices if self.is_here else self.gpus or None

    @property
    def devices_described(self) -> str:
        return super().devices_described if self.is_here else "the GPUs of a job (--gpus)"

    def __str__(self) -> str:
        each = f"{self.gpus} GPU{'s' * (self.gpus > 1)}, " if self.gpus else ""
        cores = f"{self.threads} core{'s' * (self.threads > 1)}"
        where = {"slurm": "jobs of SLURM", "local": "processes of this machine", "debug": "jobs in this process"}
        return f"packs as {where[self.parameters.cluster]}, {each}{cores} each; scripts and logs in {self.folder}"

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Result | Exception]]:
        left = self._submitted(function, list(items))
        jobs = [job for job, _ in left.values()]
        if self.parameters.cluster == "debug":
            ended = iter(jobs)  # a job is carried out when its outcome is asked for
        else:
            ended = _submitit().helpers.as_completed(jobs, poll_frequency=LOOK)
            self.tell(f"submitted {self._numbers(jobs)}; the jobs go on if this command ends, and it may be run again")
        try:
            for job in ended:
                outcome = _outcome(job)
                yield left.pop(job.job_id)[1], outcome
        finally:
            if left and self.parameters.cluster == "slurm":
                numbers = self._numbers([job for job, _ in left.values()])
                self.tell(f"{numbers} go on; to cancel: scancel {numbers}; the same command waits for them")

    def _submitted(self, function: Callable[[Item], Result], items: Sequence[Item]) -> dict[str, tuple[Any, Item]]:
        """Jobs and what they work on, by their ids."""
        try:
            jobs = self._executor().map_array(Requeued(function), items)
        except _submitit().core.utils.FailedJobError as error:
            raise OSError(f"sbatch refused the jobs: {' '.join(str(error).split())}") from None
        return {job.job_id: (job, item) for job, item in zip(jobs, items, strict=True)}

    def _executor(self) -> Any:
        said = self.parameters
        executor = _submitit().AutoExecutor(self.folder, cluster=said.cluster, slurm_max_num_timeout=TIMEOUTS)
        executor.update_parameters(
            name=self.name,
            timeout_min=said.time,
            cpus_per_task=self.threads,
            gpus_per_node=self.gpus or None,
            slurm_array_parallelism=self.asked,
            slurm_signal_delay_s=said.signal_delay,
            slurm_setup=said.setup and [said.setup],
            slurm_srun_args=[f"--cpus-per-task={self.threads}"],  # srun does not take it over from sbatch
            slurm_additional_parameters={"requeue": True, **said.of_sbatch},
        )
        return executor

    def _numbers(self, jobs: Sequence[Any]) -> str:
        """The arrays that jobs are part of."""
        return " ".join(sorted({job.job_id.partition("_")[0] for job in jobs}))


class Requeued(Generic[Item, Result]):
    """A function as a job: where it is preempted or runs out of time, the same call is queued again."""

    def __init__(self, function: Callable[[Item], Result]) -> None:
        self.function = function

    def __call__(self, item: Item) -> Result:
        return self.function(item)

    def checkpoint(self, item: Item) -> Any:
        """What submitit queues again."""
        return _submitit().helpers.DelayedSubmission(self, item)

    __submitit_checkpoint__ = checkpoint


def _outcome(job: Any) -> Any:
    """A job's result, or in a line why it has none."""
    error = job.exception()
    if error is None:
        return job.result()
    if type(error).__module__.partition(".")[0] != "submitit":
        return error
    raised = [line for line in str(error).partition("-" * 22)[2].partition("-" * 22)[0].splitlines() if line.strip()]
    reason = raised[-1].strip() if job.paths.result_pickle.exists() and raised else f"no result ({job.state})"
    return RuntimeError(f"job {job.job_id}: {reason}; its log: {job.paths.stderr}")


def _submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise ValueError("--engine slurm needs submitit: pip install 'vaebench[slurm]'") from None
    return submitit
