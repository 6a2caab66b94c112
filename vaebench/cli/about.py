"""Commands about the components, the studies and this installation."""

from pathlib import Path
from typing import Annotated

import typer

from vaebench.cli.arguments import CONF
from vaebench.cli.terminal import console
from vaebench.reporting.terminal.printing import line


def list_() -> None:
    """List everything that a YAML file may name, and the studies."""
    from vaebench.cli.catalogue import catalogue

    for heading, rows in catalogue(CONF):
        console.print(line((heading, "bold")))
        width = max(len(name) for name, _ in rows)
        for name, about in rows:
            console.print(f"  {name:{width}}  {about}", soft_wrap=True)


def doctor() -> None:
    """Show versions, devices, the state of torchvision, and the data that is found."""
    from vaebench.cli.doctor_checks import examine

    for topic, item, found, remedy in examine():
        console.print(f"{topic:12} {item:18} {found}", soft_wrap=True)
        if remedy is not None:
            console.print(line(31 * " ", (f" → {remedy}", "yellow")), soft_wrap=True)


def schema(path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("conf/schema.json")) -> None:
    """Write the JSON schema of a study file. An editor uses it to complete and check the file."""
    from vaebench.config import schema as schemas

    schemas.write(path)
    console.print(f"wrote {path}", soft_wrap=True)
