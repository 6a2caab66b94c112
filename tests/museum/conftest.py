"""The museum of known faults: numbers as public code prints them, beside ours, where the answer is exact.

Every test here computes one quantity twice: once by a function that is wrong on purpose, written as it is found in
public code and named for what it does, and once by the suite. The subject is a linear VAE, whose every number has a
closed form, or a case made by hand. A test asserts how wrong the fault is, in sign and size, and that ours is right
within the error it states.

    python -m pytest tests/museum -s -q

prints the catalogue after the tests, a line a fault: `fault | wrong | right | exact`, in nats or units.
"""

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor

from vaebench.config.registry import MODELS, Spec
from vaebench.data.loaders import Batch
from vaebench.evaluation.measure import build_metrics, measure
from vaebench.models.linear_vae import LinearVAE
from vaebench.oracle.probabilistic_pca import LinearPosterior, ProbabilisticPCA
from vaebench.records.record import Estimate


def _linear_vae(model: ProbabilisticPCA, posterior: LinearPosterior) -> LinearVAE:
    """The linear VAE with these parameters, in float64; σ² one number, the posterior's covariance diagonal."""
    dim, latent_dim = model.weight.shape
    likelihood = {"name": "Gaussian", "variance": model.variance}
    vae = MODELS.build({"name": "LinearVAE", "latent_dim": latent_dim, "likelihood": likelihood}, (dim,), 0).double()
    with torch.no_grad():
        vae.likelihood.variance.fill_(model.variance)  # in float64, as the oracle has it
        vae.weight.copy_(model.weight)
        vae.decoder[0].bias.copy_(model.mean)
        vae.encoder[1].weight.copy_(posterior.weight)
        vae.encoder[1].bias.copy_(posterior.bias)
        vae.log_variance.copy_(posterior.covariance.diagonal().log())
    return vae.requires_grad_(False)


def _ours(vae: LinearVAE, batches: Iterable[Tensor], spec: Spec, draws: int = 1) -> dict[str, Estimate]:
    """What one metric of the suite says of the model, by the path that every record takes."""
    seen = measure(vae, [Batch(x) for x in batches], build_metrics([spec]), draws, 0)
    return {estimate.name: estimate for estimate in seen.estimates}


@pytest.fixture(scope="session")
def linear_vae() -> Callable[[ProbabilisticPCA, LinearPosterior], LinearVAE]:
    return _linear_vae


@pytest.fixture(scope="session")
def ours() -> Callable[..., dict[str, Estimate]]:
    return _ours


@pytest.fixture
def show(record_property: Callable[[str, object], None]) -> Callable[[str, float, float, float], None]:
    """Puts a fault's line in the catalogue."""
    return lambda fault, *numbers: record_property("exhibit", [fault, *map(float, numbers)])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The catalogue, where output is not captured (`-s`)."""
    if config.getoption("capture") != "no":
        return
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    lines = [value for report in reports for key, value in report.user_properties if key == "exhibit"]
    if not lines:
        return
    width = max(len(fault) for fault, *_ in lines)
    terminalreporter.section("faults")
    terminalreporter.write_line(f"{'fault':{width}} | {'wrong':>10} | {'right':>10} | {'exact':>10}")
    for fault, *numbers in lines:
        terminalreporter.write_line(" | ".join([f"{fault:{width}}", *(f"{number:10.3f}" for number in numbers)]))
