"""Models and codes that are not ours are measured by the same instruments, with the same blanks and reasons."""

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import vaebench as command
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

import vaebench
from vaebench.config.registry import ESTIMATORS, MODELS
from vaebench.evaluation.measure import Measurement, build_metrics, estimate, measure
from vaebench.evaluation.scoring import score
from vaebench.models import pythae_folder
from vaebench.models.base import Autoencoder
from vaebench.models.subject import DeterministicSubject, Subject, posterior_of
from vaebench.sweeps.audit import audit


def images(n: int = 40) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(n, 1, 4, 4, generator=generator) > 0.5).float(), torch.arange(n) % 4


def ours(name: str = "VAE", **keywords: object) -> Autoencoder:
    return MODELS.build({"name": name, "latent_dim": 2, **keywords}, (1, 4, 4), 3).eval()


def same(first: Measurement, second: Measurement) -> None:
    assert [e.name for e in first.estimates] == [e.name for e in second.estimates]
    for a, b in zip(first.estimates, second.estimates, strict=True):
        np.testing.assert_allclose(a.value, b.value, rtol=2e-4, atol=2e-5, err_msg=a.name)
        assert (a.n, a.unreliable) == (b.n, b.unreliable)
    assert first.not_applicable.keys() == second.not_applicable.keys()
    assert first.descriptions == second.descriptions


GAUSSIAN = {"name": "Gaussian", "variance": 0.3}


@pytest.mark.parametrize("likelihood", ["Bernoulli", GAUSSIAN], ids=str)
def test_plain_modules_are_measured_as_the_model_that_they_come_from(likelihood: object) -> None:
    model, (x, label) = ours(likelihood=likelihood), images()
    loader = [(x[:32], label[:32]), (x[32:], label[32:])]
    expected = measure(model, loader, draws=60)
    subject = Subject(model.encoder, model.decoder, x, likelihood=likelihood)
    same(measure(subject, loader, draws=60), expected)
    p = {"Bernoulli": lambda logits: Bernoulli(logits=logits)}.get(str(likelihood), lambda m: Normal(m, 0.3**0.5))
    for other in (
        Subject(lambda t: model.encoder(t).chunk(2, -1), model.decoder, x, likelihood=p),
        Subject(model.encode, lambda z: Independent(p(model.decoder(z)), 3), x, prior=Normal(torch.zeros(2), 1.0)),
        Subject(lambda t: Independent(model.encode(t), 1), model.decode, x, prior=model.prior),
    ):
        same(measure(other, loader, draws=60), expected)
        assert other.standard_normal_prior
    asked = ESTIMATORS.build({"name": "NaiveMonteCarlo", "observations": 5, "draws": 50})
    batches = [vaebench.Batch(x)]
    same(estimate(subject, batches, [asked], 0), estimate(model, batches, [asked], 0))


def test_an_autoencoder_has_the_same_blanks() -> None:
    model, (x, _) = ours("AE"), images()
    subject = DeterministicSubject(model.encoder, model.decoder, x, likelihood="Bernoulli")
    expected, found = measure(model, x, draws=10), measure(subject, x, draws=10)
    same(found, expected)
    for name, reason in expected.not_applicable.items():
        assert found.not_applicable[name].replace("DeterministicSubject", "AE") == reason


def test_a_correlated_posterior_and_a_closed_form() -> None:
    """With the exact posterior of a linear model, in torch's distributions, each weight is p(x)."""
    generator = torch.Generator().manual_seed(1)
    weight, mean = torch.randn(5, 2, generator=generator), torch.randn(5, generator=generator)
    precision = torch.eye(2) + weight.T @ weight / 0.4
    covariance = torch.linalg.inv(precision)

    def posterior(x: Tensor) -> MultivariateNormal:
        return MultivariateNormal((x - mean) @ weight / 0.4 @ covariance, covariance)

    x = torch.randn(20, 5, generator=generator)
    subject = Subject(posterior, lambda z: Normal(z @ weight.T + mean, 0.4**0.5), x)
    exact = MultivariateNormal(mean, weight @ weight.T + 0.4 * torch.eye(5)).log_prob(x)
    torch.testing.assert_close(score(subject, x, draws=5).log_px, exact.double(), rtol=1e-4, atol=1e-4)
    found = {e.name: e.value for e in measure(subject, x, draws=20).estimates}
    assert found["elbo"] == pytest.approx(exact.mean().item(), rel=1e-4)
    samples = subject.sample(20_000)
    expected = weight @ weight.T + 0.4 * torch.eye(5)
    spread = ((expected.diagonal()[:, None] * expected.diagonal() + expected.square()) / 20_000).sqrt()
    assert ((samples.T.cov() - expected) / spread).abs().max() < 5.5, "a false alarm once in 10^6"


