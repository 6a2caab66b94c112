"""What the numbers say, in sentences: the study's own answer, filled in, or else what any study's numbers say.

A place in the answer of a study is written `{iwae_500 @ beta=1}`: a number by its name in the record, and the row of
the table. `{ais - iwae_500 @ beta=1}` is the difference of two numbers of that row, paired by seed. Without `@` the
table has one row. Conditions have commas between them, or semicolons where a label has commas of its own.

A sentence for which the records have no numbers is not there.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from vaebench.config.presentation import SUM
from vaebench.records.description import Role
from vaebench.reporting.comparison import difference
from vaebench.reporting.figures.headline import asks_for_forecast, quantity
from vaebench.reporting.figures.planes import pairs
from vaebench.reporting.tables.intervals import Interval, ordered
from vaebench.reporting.tables.labels import is_number
from vaebench.reporting.tables.layout import LARGE, comparability, decimals, figure, shown, worded
from vaebench.reporting.tables.quantities import MARK, Quantity, briefly, with_role
from vaebench.reporting.tables.table import Block, Cell, Row, Table

PLACE = re.compile(rf"\{{\s*({SUM.pattern})\s*(?:@\s*([^{{}}]*?)\s*)?\}}")


class UnfilledError(ValueError):
    """A place of an answer for which the records have no number."""


def filled(template: str, table: Table) -> str:
    """A study's answer with the numbers of a table.

    Raises:
        UnfilledError: if a place names no number or no row of the table. The message says which.
    """
    return PLACE.sub(lambda place: _filled_place(table, *place.groups()), template)


def _filled_place(table: Table, text: str, where: str | None) -> str:
    _, cell = _asked(table, text, where)
    assert cell.interval is not None
    mark, places = MARK if cell.caution else "", decimals([cell.interval])
    return f"{_plain(cell.interval.mean)}{mark}" if places is None else worded(cell.interval, places, mark)


def _asked(table: Table, text: str, where: str | None) -> tuple[Quantity, Cell]:
    """The number of a place, in its row."""
    asked = quantity(table, text)
    cell = None if asked is None else _asked_row(table, where or "").group.cell(asked)
    if asked is None or cell is None or cell.interval is None:
        raise UnfilledError(f"{text}: row {where or 'of the table'} has no such number")
    return asked, cell


def _plain(value: float) -> str:
    """A number without an interval: two decimal places, or two significant digits below one; whole if it is.

    >>> _plain(941.9662), _plain(0.080322), _plain(16.0)
    ('941.97', '0.080', '16')
    """
    if float(value).is_integer() or abs(value) >= LARGE:
        return figure(value, None)
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:#.2g}"


def _asked_row(table: Table, where: str) -> Row:
    """The only row whose labels are as asked."""
    pairs = (part.partition("=") for part in re.split(";" if ";" in where else ",", where) if part.strip())
    asked = {key.strip(): text.strip() for key, _, text in pairs}
    found = [row for row in table.rows if _fits(dict(zip(table.keys, row.labels, strict=True)), asked)]
    if len(found) != 1:
        raise UnfilledError(f"@ {where or 'nothing'}: expected one row, found {len(found)}")
    return found[0]


def _fits(labels: Mapping[str, str], asked: Mapping[str, str]) -> bool:
    return all(key in labels and _same(labels[key], text) for key, text in asked.items())


def _same(label: str, text: str) -> bool:
    """Whether a label is what is asked: the same number, the same text, or a component of that name."""
    if is_number(label) and is_number(text):
        return float(label) == float(text)
    return label == text or label.partition(" (")[0] == text


TREND = (Role.RATE, Role.DISTORTION, Role.ACTIVE_UNITS)  # what is followed along an axis of numbers
MOST_NAMED = 4  # rows that a sentence names beside the ranked ones; the table has all

NO_BOUND = "No run has a bound on log p(x); the tables have what was measured."

TINY = 1e-4  # where a mean and its half-width are below this, the mean is shown by its first digit


def answer(table: Table) -> list[str]:
    """The study's own answer, if it has one that the records fill; else what any study's numbers say."""
    rows = table.rows
    forecast, others = list(_forecast(rows)), [*_trend(table), *_best(table)]
    if forecast and asks_for_forecast(table):
        others = []  # beside the point
    on_training = all(block.comparability.get("split") == "train" for block in table.measured)
    said = [*forecast, *others] if on_training else [*others, *forecast]
    runs = sum(len(r.group.done) + len(r.group.failed) for r in rows)
    failed = f"{len(table.failures)} of {runs} runs failed." if table.failures else ""
    bounds = [q for q in with_role(table.quantities, Role.BOUND) if any(r.group.cell(q).caution for r in rows)]
    marked = [(q.heading, q.description.bias) for q in bounds]
    said = list(_own(table)) or [f"{sentence} {briefly(marked)}" if MARK in sentence else sentence for sentence in said]
    return [*said, *([failed] if failed else [])] or [NO_BOUND]


def _own(table: Table) -> Iterator[str]:
    """The answer in the study's file. Records of a part of the study may not fill it: then it is not there."""
    if text := table.presentation.answer:
        with suppress(UnfilledError):
            said = filled(text, table)
            places = [_asked(table, *place.groups()) for place in PLACE.finditer(text)]
            marked = [(q.heading, q.description.bias) for q, cell in places if cell.caution]
            yield f"{said} {briefly(marked)}" if marked else said


def interval(found: Interval) -> str:
    """A mean with its half-width, to the digits that the half-width supports; seeds that agree have none."""
    if max(abs(found.mean), found.spread or 0.0) < TINY:
        return f"{found.mean + 0.0:.1g}"  # 0.0 takes the sign from -0.0
    mean, spread = shown(found, decimals([found]))
    return mean if spread is None else f"{mean} {spread}"


