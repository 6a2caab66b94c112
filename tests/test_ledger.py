"""The ledger: which verdict follows from which records, and what never counts as a reproduction."""

import contextlib
import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import yaml
from commands import vaebench

from vaebench.config import load
from vaebench.records import provenance
from vaebench.records.description import Weights
from vaebench.records.files import stale
from vaebench.records.record import Estimate, Record, encode, identity, read, write
from vaebench.reporting.ledger import claims, rendering
from vaebench.reporting.ledger.claims import Claim
from vaebench.reporting.ledger.rendering import about, details, summary
from vaebench.reporting.ledger.verdict import MEASURED, Judgement, Verdict, evidence, judge, without_seeds
from vaebench.reporting.tables.intervals import prediction_half_width
from vaebench.reporting.tables.quantities import MARK
from vaebench.reporting.tables.quantities import RESTS as SAID

ROOT = Path(__file__).parents[1]

STUDY = """
question: Is it the number in print?
model: {name: BetaVAE, latent_dim: 2}
data: {name: Digits, binarize: Dynamic}
train: {epochs: 1}
grid: {model.beta: [1, 4], seed: 0..2}
"""

PUBLISHED = {"rule": "published", "reason": "two runs"}
STATED = {"rule": "stated", "value": 0.1, "reason": "as printed"}
SEEDS = {"rule": "seeds", "reason": "one run"}

COMMIT = provenance.code()["commit"] or "c0ffee"
"""One that exists, where there is a git checkout."""

BLANK = Record(id="", study="tiny", status="done", config={}, estimates=[Estimate("elbo", -23.0)])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a protocol in conf/paper."""
    monkeypatch.chdir(tmp_path)
    Path("conf/paper").mkdir(parents=True)
    Path("conf/paper/tiny.yaml").write_text(STUDY, encoding="utf-8")
    return tmp_path


def claim(tolerance: dict, published: float | list[float] = 23.0, **changes: object) -> Claim:
    point = {"name": "loss", "published": published, "read": "elbo", "times": -1, "of": {"model.beta": 1.0}}
    given = {"id": 1, "title": "t", "source": "s", "state": "read", "protocol": "conf/paper/tiny.yaml"}
    given |= {"tolerance": tolerance, "points": [point]} | changes
    Path("claims.yaml").write_text(yaml.safe_dump([given]), encoding="utf-8")
    return claims.read(Path("claims.yaml"))[0]


def records(*elbos: float, beta: float = 1.0, **changes: object) -> list[Record]:
    """One record a number, of the study's protocol, with seeds from 0 on, in runs/paper/tiny."""
    made = []
    template = next(r for r in load("conf/paper/tiny.yaml").runs if r.config["model"]["beta"] == beta)
    for seed, elbo in enumerate(elbos):
        config = template.config | {"seed": seed}
        one = Record(id=identity(config), study="tiny", status="done", config=config)
        one = replace(one, estimates=[Estimate("elbo", elbo)], provenance={"commit": COMMIT, "command": "sweep"})
        made.append(replace(one, **changes))
        write(made[-1], Path("runs/paper/tiny") / made[-1].id / "record.json")
    return made


def one_seed() -> None:
    """Make the protocol one of a single seed."""
    Path("conf/paper/tiny.yaml").write_text(STUDY.replace("0..2", "[0]"), encoding="utf-8")


def judged(one: Claim) -> Judgement:
    return judge(one, evidence(one, Path("runs")))


def path_of(one: Record) -> Path:
    return Path("runs/paper/tiny") / one.id / "record.json"


# -- verdicts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beyond", [-1e-9, 1e-9])
@pytest.mark.parametrize("tolerance", [PUBLISHED, STATED, SEEDS], ids=lambda t: t["rule"])
def test_at_its_edge_a_tolerance_decides(here: Path, tolerance: dict, beyond: float) -> None:
    published, ours = [22.0, 24.0], [22.9, 23.0, 23.1]
    allowed = {
        "published": prediction_half_width(published, 3),
        "stated": 0.1,
        "seeds": prediction_half_width(ours, 1),
    }[tolerance["rule"]]
    shift = allowed + beyond
    records(*(-(v + shift) for v in ours))
    found = judged(claim(tolerance, published if tolerance is PUBLISHED else 23.0))
    assert found.verdict is (Verdict.REPRODUCED if beyond < 0 else Verdict.DIFFERS)
    assert found.points[0].difference == pytest.approx(shift)
    assert found.points[0].half_width == pytest.approx(0.1 * 4.30265 / math.sqrt(3), rel=1e-4)


