"""What does one GPU give, beside pythae on the same card and beside what the card could do?

- 30 members of MNIST's size (784-400-400-32, batches of 100) as one pack, in float32 and with TF32. Beside them
  pythae's BaseTrainer, which trains one member after another, and pythae's model in a loop without a loader. Packs of
  other sizes, and 1000 members of conf/beta.yaml's net.
- IWAE-5000 of 10 and of 100 observations beside pythae's `get_nll`, and with the decoder in bfloat16.
- Where the numbers of a GPU and of a CPU differ: the same pack trained on both, from the same weights, batches and
  noise; a member alone and in a pack; a CUDA graph and its steps one by one.
- One sweep in this process, and by Ray with two packs that share the GPU.

Each is measured in turns with what it is compared with, and the ratios are medians of rounds. The floor is what the
card needs for the matrix products, or to read and write the numbers of Adam, at rates measured here.

    pip install -c constraints.txt -e '.[peers]'    # without it the rows of pythae stay empty
    make gpu                                        # or: python benchmarks/gpu.py

writes results/benchmarks/gpu.md and gpu.json. It fails if 30 members of MNIST's size are less than 30 times quicker
than pythae, or IWAE-5000 of 100 observations less than 50 times. With names (training, thousand, bounds, agreement,
shared) it measures only these. With --try it runs everything once and small, on any device, and writes nothing.
"""

import copy
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import vaebench  # noqa: F401 (before lightning)

# isort: split

import torch
from agreement import agreement
from beside import OtherWork
from bounding import NETS, PYTHAE, K, bounds_of, error_of, floors, operations, pythae_of, trained
from clock import DEVICE, NAME, ON_GPU, now, peak
from gpu_table import IWAE, LOOP, claimed, table
from one_pack import dataset_of, train
from peers import LARGE, OURS, flops, mnist
from rivals import built as build
from rivals import pythae_of as pythae_model
from rivals import train_pythae

from vaebench.config import Run, load
from vaebench.data.datamodule import DataModule
from vaebench.data.loaders import Batch
from vaebench.evaluation.bfloat16 import bfloat16_decoder, bfloat16_error
from vaebench.training import memory
from vaebench.training.trainer import configure_process, tf32

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "benchmarks" / Path(__file__).with_suffix(".md").name
ROUNDS, WARM, EPOCHS = 3, 2, 4
"""Rounds; epochs that are not counted, and all epochs."""

WIDTHS = (784, 400, 400, 32)

OBSERVATIONS = (10, 100)
"""How many observations have their IWAE-5000 computed. Ten do not fill a card: they take as long as Python needs to
start the kernels. So the claim is made for a hundred."""

STEPS = 50
"""Steps of an epoch of pythae: its time per step is the same in a longer one."""

TRAINING = 30
"""How many times quicker than pythae the training must be."""


def main(*options: str) -> int:
    """Measure, print and write the table; the number of broken claims."""
    small = "--try" in options
    if not (ON_GPU or small):
        print("expected a CUDA device, torch finds none; `--try` runs a small part of this on a CPU")
        return 1
    configure_process(1)
    sections = {f.__name__: f for f in (training, bounds, thousand, agreement, shared)}
    chosen = [name for name in sections if name in options] or list(sections)
    beside, found = OtherWork(), {"card": {"name": NAME, "torch": torch.__version__, **ceilings()}}
    for name in chosen:
        started = perf_counter()
        found[name] = sections[name](small)
        found["beside"] = str(beside)
        print(f"{name}: {perf_counter() - started:.0f} s", flush=True)
        if not small:  # after every section: what is measured is not lost if the next one fails
            RESULT.parent.mkdir(parents=True, exist_ok=True)
            RESULT.write_text(table(found), encoding="utf-8")
            RESULT.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found))
    broken = [] if small else faults(found)
    for fault in broken:
        print(f"FAILED: {fault}")
    return len(broken)


def faults(found: dict[str, Any]) -> list[str]:
    """The claims that do not hold."""
    modes = found.get("training", {"modes": {}})["modes"]
    claims = [(f"training, {mode}", TRAINING, row.get("times")) for mode, row in modes.items()]
    claims += [(f"IWAE-{K}, {net}", IWAE, row["times"]) for net, row in found.get("bounds", {}).items() if claimed(row)]
    return [f"{what}: {x:.1f} times quicker than pythae, claimed {n}" for what, n, x in claims if x and x < n]


