"""What does the sweep's training loop cost, compared with pythae and with Lightning as it is usually written?

All trainings share two networks, the weights, the data (binarised once), the batches, Adam and the number of steps.
`vaebench --compile` has its library from a training before, as every sweep has but the first of its shapes.

- 64-64-8, batches of 64 digits, the 30 members of conf/beta.yaml's grid. Ours is `vaebench.training.fit.fit` on all of
  them, as in `vaebench sweep`. The peers train one member after another. Two of these are trained, for twelve epochs:
  the second member's time stands for each of the 30, and the median of ten epochs for each of 100. The time before the
  first step and after the last counts once for each member of a peer, and once for ours.
- 784-400-400-32, batches of 100, one run: one epoch of MNIST, after one that is not counted. If MNIST is not found
  under VAEBENCH_DATA, 50 000 images of its shape replace it: digits, enlarged, with noise.
- On a GPU, where a small product costs as much as its launch, 30 members of the second network as well.

pythae is its BaseTrainer. Usual Lightning is a DataLoader, `self.log`, progress bar, logger and checkpoint callback.
Each measurement is a new process with one thread and takes its processor time (on a GPU elapsed time; this was never
run). The table has medians of three rounds' ratios. The same run checks that all do the same work: it compares the
losses of the first 50 steps, from the same weights, batches and noise, and the objective at the end of training. A peer
may lose precision by itself: its losses are computed in float64 too, and that difference is not a fault of the pack.

    pip install -c constraints.txt -e '.[peers]'    # without it the rows of pythae stay empty
    python benchmarks/peers.py

writes results/benchmarks/peers.md. It fails if the training of 30 small members is less than 12 times faster than
pythae's or less than 20 times faster than Lightning's (17 and 28 times with `--compile`), if an epoch of MNIST is less
than 1.3 times faster than pythae, if on a GPU 30 members of MNIST's size are less than 30 times faster, or if the
losses differ.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import vaebench  # noqa: F401 (before lightning)

# isort: split

from beside import OtherWork
from clock import NAME, ON_GPU

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "benchmarks" / Path(__file__).with_suffix(".md").name
ROUNDS, APART = 3, 1e-5
OURS, COMPILED, PYTHAE, USUAL = "vaebench", "vaebench --compile", "pythae", "Lightning as usually written"
PACKED = (OURS, COMPILED)


class Task(NamedTuple):
    """What is trained: widths, overrides of conf/beta.yaml, epochs not counted and counted, of a whole training.

    `claims` are how many times longer each peer takes than vaebench, `compiled` than `vaebench --compile`. Where an
    epoch is all that is compared, there is no whole training.
    """

    widths: tuple[int, ...]
    overrides: tuple[str, ...]
    members: int
    warm: int
    counted: int
    whole: int | None
    claims: dict[str, float]
    compiled: dict[str, float]

    @property
    def of_mnist(self) -> bool:
        """Whether its data is of MNIST's shape."""
        return self.widths[0] == 784


SHARED = ("train.validate_every=1000000", "model.learning_rate=0.001")
LARGE = ("model.network={name: MLP, hidden: [400, 400]}", "latent_dim=32", "batch_size=100", *SHARED)
MANY = {
    "784-400-400-32, 30 members": Task(
        (784, 400, 400, 32), LARGE, members=30, warm=1, counted=1, whole=None, claims={PYTHAE: 30}, compiled={}
    )
}
TASKS = {
    "64-64-8": Task(
        (64, 64, 8),
        ("model.network={name: MLP, hidden: [64]}", "latent_dim=8", "data={name: Digits, binarize: Fixed}", *SHARED),
        members=30, warm=2, counted=10, whole=100, claims={PYTHAE: 12, USUAL: 20}, compiled={PYTHAE: 17, USUAL: 28},
    ),
    "784-400-400-32": Task(
        (784, 400, 400, 32), ("beta=1", "seed=0", *LARGE),
        members=1, warm=1, counted=1, whole=None, claims={PYTHAE: 1.3}, compiled={},
    ),
} | (MANY if ON_GPU else {})  # fmt: skip


Apart = dict[str, list[float] | None]
"""For each peer the largest relative differences of our losses from its own, and of its own from those in float64."""


