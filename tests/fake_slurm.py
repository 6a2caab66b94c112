"""As much of SLURM as a sweep meets: sbatch, srun, sacct, scancel and scontrol on this machine, a process a job.

Called as `fake_slurm.py COMMAND ARGUMENTS`; the jobs' state is files in $FAKE_SLURM.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(os.environ["FAKE_SLURM"])


def sbatch(script: str) -> None:
    job = str(4711 + len(list(HERE.glob("*.script"))))
    (HERE / f"{job}.script").write_text(content := Path(script).read_text())
    array = re.search(r"--array=0-(\d+)", content)
    for own in [f"{job}_{i}" for i in range(int(array[1]) + 1)] if array else [job]:
        (HERE / f"{own}.state").write_text("PENDING")
        if not (HERE / "full").exists():
            command = [sys.executable, __file__, "node", own, f"{HERE / job}.script"]
            subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(f"Submitted batch job {job}")


def node(own: str, script: str) -> None:
    """Runs a job, and runs it again where it was queued again."""
    job, _, index = own.partition("_")
    there = {"SLURM_JOB_ID": own, "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_JOB_NUM_NODES": "1"}
    if index:
        there |= {"SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": index}
    while True:
        (HERE / f"{own}.state").write_text("RUNNING")
        code = subprocess.call(["bash", script], env={**os.environ, **there})
        if not (HERE / f"{own}.requeue").exists():
            break
        (HERE / f"{own}.requeue").rename(HERE / f"{own}.requeued")
        (HERE / f"{own}.state").write_text("REQUEUED")
    (HERE / f"{own}.state").write_text("FAILED" if code else "COMPLETED")


def srun(*arguments: str) -> None:
    own = os.environ["SLURM_JOB_ID"]
    (HERE / f"{own}.pid").write_text(str(os.getpid()))
    start = arguments.index(sys.executable)
    for option, to in (("--output", 1), ("--error", 2)):
        log = arguments[arguments.index(option) + 1].replace("%A_%a", own).replace("%j", own).replace("%t", "0")
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), to)
    os.execv(sys.executable, arguments[start:])


def sacct(*_: str) -> None:
    print("JobID|State|NodeList")
    for path in HERE.glob("*.state"):
        print(f"{path.stem}|{path.read_text()}|here")


def scancel(own: str, _: str, name: str) -> None:
    os.kill(int((HERE / f"{own}.pid").read_text()), getattr(signal, f"SIG{name.removeprefix('SIG')}"))


def scontrol(_: str, own: str) -> None:
    (HERE / f"{own}.requeue").touch()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