def test_a_prior_may_be_any_distribution() -> None:
    model, (x, _) = ours(), images()
    mixture = MixtureSameFamily(Categorical(torch.ones(3)), Independent(Normal(torch.randn(3, 2), torch.ones(3, 2)), 1))
    for prior in (mixture, lambda: mixture, Normal(torch.zeros(2), 2 * torch.ones(2))):
        subject = Subject(model.encoder, model.decoder, x, likelihood="Bernoulli", prior=prior)
        assert not subject.standard_normal_prior
        found = measure(subject, x, draws=20)
        assert "N(0, I)" in found.not_applicable["collapsed_units"]
        assert subject.sample(3).shape == (3, 1, 4, 4)
    vamp = Subject(model.encoder, model.decoder, x, likelihood="Bernoulli", prior="VampPrior")
    assert vamp.sample(2).shape == (2, 1, 4, 4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"encoder": lambda x: x.new_zeros(len(x), 3)}, r"expected q\(z\|x\).*shape \[1, 3\].*DeterministicSubject"),
        ({"encoder": lambda x: "z"}, r"expected q\(z\|x\).*got str"),
        (
            {"decoder": lambda z: z.new_zeros(len(z), 1, 4, 4), "likelihood": None},
            r"got a tensor.*likelihood=",
        ),
        ({"likelihood": lambda m: Normal(m[..., :2], 1.0)}, r"shape \[1, 4, 4\], got \[1, 4, 2\]"),
        ({"prior": Normal(torch.zeros(5), 1.0)}, r"a prior over 2 units.*got \[5\]"),
        ({"prior": None}, r"without one, use DeterministicSubject"),
        ({"x": torch.zeros(0, 1, 4, 4)}, r"some observations.*got shape \[0, 1, 4, 4\]"),
    ],
)
def test_a_part_that_does_not_fit_is_named(change: dict, said: str) -> None:
    model, (x, _) = ours(), images()
    parts = {"encoder": model.encoder, "decoder": model.decoder, "x": x, "likelihood": "Bernoulli", **change}
    with pytest.raises(ValueError, match=said):
        Subject(parts.pop("encoder"), parts.pop("decoder"), parts.pop("x"), **parts)


def test_the_posterior_of_a_mapping() -> None:
    q = posterior_of({"embedding": torch.ones(2, 3), "log_covariance": torch.full((2, 3), 2.0)})
    assert torch.equal(q.mean, torch.ones(2, 3))
    torch.testing.assert_close(q.stddev, torch.full((2, 3), 1.0).exp())


# -- pythae -----------------------------------------------------------------------------------------------------------


class Evil:
    """Leaves a trace where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.trace,))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder in pythae's layout, and observations."""
    generator, shapes = torch.Generator().manual_seed(0), {
        "encoder.layers.0.0": (512, 16), "encoder.embedding": (2, 512), "encoder.log_var": (2, 512),
        "decoder.layers.0.0": (512, 2), "decoder.layers.1.0": (16, 512),
    }  # fmt: skip
    state = {f"{name}.weight": torch.randn(s, generator=generator) / s[1] ** 0.5 for name, s in shapes.items()}
    state |= {f"{name}.bias": torch.randn(s[0], generator=generator) for name, s in shapes.items()}
    torch.save({"model_state_dict": state}, tmp_path / "model.pt")
    write_config(tmp_path)
    x, label = images()
    np.savez(tmp_path / "x.npz", x=x, label=label)
    return tmp_path


