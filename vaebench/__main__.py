"""The command line: the commands of `vaebench.cli`, in the order in which --help lists them."""

from typing import Annotated

import typer

from vaebench.cli.arguments import with_imports
from vaebench.cli.components import doctor, init, list_, new, schema, show_version
from vaebench.cli.measure import audit, calibrate, evaluate, forecast, measure
from vaebench.cli.models import encode, export, interpolate, reconstruct, sample, score
from vaebench.cli.results import compare, dashboard, ledger, publish, report, show, table
from vaebench.cli.terminal import ensure_utf8, make_streams_safe, with_plain_errors
from vaebench.cli.train import status, sweep, train

app = typer.Typer(
    help="A benchmark of autoencoders: sweeps that measure bounds, active units and collapse, and write tables.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=show_version)
    ] = False,
) -> None: ...


RUNS = (forecast, sweep, status, train, evaluate, show, compare, calibrate, measure)
USE = (sample, encode, reconstruct, interpolate, score, export, audit)
RESULTS = (table, report, ledger, publish, dashboard)
ABOUT = (list_, init, new, doctor, schema)

for command in (*RUNS, *USE, *RESULTS, *ABOUT):
    app.command(command.__name__.rstrip("_"))(with_plain_errors(with_imports(command)))


def main() -> None:
    """Run the command line."""
    ensure_utf8()
    make_streams_safe()
    app(prog_name="vaebench")


if __name__ == "__main__":
    main()
