"""Scores of disentanglement of codes that are made by hand, after the tests of disentanglement_lib (`*_test.py`)."""

from collections.abc import Iterator

import numpy as np

from vaebench.evaluation.metrics.disentanglement import MIG, SAP, completeness, disentanglement, modularity
from vaebench.records.record import Estimate

FACTORS, VALUES, OBSERVATIONS = 5, 10, 3000
"""Factors that are independent and uniform, their values, and the observations."""


def constructed_codes(seed: int) -> Iterator[Estimate]:
    """DCI and modularity of importances made by hand; MIG and SAP of codes that are the factors, empty, or doubled."""
    one, two = np.eye(10), np.concatenate([np.eye(5), np.eye(5)], 1)
    yield Estimate("dci_diagonal", disentanglement(one))
    yield Estimate("dci_empty", disentanglement(np.zeros((10, 10))))
    yield Estimate("dci_one_code_of_two_factors", disentanglement(two))
    yield Estimate("dci_two_codes_of_one_factor", completeness(two.T))
    yield Estimate("modularity_diagonal", modularity(one))
    yield Estimate("modularity_one_empty_code", modularity(np.diag([1.0, 1.0, 0.0])))
    yield Estimate("modularity_one_code_of_two_factors", modularity(two))
    random = np.random.RandomState(seed)
    factors = random.randint(VALUES, size=(OBSERVATIONS, FACTORS)).astype(np.int64)
    codes = {"identity": factors, "empty": np.zeros_like(factors), "doubled": np.concatenate([factors, factors], 1)}
    for name, code in codes.items():
        for score in (MIG(), SAP()):
            (value,) = score.scores(code.astype(np.float64), factors, random)
            yield Estimate(f"{type(score).__name__.lower()}_{name}", float(value), n=OBSERVATIONS)
