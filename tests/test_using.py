"""What one does with a model: samples have its density, codes and scores have their closed forms, and any loader."""

import io
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import vaebench as command
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import vaebench
from vaebench.config import load as load_study
from vaebench.config.registry import ESTIMATORS, MODELS
from vaebench.evaluation.scoring import score
from vaebench.models.base import CLASS, Autoencoder
from vaebench.models.linear_vae import LinearVAE
from vaebench.models.parts.posteriors import unit_stddev
from vaebench.records.files import CHECKPOINT, RECORD, WEIGHTS
from vaebench.sweeps import export as exports
from vaebench.sweeps.run import Execution
from vaebench.sweeps.sweep import sweep
from vaebench.sweeps.trained import Trained, find
from vaebench.training.checkpoints import save_checkpoint

ROOT = Path(__file__).parents[1]


def linear(exact: bool = False) -> LinearVAE:
    """A linear VAE with some parameters; with `exact`, its q(z|x) is the posterior p(z|x)."""
    model = LinearVAE((6,), latent_dim=2, likelihood={"name": "Gaussian", "variance": 0.5})
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.7 * torch.randn(parameter.shape, generator=generator))
        if exact:
            weight = torch.linalg.qr(torch.randn(6, 2, generator=generator))[0] * torch.tensor([2.0, 0.7])
            precision = 1 + weight.square().sum(0) / 0.5  # diagonal, since the columns are orthogonal
            model.decoder[0].weight.copy_(weight)
            model.encoder[1].weight.copy_((weight / 0.5 / precision).T)
            model.encoder[1].bias.copy_(-(weight / 0.5 / precision).T @ model.decoder[0].bias)
            model.log_variance.copy_(-precision.log())
    return model.eval()


def test_samples_of_a_linear_vae_have_the_covariance_of_probabilistic_pca() -> None:
    """Each entry of mean and covariance within 5.5 standard errors: a false alarm once in 10^6."""
    model, n = linear(), 40_000
    x = model.sample(n, seed=3).double()
    weight = model.weight.detach().double()
    covariance, mean = weight @ weight.T + 0.5 * torch.eye(6), model.decoder[0].bias.detach().double()
    variance = covariance.diagonal()
    spread = ((variance[:, None] * variance + covariance.square()) / n).sqrt()
    assert ((x.T.cov() - covariance) / spread).abs().max() < 5.5
    assert ((x.mean(0) - mean) / (variance / n).sqrt()).abs().max() < 5.5


PRIORS = ("StandardNormal", {"name": "GaussianMixture", "spread": 4.0}, {"name": "VampPrior", "pseudo_inputs": 4})


@pytest.mark.parametrize("prior", PRIORS, ids=str)
def test_samples_have_the_density_of_the_prior(prior: object) -> None:
    """A test of Kolmogorov and Smirnov with a decoder that changes nothing: a false alarm once in 10^6."""
    spec = {"name": "VAE", "latent_dim": 1, "network": "Affine", "prior": prior}
    model = MODELS.build({**spec, "likelihood": {"name": "Gaussian", "variance": 1e-12}}, (1,), 0)
    generator, n = torch.Generator().manual_seed(2), 20_000
    with torch.no_grad():
        model.decoder[0].weight.fill_(1.0)
        model.decoder[0].bias.fill_(0.0)
        for name, parameter in model.prior.named_parameters():
            if "log_std" not in name:
                parameter.copy_(3 * torch.randn(parameter.shape, generator=generator))
    x = model.sample(n, seed=1).double().flatten().sort().values
    grid = torch.linspace(-60, 60, 2_000_001, dtype=torch.float64)
    density = torch.cat([model.prior_distribution().log_prob(part[:, None].float()) for part in grid.split(100_000)])
    cumulative = torch.cumulative_trapezoid(density.detach().double().exp(), grid)
    assert cumulative[-1] == pytest.approx(1, abs=1e-4)
    at = cumulative[((x - grid[0]) / (grid[1] - grid[0])).long().clamp(max=len(cumulative) - 1)]
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    distance = torch.maximum((at - steps[:-1]).abs().max(), (at - steps[1:]).abs().max())
    assert distance < math.sqrt(math.log(2 / 1e-6) / (2 * n))


