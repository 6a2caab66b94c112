"""The conditions of every test: shapes are checked, one thread a process, nothing leaves the machine."""

import os

# Before torch is imported: two processes of several threads each would wait for one another on a small machine.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ["MPLBACKEND"] = "Agg"

import hypothesis
import jaxtyping

# Before any module of the package: annotations such as Float[Tensor, "K B"] become checks, under pytest only.
jaxtyping.install_import_hook("vaebench", "beartype.beartype")

import vaebench  # noqa: E402, F401 (installs the hook that lets torchvision be imported)

# Always the same examples: a run of the tests says something about the code and nothing about luck. No deadline, since
# a shared machine has slow moments.
hypothesis.settings.register_profile(
    "vaebench",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=50,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("vaebench")
