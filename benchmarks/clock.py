"""How the benchmarks measure time: processor time of one thread on a CPU, elapsed time on a GPU."""

from itertools import pairwise
from time import perf_counter, process_time

import torch

ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda", 0) if ON_GPU else torch.device("cpu")
NAME = torch.cuda.get_device_name() if ON_GPU else "one CPU thread"


def now() -> float:
    """Seconds: processor time on a CPU, elapsed time on a GPU after its work is done."""
    if ON_GPU:
        torch.cuda.synchronize()
        return perf_counter()
    return process_time()


def peak() -> float:
    """Operations per second of one large matrix product: the most that any product can reach."""
    n = 8192 if ON_GPU else 1536
    a = torch.randn(n, n, device=DEVICE)
    marks = [now()]
    for _ in range(4):
        a @ a
        marks.append(now())
    return 2 * n**3 / min(b - a for a, b in pairwise(marks))
