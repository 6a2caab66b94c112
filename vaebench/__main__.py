"""The verbs of the command line. torch is imported inside a verb, and only by those that train or measure.

Long because every verb stands here with its options; what a verb does stands elsewhere.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from vaebench.config import Study

app = typer.Typer(
    help="Autoencoders compared honestly: sweeps that record bounds, active units and collapse into tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console(highlight=False)

RUNS, RESULTS, CONF = Path("runs"), Path("results"), Path("conf")

StudyFile = Annotated[Path, typer.Argument(help="A study, e.g. conf/beta.yaml.", metavar="STUDY", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="beta=4, model.latent_dim=5,10, seed=0..4", metavar="[KEY=VALUE]...")
]
WandbMode = Annotated[Literal["offline", "online", "disabled"], typer.Option(help="Weights & Biases.")]
Pack = Annotated[str, typer.Option(help="How many runs may train as one program: auto, off or a number.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads a run; one keeps small runs reproducible to the bit.")]


@contextmanager
def refusing() -> Iterator[None]:
    """What a user can mend becomes one line a fault and status 1; anything else keeps its traceback."""
    try:
        yield
    except (ValueError, LookupError, OSError) as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]error:[/] {escape(str(error))}")
        raise typer.Exit(1) from None


@app.command()
def sweep(
    study: StudyFile,
    overrides: Overrides = None,
    wandb: WandbMode = "offline",
    threads: Threads = 1,
    pack: Pack = "auto",
) -> None:
    """Train and measure every run of a study that is not done, then write its tables. The same command resumes."""
    with refusing():
        from vaebench.plan import most_of

        plan, most = _load(study, overrides), most_of(pack)
        folder = RUNS / plan.name
        from vaebench.run import Execution
        from vaebench.sweep import sweep as execute

        try:
            outcome = execute(plan, folder, Execution(wandb, threads, most), console)
        except KeyboardInterrupt:
            console.print("stopped; what is done is kept, the same command goes on")
            raise typer.Exit(130) from None
        _show(outcome.records, folder, plan)
        if outcome.failed or outcome.missing:
            console.print(f"[red]{len(outcome.failed)} failed, {len(outcome.missing)} not recorded[/]")
            raise typer.Exit(1)


@app.command()
def train(
    study: StudyFile,
    overrides: Overrides = None,
    id: Annotated[str | None, typer.Option(help="The run's id, as records and tables show it.")] = None,
    wandb: WandbMode = "offline",
    threads: Threads = 1,
) -> None:
    """Train and measure one run of a study, chosen by overrides or by its id; done before or not."""
    with refusing():
        plan = _load(study, overrides)
        run = plan.only(id)
        from vaebench.progress import Display, summary
        from vaebench.run import Execution, execute

        folder = RUNS / plan.name / run.id
        with Display(plan.name, 1, 0, console) as display:
            record = execute(run, plan.name, list(plan.axes), folder, Execution(wandb, threads), display.watch(run))
        console.print(f"{run.id} {run.slug}: {summary(record)}\n{folder / 'record.json'}")
        if record.status == "failed":
            raise typer.Exit(1)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run's folder, runs/STUDY/ID, or the checkpoint in it.")],
    draws: Annotated[int | None, typer.Option(min=1, help="K; the run's own if not given.")] = None,
    k: Annotated[str | None, typer.Option(help="Sizes of the IWAE bounds, e.g. 1,64,1000.")] = None,
    split: Annotated[Literal["train", "validation", "test"] | None, typer.Option(help="The run's own.")] = None,
    estimators: Annotated[str | None, typer.Option(help="Of log p(x), e.g. AnnealedImportanceSampling.")] = None,
) -> None:
    """Measure a trained run again, with other draws, bounds, split or estimators. Prints; the record stays as it is."""
    with refusing():
        from vaebench.reevaluate import reevaluate

        sizes = None if k is None else tuple(int(n) for n in k.split(","))
        seen = reevaluate(run, draws, sizes, split, estimators)
        for estimate in seen.estimates:
            if not isinstance(estimate.value, list):
                error = "" if estimate.standard_error is None else f" ± {estimate.standard_error:.4f} (standard error)"
                note = f"  [{estimate.note}]" if estimate.note else ""
                console.print(escape(f"{estimate.name:30} {estimate.value:12.4f}{error}{note}"))
        for name, reason in seen.absent.items():
            console.print(escape(f"{name:30} {'':12} {reason}"), soft_wrap=True)


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="A run's folder, its record, or the beginning of its id.")],
) -> None:
    """A run's card: its numbers, its units, and the verdict on collapse, from its record."""
    with refusing():
        from vaebench import selection
        from vaebench.cards.run import card

        console.print(card(selection.run(run, (RUNS, RESULTS))))


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="A run, a study, or a row of one, e.g. beta:beta=4.")],
    second: Annotated[str, typer.Argument(help="The same.")],
) -> None:
    """Two configurations, or two studies row by row, paired by seed, from their records."""
    with refusing():
        from vaebench import selection
        from vaebench.cards.versus import pairs, versus

        sides = (selection.rows(word, (RUNS, RESULTS)) for word in (first, second))
        console.print(versus(pairs(*sides)))


