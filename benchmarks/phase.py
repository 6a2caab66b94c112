"""Is the number of active units over σ² × β the number that the data's spectrum predicts, for linear and deep models?

The prediction min(L, #{λ_i > βσ²/0.99}) has no free parameter (Lucas et al. 2019; Wang & Ziyin 2022). The claim: every
linear run of `conf/phase.yaml` has exactly this number. For deep runs the prediction is a reference, and the diagram
marks the runs that differ from it.

    python -m vaebench sweep conf/phase.yaml
    python benchmarks/phase.py            # or: python benchmarks/phase.py phase_mnist

reads runs/phase, or else results/phase, and writes results/benchmarks/phase.md. It trains nothing, and fails if a
linear run differs from the prediction.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vaebench.records.record import Record, read_all

ROOT = Path(__file__).parents[1]


class Point(NamedTuple):
    """One run of the diagram."""

    model: str
    variance: float
    beta: float
    seed: int
    forecast: int
    measured: int

    @property
    def differs(self) -> bool:
        """Whether the measured count is another than the forecast."""
        return self.measured != self.forecast

    def __str__(self) -> str:
        place = f"{self.model}, σ² = {self.variance:g}, β = {self.beta:g}, seed {self.seed}"
        return f"{place}: {self.measured} active units, {self.forecast} forecast"


def point(record: Record) -> Point:
    """The run of a record; its count is on the training split, whose spectrum gives the forecast."""
    if record.config["evaluate"]["split"] != "train":
        raise ValueError(f"{record.id}: expected evaluate.split: train, whose spectrum it is, got another")
    active = record.estimate("active_units")
    if active is None or isinstance(active.value, list) or "forecast_active_units" not in record.facts:
        raise ValueError(f"{record.id}: no active units or no forecast; ask for the metric ActiveUnits")
    model, seed = record.config["model"], record.config["seed"]
    variance = model["likelihood"]["variance"]
    return Point(model["name"], variance, model["beta"], seed, record.facts["forecast_active_units"], int(active.value))


def diagram(points: Sequence[Point], model: str) -> str:
    """Markdown: a row a σ², a column a β; the forecast, and the counts of the seeds where one of them differs."""
    own = [p for p in points if p.model == model]
    betas = sorted({p.beta for p in own})
    lines = [["σ² \\ β", *(f"{b:g}" for b in betas)], ["---"] * (len(betas) + 1)]
    for variance in sorted({p.variance for p in own}):
        cells = [[p for p in own if (p.variance, p.beta) == (variance, b)] for b in betas]
        lines.append([f"{variance:g}", *map(_cell, cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(runs: Sequence[Point]) -> str:
    if not any(p.differs for p in runs):
        return str(runs[0].forecast) if runs else ""
    measured = ", ".join(str(p.measured) for p in sorted(runs, key=lambda p: p.seed))
    return f"**{measured}** (forecast {runs[0].forecast})"


def page(study: str, points: Sequence[Point]) -> str:
    """Both diagrams, and how many runs differ."""
    text = (
        f"# Active units over σ² × β\n\n`python benchmarks/phase.py {study}` writes this from the records of {study}.\n"
    )
    text += "A cell is the forecast; in bold the counts of the seeds where one differs from it.\n"
    for model in sorted({p.model for p in points}, reverse=True):
        own = [p for p in points if p.model == model]
        differing = sum(p.differs for p in own)
        text += f"\n## {model}: {differing} of {len(own)} runs differ\n\n{diagram(points, model)}\n"
    return text


def main(study: str) -> int:
    """Print and write the diagram; the number of linear runs that differ."""
    records = next((found for room in ("runs", "results") if (found := read_all(ROOT / room / study))), [])
    points = [point(r) for r in records if r.status == "done"]
    if not points:
        raise FileNotFoundError(f"no run of {study} is done; run `python -m vaebench sweep conf/{study}.yaml`")
    text = page(study, points)
    print(text)
    result = ROOT / "results" / "benchmarks" / f"{study}.md"
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_text(text, encoding="utf-8")
    broken = [p for p in points if p.differs and p.model == "LinearVAE"]
    for p in broken:
        print(f"FAILED: {p}")
    return len(broken) + len(records) - len(points)


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).stem)))
