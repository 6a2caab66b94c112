"""What else ran on the machine while a benchmark ran. It imports no torch, so that any benchmark can begin with it."""

import os
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from time import perf_counter

STAT = Path("/proc/stat")
"""Where Linux counts what the processors do."""

NOTICEABLE = 0.1
"""Cores. Less other work than this is what any machine has."""


class OtherWork:
    """Counts from its creation on. A number of a busy machine is then not taken for one of a quiet machine.

    On Linux it is the processor time of all processes, without this one and its finished children, over the time by the
    clock. Elsewhere only the load average is known.
    """

    def __init__(self) -> None:
        self.loads, self.start = [os.getloadavg()[0]], (_busy(), _own(), perf_counter())

    def cores(self) -> float | None:
        """How many cores other processes used on average; None where it is not known."""
        busy, own, clock = self.start
        now = _busy()
        if busy is None or now is None:
            return None
        return max(0.0, (now - busy) - (_own() - own)) / (perf_counter() - clock)

    def __str__(self) -> str:
        self.loads.append(os.getloadavg()[0])
        cores, load = self.cores(), f"load average {min(self.loads):.1f} to {max(self.loads):.1f}"
        if cores is None:
            return f"What else ran is not known ({load})."
        much = "; on a quiet machine seconds are fewer, and ratios may differ" if cores > NOTICEABLE else ""
        return f"Beside it, other work used {cores:.1f} of {os.cpu_count()} cores on average ({load}){much}."


def _busy() -> float | None:
    """Seconds for which the processors were not idle, all together."""
    if not STAT.exists():
        return None
    user, nice, system, _, _, *interrupts = map(int, STAT.read_text(encoding="utf-8").split("\n", 1)[0].split()[1:8])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    return sum(u.ru_utime + u.ru_stime for u in (getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN)))
