"""Laws of every registered model, and the identities between them."""

import lightning
import pytest
import torch

from vaebench.config.registry import DATASETS, MODELS
from vaebench.config.seeding import generator
from vaebench.data.datamodule import DataModule
from vaebench.data.loaders import Batch
from vaebench.evaluation import bounds
from vaebench.models.base import OLD_NAMES
from vaebench.models.epoch import Diverged
from vaebench.models.vae import VAE
from vaebench.training.step import training_step

SHAPE = (1, 8, 8)
SMALL = {"latent_dim": 3, "likelihood": {"name": "Gaussian", "variance": 0.05}}


VAES = {"FreeBitsVAE": {"free_bits": 0.0}, "MinimumRateVAE": {"rate": 0.0}}
"""With these values the objective is the ELBO."""


def build(name: str, seed: int = 0, **keywords):
    return MODELS.build({"name": name, **SMALL, **keywords}, SHAPE, seed)


def observations(n: int = 40) -> torch.Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(9))


def steps(model, x: torch.Tensor, n: int = 5) -> list[float]:
    """The losses of n steps of training, the noise from the model's own stream."""
    model.prepare(x)
    optimizer, stream, losses = model.configure_optimizers(), generator(model.seed, "noise of rank 0"), []
    for _ in range(n):
        objective = training_step(model, x, model.noise(len(x), stream), optimizer)
        losses.append(-objective.mean().item())
    return losses


@torch.no_grad()
def objectives(model, x: torch.Tensor, n: int = 4000) -> torch.Tensor:
    """The objective of each observation at n draws of its noise, `[n, B]`."""
    noise = model.noise(n * len(x), torch.Generator().manual_seed(0)).to(x.dtype)
    return model.objective(x.repeat(n, 1, 1, 1), noise).view(n, len(x))


def trainer(**keywords) -> lightning.Trainer:
    return lightning.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **keywords,
    )  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_objective_is_a_pure_function_of_its_arguments(name):
    model, x = build(name), observations()
    noise = model.noise(len(x), torch.Generator().manual_seed(1))
    torch.manual_seed(1)
    first = model.objective(x, noise)
    torch.manual_seed(2)
    assert torch.equal(first, model.objective(x, noise))
    assert first.shape == (len(x),)


