"""What was measured of each contender, round by round, and its medians as a table: ratios first."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any

import msgspec
from rich.table import Table

from benchmarks.contenders.registry import CONTENDERS, LIMIT, OURS
from benchmarks.contenders.results import AfterKill, AtRate, Backlog
from benchmarks.contenders.task import Line

NOTHING = "-"


class RoundFigures(msgspec.Struct):
    """One contender in one round; what was not asked for, or could not be measured, is None or missing.

    Attributes:
        backlog: from a backlog.
        capacity: the highest rate at which what waits does not grow.
        rates: an open loop at each rate, by the rate.
        kill: after a SIGKILL.
        failed: why the round ended early; empty if it did not.
    """

    backlog: Backlog | None = None
    capacity: float | None = None
    rates: dict[str, AtRate] = {}
    kill: AfterKill | None = None
    failed: str = ""


class ContenderFigures(msgspec.Struct):
    """One contender on one line, in all rounds."""

    contender: str
    line: Line
    rounds: list[RoundFigures] = []

    def values(self, get: Callable[[RoundFigures], float | None]) -> list[float]:
        """Return a figure of each round that has it."""
        return [value for one in self.rounds if (value := get(one)) is not None]


def shown(values: Sequence[float], digits: int = 0) -> str:
    """Return the median with the least and the most, or a dash."""
    if not values:
        return NOTHING
    middle = f"{median(values):,.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Return how many times the second median the first is, or a dash."""
    return f"{median(ours) / median(theirs):.1f}" if ours and theirs else NOTHING


def table(found: Iterable[ContenderFigures]) -> Table:
    """Return all contenders as one table."""
    found = list(found)
    rates = list(dict.fromkeys(rate for one in found for part in one.rounds for rate in part.rates))
    shown_table = Table(
        "contender",
        "line",
        "from a backlog, 1/s",
        "ours / it",
        "sustained, 1/s",
        "CPU, µs",
        *(f"at {rate}/s: p50 / p99 / p99.9, ms; CPU, µs" for rate in rates),
        "memory, MiB",
        "SIGKILL: lost, doubled",
    )
    ours = next((one for one in found if one.contender == OURS), None)
    for one in found:
        shown_table.add_row(*_cells(one, ours, rates))
    return shown_table


def _cells(one: ContenderFigures, ours: ContenderFigures | None, rates: Sequence[str]) -> list[str]:
    def backlog(part: RoundFigures) -> float | None:
        return part.backlog and part.backlog.per_second

    return [
        CONTENDERS[one.contender].title,
        NOTHING if one.contender in (OURS, LIMIT) else one.line.value,
        shown(one.values(backlog)),
        ratio(ours.values(backlog) if ours else [], one.values(backlog)),
        shown(one.values(lambda part: part.capacity)),
        shown(one.values(lambda part: part.backlog and part.backlog.cpu_us)),
        *(_at_rate(one, rate) for rate in rates),
        shown(one.values(lambda part: part.backlog and part.backlog.resident_mib)),
        _kills(one),
    ]


def _at_rate(one: ContenderFigures, rate: str) -> str:
    found = [part.rates[rate] for part in one.rounds if rate in part.rates]
    if not found:
        return NOTHING
    times = (median([getattr(at.load, name) for at in found]) for name in ("p50", "p99", "p999"))
    return f"{' / '.join(f'{value:,.1f}' for value in times)}; {median([at.cpu_us for at in found]):,.0f}"


def _kills(one: ContenderFigures) -> str:
    kills = [part.kill for part in one.rounds if part.kill is not None]
    return ", ".join(f"{kill.lost}, {kill.doubled}" for kill in kills) if kills else NOTHING


def as_json(found: Iterable[ContenderFigures], about: Mapping[str, Any]) -> bytes:
    """Return everything, with what the run was about."""
    document = {**about, "contenders": list(found)}
    return msgspec.json.format(msgspec.json.encode(document), indent=1)