def test_the_mean_of_samples_and_their_seeds() -> None:
    model = linear()
    assert torch.equal(model.sample(5, seed=4), model.sample(5, seed=4))
    assert not torch.equal(model.sample(5, seed=4), model.sample(5, seed=5))
    before = torch.random.get_rng_state()
    model.sample(5)
    assert torch.equal(torch.random.get_rng_state(), before)
    z = model.sample(2000, mean=True) - model.decoder[0].bias
    assert torch.linalg.matrix_rank(z, rtol=1e-4) == 2, "the mean of x has no noise, so it lies in the span of W"


def test_encoding_is_the_posterior_of_the_oracle() -> None:
    model = linear(exact=True)
    x = model.sample(50)
    oracle, q = model.density.posterior, model.encode(x)
    torch.testing.assert_close(q.mean.double(), oracle.mean(x.double()), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(q.stddev[0].double().square().diag(), oracle.covariance, rtol=1e-5, atol=1e-6)


def test_scores_are_the_closed_form() -> None:
    """With the exact posterior every weight is p(x). With another one the scores agree within their errors."""
    model = linear(exact=True)
    x = model.sample(40)
    exact = score(model, x, draws=7)
    torch.testing.assert_close(exact.log_px, model.density.log_prob(x.double()), rtol=1e-5, atol=1e-4)
    assert (exact.error < 1e-4).all()
    assert not exact.unreliable.any()
    with torch.no_grad():
        model.log_variance.add_(0.5)
    near = score(model, x, draws=4000)
    z = (near.log_px - model.density.log_prob(x.double())) / near.error
    assert z.abs().max() < 5.5, "a false alarm once in 10^6"
    assert near.mean.n == 40
    annealing = ESTIMATORS.build({"name": "AnnealedImportanceSampling", "temperatures": 200, "chains": 20})
    annealed = score(model, x[:10], annealing=annealing)
    z = (annealed.log_px - model.density.log_prob(x[:10].double())) / annealed.error
    assert z.abs().max() < 6, "twenty chains estimate their own error: Student's t"


def test_collapsed_weights_are_said_for_each_observation() -> None:
    model = linear(exact=True)
    x = model.sample(20)
    with torch.no_grad():
        model.encoder[1].bias.add_(8.0)
        model.log_variance.sub_(3.0)
    found = score(model, x, draws=1000)
    assert found.unreliable.all()
    assert found.mean.unreliable
    assert (found.log_px < model.density.log_prob(x.double())).all()


def test_interpolation_has_its_ends_and_a_straight_line_of_codes() -> None:
    model = linear()
    x = model.sample(4)
    line = model.interpolate(x[:2], x[2:], steps=5)
    torch.testing.assert_close(line[0], model.reconstruct(x[:2]))
    torch.testing.assert_close(line[-1], model.reconstruct(x[2:]))
    torch.testing.assert_close(line.diff(dim=0)[0], line.diff(dim=0)[3], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="at least 2 steps"):
        model.interpolate(x[:2], x[2:], steps=1)


# -- every model, any loader ------------------------------------------------------------------------------------------


def binary(n: int = 70) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(n, 1, 4, 4, generator=generator) > 0.5).float(), torch.arange(n) % 3


def takes_binary(name: str) -> bool:
    try:
        MODELS.build({"name": name, "latent_dim": 2, "likelihood": "Bernoulli"}, (1, 4, 4), 0)
    except ValueError:
        return False
    return True


def trainer():
    import lightning

    return lightning.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu", log_every_n_steps=1,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*val_dataloader")
@pytest.mark.parametrize("name", MODELS)
def test_every_model_trains_tests_and_predicts_from_a_plain_loader(name: str) -> None:
    x, label = binary()
    refitted = name in ("AE", "LinearVAE")
    likelihood = "OptimalGaussian" if refitted else "Bernoulli" if takes_binary(name) else "Gaussian"
    for loader in (DataLoader(TensorDataset(x, label), 32), DataLoader(x, 32)):
        model = MODELS.build({"name": name, "latent_dim": 2, "likelihood": likelihood}, (1, 4, 4), 0)
        training = trainer()
        training.fit(model, loader, loader)
        (logged,) = training.test(model, loader, verbose=False)
        assert math.isfinite(logged["test/objective"])
        assert ("test/elbo" in logged) == model.stochastic
        predicted = training.predict(model, loader)
        assert torch.cat([p["mean"] for p in predicted]).shape == (70, 2)
        torch.testing.assert_close(torch.cat([p["reconstruction"] for p in predicted]), model.eval().reconstruct(x))
        if model.likelihood.refits:
            assert float(model.likelihood.variance) < 1, "its variance is that of the training data"
    if model.stochastic:
        assert model.sample(3).shape == (3, 1, 4, 4)
        assert score(model, x[:5], draws=4).log_px.isfinite().all()
    else:
        with pytest.raises(ValueError, match=rf"{name} has no prior"):
            model.sample(3)
        with pytest.raises(ValueError, match="no log p"):
            score(model, x)
    assert model.interpolate(x[:2], x[2:4], 3).shape == (3, 2, 1, 4, 4)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*val_dataloader")
