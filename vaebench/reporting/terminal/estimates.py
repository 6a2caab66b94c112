"""A model that is measured again, in a terminal: one line for each estimate."""

from vaebench.records.description import Description
from vaebench.records.record import Estimate
from vaebench.reporting.tables.layout import figure
from vaebench.reporting.tables.quantities import MARK, caution, observations

PLACES = 4


def measured(estimate: Estimate, description: Description) -> str:
    """An estimate with its mark, unit, standard error over observations, Monte-Carlo error, and all remarks."""
    assert not isinstance(estimate.value, list)
    said = caution(description, [estimate.weights]) if estimate.weights and estimate.unreliable else None
    unit = f" {description.unit}" if description.unit else ""
    number = f"{figure(estimate.value, PLACES):>12}{MARK if said else ''}{unit}"
    errors = {"standard error": estimate.standard_error, "Monte-Carlo error": estimate.monte_carlo_error}
    spread = "".join(f" ± {error:.{PLACES}f} ({name})" for name, error in errors.items() if error is not None)
    over = f"over {observations(estimate.over)}" if estimate.over else None
    remarks = "; ".join(text for text in (said, over, estimate.note) if text)
    return f"{estimate.name:30} {number}{spread}" + (f"  [{remarks}]" if remarks else "")
