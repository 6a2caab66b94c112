"""The commands list, init, new and schema: what a study may name, and files to start from."""

from pathlib import Path
from typing import Annotated, Literal

import typer

import vaebench
from vaebench.cli.arguments import Json
from vaebench.cli.terminal import console, counted, print_json
from vaebench.reporting.printing import line


def show_version(asked: bool) -> bool:
    """Print the version and end, if asked."""
    if asked:
        console.print(f"vaebench {vaebench.__version__}")
        raise typer.Exit
    return asked


def list_(
    name: Annotated[str | None, typer.Argument(help="A component, e.g. BetaVAE: show its keys.")] = None,
    json: Json = False,
) -> None:
    """List everything that a YAML file may name, and the studies; with a name, every key of that component."""
    from vaebench.cli.catalogue import catalogue, keys_of
    from vaebench.config import loading

    folder = loading.studies()
    if json and name:
        print_json({heading: [key._asdict() for key in keys] for heading, keys in keys_of(name)})
    elif json:
        print_json({heading: dict(rows) for heading, rows in catalogue(folder)})
    elif name:
        for heading, keys in keys_of(name):
            console.entry("", heading, "bold")
            for key in keys:
                console.entry(f"  {key.name}: ", f"{key.expected}{key.default_text}")
                console.entry(6 * " ", key.help)
    else:
        for heading, rows in catalogue(folder):
            console.print(line((heading, "bold")))
            width = max((len(entry) for entry, _ in rows), default=0)
            for entry, about in rows:
                console.entry(f"  {entry:{width}}  ", about)


def init(folder: Annotated[Path, typer.Argument(help="Where the folder conf/ is made.")] = Path()) -> None:
    """Copy the shipped studies to conf/ in this folder, to start your own from. No file is overwritten."""
    from vaebench.config import loading

    made = loading.copy_to(folder / "conf")
    console.print(f"{folder / 'conf'}: {counted(made, 'file')} written", soft_wrap=True)


def new(
    kind: Annotated[Literal["model", "metric", "dataset"], typer.Argument(help="What it is.")],
    name: Annotated[str, typer.Argument(help="The name of its class, e.g. CapacityVAE.")],
) -> None:
    """Write the file of a new model, metric or data set, and its test, into this folder. Both work as they are."""
    from vaebench.cli.starters import write

    for path in write(kind, name, Path()):
        console.print(str(path))


def schema(path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("conf/schema.json")) -> None:
    """Write the JSON schema of a study file. An editor uses it to complete and check the file."""
    from vaebench.config import schema as schemas

    schemas.write(path)
    console.print(f"wrote {path}", soft_wrap=True)
