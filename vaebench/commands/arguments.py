"""What several verbs are given: a study with overrides, how to execute it, the folders of a project."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from vaebench.config import Study

RUNS, RESULTS, CONF = Path("runs"), Path("results"), Path("conf")

StudyFile = Annotated[Path, typer.Argument(help="A study, e.g. conf/beta.yaml.", metavar="STUDY", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="beta=4, model.latent_dim=5,10, seed=0..4", metavar="[KEY=VALUE]...")
]
Studies = Annotated[list[Path] | None, typer.Argument(help="Studies; all with results if none is given.")]
Check = Annotated[bool, typer.Option("--check", help="Fail if what is committed differs.")]
WandbMode = Annotated[Literal["offline", "online", "disabled"], typer.Option(help="Weights & Biases.")]
Pack = Annotated[str, typer.Option(help="How many runs may train as one program: auto, off or a number.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads a run; one keeps small runs reproducible to the bit.")]


def study_of(file: Path, overrides: list[str] | None = None) -> "Study":
    """The study in a file, checked."""
    from vaebench.config import load

    return load(file, overrides or [])
