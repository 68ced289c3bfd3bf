"""What was measured of each contender, round by round, and its medians as a table or as Markdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import msgspec
from rich.table import Table

from benchmarks.contenders.registry import CONTENDERS, LIMITS, ON_EVERY_LINE, OURS
from benchmarks.contenders.results import AfterKill, AtRate, Backlog
from benchmarks.contenders.task import Line

NOTHING = "-"
HALF = "half"
"""The name of the rate that is half of what a contender sustains."""


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


class ContenderTable(NamedTuple):
    """Headings, and a row of texts for each contender and line."""

    headings: list[str]
    rows: list[list[str]]

    def rich(self) -> Table:
        """Return it for a terminal."""
        shown_table = Table(*self.headings)
        for row in self.rows:
            shown_table.add_row(*row)
        return shown_table

    def markdown(self) -> str:
        """Return it for a page of documentation."""
        lines = [self.headings, ["---"] * len(self.headings), *self.rows]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def table(found: Sequence[ContenderFigures]) -> ContenderTable:
    """Return all contenders as one table."""
    rates, ours = rates_of(found), ours_of(found)
    headings = [
        "contender",
        "line",
        "from a backlog, 1/s",
        "ours / it",
        "sustained, 1/s",
        "CPU, µs",
        *(f"{rate_name(rate)}: p50 / p99 / p99.9, ms; CPU, µs" for rate in rates),
        "memory, MiB",
        "SIGKILL: lost, doubled",
    ]
    return ContenderTable(headings, [_cells(one, ours, rates) for one in found])


def rates_of(found: Iterable[ContenderFigures]) -> list[str]:
    """Return the rates of open loops that any contender was measured at, in their order."""
    return list(dict.fromkeys(rate for one in found for part in one.rounds for rate in part.rates))


def rate_name(rate: str) -> str:
    """Return how tables and pictures call a rate."""
    return "at half of what it sustains" if rate == HALF else f"at {rate}/s"


def ours_of(found: Iterable[ContenderFigures]) -> ContenderFigures:
    """Return our own figures; without any if we were not measured."""
    return next((one for one in found if one.contender == OURS), ContenderFigures(OURS, Line.OWN))


def from_backlog(one: ContenderFigures) -> list[float]:
    """Return decisions a second from a backlog of each round; none of those that copy, which decide nothing."""
    return [] if one.contender in LIMITS else one.values(lambda part: part.backlog and part.backlog.per_second)


def sustained(one: ContenderFigures) -> list[float]:
    """Return the sustained rate of each round, 1/s."""
    return one.values(lambda part: part.capacity)


def _cells(one: ContenderFigures, ours: ContenderFigures, rates: Sequence[str]) -> list[str]:
    return [
        CONTENDERS[one.contender].title,
        NOTHING if one.contender in ON_EVERY_LINE else one.line.value,
        shown(from_backlog(one)),
        ratio(from_backlog(ours), from_backlog(one)),
        shown(sustained(one)),
        NOTHING if one.contender in LIMITS else shown(one.values(lambda part: part.backlog and part.backlog.cpu_us)),
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


def failures(found: Iterable[ContenderFigures]) -> list[str]:
    """Say which rounds ended early, and why."""
    return [
        f"{CONTENDERS[one.contender].title}, {one.line}, round {number}: {part.failed}"
        for one in found
        for number, part in enumerate(one.rounds, 1)
        if part.failed
    ]


class _Document(msgspec.Struct):
    contenders: list[ContenderFigures]


def read_json(document: bytes) -> list[ContenderFigures]:
    """Return what `as_json` wrote of the contenders that were measured, in full or in part.

    Raises:
        msgspec.DecodeError: it is another document.
    """
    return [one for one in msgspec.json.decode(document, type=_Document).contenders if one.rounds]