def ceilings() -> dict[str, float]:
    """Operations per second of a large product in float32 and in TF32, and bytes per second of a large copy."""
    a = torch.empty(2**28 if ON_GPU else 2**24, device=DEVICE).normal_()
    b = torch.empty_like(a)
    times = [seconds(lambda: b.copy_(a)) for _ in range(5)]
    with tf32(True):
        fast = peak()
    return {"float32": peak(), "TF32": fast, "bytes": 2 * 4 * len(a) / min(times)}


def training(small: bool) -> dict[str, Any]:
    """30 members of MNIST's size beside pythae, and packs of other sizes."""
    with tempfile.TemporaryDirectory() as folder:
        data = f"data={'{name: Digits, binarize: Fixed}' if small else mnist(Path(folder))}"
        thirty = runs_of([*LARGE, data, f"train.epochs={EPOCHS}"])[: 2 if small else 30]
        rounds: list[dict[str, Any]] = []
        for _ in range(1 if small else ROUNDS):
            seen = {mode: ours(thirty, fast) for mode, fast in (("float32", False), ("TF32", True))}
            rounds.append(seen | pythae(thirty[0]))
        modes = {mode: _beside([(r[mode], r) for r in rounds]) for mode in ("float32", "TF32")}
        curve = {n: ours(thirty[:n], False) for n in (1, 8) if n < len(thirty)}
        model = built(thirty[0])
    members = len(thirty)
    return {
        "data": data, "members": members, "modes": modes, "flop": flops(WIDTHS) * 100,
        "curve": {**curve, members: {"step": modes["float32"][OURS], "mib": rounds[0]["float32"]["mib"]}},
        "bytes": 28 * sum(p.numel() for p in model.parameters()), "needs": memory.needs([model] * members, 100) / 2**20,
    }  # fmt: skip


def thousand(small: bool) -> dict[str, Any]:
    """1000 members of the net of conf/beta.yaml as one pack."""
    betas = ",".join(f"{0.1 * 1.3**i:.4g}" for i in range(2 if small else 20))
    own = [f"model.beta={betas}", f"seed=0..{1 if small else 49}", "train.epochs=8", "train.validate_every=9"]
    runs = runs_of([*own, "data={name: Digits, binarize: Fixed}"])
    pack, theirs = ours(runs, False), pythae(runs[0])
    needs = memory.needs([built(runs[0])] * len(runs), 64) / 2**20
    return {**_beside([(pack, theirs)]), "members": len(runs), "mib": pack["mib"], "needs": needs}


def ours(runs: list[Run], fast: bool) -> dict[str, float]:
    """Seconds of a member's step in a pack, the memory of the pack in MiB, and all of the training in seconds."""
    if ON_GPU:
        gc.collect()  # the pack before this one and its Trainer refer to each other
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    start = now()
    trained = train(runs, fast=fast)
    held = torch.cuda.max_memory_allocated() / 2**20 if ON_GPU else 0.0
    return {"step": _epoch(trained.marks) / trained.steps / len(runs), "mib": held, "whole": now() - start}


