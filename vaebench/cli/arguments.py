"""Arguments that several commands share: a study with overrides, how to execute it, the folders of a project."""

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from vaebench.config import Study

RUNS, RESULTS = Path("runs"), Path("results")

StudyFile = Annotated[
    Path,
    typer.Argument(
        help="A study: its file, e.g. conf/beta.yaml, or its name, e.g. beta.", metavar="STUDY", show_default=False
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="E.g. beta=4, model.latent_dim=5,10 or seed=0..4.", metavar="[KEY=VALUE]...")
]
Studies = Annotated[list[Path] | None, typer.Argument(help="Studies; without any, all that have results.")]
Check = Annotated[bool, typer.Option("--check", help="Write nothing; fail if the files differ from their records.")]
WandbMode = Annotated[Literal["offline", "online", "disabled"], typer.Option(help="Mode of Weights & Biases.")]
WandbSet = Annotated[
    list[str] | None, typer.Option(help="project=, entity=, tags= or notes= of W&B runs; may be repeated.")
]
Loggers = Annotated[
    list[str] | None,
    typer.Option("--logger", help="Log beside W&B: csv or tensorboard, to runs/STUDY/csv and so on; may be repeated."),
]
Pack = Annotated[str, typer.Option(help="How many runs may train as one program: auto, off or a number.")]
Threads = Annotated[
    int, typer.Option(min=1, max=1024, help="CPU threads per run; with one, small runs are reproducible to the bit.")
]

Tf32 = Annotated[bool, typer.Option("--tf32", help="Train with TF32 products on a GPU; evaluation stays float32.")]
Bf16 = Annotated[bool, typer.Option("--bf16", help="Decode draws in bfloat16: a preview; records have its error.")]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile the step of long trainings on a CPU; numbers move by rounding.")
]
Engine = Annotated[
    Literal["auto", "inline", "processes", "ray", "slurm"],
    typer.Option(help="Where packs run; auto: all cores, this process for one GPU, Ray for several or a cluster."),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Packs at the same time; by default one per GPU, or core without a GPU; 1: one core."),
]
Gpus = Annotated[float | None, typer.Option(min=0, help="GPUs per pack; with Ray, 0.5 lets two packs share one.")]
Address = Annotated[str | None, typer.Option(help="Address of a Ray cluster: auto, HOST:6379 or ray://HOST:10001.")]
Slurm = Annotated[list[str] | None, typer.Option(help="An option of sbatch, e.g. partition=gpu; may be repeated.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for a script.")]
SeedOption = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of all randomness.")]
SaveEvery = Annotated[
    float, typer.Option(min=0, help="Seconds between two snapshots of a run in training, at ends of epochs.")
]


def study_of(file: Path, overrides: list[str] | None = None) -> "Study":
    """The study in a file, checked."""
    from vaebench.config import load

    return load(file, overrides or [])


def wandb_variables(settings: list[str] | None) -> dict[str, str]:
    """The variables of W&B that `--wandb-set` stands for.

    >>> wandb_variables(["project=mine"])
    {'WANDB_PROJECT': 'mine'}

    Raises:
        ValueError: for an unknown setting.
    """
    pairs = [setting.partition("=") for setting in settings or ()]
    for key, equals, _ in pairs:
        if key not in ("project", "entity", "tags", "notes") or not equals:
            raise ValueError(f"--wandb-set: expected project=, entity=, tags= or notes= and a value, got {key[:40]!r}")
    return {f"WANDB_{key.upper()}": value for key, _, value in pairs}


def check_logging(mode: str, loggers: Sequence[str] | None = None) -> None:
    """Refuse W&B online without a login, and a logger that is unknown or has no library."""
    if loggers:
        from vaebench.training.loggers import check

        check(loggers)
    if mode == "online":
        from vaebench.sweeps.preflight import check_login

        check_login()


OPTION = Annotated[
    list[str] | None,
    typer.Option(
        "--import", metavar="FILE", help="A file (mine.py) or module with further components; may be repeated."
    ),
]


def with_imports(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option `--import`. What it names is read before the command, and executed when it is used."""

    @wraps(command)
    def wrapped(*args: Any, import_: list[str] | None = None, **kwargs: Any) -> None:
        from vaebench.config import imports

        imports.give(import_ or [])
        command(*args, **kwargs)

    own = inspect.signature(command)
    option = inspect.Parameter("import_", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=OPTION)
    wrapped.__signature__ = own.replace(parameters=[*own.parameters.values(), option])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {**command.__annotations__, "import_": OPTION}
    return wrapped
