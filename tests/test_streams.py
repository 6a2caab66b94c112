"""Standard streams and terminals as a shell may leave them: closed, cut off, full, narrow, of another encoding."""

import ast
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from vaebench.__main__ import app
from vaebench.cli.terminal import with_plain_errors
from vaebench.records import record
from vaebench.records.files import WriteError, check_writable
from vaebench.records.record import Record, identity
from vaebench.reporting.wandb.service import redirect_folders

ROOT = Path(__file__).parents[1]


def shell(folder: Path, line: str, **given: str) -> tuple[int, str, str]:
    """Status, output and errors of a line of bash, in which `vaebench` is the command."""
    command = f'set -o pipefail; vaebench() {{ {sys.executable} -m vaebench "$@"; }}; {line}'
    # W&B notes in the environment where its service runs; a command of its own starts without one.
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT), **given},
        capture_output=True,
        timeout=110,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


CONFIG = {"model": {"name": "VAE"}, "data": {"name": "Ω"}, "seed": 0}
ID = identity(CONFIG)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A project with one study, whose question no other encoding has."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    one = Record(id=ID, study="a", status="failed", reason="β → λ", config=CONFIG)
    record.write(one, tmp_path / "runs/a" / ID / "record.json")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("vaebench list | head -1", (141,)),
        ("vaebench list | true", (141,)),
        ("vaebench list >&-", (0,)),
        ("vaebench list >&- 2>&- <&-", (0,)),
        ("vaebench show nothing 2>&-", (1,)),
        ("vaebench list --help | true", (0, 1)),  # click's own: it may have written before the pipe was closed
    ],
)
def test_a_stream_that_is_closed_costs_a_status_and_no_traceback(here, line, status):
    code, _, errors = shell(here, line)
    assert errors == ""
    assert code in status


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_output_that_finds_no_room_is_one_line(here):
    code, _, errors = shell(here, "vaebench list > /dev/full")
    assert (code, errors.count("\n")) == (1, 1)
    assert "No space left on device" in errors


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_what_an_encoding_lacks_is_shown_as_an_escape(here, encoding):
    code, said, errors = shell(
        here, f"vaebench show runs/a/{ID}; vaebench list", PYTHONIOENCODING=encoding, PYTHONUTF8="0", LC_ALL="C"
    )
    assert (code, errors) == (0, "")
    assert ("β → λ" if encoding == "utf-8" else r"\u2192") in said


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}


def test_a_name_may_have_any_letter_in_any_locale(here):
    shutil.copy(here / "conf/beta.yaml", here / "conf/β.yaml")
    code, said, errors = shell(here, "vaebench list && vaebench schema β.json", **ASCII)
    assert (code, errors) == (0, "")
    assert r"\u03b2" in said
    assert (here / "β.json").read_bytes() == (ROOT / "conf/schema.json").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "given",
    [ASCII | {"HOME": "/proc/none"}, {"HOME": "/proc/none", "TMPDIR": "/proc/none", "XDG_CACHE_HOME": "/proc/none"}],
    ids=["ascii and no home", "no folder for anything"],
)
def test_a_sweep_ends_well_in_any_locale_and_without_a_home(here, given):
    study = "question: β → λ?\nmodel: {name: VAE, network: {name: MLP, hidden: [4]}}\n"
    study += "data: {name: Digits, binarize: Fixed}\ntrain: {epochs: 1, batch_size: 512}\nevaluate: {draws: 5}\n"
    (here / "conf/β.yaml").write_text(study, encoding="utf-8")
    code, _, errors = shell(here, "vaebench sweep conf/β.yaml", **given)
    assert (code, errors) == (0, "")
    assert list(here.glob("runs/β/*/record.json"))
    assert len([*here.glob("runs/β/wandb/offline-run-*/*.wandb")]) > 1


