"""Packs in parallel by Ray: on the GPUs or cores of this machine, or on a Ray cluster.

If a worker dies (signal 9, a lost node), Ray calls the function again, on another node if necessary. The runs then
continue from their last snapshots.
"""

import os
import signal
import socket
from collections.abc import Callable, Iterable, Mapping
from math import floor, inf
from typing import Any, cast

from vaebench.records import provenance
from vaebench.sweeps import engines
from vaebench.sweeps.engines import Choice, Engine, Item, Outcomes, Result
from vaebench.training.signals import handled

RETRIES = 5  # how often a pack is tried again after its worker died
TIMEOUT = 10.0  # seconds in which a cluster must answer

FORWARDED = (
    *("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_PROJECT"),
    *("WANDB_TAGS", "WANDB_NOTES", "WANDB_X_DISABLE_STATS"),
)
"""Environment variables that workers get from this process."""

FIXED = {"SLURM_JOB_NAME": "bash", "SLURM_PROCID": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}
"""Environment variables that workers get with these values.

In a SLURM allocation, Ray passes its own rank on to workers, and Lightning would log on the first node only. A worker
without a GPU would otherwise see all GPUs and compute on the first."""


class Ray(Engine):
    """Maps a function over items by Ray tasks. Without an address, Ray is started on this machine.

    Raises:
        ValueError: if the workers need more cores than this machine has.
    """

    def __init__(self, choice: Choice) -> None:
        self.max_workers, self.threads, self.gpus = choice.workers, choice.threads, choice.gpus
        self.address, self.is_here = choice.address, choice.address is None
        self.workers, self._present, self._ray = choice.workers or 1, inf, cast("Any", None)
        cores = provenance.cores()
        if self.is_here and self.workers * self.threads > cores:
            raise ValueError(
                f"expected at most {cores} workers × threads, the cores of this machine, got {self.workers} × "
                f"{self.threads}; more would slow each other down (--workers, --threads)"
            )
        if self.is_here:  # what a cluster has is known when Ray has connected to it
            self._fit({"CPU": cores, "GPU": engines.gpus()})

    def _fit(self, resources: Mapping[str, float]) -> None:
        """Choose the GPUs of a worker and the number of workers by what there is, where they are not given."""
        self._present = resources.get("GPU", 0)
        self.gpus = float(self._present > 0) if self.gpus is None else self.gpus
        cores = resources.get("CPU", 0) / self.threads
        self.workers = self.max_workers or max(1, floor(min(cores, self._present / self.gpus) if self.gpus else cores))

    @property
    def devices(self) -> tuple[int | None, str]:
        if self.is_here and not engines.gpus():
            return super().devices
        return None if self.gpus is None else max(1, floor(self.gpus)), "the GPUs of a pack (--gpus)"

    def __str__(self) -> str:
        each = f"{self.gpus:g} GPU" if self.gpus else f"{self.threads} core{'s' * (self.threads > 1)}"
        packs = f"{self.workers} pack{'s' * (self.workers > 1)}"
        too_few = (self.gpus or 0) > self._present
        short = f"; it has {self._present:g} now, and packs wait until it has more" if too_few else ""
        return f"{packs} at a time by Ray on {self.address or 'this machine'}, {each} each{short}"

    def __enter__(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        from vaebench.data.datasets.base import data_root

        variables = {name: os.environ[name] for name in FORWARDED if name in os.environ} | FIXED
        variables["VAEBENCH_DATA"] = str(data_root().absolute())  # workers have another current folder
        common: dict[str, Any] = {"logging_level": "error", "runtime_env": {"env_vars": variables}}
        with handled(signal.SIGTERM):  # Ray's own handler would abort this process
            if self.address is None:
                cores = None if self.max_workers is None else self.max_workers * self.threads
                ray.init(address="local", num_cpus=cores, include_dashboard=False, **common)
            else:
                _check_answers(self.address)
                ray.init(address=self.address, **common)
        self._ray = ray
        self._fit(ray.cluster_resources())

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Outcomes[Item, Result]:
        task = self._ray.remote(num_cpus=self.threads, num_gpus=self.gpus, max_retries=RETRIES)(_call)
        running: dict[Any, Item] = {}
        left = list(items)
        try:
            while left or running:
                while left and (self.max_workers is None or len(running) < self.max_workers):
                    item = left.pop(0)
                    running[task.remote(function, item)] = item
                (reference,), _ = self._ray.wait(list(running), num_returns=1)
                yield running.pop(reference), self._result(reference)
        except KeyboardInterrupt:
            for reference in running:
                self._ray.cancel(reference)  # the worker gets KeyboardInterrupt
            self._ray.wait(list(running), num_returns=len(running), timeout=TIMEOUT)
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
    """Refuse an address at which nothing listens. Ray itself would try for minutes.

    Raises:
        ValueError: if the port is not a possible port.
        ConnectionError: if nothing answers there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return  # `auto`, which Ray looks up
    if len(port) > 5 or int(port) > 65535:
        raise ValueError(f"--address: expected a port up to 65535, got {port[:20]!r}")
    try:
        socket.create_connection((host, int(port)), TIMEOUT).close()
    except OSError as error:
        raise ConnectionError(
            f"--address: nothing answers at {address} ({error}); give the address that `ray start --head` printed"
        ) from None


def _call(function: Callable[[Item], Result], item: Item) -> Result:
    return function(item)
