"""Weights & Biases: a W&B run for every attempt at a run, and one for a sweep. The record is the truth; this is a view.

Neither wandb nor Lightning is imported before a run is tracked.
"""

from vaebench.reporting.wandb.sweep import conclude_sweep
from vaebench.reporting.wandb.run import Mode, Tracker, tracked

__all__ = ["Mode", "Tracker", "conclude_sweep", "tracked"]
