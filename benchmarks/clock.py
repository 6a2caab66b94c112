"""How the benchmarks measure: on a CPU the processor's time in one thread, on a GPU the clock's."""

from itertools import pairwise
from time import perf_counter, process_time

import torch

ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda", 0) if ON_GPU else torch.device("cpu")
NAME = torch.cuda.get_device_name() if ON_GPU else "one CPU thread"


def now() -> float:
    """Seconds: the processor's time; of a GPU, which the processor waits for, the clock's."""
    if ON_GPU:
        torch.cuda.synchronize()
        return perf_counter()
    return process_time()


def peak() -> float:
    """Operations a second of one large matrix product, the roofline of everything that is one."""
    n = 8192 if ON_GPU else 1536
    a = torch.randn(n, n, device=DEVICE)
    marks = [now()]
    for _ in range(4):
        a @ a
        marks.append(now())
    return 2 * n**3 / min(b - a for a, b in pairwise(marks))