def test_a_plain_loader_prepares_a_model_as_the_data_module_does() -> None:
    x, _ = binary()
    model = MODELS.build({"name": "VAE", "latent_dim": 2, "prior": "VampPrior", "learning_rate": 1e-9}, (1, 4, 4), 0)
    training = trainer()
    training.fit(model, DataLoader(x, 32))
    for pseudo_input in model.prior.pseudo_inputs.detach():
        assert ((x - pseudo_input).abs().amax((1, 2, 3)) < 1e-5).any(), "pseudo-inputs are observations"
    torch.testing.assert_close(model.decoder.output_bias, torch.logit(x.mean(0).flatten(), eps=1e-3), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("batch", "error", "said"),
    [
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), TypeError, "floating point, got a tensor of torch.uint8"),
        ({"image": torch.zeros(2, 1, 4, 4)}, TypeError, r"x or \(x, label\).*got dict"),
        (torch.zeros(2, 16), ValueError, r"shape \[1, 4, 4\], got \[16\]"),
    ],
)
def test_a_batch_of_another_kind_is_refused(batch: object, error: type, said: str) -> None:
    model = MODELS.build({"name": "VAE", "latent_dim": 2}, (1, 4, 4), 0)
    with pytest.raises(error, match=said):
        model.as_batch(batch)


# -- trained runs -----------------------------------------------------------------------------------------------------

STUDY = """
question: Is it of use?
model: {latent_dim: 2, network: {name: MLP, hidden: [8]}}
data: {name: Digits, binarize: Fixed}
train: {epochs: 1, batch_size: 256}
evaluate: {draws: 10, metrics: [ELBO, IWAE]}
grid:
  model.name: [VAE, AE]
"""


