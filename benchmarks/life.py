"""Run the command line in another process, and follow it by the files that it writes."""

import os
import random
import shlex
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import vaebench  # noqa: F401 (before lightning)
from vaebench.records.files import PROGRESS, RECORD, RESUME
from vaebench.sweeps.progress import read_progress
from vaebench.training.checkpoints import contents

ROOT = Path(__file__).parents[1]

TIMEOUT = 300.0
"""Seconds in which a process must begin to train, or end."""


class Life:
    """One call of the command line in a forked process. The libraries are loaded already, so it starts at once."""

    def __init__(self, folder: Path, number: int, arguments: list[str], engine: str) -> None:
        self.folder, self.engine, self.since = folder, engine, time.time()
        self.log = folder / f"{number}.log"
        self.done = {path: path.stat().st_mtime_ns for path in records(folder)}
        self.first: dict[str, int] = {}
        """For each run, the steps in the first snapshot that this process wrote."""
        self.pid = os.fork()
        if self.pid == 0:
            self._live(arguments)
        self.status: int | None = None

    def _live(self, arguments: list[str]) -> None:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
        os.chdir(self.folder)
        os.dup2(out := os.open(self.log, os.O_WRONLY | os.O_CREAT), 1)
        os.dup2(out, 2)
        from vaebench.__main__ import app
        from vaebench.sweeps.engines import slurm

        slurm.POLL_SECONDS = 0.2
        status: Any = 1
        try:
            app(arguments, prog_name="vaebench")
        except SystemExit as error:
            status = error.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)

    @property
    def output(self) -> str:
        """What the command printed."""
        return self.log.read_text(encoding="utf-8") if self.log.is_file() else ""

    @property
    def ended(self) -> bool:
        """Whether the process of the command has ended."""
        if self.status is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if found else None
        return self.status is not None

    def update(self) -> None:
        """Read the steps of new snapshots."""
        for run, steps in steps_left(self.folder, self.since).items():
            self.first.setdefault(run, steps)

    def trainers(self) -> dict[int, list[str]]:
        """The processes that train now, and the runs that each trains."""
        folders = [p.parent for p in runs(self.folder).glob(f"*/{PROGRESS}") if changed(p) > self.since]
        found = {int(s.where.partition(" ")[0].rpartition(":")[2]): s.runs for s in read_progress(folders)}
        return {pid: ids for pid, ids in found.items() if Path(f"/proc/{pid}").exists()}

    def wait(self, seconds: float, until_training: bool = False, until_gone: int | None = None) -> None:
        """Wait this many seconds, or until it trains, or until a process of it has ended, or until it ends."""
        end = time.time() + seconds
        while time.time() < end and not self.ended:
            if (until_training and self.trainers()) or (until_gone and not Path(f"/proc/{until_gone}").exists()):
                return
            self.update()
            time.sleep(0.02)

    def work(self, seconds: float) -> None:
        """Wait until it has used this much processor time, which does not depend on the load of the machine."""
        spent, end = 0.0, time.time() + TIMEOUT
        last = {pid: processor_time(pid) for pid in self.trainers() or [self.pid]}
        while spent < seconds and time.time() < end and not self.ended:
            self.update()
            time.sleep(0.02)
            now = {pid: processor_time(pid) for pid in self.trainers() or [self.pid]}
            spent += max(0.0, *(now[pid] - last.get(pid, now[pid]) for pid in now))
            last = now


def runs(folder: Path) -> Path:
    """The folder of the study."""
    return folder / "runs" / "tiny"


def records(folder: Path) -> list[Path]:
    """The records that exist."""
    return sorted(runs(folder).glob(f"*/{RECORD}"))


def changed(path: Path) -> float:
    """When a file was written; 0 if it does not exist."""
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0


def processor_time(pid: int) -> float:
    """Processor time of a process in seconds; 0 if it has ended."""
    with suppress(OSError):
        user, system = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return 0.0


def steps_left(folder: Path, since: float = 0.0) -> dict[str, int]:
    """For each run, the training steps in its snapshot, if the snapshot was written after `since`."""
    found = {}
    for path in runs(folder).glob(f"*/{RESUME}"):
        with suppress(FileNotFoundError, ValueError):
            if changed(path) > since:
                found[path.parent.name] = int(contents(path)["steps"])
    return found


def drawn(chance: random.Random, engines: list[str]) -> tuple[list[str], str]:
    """A random command line, and its engine."""
    engine = chance.choice(engines)
    where = {
        "inline": ["--engine", "inline"],
        "processes": ["--engine", "processes", "--workers", "2"],
        "ray": ["--engine", "ray", "--workers", "2"],
        "slurm": ["--engine", "slurm", "--workers", "2"],
        "local": ["--engine", "slurm", "--slurm", "cluster=local", "--workers", "2"],
    }[engine]
    pack, every = chance.choice(["auto", "off", "2"]), chance.choice(["0", "0", "0.2", "1000"])
    return ["sweep", "tiny.yaml", "--wandb", "disabled", *where, "--pack", pack, "--save-every", every], engine


def with_slurm(folder: Path) -> None:
    """Put the fake SLURM of the tests first in PATH; its state is in this folder."""
    fake, commands = ROOT / "tests" / "fake_slurm.py", folder / "bin"
    commands.mkdir()
    for name in ("sbatch", "srun", "sacct", "scancel", "scontrol"):
        (commands / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {fake} {name} "$@"\n', "utf-8")
        (commands / name).chmod(0o755)
    (folder / "state").mkdir()
    os.environ |= {"PATH": f"{commands}:{os.environ['PATH']}", "FAKE_SLURM": str(folder / "state")}
