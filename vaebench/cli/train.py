"""The commands sweep, train and status. torch is imported inside them."""

import gc
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaebench.cli import arguments as given
from vaebench.cli.arguments import RESULTS, RUNS, check_logging, study_of, wandb_variables
from vaebench.cli.terminal import console, counted, print_json
from vaebench.records.collection import importing
from vaebench.records.files import RECORD, check_writable
from vaebench.reporting.printing import line
from vaebench.training.signals import handled

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from vaebench.config import Run, Study
    from vaebench.records.record import Record
    from vaebench.reporting.page.ahead import PageAhead
    from vaebench.reporting.tables.table import Table
    from vaebench.reporting.wandb.runs import Mode
    from vaebench.sweeps.engines import Choice
    from vaebench.sweeps.engines import Engine as AnyEngine
    from vaebench.sweeps.run import Execution
    from vaebench.sweeps.status import Outcome


def sweep(
    study: given.StudyFile,
    overrides: given.Overrides = None,
    wandb: given.WandbMode = "offline",
    wandb_set: given.WandbSet = None,
    logger: given.Loggers = None,
    threads: given.Threads = 1,
    pack: given.Pack = "auto",
    engine: given.Engine = "auto",
    workers: given.Workers = None,
    gpus: given.Gpus = None,
    address: given.Address = None,
    slurm: given.Slurm = None,
    save_every: given.SaveEvery = 60.0,
    tf32: given.Tf32 = False,
    bf16: given.Bf16 = False,
    compile: given.Compile = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    json: given.Json = False,
) -> None:
    """Train and measure every run of a study that is not done, and write its tables. The same command resumes."""
    from vaebench.sweeps.packs import max_pack_size

    plan = study_of(study, overrides)
    folder = RUNS / plan.place
    max_pack_size(pack)  # a wrong option is refused before torch is imported
    check_logging(wandb, logger)
    os.environ.update(wandb_variables(wandb_set))  # also for the sweep's own W&B run
    unfinished = _unfinished(plan, folder, overrides, wandb, dry_run)
    if not unfinished and not dry_run:
        return
    with _begin(plan, json, wanted=not dry_run) as page:  # before torch is imported
        with importing():  # torch
            from vaebench.sweeps import preflight
            from vaebench.sweeps.engines import Choice
            from vaebench.sweeps.run import Execution
        options = Choice(engine, workers, threads, gpus, address, slurm or (), folder, console.sentence, plan.runs)
        where, max_size = _engine_and_pack_size(options, pack)
        pending = [run for run in plan.runs if run.id in unfinished]
        preflight.refuse(plan, pending, where)
        if dry_run:
            _announce(plan, pending, where, max_size, json)
            return
        how = Execution(wandb, threads, max_size, save_every, tf32, bf16, compile, **_logging(plan, wandb_set, logger))
        _conclude(_executed(plan, folder, how, where, unfinished), plan, folder, overrides, wandb, page)


def _unfinished(
    plan: "Study", folder: Path, overrides: list[str] | None, wandb: "Mode", dry_run: bool
) -> "Collection[str]":
    """The ids of the runs that are not done. If there is none, the sweep is concluded here, without importing torch."""
    from vaebench.sweeps.status import complete, outcome_of

    before = outcome_of(plan, folder)
    if not before.unfinished and not dry_run:
        from vaebench.reporting.page.ahead import PageAhead

        _conclude(complete(plan, folder, before, console), plan, folder, overrides, wandb, PageAhead(wanted=False))
    return before.unfinished  # and not the records: they take memory, and training does not need them


def _engine_and_pack_size(choice: "Choice", pack: str) -> "tuple[AnyEngine, int]":
    """The engine of a sweep, and the size of its largest pack."""
    from vaebench.sweeps.engines import gpus
    from vaebench.sweeps.engines.choice import build
    from vaebench.sweeps.packs import max_pack_size

    there = gpus()
    has_gpu = there > 0 if choice.gpus is None else choice.gpus > 0
    return build(choice, there), max_pack_size(pack, on_gpu=has_gpu)


