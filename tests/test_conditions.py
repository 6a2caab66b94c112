"""What conftest.py and pyproject.toml promise of every test holds."""

import os
import warnings

import jaxtyping
import pytest
import torch

from vaebench.config.registry import MODELS
from vaebench.evaluation import bounds


def test_shapes_are_checked() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        bounds.elbo(torch.zeros(3))


def test_warnings_are_errors() -> None:
    with pytest.raises(UserWarning, match="a word"):
        warnings.warn("a word", stacklevel=1)


def test_one_thread() -> None:
    assert torch.get_num_threads() == 1


def test_nothing_leaves_the_machine() -> None:
    assert os.environ["WANDB_MODE"] == "offline"


def test_checks_do_not_come_between_a_model_and_its_hyperparameters() -> None:
    assert {"latent_dim", "prior", "beta"} <= set(MODELS.build({"name": "BetaVAE", "beta": 2.0}, (4,), 0).hparams)