def write_config(folder: Path, **changed: object) -> None:
    config = {"name": "VAEConfig", "input_dim": [1, 4, 4], "latent_dim": 2, "reconstruction_loss": "mse"}
    config |= {"uses_default_encoder": True, "uses_default_decoder": True, **changed}
    (folder / "model_config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_default_networks_are_built_again_from_their_numbers(saved: Path, loss: str) -> None:
    write_config(saved, reconstruction_loss=loss)
    read, (x, _) = pythae_folder.read(saved), images()
    w = read.state
    hidden = (x.flatten(1) @ w["encoder.layers.0.0.weight"].T + w["encoder.layers.0.0.bias"]).relu()
    q = read.model.encode(x)
    torch.testing.assert_close(q.mean, hidden @ w["encoder.embedding.weight"].T + w["encoder.embedding.bias"])
    z = torch.randn(6, 2)
    hidden = (z @ w["decoder.layers.0.0.weight"].T + w["decoder.layers.0.0.bias"]).relu()
    mean = (hidden @ w["decoder.layers.1.0.weight"].T + w["decoder.layers.1.0.bias"]).sigmoid()
    p = read.model.decode(z)
    torch.testing.assert_close(p.mean.flatten(1), mean)
    reference = Bernoulli(mean) if loss == "bce" else Normal(mean, 1.0)
    torch.testing.assert_close(p.log_prob(x[:6]), reference.log_prob(x[:6].flatten(1)).sum(1), rtol=1e-4, atol=1e-4)


def test_an_audit_prints_our_numbers_and_theirs(saved: Path) -> None:
    said = command("audit", str(saved), "--data", str(saved / "x.npz"), "--draws", "50")
    for word in ("elbo", "iwae_50", "active_units", "forecast_active_units", "pythae: get_nll", "training loss"):
        assert word in said


def test_nothing_in_a_folder_is_run_unless_it_is_trusted(saved: Path) -> None:
    trace = saved / "trace"
    (saved / "encoder.pkl").write_bytes(pickle.dumps(Evil(trace)))
    (saved / "environment.json").write_text("{}")
    pythae_folder.read(saved)
    write_config(saved, uses_default_encoder=False)
    with pytest.raises(ValueError, match=r"encoder\.pkl: a pickle.*nothing was run.*--trust"):
        pythae_folder.read(saved)
    torch.save({"model_state_dict": {"x": Evil(trace)}}, saved / "model.pt")
    write_config(saved)
    with pytest.raises(ValueError, match=r"model\.pt: expected a dictionary of tensors"):
        pythae_folder.read(saved)
    assert not trace.exists()


class OwnDecoder(nn.Module):
    """A network of the user's own, as pythae saves it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 16)

    def forward(self, z: Tensor) -> dict[str, Tensor]:
        return {"reconstruction": self.linear(z).sigmoid().view(-1, 1, 4, 4)}


def test_a_trusted_pickle_is_read(saved: Path) -> None:
    own = OwnDecoder()
    (saved / "decoder.pkl").write_bytes(pickle.dumps(own))
    state = torch.load(saved / "model.pt", weights_only=True)["model_state_dict"]
    state = {k: v for k, v in state.items() if k.startswith("encoder")}
    state |= {f"decoder.{k}": v + 1 for k, v in own.state_dict().items()}
    torch.save({"model_state_dict": state}, saved / "model.pt")
    for loss in ("mse", "bce"):
        write_config(saved, uses_default_decoder=False, reconstruction_loss=loss)
        read, z = pythae_folder.read(saved, trust=True), torch.randn(3, 2)
        assert read.own == ["decoder"]
        expected = (z @ (own.linear.weight + 1).T + own.linear.bias + 1).sigmoid().view(3, 1, 4, 4)
        torch.testing.assert_close(read.model.decode(z).mean, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        (
            "model_config.json",
            '{"name": "HVAEConfig", "input_dim": [2], "latent_dim": 1}',
            "HVAE model",
        ),
        (
            "model_config.json",
            '{"name": "VAEConfig", "input_dim": "x", "latent_dim": 1}',
            "no configuration",
        ),
        (
            "model_config.json",
            '{"name": "VAEConfig", "input_dim": [2], "latent_dim": 1, "reconstruction_loss": "l1"}',
            "mse .* or bce .*got 'l1'",
        ),
        (
            "model_config.json",
            '{"name": "BetaVAEConfig", "input_dim": [2], "latent_dim": 1, "beta": 1e999}',
            "beta is inf, not a number of at least 0",
        ),
        (
            "model_config.json",
            '{"name": "VAEConfig", "input_dim": [1000000000, 1000000000], "latent_dim": 2}',
            "model.pt does not fit the encoder",
        ),
        (
            "model_config.json",
            '{"name": "VAMPConfig", "input_dim": [1, 4, 4], "latent_dim": 2}',
            "the parts of a VAMP .*pseudo_inputs",
        ),
        ("model_config.json", "[", "no configuration"),
        ("model_config.json", "[" * 100_000, "no configuration .*RecursionError"),
        ("model.pt", "", "expected a dictionary of tensors.*EOFError"),
        ("model_config.json", None, "no such file"),
        ("model.pt", None, "no such file"),
        ("model.pt", "PK", "expected a dictionary of tensors"),
    ],
)
def test_a_folder_that_cannot_be_read_is_said_in_one_line(
    saved: Path, file: str, content: str | None, said: str
) -> None:
    (saved / file).unlink()
    if content is not None:
        (saved / file).write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        pythae_folder.read(saved)


LOG_VAR = "encoder.log_var.bias"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({LOG_VAR: torch.tensor([0.0, torch.nan])}, rf"NaN or infinity in {LOG_VAR}; its training has diverged"),
        ({LOG_VAR: torch.zeros(3)}, "model.pt does not fit the encoder .*size mismatch"),
        ({LOG_VAR: torch.zeros(2, dtype=torch.complex64)}, f"{LOG_VAR} is no tensor of real numbers"),
        ({LOG_VAR: torch.zeros(2).to_sparse()}, f"{LOG_VAR} is no tensor of real numbers"),
        ({LOG_VAR: [0.0, 0.0]}, f"{LOG_VAR} is no tensor of real numbers"),
        ({"encoder.more": torch.zeros(2)}, "model.pt does not fit the encoder .*Unexpected key"),
        ({3: torch.zeros(2)}, "model_state_dict has no tensors by name"),
    ],
    ids=lambda given: str(given)[:40],
)
def test_numbers_that_no_model_has_are_said_in_one_line(saved: Path, changed: dict, said: str) -> None:
    state = torch.load(saved / "model.pt", weights_only=True)["model_state_dict"]
    torch.save({"model_state_dict": state | changed}, saved / "model.pt")
    with pytest.raises(ValueError, match=said) as caught:
        pythae_folder.read(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("top", [[1], torch.zeros(2), {"a": 1}, {"model_state_dict": None}], ids=str)
def test_a_file_without_numbers_by_name_is_said_in_one_line(saved: Path, top: object) -> None:
    torch.save(top, saved / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt: expected a dictionary of tensors"):
        pythae_folder.read(saved)


def test_numbers_of_another_precision_are_converted(saved: Path) -> None:
    single, (x, _) = pythae_folder.read(saved).model, images()
    state = torch.load(saved / "model.pt", weights_only=True)["model_state_dict"]
    torch.save({"model_state_dict": {name: tensor.double() for name, tensor in state.items()}}, saved / "model.pt")
    assert torch.equal(pythae_folder.read(saved).model.encode(x).mean, single.encode(x).mean)


def test_what_pythae_cannot_say_does_not_stop_an_audit(saved: Path) -> None:
    pytest.importorskip("pythae.models")
    write_config(saved, name="VAE")
    found = audit(saved, saved / "x.npz", draws=5)
    assert any(estimate.name == "elbo" for estimate in found.measurement.estimates)
    assert all(str(said).startswith("pythae fails (") for said in found.theirs.values())


def test_grey_levels_have_no_bernoulli_density(saved: Path) -> None:
    write_config(saved, reconstruction_loss="bce")
    np.savez(saved / "grey.npz", x=np.full((20, 1, 4, 4), 0.25, np.float32) + np.eye(4, dtype=np.float32) / 2)
    with pytest.raises(ValueError, match=r"expects x in \{0, 1\}"):
        audit(saved, saved / "grey.npz")
    assert audit(saved, saved / "grey.npz", draws=10, binarize="Threshold").observations == 20


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["VAE", "BetaVAE", "VAMP", "IWAE", "AE", "BetaTCVAE", "INFOVAE_MMD", "WAE_MMD"])
def test_pythaes_own_trainer_and_its_own_likelihood(name: str, tmp_path: Path) -> None:
    """Both estimate log p(x) from 400 draws of each observation: the means differ by Monte-Carlo errors only."""
    models = pytest.importorskip("pythae.models")
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig

    x, label = images(120)
    kind = getattr(models, f"{name}Config", None) or getattr(models, f"{name}_Config")
    model = getattr(models, name)(kind(input_dim=(1, 4, 4), latent_dim=2))
    config = BaseTrainerConfig(output_dir=str(tmp_path), num_epochs=2, per_device_train_batch_size=40, no_cuda=True)
    TrainingPipeline(training_config=config, model=model)(train_data=x.numpy(), eval_data=x.numpy())
    (folder,) = tmp_path.glob("*/final_model")
    np.savez(tmp_path / "x.npz", x=x, label=label)
    found = audit(folder, tmp_path / "x.npz", draws=400, most=40)
    values = {e.name: e for e in found.measurement.estimates}
    assert isinstance(found.theirs["training loss"], float)
    if isinstance(found.theirs["get_nll"], float):
        reference = score(found.read.model, x[::3], draws=400).mean
        assert found.theirs["get_nll"] == pytest.approx(reference.value, abs=8 * reference.monte_carlo_error)
    else:
        assert "elbo" in found.measurement.not_applicable
    if name == "VAE":
        constant = 16 / 2 * np.log(2 * np.pi)
        assert -found.theirs["training loss"] - constant == pytest.approx(values["elbo"].value, abs=0.15)


# -- codes ------------------------------------------------------------------------------------------------------------


def test_codes_of_scikit_learn_are_graded(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA

    digits = load_digits()
    code = PCA(6).fit_transform(digits.data[:400] / 16)
    code[:, 5] *= 0.01
    np.savez(tmp_path / "codes.npz", codes=code, labels=digits.target[:400])
    found = json.loads(command("evaluate", "--codes", str(tmp_path / "codes.npz"), "--json"))
    values = {e["name"]: e["value"] for e in found["estimates"]}
    assert values["active_units"] == (code.var(0, ddof=1) > 0.01).sum() == 5
    assert 0.75 < values["linear_probe_accuracy"] <= 1
    assert 0.75 < values["nearest_neighbours_accuracy"] <= 1
    assert found["not_applicable"]["elbo"] == "codes alone have no model"
    every = {name for metric in build_metrics(None) for name in metric.columns(1)}
    assert values.keys() | found["not_applicable"].keys() >= every


def test_codes_without_labels_and_files_without_codes(tmp_path: Path) -> None:
    np.save(tmp_path / "codes.npy", np.random.RandomState(0).randn(50, 3))
    assert "the data has no labels" in command("evaluate", "--codes", str(tmp_path / "codes.npy"))
    for arrays, said in (
        ({"w": np.zeros((3, 2))}, "under mean, codes, code or z"),
        ({"z": np.zeros(3)}, "under mean, codes, code or z"),
        ({"z": np.zeros((3, 2)), "label": np.zeros(4, int)}, "whole numbers for 3 codes as labels"),
        ({"z": np.full((3, 2), np.nan)}, "finite codes"),
        ({"z": np.full((3, 2), 1e300)}, "in magnitude, got 1e+300"),
    ):
        np.savez(tmp_path / "wrong.npz", **arrays)
        assert said in " ".join(command("evaluate", "--codes", str(tmp_path / "wrong.npz"), status=1).split())
    factors = np.random.RandomState(0).randint(3, size=(80, 2))
    np.savez(tmp_path / "factors.npz", z=factors + 0.0, factors=factors)
    graded = command("evaluate", "--codes", str(tmp_path / "factors.npz"))
    assert re.search(r"mig +1\.0|mig +0\.9", graded), "each code is a factor"
    assert "give one of the two" in command("evaluate", status=1)
