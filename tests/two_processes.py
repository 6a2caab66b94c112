"""One of two processes that measure together: `python two_processes.py RANK PORT` prints what every metric says."""

import json
import sys

from test_metrics import N, drawn, part
from torch import distributed

from vaebench.config.registry import METRICS
from vaebench.records.record import NotApplicable

PARTS = (((0, 1), (1, 10), (10, 16)), ((16, N),))
"""The observations of each process: not as many, and not in as many batches."""


def main(rank: int, port: int) -> None:
    """Take in this process's part, and compute with the other's."""
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    said = {}
    for name in METRICS:
        metric = METRICS.build(name)
        for a, b in PARTS[rank]:
            metric.update(part(drawn(), slice(a, b)))
        said[name] = [(type(e) is NotApplicable, e) for e in metric.compute()]
    print(json.dumps(said))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
