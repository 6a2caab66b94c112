"""What does a member's step cost in a pack of 1 … 64, and what does the plain model's in a plain Trainer?

The β-VAE of conf/beta.yaml, members that differ in β and seed, batches of 64 digits drawn anew at every step. Each
measurement is a fresh process of one thread: the processor's time of an epoch, the median of ten after two that are not
counted, over its steps and members. Medians of three rounds, in turns. Ratios hold; microseconds are this machine's.

    python benchmarks/packing.py

writes results/benchmarks/packing.md, and fails if a step in a pack of 32 costs more than a third of one alone.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import process_time

import vaebench  # noqa: F401 (before lightning)

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "benchmarks" / Path(__file__).with_suffix(".md").name
PLAIN = 0
"""In the place of a number of members: the model in a Trainer, not packed."""

SIZES = (PLAIN, 1, 2, 4, 8, 16, 32, 64)
ROUNDS = 3
CLAIMED = 1 / 3
WARM, COUNTED = 2, 10


def main() -> int:
    """Measure, print and write the table; 1 if the claim is broken."""
    rounds = [{n: in_fresh_process(n) for n in SIZES} for _ in range(ROUNDS)]
    cost = {n: median(r[n] for r in rounds) for n in SIZES}
    text = table(cost)
    print(text)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(text)
    broken = cost[32] > CLAIMED * cost[1]
    if broken:
        print(f"FAILED: a step in a pack of 32 costs {cost[32] / cost[1]:.2f} of one alone, claimed {CLAIMED:.2f}")
    return int(broken)


def in_fresh_process(members: int) -> float:
    """Microseconds of a member's step."""
    command = [sys.executable, __file__, str(members)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return float(json.loads(done.stdout.splitlines()[-1]))


def measured(members: int) -> float:
    """The same, in this process."""
    import lightning
    import torch

    from vaebench.config import load
    from vaebench.packing.data import PackedData
    from vaebench.packing.pack import Pack
    from vaebench.registry import DATASETS, MODELS
    from vaebench.run import Execution
    from vaebench.training.alone import data_of

    Execution(threads=1).apply()
    torch.set_num_threads(1)
    runs = load(ROOT / "conf" / "beta.yaml", ["seed=0..10"]).runs[: max(1, members)]
    times = [0.0]

    class Clock(lightning.Callback):
        def on_train_epoch_end(self, *_: object) -> None:
            times.append(process_time())

    trainer = lightning.Trainer(
        max_epochs=WARM + COUNTED, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[Clock()],
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, limit_val_batches=0,
    )  # fmt: skip
    data = PackedData(DATASETS.build(runs[0].data), [r.seed for r in runs]) if members else data_of(runs[0])
    data.setup("fit")
    models = [MODELS.build(r.model, data.shape, r.seed) for r in runs]
    trainer.fit(Pack(models) if members else models[0], datamodule=data)
    steps = trainer.global_step / (WARM + COUNTED)
    epochs = [b - a for a, b in zip(times[WARM:-1], times[WARM + 1 :], strict=True)]
    return median(epochs) / steps / len(models) * 1e6


def table(cost: dict[int, float]) -> str:
    """The table as Markdown."""
    lines = [
        "# The cost of a member's step",
        "",
        "The β-VAE of conf/beta.yaml (64-64-10, batch 64) in one thread: processor time, medians of three rounds of",
        "fresh processes. `python benchmarks/packing.py` writes this and fails if a claim does.",
        "",
        "| members | µs a member-step | of alone | times less than plain |",
        "| --- | --- | --- | --- |",
    ]
    for n in SIZES:
        name = "not packed, in a plain Trainer" if n == PLAIN else str(n)
        lines.append(f"| {name} | {cost[n]:.0f} | {cost[n] / cost[1]:.3f} | {cost[PLAIN] / cost[n]:.1f} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measured(int(sys.argv[1]))))
    else:
        sys.exit(main())