def test_nothing_is_not_run(here: Path) -> None:
    assert judged(claim(STATED)).verdict is Verdict.NOT_RUN
    assert judged(claim(STATED, protocol="conf/paper/later.yaml")).verdict is Verdict.NOT_RUN
    assert judged(claim(STATED, protocol=None)).verdict is Verdict.NOT_RUN


def test_what_is_not_verified_is_never_judged(here: Path) -> None:
    records(-23.0, -23.0)
    found = judged(claim(STATED, state="memory"))
    assert (found.verdict, found.points) == (Verdict.NOT_VERIFIED, [])


def test_another_sample_a_smaller_budget_and_what_does_not_compare(here: Path) -> None:
    records(-23.0, -23.0, -23.1)
    assert judged(claim(STATED, sample="drawn again")).verdict is Verdict.OTHER_SAMPLE
    assert judged(claim(STATED, published=9.0, sample="drawn again")).verdict is Verdict.DIFFERS
    shorter = judged(claim(STATED, budget=[121, 3280, "epochs"]))
    assert (shorter.verdict, shorter.budgets) == (Verdict.SMALLER_BUDGET, ((121, 3280, "epochs"),))
    assert judged(claim(STATED, incomparable="other pixels")).reason == "other pixels"


def test_missing_numbers_seeds_and_failed_runs_are_a_smaller_budget(here: Path) -> None:
    both = claim(STATED)
    both = replace(both, points=[*both.points, replace(both.points[0], of={"model.beta": 4.0})])
    records(-23.0)
    assert judged(both).budgets == ((1, 2, "numbers"),)
    one_seed()
    assert judged(claim(SEEDS)).budgets == ((1, 2, "seeds"),)
    assert judged(claim(PUBLISHED, [23.0, 23.2])).verdict is Verdict.REPRODUCED, "one seed has an interval of theirs"
    records(-23.0, -23.0, status="failed", reason="loss is NaN", estimates=[])
    assert judged(claim(STATED)).budgets == ((0, 2, "runs"),)


@pytest.mark.parametrize("tolerance", [PUBLISHED, STATED, SEEDS], ids=lambda t: t["rule"])
def test_fewer_runs_than_the_protocol_has_reproduce_nothing(here: Path, tolerance: dict) -> None:
    """Half of the seeds could be the half that agrees."""
    records(-23.0, -23.01)
    found = judged(claim(tolerance, [22.0, 24.0] if tolerance is PUBLISHED else 23.0))
    assert found.budgets == ((2, 3, "runs"),)
    assert found.points[0].value == pytest.approx(23.005), "what was measured is shown"
    records(-23.0, -23.01, -23.02, -23.03)
    assert judged(claim(STATED)).verdict is Verdict.REPRODUCED, "more seeds are welcome"


def test_one_run_measured_with_many_seeds_is_one_run(here: Path) -> None:
    run = load("conf/paper/tiny.yaml").runs[0].config
    for seed in range(3):
        config = {"measurement": "fault", "run": run, "seed": seed}
        made = replace(BLANK, id=identity(config), study="exact", config=config)
        write(made, Path("runs") / MEASURED / f"fault-{made.id}.json")
    point = {"name": "x", "published": -23, "read": "elbo", "of": {"run.model.beta": 1.0}}
    protocol = {"measurement": "fault", "run": "conf/paper/tiny.yaml"}
    assert judged(claim(STATED, protocol=protocol, points=[point])).budgets == ((1, 3, "runs"),)


