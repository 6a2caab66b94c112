"""Whatever a study file holds or is, it leads to a study or to lines that say where and what: no traceback, no wait."""

import math
import os
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from vaebench.config import ConfigError, load
from vaebench.config.grid import MOST_RUNS
from vaebench.config.loading import MOST_BYTES
from vaebench.config.yaml_document import MOST_DEPTH, MOST_VALUES, Document

ROOT = Path(__file__).parents[1]

HEAD = """\
question: Does it matter?
model: {name: BetaVAE, latent_dim: 8}
data: {name: Digits, binarize: Dynamic}
"""

SECONDS = 5.0
"""Of the processor, for any file: the slowest here takes a tenth of it on the machine where this was written."""

MEMORY = 1024 * MOST_VALUES
"""Bytes of Python objects for any file: 1 KiB for each value that a file may have. The largest here takes 8 MiB."""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.chdir(tmp_path)

    def written(text: str) -> Path:
        Path("study.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")
        return Path("study.yaml")

    return written


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Every test of this file stays within the time that is promised."""
    started = time.process_time()
    yield
    assert time.process_time() - started < 10 * SECONDS


@contextmanager
def bounded_memory() -> Iterator[None]:
    """A block that stays within the memory that is promised: what it allocates is counted, since how far the process
    grows depends on the tests before."""
    tracemalloc.start()
    try:
        yield
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < MEMORY


def refusal(path: Path | str, *assignments: str) -> str:
    started = time.process_time()
    with pytest.raises(ConfigError) as caught:
        load(path, assignments)
    assert time.process_time() - started < SECONDS
    assert all(line.isprintable() for line in str(caught.value).split("\n"))
    return str(caught.value)


def alias_bomb(levels: int = 9, width: int = 9) -> str:
    """Less than 400 bytes that stand for 9^9 values."""
    more = (f"x{i}: &a{i} [{','.join([f'*a{i - 1}'] * width)}]\n" for i in range(1, levels))
    return "".join(["x0: &a0 [1,1]\n", *more])


TOO_MUCH = {
    "alias bomb": (HEAD + alias_bomb(), 1, f"expected at most {MOST_VALUES} values"),
    "alias bomb by merges": (
        HEAD
        + "a0: &a0 {x: 1}\n"
        + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 9)),
        1,
        f"expected at most {MOST_VALUES} values",
    ),
    "a chain of aliases": (
        HEAD + "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 2000)),
        1,
        "expected at most",
    ),
    "brackets": (HEAD + "seed: " + "[" * 2000, 4, f"expected at most {MOST_DEPTH} levels"),
    "brackets that close": (HEAD + "seed: " + "[" * 2000 + "]" * 2000, 4, f"expected at most {MOST_DEPTH} levels"),
    "braces": ("{" * 3000, 1, f"expected at most {MOST_DEPTH} levels"),
    "dashes": ("- " * 3000 + "x", 1, f"expected at most {MOST_DEPTH} levels"),
    "indentation": ("".join(f"{' ' * i}a:\n" for i in range(300)), MOST_DEPTH, f"at most {MOST_DEPTH} levels"),
    "range to 10^26": (HEAD + f"grid:\n  seed: 0..{10**26}", 5, f"expected at most {MOST_RUNS} runs"),
    "range of 5001 digits": (HEAD + f"grid:\n  seed: 0..{'9' * 5001}", 5, "of at most 99 digits each, got 5001"),
    "number of 5001 digits": (HEAD + f"seed: {'9' * 5001}", 4, "got one of 5001 digits"),
    "number of 30 digits": (HEAD + f"seed: {'9' * 30}", 4, "expected a whole number below 2^63"),
    "real of 5001 digits": (HEAD.replace("8}", f"8, beta: {'9' * 5001}.0}}"), 2, "expected a number up to 1.8e308"),
    "exponent": (HEAD.replace("8}", "8, beta: 1e400}"), 2, "expected a number up to 1.8e308"),
    "references": (HEAD + f"train: {{epochs: '{'${seed}' * 30}'}}", 1, "expected at most 20 references"),
    "reference bomb": (
        HEAD + "train: {" + "".join(f"a{i}: '{'${train.a' + str(i + 1) + '}' * 2}', " for i in range(40)) + "a40: x}",
        1,
        "expected at most 20 references",
    ),
    "grid of 10^9": (HEAD + "grid:\n  seed: 0..99999\n  model.latent_dim: 1..9999", 6, f"at most {MOST_RUNS} runs"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "expected"), TOO_MUCH.values(), ids=TOO_MUCH)
def test_a_text_that_asks_for_too_much_is_refused_at_once(write: Write, text: str, line: int, expected: str) -> None:
    message = refusal(write(text))
    with bounded_memory(), pytest.raises(ConfigError):
        load("study.yaml")
    assert message.startswith(f"study.yaml:{line}: ")
    assert expected in message
    assert "\n" not in message
    assert len(message) < 1000


STRANGE = {
    "python object": ("seed: !!python/object/apply:os.system [ls]", "unknown tag '!!python/object/apply:os.system'"),
    "bytes": ("seed: !!binary aGVsbG8=", "unknown tag '!!binary'"),
    "tag with a newline": ("seed: !<tag%0Afoo> 3", r"unknown tag 'tag\nfoo'"),
    "tag that does not fit": ("seed: !!int x", "expected a whole number, got 'x'"),
    "tag of a switch": ("seed: !!bool foo", "expected true or false, got 'foo'; write the value without its tag"),
    "tag of nothing": ("seed: !!null foo", "expected null, got 'foo'; write the value without its tag"),
    "surrogate": (r'seed: "\ud800"', "half a character"),
    "key with escapes": (r'"\e[31m\nred": 1', r'"\u001b[31m\nred": unknown key'),
    "key as a list": ("? [a, b]\n: 3", "expected a name as a key, got a list or a mapping"),
    "merge of a number": ("train: {<<: 5}", "expected a mapping or list of mappings for merging"),
    "merge of a number as a key": ("train: {<<: {3: 4}}", "expected a name as a key, got '3'"),
    "null byte": ("seed: \0", "a character that no text has (0)"),
    "unknown anchor": ("seed: *nothing", "found undefined alias 'nothing'"),
    "long name": (f"evaluate: {{metrics: [{'x' * 900}]}}", "unknown metric 'xxxxx"),
    "infinity": ("train: {gradient_clip: .inf}", "expected a number > 0 or null, got Infinity"),
    "not a number": ("train: {gradient_clip: .nan}", "expected a number > 0 or null, got NaN"),
    "nan as text": ("train: {gradient_clip: nan}", 'got "nan"'),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), STRANGE.values(), ids=STRANGE)
def test_a_strange_value_earns_one_line(write: Write, text: str, expected: str) -> None:
    message = refusal(write(HEAD + text))
    assert message.startswith("study.yaml:4: ")
    assert expected in message
    assert "\n" not in message


AMBIGUOUS = ("010", "-010", "09", "00", "1:30", "1:30:59.5", "1_000", "1_0.5", "0b11", "on", "Off", "yes", "NO")


@pytest.mark.parametrize("value", AMBIGUOUS)
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("seed: {}", "4: seed"),
        ("evaluate: {{metrics: [{}]}}", "4: evaluate.metrics[0]"),
        ("grid:\n  train.epochs:\n  - {}", "6: grid.train.epochs[0]"),
    ],
)
def test_what_yaml_1_1_and_1_2_read_differently_is_refused_with_both_readings(
    write: Write, value: str, text: str, place: str
) -> None:
    message = refusal(write(HEAD + text.format(value)))
    assert message.startswith(f"study.yaml:{place}: '{value}' is ")
    assert "in YAML 1.1 and" in message
    assert "in quotes" in message
    assert refusal(write(HEAD), f"seed={value}").startswith(f"command line: seed: '{value}' is ")


def test_a_word_in_quotes_and_a_date_are_text(write: Write) -> None:
    assert load(write(HEAD.replace("Does it matter?", "'on'"))).question == "on"
    assert load(write(HEAD.replace("Does it matter?", "2001-01-01"))).question == "2001-01-01"


PLAIN = st.from_regex(r"[-+]?[0-9_.:eExob]{1,8}|[a-zA-Z~]{1,5}", fullmatch=True)


@given(PLAIN)
@example("1e-3")
@example("0o17")
def test_a_plain_value_is_read_as_both_versions_read_it_or_refused(text: str) -> None:
    """What PyYAML, of version 1.1, makes a number or a switch of is the same here, or is refused."""
    document = Document(f"value: {text}")
    try:
        old = yaml.safe_load(document.text)["value"]
    except (yaml.YAMLError, ValueError, TypeError):
        return
    if document.faults or isinstance(old, str):
        return
    new = document.value["value"]
    if isinstance(old, bool | int | float | None):
        assert new == old or (math.isnan(new) and math.isnan(old))
        assert type(new) is type(old)


@given(st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_as_python_writes_it(number: float) -> None:
    found = Document(f"value: {number!r}").value["value"]
    assert type(found) is type(number)
    assert found == number


def test_minus_nothing_is_nothing(write: Write) -> None:
    ids = {load(write(HEAD), [f"beta={zero}"]).only().id for zero in ("0", "-0", "0.0", "-0.0", "0e0")}
    assert len(ids) == 1
    assert math.copysign(1, load(write(HEAD), ["beta=-0.0"]).only().config["model"]["beta"]) == 1


WORDS = [
    "model",
    "data",
    "train",
    "seed",
    "grid",
    "question",
    "name",
    "BetaVAE",
    "Digits",
    "beta",
    "model.beta",
    "0..3",
]
SIGNS = [
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "\n",
    "\n  ",
    "&a ",
    "*a",
    "<<: ",
    "!!str ",
    "${seed}",
    "'",
    '"',
    "#",
    "|",
    ">",
]
TEXT = st.lists(st.sampled_from(WORDS + SIGNS) | PLAIN | st.text(max_size=3), max_size=25).map("".join)


@given(TEXT, st.booleans())
def test_any_text_is_a_study_or_lines_with_their_places(tmp_path_factory, text: str, headed: bool) -> None:
    path = tmp_path_factory.mktemp("any") / "s.yaml"
    path.write_text(HEAD + text if headed else text, encoding="utf-8", errors="surrogatepass")
    try:
        assert load(path).runs
    except ConfigError as error:
        for line in str(error).split("\n"):
            assert line.startswith((f"{path}:", "… and "))
            assert line.isprintable()


@given(st.text(max_size=20))
def test_any_override_is_runs_or_lines(tmp_path_factory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "overridden.yaml"
    path.write_text(HEAD)
    for assignment in (text, f"seed={text}", f"model={text}", f"{text}=1"):
        said = ""
        try:
            assert load(path, [assignment]).runs
        except ConfigError as error:
            said = str(error)
        assert all(line.startswith("command line: ") for line in said.splitlines())


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path))


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (os.mkfifo, "a pipe, a socket or a device, where an ordinary file is expected"),
    "socket": (_socket, "a pipe, a socket or a device"),
    "endless": (lambda path: path.symlink_to("/dev/zero"), "a pipe, a socket or a device"),
    "directory": (Path.mkdir, "a directory; name one study in it"),
    "loop": (lambda path: path.symlink_to(path.name), "symbolic links"),
    "UTF-16": (lambda path: path.write_text(HEAD, encoding="utf-16"), "not text in UTF-8 (byte 0); save it as UTF-8"),
    "binary": (lambda path: path.write_bytes(bytes(range(128, 256))), "not text in UTF-8"),
    "zeros": (lambda path: path.write_bytes(bytes(100)), "a character that no text has (0)"),
    "100 MB": (
        lambda path: os.truncate(path, 10**8) if path.touch() is None else None,
        f"more than {MOST_BYTES} bytes",
    ),
    "nothing": (lambda path: path.touch(), "the file is empty"),
}


@pytest.mark.parametrize(("make", "expected"), FILES.values(), ids=FILES)
def test_a_strange_file_earns_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make(Path("strange.yaml"))
    message = refusal("strange.yaml")
    with bounded_memory(), pytest.raises(ConfigError):
        load("strange.yaml")
    assert message.startswith("strange.yaml:")
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "a\nb", "", "[/]nope.yaml", "\udcff"])
def test_a_strange_path_earns_one_line(write: Write, path: str) -> None:
    write(HEAD)
    assert "\n" not in refusal(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read_earns_one_line(write: Write) -> None:
    path = write(HEAD)
    path.chmod(0)
    assert "Permission denied; check the path and its permissions" in refusal(path)


def test_a_mark_of_byte_order_is_no_part_of_the_text(write: Write) -> None:
    assert load(write("\ufeff" + HEAD)).question == "Does it matter?"


def test_merges_and_anchors_are_read_and_a_line_is_that_of_the_own_key(write: Write) -> None:
    text = HEAD + "grid:\n  model:\n  - &m {name: BetaVAE, beta: 2}\n  - {<<: *m, beta: 3}\n"
    assert [run.config["model"]["beta"] for run in load(write(text)).runs] == [2.0, 3.0]
    assert refusal(write(text.replace("3}", "-3}"))).startswith("study.yaml:7: grid.model[1].beta: ")


def test_faults_of_every_kind_are_said_in_one_round(write: Write) -> None:
    text = HEAD.replace("question", "questoin").replace("model: ", "modle: ").replace("8}", "0}")
    text += "train: {epochs: 0}\ngrid:\n  model.beta: 4\n  tarin.epochs: [1]\n  seed: [-1]\n"
    lines = refusal(write(text)).splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["study.yaml:1", "questoin"],
        ["study.yaml:1", "question"],
        ["study.yaml:2", "modle"],
        ["study.yaml:2", "modle.latent_dim"],
        ["study.yaml:4", "train.epochs"],
        ["study.yaml:6", "grid.model.beta"],
        ["study.yaml:7", "grid.tarin.epochs"],
        ["study.yaml:8", "grid.seed"],
    ]


def test_a_grid_of_many_runs_is_read(write: Write) -> None:
    path = write(HEAD + "grid:\n  model.beta: [1, 2]\n  seed: 0..499")
    with bounded_memory():
        assert len({run.id for run in load(path).runs}) == 1000
