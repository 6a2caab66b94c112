"""Engines: who gets which, and that workers, nodes and drivers that die move no number."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from vaebench.config import load
from vaebench.records import provenance
from vaebench.records.files import PROGRESS, RESUME
from vaebench.records.record import Record
from vaebench.reporting.wandb.service import start_service
from vaebench.sweeps.engines import Choice, Engine, Inline, processes
from vaebench.sweeps.engines.choice import build
from vaebench.sweeps.engines.processes import METHOD, Processes
from vaebench.sweeps.engines.ray import RETRIES, Ray
from vaebench.sweeps.packs import max_pack_size
from vaebench.sweeps.run import Execution
from vaebench.sweeps.sweep import sweep
from vaebench.training import memory

STUDY = """
question: Does it come out the same?
model: {name: BetaVAE, latent_dim: 3, network: {name: MLP, hidden: [16]}}
data: {name: Digits, binarize: Dynamic}
train: {epochs: 60, batch_size: 256, validate_every: 10}
evaluate: {draws: 10}
grid:
  model.beta: [1, 4]
  seed: 0..1
"""

pytestmark = pytest.mark.timeout(300)  # each worker imports torch and Lightning, all at once

OFTEN = Execution(wandb="disabled", save_every=0.0)


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> list[Record]:
    """The records of the study where nothing happens."""
    return swept(tmp_path_factory.mktemp("inline"), Inline())


def swept(folder: Path, engine: Engine, how: Execution = OFTEN) -> list[Record]:
    (folder / "tiny.yaml").write_text(STUDY)
    heard = io.StringIO()
    outcome = sweep(load(folder / "tiny.yaml"), folder / "runs/tiny", how, Console(file=heard, width=200), engine)
    assert not outcome.missing, heard.getvalue()
    return [replace(record, provenance={}) for record in outcome.records]


@contextmanager
def once(ready: Callable[[], bool], act: Callable[[], None]) -> Iterator[None]:
    """A block beside which something happens as soon as it can; that it never could is an error."""
    over, acted = threading.Event(), threading.Event()

    def wait() -> None:
        while not ready():
            if over.wait(0.01):
                return
        act()
        acted.set()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert acted.is_set(), "the block was over before it could happen"


def training(folder: Path) -> list[Path]:
    """The runs that have a snapshot, and no record yet."""
    return [path.parent for path in folder.glob(f"runs/tiny/*/{RESUME}")]


def where(run: Path) -> tuple[str, int]:
    """Host and process that train a pack."""
    progress = json.loads((run / PROGRESS).read_bytes())
    return progress["host"], progress["pid"]


def parent(pid: int) -> int:
    """The process that started another."""
    return int(subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, check=True).stdout)


def packs(folder: Path) -> list[Path]:
    """The first runs of packs in training."""
    return [path.parent for path in folder.glob(f"runs/tiny/*/{PROGRESS}")]


@pytest.mark.parametrize(
    ("said", "visible", "expected"),
    [
        (Choice(), 0, Processes),
        (Choice(workers=3), 0, Processes),
        (Choice(workers=1), 0, Inline),
        (Choice(threads=4), 0, Inline),
        (Choice(workers=2, threads=2), 0, Ray),
        (Choice("ray", workers=2), 0, Ray),
        (Choice(), 1, Inline),
        (Choice(workers=2), 1, Ray),
        (Choice(), 2, Ray),
        (Choice(gpus=0.5), 1, Ray),
        (Choice(gpus=0.0), 1, Ray),
        (Choice(gpus=0.0), 0, Processes),
        (Choice(address="auto"), 0, Ray),
        (Choice("inline"), 2, Inline),
    ],
)
def test_an_engine_uses_what_is_there(said, visible, expected, monkeypatch):
    monkeypatch.setattr(provenance, "cores", lambda: 4)
    assert isinstance(build(said, visible), expected)


@pytest.mark.parametrize(
    ("workers", "devices", "runs", "expected"), [(None, 1, 9, 4), (None, 1, 3, 3), (3, 1, 9, 3), (None, 2, 9, 2)]
)
def test_there_are_never_more_threads_than_cores_nor_more_processes_than_runs(
    workers, devices, runs, expected, tmp_path, monkeypatch
):
    monkeypatch.setattr(provenance, "cores", lambda: 4)
    (tmp_path / "tiny.yaml").write_text(STUDY.replace("seed: 0..1", "seed: 0..8"))
    chosen = load(tmp_path / "tiny.yaml", ["beta=1", f"train.devices={devices}"]).runs[:runs]
    engine = build(Choice(workers=workers, runs=chosen), 0)
    assert engine.workers == expected
    assert f"{expected} packs at a time on {expected} of 4 cores" in str(engine)


def test_more_workers_and_threads_than_cores_are_refused():
    cores = len(os.sched_getaffinity(0))
    message = rf"expected at most {cores} workers × threads, .* got {cores} × 2; .* \(--workers, --threads\)"
    with pytest.raises(ValueError, match=message):
        build(Choice("ray", workers=cores, threads=2), 0)
    assert isinstance(build(Choice("ray", workers=cores, threads=2, address="auto"), 0), Ray)
    with pytest.raises(ValueError, match=rf"--workers: expected at most {cores}, the cores .*, got {cores + 1}"):
        build(Choice(workers=cores + 1), 0)


def test_ray_says_before_it_starts_what_this_machine_has(monkeypatch):
    """As `sweep --dry-run` needs it."""
    monkeypatch.setattr(provenance, "cores", lambda: 4)
    choices = (Choice(threads=2), Choice(address="auto"), Choice(workers=3, address="auto"))
    assert [Ray(choice).workers for choice in choices] == [2, 1, 3]
    assert str(Ray(choices[0])) == "2 packs at a time by Ray on this machine, 2 cores each"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (Choice("inline", workers=2), "--workers: the engine inline does not have it"),
        (Choice("inline", address="auto"), "--address: the engine inline does not have it"),
        (Choice(slurm=["partition=gpu"]), "--slurm: the engine processes does not have it"),
        (Choice("inline", slurm=["partition=gpu"]), "--slurm: the engine inline does not have it"),
        (Choice("processes", threads=2), "--engine processes: each of its processes has one thread"),
        (Choice("processes", address="auto"), "--address: the engine processes does not have it"),
        (Choice("ray", slurm=["partition=gpu"]), "--slurm: the engine ray does not have it"),
        (Choice("ray", gpus=0.5), "--gpus: expected at most 0, the GPUs that are visible here, got 0.5"),
        (Choice(gpus=1.0), "--gpus: expected at most 0, the GPUs that are visible here, got 1"),
    ],
)
def test_what_an_engine_does_not_know_is_refused(said, expected):
    with pytest.raises(ValueError, match=f"^{expected}"):
        build(said, 0)


def test_without_gpus_inline_is_refused_where_there_are_some():
    with pytest.raises(ValueError, match=r"^--gpus 0: the engine inline uses the GPU that it sees"):
        build(Choice("inline", gpus=0.0), 1)


def test_an_error_stops_no_other_item():
    (_, error), (_, result) = Inline().map(max_pack_size, ["none", "3"])
    assert "expected auto, off" in str(error)
    assert result == 3


class OfTwoParts(Exception):
    """An error that cannot travel between processes: what it is made of is not what it says."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} {other}")