@pytest.mark.parametrize("name", [m for m in MODELS if m != "FreeBitsVAE"])  # whose free bits are of a batch
def test_objective_of_an_observation_does_not_depend_on_its_batch(name):
    model, x = build(name), observations()
    noise = model.noise(len(x), torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        model.objective(x, noise)[3:5], model.objective(x[3:5], noise[3:5]), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("name", MODELS)
def test_a_seed_fixes_a_model_whatever_the_global_generator(name):
    torch.manual_seed(5)
    first = build(name, seed=3).state_dict()
    torch.manual_seed(6)
    before = torch.get_rng_state()
    second, other = build(name, seed=3).state_dict(), build(name, seed=4).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert any(not torch.equal(first[k], other[k]) for k in first)


@pytest.mark.parametrize("name", [m for m in MODELS if MODELS[m].trained_by_gradient])
def test_training_improves_the_objective(name):
    losses = steps(build(name, learning_rate=1e-2), observations(), 60)
    assert losses[-1] < losses[0] - 1


@pytest.mark.parametrize("name", MODELS)
def test_fits_in_a_bare_trainer_and_loads_back(name, tmp_path):
    """Ordinary Lightning use: fit, checkpoint, load; the loaded model reconstructs alike and weights alone are read."""
    data = DataModule(DATASETS.build("Digits"), batch_size=256)
    data.setup("fit")
    model = MODELS.build({"name": name, **SMALL}, data.shape, 1)
    fit = trainer()
    fit.fit(model, datamodule=data)
    assert {"train/objective", "val/objective"} <= set(fit.callback_metrics)
    fit.save_checkpoint(tmp_path / "model.ckpt", weights_only=False)
    loaded = MODELS[name].load_from_checkpoint(tmp_path / "model.ckpt", map_location="cpu", weights_only=True)
    x = data.test.x[:5]
    assert torch.equal(model(x), loaded(x))


@pytest.mark.parametrize("name", MODELS)
def test_draws_have_the_shapes_they_declare(name):
    model, x = build(name), observations(7)
    drawn = model.draws(Batch(x), 12, torch.Generator().manual_seed(0), keep=4)
    weighted = 12 if model.stochastic else 0
    assert drawn.log_weight.shape == (weighted, 7) if weighted else drawn.log_pz.shape == (0, 7)
    assert drawn.posterior.mean.shape == (7, 3)
    assert drawn.reconstruction.shape == x.shape
    assert drawn.z.shape == ((4 if model.stochastic else 1), 7, 3)


@pytest.mark.parametrize("name", [m for m in MODELS if MODELS[m].stochastic])
def test_objective_and_log_weights_tell_the_same_bound(name):
    """With β = 1 the mean objective over 4000 noises and the bound from 4000 groups of log-weights (of k draws in an
    IWAE, else of one) agree within 4 standard errors of their difference, for each of 8 observations: a false alarm
    once in 2000 (the seeds are fixed)."""
    model, x = build(name, **VAES.get(name, {})).double(), observations(8).double()
    model.beta.fill_(1.0)
    objective, k = objectives(model, x), getattr(model, "k", 1)
    weights = model.draws(Batch(x), 4000 * k, torch.Generator().manual_seed(1)).log_weight
    groups = bounds.iwae_groups(weights, k)
    error = (objective.var(0) / 4000 + groups.var(0) / 4000).sqrt()
    assert ((objective.mean(0) - groups.mean(0)).abs() < 4 * error + 1e-9).all()  # an exact posterior has no error


@pytest.mark.parametrize("name", [m for m in MODELS if MODELS[m].stochastic])
def test_more_draws_only_tighten(name):
    """ELBO ≤ IWAE-k ≤ IWAE-K, from the same draws, for every observation."""
    drawn = build(name).draws(Batch(observations(20)), 60, torch.Generator().manual_seed(0))
    nested = torch.stack([bounds.iwae(drawn.log_weight, k) for k in (1, 3, 12, 60)])
    assert (nested.diff(dim=0) >= -1e-9).all()


def test_chunks_of_draws_do_not_show():
    """Drawing in one piece or in many gives the same log-weights."""
    model, x = build("VAE"), observations(16)
    whole = model.draws(Batch(x), 64, torch.Generator().manual_seed(0))
    pieces = model.draws(Batch(x), 64 * 5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(pieces.log_weight[:64], whole.log_weight)


def test_beta_vae_at_one_is_the_vae():
    assert steps(build("BetaVAE", beta=1.0), observations()) == steps(build("VAE"), observations())


@pytest.mark.parametrize("corruption", ["GaussianNoise", "Masking", "SaltAndPepper"])
def test_denoising_without_corruption_is_the_autoencoder(corruption):
    strength = "std" if corruption == "GaussianNoise" else "fraction"
    denoising = build("DenoisingAE", corruption={"name": corruption, strength: 0.0})
    assert steps(denoising, observations()) == steps(build("AE"), observations())


def test_a_linear_vae_of_sampled_objective_agrees_with_the_analytic_one():
    """Mean over 4000 noises of the sampled objective against the closed form, within 4 standard errors an observation
    (8 of them, fixed seeds): a false alarm once in 2000."""
    x = observations(8).double()
    analytic, sampled = build("LinearVAE").double(), build("LinearVAE", analytic=False).double()
    draws = objectives(sampled, x)
    exact = analytic.objective(x, torch.zeros(8, 3))
    assert ((draws.mean(0) - exact).abs() < 4 * (draws.var(0) / 4000).sqrt()).all()


def test_a_linear_vae_refuses_other_likelihoods():
    with pytest.raises(ValueError, match="LinearVAE expects a Gaussian likelihood, got Bernoulli"):
        build("LinearVAE", likelihood="Bernoulli")


def test_the_schedule_reaches_the_objective():
    """Halfway through a warm-up that takes the whole training, the rate weighs β/2."""
    model, x = build("BetaVAE", beta=6.0, schedule={"name": "LinearWarmup", "share": 1.0}), observations()
    noise = model.noise(len(x), torch.Generator().manual_seed(0))
    model.progress.fill_(0.5)
    halfway = model.objective(x, noise)
    torch.testing.assert_close(halfway, build("BetaVAE", beta=3.0).objective(x, noise))


@pytest.mark.parametrize("name", OLD_NAMES)
def test_a_model_with_an_old_name_says_the_new_one(name: str) -> None:
    """Where it stood it would no longer be read, and the model would be trained or measured in another way."""
    with pytest.raises(TypeError, match=f"Mine: rename {name} to {OLD_NAMES[name]}"):
        type("Mine", (VAE,), {name: None})
    assert all(hasattr(VAE, new) for new in OLD_NAMES.values())


def test_divergence_is_one_clear_error():
    data = DataModule(DATASETS.build("Digits"), batch_size=256)
    data.setup("fit")
    model = MODELS.build({"name": "VAE", **SMALL, "learning_rate": 1e18}, data.shape, 1)
    with pytest.raises(Diverged, match=r"objective became (nan|-?inf) in epoch 1; lower model.learning_rate"):
        trainer().fit(model, datamodule=data)


@pytest.mark.parametrize("name", MODELS)
def test_the_curve_of_training_is_that_of_training(name):
    """At a learning rate of nothing the model stands still: its mean objective over 1258 training images at noises of
    its own, within 5 standard errors of that over the same images at others (a false alarm once in a million)."""
    data = DataModule(DATASETS.build("Digits"), batch_size=256)
    data.setup("fit")
    model = build(name, learning_rate=1e-30)
    fitting = trainer()
    fitting.fit(model, datamodule=data)
    with torch.no_grad():
        values = model.objective(data.train.x, model.noise(len(data.train.x), generator(7, "noise"))).double()
    assert len(values) % 256, "a mean of batch means would be another number"
    difference = float(fitting.callback_metrics["train/objective"]) - float(values.mean())
    assert abs(difference) < 5 * float(values.std()) * (2 / len(values)) ** 0.5
    seen = {k: float(v) for k, v in fitting.callback_metrics.items()}
    assert seen["train/objective"] != seen["val/objective"]


def test_the_optimal_variance_is_the_trained_models_squared_error():
    """σ² of the evaluation is the mean squared error a pixel over the training split, at one draw of the posterior:
    against 20 other draws of all 1258 images, within 2 % (they scatter by 0.1 %)."""
    data = DataModule(DATASETS.build("Digits"), batch_size=256)
    data.setup("fit")
    model = build("VAE", likelihood="OptimalGaussian", learning_rate=3e-3)
    trainer().fit(model, datamodule=data)
    x = data.train.x
    with torch.no_grad():
        z = model.encode(x).sample((20,))
        error = float((x - model.decode(z).mean).square().mean())
    assert float(model.likelihood.sigma2()) == pytest.approx(error, rel=0.02)


def test_grey_pixels_are_refused_before_the_first_step():
    data = DataModule(DATASETS.build("Digits"), batch_size=256)
    data.setup("fit")
    with pytest.raises(ValueError, match="Bernoulli likelihood expects x in"):
        trainer().fit(MODELS.build({"name": "VAE", "likelihood": "Bernoulli"}, data.shape, 1), datamodule=data)


def test_beta_in_three_currencies():
    facts = build("BetaVAE", beta=4.0, likelihood={"name": "Gaussian", "variance": 0.25}).facts()
    assert (facts["beta"], facts["beta_normalised"], facts["beta_effective"]) == (4.0, 4.0 * 3 / 64, 1.0)
    assert "beta_effective" not in build("BetaVAE", likelihood="LearnedGaussian").facts()


@pytest.mark.parametrize("likelihood", ["Bernoulli", "Gaussian", "LearnedGaussian", "OptimalGaussian"])
@pytest.mark.parametrize("name", ["AE", "BetaVAE"])
def test_a_model_states_every_fact_or_why_not(name: str, likelihood: str) -> None:
    model = build(name, likelihood=likelihood)
    facts, reasons = model.facts(), model.facts_not_applicable()
    assert not facts.keys() & reasons.keys()
    assert facts.keys() | reasons.keys() >= {*build("BetaVAE", likelihood="Gaussian").fact_descriptions}
    learned = name == "BetaVAE" and likelihood in ("LearnedGaussian", "OptimalGaussian")
    assert ("learns σ²" in reasons.get("beta_effective", "")) == learned


@pytest.mark.parametrize("network", ["Affine", "MLP"])
def test_without_a_mean_start_the_output_bias_stays_as_the_network_made_it(network: str) -> None:
    x = torch.rand(20, 1, 4, 4).round()
    spec = {"name": "VAE", "network": network, "latent_dim": 2}
    started, plain = (MODELS.build({**spec, "mean_start": mean}, (1, 4, 4), 3) for mean in (True, False))
    assert torch.equal(started.decoder.output_bias, plain.decoder.output_bias)
    before = plain.decoder.output_bias.clone()
    for model in (started, plain):
        model.prepare(x)
    assert torch.equal(plain.decoder.output_bias, before)
    assert not torch.equal(started.decoder.output_bias, before)
    with pytest.raises(ValueError, match=r"0 and 1|binari"):
        plain.prepare(x + 0.5)
