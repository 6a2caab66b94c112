"""What does the decomposition of the rate over N² pairs cost, and is its memory bounded?

The aggregate posterior of N observations is a mixture of N Gaussians. So its densities at N draws have N² terms, and
the densities of its L marginals have N²L. The claim: no array of that size is ever in memory. Each measurement is a new
process with one thread. Its memory is the highest resident size during `compute` minus the size before (Linux keeps
both). Its time is processor time, in units of one product of an N × L and an L × N matrix, measured in the same process
in float64 and in chunks: N² pairs of L units cannot cost less. The table has medians of three rounds, in turns.

    python benchmarks/decomposition.py

writes results/benchmarks/decomposition.md. It fails if the memory is above 24 arrays of N × L numbers plus 32 MiB.
"""

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time
from typing import NamedTuple

from beside import OtherWork

RESULT = Path(__file__).parents[1] / "results" / "benchmarks" / Path(__file__).with_suffix(".md").name
METRICS = ("RateDecomposition", "TotalCorrelation")
SIZES = ((2500, 64), (5000, 64), (10_000, 64), (10_000, 8))
ROUNDS = 3
MIB = 2**20


class Measured(NamedTuple):
    """One metric in one process."""

    metric: str
    n: int
    units: int
    ratio: float
    """Time of `compute` over that of the matrix product."""

    memory: float
    """Bytes beyond the states."""

    @property
    def allowed(self) -> float:
        """What is claimed, in bytes."""
        return 24 * 8 * self.n * self.units + 32 * MIB


def main() -> int:
    """Measure, print and write the table; the number of broken claims."""
    beside = OtherWork()
    runs = [measured(m, n, units) for _ in range(ROUNDS) for n, units in SIZES for m in METRICS]
    cases = dict.fromkeys((r.metric, r.n, r.units) for r in runs)
    rows = [merged([r for r in runs if (r.metric, r.n, r.units) == case]) for case in cases]
    text = table(rows, str(beside))
    print(text)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(text, encoding="utf-8")
    broken = [row for row in rows if row.memory > row.allowed]
    for row in broken:
        print(f"FAILED: {row.metric} at N = {row.n}, L = {row.units}: {row.memory / MIB:.0f} MiB, claimed "
              f"at most {row.allowed / MIB:.0f}")  # fmt: skip
    return len(broken)


def measured(metric: str, n: int, units: int) -> Measured:
    """The numbers of a fresh process."""
    command = [sys.executable, __file__, metric, str(n), str(units)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    return Measured(metric, n, units, **json.loads(done.stdout))


def merged(runs: list[Measured]) -> Measured:
    """Median time, largest memory."""
    return runs[0]._replace(ratio=median(r.ratio for r in runs), memory=max(r.memory for r in runs))


def table(rows: list[Measured], beside: str) -> str:
    """Markdown."""
    head = ("metric", "N", "L", "matrix products", "MiB", "claimed", "[N, N] would be", "[N, N, L] would be")
    lines = [head, tuple("---" for _ in head)]
    for r in rows:
        pairs = 8 * r.n**2 / MIB
        sizes = (r.memory / MIB, r.allowed / MIB, pairs, pairs * r.units)
        lines.append((r.metric, str(r.n), str(r.units), f"{r.ratio:.2g}", *(f"{size:.0f}" for size in sizes)))
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        "# The decomposition of the rate over N² pairs\n\n"
        "Time in products of an N × L by an L × N matrix, memory in MiB beyond what was taken in; one CPU thread, "
        "float64.\n`python benchmarks/decomposition.py` writes this and fails if a claim does.\n"
        + beside
        + "\n\n"
        + body
        + "\n"
    )


def child(name: str, n: int, units: int) -> None:
    """Measure in this process, and print the numbers as JSON."""
    import torch
    from torch.distributions import Independent, Normal

    from vaebench.config.registry import METRICS as REGISTRY
    from vaebench.evaluation.metrics.aggregate_posterior import DENSITIES
    from vaebench.models.draws import Draws

    def draws(n: int) -> Draws:
        """Half of the units collapsed, half of them sharp, as in a trained model; float32."""
        stream = torch.Generator().manual_seed(0)
        std = torch.where(torch.arange(units) % 2 == 0, 0.1, 0.99).expand(n, units)
        mean = (1 - std.square()).sqrt() * torch.randn(n, units, generator=stream)
        z = (mean + std * torch.randn(n, units, generator=stream))[None]
        log_pz, log_qz = (
            Independent(q, 1).log_prob(z) for q in (Normal(torch.zeros(n, units), 1.0), Normal(mean, std))
        )
        return Draws(mean, None, Normal(mean, std), mean, z, log_pz, log_pz, log_qz)

    def computing(n: int) -> Callable[[], object]:
        metric = REGISTRY.build(name)
        metric.update(draws(n))
        return metric.compute

    def seconds(work: Callable[[], object]) -> float:
        start = process_time()
        work()
        return process_time() - start

    def product() -> None:
        for block in table.split(len(buffer)):
            torch.mm(block, table.mT, out=buffer[: len(block)])

    computing(100)()  # what libraries keep for themselves after their first use
    compute = computing(n)
    before = forget_peak()
    spent = seconds(compute)
    memory = resident("VmHWM") - before
    table, buffer = torch.randn(n, units, dtype=torch.float64), torch.empty(DENSITIES.cpu // n, n, dtype=torch.float64)
    print(json.dumps({"ratio": spent / min(seconds(product) for _ in range(3)), "memory": memory}))


def resident(field: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))


def forget_peak() -> int:
    """The resident size now, free memory given back, from which the highest is counted from here on."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return resident("VmRSS")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    else:
        sys.exit(bool(main()))
