"""Lightning's Trainer without all that a test does not read."""

from typing import Any

import lightning


def trainer(epochs: int, *callbacks: lightning.Callback, **keywords: Any) -> lightning.Trainer:
    """A Trainer on the CPU that logs, saves, checks and prints nothing, unless `keywords` say otherwise."""
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", callbacks=list(callbacks), enable_model_summary=False,
        num_sanity_val_steps=0, log_every_n_steps=1, **quiet | keywords,
    )  # fmt: skip
