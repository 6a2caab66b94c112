"""How long does a command take that trains nothing, or very little?

The commands are `--help`; a study with a fault in its YAML; `table` over 1000 records, copied from the 30 of
results/beta with other seeds; `list`; `doctor`, which imports torch; and a sweep of conf/smoke.yaml, four short
runs, once until its first line is said and once from the command to its tables. Each measurement is a new process, with
the files in the cache. The table has medians of seven rounds, in turns, and the time of Python alone for comparison.

    python benchmarks/startup.py

writes results/benchmarks/startup.md. It fails if `--help` takes more than 0.4 s of processor time, the fault or the
first line more than 0.8 s, or the table more than 2 s. Nothing is claimed of the whole sweep. The seconds are those of
this machine. They are processor time, because other work on the machine changes it least.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median
from time import perf_counter
from typing import NamedTuple

from beside import OtherWork

from vaebench.records import record
from vaebench.records.record import identity

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "benchmarks" / Path(__file__).with_suffix(".md").name
STUDY, RECORDS, ROUNDS = "beta", 1000, 7
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"PYTHONPATH": str(ROOT)}


class Command(NamedTuple):
    """What is run, the status that it ends with, and the seconds that are claimed; of all, or to the first line."""

    arguments: tuple[str, ...]
    status: int = 0
    most: float | None = None
    whole: bool = True


SMOKE = ("-m", "vaebench", "sweep", "conf/smoke.yaml")


COMMANDS = {
    "Python alone": Command(("-c", "pass")),
    "`--help`": Command(("-m", "vaebench", "--help"), 0, 0.4),
    "a fault in the YAML": Command(("-m", "vaebench", "sweep", "conf/faulty.yaml"), 1, 0.8),
    f"`table` over {RECORDS} records": Command(("-m", "vaebench", "table"), 0, 2.0),
    "`list`": Command(("-m", "vaebench", "list")),
    "`doctor`": Command(("-m", "vaebench", "doctor")),
    "first line of `sweep conf/smoke.yaml`": Command(SMOKE, most=0.8, whole=False),
    "`sweep conf/smoke.yaml`, 4 runs to their tables": Command(SMOKE),
}
BASE = next(iter(COMMANDS))


class Seconds(NamedTuple):
    """Of one process: the processor's, and the clock's."""

    processor: float
    clock: float


def main() -> int:
    """Measure, print and write the table; the number of broken claims."""
    beside = OtherWork()
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        for command in COMMANDS.values():
            seconds(command, folder)  # so that the files are in the cache
        rounds = [{name: seconds(c, folder) for name, c in COMMANDS.items()} for _ in range(ROUNDS)]
    seen = {name: Seconds(*(median(r[name][i] for r in rounds) for i in range(2))) for name in COMMANDS}
    text = table(seen, str(beside))
    print(text)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(text, encoding="utf-8")
    broken = list(faults(seen))
    for fault in broken:
        print(f"FAILED: {fault}")
    return len(broken)


def prepare(folder: Path) -> None:
    """A folder to work in: the studies, one of them with a fault, and 1000 records."""
    (folder / "conf").mkdir()
    for path in (ROOT / "conf").glob("*.yaml"):
        (folder / "conf" / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "conf" / "faulty.yaml").write_text(
        (ROOT / "conf" / f"{STUDY}.yaml").read_text(encoding="utf-8").replace("name", "nmae"), encoding="utf-8"
    )
    records = folder / "results" / STUDY / "records"
    records.mkdir(parents=True)
    found = record.read_all(ROOT / "results" / STUDY)
    seeds = 1 + max(r.config["seed"] for r in found)
    for i in range(RECORDS):
        one = found[i % len(found)]
        config = one.config | {"seed": one.config["seed"] + seeds * (i // len(found))}
        made = replace(one, id=identity(config), config=config)
        record.write(made, records / f"{made.id}.json")


def seconds(command: Command, folder: str) -> Seconds:
    """Of one fresh process, which finds no earlier runs. After its first line it is killed, if no more is asked."""
    shutil.rmtree(Path(folder) / "runs", ignore_errors=True)
    before, start = getrusage(RUSAGE_CHILDREN), perf_counter()
    arguments, pipe = [sys.executable, *command.arguments], subprocess.PIPE
    with subprocess.Popen(arguments, cwd=folder, env=ENVIRONMENT, stdout=pipe, stderr=pipe, text=True) as process:
        if not command.whole:
            assert process.stdout is not None
            assert process.stdout.readline(), f"{command.arguments} said nothing"
            process.kill()
            process.wait()
        clock = perf_counter() - start  # a process that it started may live a second longer, and hold the pipes
        said = process.communicate()[1]
        if command.whole:
            clock = perf_counter() - start
    after = getrusage(RUSAGE_CHILDREN)
    if command.whole and process.returncode != command.status:
        raise RuntimeError(
            f"{command.arguments}: expected status {command.status}, got {process.returncode}: {said[-500:]}"
        )
    return Seconds(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, clock)


def table(seen: dict[str, Seconds], beside: str) -> str:
    """Markdown."""
    lines = [
        "# Until a command has answered",
        "",
        f"Fresh processes, files in the cache, medians of {ROUNDS} rounds in turns. Seconds are this machine's;",
        "claimed is the processor's time. `python benchmarks/startup.py` writes this and fails if a claim does.",
        beside,
        "",
        "| command | processor, s | by the clock, s | claimed at most, s | over Python alone |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, took in seen.items():
        most = COMMANDS[name].most
        claimed, over = "" if most is None else f"{most:g}", took.processor / seen[BASE].processor
        lines.append(f"| {name} | {took.processor:.2f} | {took.clock:.2f} | {claimed} | {over:.1f} |")
    return "\n".join([*lines, ""])


def faults(seen: dict[str, Seconds]) -> Iterator[str]:
    """The claims that do not hold."""
    for name, took in seen.items():
        most = COMMANDS[name].most
        if most is not None and took.processor > most:
            yield f"{name} takes {took.processor:.2f} s, claimed at most {most:g} (seconds of this machine)"


if __name__ == "__main__":
    sys.exit(bool(main()))
