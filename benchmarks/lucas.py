"""Does a linear VAE reach the maximum likelihood of probabilistic PCA, and never exceed it (Lucas et al. 2019)?

1000 MNIST images, 200 units, learned σ², full batch, the ELBO in closed form. An epoch of `conf/lucas.yaml` is one
step, and `train/objective` is the ELBO. The claims: no ELBO of the curve exceeds the maximum 942.0465, up to float32
rounding. The last ELBO is within 0.2 nats of it. It exceeds 941.654, which the paper's notebook prints as the maximum
because it uses a covariance divided by N − 1. WᵀW is diagonal up to a share of 0.02.

    python -m vaebench sweep conf/lucas.yaml
    python benchmarks/lucas.py

reads runs/lucas, or else results/lucas. It trains nothing, and fails if a claim is false.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from vaebench.records.record import Record, read_all

ROOT = Path(__file__).parents[1]
STUDY = Path(__file__).stem
MAXIMUM = 942.04657
"""`oracle.maximum_likelihood` of these images; tests/test_datasets.py computes it."""
PRINTED = 941.65433
"""The same with N − 1."""
ROUNDING = 1e-3
"""Nats by which float32 may move an ELBO of a thousand nats: log σ² alone is rounded by 2e-7, 392 times."""
CLOSE = 0.2
OFF_DIAGONAL = 0.02


class Claim(NamedTuple):
    """A number, and the interval that it has to lie in."""

    text: str
    value: float
    lowest: float
    highest: float

    @property
    def holds(self) -> bool:
        """Whether it does; NaN does not."""
        return self.lowest <= self.value <= self.highest

    def __str__(self) -> str:
        return f"{'holds ' if self.holds else 'FAILED'}  {self.text}: {self.value:.5g}, {self._allowed}"

    @property
    def _allowed(self) -> str:
        return f"claimed at least {self.lowest:g} and at most {self.highest:g}"


def claims(record: Record) -> Iterator[Claim]:
    """What a run is held to; the last ELBO is the exact one in float64 at the parameters that training left."""
    curve = [e for e in record.curve["train/objective"] if e is not None]
    last = MAXIMUM - number(record, "below_optimum")
    yield Claim("highest ELBO of the curve over the maximum, nats", max(curve) - MAXIMUM, float("-inf"), ROUNDING)
    yield Claim("last ELBO below the maximum, nats", MAXIMUM - last, 0.0, CLOSE)
    yield Claim("last ELBO over the maximum by N − 1, nats", last - PRINTED, 0.0, MAXIMUM - PRINTED)
    yield Claim("off-diagonal share of WᵀW", number(record, "off_diagonal_share"), 0.0, OFF_DIAGONAL)


def number(record: Record, name: str) -> float:
    """A scalar of the record."""
    estimate = record.estimate(name)
    if estimate is None or isinstance(estimate.value, list):
        raise ValueError(f"{record.id}: no {name}; repeat the run with this version")
    return estimate.value


def main() -> int:
    """Print every claim; the number of broken ones."""
    records = next((found for room in ("runs", "results") if (found := read_all(ROOT / room / STUDY))), [])
    done = [r for r in records if r.status == "done"]
    if not done:
        raise FileNotFoundError(f"no run of {STUDY} is done; run `python -m vaebench sweep conf/{STUDY}.yaml`")
    broken = 0
    for record in done:
        print(f"{record.id}: {len(record.curve['epoch'])} steps, ends as {record.facts['stationary_verdict']}")
        for claim in claims(record):
            print(f"  {claim}")
            broken += not claim.holds
    return broken


if __name__ == "__main__":
    sys.exit(bool(main()))
