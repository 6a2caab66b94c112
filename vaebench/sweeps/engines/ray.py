"""Packs side by side by Ray: on the GPUs or the cores of this machine, or on a Ray cluster.

A worker that dies (signal 9, a node taken away) does not take its pack along: Ray calls the function again, on another
node where it must, and the runs go on from their snapshots.
"""

import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from math import floor
from types import TracebackType
from typing import Any

from vaebench.records import provenance
from vaebench.sweeps.engines.base import Engine, Item, Result, gpus
from vaebench.training.signals import handled

RETRIES = 5
"""How often a pack whose worker died is begun again."""

PATIENCE = 10.0
"""Seconds in which a cluster has to answer."""

TOLD = ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_ENTITY")
"""Variables of the environment that workers are given as they stand here."""

ITS_OWN = {"SLURM_JOB_NAME": "bash", "SLURM_PROCID": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}
"""Ray that runs in a SLURM allocation hands its rank down, and Lightning would log on the first node alone. Workers
that are given no GPU would see all there are, and compute on the first one."""


class Ray(Engine):
    """Maps a function over items by Ray tasks.

    Args:
        workers: how many items at a time; as many as there is room for if None.
        threads: CPU cores that each takes.
        gpus: GPUs that each takes; 0.5 lets two share one; if None, one where there are any.
        address: of a cluster that runs (`auto`, `host:6379`, `ray://host:10001`); if None, a Ray of its own here.

    Raises:
        ValueError: if this machine has fewer cores than the workers take.
    """

    def __init__(
        self, workers: int | None = None, threads: int = 1, gpus: float | None = None, address: str | None = None
    ) -> None:
        self.asked, self.threads, self.gpus, self.address = workers, threads, gpus, address
        cores = provenance.cores()
        if address is None and (workers or 1) * threads > cores:
            raise ValueError(
                f"expected at most {cores} workers × threads, the cores of this machine, got {workers or 1} × "
                f"{threads}; more would wait for one another (--workers, --threads)"
            )
        self._ray: Any = None

    @property
    def workers(self) -> int:
        if self.asked is not None:
            return self.asked
        there = self._ray.cluster_resources()
        cores = there.get("CPU", 0) / self.threads
        return max(1, floor(min(cores, there.get("GPU", 0) / self.gpus) if self.gpus else cores))

    @property
    def is_here(self) -> bool:
        return self.address is None

    @property
    def devices(self) -> int | None:
        if self.address is not None:
            return None if self.gpus is None else max(1, floor(self.gpus))
        return (1 if self.gpus is None else max(1, floor(self.gpus))) if gpus() else provenance.cores()

    @property
    def devices_described(self) -> str:
        return "the GPUs of a pack (--gpus)" if gpus() or not self.is_here else super().devices_described

    def __str__(self) -> str:
        each = f"{self.gpus:g} GPU" if self.gpus else f"{self.threads} core{'s' * (self.threads > 1)}"
        packs = f"{self.workers} pack{'s' * (self.workers > 1)}"
        there = self._ray.cluster_resources().get("GPU", 0)
        short = f"; it has {there:g} now, and packs wait until it has more" if (self.gpus or 0) > there else ""
        return f"{packs} at a time by Ray on {self.address or 'this machine'}, {each} each{short}"

    def __enter__(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        from vaebench.data.datasets.base import data_root

        told = {name: os.environ[name] for name in TOLD if name in os.environ} | ITS_OWN
        told["VAEBENCH_DATA"] = str(data_root().absolute())  # workers stand in another folder
        common: dict[str, Any] = {"logging_level": "error", "runtime_env": {"env_vars": told}}
        with handled(signal.SIGTERM):  # by Ray it would abort this process
            if self.address is None:
                cores = None if self.asked is None else self.asked * self.threads
                ray.init(address="local", num_cpus=cores, include_dashboard=False, **common)
            else:
                _check_answers(self.address)
                ray.init(address=self.address, **common)
        self._ray = ray
        if self.gpus is None:
            self.gpus = float(ray.cluster_resources().get("GPU", 0) > 0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ray.shutdown()

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Result | Exception]]:
        task = self._ray.remote(num_cpus=self.threads, num_gpus=self.gpus, max_retries=RETRIES)(_call)
        running: dict[Any, Item] = {}
        left = list(items)
        try:
            while left or running:
                while left and (self.asked is None or len(running) < self.asked):
                    item = left.pop(0)
                    running[task.remote(function, item)] = item
                (reference,), _ = self._ray.wait(list(running), num_returns=1)
                yield running.pop(reference), self._result(reference)
        except KeyboardInterrupt:
            for reference in running:
                self._ray.cancel(reference)  # to the worker it is Ctrl-C
            self._ray.wait(list(running), num_returns=len(running), timeout=PATIENCE)
            raise

    def _result(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            return error.cause if isinstance(error.cause, Exception) else error
        except self._ray.exceptions.RayError as error:
            first = str(error).strip().partition("\n")[0]
            return RuntimeError(f"the worker died, {RETRIES + 1} times in a row ({type(error).__name__}: {first})")


def _check_answers(address: str) -> None:
    """Refuse an address at which nothing listens; Ray itself would try it for minutes.

    Raises:
        ValueError: if its port is none.
        ConnectionError: naming it.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return  # `auto`, which Ray looks up
    if len(port) > 5 or int(port) > 65535:
        raise ValueError(f"--address: expected a port up to 65535, got {port[:20]!r}")
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except OSError as error:
        raise ConnectionError(
            f"--address: nothing answers at {address} ({error}); give the address that `ray start --head` printed"
        ) from None


def _call(function: Callable[[Item], Result], item: Item) -> Result:
    return function(item)
