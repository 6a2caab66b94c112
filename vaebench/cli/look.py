"""The verbs that look at runs, by their records alone."""

from typing import Annotated

import typer

from vaebench.cli.arguments import RESULTS, RUNS
from vaebench.cli.terminal import console


def show(run: Annotated[str, typer.Argument(help="A run's folder, its record, or the beginning of its id.")]) -> None:
    """A run's card: its numbers, its units, and the verdict on collapse, from its record."""
    from vaebench.reporting import select
    from vaebench.reporting.terminal.run_summary import card

    console.print(card(select.run(run, (RUNS, RESULTS))))


def compare(
    first: Annotated[str, typer.Argument(help="A run, a study, or a row of one, e.g. beta:beta=4.")],
    second: Annotated[str, typer.Argument(help="The same.")],
) -> None:
    """Two configurations, or two studies row by row, paired by seed, from their records."""
    from vaebench.reporting import select
    from vaebench.reporting.terminal.comparison import pairs, versus

    sides = (select.rows(word, (RUNS, RESULTS)) for word in (first, second))
    console.print(versus(pairs(*sides)))
