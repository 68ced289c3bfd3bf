"""When windows are an alarm: opened once, when something was over its bound in some windows in a row; closed once.

A pure function of the judged windows, so that two guards, and one that was restarted, tell the same.
"""

from enum import StrEnum

import msgspec

from fraudstream.ops.watch.drift.judge import JudgedWindow
from fraudstream.ops.watch.drift.terms import DriftTerms


class AlarmKind(StrEnum):
    """What became of an alarm."""

    OPENED = "opened"
    CLOSED = "closed"


class DriftAlarm(msgspec.Struct, frozen=True):
    """An alarm of a model and arm.

    Attributes:
        since_day: the first day of the first of the windows in a row.
        windows: how many windows showed something since.
        payments: in these windows.
        quantities: what was over its bound in so many windows, by name: the worst index of each.
        last_day: the day after the last window that showed something.
    """

    since_day: int
    windows: int
    payments: int
    quantities: dict[str, float]
    last_day: int


class QuantityRun(msgspec.Struct, frozen=True):
    """A quantity that is over its bound: the first day, the windows in a row, their payments, and the worst index."""

    since_day: int
    windows: int
    payments: int
    index: float


class AlarmState(msgspec.Struct, frozen=True):
    """What is known of a model and arm.

    Attributes:
        runs: the quantities that were over their bounds in the last window.
        calm: windows in a row in which none was that the alarm is about.
        alarm: the one that is open; None if none is.
    """

    runs: dict[str, QuantityRun] = {}
    calm: int = 0
    alarm: DriftAlarm | None = None


AlarmNews = tuple[AlarmKind, DriftAlarm]


def after_window(state: AlarmState, window: JudgedWindow, terms: DriftTerms) -> tuple[AlarmState, AlarmNews | None]:
    """Return the state after one more window, and what is to be told."""
    known = frozenset[str]() if state.alarm is None else state.alarm.quantities.keys()
    # What an alarm is about goes on though the weeks before show it, too; those make no alarm of a season.
    moved = [one for one in window.quantities if one.is_over or (one.name in known and one.has_moved)]
    runs = {one.name: _run(state.runs.get(one.name), one.index, window) for one in moved}
    ripe = {name: run for name, run in runs.items() if run.windows >= terms.windows}
    if state.alarm is None:
        if not ripe:
            return AlarmState(runs), None
        opened = _opened(ripe, window)
        return AlarmState(runs, 0, opened), (AlarmKind.OPENED, opened)
    goes_on = ripe.keys() | (runs.keys() & state.alarm.quantities.keys())
    if goes_on:
        return AlarmState(runs, 0, _extended(state.alarm, runs, goes_on, window)), None
    if state.calm + 1 < terms.windows:
        return AlarmState(runs, state.calm + 1, state.alarm), None
    return AlarmState(runs), (AlarmKind.CLOSED, state.alarm)


def _run(before: QuantityRun | None, index: float, window: JudgedWindow) -> QuantityRun:
    if before is None:
        return QuantityRun(window.first_day, 1, window.payments, index)
    return QuantityRun(
        before.since_day, before.windows + 1, before.payments + window.payments, max(before.index, index)
    )


def _opened(ripe: dict[str, QuantityRun], window: JudgedWindow) -> DriftAlarm:
    first = min(ripe.values(), key=lambda run: run.since_day)
    quantities = {name: run.index for name, run in ripe.items()}
    return DriftAlarm(first.since_day, first.windows, first.payments, quantities, window.end_day)


def _extended(alarm: DriftAlarm, runs: dict[str, QuantityRun], goes_on: set[str], window: JudgedWindow) -> DriftAlarm:
    indexes = {name: max(runs[name].index, alarm.quantities.get(name, 0.0)) for name in sorted(goes_on)}
    return DriftAlarm(
        alarm.since_day,
        alarm.windows + 1,
        alarm.payments + window.payments,
        alarm.quantities | indexes,
        window.end_day,
    )
