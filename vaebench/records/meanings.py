"""What a number means, by its name in a record: the sentence that its metric, estimator or model says of itself.

`vaebench.sweeps.meanings` gathers these sentences into `meanings.json`, so that a page needs no torch to show them.
"""

import json
import re
from functools import cache
from importlib import resources

FILE = "meanings.json"
"""Its place, beside this file."""


def meaning(name: str) -> str:
    """What a number means; empty for a number that the package does not know.

    >>> meaning("iwae_50") == meaning("iwae_5000") != ""
    True
    >>> meaning("my_metric")
    ''
    """
    return _all().get(general(name), "")


def general(name: str) -> str:
    """A name with `#` for each number inside it.

    >>> general("pareto_k_above_0.7")
    'pareto_k_above_#'
    """
    return re.sub(r"\d+(?:\.\d+)?", "#", name)


@cache
def _all() -> dict[str, str]:
    found: dict[str, str] = json.loads(resources.files("vaebench.records").joinpath(FILE).read_text(encoding="utf-8"))
    return found