def main() -> int:
    """Measure, print and write the table; the number of broken claims."""
    beside = OtherWork()
    with tempfile.TemporaryDirectory() as folder:
        data = mnist(Path(folder))
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        for task in TASKS:
            if COMPILED in who(task):
                in_fresh_process(COMPILED, task, data)  # its library is then there
        same = {task: in_fresh_process("same", task, data) for task in TASKS}
        rounds = [
            {task: {peer: in_fresh_process(peer, task, data) for peer in who(task)} for task in TASKS}
            for _ in range(ROUNDS)
        ]
    named = "MNIST" if data.startswith("{name: MNIST") else "50 000 images of MNIST's shape"
    text = table(rounds, same, named, str(beside))
    print(text)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(text, encoding="utf-8")
    broken = list(faults(rounds, same))
    for fault in broken:
        print(f"FAILED: {fault}")
    return len(broken)


def who(task: str) -> tuple[str, ...]:
    """Whose training of a task is measured. One large net gains nothing by compiling: its time is that of products."""
    return (*(PACKED if TASKS[task].whole is not None else (OURS,)), PYTHAE, USUAL)


def whole(task: Task, seen: dict[str, Any], members: int) -> float:
    """Seconds of a whole training, or of an epoch, of so many members one after the other."""
    return members * (seen["epoch"] if task.whole is None else seen["rest"] + task.whole * seen["epoch"])


def quicker(seen: dict[str, dict[str, Any]], peer: str, task: Task, ours: str = OURS) -> float:
    """How many times longer a peer takes, in one round."""
    return whole(task, seen[peer], 1 if peer in PACKED else task.members) / whole(task, seen[ours], 1)


def faults(rounds: list[dict[str, Any]], same: dict[str, Apart]) -> Iterator[str]:
    """The claims that do not hold."""
    for name, task in TASKS.items():
        for ours, claims in ((OURS, task.claims), (COMPILED, task.compiled)):
            for peer, least in claims.items():
                if {peer, ours} <= set(present(rounds, name)):
                    times = median(quicker(r[name], peer, task, ours) for r in rounds)
                    if times < least:
                        yield f"{name}: {ours} is {times:.1f} times quicker than {peer}, claimed at least {least}"
        for peer, apart in same[name].items():
            if apart is not None and apart[0] > APART + apart[1]:
                yield f"{name}: the losses of {peer} differ by {apart[0]:.1e}, relatively, from ours"