def _begin(plan: "Study", json: bool, wanted: bool) -> "PageAhead":
    """Say what is swept, since nothing else is said for the seconds in which torch is imported."""
    if not json:
        text = f": {plan.question} {counted(plan.runs, 'run')}; loading PyTorch"
        console.print(line((plan.name, "bold"), text), soft_wrap=not console.is_terminal)
    from vaebench.reporting.page.ahead import PageAhead

    return PageAhead(wanted)


def _logging(plan: "Study", wandb_set: list[str] | None, loggers: "Sequence[str] | None") -> dict[str, Any]:
    """The arguments of an execution that say where runs are logged."""
    variables = wandb_variables(wandb_set)
    return {"wandb_variables": variables, "question": plan.question, "loggers": tuple(loggers or ())}


def _executed(
    plan: "Study", folder: Path, how: "Execution", where: "AnyEngine", unfinished: "Collection[str]"
) -> "Outcome":
    """Execute the runs that are not done. Ctrl-C ends the command with status 130."""
    from vaebench.sweeps.sweep import sweep as execute

    try:
        with handled(signal.SIGTERM, signal.default_int_handler):  # as Ctrl-C
            return execute(plan, folder, how, console, where, unfinished)
    except KeyboardInterrupt:
        console.print("stopped; finished work is kept, and the same command continues")
        raise typer.Exit(130) from None


def _conclude(
    outcome: "Outcome", plan: "Study", folder: Path, overrides: list[str] | None, wandb: "Mode", page: "PageAhead"
) -> None:
    """Show what a sweep found, log it, and exit with status 1 if a run has no numbers."""
    from vaebench.reporting.tables import table as tables
    from vaebench.reporting.wandb import runs as tracking

    gc.freeze()  # records of a thousand runs stay to the end: Python need not look for garbage among them
    if overrides:  # the answer in the file is about the runs in the file
        plan = replace(plan, presentation=replace(plan.presentation, answer=""))
    if records := outcome.records:
        remarks = _remarks(plan, folder, overrides)
        figures = page.begin(records, folder, plan.presentation, remarks)
        table = tables.table(records, remarks, plan.presentation)
        _show(table, records, folder, RESULTS / plan.place)
        tracking.conclude_sweep(plan, records, folder, wandb, figures, table)
        figures()
    _say_where(folder)
    if outcome.failed or outcome.missing:
        console.print(line((f"{len(outcome.failed)} failed, {len(outcome.missing)} not recorded", "red")))
        raise typer.Exit(1)


def _announce(plan: "Study", pending: "list[Run]", where: "AnyEngine", max_size: int, json: bool) -> None:
    """Print what a sweep would do."""
    from vaebench.sweeps.preflight import dry_run, duration

    packs = dry_run(pending, where, max_size, (RUNS / plan.place, RESULTS / plan.place))
    if json:
        print_json([{**pack._asdict(), "runs": [run.id for run in pack.runs]} for pack in packs])
        return
    done = f"{len(plan.runs) - len(pending)} of {counted(plan.runs, 'run')} done; nothing is started now"
    console.print(line(done), soft_wrap=True)
    for number, pack in enumerate(packs, 1):
        console.print(line((f"pack {number}", "bold"), f": {counted(pack.runs, 'run')}, {pack.cost}"), soft_wrap=True)
        console.print(line("\n".join(f"  {run.id}  {run.slug}" for run in pack.runs)), soft_wrap=True)
    for text in (str(where), duration(packs, where.workers)):
        console.sentence(text)


