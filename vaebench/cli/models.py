"""The commands that use a trained model: sample, encode, reconstruct, interpolate, score, export."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vaebench.cli.arguments import SeedOption
from vaebench.cli.terminal import console

if TYPE_CHECKING:
    from torch import Tensor

    from vaebench.sweeps.trained import Trained


RunName = Annotated[str, typer.Argument(help="A run's id or folder, or a checkpoint.", metavar="RUN")]
DataFile = Annotated[
    Path | None, typer.Argument(help="Observations: .npy, or .npz with x; without it, the run's own data.")
]
Split = Annotated[
    Literal["train", "validation", "test"] | None, typer.Option(help="Of the run's own data; by default the run's.")
]
Out = Annotated[Path | None, typer.Option(help="Where to write: .npz, or .png for images; never overwritten.")]


def sample(
    run: RunName,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many.")] = 64,
    mean: Annotated[bool, typer.Option("--mean", help="The mean of p(x|z) instead of a sample of it.")] = False,
    seed: SeedOption = 0,
    out: Out = None,
) -> None:
    """Sample from a trained model: z from its own prior, then x from p(x|z)."""
    place, trained = _opened(run, out or Path("samples.npz"))
    x = trained.model.sample(count, seed, mean)
    _write(place, trained.origin(count=count, mean=mean, seed=seed), 8, x=x)


def encode(run: RunName, file: DataFile = None, split: Split = None, out: Out = None) -> None:
    """Write the mean and standard deviation of q(z|x) of every observation, with its label, as npz."""
    from torch import cat, inference_mode

    from vaebench.models.parts.posteriors import unit_stddev

    place, trained = _opened(run, out or Path("codes.npz"), images=False)
    (x, label), source = trained.observations(file, split)
    with inference_mode():
        codes = [trained.model.encode(part) for part in x.split(ROWS)]
    columns = {"mean": cat([q.mean for q in codes]), "stddev": cat([*map(unit_stddev, codes)]), "label": label}
    _write(place, trained.origin(source), 0, **columns)


def reconstruct(run: RunName, file: DataFile = None, split: Split = None, out: Out = None) -> None:
    """Write every observation with its reconstruction: the mean of p(x|z) at the mean of q(z|x)."""
    from torch import cat

    place, trained = _opened(run, out or Path("reconstructions.npz"))
    (x, label), source = trained.observations(file, split)
    back = cat([trained.model.reconstruct(part) for part in x.split(ROWS)])
    _write(place, trained.origin(source), 2, x=x, reconstruction=back, label=label)


def interpolate(
    run: RunName,
    file: DataFile = None,
    between: Annotated[str, typer.Option(help="Two observations by their places, from 0.")] = "0,1",
    steps: Annotated[int, typer.Option(min=2, help="Images, both ends included.")] = 9,
    split: Split = None,
    out: Out = None,
) -> None:
    """Decode codes on the straight line between the codes of two observations."""

    if not re.fullmatch(r"\s*\d{1,9}\s*,\s*\d{1,9}\s*", between):
        raise ValueError(f"--between: expected two whole numbers with a comma between them, e.g. 0,7, got {between!r}")
    first, second = map(int, between.split(","))
    place, trained = _opened(run, out or Path("interpolation.npz"))
    (x, _), source = trained.observations(file, split)
    if max(first, second) >= len(x):
        raise ValueError(f"--between: expected places below {len(x)}, the number of observations, got {between}")
    line = trained.model.interpolate(x[first : first + 1], x[second : second + 1], steps)[:, 0]
    _write(place, trained.origin(source, between=[first, second]), steps, x=line)


def score(
    run: RunName,
    file: DataFile = None,
    draws: Annotated[int, typer.Option(min=1, help="Draws of q(z|x) for each observation.")] = 5000,
    annealing: Annotated[
        int | None, typer.Option(min=1, help="Anneal from the prior instead, over so many temperatures.")
    ] = None,
    split: Split = None,
    seed: SeedOption = 0,
    out: Out = None,
) -> None:
    """Estimate log p(x) of every observation, with its error and its reliability; write npz and print the mean."""
    from vaebench.config.registry import ESTIMATORS
    from vaebench.evaluation import scoring
    from vaebench.records.description import Description
    from vaebench.reporting.terminal import measured

    place, trained = _opened(run, out or Path("scores.npz"), images=False)
    (x, label), source = trained.observations(file, split)
    spec = {"name": "AnnealedImportanceSampling", "temperatures": annealing, "bracket": False}
    estimator: Any = None if annealing is None else ESTIMATORS.build(spec)
    found = scoring.score(trained.model, x, draws, seed, estimator)
    columns = {
        "log_px": found.log_px, "error": found.error, "pareto_k": found.pareto_k,
        "effective_sample_size": found.effective, "unreliable": found.unreliable, "label": label,
    }  # fmt: skip
    settings = {"method": found.method, "draws": found.draws, "temperatures": annealing, "seed": seed}
    console.print(measured(found.mean, Description(unit="nats")), soft_wrap=True)
    count = int(found.unreliable.sum())
    console.print(f"{count} of {len(x)} observations rest on collapsed weights, so their log p(x) may be far too low")
    _write(place, trained.origin(source, **settings), 0, **columns)


def export(
    run: RunName,
    to: Annotated[Literal["onnx", "huggingface"], typer.Option(help="The format.")],
    out: Annotated[Path, typer.Option(help="The folder; made if it is missing.")],
    push: Annotated[str | None, typer.Option(help="Push the folder to this repository; needs your login.")] = None,
) -> None:
    """Export a trained model: encoder and decoder as ONNX, or a folder for Hugging Face with a model card."""
    from vaebench.sweeps import export as exports
    from vaebench.sweeps.trained import find

    if push is not None and to != "huggingface":
        raise ValueError("--push: only a folder for Hugging Face can be pushed; use --to huggingface")
    trained = find(run)
    for path in exports.onnx(trained, out) if to == "onnx" else exports.hugging_face(trained, out):
        console.print(str(path), soft_wrap=True)
    if push is not None:
        console.print(exports.push(out, push), soft_wrap=True)


ROWS = 1024  # observations that are encoded at a time


def _opened(run: str, out: Path, images: bool = True) -> "tuple[Path, Trained]":
    """The file to write, and the run. A file that cannot be written is refused before the run is read.

    Raises:
        FileExistsError: if there is such a file.
        ValueError: if its name ends in something else, or these numbers are no images.
        WriteError: if its folder cannot be written.
    """
    from vaebench.records.files import check_writable
    from vaebench.sweeps.trained import find

    kinds = (".npz", ".png") if images else (".npz",)
    if out.suffix not in kinds:
        raise ValueError(f"--out: expected a file that ends in {' or '.join(kinds)}, got {out}")
    if out.exists() or out.is_symlink():
        raise FileExistsError(f"{out}: exists already; choose another name by --out")
    check_writable(out.parent)
    return out, find(run)


def _write(out: Path, origin: dict[str, Any], columns: int, **arrays: "Tensor | None") -> None:
    """Write arrays as .npz, or those of images as one .png with so many images a row."""
    from vaebench.sweeps import trained

    if out.suffix == ".png":
        trained.write_png(out, [a for name, a in arrays.items() if a is not None and name != "label"], columns)
    else:
        trained.write_npz(out, origin, **arrays)
    console.print(str(out), soft_wrap=True)
