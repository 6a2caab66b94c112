"""Kill sweeps at random moments: is anything lost, repeated or changed?

A chain is one small study. The command line sweeps it, is killed and is started again, until the study is complete.
Each start draws an engine, a pack size and the time between snapshots. Each kill draws a signal (SIGKILL, SIGTERM,
SIGINT), a target (the driver, or a worker if there is one) and a moment, mostly during training. At the end all records
and weights are compared, bit for bit, with those of a sweep that was not killed. Everything is drawn from the chain's
seed, except what depends on the clock.

    python benchmarks/kills.py --engines inline --kills 60 --to inline.jsonl
    python benchmarks/kills.py --engines ray,slurm,local --kills 40 --first 1000 --to others.jsonl
    python benchmarks/kills.py --tally inline.jsonl others.jsonl

`slurm` is the sbatch of tests/fake_slurm.py, `local` is submitit's own executor. Each command prints its counts, and
fails if a run was lost, repeated or differs. Each line of the file is a chain; its seed repeats it (`--first SEED`).
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from life import ROOT, TIMEOUT, Life, drawn, records, runs, steps_left, with_slurm

from vaebench.records.files import CHECKPOINT, PROGRESS, RECORD, RESUME
from vaebench.records.record import read
from vaebench.training.checkpoints import contents

STUDY = """
question: Is anything lost?
model: {latent_dim: 5, network: {name: MLP, hidden: [128]}}
data: {name: Digits}
train: {epochs: 80, batch_size: 128}
evaluate: {draws: 20}
grid:
  model:
    - {name: BetaVAE, likelihood: Gaussian, beta: 0.5}
    - {name: BetaVAE, likelihood: Gaussian, learning_rate: 1.0e-4}
    - {name: VAE, likelihood: OptimalGaussian}
  seed: 0..1
"""
"""Two of the models train in packs. One trains alone and continues from Lightning's checkpoint."""

GRACE = 5.0
"""Seconds to wait for the end of a killed worker. A SLURM job ignores SIGTERM, which is only a warning there."""

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MARK = "VAEBENCH_KILLS"
"""An environment variable that all processes of a chain inherit, so that those left over are found."""

MAX_KILLS, MAX_STARTS = 8, 12
"""Kills of a chain, and starts of the command in which it must be complete."""


@dataclass
class Kill:
    """One kill, and whether the next start continued from the snapshots.

    Attributes:
        in_training: whether a run was training at that moment.
        snapshots: for each run, the training steps in its snapshot.
        used: how many runs continued from their snapshot later.
        lost: how many runs began again.
    """

    engine: str
    signal: str
    target: str
    in_training: bool
    snapshots: dict[str, int]
    used: int = 0
    lost: int = 0


@dataclass
class Chain:
    """The result of a seed. The lists have ids of runs, with a reason where it is not obvious."""

    seed: int
    kills: list[Kill] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)


Pending = dict[str, tuple[int, Kill]]
"""For each run with a snapshot: its steps, and the kill after which it was found."""


def kill_once(life: Life, chance: random.Random) -> Kill | None:
    """Kill the process or one of its workers at a random moment; None if it ended before."""
    if chance.random() < 0.85:
        life.wait(TIMEOUT, until_training=True)
        life.work(chance.uniform(0, 1.5))
    else:
        life.work(chance.uniform(0, 1))
    sent, at_worker = chance.choice(SIGNALS), chance.random() < 0.5
    if life.ended:
        return None
    trainers = life.trainers()
    workers = [pid for pid in trainers if pid != life.pid]
    target = chance.choice(workers) if workers and at_worker else life.pid
    with suppress(ProcessLookupError):
        os.kill(target, sent)
    life.wait(TIMEOUT if target == life.pid else GRACE, until_gone=target)
    snapshots = steps_left(life.folder)
    if target != life.pid:
        snapshots = {run: snapshots[run] for run in trainers[target] if run in snapshots}
    life.since, life.first = time.time(), {}
    return Kill(life.engine, sent.name, "driver" if target == life.pid else "worker", bool(trainers), snapshots)


def run_chain(folder: Path, seed: int, engines: list[str], max_kills: int) -> Chain:
    """Start and kill the sweep of a study until the study is complete."""
    chance, chain, pending = random.Random(seed), Chain(seed), Pending()
    (folder / "tiny.yaml").write_text(STUDY, encoding="utf-8")
    for number in range(MAX_STARTS):
        life = Life(folder, number, *drawn(chance, engines))
        kills = 0
        while len(chain.kills) < max_kills and not life.ended and (kill := kill_once(life, chance)) is not None:
            chain.kills.append(kill)
            pending |= {run: (steps, kill) for run, steps in kill.snapshots.items()}
            kills += 1
            life.wait(GRACE if kill.target == "worker" else TIMEOUT, until_training=True)
            count_resumed(pending, life)
        life.wait(TIMEOUT)
        count_resumed(pending, life)
        chain.repeated += [p.parent.name for p, then in life.done.items() if p.stat().st_mtime_ns != then]
        if not life.ended:
            chain.strange.append(f"life {number} did not end")
            os.kill(life.pid, signal.SIGKILL)
            os.waitpid(life.pid, 0)
        if life.status == 0:
            return chain
        stop = (-signal.SIGKILL, -signal.SIGTERM, 130, 1) if kills else ()  # SIGTERM ends a command that still loads
        if life.status not in stop or "Traceback" in life.output:
            chain.strange.append(f"life {number}: status {life.status}: {life.output[-400:]}")
    return chain


