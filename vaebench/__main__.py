"""The command line: the commands of `vaebench.cli`, in the order in which --help lists them."""

import typer

from vaebench.cli.about import doctor, list_, schema
from vaebench.cli.look import compare, show
from vaebench.cli.terminal import ensure_utf8, make_streams_safe, with_plain_errors
from vaebench.cli.work import calibrate, evaluate, sweep, train
from vaebench.cli.write import dashboard, publish, report, table

app = typer.Typer(
    help="A benchmark of autoencoders: sweeps that measure bounds, active units and collapse, and write tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RUNS = (sweep, train, evaluate, show, compare, calibrate)
RESULTS = (table, report, publish, dashboard)
ABOUT = (list_, doctor, schema)

for command in (*RUNS, *RESULTS, *ABOUT):
    app.command(command.__name__.rstrip("_"))(with_plain_errors(command))


def main() -> None:
    """Run the command line."""
    ensure_utf8()
    make_streams_safe()
    app(prog_name="vaebench")


if __name__ == "__main__":
    main()