def raise_of_two_parts(item: str) -> None:
    raise OfTwoParts(item, "parts")


def sharers(item: object) -> int:
    """How many packs share the memory, where this is called."""
    return memory.sharers


def has_own_service(item: object) -> bool:
    import wandb

    return wandb.setup().ensure_service().owns_service


def test_processes_share_the_service_of_wandb(tmp_path):
    """It was started before the fork, so that none of them waits for one of its own."""
    start_service(tmp_path).join()
    engine = Processes(2)
    with engine:
        assert dict(engine.map(has_own_service, range(2))) == {0: False, 1: False}


def test_what_a_process_raises_or_dies_of_is_a_line(monkeypatch):
    import wandb

    wandb.setup()  # as after another sweep in this process; the processes inherit it
    monkeypatch.setattr(processes, "RETRIES", 1)
    engine = Processes(2)
    with engine:
        outcomes = dict(engine.map(max_pack_size, ["none", "3", "4"]))
        ((_, foreign),) = engine.map(raise_of_two_parts, ["two"])
        deaths = [death for _, death in engine.map(os._exit, [3, 3, 3])]
        assert dict(engine.map(sharers, range(4))) == dict.fromkeys(range(4), 2)
        children = [child.process for child in engine._children]
    assert type(outcomes["none"]) is ValueError
    assert str(outcomes["none"]).endswith("got 'none'")
    assert (outcomes["3"], outcomes["4"]) == (3, 4)
    assert str(foreign) == "OfTwoParts: two parts"
    assert [str(death).partition(";")[0] for death in deaths] == [
        "the process of this pack died, 2 times in a row (status 3)"
    ] * 3
    assert memory.sharers == 1
    assert [process.exitcode for process in children] == [0, 0]