def count_resumed(pending: Pending, life: Life) -> None:
    """Count the runs that continued: their next snapshot has at least as many steps as the one before."""
    life.update()
    for run, steps in life.first.items():
        if run in pending:
            before, kill = pending.pop(run)
            kill.used += steps >= before
            kill.lost += steps < before


def clear(mark: str) -> None:
    """Kill the processes that a chain has left."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            theirs = f"{MARK}={mark}".encode() in (process / "environ").read_bytes().split(b"\0")
            if theirs and int(process.name) != os.getpid():
                os.kill(int(process.name), signal.SIGKILL)


def compare(chain: Chain, folder: Path, quiet: Path) -> None:
    """Note what is missing in a chain's folder, and what differs from a sweep that was not killed."""
    for expected in records(quiet):
        run = expected.parent.name
        found = runs(folder) / run / RECORD
        if not found.is_file():
            chain.missing.append(run)
            continue
        ours, theirs = (replace(read(p), provenance={}) for p in (found, expected))
        weights = [contents(p.parent / CHECKPOINT)["state_dict"] for p in (found, expected)]
        same = weights[0].keys() == weights[1].keys()
        same = same and all(torch.equal(t, weights[1][name]) for name, t in weights[0].items())
        chain.differing += [f"{run}: {what}" for what, ok in (("record", ours == theirs), ("weights", same)) if not ok]
    left = [p.name for name in (RESUME, PROGRESS) for p in runs(folder).glob(f"*/{name}")]
    chain.strange += [f"left behind: {', '.join(left)}"] if left else []


def chains(asked: argparse.Namespace) -> Iterator[Chain]:
    """Run chains until there are enough kills."""
    os.environ |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    path = os.environ["PATH"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as base:
        quiet = Path(base) / "quiet"
        quiet.mkdir()
        (quiet / "tiny.yaml").write_text(STUDY, encoding="utf-8")
        alone = Life(quiet, 0, ["sweep", "tiny.yaml", "--wandb", "disabled", "--engine", "inline"], "inline")
        alone.wait(10 * TIMEOUT)
        assert alone.status == 0, alone.output
        kills, seed = 0, asked.first
        while kills < asked.kills:
            folder = Path(base) / str(seed)
            folder.mkdir()
            os.environ |= {"PATH": path, MARK: str(folder)}
            with_slurm(folder)
            chain = run_chain(folder, seed, asked.engines.split(","), min(MAX_KILLS, asked.kills - kills))
            compare(chain, folder, quiet)
            clear(str(folder))
            yield chain
            kills, seed = kills + len(chain.kills), seed + 1


def tally(found: list[dict[str, Any]]) -> str:
    """A table of the counts by engine and signal, and every fault with its seed."""
    kills = [kill for chain in found for kill in chain["kills"]]
    rows: dict[tuple[str, str], Counter[str]] = {}
    for kill in kills:
        row = rows.setdefault((kill["engine"], kill["signal"]), Counter())
        row.update(kills=1, worker=int(kill["target"] == "worker"), training=int(kill["in_training"]))
        row.update(left=len(kill["snapshots"]), used=kill["used"], lost=kill["lost"])
    names = ("kills", "worker", "training", "left", "used", "lost")
    lines = ["engine  signal   kills  of a worker  in training  snapshots left     continued  begun again"]
    widths = (6, 13, 13, 16, 14, 13)
    for key, row in [*sorted(rows.items()), (("all", ""), sum(rows.values(), Counter()))]:
        numbers = "".join(str(row[name]).rjust(width) for name, width in zip(names, widths, strict=True))
        lines.append(f"{key[0]:7} {key[1]:8}{numbers}")
    for what in ("missing", "repeated", "differing", "strange"):
        lines.append(f"{what}: {sum(len(chain[what]) for chain in found)}")
        lines += [f"  seed {chain['seed']}: {one}" for chain in found for one in chain[what]]
    return "\n".join(lines)


def main() -> int:
    """Run chains, or count the results in files; 1 if anything was lost, repeated or changed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", default="inline", help="with commas between: inline, processes, ray, slurm, local")
    parser.add_argument("--kills", type=int, default=100, help="at least this many")
    parser.add_argument("--first", type=int, default=0, help="seed of the first chain")
    parser.add_argument("--to", type=Path, default=Path("kills.jsonl"), help="file that gets one line for each chain")
    parser.add_argument("--tally", type=Path, nargs="*", help="only count the chains in these files")
    asked = parser.parse_args()
    if asked.tally:
        found = [json.loads(line) for path in asked.tally for line in path.read_text(encoding="utf-8").splitlines()]
    else:
        found = []
        for chain in chains(asked):
            found.append(asdict(chain))
            with asked.to.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found[-1]) + "\n")
            print(f"seed {chain.seed}: {len(chain.kills)} kills", flush=True)
    print(tally(found))
    faulty = ("missing", "repeated", "differing", "strange")
    lost = sum(kill["lost"] for chain in found for kill in chain["kills"])
    return int(bool(lost) or any(chain[what] for chain in found for what in faulty))


if __name__ == "__main__":
    sys.exit(main())