@pytest.mark.parametrize(
    "given",
    [{"COLUMNS": c} for c in ("0", "²", "1")]
    + [{"TERM": "dumb", "NO_COLOR": "1", "LINES": "0"}, {"FORCE_COLOR": "1", "TERM": "", "COLUMNS": "-1"}],
    ids=str,
)
def test_no_size_or_kind_of_terminal_loses_a_word(here, given):
    code, said, errors = shell(here, f"vaebench show runs/a/{ID}", **given)
    assert (code, errors) == (0, "")
    assert "β" in said
    assert given.get("COLUMNS") == "1" or ID in said


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOENT, errno.ENOSPC, errno.EEXIST, errno.EIO])
def test_a_file_that_the_system_refuses_is_named_without_a_number(number, capsys):
    def verb() -> None:
        raise OSError(number, os.strerror(number), "runs/[/]beta")

    with pytest.raises(typer.Exit):
        with_plain_errors(verb)()
    said = capsys.readouterr().err
    assert said.startswith(f"error: runs/[/]beta: {os.strerror(number).lower()}")
    assert (said.count("\n"), "Errno" in said) == (1, False)


@pytest.mark.parametrize("place", ["/proc/none/runs", "/dev/null/runs"])
def test_a_folder_that_cannot_be_written_is_named_with_a_remedy(place):
    with pytest.raises(WriteError, match=rf"{place}: no file can be made here \(.+\); make the folder writable"):
        check_writable(Path(place))


def test_w_and_b_is_led_to_folders_that_can_be_written(tmp_path, monkeypatch):
    """Whatever variables say, and whether there is a home or not; what can be written stays as it is."""
    monkeypatch.setenv("HOME", "/proc/none")
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, "/proc/none")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "mine"))
    redirect_folders(tmp_path / "runs")
    assert os.environ["WANDB_DATA_DIR"] == str(tmp_path / "mine")
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        assert Path(os.environ[name]).is_relative_to(tmp_path / "runs")
        check_writable(Path(os.environ[name]))


MANY = "9" * 5001


@pytest.mark.parametrize(
    "arguments",
    [
        ("sweep", "conf/beta.yaml", "--pack", MANY),
        ("sweep", "conf/beta.yaml", "--pack", "²"),
        ("sweep", "conf/beta.yaml", "--threads", MANY),
        ("sweep", "conf/beta.yaml", "--workers", MANY),
        ("sweep", "conf/beta.yaml", "--engine", "slurm", "--slurm", "cluster=local", "--gpus", "inf"),
        ("sweep", "conf/beta.yaml", "--engine", "slurm", "--slurm", "cluster=local", "--slurm", f"time={MANY}"),
        ("sweep", "conf/beta.yaml", "--engine", "ray", "--address", f"localhost:{MANY}"),
        ("sweep", "conf/beta.yaml", "--engine", "ray", "--address", "localhost:99999"),
        ("sweep", "conf/beta.yaml", f"seed={MANY}"),
        ("sweep", "conf/beta.yaml", f"beta={MANY}"),
        ("evaluate", f"runs/a/{ID}", "--k", f"1,{MANY}"),
        ("evaluate", f"runs/a/{ID}", "--draws", MANY),
    ],
    ids=lambda a: " ".join(word[:9] for word in a[-2:]),
)
def test_a_number_of_any_length_is_answered_in_our_words(here, arguments, monkeypatch):
    monkeypatch.chdir(here)
    result = CliRunner().invoke(app, [*arguments], env={"COLUMNS": "200"})
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (1, 2)
    assert "set_int_max" not in result.output


def test_every_file_is_read_and_written_as_utf8():
    """Where the linter cannot infer that something is a path, too."""
    found = []
    for path in (ROOT / "vaebench").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(attr="read_text" | "write_text"), keywords=given):
                    found += [] if any(k.arg == "encoding" for k in given) else [(path, node.lineno)]
                case ast.keyword(arg="text" | "universal_newlines", value=ast.Constant(value=True)):
                    found.append((path, node.lineno))
    assert not found
