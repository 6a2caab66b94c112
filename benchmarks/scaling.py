"""How much time do more cores and nodes save, and what do more members, epochs, units, draws and runs cost?

Cores: the sweep command trains 16 runs of conf/beta.yaml in two packs of eight, on one core and on two, as it does by
itself. Nodes: a Ray cluster has one node and two nodes, each with one logical GPU (Ray only counts it; the packs train
on the CPU). Each worker has one thread. The table has the elapsed time of the command and of the engine alone; every
worker of Ray starts and imports torch in that time.

Costs: training a pack, from `fit` to its checkpoints, for several numbers of members, epochs and latent units; the IWAE
bounds of the digits' test split for several numbers of draws; and runs of one epoch in packs of eight, from training to
their records. These are processor times of one thread, after two runs that are not counted. The table also has a
least-squares fit a + b·n, and the exponent of the last doubling: 1 means that the cost grows like n; less is better.

Large studies: the whole command, in processor time and memory, for a finished study of 1000 runs (20 β × 50 seeds,
with records made from one record of results/beta) with its tables and page, and for `--dry-run` of 100 000 runs.

    python benchmarks/scaling.py

writes results/benchmarks/scaling.md in about four minutes on two quiet cores: the smaller of two costs, and means of
two rounds, all in turns. It fails if two workers are not faster than one on free cores (a load of at most 2.5), or if
the exponent of the last doubling is above 0.95 for members, or above 1.1 for epochs, units, draws or runs.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from math import log2
from pathlib import Path
from statistics import mean
from time import perf_counter, process_time
from typing import Any

from beside import OtherWork

import vaebench  # noqa: F401 (before lightning)

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "benchmarks" / Path(__file__).with_suffix(".md").name
STUDY, ROUNDS = ROOT / "conf" / "beta.yaml", 2
SWEEP = ["sweep", str(STUDY), "beta=1,4", "seed=0..7", "draws=50", "epochs=20", "--pack", "8", "--wandb", "disabled"]
KINDS = ("cores", "nodes")
PLACES = {f"{kind} {n}": (n, kind) for kind in KINDS for n in (1, 2)}
"""How many there are, and what they are: cores of this machine, nodes of a cluster of Ray."""

FREE = 2.5
"""Two workers must be faster than one only up to this load, which includes this benchmark."""

AXES = {"members": (1, 4, 16, 32), "epochs": (10, 20, 40), "units": (8, 32, 64)}
DRAWS, RUNS = (500, 1000, 2000, 4000), (8, 16, 32)
MOST = {"members": 0.95, "epochs": 1.1, "units": 1.1, "draws": 1.1, "runs": 1.1}
"""The largest exponent of the last doubling."""

LARGE = """\
question: How long does a large study take where nothing is trained?
model: {name: BetaVAE, latent_dim: 10, network: {name: MLP, hidden: [64, 64]}}
data: {name: Digits, binarize: Dynamic}
train: {epochs: 100}
evaluate: {draws: 50}
grid:
  model.beta: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 8, 10]
