"""Less precision than float32: only where it is asked for, and every record says so, with its error."""

from dataclasses import replace

import pytest
import torch

from vaebench.config import load
from vaebench.config.registry import MODELS
from vaebench.config.seeding import generator
from vaebench.data.loaders import Batch
from vaebench.evaluation import bounds
from vaebench.evaluation.bfloat16 import bfloat16_decoder, bfloat16_error
from vaebench.models.base import Autoencoder
from vaebench.reporting.page.site import conditions
from vaebench.sweeps import run as runs
from vaebench.sweeps.run import Execution, execute_pack
from vaebench.training.trainer import is_tf32_allowed, tf32

K, N = 64, 16
STUDY = """
question: What does bfloat16 cost?
model: {name: VAE, latent_dim: 2}
data: {name: Digits, binarize: Fixed}
train: {epochs: 1, batch_size: 256}
evaluate: {draws: 10, metrics: [ELBO]}
"""
X = torch.bernoulli(torch.full((N, 1, 8, 8), 0.3), generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=[name for name in MODELS if MODELS[name].stochastic and not MODELS[name].linear])
def model(request: pytest.FixtureRequest) -> Autoencoder:
    return MODELS.build({"name": request.param, "latent_dim": 4}, (1, 8, 8), 0).eval().requires_grad_(False)


def log_weights(model: Autoencoder) -> torch.Tensor:
    return model.draws(Batch(X), K, generator(0, "bfloat16")).log_weight


def test_no_bound_is_farther_off_than_the_error_says(model):
    """A bound moves by at most what its log-weights move, here for the observations of the error."""
    exact, said = log_weights(model), bfloat16_error(model, [Batch(X)], K, 0)
    with bfloat16_decoder(model):
        rounded = log_weights(model)
        assert model.parameters_at(torch.zeros(1, 4)).dtype is torch.float32
    assert said.observations == N
    assert 1e-6 < said.iwae < said.nats < 1
    for k in (1, 8, K):
        assert float((bounds.iwae(rounded, k) - bounds.iwae(exact, k)).abs().mean()) <= said.nats + 1e-6


def test_after_the_block_the_decoder_has_its_bits_again(model):
    before = log_weights(model)
    with bfloat16_decoder(model):
        inside = log_weights(model)
    assert torch.equal(log_weights(model), before)
    assert not torch.equal(inside, before)


def test_a_record_says_it_and_is_compared_only_with_its_like(tmp_path):
    (tmp_path / "s.yaml").write_text(STUDY)
    (run,) = load(tmp_path / "s.yaml").runs
    how = Execution(wandb="disabled", bf16=True)
    (rounded,) = execute_pack([run], "s", [], [tmp_path / "a"], how, lambda *_: None)
    (exact,) = execute_pack([run], "s", [], [tmp_path / "b"], replace(how, bf16=False), lambda *_: None)
    assert (rounded.status, exact.status) == ("done", "done")
    assert rounded.comparability == {**exact.comparability, "decoder": "bfloat16"}
    error = rounded.provenance["bfloat16_error"]
    assert error["observations"] == N
    assert 0 < abs(rounded.estimates[0].value - exact.estimates[0].value) < 3 * error["nats"]
    assert "bfloat16_error" not in exact.provenance
    assert "IWAE moves by" in dict(conditions([rounded]))["bfloat16"]
    assert "bfloat16" not in dict(conditions([exact]))


def test_training_alone_may_use_tf32(tmp_path, monkeypatch):
    seen: list[bool] = []
    monkeypatch.setattr(runs, "fit", lambda *_: seen.append(is_tf32_allowed()) or [ValueError("enough")])
    (tmp_path / "s.yaml").write_text(STUDY)
    (run,) = load(tmp_path / "s.yaml").runs
    for asked in (True, False):
        how = Execution(wandb="disabled", tf32=asked)
        list(execute_pack([run], "s", [], [tmp_path / str(asked)], how, lambda *_: None))
    assert seen == [True, False]
    assert not is_tf32_allowed()


def test_without_a_gpu_products_keep_their_precision():
    with tf32(True):
        assert torch.get_float32_matmul_precision() == ("high" if torch.cuda.is_available() else "highest")
    assert torch.get_float32_matmul_precision() == "highest"