def test_a_shortened_protocol_is_judged_until_the_whole_one_has_records(here: Path) -> None:
    whole = STUDY.replace("epochs: 1", "epochs: 82")
    Path("conf/paper/whole.yaml").write_text(whole, encoding="utf-8")
    records(-25.0, -25.1, -24.9)
    one = claim(STATED, whole="conf/paper/whole.yaml", budget=[1, 82, "epochs"])
    assert rendering.judged(one, Path("runs")).budgets == ((1, 82, "epochs"),)
    for seed in range(3):
        config = load("conf/paper/whole.yaml").runs[0].config | {"seed": seed}
        full = replace(BLANK, id=identity(config), study="whole", config=config, estimates=[Estimate("elbo", -23.0)])
        write(full, Path("runs/paper/whole") / full.id / "record.json")
    assert rendering.judged(one, Path("runs")).verdict is Verdict.REPRODUCED


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_reproduces_nothing(here: Path, odd: float) -> None:
    for numbers in ((odd, -23.0, -23.0), (-23.0, odd, -23.0), (-23.0, -23.0, odd)):
        records(*numbers)
        one = claim(STATED)
        largest = replace(one, points=[replace(one.points[0], pick=claims.Pick.LARGEST)])
        assert judged(one).verdict is judged(largest).verdict is Verdict.DIFFERS
        assert judged(claim(SEEDS)).verdict is not Verdict.REPRODUCED


@pytest.mark.parametrize("odd", [None, True, "-23", [-23.0], {"mean": -23.0}])
def test_what_is_no_number_reproduces_nothing(here: Path, odd: object) -> None:
    """As a fact, and as the last value of a curve whose earlier value would do."""
    records(-1.0, -1.1, -1.2, estimates=[], facts={"elbo": odd})
    assert judged(claim(STATED)).budgets == ((0, 1, "numbers"),)
    if odd is None:
        one_seed()
        two_epochs = {"epoch": [1, 2], "elbo": [-23.0, None]}
        config = records(-1.0)[0].config
        config = config | {"train": config["train"] | {"epochs": 2}}
        one = replace(BLANK, id=identity(config), config=config, estimates=[], curve=two_epochs)
        Path("conf/paper/tiny.yaml").write_text(
            Path("conf/paper/tiny.yaml").read_text().replace("epochs: 1", "epochs: 2"), encoding="utf-8"
        )
        write(one, path_of(one))
        assert judged(claim(STATED)).budgets == ((0, 1, "numbers"),)


def test_the_largest_of_many_starts_counts_and_not_their_mean(here: Path) -> None:
    records(-1e-9, 0.0, -0.2)
    one = claim(STATED, 0.0)
    assert judged(one).verdict is Verdict.REPRODUCED
    assert judged(replace(one, points=[replace(one.points[0], pick=claims.Pick.LARGEST)])).verdict is Verdict.DIFFERS


# -- what never counts ------------------------------------------------------------------------------------------------


def test_other_seeds_count_and_other_protocols_do_not(here: Path) -> None:
    """Every leaf of the configuration but the seeds belongs to the protocol."""
    one_seed()
    config = load("conf/paper/tiny.yaml").runs[0].config

    def changed(value: object) -> object:
        return not value if isinstance(value, bool) else value + 1 if isinstance(value, int | float) else "other"

    def variants(node: dict) -> list[dict]:
        found = []
        for key, value in node.items():
            inner = variants(value) if isinstance(value, dict) else [changed(value)]
            found += [node | {key: other} for other in inner]
        return found

    for variant in variants(config):
        shutil.rmtree("runs", ignore_errors=True)
        one = Record(
            id=identity(variant), study="tiny", status="done", config=variant, estimates=[Estimate("elbo", -23.0)]
        )
        write(one, path_of(one))
        found = judged(claim(STATED))
        if without_seeds(variant) == without_seeds(config):
            assert found.verdict is Verdict.REPRODUCED
            assert variant["seed"] + variant["data"].get("data_seed", 0) > 0
        elif variant["model"] != config["model"] | {"beta": 2.0}:
            assert found.verdict is Verdict.NOT_COMPARABLE
            assert one.id in found.reason


def test_a_record_that_was_changed_by_hand_is_refused(here: Path) -> None:
    """A number, a digit of the configuration, the checksum or the id; and one bad file spoils the claim."""
    one, *_ = records(-25.0, -23.0, -23.0)
    intact = path_of(one).read_text()
    assert judged(claim(STATED)).verdict is Verdict.DIFFERS
    for old, new in (
        ("-25.0", "-23.0"),
        ('"latent_dim": 2', '"latent_dim": 3'),
        (one.id, "0123456789"),
        ('"sha256": "', '"sha256": "0'),
        ('"format": 3', '"format": 1'),
    ):
        assert old in intact
        path_of(one).write_text(intact.replace(old, new))
        found = judged(claim(STATED))
        assert found.verdict is Verdict.NOT_COMPARABLE, old
        assert str(path_of(one)) in found.reason