"""
LARGE_STUDIES = {
    "a finished study of 1000 runs, to its tables and page": ("seed=0..49", "--wandb", "disabled"),
    "a grid of 100 000 runs, checked by --dry-run": ("seed=0..4999", "--dry-run"),
}

Costs = dict[str, dict[int, float]]


def main() -> int:
    """Measure, print and write the table; returns the number of false claims."""
    beside, load = OtherWork(), os.getloadavg()[0]
    rounds: list[Costs] = []
    places, large = [], []
    for _ in range(ROUNDS):
        found = in_fresh_process("costs")
        rounds.append({axis: {int(n): seconds for n, seconds in seen.items()} for axis, seen in found.items()})
        places.append({place: in_fresh_process("sweep", place) for place in PLACES})
        load = max(load, os.getloadavg()[0])
        large.append(in_fresh_process("large"))
    costs = {axis: {n: min(r[axis][n] for r in rounds) for n in seen} for axis, seen in rounds[0].items()}
    text = table(costs, places, str(beside)) + large_table(large)
    print(text)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(text, encoding="utf-8")
    broken = list(faults(costs, places, load))
    for fault in broken:
        print(f"FAILED: {fault}")
    return len(broken)


def in_fresh_process(*arguments: str) -> Any:
    """What `child` prints."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    found = {"OMP_NUM_THREADS": "1", "VAEBENCH_DATA": str(ROOT / "data"), "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, __file__, *arguments], capture_output=True, text=True, cwd=folder, env=kept | found
        )
    if done.returncode:
        raise RuntimeError(f"{arguments}: {done.stdout[-1000:]}{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def faster(places: list[dict[str, Any]], kind: str, part: str) -> float:
    """How many times faster two are than one."""
    return mean(r[f"{kind} 1"][part] / r[f"{kind} 2"][part] for r in places)


def exponent(seen: dict[int, float]) -> float:
    """The exponent of the last doubling."""
    *_, half, whole = seen
    return log2(seen[whole] / seen[half]) / log2(whole / half)


def line(seen: dict[int, float]) -> tuple[float, float]:
    """a and b of a + b·n by least squares of relative errors; neither is negative."""
    import numpy as np

    n, cost = np.array([*seen], float), np.array([*seen.values()])
    columns = np.stack([1 / cost, n / cost], 1)
    (a, b), *_ = np.linalg.lstsq(columns, np.ones(len(n)), rcond=None)
    if min(a, b) < 0:  # noise: the best fit without the negative term
        column = columns[:, 0 if b < 0 else 1]
        kept = float(column.sum() / (column @ column))
        return (kept, 0.0) if b < 0 else (0.0, kept)
    return float(a), float(b)


def faults(costs: Costs, places: list[dict[str, Any]], load: float) -> Iterator[str]:
    """The false claims."""
    for kind in KINDS:
        if load <= FREE and (times := faster(places, kind, "engine")) <= 1:
            yield f"two {kind} take {1 / times:.2f} of the time of one"
    for axis, most in MOST.items():
        if (found := exponent(costs[axis])) > most:
            yield f"the cost over {axis} ends with an exponent of {found:.2f}, claimed at most {most}"


def table(costs: Costs, places: list[dict[str, Any]], beside: str) -> str:
    """Markdown."""
    lines = [
        "# What more cores and nodes save, and what more members, epochs, units, draws and runs cost",
        "",
        "`python benchmarks/scaling.py` writes this and fails if a claim does.",
        "",
        beside,
        "",
        "16 runs in two packs, on cores and on nodes of a Ray cluster, seconds by the clock, means of",
        f"{len(places)} rounds in turns; that two are quicker than one is claimed up to a load of {FREE}.",
        "",
        "| | the command, s | in the engine, s | of one: the command | in the engine |",
        "| --- | --- | --- | --- | --- |",
    ]
    for place in PLACES:
        whole, engine = (mean(r[place][part] for r in places) for part in ("whole", "engine"))
        shares = [mean(r[place][p] / r[f"{place.split()[0]} 1"][p] for r in places) for p in ("whole", "engine")]
        lines.append(f"| {place} | {whole:.1f} | {engine:.1f} | {shares[0]:.2f} | {shares[1]:.2f} |")
    for axis, seen in costs.items():
        first, (a, b) = next(iter(seen)), line(seen)
        lines += [
            "",
            f"| {axis} | {' | '.join(map(str, seen))} | a, s | b, s | last exponent | claimed at most |",
            f"| --- |{' --- |' * (len(seen) + 4)}",
            f"| processor, s | {' | '.join(f'{s:.2f}' for s in seen.values())} | {a:.2f} | {b:.5f} "
            f"| {exponent(seen):.2f} | {MOST[axis]} |",
            f"| over {first} | {' | '.join(f'{s / seen[first]:.2f}' for s in seen.values())} | | | | |",
        ]
    return "\n".join([*lines, ""])


def costs() -> Costs:
    """Processor seconds over each axis, in this process."""
    from vaebench.training.trainer import configure_process

    configure_process(1)
    executed(2)
    runs = {n: executed(n) for n in RUNS}  # first, as in a sweep, whose process does nothing else before
    found = {axis: {n: trained(**{axis: n}) for n in sizes} for axis, sizes in AXES.items()}
    return found | {"draws": {k: drawn(k) for k in DRAWS}, "runs": runs}


def trained(members: int = 8, epochs: int = 10, units: int = 10) -> float:
    """Processor seconds of the training of a pack of the runs of conf/beta.yaml."""
    from vaebench.config import load
    from vaebench.training.fit import fit

    overrides = ["seed=0..6", f"epochs={epochs}", f"latent_dim={units}", "validate_every=1000000"]
    runs = load(STUDY, overrides).runs[:members]
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder) / run.id for run in runs]
        for own in folders:
            own.mkdir()
        start = process_time()
        fit(runs, folders, [[] for _ in runs], lambda *_: None)
        return process_time() - start


