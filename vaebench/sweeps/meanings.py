"""What every number means, and which are equal, gathered from the metrics, estimators and models themselves.

`python -m vaebench.sweeps.meanings` writes `meanings.json` and `identities.json` in `vaebench/records`, which pages and
the ledger read without torch; a test compares them. A description may have a `meaning`; without one it is the first
sentence of the class that has it.
"""

import json
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path

from vaebench.config.registry import ESTIMATORS, METRICS, MODELS, Registry
from vaebench.evaluation import ceiling, collapse, known_truth
from vaebench.records.description import FILE, IDENTITIES, Description, general

DRAWS = 5000  # draws for each observation. Some metrics have one column for each divisor of this number


def meanings() -> dict[str, str]:
    """Name -> meaning; a number inside a name stands as `#`."""
    declared = (
        collapse.FORECAST
        | collapse.CAUSES
        | collapse.ENDPOINT
        | dict(ceiling.COLUMNS)
        | {ceiling.DECODER: ceiling.DECODER_GAP}
        | dict(known_truth.DESCRIPTIONS)
    )
    found = {name: described.meaning for name, described in declared.items()}
    for registry in (METRICS, ESTIMATORS):
        for summary, columns in _measured(registry):
            found |= {name: described.meaning or summary for name, described in columns.items()}
    for name in MODELS:
        model = MODELS.build({"name": name, "likelihood": "LearnedGaussian"}, (1, 8, 8), 0)
        found |= {fact: described.meaning for fact, described in model.fact_descriptions.items()}
    return {general(name): meaning for name, meaning in sorted(found.items()) if meaning}


def _measured(registry: Registry) -> Iterator[tuple[str, Mapping[str, Description]]]:
    for name in registry:
        columns = registry.build(name).columns
        yield registry.source(name).summary, columns(DRAWS) if callable(columns) else columns


def texts() -> dict[str, str]:
    """The content of each file."""
    identities = {name: sums for metric in METRICS for name, sums in METRICS[metric].identities.items()}
    found = {FILE: meanings(), IDENTITIES: identities}
    return {file: json.dumps(content, ensure_ascii=False, indent=1) + "\n" for file, content in found.items()}


if __name__ == "__main__":
    for file, text in texts().items():
        Path(str(resources.files("vaebench.records").joinpath(file))).write_text(text, encoding="utf-8")