@pytest.mark.parametrize("beside", [("iwae_1",), ("rate", "distortion")])
def test_a_number_at_odds_with_the_others_is_refused(here: Path, beside: tuple[str, ...]) -> None:
    """One number was changed by hand, and the checksum was computed again."""
    parts = {"iwae_1": -23.0, "rate": 10.0, "distortion": 13.0}
    rest = [Estimate(name, parts[name]) for name in beside]
    one, *_ = records(-23.0, -23.0, -23.0, estimates=[Estimate("elbo", -23.0), *rest])
    assert judged(claim(STATED)).verdict is Verdict.REPRODUCED
    write(replace(one, estimates=[Estimate("elbo", -23.001), *rest]), path_of(one))
    found = judged(claim(STATED))
    assert found.verdict is Verdict.NOT_COMPARABLE
    assert "do not fit together" in found.reason


def test_a_seed_that_is_none_is_another_protocol(here: Path) -> None:
    """A key that was added, or a value that is no seed, in a record whose id and checksum fit."""
    config = records(-23.0, -23.1, -22.9)[0].config
    for forged in (config | {"other_seed": 1}, config | {"data": config["data"] | {"seed": "any"}}):
        shutil.rmtree("runs")
        one = replace(BLANK, id=identity(forged), config=forged)
        write(one, path_of(one))
        assert judged(claim(STATED)).verdict is Verdict.NOT_COMPARABLE


def test_a_copy_is_refused(here: Path) -> None:
    """A run twice, and a training whose numbers came back under another seed, with a new id and a new checksum."""
    one, other, _ = records(-23.0, -23.1, -22.9, curve={"epoch": [1], "train/objective": [-30.0]})
    assert judged(claim(STATED)).verdict is Verdict.REPRODUCED
    shutil.copytree("runs/paper/tiny", "kept")
    again = Path("runs/paper/tiny/records") / f"{one.id}.json"
    again.parent.mkdir()
    shutil.copy(path_of(one), again)
    found = judged(claim(STATED))
    assert found.verdict is Verdict.NOT_COMPARABLE
    assert "has the run of" in found.reason
    again.unlink()
    write(replace(one, id=other.id, config=other.config), path_of(other))
    found = judged(claim(STATED))
    assert found.verdict is Verdict.NOT_COMPARABLE
    assert "has the numbers of" in found.reason


@pytest.mark.parametrize(
    ("forged", "said"),
    [
        ({"commit": None}, "names no command or no commit"),
        ({"command": ""}, "names no command or no commit"),
        ({"dirty": True}, "its code was changed after"),
        ({"commit": "0123456789" * 4}, "its commit 0123456789 is not in the history"),
    ],
)
def test_a_published_record_that_nobody_can_repeat_is_refused(project: Path, forged: dict, said: str) -> None:
    if provenance.code()["commit"] is None:
        pytest.skip("no git checkout")
    path = sorted(Path("results/paper/tiny").glob("*/record.json"))[0]
    one = read(path)
    write(replace(one, provenance=one.provenance | forged), path)
    (found, *_) = rendering.judgements(Path("results"))
    assert found.verdict is Verdict.NOT_COMPARABLE
    assert said in found.reason
    shutil.move("results/paper/tiny", "runs/paper/tiny")
    (found, *_) = rendering.judgements(Path("results"), Path("runs"))
    assert found.verdict is Verdict.REPRODUCED, "of records that are not published, nobody asks it"


def test_a_measurement_has_its_name(here: Path) -> None:
    config = {"measurement": "spectrum", "seed": 0}
    made = replace(BLANK, id=identity(config), study="exact", config=config)
    write(made, Path("runs") / MEASURED / "spectrum-0123456789.json")
    point = {"name": "x", "published": -23, "read": "elbo"}
    found = judged(claim(STATED, protocol={"measurement": "spectrum"}, points=[point]))
    assert found.verdict is Verdict.NOT_COMPARABLE
    assert f"spectrum-{made.id}.json" in found.reason


