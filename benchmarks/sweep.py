"""What does a whole sweep cost beside its training steps, where does the rest go, and how large is its memory?

conf/beta.yaml unchanged: 30 runs in one pack, in an empty folder, from the command to the last table, with W&B offline.
Each measurement is a new process with one thread. The training steps and the other parts are timed inside it. The same
process then measures the least that evaluation can cost, which is the decoders' matrix products at all draws of all
runs, and a training step of one run alone. All times are the process's own processor time, because other work on the
machine changes it little. Waiting is not counted, and neither is the separate process of W&B.

    python benchmarks/sweep.py

writes results/benchmarks/sweep.md. It fails if the sweep takes more than twice the training steps of its runs one after
another, or more than 2.5 times the pack's steps plus the products of the evaluation, or more than 1.5 GiB.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import vaebench  # noqa: F401 (before lightning)

# isort: split

from beside import OtherWork

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "benchmarks" / Path(__file__).with_suffix(".md").name
STUDY, RUNS, ROUNDS = ROOT / "conf" / "beta.yaml", 30, 1
SHARE = 20
"""Of the draws, one in so many is taken through the products that the floor consists of."""

GIB = 2**30
OVER_ALONE, OVER_FLOOR, HELD = 2.0, 2.5, 1.5 * GIB
PARTS = ("training steps", "validation", "evaluation", "opening of W&B runs")


def main() -> int:
    """Measure, print and write the table; the number of broken claims."""
    beside = OtherWork()
    rounds = [in_fresh_process() for _ in range(ROUNDS)]
    seen = {name: median(r[name] for r in rounds) for name in rounds[0]}
    seen |= {name: median(ratio(r) for r in rounds) for name, ratio in RATIOS.items()}
    text = table(seen, str(beside))
    print(text)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(text, encoding="utf-8")
    broken = list(faults(seen))
    for fault in broken:
        print(f"FAILED: {fault}")
    return len(broken)


RATIOS: dict[str, Callable[[dict[str, float]], float]] = {
    "over the training steps of the pack": lambda r: r["whole"] / r["training steps"],
    "over those and the products": lambda r: r["whole"] / (r["training steps"] + r["products"]),
    "over the training steps of the runs alone": lambda r: r["whole"] / r["alone"],
    "the rest": lambda r: r["whole"] - sum(r[part] for part in PARTS),
}
"""What a round comes to."""


def faults(seen: dict[str, float]) -> Iterator[str]:
    """The claims that do not hold."""
    for name, most in (
        ("over the training steps of the runs alone", OVER_ALONE),
        ("over those and the products", OVER_FLOOR),
    ):
        if seen[name] > most:
            yield f"the whole sweep {name}: {seen[name]:.2f}, claimed at most {most}"
    if seen["held"] > HELD:
        yield f"the sweep holds {seen['held'] / GIB:.2f} GiB, claimed at most {HELD / GIB:.2f}"


def table(seen: dict[str, float], beside: str) -> str:
    """Markdown."""
    rest = seen["the rest"]
    lines = [
        "# A whole sweep beside its training steps",
        "",
        f"conf/beta.yaml, {RUNS} runs as one pack, evaluation with 5000 draws, records, W&B and tables included; one",
        f"thread's processor time, rounds: {ROUNDS}. "
        "`python benchmarks/sweep.py` writes this and fails if a claim does.",
        beside,
        "",
        "| part | seconds | of the whole |",
        "| --- | --- | --- |",
    ]
    for part in PARTS:
        lines.append(f"| {part} | {seen[part]:.1f} | {seen[part] / seen['whole']:.2f} |")
    lines += [
        f"| start, pictures, records, tables, page | {rest:.1f} | {rest / seen['whole']:.2f} |",
        f"| the whole | {seen['whole']:.1f} | 1 |",
        f"| for comparison: matrix products of the evaluation alone | {seen['products']:.1f} | |",
        f"| for comparison: training steps of the {RUNS} runs one after the other | {seen['alone']:.1f} | |",
        "",
        "| the whole | times | claimed at most |",
        "| --- | --- | --- |",
        f"| over the training steps of the pack | {seen['over the training steps of the pack']:.2f} | |",
        f"| over those and the products | {seen['over those and the products']:.2f} | {OVER_FLOOR} |",
        f"| over the training steps of the runs one after the other | "
        f"{seen['over the training steps of the runs alone']:.2f} | {OVER_ALONE} |",
        "",
        "| memory | MiB | claimed at most |",
        "| --- | --- | --- |",
        f"| the process with its libraries, before the pack | {seen['before'] / 2**20:.0f} | |",
        f"| at most, with {RUNS} members | {seen['held'] / 2**20:.0f} | {HELD / 2**20:.0f} |",
    ]
    return "\n".join([*lines, ""])


def in_fresh_process() -> dict[str, float]:
    """The numbers of one sweep."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, __file__, "sweep"], check=True, stdout=subprocess.PIPE, text=True, cwd=folder,
            env=kept | {"OMP_NUM_THREADS": "1", "VAEBENCH_DATA": str(ROOT / "data")},
        )  # fmt: skip
    return dict(json.loads(done.stdout.splitlines()[-1]))


