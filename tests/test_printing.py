"""What is printed is what stands there: no markup is read, no command reaches the terminal, no lost reader stops it."""

import ast
import io
import json
import shlex
from pathlib import Path

import pytest
import yaml
from commands import vaebench
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vaebench.cli.terminal import print_json
from vaebench.config import load
from vaebench.records import record
from vaebench.records.record import Estimate, Record, identity
from vaebench.reporting.printing import CONTROL, Printer, line
from vaebench.sweeps.progress import Display

PACKAGE = Path(__file__).parents[1] / "vaebench"

HOSTILE = ("[/]", "[red]", "[bold]x[/bold]", "[link=http://a]", ":smile:", "\\[/]", "[[", "[@click=x]y", "{0}", "%s")

COMMANDS = ("\x1b[2J", "\x9b2J", "\x07", "\x00")


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_printed_as_it_stands(text):
    heard = io.StringIO()
    out, table = Printer(file=heard, width=200), Table(text)
    table.add_row(text)
    for shown in (text, line(text), line((text, "red")), Text(text), table):
        out.print(shown)
    assert heard.getvalue().count(text) == 6


@pytest.mark.parametrize("text", COMMANDS)
def test_text_commands_no_terminal(text):
    heard = io.StringIO()
    out = Printer(file=heard, width=200, force_terminal=True, color_system=None)
    for shown in (text, line(text), line((text, "red")), Text(text)):
        out.print(shown)
    Console(file=heard).print(line(text))
    assert text not in heard.getvalue()


def test_json_with_control_characters_is_json(capsys):
    value = {"reason": "a\x85b \x7f \x1b[31m"}
    print_json(value)
    text = capsys.readouterr().out
    assert json.loads(text) == value
    assert not CONTROL.search(text)


def test_an_entry_goes_on_where_it_began_in_a_terminal_and_is_one_line_elsewhere():
    said = {}
    for terminal in (True, False):
        heard = io.StringIO()
        Printer(file=heard, width=20, force_terminal=terminal, color_system=None).entry(
            "  name  ", "many words\x07 here"
        )
        said[terminal] = [text.rstrip() for text in heard.getvalue().splitlines()]
    assert said[True] == ["  name  many", "        words\\x07", "        here"]
    assert said[False] == ["  name  many words\\x07 here"]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("terminal", [True, False])
def test_a_sweep_tells_of_runs_of_any_name(text, terminal, tmp_path):
    """On a console that reads markup as well: what a caller gives is not ours to choose."""
    study = {
        "question": text,
        "model": "AE",
        "data": {"name": "Arrays", "path": f"{text}.npz"},
        "grid": {"seed": "0..2"},
    }
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    runs, heard = load(tmp_path / "x.yaml").runs, io.StringIO()
    with Display(text, runs, tmp_path, 3, Console(file=heard, width=300, force_terminal=terminal)) as display:
        for run, outcome in zip(runs, (None, text), strict=False):
            status = "done" if outcome is None else "failed"
            one = Record(id=run.id, study=text, status=status, reason=outcome, config=run.config)
            record.write(one, tmp_path / run.id / "record.json")
        display.update()
        display.fail(runs, RuntimeError(text))
    assert heard.getvalue().count(text) >= 2


def test_rich_is_given_markup_nowhere():
    """The one console reads none, and no other way to read it is left."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.ImportFrom(module="rich.markup" | "rich.prompt" | "rich.panel"):
                    found.append((path, node.lineno))
                case ast.Attribute(attr="from_markup"):
                    found.append((path, node.lineno))
                case ast.Call(func=ast.Name(id="Console")):
                    found.append((path, node.lineno))
                case ast.Call(func=ast.Name(id="TextColumn"), args=[first], keywords=keywords):
                    is_plain = any(k.arg == "markup" and ast.unparse(k.value) == "False" for k in keywords)
                    if not is_plain and not isinstance(first, ast.Constant):
                        found.append((path, node.lineno))
    assert not found


STUDY = """
question: "[/] Is [red]this[/] printed? \\e[2J"
model: {name: VAE, latent_dim: 2, network: {name: MLP, hidden: [4]}}
data: {name: Arrays, path: "[/]nope.npz"}
grid: {seed: 0..1}
"""


CONFIG = {
    "model": {"name": "[/]m"},
    "data": {"name": "[/]d"},
    "seed": 0,
    "train": {},
    "evaluate": {"split": "test"},
}
ID = identity(CONFIG)


@pytest.fixture
def here(tmp_path: Path, monkeypatch) -> Path:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/a.yaml").write_text(STUDY, encoding="utf-8")
    (tmp_path / "conf/[bold]b.yaml").write_text(STUDY, encoding="utf-8")
    record.write(hostile(), tmp_path / "runs/[red]" / ID / "record.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def hostile() -> Record:
    """A record whose every word is one."""
    return Record(
        id=ID,
        study="[/]s",
        status="done",
        axes=["seed"],
        config=CONFIG,
        facts={"collapse": "[/]c", "parameters": 1, "dimensions": 4, "latent_dim": 2},
        estimates=[
            Estimate("elbo", -1.0, 0.1, 9),
            Estimate("[/]e", 1.0, 0.1, 9, note="[/]n"),
            Estimate("kl_per_unit", [0.5]),
        ],
        not_applicable={"[/]a": "[/]r"},
        provenance={"command": "[/]o", "seconds": {"fit": 1.0}},
    )


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ("list", 0),
        ("sweep 'conf/[bold]b.yaml' --wandb disabled", 1),
        ("sweep 'conf/[/]none.yaml'", 1),
        ("sweep conf/a.yaml 'data.path=[/]x' --wandb disabled", 1),
        ("sweep conf/a.yaml 'model.[/]=1'", 1),
        ("train conf/a.yaml --id '[/]'", 1),
        ("show '[/]'", 1),
        (f"show 'runs/[red]/{ID}'", 0),
        ("compare '[red]' '[/]'", 1),
        (f"evaluate 'runs/[red]/{ID}'", 1),
        ("table '[/]'", 1),
        ("report '[/]'", 1),
        ("publish 'conf/[bold]b.yaml'", 1),
        ("calibrate 'conf/[bold]b.yaml'", 1),
        ("schema '[red]schema.json'", 0),
        ("sweep conf/a.yaml --engine '[/]'", 2),
        ("'[/]'", 2),
    ],
)
def test_every_command_takes_any_word(here, arguments, status):
    assert "\x1b[2J" not in vaebench(*shlex.split(arguments), status=status)
