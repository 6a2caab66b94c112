"""Weights & Biases: one W&B run for every attempt at a run, and one for a sweep.

The record is the truth, and W&B is a view of it. wandb is imported when the first run is tracked, not before.
"""

from vaebench.reporting.wandb.runs import Mode, Tracker, conclude_sweep, tracked

__all__ = ["Mode", "Tracker", "conclude_sweep", "tracked"]