def test_a_record_without_a_checksum_is_refused(here: Path) -> None:
    """As format 1 had none: without the checksum and with another version, any number could be written."""
    (one,) = records(-23.0)
    entries = json.loads(path_of(one).read_text())
    del entries["sha256"]
    path_of(one).write_text(json.dumps(entries | {"format": 1}))
    assert read(path_of(one)).estimate("elbo").value == -23.0
    found = judged(claim(STATED))
    assert found.verdict is Verdict.NOT_COMPARABLE
    assert "no checksum" in found.reason


def test_a_number_that_was_added_later_does_not_count(here: Path) -> None:
    """It may have been measured with other draws than the protocol says."""
    (one,) = records(-23.0)
    write(replace(one, provenance=one.provenance | {"later": [{"names": ["elbo"]}]}), path_of(one))
    assert judged(claim(STATED)).budgets == ((0, 1, "numbers"),)


def test_a_record_of_another_study_is_refused(here: Path) -> None:
    """Copied in as it is; and under the name of this study, where its configuration still says what it is."""
    records(-23.0, -23.1, -22.9)
    config = records(-23.0)[0].config
    config = config | {"model": config["model"] | {"latent_dim": 3}}
    other = replace(BLANK, id=identity(config), config=config)
    write(other, path_of(other))
    found = judged(claim(STATED))
    assert (found.verdict, found.evidence.foreign, len(found.points[0].values)) == (Verdict.REPRODUCED, [other.id], 3)
    records(-23.0, study="other")
    assert judged(claim(STATED)).verdict is Verdict.NOT_COMPARABLE


def test_a_measurement_is_of_its_protocol(here: Path) -> None:
    one_seed()
    config = {"measurement": "spectrum", "seed": 5}
    made = replace(BLANK, id=identity(config), study="exact", config=config)
    write(made, Path("runs") / MEASURED / f"spectrum-{made.id}.json")
    alone = claim(
        STATED, protocol={"measurement": "spectrum"}, points=[{"name": "x", "published": -23, "read": "elbo"}]
    )
    assert judged(alone).verdict is Verdict.REPRODUCED
    assert judged(replace(alone, protocol={"measurement": "spectrum", "n": 5})).verdict is Verdict.NOT_COMPARABLE
    of_runs = replace(alone, protocol={"measurement": "spectrum", "run": "conf/paper/tiny.yaml"})
    assert judged(of_runs).verdict is Verdict.NOT_COMPARABLE
    for run in load("conf/paper/tiny.yaml").runs:
        config = {"measurement": "spectrum", "run": run.config, "seed": 5}
        made = replace(made, id=identity(config), config=config)
        write(made, Path("runs") / MEASURED / f"spectrum-{made.id}.json")
    assert judged(of_runs).verdict is Verdict.REPRODUCED