IDS: dict[str, str] = {}
"""The runs of the sweep by the names of their models."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep with a VAE and an AE."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.yaml").write_text(STUDY)
    outcome = sweep(
        load_study(folder / "tiny.yaml"), folder / "runs/tiny", Execution("disabled"), Console(file=io.StringIO())
    )
    for made in outcome.records:
        assert made.status == "done"
        IDS[made.config["model"]["name"]] = made.id
    return folder


@pytest.fixture
def folder(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


def same(first: Autoencoder, second: Autoencoder) -> bool:
    x, y = first.state_dict(), second.state_dict()
    return type(first) is type(second) and x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)


def test_load_finds_the_class_by_itself(folder: Path, tmp_path: Path) -> None:
    run = folder / "runs/tiny" / IDS["VAE"]
    model = vaebench.load(run.name[:6])
    assert type(model).__name__ == "VAE"
    assert not model.training
    (tmp_path / "copied.ckpt").write_bytes((run / CHECKPOINT).read_bytes())
    for place in (run, run / CHECKPOINT, run / WEIGHTS, run / RECORD, str(run), tmp_path / "copied.ckpt"):
        assert same(vaebench.load(place), model)
    with pytest.raises(LookupError, match="nothing of that name"):
        vaebench.load("0000000000")
    (tmp_path / "copied.ckpt").write_bytes(b"PK" + bytes(1000))
    with pytest.raises(ValueError, match=r"copied\.ckpt.*damaged"):
        vaebench.load(tmp_path / "copied.ckpt")


def test_load_follows_links_and_reads_no_other_file_than_it_is_given(folder: Path, tmp_path: Path) -> None:
    run = (folder / "runs/tiny" / IDS["VAE"]).absolute()
    (tmp_path / "best").symlink_to(run)
    (tmp_path / "best.ckpt").symlink_to(run / CHECKPOINT)
    for place in ("best", "best/", f"best/{CHECKPOINT}", f"best/{RECORD}", "best.ckpt"):
        assert find(tmp_path / place).made.id == run.name
    beside = tmp_path / IDS["VAE"]
    shutil.copytree(run, beside)
    other = MODELS.build({"name": "BetaVAE", "latent_dim": 3}, (1, 4, 4), 0)
    save_checkpoint(other, beside / "other.ckpt", 1, 1)
    assert same(vaebench.load(beside / "other.ckpt"), other.eval()), "and not the run's own checkpoint"
    (tmp_path / "loop").symlink_to("loop")
    beside.rename(tmp_path / "renamed")
    for word, said in {
        "loop": "nothing of that name",
        "": "nothing of that name",
        "renamed": f"the record of another run.*rename its folder to {run.name}",
        "tiny": "expected one run, got 2 of runs/tiny: .*give the id of one",
        "tiny.yaml": "expected one run, got 2",
    }.items():
        with pytest.raises((LookupError, ValueError), match=said):
            vaebench.load(str(tmp_path / word) if (tmp_path / word).is_symlink() or word == "renamed" else word)
    assert same(vaebench.load("tiny:model=VAE"), vaebench.load(run))


@pytest.mark.parametrize(
    "content",
    [
        3, [1], torch.zeros(2), {}, {CLASS: 3}, {CLASS: "VEA"}, {CLASS: "VAE"},
        {CLASS: "VAE", "state_dict": {}, "hyper_parameters": {"shape": (4,)}, "pytorch-lightning_version": "2.6"},
        {CLASS: "VAE", "state_dict": {}, "hyper_parameters": {"shape": "x"}, "pytorch-lightning_version": "2.6"},
        {CLASS: "VAE", "state_dict": {}, "hyper_parameters": [1], "pytorch-lightning_version": "2.6"},
    ],
    ids=lambda content: str(content)[:60],
)  # fmt: skip
def test_a_checkpoint_without_a_model_is_said(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises((LookupError, ValueError)) as caught:
        vaebench.load(tmp_path / "other.ckpt")
    assert re.search(r"other\.ckpt: (does not say|expected a checkpoint of VAE)|did you mean VAE", str(caught.value))


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*val_dataloader")
def test_load_reads_the_checkpoint_of_a_plain_trainer(tmp_path: Path) -> None:
    model, training = MODELS.build({"name": "BetaVAE", "latent_dim": 3}, (1, 4, 4), 0), trainer()
    training.fit(model, DataLoader(binary()[0], 32))
    training.save_checkpoint(tmp_path / "plain.ckpt")
    assert same(vaebench.load(tmp_path / "plain.ckpt"), model.eval())


def test_safetensors_hold_the_same_numbers_and_are_checked(folder: Path) -> None:
    from safetensors.torch import load_file

    found = find(IDS["VAE"])
    weights = load_file(folder / "runs/tiny" / IDS["VAE"] / WEIGHTS)
    assert weights.keys() == found.model.state_dict().keys()
    assert all(torch.equal(weights[k], v) for k, v in found.model.state_dict().items())
    assert WEIGHTS in found.made.provenance["files"]


def npz(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    with np.load(path) as archive:
        arrays = dict(archive)
    return arrays, json.loads(str(arrays.pop("provenance")))


def test_the_verbs_write_what_the_methods_return(folder: Path, tmp_path: Path) -> None:
    found = find(IDS["VAE"])
    (x, label), _ = found.observations(split="test")
    command("encode", IDS["VAE"], "--out", str(tmp_path / "codes.npz"))
    codes, origin = npz(tmp_path / "codes.npz")
    np.testing.assert_array_equal(codes["mean"], found.model.encode(x).mean.detach())
    np.testing.assert_array_equal(codes["label"], label)
    assert (codes["stddev"] > 0).all()
    assert origin["run"] == found.made.id
    assert origin["data"]["split"] == "test"
    command("sample", IDS["VAE"], "-n", "5", "--seed", "3", "--out", str(tmp_path / "samples.npz"))
    np.testing.assert_array_equal(npz(tmp_path / "samples.npz")[0]["x"], found.model.sample(5, 3))
    command("reconstruct", IDS["VAE"], "--split", "validation", "--out", str(tmp_path / "back.npz"))
    back, _ = npz(tmp_path / "back.npz")
    np.testing.assert_allclose(back["reconstruction"], found.model.reconstruct(torch.from_numpy(back["x"])), rtol=1e-5)
    command("interpolate", IDS["VAE"], "--between", "0,3", "--steps", "4", "--out", str(tmp_path / "line.npz"))
    line = npz(tmp_path / "line.npz")[0]["x"]
    np.testing.assert_allclose(line, found.model.interpolate(x[:1], x[3:4], 4)[:, 0], rtol=1e-5)
    for verb in ("sample", "reconstruct", "interpolate"):
        command(verb, IDS["VAE"], "--out", str(tmp_path / f"{verb}.png"))
        assert (tmp_path / f"{verb}.png").read_bytes().startswith(b"\x89PNG")


def test_scores_of_new_data_from_a_file(folder: Path, tmp_path: Path) -> None:
    """Grey levels of a file are binarised like the data of the run, and 0 and 1 stay as they are."""
    x = (np.random.RandomState(0).random_sample((30, 8, 8)) > 0.5).astype(np.uint8)
    np.savez(tmp_path / "new.npz", x=x, label=np.arange(30))
    np.save(tmp_path / "grey.npy", (x * 16).astype(np.uint8))  # the white of Digits
    said = command("score", IDS["VAE"], str(tmp_path / "new.npz"), "--draws", "50", "--out", str(tmp_path / "a.npz"))
    assert re.search(r"iwae_50 +-\d+\.\d+ nats ± .*Monte-Carlo", said)
    assert re.search(r"\d+ of 30 observations rest on collapsed", said)
    scores, origin = npz(tmp_path / "a.npz")
    direct = score(find(IDS["VAE"]).model, torch.from_numpy(x[:, None]).float(), 50)
    np.testing.assert_allclose(scores["log_px"], direct.log_px, rtol=1e-6)
    assert {"error", "pareto_k", "effective_sample_size", "unreliable", "label"} <= scores.keys()
    assert origin["data"]["file"] == "new.npz"
    command("score", IDS["VAE"], str(tmp_path / "grey.npy"), "--draws", "50", "--out", str(tmp_path / "b.npz"))
    np.testing.assert_array_equal(npz(tmp_path / "b.npz")[0]["log_px"], scores["log_px"])
    few = ["score", IDS["VAE"], str(tmp_path / "new.npz"), "--annealing", "20", "--out", str(tmp_path / "c.npz")]
    assert "ais" in command(*few)


def own_study(scale: str = "") -> Path:
    """The folder of a trained run of the file mine.npy, below the working directory."""
    study = (
        f"question: Whose?\nmodel: {{name: VAE, likelihood: Gaussian}}\ndata: {{name: Arrays, path: mine.npy{scale}}}"
    )
    Path("own.yaml").write_text(study + "\ntrain: {epochs: 1, batch_size: 20}\nevaluate: {draws: 5, metrics: [ELBO]}\n")
    quiet = Console(file=io.StringIO())
    (made,) = sweep(load_study(Path("own.yaml")), Path("runs/own"), Execution("disabled"), quiet).records
    return Path("runs/own") / made.id


def test_a_trained_run_is_not_used_with_other_data_under_the_old_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    x = np.random.RandomState(0).random_sample((40, 4, 4))
    np.save("mine.npy", x)
    place = own_study()
    known = (place / RECORD).read_bytes()
    np.save("mine.npy", x / 2)
    for words in (["evaluate", place.name, "--k", "5", "--save"], ["score", place.name], ["encode", place.name]):
        said = command(*words, status=1)
        assert "they have changed since" in said
        assert place.name in said
    assert (place / RECORD).read_bytes() == known
    np.save("mine.npy", x)
    command("evaluate", place.name, "--k", "5", "--save")
    Path("mine.npy").unlink()
    np.save("levels.npy", (x * 9).astype(np.uint8))
    assert "levels.npy: has grey levels" in command("encode", place.name, "levels.npy", status=1)


@pytest.mark.parametrize("scale", ["", ", scale: 9"])
def test_grey_levels_of_a_file_are_scaled_like_those_of_the_data(
    scale: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    x = np.random.RandomState(0).randint(0, 10, (40, 4, 4)).astype(np.uint8)
    np.save("mine.npy", x)
    place = own_study(scale)
    np.save("levels.npy", x)
    levels, data = (find(place).observations(*which).batch.x for which in ([Path("levels.npy")], [None, "train"]))
    assert torch.equal(levels, torch.from_numpy(x[:, None]).float() / (9 if scale else 255))
    assert levels.max() == data.max()


def test_digits_have_a_white_of_16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = "question: How white?\nmodel: {name: VAE, likelihood: Gaussian}\ndata: Digits\ntrain: {epochs: 1}\n"
    Path("digits.yaml").write_text(study + "evaluate: {draws: 5, metrics: [ELBO]}\n")
    (made,) = sweep(
        load_study(Path("digits.yaml")), Path("runs/d"), Execution("disabled"), Console(file=io.StringIO())
    ).records
    used = find(made.id)
    own = used.observations().batch.x
    np.save("levels.npy", (own * 16).byte().numpy())
    assert torch.equal(used.observations(Path("levels.npy")).batch.x, own)


def test_a_file_of_images_of_another_shape_is_refused(folder: Path, tmp_path: Path) -> None:
    used, x = find(IDS["VAE"]), np.random.RandomState(0).random_sample((5, 64)).astype(np.float32)
    for shape in ((64,), (8, 8), (1, 8, 8), (8, 8, 1)):
        np.save(tmp_path / "x.npy", x.reshape(5, *shape))
        assert used.observations(tmp_path / "x.npy").batch.x.shape == (5, 1, 8, 8)
    for shape in ((4, 16), (16, 4), (4, 4, 4), (1, 4, 16)):
        np.save(tmp_path / "x.npy", x.reshape(5, *shape))
        with pytest.raises(ValueError, match=r"expected observations of shape \[1, 8, 8\], got"):
            used.observations(tmp_path / "x.npy")


@pytest.mark.parametrize("out", ["taken.npz", "link.npz", "file/x.npz", "x.csv", "x.png", "", "/proc/x.npz"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    folder: Path, tmp_path: Path, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken.npz").write_bytes(b"")
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link.npz").symlink_to("nothing")
    monkeypatch.setattr("vaebench.sweeps.trained.find", lambda _: pytest.fail("it began to work"))
    for verb in ("score", "encode"):
        said = command(verb, IDS["VAE"], "--out", str(tmp_path / out), status=1)
        assert said.startswith("error: ")
        assert out.partition("/")[0] in said


def test_more_than_memory_holds_is_one_line(folder: Path, tmp_path: Path) -> None:
    many = str(10**13)
    for words in (["sample", IDS["VAE"], "-n", many], ["score", IDS["VAE"], "--draws", many]):
        said = command(*words, "--out", str(tmp_path / "x.npz"), status=1)
        assert said == "error: the numbers asked for do not fit into memory; ask for fewer draws, samples or steps\n"


def test_what_cannot_be_done_is_said_in_one_line(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "wrong.npy", np.zeros((3, 5), np.float32))
    np.save(tmp_path / "negative.npy", np.full((3, 64), -1.0, np.float32))
    taken = tmp_path / "taken.npz"
    taken.write_bytes(b"")
    for words, said in {
        ("sample", IDS["AE"], "--out", str(tmp_path / "no.npz")): "AE has no prior",
        ("score", IDS["AE"], "--out", str(tmp_path / "no.npz")): "no log p",
        ("encode", IDS["VAE"], str(tmp_path / "wrong.npy")): "expected observations of shape [1, 8, 8], got [5]",
        ("encode", IDS["VAE"], str(tmp_path / "negative.npy")): "grey levels in [0, 1]",
        ("encode", IDS["VAE"], str(tmp_path / "wrong.npy"), "--split", "test"): "give one of them",
        ("encode", IDS["VAE"], "--out", str(taken)): "exists already",
        ("reconstruct", IDS["VAE"], "--out", str(tmp_path / "codes.csv")): "ends in .npz or .png",
        ("encode", IDS["VAE"], "--out", str(tmp_path / "codes.png")): "ends in .npz, got",
        (
            "encode",
            IDS["VAE"],
            str(tmp_path / "none.npy"),
        ): "none.npy: expected an .npy or .npz file of numbers (no such",
        ("interpolate", IDS["VAE"], "--between", "0,99999"): "places below 359",
        ("interpolate", IDS["VAE"], "--between", "a"): "two whole numbers",
        ("export", IDS["VAE"], "--to", "onnx", "--out", str(tmp_path / "x"), "--push", "me/it"): "--push",
    }.items():
        assert said in " ".join(command(*words, status=1).split())
    assert not (tmp_path / "no.npz").exists()


NOT_EXPORTED = ("HierarchicalVAE", "PPCA")
"""Models with an encoder that torch's exporter does not know: a nested posterior, and a decomposition of a matrix."""


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_onnx_has_the_numbers_of_every_model(folder: Path, tmp_path: Path, name: str) -> None:
    """Within 10⁻⁴ + 10⁻³·|value| of torch's, for any number of observations of small digits; or it is refused."""
    onnx = pytest.importorskip("onnx.reference")
    likelihood = "Bernoulli" if takes_binary(name) else "Gaussian"
    spec = {"name": name, "latent_dim": 3, "likelihood": likelihood}
    model = MODELS.build(spec, (1, 8, 8), 0).eval()
    trained = Trained(model, folder / "runs/tiny" / IDS["VAE"] / CHECKPOINT)
    if name in NOT_EXPORTED:
        with pytest.raises(
            ValueError, match=rf"the encoder of {name} cannot be exported .*use --to huggingface"
        ) as caught:
            exports.onnx(trained, tmp_path)
        assert "\n" not in str(caught.value)
        assert not [*tmp_path.iterdir()]
        return
    encoder, decoder = (onnx.ReferenceEvaluator(str(path)) for path in exports.onnx(trained, tmp_path))
    numbers = torch.Generator().manual_seed(1)
    for n in (1, 5):
        x = (torch.rand(n, 1, 8, 8, generator=numbers) > 0.5).float()
        z, q = torch.randn(n, model.latent_dim, generator=numbers), model.encode(x)
        found = [*encoder.run(None, {"x": x.numpy()}), *decoder.run(None, {"z": z.numpy()})]
        for one, other in zip(found, (q.mean, unit_stddev(q), model.decode(z).mean), strict=True):
            np.testing.assert_allclose(one, other.detach(), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's exporter
def test_onnx_has_the_numbers_of_the_model(folder: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx.reference")
    command("export", IDS["VAE"], "--to", "onnx", "--out", str(tmp_path / "onnx"))
    model = find(IDS["VAE"]).model.cpu()
    for n in (1, 7):
        x, z = (torch.rand(n, 1, 8, 8) > 0.5).float(), torch.randn(n, 2)
        mean, stddev = onnx.ReferenceEvaluator(str(tmp_path / "onnx/encoder.onnx")).run(None, {"x": x.numpy()})
        (decoded,) = onnx.ReferenceEvaluator(str(tmp_path / "onnx/decoder.onnx")).run(None, {"z": z.numpy()})
        np.testing.assert_allclose(mean, model.encode(x).mean.detach(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(stddev, model.encode(x).stddev.detach(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(decoded, model.decode(z).mean.detach(), rtol=1e-4, atol=1e-5)


def test_a_folder_for_hugging_face_rebuilds_the_model(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    command("export", IDS["VAE"], "--to", "huggingface", "--out", str(tmp_path / "hf"))
    assert {path.name for path in (tmp_path / "hf").iterdir()} == {WEIGHTS, "config.json", "README.md"}
    config = json.loads((tmp_path / "hf/config.json").read_text())
    rebuilt = MODELS.build(config["model"], tuple(config["shape"]), config["seed"])
    rebuilt.load_state_dict(load_file(tmp_path / "hf" / WEIGHTS))
    found = find(IDS["VAE"])
    assert same(rebuilt, found.model)
    card = (tmp_path / "hf/README.md").read_text()
    assert card.startswith("---\nlibrary_name: vaebench")
    assert f"{found.made.estimate('elbo').value:.4f}" in card
    assert found.made.id in card
    assert "exists already" in command(
        "export", IDS["VAE"], "--to", "huggingface", "--out", str(tmp_path / "hf"), status=1
    )


@pytest.mark.filterwarnings("ignore")  # of the Trainer, about what a notebook does
def test_the_readmes_library_section_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    assert blocks
    for block in blocks:
        quick = block.replace("max_epochs=20", "max_epochs=1, logger=False, enable_progress_bar=False")
        exec(compile(quick, "README.md", "exec"), {})
