"""Weights & Biases: one W&B run for every attempt at a run, and one for a sweep. Here are the names of what they hold.

The record is the truth, and W&B is a view of it. `runs` writes the W&B runs, `dashboard` the workspace and the
report of a study. wandb is imported when the first run is tracked, not before.
"""

import os

PROJECT = "vaebench"

TRAIN, AGGREGATE = "train", "aggregate"  # job types: one attempt at a run, and the result of a whole sweep
EPOCH = "epoch"  # the axis of every curve, counted from one as in records

PAIRS, SAMPLES, TRAVERSALS, PLANE = "reconstructions", "samples", "traversals", "plane"
PICTURES = (PAIRS, SAMPLES, TRAVERSALS, PLANE)

EPOCH_PICTURES = (PAIRS, SAMPLES)  # what a model in training shows


def project() -> str:
    """The W&B project: as WANDB_PROJECT says, else `vaebench`."""
    return os.environ.get("WANDB_PROJECT") or PROJECT


VAL, FIGURE = "val", "figures"  # what the keys of pictures over epochs, and of figures in the sweep's run, begin with


def key(group: str, name: str) -> str:
    """The key of a number or of images. Its group is the split that was measured, or one of those above.

    >>> key("test", "elbo")
    'test/elbo'
    """
    return f"{group}/{name}"
