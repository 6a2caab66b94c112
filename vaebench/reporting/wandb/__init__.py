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


def key(split: str, name: str) -> str:
    """The key of a number or of images, which begins with the split that was measured.

    >>> key("test", "elbo")
    'test/elbo'
    """
    return f"{split}/{name}"


def epoch_key(name: str) -> str:
    """The key of pictures over epochs.

    >>> epoch_key("samples")
    'val/samples'
    """
    return key("val", name)


def figure_key(name: str) -> str:
    """The key of a figure in the sweep's own run.

    >>> figure_key("units")
    'figures/units'
    """
    return f"figures/{name}"
