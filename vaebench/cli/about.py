"""The verbs about what there is to run, and to run it on."""

from pathlib import Path
from typing import Annotated

import typer

from vaebench.cli.arguments import CONF
from vaebench.cli.terminal import console
from vaebench.reporting.terminal.printing import line


def list_() -> None:
    """Everything a YAML file may name, with one line each, and the studies."""
    from vaebench.cli.catalogue import catalogue

    for heading, rows in catalogue(CONF):
        console.print(line((heading, "bold")))
        width = max(len(name) for name, _ in rows)
        for name, about in rows:
            console.print(f"  {name:{width}}  {about}", soft_wrap=True)


def doctor() -> None:
    """Versions, devices, torchvision's state, the data found."""
    from vaebench.cli.doctor_checks import examine

    for topic, item, found, remedy in examine():
        console.print(f"{topic:12} {item:18} {found}", soft_wrap=True)
        if remedy is not None:
            console.print(line(31 * " ", (f" → {remedy}", "yellow")), soft_wrap=True)


def schema(path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("conf/schema.json")) -> None:
    """Write the JSON schema of a study file, by which an editor completes and checks it."""
    from vaebench.config import schema as schemas

    schemas.write(path)
    console.print(f"wrote {path}", soft_wrap=True)
