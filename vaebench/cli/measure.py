"""The commands evaluate, calibrate, measure, audit and forecast. torch is imported inside them."""

import os
import re
import signal
import sys
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vaebench.cli.arguments import (
    RESULTS,
    RUNS,
    Json,
    Overrides,
    SeedOption,
    Threads,
    WandbMode,
    check_logging,
    study_of,
)
from vaebench.cli.terminal import console, print_json
from vaebench.records.files import write_all, write_atomically
from vaebench.reporting.printing import line
from vaebench.training.signals import handled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from vaebench.config import Study
    from vaebench.evaluation.measure import Measurement
    from vaebench.sweeps.forecast import DataForecast


def evaluate(
    run: Annotated[Path | None, typer.Argument(help="A run's id or folder, or the checkpoint in it.")] = None,
    draws: Annotated[int | None, typer.Option(min=1, help="Posterior draws, K; by default the run's own.")] = None,
    k: Annotated[str | None, typer.Option(help="Sizes k of the IWAE bounds, e.g. 1,64,1000.")] = None,
    split: Annotated[
        Literal["train", "validation", "test"] | None, typer.Option(help="By default the run's own.")
    ] = None,
    estimators: Annotated[str | None, typer.Option(help="Estimators to add, e.g. AnnealedImportanceSampling.")] = None,
    save: Annotated[bool, typer.Option("--save", help="Add what is new to the run's record and so to tables.")] = False,
    codes: Annotated[
        Path | None, typer.Option(help="Grade codes of any origin instead: .npz with mean, codes or z, and label.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure a trained run again, with other draws, bounds, split or estimators; or grade codes from a file."""
    from vaebench.sweeps.trained import Asked, add_to_record, reevaluate

    if (run is None) == (codes is None):
        raise ValueError("expected a run, or --codes FILE; give one of the two")
    if codes is not None:
        from vaebench.evaluation.measure import measure_codes
        from vaebench.sweeps.trained import read_codes

        print_measurement(measure_codes(*read_codes(codes)), json)
        return
    assert run is not None

    if k is not None and not all(re.fullmatch(r"\s*[0-9]{1,9}\s*", n) for n in k.split(",")):
        raise ValueError(f"--k: expected whole numbers with commas between them, e.g. 1,64,1000, got {k[:40]!r}")
    sizes = None if k is None else tuple(int(n) for n in k.split(","))
    asked = Asked(draws=draws, k=sizes, split=split, estimators=estimators)
    seen = reevaluate(run, **asked)
    print_measurement(seen, json)
    if save:
        added = add_to_record(run, seen, asked)
        text = f"added to the record: {', '.join(added.names) or 'nothing'}"
        if not json:
            console.print(f"{text}; already there: {', '.join(added.known) or 'nothing'}", soft_wrap=True)


def print_measurement(seen: "Measurement", json: bool = False) -> None:
    """Print every number with its errors and remarks, and every blank with its reason."""
    from vaebench.records.description import Description
    from vaebench.reporting.terminal import measured

    if json:
        print_json({"estimates": [e._asdict() for e in seen.estimates], "not_applicable": seen.not_applicable})
        return
    for estimate in seen.estimates:
        if not isinstance(estimate.value, list):
            text = measured(estimate, seen.descriptions.get(estimate.name, Description()))
            console.print(text, soft_wrap=True)
    for name, reason in seen.not_applicable.items():
        console.print(f"{name:30} {'':12} {reason}", soft_wrap=True)


def calibrate(
    study: Annotated[Path, typer.Argument(help="Linear VAEs on linear-Gaussian data.", metavar="[STUDY]")] = Path(
        "calibration"
    ),
    wandb: WandbMode = "disabled",
    threads: Threads = 1,
) -> None:
    """Compare every metric and estimator with exact answers; exit with status 1 if one is wrong."""
    plan = study_of(study)
    check_logging(wandb)
    from vaebench.calibration import grade
    from vaebench.calibration.calibrate import calibrate as grades_of
    from vaebench.sweeps.run import Execution

    folder = RUNS / plan.place
    grades = grades_of(plan, folder, Execution(wandb, threads), console)
    write_all(grade.files(grades, folder))
    console.print(grade.markdown(grades), soft_wrap=True)
    for wrong in (g for g in grades if not g.is_within):
        console.print(line(("out:", "red"), f" {wrong}"), soft_wrap=True)
    console.print(grade.outcome(grades))
    if not all(g.is_within for g in grades):
        raise typer.Exit(1)


def measure(
    name: Annotated[str, typer.Argument(help="A measurement, e.g. spectrum.")],
    study: Annotated[Path | None, typer.Argument(help="The study whose trained runs are measured, if any.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The seed of all randomness.")] = 0,
    publish: Annotated[bool, typer.Option("--publish", help="Write to results/, the published reference.")] = False,
) -> None:
    """Measure something for the ledger that no study trains, and write its record to runs/paper/exact."""
    from vaebench.calibration import measurements
    from vaebench.reporting.ledger.verdict import MEASURED

    plan = None if study is None else study_of(study)
    for made in measurements.measured(name, seed, plan, RUNS):
        console.print(str(measurements.write(made, (RESULTS if publish else RUNS) / MEASURED)), soft_wrap=True)
        for estimate in made.estimates:
            console.print(f"  {estimate.name} {estimate.value}", soft_wrap=True)


def audit(
    folder: Annotated[Path, typer.Argument(help="A folder that pythae's trainer wrote, e.g. final_model.")],
    data: Annotated[Path, typer.Option(help="Observations: .npy, or .npz with x and perhaps label.")],
    draws: Annotated[int, typer.Option(min=1, help="Posterior draws of each observation.")] = 1000,
    observations: Annotated[int, typer.Option(min=1, help="At most so many, evenly spaced.")] = 1000,
    binarize: Annotated[str | None, typer.Option(help="How grey levels become 0 and 1, e.g. Fixed.")] = None,
    seed: SeedOption = 0,
    trust: Annotated[
        bool, typer.Option("--trust", help="Read pickled networks, which runs code in the folder.")
    ] = False,
) -> None:
    """Measure a model that pythae has saved, beside what pythae says of it. Pickles are read only with --trust."""
    from vaebench.sweeps import audit as audits

    found = audits.audit(folder, data, draws, observations, seed, trust, binarize)
    console.print(f"{found.read.name} of pythae, {found.observations} observations of {data}", soft_wrap=True)
    if found.read.own:
        own = " and ".join(found.read.own)
        console.print(f"the {own} came from pickles of the folder, whose code was run (--trust)", soft_wrap=True)
    print_measurement(found.measurement)
    for name in ("forecast_active_units", "forecast_note"):
        if name in found.facts:
            console.print(f"{name:30} {found.facts[name]!s:>12}", soft_wrap=True)
    about = {"get_nll": "pythae's estimate of log p(x); its name says the negative", "training loss": "pythae's"}
    for name, said in found.theirs.items():
        number = f"{said:12.4f}  [{about[name]}]" if isinstance(said, float) else f"{'':12} {said}"
        console.print(f"{'pythae: ' + name:30} {number}", soft_wrap=True)


# -- forecast: what the data say of a study before it is trained -------------------------------------------------------


def forecast(
    study: Annotated[Path | None, typer.Argument(help="A study, e.g. conf/phase.yaml or phase.")] = None,
    overrides: Overrides = None,
    data: Annotated[str | None, typer.Option(help="A data set's name, or an npz file, instead of a study.")] = None,
    betas: Annotated[str, typer.Option(help="β, with --data.")] = "0.5,1,2,4",
    variances: Annotated[str, typer.Option(help="σ², with --data.")] = "0.01,0.1,1",
    units: Annotated[str, typer.Option(help="L, with --data.")] = "10,50",
    ceiling: Annotated[int, typer.Option(min=0, help="Observations for the ceiling of deep VAEs; 0 for none.")] = 0,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="End the search for the ceiling after so long, with what is known.")
    ] = None,
    chart: Annotated[Path | None, typer.Option(help="A chart of it as an SVG file, with the runs that exist.")] = None,
    json: Json = False,
) -> None:
    """Show the data's spectrum, and for each βσ² active units, collapse, linear optimum and ceiling. Nothing trains."""
    if (study is None) == (data is None):
        raise ValueError("expected a study or --data, and not both, e.g. `vaebench forecast beta` or `--data MNIST`")
    if chart is not None and not ceiling:
        raise ValueError("--chart: expected --ceiling N too, the number of observations, e.g. --ceiling 500")
    from vaebench.config.registry import DATASETS
    from vaebench.sweeps.forecast import data_forecast

    plan = None if study is None else study_of(study, overrides)
    if plan is not None:
        spec, pairs, latent = _of_study(plan)
    else:
        assert data is not None
        spec = {"name": "Arrays", "path": data} if data.endswith(".npz") else data
        pairs = [(beta, s) for beta in _numbers("--betas", betas) for s in _numbers("--variances", variances)]
        latent = [int(n) for n in _numbers("--units", units)]
    taus, patience = [b * s for b, s in pairs], _Patience(seconds)
    tell = partial(print, file=sys.stderr, flush=True)  # on the other stream, so that --json can be read
    with handled(signal.SIGINT, patience.interrupt):
        found = data_forecast(DATASETS.build(spec), taus, latent, ceiling or None, data is not None, patience, tell)
    if json:
        print_json(_plain(found))
    else:
        _show(found, pairs)
    if chart is not None:
        if found.stopped:
            raise ValueError("--chart: the search for the ceiling was ended before it was known; give it more time")
        write_atomically(chart, _picture(found, plan).encode())


def _of_study(plan: "Study") -> tuple[Any, list[tuple[float, float]], list[int]]:
    models = [run.model for run in plan.runs if not isinstance(run.model, str)]
    spec: Any = plan.runs[0].data
    if any(run.data != spec for run in plan.runs):
        raise ValueError(f"{plan.place}: expected one data set, got several; choose one, e.g. data.name=Digits")
    return spec, _pairs(models), [int(model["latent_dim"]) for model in models if "latent_dim" in model]


class _Patience:
    """Ends a search after some seconds or at Ctrl-C. A second Ctrl-C ends the command.

    Args:
        seconds: None for no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self.end, self.interrupted = None if seconds is None else monotonic() + seconds, False

    def interrupt(self, number: int, frame: Any) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        os.write(2, b"ending the search; once more stops at once\n")

    def __call__(self) -> None:
        from vaebench.oracle.solver import Stopped

        if self.interrupted or (self.end is not None and monotonic() > self.end):
            raise Stopped


def _picture(found: "DataForecast", plan: "Study | None") -> str:
    """The chart of the ceiling as SVG, with the finished runs of the study."""
    from vaebench.records import record
    from vaebench.reporting.figures.planes import Curve, chart

    folders = [] if plan is None else [root / plan.place for root in (RESULTS, RUNS)]
    finished = {made.id: made for folder in folders if folder.is_dir() for made in record.read_all(folder)}
    records = [finished[id] for id in sorted(finished.keys() & {run.id for run in plan.runs})] if plan else []
    curves = [Curve(v.tau, v.collapsed, v.linear, v.lower) for v in found.values if v.lower is not None]
    assert found.onset is not None
    return chart(curves, records, found.onset)


def _pairs(models: "Sequence[Mapping[str, Any]]") -> list[tuple[float, float]]:
    """β and σ² of the models of a study. σ² = 1 stands for noise that is learned or not Gaussian, as a reference."""
    found = set()
    for model in models:
        likelihood, beta, variance = model.get("likelihood"), model.get("beta", 1.0), 1.0
        if isinstance(likelihood, dict) and likelihood.get("name") == "Gaussian":
            variance = float(likelihood["variance"])
        found.add((float(beta) if isinstance(beta, int | float) else 1.0, variance))
    return sorted(pair for pair in found if pair[0] > 0)


def _numbers(option: str, text: str) -> list[float]:
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or any(not 0 < n < float("inf") for n in numbers):
        raise ValueError(f"{option}: expected numbers > 0 with commas between them, e.g. 1,4, got {text[:40]!r}")
    return numbers


def _plain(found: "DataForecast") -> dict[str, Any]:
    return {
        "data": found.name,
        "observations": found.observations,
        "eigenvalues": found.spectrum.eigenvalues.tolist(),
        "no_latent_bernoulli": found.no_latent,
        "onset": found.onset,
        "ceiling_observations": found.used,
        "stopped": found.stopped,
        "values": [value._asdict() for value in found.values],
    }


def _show(found: "DataForecast", pairs: list[tuple[float, float]]) -> None:
    """Sentences, which a terminal wraps between words, and two tables of at most 80 columns for one L."""
    for text in [*_of_data(found), ""]:
        console.sentence(text)
    if not pairs:
        console.sentence("nothing to forecast for a model: every run has β = 0, so that its rate costs nothing")
        return
    console.sentence("values F in nats; the objective is −D/2·log 2πσ² − βF, and no VAE has an F below the ceiling")
    console.print(_values(found), soft_wrap=True)
    for text in [*_remarks(found), ""]:
        console.sentence(text)
    console.print(_diagram(found, pairs), soft_wrap=True)


def _of_data(found: "DataForecast") -> "Iterator[str]":
    from vaebench.sweeps.forecast import LEADING

    eigenvalues = found.spectrum.eigenvalues.tolist()
    leading = " ".join(f"{v:.8f}" for v in eigenvalues[:LEADING])
    yield f"{found.name}: {found.observations} observations, D = {found.spectrum.dim}"
    yield f"largest eigenvalues of the covariance (divided by N): {leading}"
    yield f"a linear VAE collapses wholly from βσ² = {eigenvalues[0]:.4f} on"
    yield f"loss of total collapse at σ² = 1: {found.spectrum.tail(0) / 2:.4f} nats + D/2·log 2π"  # Σλ/2σ²
    if found.onset is not None:
        yield f"at any depth total collapse is the optimum from βσ² = {found.onset:.4f} on"
    if found.no_latent is not None:
        yield f"Bernoulli pixels without latents lose {found.no_latent:.2f} nats on the test split"


def _values(found: "DataForecast") -> str:
    from tabulate import tabulate

    many = [f"active\nof {n}" for n in found.values[0].active_units] if found.values else []
    deep = ["ceiling", "rate", "depth\ncan buy"] if found.used else []
    rows = []
    for v in found.values:
        row: list[Any] = [f"{v.tau:.4g}", *v.active_units.values(), f"{v.collapsed:.3f}", f"{v.linear:.3f}"]
        if v.lower is not None and v.upper is not None:
            row += [f"{v.lower:.3f} … {v.upper:.3f}", f"{v.rate:.2f}", f"{max(0.0, v.linear - v.lower):.3f}"]
        rows.append(row)
    heads = ["βσ²", *many, "collapsed", "linear\noptimum", *deep]
    return tabulate(rows, heads, disable_numparse=True, stralign="right")


def _remarks(found: "DataForecast") -> "Iterator[str]":
    from vaebench.oracle.ceiling import MOST_ROUNDS, TOLERANCE

    if found.used and found.used < found.observations:
        yield f"the ceiling is of {found.used} evenly spaced observations: for all of them it is lower"
    if found.stopped:
        yield "the search was ended before it was done: the ceiling lies in its bracket, and some brackets are wide"
    elif any(v.upper - v.lower > TOLERANCE for v in found.values if v.upper is not None and v.lower is not None):
        yield f"a bracket wider than {TOLERANCE} nats was not made narrower in {MOST_ROUNDS} rounds"


def _diagram(found: "DataForecast", pairs: list[tuple[float, float]]) -> str:
    """Active units over β and σ²: of the largest L."""
    from tabulate import tabulate

    betas, variances = sorted({b for b, _ in pairs}), sorted({s for _, s in pairs}, reverse=True)
    count = {v.tau: list(v.active_units.values())[-1] for v in found.values if v.active_units}
    rows = [[f"σ² = {s:g}", *(str(count.get(b * s, "")) for b in betas)] for s in variances]
    return tabulate(rows, ["active units", *(f"β = {b:g}" for b in betas)], disable_numparse=True, stralign="right")
