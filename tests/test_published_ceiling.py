"""Law: every published run that was measured on its training split lies below the ceiling of all VAEs.

Records since the key `evaluate.ceiling` carry their distance. Older ones have none. Those of a Gaussian with one fixed
σ² that were measured on their training split are held against a ceiling that is computed here, if the split has at most
2000 observations. No law is stated for the others: they were measured on a test split, train on new pixels, learned σ²,
or are linear VAEs on 4096 observations, whose exact optimum is known and tested elsewhere.
"""

import json
from collections import defaultdict
from itertools import chain
from pathlib import Path

import pytest

from vaebench.config.registry import DATASETS
from vaebench.data.datamodule import DataModule
from vaebench.evaluation.ceiling import BRACKET, CEILING, DECODER
from vaebench.oracle.ceiling import MOST_OBSERVATIONS, CeilingProblem, objective_ceiling
from vaebench.records import record
from vaebench.records.record import BELOW, DEPTH, Record

RESULTS = Path(__file__).parents[1] / "results"
STUDIES = sorted(str(folder.parent.relative_to(RESULTS)) for folder in RESULTS.rglob("records"))

ERRORS = 5
"""Monte-Carlo errors that a run may be above the ceiling by: by chance, once in 3.5 million."""


def number(run: Record, name: str) -> float | None:
    found = run.estimate(name)
    return found.value if found is not None and isinstance(found.value, float) else None


def done(study: str) -> list[Record]:
    return [run for run in record.read_all(RESULTS / study) if run.status == "done"]


def test_every_record_that_has_its_distance_is_below_its_ceiling() -> None:
    """Also: what depth can buy and the bracket are not negative, and a decoder's gap lies below the ceiling too."""
    seen = 0
    for study in STUDIES:
        for run in done(study):
            for name in (BELOW, DECODER):
                found = run.estimate(name)
                if found is not None:
                    seen += 1
                    assert found.value >= -ERRORS * (found.monte_carlo_error or 0), (study, run.id, name)
            for name in (BRACKET, DEPTH):
                assert (number(run, name) or 0) >= 0, (study, run.id, name)
    assert seen >= 33


def computable() -> dict[str, list[Record]]:
    """The older runs of all studies for which a ceiling can be computed, by data set."""
    found = defaultdict(list)
    for run in chain.from_iterable(map(done, STUDIES)):
        config = run.config["model"].get("likelihood") or {}
        if (
            run.estimate(CEILING) is None
            and run.comparability["split"] == "train"
            and run.comparability["binarize"] is None
            and config.get("name") == "Gaussian"
            and run.facts.get("beta")
            and number(run, "rate") is not None
            and number(run, "distortion") is not None
        ):
            found[json.dumps(run.config["data"])].append(run)
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a minute or two where nothing else runs
def test_older_runs_are_below_a_ceiling_that_is_computed_now() -> None:
    """With a lower end that may lie a nat below the ceiling, which is quick: the law holds for any lower end."""
    seen, missing = 0, []
    for spec, runs in computable().items():
        data = DataModule(DATASETS.build(json.loads(spec)), batch_size=64)
        try:
            data.setup()
        except FileNotFoundError as error:
            missing.append(str(error))
            continue
        if len(data.train.x) <= MOST_OBSERVATIONS:
            # Another sample of this name, for example of another seed, has another checksum.
            same = [run for run in runs if run.comparability["checksum"] == data.checksum]
            check(data, same)
            seen += len(same)
    assert seen
    if missing:
        pytest.skip("; ".join(missing))


def check(data: DataModule, runs: list[Record]) -> None:
    taus = {run.facts["beta"] * run.facts["variance"] for run in runs}
    path = {c.tau: c for c in CeilingProblem.gaussian(data.train.x).path(sorted(taus), tolerance=1.0, most_rounds=2)}
    for run in runs:
        beta, variance = run.facts["beta"], run.facts["variance"]
        constant = objective_ceiling(0.0, beta, data.train.x.new_tensor([variance]), data.train.x[0].numel())
        rate, distortion = run.estimate("rate"), run.estimate("distortion")
        assert rate is not None
        assert distortion is not None
        objective = -(distortion.value + beta * rate.value)  # type: ignore[operator]
        error = beta * (rate.monte_carlo_error or 0) + (distortion.monte_carlo_error or 0)
        assert objective <= constant - beta * path[beta * variance].lower + ERRORS * error, run.id