def train(
    study: given.StudyFile,
    overrides: given.Overrides = None,
    id: Annotated[str | None, typer.Option(help="The run's id, from its record or runs.csv.")] = None,
    wandb: given.WandbMode = "offline",
    wandb_set: given.WandbSet = None,
    logger: given.Loggers = None,
    threads: given.Threads = 1,
    save_every: given.SaveEvery = 60.0,
    tf32: given.Tf32 = False,
    bf16: given.Bf16 = False,
    compile: given.Compile = False,
) -> None:
    """Train and measure one run of a study, chosen by overrides or by its id, even if it is done."""
    from vaebench.sweeps.status import find_run

    plan = study_of(study, overrides)
    folder = RUNS / plan.place
    run, axes = find_run(plan, id, (folder, RESULTS / plan.place))
    from vaebench.sweeps import preflight
    from vaebench.sweeps.engines import Inline
    from vaebench.sweeps.progress import Display
    from vaebench.sweeps.run import Execution
    from vaebench.sweeps.sweep import Worker, describe_resume

    check_logging(wandb, logger)
    preflight.refuse(plan, [run], Inline())
    check_writable(folder)
    if message := describe_resume(run, folder / run.id):
        console.print(message, soft_wrap=True)
    with Display(plan.name, [run], folder, 1, console):
        logging = _logging(plan, wandb_set, logger)
        how = Execution(wandb, threads, save_every=save_every, tf32=tf32, bf16=bf16, compile=compile, **logging)
        record = Worker(plan.name, axes, folder, how).repeat(run)
    console.print(str(folder / run.id / RECORD), soft_wrap=True)
    if record.status == "failed":
        raise typer.Exit(1)


def status(
    study: given.StudyFile,
    overrides: given.Overrides = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until every run is done or has failed.")] = False,
    json: given.Json = False,
) -> None:
    """Show how far a sweep is, wherever it runs. Exit with status 1 if a run failed or its record is damaged."""
    from vaebench.sweeps.status import BAD, RunStatus, counts, looks

    plan, last = study_of(study, overrides), list[RunStatus]()
    for runs in looks(plan, RUNS / plan.place, watch):
        if json:
            print_json([run._asdict() for run in runs])
        elif runs != last:
            console.print(line((plan.name, "bold"), f": {counts(runs)}"), soft_wrap=True)
            for run in (r for r in runs if r.detail and r not in last):
                console.print(line(f"  {run.id}  {run.slug}: {run.state}, {run.detail}"), soft_wrap=True)
        last = runs
    if any(run.state in BAD for run in last):
        raise typer.Exit(1)


def _remarks(plan: "Study", folder: Path, overrides: list[str] | None) -> list[str]:
    """The note of an overridden sweep's tables, since they stand where the study's own would."""
    if not overrides:
        return []
    runs = counted(plan.runs, "run")
    every = f"vaebench table {folder} writes the tables of every run in {folder} again"
    return [f"Overridden on the command line: {' '.join(overrides)}. The {runs} of that sweep alone; {every}."]


def _show(table: "Table", records: "list[Record]", folder: Path, results: Path) -> None:
    """Write a sweep's tables, print the headline, and compare with the published numbers of the study."""
    from vaebench.records import record
    from vaebench.records.files import write_all
    from vaebench.reporting import comparison
    from vaebench.reporting.tables import rendering
    from vaebench.reporting.terminal import headline

    write_all(rendering.files_of(table, records, folder))
    console.print(headline(table))
    try:
        reference = record.read_all(results)
    except record.RecordError as error:
        reference = []
        lines = [*str(error).splitlines(), "so nothing is compared with the published numbers"]
    else:
        lines = comparison.compare(records, reference).lines() if reference else [f"{results}: nothing published"]
    for one in lines:
        console.print(one, soft_wrap=not console.is_terminal)


def _say_where(folder: Path) -> None:
    """Say where the results lie."""
    places = {
        "tables": ("table.md", f"{folder}/table.md, .csv, .tex; a line for each run: runs.csv"),
        "page": ("report.html", f"{folder}/report.html"),
        "W&B": ("wandb", f"wandb leet {folder}/wandb, or wandb sync {folder}/wandb"),
        "TensorBoard": ("tensorboard", f"tensorboard --logdir {folder}/tensorboard"),
        "curves": ("csv", f"{folder}/csv/*/metrics.csv"),
    }
    for name, (there, text) in places.items():
        if (folder / there).exists():
            console.print(line((f"{name:11}", "bold"), f" {text}"), soft_wrap=True)
