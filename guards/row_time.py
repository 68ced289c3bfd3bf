"""The new model's time for a row against its budget: the one guard that counts no events.

A payment waits for its whole batch, so a slow arm makes both late, and no comparison of the arms shows it. So each
worker measures the processor time of the new model's own calls and of its features, and reports it on the event log.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from guards.specs import RowTimeSpec

TAIL = 5.0
"""One row of a hundred may take so many times as long as the budget, which holds for 95 of a hundred."""


class RowTime(NamedTuple):
    """What a worker measured: microseconds of processor time for a row, and the event that reports it.

    `row_us` is the median; a worker of an earlier version measured it alone, without the features.
    """

    row_us: float
    worker: str
    event_id: str
    p95_us: float | None = None
    p99_us: float | None = None
    features_us: float | None = None

    @property
    def compared_us(self) -> float:
        """What is compared with the budget."""
        return compared_us(self.row_us, self.p95_us, self.p99_us)


def compared_us(row_us: float, p95_us: float | None, p99_us: float | None) -> float:
    """Return the time that is compared with the budget: the 95th percentile, or a fifth of the 99th if that is more."""
    return max(row_us, p95_us or 0.0, (p99_us or 0.0) / TAIL)


def slowest(measured: Iterable[RowTime]) -> RowTime | None:
    """Return the longest time of some workers; None if none has measured yet."""
    return max(measured, key=lambda one: (one.compared_us, one.worker), default=None)


def row_time_evidence(spec: RowTimeSpec, measured: RowTime | None) -> dict[str, Any]:
    """Return what `evidence` says of this guard: the budget, the slowest worker's time, and whether it is breached."""
    about = {"budget_us": spec.budget_us, "action": str(spec.action)}
    if measured is None:
        return about | {"row_us": None, "breached": False}
    quantiles = {"p95_us": measured.p95_us, "p99_us": measured.p99_us, "features_us": measured.features_us}
    found = about | {
        "row_us": round(measured.row_us, 1),
        **{name: round(value, 1) for name, value in quantiles.items() if value is not None},
        "worker": measured.worker,
        "event_id": measured.event_id,
    }
    return found | {"breached": stated_us(found) > spec.budget_us}


def stated_us(guard: Mapping[str, Any]) -> float:
    """Return the time that is compared with the budget, of what `row_time_evidence` states."""
    return compared_us(guard["row_us"] or 0.0, guard.get("p95_us"), guard.get("p99_us"))


def disagreements(guard: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with what `row_time_evidence` states: a verdict that its own figures do not give."""
    if guard["breached"] != (stated_us(guard) > guard["budget_us"]):
        yield f"row_time: {stated_us(guard):g} against {guard['budget_us']:g} µs is not what `breached` says"


def explained(guard: Mapping[str, Any]) -> str:
    """Say in words what `row_time_evidence` states."""
    budget = f"a budget of {guard['budget_us']:,.6g} µs"
    if guard["row_us"] is None:
        return f"row_time: no worker has measured the new model yet, against {budget}"
    verdict = f"breached: {guard['action']}" if guard["breached"] else "not breached"
    parts = {"at the 95th percentile": "p95_us", "at the 99th": "p99_us", "of it for features": "features_us"}
    rest = "".join(f", {guard[name]:,.6g} {words}" for words, name in parts.items() if name in guard)
    return (
        f"row_time: the new model takes {guard['row_us']:,.6g} µs for a row{rest} on {guard['worker']}, the slowest "
        f"worker, against {budget}: {verdict}"
    )
