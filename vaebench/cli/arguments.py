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
Threads = Annotated[
    int, typer.Option(min=1, max=1024, help="CPU threads a run; one keeps small runs reproducible to the bit.")
]

Engine = Annotated[
    Literal["auto", "inline", "ray", "slurm"],
    typer.Option(help="Where packs are executed; auto: Ray for several GPUs or workers, else this process."),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Packs at a time; one a GPU (or core) by Ray, if not given.")]
Gpus = Annotated[float | None, typer.Option(min=0, help="GPUs of a pack; by Ray, 0.5 lets two share one.")]
Address = Annotated[str | None, typer.Option(help="Of a Ray cluster: auto, HOST:6379 or ray://HOST:10001.")]
Slurm = Annotated[list[str] | None, typer.Option(help="A parameter of sbatch, e.g. partition=gpu; may be repeated.")]
SaveEvery = Annotated[float, typer.Option(min=0, help="Seconds from one snapshot of a run in training to the next.")]


def study_of(file: Path, overrides: list[str] | None = None) -> "Study":
    """The study in a file, checked."""
    from vaebench.config import load

    return load(file, overrides or [])
