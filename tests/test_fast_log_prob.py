"""log p(x|z) by the quick way and by the distribution are one number, for whatever is registered."""

import itertools

import pytest
import torch
from torch import Tensor

from vaebench.config.registry import LIKELIHOODS, MODELS, NETWORKS
from vaebench.data.loaders import Batch
from vaebench.models.draws import ChunkSize
from vaebench.models.parts.likelihoods import bernoulli_log_prob
from vaebench.models.vae import NOISE_AT_ONCE, VAE

SHAPE = (1, 8, 8)
PARTS = list(itertools.product(LIKELIHOODS, NETWORKS))


def model(likelihood: str, network: str) -> VAE:
    """Far from its initialisation: logits and residuals are of several units."""
    made = MODELS.build({"name": "VAE", "latent_dim": 3, "likelihood": likelihood, "network": network}, SHAPE, 0)
    stream = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=stream))
    return made.eval().requires_grad_(False)


def observations(count: int = 5) -> Tensor:
    return torch.bernoulli(torch.full((count, *SHAPE), 0.3), generator=torch.Generator().manual_seed(1))


def latents(*shape: int) -> Tensor:
    return 2 * torch.randn(*shape, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def both(made: VAE, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return made.log_likelihood(x, quick=True)(z), made.decode(z).log_prob(x)


@pytest.mark.parametrize(("likelihood", "network"), PARTS)
def test_it_is_the_distributions(likelihood, network):
    """To 1e-10 of a nat in float64."""
    made = model(likelihood, network).double()
    found, expected = both(made, observations().double(), latents(2, 30, 5))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("likelihood", "network"), PARTS)
def test_it_in_single_precision_are_those_in_double(likelihood, network):
    """To 1e-4 nats where they are of a hundred nats; beyond, in proportion, as the distribution's own numbers are."""
    made, x, z = model(likelihood, network), observations(), latents(50, 5)
    found, general = both(made, x, z.float())
    _, exact = both(made.double(), x.double(), z.float().double())
    off, allowed = (found - exact).abs(), 1e-6 * exact.abs().clamp(min=100)
    assert bool((off <= torch.maximum(allowed, 2 * (general - exact).abs())).all())


@pytest.mark.parametrize("rows", [7, NOISE_AT_ONCE.cpu, NOISE_AT_ONCE.accelerator])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_draws_have_the_densities_of_the_distributions(likelihood, rows, monkeypatch):
    """All three tables against the distributions at the draws themselves, however many are drawn at a time."""
    monkeypatch.setattr("vaebench.models.vae.NOISE_AT_ONCE", ChunkSize(rows, rows))
    made, x = model(likelihood, "MLP").double(), observations().double()
    drawn = made.draws(Batch(x), 30, torch.Generator().manual_seed(0), keep=30)
    torch.testing.assert_close(drawn.log_px, made.decode(drawn.z).log_prob(x), rtol=0, atol=1e-10)
    torch.testing.assert_close(drawn.log_qz, drawn.posterior.log_prob(drawn.z).sum(-1), rtol=0, atol=1e-8)
    torch.testing.assert_close(drawn.log_pz, made.prior(made.encode).log_prob(drawn.z), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [50.0, 88.0, 1e3, 1e30, 1e38, torch.inf])
def test_logits_beyond_all_products_are_taken_one_by_one(size, kind):
    """A product of 32 probabilities of e^−50 each is 0 in float32; nothing is lost, and what is no number stays so."""
    x = torch.tensor([[0.0], [1.0]], dtype=kind).expand(2, 3)
    logits = torch.full((1, 2, 3), size, dtype=kind)
    expected = torch.tensor([[-3 * size, 0.0]], dtype=kind)
    torch.testing.assert_close(bernoulli_log_prob(x)(logits.clone()), expected, rtol=1e-6, atol=1e-15)
    assert bool(bernoulli_log_prob(x)(logits * torch.nan).isnan().all())
    many = bernoulli_log_prob(x[:, :1].expand(2, 40))(logits[..., :1].expand(1, 2, 40).clone())
    torch.testing.assert_close(many, 40 / 3 * expected, rtol=1e-6, atol=1e-13)


@pytest.mark.parametrize(("kind", "most"), [(torch.float32, 3e-7), (torch.float64, 1e-15)])
@pytest.mark.parametrize("spread", [0.1, 1.0, 5.0, 20.0])
@pytest.mark.parametrize("pixels", [1, 31, 33, 64, 784])
def test_the_quick_bernoulli_rounds_as_little_as_the_distribution(pixels, spread, kind, most):
    """Against a sum in twice the precision of float32, or with 17 digits: relative to the number, or to 1 nat if it is
    smaller."""
    stream = torch.Generator().manual_seed(pixels)
    x = torch.bernoulli(torch.full((4, pixels), 0.5, dtype=kind), generator=stream)
    logits = spread * torch.randn(300, 4, pixels, generator=stream, dtype=kind)
    exact = torch.nn.functional.logsigmoid((logits * (2 * x - 1)).double()).sum(-1)
    off = (bernoulli_log_prob(x)(logits.clone()).double() - exact).abs() / exact.abs().clamp(min=1)
    assert float(off.max()) < most


def test_a_draw_whose_product_is_too_small_changes_no_other():
    """The other draws of a block keep their bits, whatever the block holds beside them."""
    x = observations(4)
    logits = 3 * torch.randn(6, 4, *SHAPE, generator=torch.Generator().manual_seed(1)).clamp(-2, 2)
    alone = bernoulli_log_prob(x)(logits.clone())
    for bad in (50.0, -1e4, torch.inf, torch.nan):
        logits[2, 1] = bad
        beside = bernoulli_log_prob(x)(logits.clone())
        mask = torch.ones(6, 4, dtype=torch.bool)
        mask[2, 1] = False
        assert torch.equal(beside[mask], alone[mask])


@pytest.mark.parametrize("latent_dim", [1, 3, 256])
@pytest.mark.parametrize(("hidden", "count"), [((64, 64), 10), ((5,) * 6, 7), ((300,), 1000)])
def test_how_many_draws_are_computed_together_does_not_show(latent_dim, hidden, count, monkeypatch):
    """In parts of three draws and all at once: the same noise, and the same densities to 2e-6 of them in float32 (the
    products of some matrix libraries round by the number of rows)."""
    network = {"name": "MLP", "hidden": list(hidden)}
    made = MODELS.build({"name": "VAE", "latent_dim": latent_dim, "network": network}, SHAPE, 0).eval()
    x, found = observations(count), {}
    monkeypatch.setattr("vaebench.models.vae.NOISE_AT_ONCE", ChunkSize(3 * count, 3 * count))
    for block in (1, 2**30):
        monkeypatch.setattr("vaebench.models.vae.DECODED_AT_ONCE", ChunkSize(block, block))
        found[block] = made.draws(Batch(x), 20, torch.Generator().manual_seed(0), keep=2)
    few, many = found.values()
    assert torch.equal(few.z, many.z)
    for name in ("log_px", "log_pz", "log_qz"):
        torch.testing.assert_close(getattr(many, name), getattr(few, name), rtol=2e-6, atol=1e-5)


@pytest.mark.parametrize("pixels", [1, 31, 32, 33, 64, 100])
def test_any_number_of_pixels(pixels):
    stream = torch.Generator().manual_seed(pixels)
    x = torch.bernoulli(torch.full((4, pixels), 0.5, dtype=torch.float64), generator=stream)
    logits = torch.randn(3, 4, pixels, generator=stream, dtype=torch.float64)
    likelihood = LIKELIHOODS.build("Bernoulli", (pixels,))
    torch.testing.assert_close(
        likelihood.fast_log_prob(x)(logits.clone()), likelihood(logits).log_prob(x), rtol=1e-12, atol=0
    )


def test_observations_outside_the_support_keep_their_number():
    likelihood, x = LIKELIHOODS.build("Bernoulli", (6,)), torch.full((2, 6), 0.3)
    logits = torch.randn(3, 2, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(likelihood.fast_log_prob(x)(logits.clone()), likelihood(logits).log_prob(x))


def test_one_variance_a_pixel():
    likelihood = LIKELIHOODS.build({"name": "LearnedGaussian", "per_pixel": True}, (6,)).double()
    with torch.no_grad():
        likelihood.log_variance.copy_(torch.linspace(-3, 2, 6))
    x, mean = torch.randn(2, 6, dtype=torch.float64), torch.randn(3, 2, 6, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(likelihood.fast_log_prob(x)(mean.clone()), likelihood(mean).log_prob(x))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_gradient_is_that_of_the_distribution(likelihood):
    """Samplers ask the same function for its slope."""
    made, x, z = model(likelihood, "MLP").double(), observations().double(), latents(3, 5).requires_grad_()
    (found,) = torch.autograd.grad(made.log_likelihood(x)(z).sum(), z)
    (expected,) = torch.autograd.grad(made.decode(z).log_prob(x).sum(), z)
    torch.testing.assert_close(found, expected)


def test_the_decoders_output_is_held_for_some_draws_at_a_time(monkeypatch):
    """However many draws: rows of one call are bounded by the pixels that they make."""
    made, rows = model("Bernoulli", "MLP"), []
    made.decoder.register_forward_hook(lambda _module, inputs, _output: rows.append(len(inputs[0])))
    monkeypatch.setattr("vaebench.models.vae.DECODED_AT_ONCE", ChunkSize(64 * 100, 64 * 100))
    both(made, observations(), latents(7, 1000, 5).float())
    assert max(rows[:-1]) <= 100
    assert sum(rows[:-1]) == 7 * 1000 * 5