def child() -> None:
    """One sweep in this process, its parts timed, and what it is compared with."""
    from decomposition import resident

    from vaebench.__main__ import app

    spent, before = watched()
    app(["sweep", str(STUDY), "--engine", "inline"], standalone_mode=False)
    seen = dict(spent) | {"whole": process_time(), "held": resident("VmHWM"), "before": before[0]}
    print(json.dumps(seen | {"products": products(), "alone": RUNS * alone()}))


def watched() -> tuple[dict[str, float], list[float]]:
    """Seconds of the parts of what is done from here on, and the memory held when the first runs are executed."""
    import wandb
    from decomposition import resident

    from vaebench.sweeps import run
    from vaebench.sweeps import sweep as sweeps
    from vaebench.training.callbacks import Validation
    from vaebench.training.packed.module import Pack

    spent, before = dict.fromkeys(PARTS, 0.0), list[float]()

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*args: Any, **kwargs: Any) -> Any:
            start = process_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent[part] += process_time() - start

        return measured

    def first(*args: Any, **kwargs: Any) -> Any:
        before.append(resident("VmRSS"))
        return execute_pack(*args, **kwargs)

    execute_pack, sweeps.execute_pack = sweeps.execute_pack, first
    for part, owner, name in (
        ("training steps", Pack, "training_step"),
        ("validation", Pack, "validation_step"),
        ("validation", Validation, "on_validation_epoch_end"),
        ("evaluation", run, "evaluate"),
        ("opening of W&B runs", wandb, "init"),
    ):
        setattr(owner, name, timed(part, getattr(owner, name)))
    return spent, before


def products() -> float:
    """Seconds of the decoders' matrix products at all draws of all runs, and nothing else."""
    import torch

    from vaebench.config import load
    from vaebench.config.registry import MODELS
    from vaebench.data.datamodule import data_of

    runs = load(STUDY).runs
    data = data_of(runs[0])
    data.setup("fit")
    model = MODELS.build(runs[0].model, data.shape, 0)
    weights = [layer.weight.mT.contiguous() for layer in model.decoder if isinstance(layer, torch.nn.Linear)]
    latents, rows = data.sizes[runs[0].evaluate.split] * runs[0].evaluate.draws * len(runs) // SHARE, 2000
    first, outputs = torch.randn(rows, model.latent_dim), [torch.empty(rows, w.shape[1]) for w in weights]
    start = process_time()
    with torch.no_grad():
        for _ in range(latents // rows):
            h = first
            for weight, output in zip(weights, outputs, strict=True):
                h = torch.mm(h, weight, out=output)
    return SHARE * (process_time() - start)


def alone() -> float:
    """Seconds of the training steps of one of the runs in a pack of its own."""
    from vaebench.config import load
    from vaebench.training.fit import fit

    spent, _ = watched()
    runs = load(STUDY).runs[:1]
    with tempfile.TemporaryDirectory() as folder:
        fit(runs, [Path(folder)], [[]], lambda *_: None, 1e9)
    return spent["training steps"]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child()
    else:
        sys.exit(bool(main()))
