"""SLURM: the options of sbatch, the results of jobs, and preempted jobs that continue with the same numbers."""

import io
import shlex
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from submitit.slurm.slurm import SlurmJob

from vaebench.config import load
from vaebench.records.files import RESUME
from vaebench.records.record import Record
from vaebench.sweeps.engines import Choice, Engine, Inline, slurm
from vaebench.sweeps.engines.choice import build
from vaebench.sweeps.engines.slurm import minutes, parse_options
from vaebench.sweeps.packs import max_pack_size
from vaebench.sweeps.run import Execution
from vaebench.sweeps.sweep import sweep

FAKE = Path(__file__).with_name("fake_slurm.py")

STUDY = """
question: Does it come out the same?
model: {name: BetaVAE, latent_dim: 3, network: {name: MLP, hidden: [16]}}
data: {name: Digits, binarize: Dynamic}
train: {epochs: 2, batch_size: 256}
evaluate: {draws: 10}
grid: {model.beta: [1, 4]}
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Path:
    """A SLURM on this machine; the folder of its jobs' state."""
    state, commands = tmp_path / "state", tmp_path / "bin"
    state.mkdir()
    commands.mkdir()
    for name in ("sbatch", "srun", "sacct", "scancel", "scontrol"):
        (commands / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {FAKE} {name} "$@"\n')
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=":")
    monkeypatch.setenv("FAKE_SLURM", str(state))
    monkeypatch.setenv("PYTHONPATH", str(FAKE.parents[1]))
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(SlurmJob, "_results_timeout_s", 0)
    SlurmJob.watcher.clear()
    return state


def swept(folder: Path, text: str, how: Execution, engine: Engine) -> tuple[list[Record], str]:
    folder.mkdir()
    (folder / "tiny.yaml").write_text(text)
    heard = io.StringIO()
    outcome = sweep(load(folder / "tiny.yaml"), folder / "runs", how, Console(file=heard, width=200), engine)
    assert not outcome.missing, heard.getvalue()
    return [replace(record, provenance={}) for record in outcome.records], heard.getvalue()


def test_the_options_that_sbatch_gets(cluster, tmp_path):
    """The queue is full, and the jobs are cancelled: the script is right, and one line says what happened."""
    (cluster / "full").touch()
    said = ["partition=gpu", "time=1-00:30", "mem=16G", "exclusive=true", "nice=100", "setup=module load cuda"]
    heard: list[str] = []
    choice = Choice("slurm", 2, 4, 1.0, None, said, tmp_path / "beta", heard.append)
    outcomes = build(choice, 0).map(max_pack_size, ["1", "2", "3"])
    threading.Timer(1, lambda: [p.write_text("CANCELLED by 0") for p in cluster.glob("*.state")]).start()
    assert {(item, str(outcome).partition(";")[0]) for item, outcome in outcomes} == {
        (str(i + 1), f"job 4711_{i}: no result (CANCELLED by 0)") for i in range(3)
    }
    logs = tmp_path / "beta/slurm"
    lines = (logs / "4711_submission.sh").read_text().splitlines()
    asked = {line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")}
    assert asked == {
        *("array=0-2%2", "cpus-per-task=4", "gpus-per-node=1", "job-name=vaebench-beta", "nodes=1"),
        *("exclusive", "mem=16G", "nice=100", "partition=gpu", "time=1470", "wckey=submitit"),
        *("requeue", "signal=USR2@90", "open-mode=append"),
        *(f"output={logs}/%A_%a_0_log.out", f"error={logs}/%A_%a_0_log.err"),
    }
    assert "module load cuda" in lines
    assert any(line.startswith("srun ") and "--cpus-per-task=4" in line for line in lines)
    assert heard == ["submitted 4711; the jobs continue if this command ends; you may run it again"]


def test_a_command_that_ends_names_the_jobs_that_continue(cluster, tmp_path):
    (cluster / "full").touch()
    heard: list[str] = []
    engine = build(Choice("slurm", folder=tmp_path, log=heard.append), 0)
    outcomes = engine.map(max_pack_size, ["1", "2"])
    threading.Timer(1, lambda: (cluster / "4711_0.state").write_text("CANCELLED")).start()
    next(outcomes)
    outcomes.close()
    assert heard[-1] == "4711 continue; to cancel them: scancel 4711; the same command waits for them"


def test_a_refusal_of_sbatch_is_one_error(cluster, tmp_path):
    refusing = cluster.parent / "bin/sbatch"
    refusing.write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: moon' >&2; exit 1\n")
    engine = build(Choice("slurm", slurm=["partition=moon"], folder=tmp_path), 0)
    with pytest.raises(OSError, match=r"sbatch refused the jobs: .*invalid partition specified: moon"):
        next(engine.map(max_pack_size, ["1"]))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("partition=gpu\n#SBATCH --uid=0", "--slurm: expected key=value, e.g. partition=gpu, got 'partition=gpu.*'"),
        ("--=1", "--slurm: expected key=value, e.g. partition=gpu, got '--=1'"),
        ("partition", "--slurm: expected key=value, e.g. partition=gpu, got 'partition'"),
        ("time=soon", "--slurm time: expected minutes, HH:MM:SS or D-HH:MM:SS, got 'soon'"),
        ("time=0", "--slurm time: .* greater than 0, got '0'"),
        ("signal_delay=-1", "--slurm signal_delay: .* greater than 0, got '-1'"),
        ("cluster=moon", "--slurm cluster: .*'slurm', 'local' or 'debug', got 'moon'"),
        ("gpus_per_node=2", "--slurm gpus_per_node: --gpus sets it"),
        ("output=x", "--slurm output: submitit sets it"),
        ("--cpus-per-task=2", "--slurm cpus_per_task: --threads sets it"),
    ],
)
def test_a_wrong_option_is_one_clear_error(said, expected):
    with pytest.raises(ValueError, match=f"^{expected}"):
        parse_options([said])