# -- claims -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "- {id: 1, title: t, source: s, state: seen}",
            "0.state: Input should be 'read', 'quoted'",
        ),
        ("- {id: 1, title: t, source: s, state: read, note: x}", "0.note: Unexpected keyword argument"),
        ("- {id: 1, title: t, source: s, state: memory}\n" * 2, "expected every claim once, got two of number 1"),
        (
            "- {id: 1, title: t, source: s, state: read, points: [{name: a, published: 1, read: b}]}",
            "a tolerance before",
        ),
        (
            "- {id: 1, title: t, source: s, state: read, options: {text: a, code: b}, printed: both}",
            "expected text or code as the option that was printed, got both",
        ),
        (
            "- {id: 1, title: t, source: s, state: read, points: [{name: a, published: [], read: b}]}",
            "a: expected finite published values, got []",
        ),
        (
            "- {id: 1, title: t, source: s, state: read, points: [{name: a, published: [1, .inf], read: b}]}",
            "a: expected finite published values, got [1.0, inf]",
        ),
        (
            "- {id: 1, title: t, source: s, state: read, tolerance: {rule: published, reason: r}, "
            "points: [{name: a, published: 1, read: b}]}",
            "claim 1: expected two or more published values for the rule published, got one for a",
        ),
        ("a: [", "expected YAML"),
    ],
)
def test_a_fault_in_the_claims_is_one_line(here: Path, text: str, said: str) -> None:
    Path("claims.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"claims\.yaml") as error:
        claims.read(Path("claims.yaml"))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


SHIPPED = claims.read(ROOT / "results" / claims.FILE)


def test_the_shipped_claims_name_their_source_protocol_and_command() -> None:
    assert len(SHIPPED) >= 20
    for one in SHIPPED:
        assert one.source
        assert one.points or one.protocol is None, f"claim {one.id} is run and has no number"
        assert not one.options or one.printed, f"claim {one.id}: which option was printed?"
        if isinstance(one.protocol, Path):
            assert one.command.startswith(f"python -m vaebench sweep {one.protocol}")
            assert (ROOT / one.protocol).is_file()
        elif one.protocol is not None:
            run = f" {one.protocol['run']}" if "run" in one.protocol else ""
            assert one.command.startswith(f"python -m vaebench measure {one.protocol['measurement']}{run}")


def test_every_protocol_is_claimed() -> None:
    named = {
        str(one.protocol if isinstance(one.protocol, Path) else (one.protocol or {}).get("run")) for one in SHIPPED
    } | {word for one in SHIPPED for command in one.options.values() for word in command.split()}
    assert {p.relative_to(ROOT).as_posix() for p in (ROOT / "conf/paper").glob("*.yaml")} <= named


@pytest.fixture(scope="module")
def shipped() -> Iterator[list[Judgement]]:
    """The judgements of the published records, in the folder of the project."""
    with contextlib.chdir(ROOT):
        yield rendering.judgements(Path("results"))


@cache
def configurations(study: str, overrides: tuple[str, ...] = ()) -> dict[str, dict]:
    """The configurations of a study's runs by their ids."""
    with contextlib.chdir(ROOT):
        return {run.id: run.config for run in load(study, overrides).runs}


def asked(command: str) -> tuple[str, str | None, list[str]]:
    """A command of vaebench: its verb, what it is about, and the other words."""
    python, flag, package, verb, about, *rest = command.split()
    assert (python, flag, package) == ("python", "-m", "vaebench"), command
    return verb, about, rest


def test_every_command_of_the_ledger_is_valid() -> None:
    """Of a claim and its options: the study loads with these overrides, or the measurement takes what it is given."""
    from vaebench.calibration.measurements import ALONE, OF_RUNS

    commands = [c for one in SHIPPED for c in (one.command, *one.options.values()) if c]
    commands += [found[0] for one in SHIPPED if (found := re.findall(r"python -m vaebench .*?(?=;|$)", one.rest))]
    assert len(commands) > 20
    for verb, study, rest in map(asked, dict.fromkeys(commands)):
        if verb == "sweep":
            assert configurations(study, tuple(rest))
        else:
            assert (verb, study in (OF_RUNS if rest else ALONE)) == ("measure", True)
            assert all(map(configurations, rest))


def test_what_counts_as_reproduced_names_a_commit_and_the_command_that_repeats_it(shipped: list[Judgement]) -> None:
    """Of every record that a verdict rests on: the commit is in the history, and the command leads to this record."""
    assert sum(j.verdict is Verdict.REPRODUCED for j in shipped) >= 14
    commits = {made.provenance["commit"] for one in shipped for made in one.evidence.records}
    assert provenance.not_in_history(commits) == set()
    for one in shipped:
        assert not one.evidence.faults
        for made in one.evidence.records:
            assert made.provenance["dirty"] is False, made.id
            verb, about, rest = asked(made.provenance["command"])
            if verb == "train":
                *overrides, flag, id_ = rest
                assert (flag, id_) == ("--id", made.id)
                assert made.id in configurations(about, tuple(overrides))
            else:
                *studies, flag, seed = rest
                assert (verb, flag) == ("measure", "--seed")
                assert (about, int(seed)) == (made.config["measurement"], made.config["seed"])
                runs = [config for study in studies for config in configurations(study).values()]
                assert made.config.get("run") in (runs or [None])


def test_no_tolerance_was_changed_after_its_run(shipped: list[Judgement], monkeypatch: pytest.MonkeyPatch) -> None:
    """At the commit of every record, the claims have the same published numbers and tolerances as today."""
    monkeypatch.chdir(ROOT)
    commits = {made.provenance["commit"] for one in shipped for made in one.evidence.records}
    if not provenance.not_in_history({"0" * 40}) or provenance.not_in_history(commits):
        pytest.skip("git does not have the whole history")
    then = {c: {x["id"]: x for x in yaml.safe_load(_at(c, f"results/{claims.FILE}"))} for c in commits}
    now = {x["id"]: x for x in yaml.safe_load(Path("results", claims.FILE).read_text(encoding="utf-8"))}
    for one in shipped:
        for made in one.evidence.records:
            earlier = then[made.provenance["commit"]][one.claim.id]
            for entry in ("tolerance", "points", "state", "sample", "incomparable"):
                assert earlier.get(entry) == now[one.claim.id].get(entry), (one.claim.id, made.id, entry)


def test_no_claim_is_reproduced_by_half_of_its_records_or_by_numbers_that_are_none(shipped: list[Judgement]) -> None:
    """Of every claim that its records reproduce, or would with the data of the source."""
    agreeing = [j for j in shipped if j.verdict in (Verdict.REPRODUCED, Verdict.OTHER_SAMPLE)]
    assert len(agreeing) >= 15

    def verdict(one: Judgement, made: list[Record]) -> Verdict:
        return judge(one.claim, replace(one.evidence, records=made)).verdict

    for one in agreeing:
        whole = one.evidence.records
        assert verdict(one, whole) is one.verdict
        assert verdict(one, whole[: len(whole) // 2]) in (Verdict.SMALLER_BUDGET, Verdict.NOT_RUN), one.claim.id
        for point in one.claim.points:
            spoilt = [_without(point.read, r) for r in whole]
            assert verdict(one, spoilt) in (Verdict.DIFFERS, Verdict.SMALLER_BUDGET), (one.claim.id, point.name)


def _without(name: str, one: Record) -> Record:
    """The record with NaN for every number of that name."""
    spoilt = [
        e._replace(value=[math.nan] * len(e.value) if isinstance(e.value, list) else math.nan) for e in one.estimates
    ]
    estimates = [bad if bad.name == name else good for bad, good in zip(spoilt, one.estimates, strict=True)]
    curve = {k: [None] * len(v) if k == name else v for k, v in one.curve.items()}
    return replace(one, estimates=estimates, curve=curve, facts={k: v for k, v in one.facts.items() if k != name})


def _at(commit: str, path: str) -> str:
    return subprocess.run(["git", "show", f"{commit}:{path}"], capture_output=True, encoding="utf-8", check=True).stdout


# -- renderings -------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(here: Path) -> Path:
    """A project with claims and published records."""
    records(-23.0, -23.1, -22.9)
    Path("results/paper").mkdir(parents=True)
    shutil.move("runs/paper/tiny", "results/paper/tiny")
    tiny = claim(STATED)
    rows = [
        {"id": 1, "title": "An $odd_title$ | & <b>", "source": "s", "state": "read"},
        {"id": 2, "title": "from memory " * 9, "source": "s", "state": "memory"},
        {"id": 3, "title": "other", "source": "s", "state": "exact", "incomparable": "α ≠ β " * 20},
    ]
    whole = yaml.safe_load(Path("claims.yaml").read_text())[0]
    rows[0] = whole | {"title": rows[0]["title"]}
    Path("results/paper/claims.yaml").write_text(yaml.safe_dump(rows, allow_unicode=True), encoding="utf-8")
    assert tiny.id == 1
    return here


def test_the_verb_writes_the_ledger_and_checks_it(project: Path) -> None:
    said = vaebench("ledger", columns=80)
    table = said[: said.index("3 is not comparable")]
    assert max(map(len, table.splitlines())) <= 80
    assert "3 claims: 1 reproduced, 1 not comparable, 1 not verified" in said
    assert sorted(p.name for p in Path("results/paper").glob("ledger.*")) == [
        "ledger.html", "ledger.md", "ledger.svg", "ledger.tex",
    ]  # fmt: skip
    vaebench("ledger", "--check", columns=80)
    Path("results/paper/ledger.md").write_text("by hand")
    assert "results/paper/ledger.md" in vaebench("ledger", "--check", status=1, columns=80)
    assert "1 reproduced" in vaebench("ledger", columns=80), "a second time the same"
    assert "1 not run" in vaebench("ledger", "runs", columns=80), "records elsewhere are judged by the same claims"
    for beside in (["runs"], ["--claim", "1"]):
        assert "--check compares" in vaebench("ledger", *beside, "--check", status=1, columns=80)


def test_one_claim_is_printed_in_full(project: Path) -> None:
    said = vaebench("ledger", "--claim", "1", columns=80)
    for words in ("reproduced", "seeds: seed 0..2", f"commits: {COMMIT[:10]}", "loss", "23.00"):
        assert words in said
    assert not list(Path("results/paper").glob("ledger.*"))
    assert "expected a claim from 1 to 3, got 9" in vaebench("ledger", "--claim", "9", status=1, columns=80)


def test_a_number_with_collapsed_weights_is_marked(here: Path) -> None:
    collapsed = Weights(pareto_k=0.9, effective=2.0, draws=100)
    records(-23.0, -23.1, -22.9, estimates=[Estimate("elbo", -23.0, weights=collapsed)])
    found = judged(claim(STATED))
    assert MARK in details(found).numbers[0][2]
    assert f"{SAID}: too high by" in about([found]), "the loss, −1 times a bound that is too low"
    assert MARK not in about([judged(claim(STATED, state="memory"))])
    bound = {"name": "ELBO", "published": -23.0, "read": "elbo", "of": {"model.beta": 1.0}}
    turned = judged(claim(STATED, points=[bound]))
    assert f"{SAID}: too low by" in about([turned])
    assert found.verdict is turned.verdict is Verdict.REPRODUCED, "a mark changes no verdict"


@pytest.mark.parametrize(("value", "said"), [(942.0465, "942.0465"), (12346.25, "12346.25"), (0.25, "0.25")])
def test_a_number_without_a_scale_keeps_its_digits(here: Path, value: float, said: str) -> None:
    records(-value)
    assert details(judged(claim(SEEDS, published=value + 1))).numbers[0][2] == said


def test_the_plot_counts_what_it_leaves_out_by_the_reason_and_marks_what_it_shows(here: Path) -> None:
    collapsed = Weights(pareto_k=0.9, effective=2.0, draws=100)
    records(-23.0, -23.1, -22.9, estimates=[Estimate("elbo", -23.0, weights=collapsed), Estimate("ais", math.inf)])
    point = {"name": "loss", "published": 23.0, "read": "elbo", "times": -1, "of": {"model.beta": 1.0}}
    others = [{"published": -23.0, "times": 1}, {"published": 0.0}, {"published": 1.0, "times": 0.0}, {"read": "ais"}]
    figure = rendering.plot([judged(claim(STATED, points=[point, *(point | other for other in others)]))])
    assert figure.caption.startswith("1 numbers on")
    assert "alone: 1 with a negative value, 1 with a published value of 0 (a diff" in figure.caption
    assert "1 measured as 0, 1 measured as infinite or NaN." in figure.caption
    assert "rests on collapsed importance weights" in figure.caption
    assert figure.panels[0].svg.count(f">{MARK}<") == 1


def test_the_ledger_follows_from_the_records(project: Path) -> None:
    vaebench("ledger", columns=80)
    (one, *_) = [read(p) for p in Path("results/paper/tiny").glob("*/record.json")]
    moved = replace(one, estimates=[Estimate("elbo", -99.0)])
    Path("results/paper/tiny", one.id, "record.json").write_bytes(encode(moved))
    assert "differ from their records" in vaebench("ledger", "--check", status=1, columns=80)
    assert "1 differs" in vaebench("ledger", columns=80)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_and_fits_a_page(project: Path, shipped: list[Judgement]) -> None:
    vaebench("ledger", columns=80)
    head = r"\documentclass{article}\usepackage{booktabs,longtable}\begin{document}"
    text = Path("results/paper/ledger.tex").read_text(encoding="utf-8")
    published = rendering._latex(shipped, [details(j) for j in shipped])
    Path("all.tex").write_text("\n".join([head, text, published, r"\end{document}"]), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "all.tex"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert "Overfull" not in Path("all.log").read_text(encoding="latin-1")


def test_the_page_escapes_and_has_one_plot(project: Path) -> None:
    vaebench("ledger", columns=80)
    page = Path("results/paper/ledger.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 1
    assert "<b>" not in page
    assert "http" not in Path("results/paper/ledger.svg").read_text().replace("http://www.w3.org/2000/svg", "")


def test_the_readme_shows_the_plot_and_the_count(shipped: list[Judgement]) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "results/paper/ledger.svg" in readme
    assert summary(shipped) in readme


def test_the_committed_ledger_follows_from_the_records(
    shipped: list[Judgement], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert stale(rendering.files(shipped, Path("results"))) == []
