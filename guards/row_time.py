"""The new model's time for a row against its budget: the one guard that counts no events.

A payment waits for its whole batch, so a slow arm makes both late, and no comparison of the arms shows it. So each
worker measures the processor time of the new model's own calls, and reports it on the event log.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from guards.specs import RowTimeSpec


class RowTime(NamedTuple):
    """What a worker measured: microseconds of processor time for a row, and the event that reports it."""

    row_us: float
    worker: str
    event_id: str


def slowest(measured: Iterable[RowTime]) -> RowTime | None:
    """Return the longest time of some workers; None if none has measured yet."""
    return max(measured, default=None)


def row_time_evidence(spec: RowTimeSpec, measured: RowTime | None) -> dict[str, Any]:
    """Return what `evidence` says of this guard: the budget, the slowest worker's time, and whether it is breached."""
    about = {"budget_us": spec.budget_us, "action": str(spec.action)}
    if measured is None:
        return about | {"row_us": None, "breached": False}
    row_us = round(measured.row_us, 1)
    return about | {
        "row_us": row_us,
        "worker": measured.worker,
        "event_id": measured.event_id,
        "breached": row_us > spec.budget_us,
    }


def disagreements(guard: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with what `row_time_evidence` states: a verdict that its own figures do not give."""
    if guard["breached"] != ((guard["row_us"] or 0) > guard["budget_us"]):
        yield f"row_time: {guard['row_us']} against {guard['budget_us']:g} µs is not what `breached` says"


def explained(guard: Mapping[str, Any]) -> str:
    """Say in words what `row_time_evidence` states."""
    budget = f"a budget of {guard['budget_us']:,.6g} µs"
    if guard["row_us"] is None:
        return f"row_time: no worker has measured the new model yet, against {budget}"
    verdict = f"breached: {guard['action']}" if guard["breached"] else "not breached"
    return (
        f"row_time: the new model takes {guard['row_us']:,.6g} µs for a row on {guard['worker']}, the slowest worker, "
        f"against {budget}: {verdict}"
    )