def test_an_option_is_given_once():
    with pytest.raises(ValueError, match="--slurm qos: given twice, 'a' and 'b'"):
        parse_options(["qos=a", "qos=b"])


def test_times_are_those_of_sbatch():
    """The examples of its manual."""
    times = {"90": 90, "90:30": 90, "2:30:00": 150, "1-12": 2160, "1-12:30": 2190, "1-12:30:15": 2190}
    assert {said: minutes(said) for said in times} == times


def test_impossible_requests_are_refused(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match=r"--gpus: SLURM gives whole GPUs to a job, got 0\.5"):
        build(Choice("slurm", gpus=0.5, folder=tmp_path), 0)
    with pytest.raises(ValueError, match="--address: the engine slurm does not have it"):
        build(Choice("slurm", address="auto"), 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"no sbatch on this machine; .* --slurm cluster=local"):
        build(Choice("slurm"), 0)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ValueError, match=r"needs submitit: pip install 'vaebench\[slurm\]'"):
        build(Choice("slurm", slurm=["cluster=debug"]), 0)


def test_the_engine_works_without_slurm_in_this_process(tmp_path):
    how = Execution(wandb="disabled", max_pack_size=1)
    expected, _ = swept(tmp_path / "inline", STUDY, how, Inline())
    choice = Choice("slurm", slurm=["cluster=debug"], folder=tmp_path / "debug/runs")
    found, heard = swept(tmp_path / "debug", STUDY, how, build(choice, 0))
    assert found == expected
    assert "packs as jobs in this process, 1 core each; scripts and logs in" in heard


def test_an_error_in_a_job_stops_no_other(tmp_path):
    engine = build(Choice("slurm", slurm=["cluster=debug"], folder=tmp_path), 0)
    (_, error), (_, result) = engine.map(max_pack_size, ["none", "3"])
    assert "expected auto, off" in str(error)
    assert result == 3


@pytest.mark.slow
def test_an_error_in_a_job_elsewhere_is_one_line(cluster, tmp_path):
    ((_, error),) = build(Choice("slurm", folder=tmp_path), 0).map(max_pack_size, ["none"])
    log = tmp_path / "slurm/4711_0_log.err"
    assert str(error) == (
        "job 4711: ValueError: --pack: expected auto, off, or how many runs may train together, got 'none'; "
        f"its log: {log}"
    )


@pytest.mark.slow
def test_a_preempted_job_continues_with_the_same_numbers(cluster, tmp_path):
    """SIGTERM, which SLURM sends first, does not end the job. The signal before the end queues it again."""
    text, how = STUDY.replace("epochs: 2", "epochs: 60"), Execution(wandb="disabled", save_every=0.0)
    expected, _ = swept(tmp_path / "inline", text, how, Inline())

    def preempt() -> None:
        while not list(tmp_path.glob(f"slurm/runs/*/{RESUME}")):
            time.sleep(0.01)
        for name in ("SIGTERM", "SIGUSR2"):
            subprocess.run(["scancel", "4711", "--signal", name], check=True)

    preempting = threading.Thread(target=preempt)
    preempting.start()
    heard: list[str] = []
    engine = build(Choice("slurm", folder=tmp_path / "slurm/runs", log=heard.append), 0)
    found, _ = swept(tmp_path / "slurm", text, how, engine)
    preempting.join()
    assert (cluster / "4711.requeued").exists()
    assert found == expected
    assert heard == ["submitted 4711; the jobs continue if this command ends; you may run it again"]
