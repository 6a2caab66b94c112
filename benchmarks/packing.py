"""What does one step of one member cost in a pack of 1 to 64, and what does it cost in a plain Trainer?

The model is the β-VAE of conf/beta.yaml. The members differ in β and seed, and every step draws a new batch of 64
digits. Each measurement is a new process with one thread. It takes the processor time of an epoch (on a GPU the elapsed
time; this was never run), as the median of ten epochs after two that are not counted, divided by steps and members. The
table has medians of three rounds, in turns. Ratios hold elsewhere; the microseconds are those of this machine. On a GPU
a network of MNIST's size is measured as well.

    python benchmarks/packing.py

writes results/benchmarks/packing.md. It fails if a step in a pack of 32 costs more than a third of a step in a pack of
one, or, on a GPU at MNIST's size, more than a twelfth of a step that is not packed.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import NamedTuple

import vaebench  # noqa: F401 (before lightning)

# isort: split

from beside import OtherWork
from clock import NAME, ON_GPU, now

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "benchmarks" / Path(__file__).with_suffix(".md").name
PLAIN = 0
"""Stands for the number of members when the model is not packed."""

TITLES = {PLAIN: "not packed, in a plain Trainer"}

SIZES = (PLAIN, 1, 2, 4, 8, 16, 32, 64)
ROUNDS = 3
WARM, COUNTED = 2, 10


class Net(NamedTuple):
    """Overrides of conf/beta.yaml, and the most that a step in a pack of 32 may cost of one of another size."""

    overrides: tuple[str, ...]
    most: float
    of: int


NETS = {"64-64-64-10": Net((), 1 / 3, 1)}
if ON_GPU:
    large = ("model.network={name: MLP, hidden: [400, 400]}", "latent_dim=32", "data={name: MNIST, binarize: Dynamic}")
    NETS["784-400-400-32"] = Net((*large, "batch_size=100"), 1 / 12, PLAIN)


def main() -> int:
    """Measure, print and write the table; returns the number of false claims."""
    beside = OtherWork()
    rounds = [{(net, n): in_fresh_process(net, n) for net in NETS for n in SIZES} for _ in range(ROUNDS)]
    cost = {net: {n: median(r[net, n] for r in rounds) for n in SIZES} for net in NETS}
    text = table(cost, str(beside))
    print(text)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(text, encoding="utf-8")
    broken = {name: seen[32] / seen[NETS[name].of] for name, seen in cost.items()}
    broken = {name: share for name, share in broken.items() if share > NETS[name].most}
    for name, share in broken.items():
        other = TITLES.get(NETS[name].of, "alone")
        print(f"FAILED: {name}: a step in a pack of 32 costs {share:.2f} of one {other}, claimed {NETS[name].most:.2f}")
    return len(broken)


def in_fresh_process(net: str, members: int) -> float:
    """Microseconds of a member's step."""
    command = [sys.executable, __file__, net, str(members)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return float(json.loads(done.stdout.splitlines()[-1]))


def measured(net: str, members: int) -> float:
    """The same, in this process."""
    import lightning
    import torch

    from vaebench.config import load
    from vaebench.config.registry import MODELS
    from vaebench.data.datamodule import data_of
    from vaebench.sweeps.run import Execution
    from vaebench.training.packed.loaders import PackedData
    from vaebench.training.packed.module import Pack
    from vaebench.training.trainer import accelerator

    Execution(threads=1).apply()
    torch.set_num_threads(1)
    runs = load(ROOT / "conf" / "beta.yaml", ["seed=0..10", *NETS[net].overrides]).runs[: max(1, members)]
    times = [0.0]

    class Clock(lightning.Callback):
        def on_train_epoch_end(self, *_: object) -> None:
            times.append(now())

    trainer = lightning.Trainer(
        max_epochs=WARM + COUNTED, accelerator=accelerator(), logger=False, enable_checkpointing=False,
        callbacks=[Clock()], enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        limit_val_batches=0,
    )  # fmt: skip
    data = data_of(runs[0])
    if members:
        data = PackedData(data.dataset, [r.seed for r in runs], batch_size=data.batch_size)
    data.setup("fit")
    models = [MODELS.build(r.model, data.shape, r.seed) for r in runs]
    trainer.fit(Pack(models) if members else models[0], datamodule=data)
    steps = trainer.global_step / (WARM + COUNTED)
    epochs = [b - a for a, b in zip(times[WARM:-1], times[WARM + 1 :], strict=True)]
    return median(epochs) / steps / len(models) * 1e6


def table(cost: dict[str, dict[int, float]], beside: str) -> str:
    """The table as Markdown."""
    lines = [
        "# The cost of a member's step",
        "",
        f"The β-VAE of conf/beta.yaml, {NAME}, medians of three rounds of fresh processes.",
        f"`python benchmarks/packing.py` writes this and fails if a claim does. {beside}",
    ]
    for net, seen in cost.items():
        lines += ["", f"| {net}: members | µs a member-step | of alone | times less than plain |"]
        lines.append("| --- | --- | --- | --- |")
        for n in SIZES:
            name = TITLES.get(n, str(n))
            lines.append(f"| {name} | {seen[n]:.0f} | {seen[n] / seen[1]:.3f} | {seen[PLAIN] / seen[n]:.1f} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measured(sys.argv[1], int(sys.argv[2]))))
    else:
        sys.exit(main())
