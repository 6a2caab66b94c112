"""The command line: the verbs of `vaebench.cli`, in the order in which help shows them."""

import typer

from vaebench.cli.about import doctor, list_, schema
from vaebench.cli.look import compare, show
from vaebench.cli.terminal import refusing, speak_utf8, steady
from vaebench.cli.work import calibrate, evaluate, sweep, train
from vaebench.cli.write import dashboard, publish, report, table

app = typer.Typer(
    help="Autoencoders compared honestly: sweeps that record bounds, active units and collapse into tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RUNS = (sweep, train, evaluate, show, compare, calibrate)
RESULTS = (table, report, publish, dashboard)
ABOUT = (list_, doctor, schema)

for verb in (*RUNS, *RESULTS, *ABOUT):
    app.command(verb.__name__.rstrip("_"))(refusing(verb))


def main() -> None:
    """The console script."""
    speak_utf8()
    steady()
    app(prog_name="vaebench")


if __name__ == "__main__":
    main()