def table(rounds: list[dict[str, Any]], same: dict[str, Apart], mnist: str, beside: str) -> str:
    """Markdown."""
    lines = [
        "# The training loop beside pythae and usual Lightning",
        "",
        f"The same nets, data and steps, on {NAME}; medians of {ROUNDS} rounds of fresh processes. The work is the",
        "products of a step, its share that of the rate of one large product. `python benchmarks/peers.py` writes this",
        f"and fails if a claim does. {beside}",
    ]
    for name, task in TASKS.items():
        seen = {p: {k: median(r[name][p][k] for r in rounds) for k in NUMBERS} for p in present(rounds, name)}
        steps = seen[OURS]["steps"]
        what = f"an epoch of {mnist}" if task.whole is None else f"{task.members} members × {task.whole} epochs"
        lines += [
            "",
            f"## {name}: {what}",
            "",
            f"| | µs a member-step | before and after, s | {what}, s | times vaebench | claimed at least "
            "| share of peak | objective at the end |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for peer in who(name):
            if peer not in seen:
                lines.append(f"| {peer} | | | | | {task.claims.get(peer, '')} | | {rounds[0][name][peer]['absent']} |")
                continue
            own, together = seen[peer], task.members if peer in PACKED else 1
            step = own["epoch"] / steps / together
            total = whole(task, own, task.members // together)
            times = median(quicker(r[name], peer, task) for r in rounds)
            share = flops(task.widths) * own["batch"] / step / own["peak"]
            lines.append(
                f"| {peer} | {step * 1e6:.0f} | {own['rest']:.2f} | {total:.1f} | {times:.{2 - (task.members > 1)}f} "
                f"| {task.claims.get(peer, '')} | {share:.2f} | {own['objective']:.2f} |"
            )
        lines += ["", f"{steps:.0f} steps an epoch for each. {alike(same[name])}"]
        if task.whole is not None:
            steps_only, rivals = task._replace(whole=None), [peer for peer in seen if peer != OURS]
            ratios = {p: median(quicker(r[name], p, steps_only) for r in rounds) for p in rivals}
            listed = ", ".join(f"{peer} {times:.1f}" for peer, times in ratios.items())
            lines.append(f"Of the steps alone, without what is before and after, times vaebench: {listed}.")
            if COMPILED in seen:
                lines.append(compared_with_compiled(rounds, name))
    return "\n".join([*lines, "", "bf16 is not implemented, so its claim (2 ×, opt in) is not measured.", ""])


def compared_with_compiled(rounds: list[dict[str, Any]], name: str) -> str:
    """A line: how many times longer each peer takes than `vaebench --compile`, with the claims."""
    task, listed = TASKS[name], []
    for peer, least in task.compiled.items():
        if peer in present(rounds, name):
            kinds = (task, task._replace(whole=None))
            all_, steps = (median(quicker(r[name], peer, kind, COMPILED) for r in rounds) for kind in kinds)
            listed.append(f"{peer} {all_:.1f} (claimed at least {least}; steps alone {steps:.1f})")
    return f"Times {COMPILED}, whole trainings: {', '.join(listed)}."


NUMBERS = ("epoch", "rest", "steps", "batch", "peak", "objective")


def present(rounds: list[dict[str, Any]], name: str) -> list[str]:
    """Who could be measured."""
    return [peer for peer, seen in rounds[0][name].items() if "absent" not in seen]


def alike(apart: Apart) -> str:
    """A line on the losses of the first steps."""
    listed = [f"{peer} {ours:.0e} ({own:.0e})" for peer, (ours, own) in present_in(apart)]
    what = "Largest relative difference of a loss in the first 50 steps to the pack's"
    return f"{what} (in brackets: what float32 costs the peer itself): {', '.join(listed)}."


def present_in(apart: Apart) -> list[tuple[str, list[float]]]:
    """The peers whose losses were compared."""
    return [(peer, pair) for peer, pair in apart.items() if pair is not None]


def flops(widths: tuple[int, ...]) -> int:
    """Of an observation's products: two a weight forward, four backward, and no gradient for the observation."""
    *hidden, latent = widths
    sides = [*pairwise(hidden), (hidden[-1], 2 * latent), (latent, hidden[-1])]
    sides += pairwise(hidden[::-1])
    return 6 * sum(a * b for a, b in sides) - 2 * hidden[0] * hidden[1]


def mnist(folder: Path) -> str:
    """The data of the large net, in YAML: MNIST if it is there, else as many images of its shape."""
    import numpy as np
    import torch

    if mnist_is_here():
        return "{name: MNIST, binarize: Fixed}"
    from sklearn.datasets import load_digits

    stream = np.random.default_rng(0)
    digits = torch.from_numpy(load_digits().images / 16).float()[:, None]
    large = torch.nn.functional.interpolate(digits, size=28, mode="bilinear").squeeze(1).numpy()
    grey = large[stream.integers(len(large), size=51_000)]
    grey = ((grey + stream.normal(0, 0.05, grey.shape)).clip(0, 1) * 255).astype(np.uint8)
    np.savez(folder / "large.npz", train=grey[:50_000], validation=grey[-1000:-500], test=grey[-500:])
    return f"{{name: Arrays, path: {folder / 'large.npz'}, binarize: Fixed}}"


def mnist_is_here() -> bool:
    """Whether MNIST lies under VAEBENCH_DATA."""
    from vaebench.data.datasets.base import data_root

    return any((data_root() / "MNIST" / "raw").glob("train-images-idx3-ubyte*"))


def in_fresh_process(what: str, task: str, data: str) -> Any:
    """What the child prints."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, str(Path(__file__).with_name("rivals.py")), what, task, data]
    done = subprocess.run(command, capture_output=True, text=True, env=kept | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise RuntimeError(f"{what}, {task}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    sys.exit(bool(main()))