@pytest.mark.slow
def test_a_worker_without_gpus_sees_none_and_what_it_raises_or_dies_of_is_a_line(monkeypatch):
    """On a machine that has two GPUs, as far as this process was told."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    engine = Ray(Choice(workers=1, gpus=0.0))
    with engine:
        ((_, seen),) = engine.map(os.getenv, ["CUDA_VISIBLE_DEVICES"])
        outcomes = dict(engine.map(max_pack_size, ["none", "3"]))
        ((_, death),) = engine.map(os._exit, [3])
    assert seen == ""
    assert type(outcomes["none"]) is ValueError
    assert str(outcomes["none"]).endswith("got 'none'")
    assert outcomes["3"] == 3
    assert str(death).startswith(f"the worker died, {RETRIES + 1} times in a row (")
    assert "\n" not in str(death)


def test_an_address_at_which_nothing_listens_is_refused():
    with (
        pytest.raises(ConnectionError, match=r"--address: nothing answers at 127\.0\.0\.1:1 "),
        Ray(Choice(address="127.0.0.1:1")),
    ):
        pass


ENGINES: dict[str, Callable[[], Engine]] = {
    METHOD: lambda: Processes(2),
    "spawn": lambda: Processes(2, "spawn"),
}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_a_worker_killed_in_the_middle_of_a_pack_moves_no_number(tmp_path, expected, engine):
    """Two workers, and one of them is killed when its runs have left a snapshot. (For Ray, see the next test.)"""
    killed = []

    def kill() -> None:
        killed.append(where(packs(tmp_path)[0])[1])
        os.kill(killed[0], signal.SIGKILL)

    with once(lambda: bool(training(tmp_path) and packs(tmp_path)), kill):
        assert swept(tmp_path, ENGINES[engine]()) == expected
    assert killed != [os.getpid()]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_worker_of_ray_killed_and_a_node_taken_away_in_the_middle_of_a_pack_move_no_number(tmp_path, expected):
    """Two nodes of one GPU each, two packs a GPU. When packs train on both, a worker of one is killed, and the other
    node goes."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    kept, taken = (cluster.add_node(num_cpus=2, num_gpus=1) for _ in range(2))
    (raylet,) = kept.all_processes["raylet"]
    engine = build(Choice(gpus=0.5, address=cluster.address), 0)

    def lose() -> None:
        workers = [where(run)[1] for run in packs(tmp_path)]
        os.kill(next(pid for pid in workers if parent(pid) == raylet.process.pid), signal.SIGKILL)
        cluster.remove_node(taken)

    try:
        with once(lambda: len(packs(tmp_path)) > 2, lose):
            assert swept(tmp_path, engine, replace(OFTEN, max_pack_size=1)) == expected
    finally:
        cluster.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "sent", "status"),
    [("ray", signal.SIGINT, 130), ("processes", signal.SIGTERM, 130)],
    ids=["ray interrupted", "processes ended"],
)
def test_a_stopped_driver_is_followed_by_another_engine(tmp_path, expected, engine, sent, status):
    """Two workers are stopped with their driver; this process goes on, in packs of another size. (`test_sweep` stops
    the engine of this machine with every signal, and `test_imports` kills Ray.)"""
    (tmp_path / "tiny.yaml").write_text(STUDY)
    command = f"sweep tiny.yaml --wandb disabled --engine {engine} --workers 2 --save-every 0"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-m", "vaebench", *command.split()], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL
    ) as driver:
        while not training(tmp_path):
            assert driver.poll() is None
            time.sleep(0.02)
        driver.send_signal(sent)
    assert driver.returncode == status
    assert swept(tmp_path, Inline(), replace(OFTEN, max_pack_size=3)) == expected