@app.command()
def calibrate(
    study: Annotated[Path, typer.Argument(help="Linear VAEs on linear-Gaussian data.", metavar="[STUDY]")] = Path(
        "conf/calibration.yaml"
    ),
    wandb: WandbMode = "disabled",
    threads: Threads = 1,
) -> None:
    """Grade every instrument against an exact answer; status 1 if one is out."""
    with refusing():
        plan = _load(study, None)
        from vaebench.calibration import grade, tabulation
        from vaebench.calibration.calibrate import calibrate as grades_of
        from vaebench.run import Execution

        folder = RUNS / plan.name
        grades = grades_of(plan, folder, Execution(wandb, threads), console)
        grade.write(grades, folder)
        tabulation.write(grades, folder)
        console.print(escape(tabulation.markdown(grades)), soft_wrap=True)
        for wrong in (g for g in grades if not g.is_within):
            console.print(f"[red]out:[/] {escape(str(wrong))}", soft_wrap=True)
        console.print(tabulation.verdict(grades))
        if not all(g.is_within for g in grades):
            raise typer.Exit(1)


@app.command()
def table(
    studies: Annotated[list[Path] | None, typer.Argument(help="Studies; all with results if none is given.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Fail if what is committed differs.")] = False,
) -> None:
    """Write the tables of results/ again from their records alone."""
    with refusing():
        from vaebench import record
        from vaebench.calibration import grade, tabulation
        from vaebench.tables import table as tables

        names = [s.stem for s in studies] if studies else sorted(p.parent.name for p in RESULTS.glob("*/records"))
        stale = []
        for name in names:
            folder = RESULTS / name
            records, grades = record.read_all(folder), grade.read(folder)
            if not records:
                raise FileNotFoundError(f"{folder}: no records; run `python -m vaebench sweep conf/{name}.yaml`")
            if check:
                stale += [*tables.check(records, folder), *tabulation.check(grades, folder)]
            else:
                tables.write(records, folder)
                tabulation.write(grades, folder)
            console.print(f"{folder}: {len(records)} records")
        if stale:
            console.print(f"[red]differ from their records:[/] {', '.join(map(str, stale))}; run `vaebench table`")
            raise typer.Exit(1)


@app.command()
def report(
    studies: Annotated[list[Path] | None, typer.Argument(help="Studies; all with results if none is given.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Fail if what is committed differs.")] = False,
) -> None:
    """Write the pages of results/ again from their records alone, and the page over them."""
    with refusing():
        from vaebench.report import site

        found = (site.check if check else site.write)(RESULTS, CONF, [s.stem for s in studies] if studies else None)
        if check and found:
            console.print(f"[red]differ from their records:[/] {', '.join(map(str, found))}; run `vaebench report`")
            raise typer.Exit(1)
        for path in found:
            console.print(str(path), soft_wrap=True)


@app.command()
def publish(study: StudyFile) -> None:
    """Move the light part of runs/STUDY (records, grades, tables) to results/STUDY, the published reference."""
    with refusing():
        from vaebench import published
        from vaebench.calibration import grade, tabulation
        from vaebench.report import site

        plan = _load(study, None)
        runs, results = RUNS / plan.name, RESULTS / plan.name
        files = published.publish(runs, results, [run.id for run in plan.runs])
        if grades := grade.read(runs):
            files += [grade.write(grades, results), *tabulation.write(grades, results)]
        files += site.write(RESULTS, CONF, [plan.name])
        console.print(f"{RESULTS / plan.name}: {len(files)} files written")


@app.command("list")
def list_() -> None:
    """Everything a YAML file may name, with one line each, and the studies."""
    with refusing():
        from vaebench.catalogue import catalogue

        for heading, rows in catalogue(CONF):
            console.print(f"[bold]{heading}[/]")
            width = max(len(name) for name, _ in rows)
            for name, line in rows:
                console.print(f"  {name:{width}}  {escape(line)}", soft_wrap=True)


@app.command()
def doctor() -> None:
    """Versions, devices, torchvision's state, the data found."""
    with refusing():
        from vaebench.doctor import examine

        for topic, item, found, remedy in examine():
            console.print(escape(f"{topic:12} {item:18} {found}"), soft_wrap=True)
            if remedy is not None:
                console.print(f"{'':31} [yellow]→ {escape(remedy)}[/]", soft_wrap=True)


@app.command()
def schema(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("conf/schema.json"),
) -> None:
    """Write the JSON schema of a study file, by which an editor completes and checks it."""
    with refusing():
        from vaebench.config import schema as schemas

        schemas.write(path)
        console.print(f"wrote {path}")


def _load(study: Path, overrides: list[str] | None) -> "Study":
    from vaebench.config import load

    return load(study, overrides or [])


def _show(records: list, folder: Path, plan: "Study") -> None:
    """Write a sweep's tables and page, print the tables, and say how they compare with the published ones."""
    from vaebench import published, record
    from vaebench.report import site
    from vaebench.tables import table as tables

    if not records:
        return
    tables.write(records, folder)
    page = site.write_one(records, folder, plan.question)
    console.print(escape((folder / "table.md").read_text()), soft_wrap=True)
    console.print(f"the same with charts: {page}", soft_wrap=True)
    results = RESULTS / plan.name
    reference = record.read_all(results)
    lines = published.compare(records, reference).lines() if reference else [f"{results}: nothing published"]
    for line in lines:
        console.print(escape(line), soft_wrap=True)


def main() -> None:
    """The console script."""
    app(prog_name="vaebench")


if __name__ == "__main__":
    main()
