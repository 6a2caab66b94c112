"""Commands that show runs, from their records alone."""

from typing import Annotated

import typer

from vaebench.cli.arguments import RESULTS, RUNS
from vaebench.cli.terminal import console


def show(run: Annotated[str, typer.Argument(help="A run's folder, its record, or the beginning of its id.")]) -> None:
    """Show one run from its record: its numbers, its latent units, and why they collapsed."""
    from vaebench.reporting import select
    from vaebench.reporting.terminal import run_summary

    console.print(run_summary.show(select.run(run, (RUNS, RESULTS))))


def compare(
    first: Annotated[str, typer.Argument(help="A run, a study, or a row of one, e.g. beta:beta=4.")],
    second: Annotated[str, typer.Argument(help="Another run, study or row.")],
) -> None:
    """Compare two configurations, or two studies row by row, from their records, paired by seed."""
    from vaebench.reporting import select
    from vaebench.reporting.terminal import comparison

    sides = (select.find(word, (RUNS, RESULTS)) for word in (first, second))
    console.print(comparison.compare(comparison.pairs(*sides)))
