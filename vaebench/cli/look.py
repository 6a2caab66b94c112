"""Commands that show runs, from the files that they left."""

from typing import Annotated

import typer

from vaebench.cli.arguments import RESULTS, RUNS, Json, Overrides, StudyFile, study_of
from vaebench.cli.terminal import console, print_json
from vaebench.reporting.terminal.printing import line


def status(
    study: StudyFile,
    overrides: Overrides = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until every run is done or has failed.")] = False,
    json: Json = False,
) -> None:
    """Show how far a sweep is, wherever it runs. Exit with status 1 if a run failed or its record is damaged."""
    from vaebench.sweeps.status import BAD, RunStatus, counts, looks

    plan, last = study_of(study, overrides), list[RunStatus]()
    for runs in looks(plan, RUNS / plan.place, watch):
        if json:
            print_json([run._asdict() for run in runs])
        elif runs != last:
            console.print(line((plan.name, "bold"), f": {counts(runs)}"), soft_wrap=True)
            for run in (r for r in runs if r.detail and r not in last):
                console.print(line(f"  {run.id}  {run.slug}: {run.state}, {run.detail}"), soft_wrap=True)
        last = runs
    if any(run.state in BAD for run in last):
        raise typer.Exit(1)


def show(
    run: Annotated[str, typer.Argument(help="A run's folder, its record, or the beginning of its id.")],
    json: Json = False,
) -> None:
    """Show one run from its record: its numbers, its latent units, and why they collapsed."""
    from json import loads

    from vaebench.records.record import encode
    from vaebench.reporting import select
    from vaebench.reporting.terminal import run_summary

    found = select.run(run, (RUNS, RESULTS))
    if json:
        print_json(loads(encode(found)))
    else:
        console.print(run_summary.show(found))


def compare(
    first: Annotated[str, typer.Argument(help="A run, a study, or a row of one, e.g. beta:beta=4.")],
    second: Annotated[str, typer.Argument(help="Another run, study or row.")],
) -> None:
    """Compare two configurations, or two studies row by row, from their records, paired by seed."""
    from vaebench.reporting import select
    from vaebench.reporting.terminal import comparison

    sides = (select.find(word, (RUNS, RESULTS)) for word in (first, second))
    console.print(comparison.compare(comparison.pairs(*sides)))
