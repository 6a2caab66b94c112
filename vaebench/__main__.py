"""The command line: the verbs of `vaebench.commands`, in the order in which help shows them."""

import typer

from vaebench.commands.about import doctor, list_, schema
from vaebench.commands.look import compare, show
from vaebench.commands.terminal import refusing
from vaebench.commands.work import calibrate, evaluate, sweep, train
from vaebench.commands.write import publish, report, table

app = typer.Typer(
    help="Autoencoders compared honestly: sweeps that record bounds, active units and collapse into tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for verb in (sweep, train, evaluate, show, compare, calibrate, table, report, publish, list_, doctor, schema):
    app.command(verb.__name__.rstrip("_"))(refusing(verb))


def main() -> None:
    """The console script."""
    app(prog_name="vaebench")


if __name__ == "__main__":
    main()