def pythae(run: Run) -> dict[str, float]:
    """Seconds of a step of pythae's trainer, and of its model in a loop whose data is on the device; maybe neither."""
    data, x = DataModule(dataset_of(run)), None
    data.setup("fit")
    x = data.train.x[: STEPS * run.train.batch_size]
    try:
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            marks = train_pythae(run, built(run), x, folder)
    except ImportError:
        return {}
    return {PYTHAE: _epoch(marks) / -(-len(x) // run.train.batch_size), LOOP: _loop(run, x)}


def _loop(run: Run, x: torch.Tensor) -> float:
    """Seconds of a step of pythae's model and torch's Adam alone."""
    model, batches = pythae_model(built(run), run.model["beta"]).to(DEVICE), x.to(DEVICE).split(run.train.batch_size)
    adam, marks = torch.optim.Adam(model.parameters(), run.model["learning_rate"]), [now()]
    for _ in range(EPOCHS):
        for batch in batches:
            adam.zero_grad()
            model({"data": batch}).loss.backward()
            adam.step()
        marks.append(now())
    return _epoch(marks) / len(batches)


def bounds(small: bool) -> dict[str, Any]:
    """IWAE-5000 of 10 and of 100 observations: seconds of ours, of ours in bfloat16, of pythae and of the products."""
    found = {}
    for net in NETS:
        model, x = trained(net, max(OBSERVATIONS))
        for points in OBSERVATIONS[: 1 if small else None]:
            found[f"{net}, {points} observations"] = _bound(model, x[:points], 1 if small else 3)
    return found


def _bound(model: Any, x: torch.Tensor, most: int) -> dict[str, Any]:
    """Of these observations, in so many rounds."""
    model = copy.deepcopy(model)  # its error is computed in float64 at the end
    floor = floors(model, len(x))
    work: dict[str, Callable[[], Any]] = {OURS: lambda: bounds_of(model, x, K), "bfloat16": lambda: _rounded(model, x)}
    try:
        work |= pythae_of(model, x)
    except ImportError:
        print("pythae is not installed")
    work |= floor
    for todo in work.values():
        todo()
    rounds = [{name: seconds(todo) for name, todo in work.items()} for _ in range(most)]
    row = {name: median(r[name] for r in rounds) for name in work}
    times = median(r[PYTHAE] / r[OURS] for r in rounds) if PYTHAE in work else None
    error = bfloat16_error(model, [Batch(x)], K, 0)
    return {k: row.get(k) for k in (OURS, "bfloat16", PYTHAE)} | {
        "observations": len(x), "floor": min(row[name] for name in floor), "times": times,
        "flop": operations(model, len(x)), "bfloat16_error": error._asdict(), "error": error_of(model, x),
    }  # fmt: skip


def _rounded(model: Any, x: Any) -> None:
    with bfloat16_decoder(model):
        bounds_of(model, x, K)


def shared(small: bool) -> dict[str, Any]:
    """The same sweep in this process's way and by Ray, two packs on one GPU: seconds, and how far bounds differ."""
    settings = ["train.epochs=1", "evaluate.draws=50", "seed=0..1"] if small else ["train.epochs=50"]
    ways = {"inline": ["--engine", "inline"], "Ray, two packs": ["--engine", "ray", "--workers", "2"]}
    if ON_GPU:
        ways["Ray, two packs"] += ["--gpus", "0.5"]
    found, elbos = {}, {}
    for way, options in ways.items():
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "vaebench", "sweep", str(ROOT / "conf" / "beta.yaml"), *settings]
            paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
            start = perf_counter()
            done = subprocess.run(
                [*command, *options, "--wandb", "disabled"], cwd=folder, capture_output=True, text=True,
                env=os.environ | {"PYTHONPATH": paths}, timeout=300,
            )  # fmt: skip
            took = perf_counter() - start
            records = [json.loads(p.read_text()) for p in sorted(Path(folder).glob("runs/beta/*/record.json"))]
        if done.returncode or not records:
            found[way] = {"not run": (done.stderr.strip().splitlines() or ["no message"])[-1][:200]}
            continue
        spent = {k: sum(r["provenance"]["seconds"][k] for r in records) for k in ("fit", "evaluate")}
        found[way] = {"seconds": took, "runs": len(records), **spent}
        elbos[way] = {r["id"]: {e["name"]: e for e in r["estimates"]}["elbo"] for r in records}
    if len(elbos) == len(ways):
        one, other = elbos.values()
        apart = [abs(one[i]["value"] - other[i]["value"]) / one[i]["standard_error"] for i in one]
        found["largest difference of an ELBO, in standard errors"] = max(apart)
    return found


def runs_of(overrides: list[str]) -> list[Run]:
    """Of conf/beta.yaml."""
    return list(load(ROOT / "conf" / "beta.yaml", overrides).runs)


def built(run: Run) -> Any:
    """The untrained model of a run."""
    data = DataModule(dataset_of(run))
    data.setup("fit")
    return build(run, data, data.train.x)


def seconds(work: Callable[[], Any]) -> float:
    """That a piece of work takes."""
    start = now()
    work()
    return now() - start


def _epoch(marks: list[float]) -> float:
    """The median time of an epoch, without the first ones."""
    return median(b - a for a, b in pairwise(marks[WARM:]))


def _beside(rounds: list[tuple[dict[str, float], dict[str, Any]]]) -> dict[str, Any]:
    """Medians, and the median ratios of pythae's step to ours."""
    row: dict[str, Any] = {OURS: median(o["step"] for o, _ in rounds), "whole": median(o["whole"] for o, _ in rounds)}
    for name, ratio in ((PYTHAE, "times"), (LOOP, "times the loop")):
        if name in rounds[0][1]:
            row[name] = median(theirs[name] for _, theirs in rounds)
            row[ratio] = median(theirs[name] / mine["step"] for mine, theirs in rounds)
    return row


if __name__ == "__main__":
    sys.exit(bool(main(*sys.argv[1:])))
