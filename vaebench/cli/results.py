"""The commands that read records: show, compare, table, report, ledger, publish, dashboard."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vaebench.cli.arguments import RESULTS, RUNS, Check, Json, Overrides, Studies, StudyFile, study_of
from vaebench.cli.terminal import console, counted, print_json
from vaebench.records.files import PAPER, SUFFIXES, place, published_studies, record_paths, stale, write_all
from vaebench.reporting.printing import line

if TYPE_CHECKING:
    from vaebench.records.record import Record


def show(
    run: Annotated[str, typer.Argument(help="A run's folder, its record, or the beginning of its id.")],
    json: Json = False,
) -> None:
    """Show one run from its record: its numbers, its latent units, and why they collapsed."""
    from json import loads

    from vaebench.records.record import encode
    from vaebench.reporting import select, terminal

    found = select.run(run, (RUNS, RESULTS))
    if json:
        print_json(loads(encode(found)))
    else:
        console.print(terminal.show(found))


def compare(
    first: Annotated[str, typer.Argument(help="A run, a study, or a row of one, e.g. beta:beta=4.")],
    second: Annotated[str, typer.Argument(help="Another run, study or row.")],
) -> None:
    """Compare two configurations, or two studies row by row, from their records, paired by seed."""
    from vaebench.reporting import select, terminal

    sides = (select.find(word, (RUNS, RESULTS)) for word in (first, second))
    console.print(terminal.compare(terminal.pairs(*sides)))


def table(studies: Studies = None, check: Check = False) -> None:
    """Write the tables in results/, or in a folder such as runs/beta, from their records alone."""
    from vaebench.calibration import grade
    from vaebench.config import loading, presentation
    from vaebench.records import record
    from vaebench.reporting.tables import rendering

    folders = (
        [s if record_paths(s) else RESULTS / _place(s) for s in studies] if studies else published_studies(RESULTS)
    )
    found, wrong = list[Path](), []
    for folder in folders:
        try:
            records, grades = record.read_all(folder), grade.read(folder)
        except record.RecordError as error:
            wrong.append(error)  # the other studies still get their tables
            continue
        if not records:
            raise FileNotFoundError(f"{folder}: no records; run `python -m vaebench sweep conf/{folder.name}.yaml`")
        asked = presentation.read(presentation.file_of(loading.studies(), _place(folder)))
        remarks = [] if folder.is_relative_to(RESULTS) else _notes(folder, records)
        found += (stale if check else write_all)(
            rendering.files(records, folder, remarks, asked) | grade.files(grades, folder)
        )
        console.print(f"{folder}: {counted(records, 'record')}", soft_wrap=True)
    differ = check and _print_stale(found, "table")
    if wrong:
        raise ValueError("\n".join(map(str, wrong)))
    if differ:
        raise typer.Exit(1)


def _place(given: Path) -> Path:
    """The study that is meant, below `results/`: by its file, its folder, or the end of its path."""
    if given.suffix in SUFFIXES:
        return place(given)
    return Path(PAPER, given.name) if given.parent.name == PAPER else Path(given.name)


def _notes(folder: Path, records: "list[Record]") -> list[str]:
    """The note about runs that the study of that folder, if there is one, does not have."""
    from vaebench.config import ConfigError, loading, presentation
    from vaebench.sweeps.status import remarks_on_overrides

    try:
        return remarks_on_overrides(study_of(presentation.file_of(loading.studies(), _place(folder))), records)
    except ConfigError:
        return []


def report(studies: Studies = None, check: Check = False) -> None:
    """Write the pages in results/, and the page that lists them, from the records alone."""
    from vaebench.config import loading
    from vaebench.reporting.page import site

    named = [_place(s).as_posix() for s in studies] if studies else None
    found = (stale if check else write_all)(site.pages(RESULTS, loading.studies(), named))
    _conclude(found, check, "report")


def ledger(
    records: Annotated[Path, typer.Argument(help="Folder of the records; only results/ is written to.")] = RESULTS,
    check: Check = False,
    claim: Annotated[int | None, typer.Option(help="Print all numbers of this claim, and write nothing.")] = None,
) -> None:
    """Judge every claim of results/paper/claims.yaml from the records alone, and write the ledger beside it."""
    from vaebench.reporting.ledger import rendering

    if check and (records != RESULTS or claim is not None):
        raise ValueError(f"--check compares the ledger in {RESULTS}/ alone: leave out the folder and --claim")
    judged = rendering.judgements(RESULTS, records)
    if claim is not None:
        chosen = [j for j in judged if j.claim.id == claim]
        if not chosen:
            raise ValueError(f"expected a claim from {judged[0].claim.id} to {judged[-1].claim.id}, got {claim}")
        console.print(rendering.one(chosen[0]), soft_wrap=True)
        return
    console.print(rendering.terminal(judged), soft_wrap=True)
    for fault in (fault for j in judged for fault in j.evidence.faults):
        console.print(line(("refused:", "red"), f" {fault}"), soft_wrap=True)
    if records == RESULTS:
        _conclude((stale if check else write_all)(rendering.files(judged, RESULTS)), check, "ledger")


def publish(
    study: StudyFile,
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Publish what is done, although runs failed or are missing.")
    ] = False,
) -> None:
    """Copy records, grades and tables of runs/STUDY to results/STUDY, the published reference."""
    from vaebench.calibration import grade
    from vaebench.config import loading
    from vaebench.reporting import comparison
    from vaebench.reporting.page import site

    plan = study_of(study)
    runs, results = RUNS / plan.place, RESULTS / plan.place
    planned = [run.id for run in plan.runs]
    files = comparison.publish(runs, results, planned, incomplete=incomplete, presentation=plan.presentation)
    files += write_all(grade.files(grade.read(runs), results))
    files += write_all(site.pages(RESULTS, loading.studies(), [plan.place.as_posix()]))
    console.print(f"{RESULTS / plan.place}: {counted(files, 'file')} written", soft_wrap=True)


def dashboard(
    study: StudyFile,
    overrides: Overrides = None,
    save: Annotated[bool, typer.Option("--save", help="Save it to W&B. This needs a login.")] = False,
    entity: Annotated[str | None, typer.Option(help="The W&B entity. Default: W&B's default entity.")] = None,
) -> None:
    """Write a study's W&B workspace and report as JSON to runs/STUDY and list the panels; --save saves both to W&B."""
    from vaebench.records import record
    from vaebench.records.files import write_atomically
    from vaebench.reporting.wandb import dashboard as dashboards

    plan = study_of(study, overrides)
    folder = RUNS / plan.place
    records = record.read_all(RUNS / plan.place) or record.read_all(RESULTS / plan.place)
    if records:
        expected = {}
    else:
        from vaebench.sweeps.run import expected_of  # imports torch

        expected = expected_of(plan.runs[0])
    usual = dashboards.logged_in().default_entity if save else None
    owner = entity or usual or ""
    made = dashboards.workspace(plan, records, owner, expected)
    written = dashboards.report(plan, records, made)
    for section, panels in dashboards.outline(made):
        console.print(line((section, "bold"), f"\n  {', '.join(panels)}"), soft_wrap=True)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("dashboard.json", made), ("wandb_report.json", written)):
        write_atomically(folder / name, dashboards.encoded(content))
        console.print(str(folder / name), soft_wrap=True)
    for view in (made, written) if save else ():
        console.print(str(view.save().url), soft_wrap=True)


def _conclude(files: Sequence[Path], check: bool, verb: str) -> None:
    """Say which files were written; after a check, exit with status 1 if these files differ from their records."""
    if check and _print_stale(files, verb):
        raise typer.Exit(1)
    for path in files:
        console.print(str(path), soft_wrap=True)


def _print_stale(files: Sequence[Path], verb: str) -> bool:
    """Say which files differ from their records, if any do; returns whether any does."""
    if files:
        text = f" {', '.join(map(str, files))}; run `vaebench {verb}`"
        console.print(line(("differ from their records:", "red"), text), soft_wrap=True)
    return bool(files)