def _best(table: Table) -> Iterator[str]:
    """In every block, the highest of the tightest bound that two rows have, and how far it leads; then rows alone."""
    bounds, alone = with_role(table.quantities, Role.BOUND), []
    for block in table.measured:
        having = {q: [r for r in block.rows if r.group.cell(q).interval is not None] for q in bounds}
        shared = [q for q, rows in having.items() if len(rows) > 1]
        if shared:
            yield _ranked(table, block, shared, having[shared[-1]])
        elif found := [q for q, rows in having.items() if rows]:
            alone.append(_alone(table, block, found, having[found[-1]][0]))
    yield from alone


def _alone(table: Table, block: Block, bounds: Sequence[Quantity], row: Row) -> str:
    """The loosest and the tightest bound of a row to which no other compares."""
    ends = dict.fromkeys((bounds[0], bounds[-1]))
    parts = [f"{q.heading} {_number(row, q)}" for q in ends if row.group.cell(q).interval is not None]
    apart = f", comparable with no other ({comparability(table, block)})" if len(table.measured) > 1 else ""
    return f"{table.name(row)} has {_listed(parts)} nats per observation{apart}."


def _ranked(table: Table, block: Block, bounds: Sequence[Quantity], rows: list[Row]) -> str:
    """The leader in the tightest bound that can be trusted of several rows, and what is not ranked beside it."""
    among = f" ({comparability(table, block)})" if len(table.measured) > 1 else ""
    marked = [row for row in rows if row.group.cell(bounds[-1]).caution is not None]
    left_out = [f"{table.name(row)} ({_number(row, bounds[-1])})" for row in marked[:MOST_NAMED]]
    left_out += [f"{len(marked) - MOST_NAMED} more"] if len(marked) > MOST_NAMED else []
    aside = f" Not ranked is the {bounds[-1].heading} of {_listed(left_out)}." if marked else ""
    for bound in reversed(bounds):
        found = [row for row in rows if row.group.cell(bound).interval is not None]
        sound = [row for row in found if row.group.cell(bound).caution is None]
        if len(sound) > 1 and len({row.group.cell(bound).over for row in sound}) == 1:
            return _leader(table, bound, among, sound) + aside
    return f"No bound{among} can be ranked.{aside}"


def _leader(table: Table, bound: Quantity, among: str, rows: list[Row]) -> str:
    first, second, *_ = (rows[i] for i in ordered({i: r.group.values(bound) for i, r in enumerate(rows)}, 1))
    lead = difference(first.group, second.group, bound)
    seeds = first.group.cell(bound).interval
    over = f" over {seeds.n} seeds" if seeds is not None and seeds.n > 1 else ""
    number = f"{_number(first, bound)} nats{over}"
    best = f"The highest {bound.heading}{among} is that of {table.name(first)}: {number}"
    if lead is None or lead.gap is None or lead.gap.interval.mean < 0:  # over the only seed that both have
        return f"{best}."
    gap = f"{interval(lead.gap.interval)} above {table.name(second)}"
    if lead.gap.interval.n == 1:
        return f"{best}, {gap}."
    clear = "" if lead.is_clear else ", which these seeds do not tell from none"
    many = max(len(row.group.values(bound)) for row in (first, second))
    paired = f"paired by the {n} seeds that both have" if (n := lead.gap.interval.n) < many else "paired by seed"
    return f"{best}, {gap}, {paired}{clear}."


def _forecast(rows: Sequence[Row]) -> Iterator[str]:
    """How often the forecast of active units holds, a class of models at a time."""
    held: defaultdict[str, list[bool]] = defaultdict(list)
    notes: dict[str, str] = {}
    for row in rows:
        name = row.group.config["model"]["name"]
        held[name] += [expected == found for expected, found in pairs(row)]
        for record in row.group.done:
            notes.setdefault(name, record.facts.get("forecast_note", ""))
    parts = [
        f"in {sum(h)} of {len(h)} runs of {name}" + (f" ({notes[name]})" if notes.get(name) else "")
        for name, h in sorted(held.items(), key=lambda item: -sum(item[1]) / max(len(item[1]), 1))
        if h
    ]
    if parts:
        yield f"The number of active units is the one forecast from the data's spectrum {', '.join(parts)}."


def _trend(table: Table) -> Iterator[str]:
    """What an only axis of numbers does, from one end to the other, where all rows compare."""
    done = [row for row in table.rows if row.group.done]
    if len(table.measured) != 1 or len(table.headings) != 1 or len(done) < 3:
        return
    if not all(is_number(r.labels[0]) for r in done):
        return
    low, *_, high = sorted(done, key=lambda row: float(row.labels[0]))
    found = [(q, low.group.cell(q).interval, high.group.cell(q).interval) for q in with_role(table.quantities, *TREND)]
    parts = [f"{q.heading} from {interval(a)} to {interval(b)}" for q, a, b in found if a is not None and b is not None]
    if parts:
        parts[0] = parts[0].replace(" from ", " goes from ", 1)
        yield f"As {table.headings[0]} rises from {low.labels[0]} to {high.labels[0]}, {_listed(parts)}."


def _number(row: Row, quantity: Quantity) -> str:
    cell = row.group.cell(quantity)
    assert cell.interval is not None
    mean, *spread = interval(cell.interval).partition(" ")
    return f"{mean}{MARK if cell.caution else ''}{''.join(spread)}"


def _listed(parts: list[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