def drawn(k: int) -> float:
    """Processor seconds of the bounds of all sizes up to k."""
    from vaebench.config import load
    from vaebench.config.registry import MODELS
    from vaebench.data.datamodule import data_of
    from vaebench.evaluation.measure import build_metrics, measure

    run = load(STUDY).runs[0]
    data = data_of(run)
    data.setup()
    model = MODELS.build(run.model, data.shape, run.seed).eval()
    start = process_time()
    measure(model, data.batches("test"), build_metrics(["IWAE"]), k, 0)
    return process_time() - start


def executed(n: int) -> float:
    """Processor seconds of n runs of one epoch, evaluated at 50 draws, with their records."""
    from vaebench.config import load
    from vaebench.sweeps.packs import packs_of
    from vaebench.sweeps.run import Execution, execute_pack

    study = load(STUDY, ["beta=1", f"seed=0..{n - 1}", "epochs=1", "draws=50"])
    with tempfile.TemporaryDirectory() as folder:
        start = process_time()
        for pack in packs_of(study.runs, 8):
            folders = [Path(folder) / run.id for run in pack]
            list(execute_pack(pack, study.name, [*study.axes], folders, Execution("disabled"), lambda *_: None))
        return process_time() - start


def swept(place: str) -> dict[str, float]:
    """Seconds of the sweep command, and of those in the engine, by the clock."""
    from vaebench.__main__ import app
    from vaebench.sweeps.engines import Inline
    from vaebench.sweeps.engines.processes import Processes
    from vaebench.sweeps.engines.ray import Ray

    many, kind = PLACES[place]
    engine: Any = Ray if kind == "nodes" else Processes if many > 1 else Inline
    spent, real = [0.0], engine.map

    def timed(self: Any, function: Callable[..., Any], items: Any) -> Iterator[Any]:
        start = perf_counter()
        yield from real(self, function, items)
        spent[0] += perf_counter() - start

    engine.map = timed
    where = ["--engine", "ray", "--address", cluster(many)] if kind == "nodes" else ["--workers", str(many)]
    start = perf_counter()
    app([*SWEEP, *where], standalone_mode=False)
    return {"whole": perf_counter() - start, "engine": spent[0]}


def large() -> dict[str, tuple[float, float]]:
    """Processor seconds and peak memory in MiB of each command on a large study, in this folder."""
    from dataclasses import replace

    from vaebench.config import load
    from vaebench.records import record

    study = Path("large.yaml")
    study.write_text(LARGE, encoding="utf-8")
    base = record.read_all(ROOT / "results" / "beta")[0]
    plan = load(study, ["seed=0..49"])
    for run in plan.runs:
        folder = Path("runs") / plan.place / run.id
        folder.mkdir(parents=True)
        made = replace(base, id=run.id, study=plan.name, axes=list(plan.axes), config=run.config)
        record.write(made, folder / "record.json")
    found = {}
    for name, words in LARGE_STUDIES.items():
        command = [sys.executable, "-m", "vaebench", "sweep", str(study), *words]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{command}: status {process.returncode}")
        found[name] = (used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
    return found


def large_table(rounds: list[dict[str, list[float]]]) -> str:
    """Markdown."""
    lines = ["", "| large studies | processor, s | peak memory, MiB |", "| --- | --- | --- |"]
    for name in LARGE_STUDIES:
        seconds, memory = (mean(r[name][i] for r in rounds) for i in range(2))
        lines.append(f"| {name} | {seconds:.2f} | {memory:.0f} |")
    return "\n".join([*lines, ""])


def cluster(nodes: int) -> str:
    """The address of a new Ray cluster, which ends with this process."""
    from ray.cluster_utils import Cluster

    built = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(nodes):
        built.add_node(num_cpus=1, num_gpus=1)
    return str(built.address)


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            sys.exit(bool(main()))
        case ["costs"]:
            print(json.dumps(costs()))
        case ["large"]:
            print(json.dumps(large()))
        case [_, place]:
            print("\n" + json.dumps(swept(place)))
