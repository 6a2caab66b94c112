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


def descriptions() -> dict[str, Description]:
    """How every number of the package is shown, by its name, with its meaning."""
    found = (
        collapse.FORECAST
        | collapse.CAUSES
        | collapse.ENDPOINT
        | dict(ceiling.COLUMNS)
        | {ceiling.DECODER: ceiling.DECODER_GAP}
        | dict(known_truth.DESCRIPTIONS)
    )
    for registry in (METRICS, ESTIMATORS):
        for summary, columns in _measured(registry):
            found |= {name: d._replace(meaning=d.meaning or summary) for name, d in columns.items()}
    for name in MODELS:
        model = MODELS.build({"name": name, "likelihood": "LearnedGaussian"}, (1, 8, 8), 0)
        found |= model.fact_descriptions
    return found


def meanings() -> dict[str, str]:
    """Name -> meaning; a number inside a name stands as `#`."""
    return {general(name): d.meaning for name, d in sorted(descriptions().items()) if d.meaning}


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
