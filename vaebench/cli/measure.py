"""The commands evaluate, calibrate, measure and audit. torch is imported inside them."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vaebench.cli.arguments import RESULTS, RUNS, Json, SeedOption, Threads, WandbMode, check_logging, study_of
from vaebench.cli.terminal import console, print_json
from vaebench.records.files import write_all
from vaebench.reporting.printing import line

if TYPE_CHECKING:
    from vaebench.evaluation.measure import Measurement


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
        from vaebench.evaluation.measure import grade_codes
        from vaebench.sweeps.trained import read_codes

        print_measurement(grade_codes(*read_codes(codes)), json)
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
    from vaebench.reporting.shown import measured

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
