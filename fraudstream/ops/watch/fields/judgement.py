"""Which fields have stopped coming, and which come for the first time: judged by payments counted in slots of time.

A pure function of the counts, so that two guards, one that was restarted, and `fraudstream status` tell the same. A
field is judged only where so many payments should have had it that their absence is no chance: not in a quiet night,
and not if it is rare by nature.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from features.declaration import HOUR_MS, MINUTE_MS
from models.times import format_time

SLOT_MS = 5 * MINUTE_MS
"""The first payments of each slot are counted."""
SPANS_MS = (30 * MINUTE_MS, HOUR_MS, 3 * HOUR_MS, 6 * HOUR_MS)
"""What is called now: the first of these spans in which enough payments should have had a field."""
LOOK_BACK_MS = 24 * HOUR_MS
"""So long before is what now is compared with."""
_RECENT_MS = 3 * HOUR_MS
LEAST_SHARE = 0.05
"""A field that fewer of the payments before had is rare by nature."""
NEARLY_NONE = 1 / 50
"""At most this part of the payments that should have had a field still have it once it has stopped."""
LEAST_EXPECTED = 20
"""At least so many payments should have had it: by chance none has it once in e^20 times."""
_LEAST_PAYMENTS = 100
"""A part of the day before with fewer payments says nothing of its own."""


@dataclass(slots=True)
class SlotCounts:
    """The counted payments of a slot: how many there are, how many had each field, and each name nobody declares."""

    begin_ms: int
    payments: int = 0
    fields: Counter[str] = field(default_factory=Counter)
    undeclared: Counter[str] = field(default_factory=Counter)


class FieldShare(NamedTuple):
    """The part of the payments that had a field, in the day before and now; None where there are no payments."""

    name: str
    before: float | None
    now: float | None


class FieldChange(NamedTuple):
    """A field that has stopped or begun: the share that is gone or new, since when, and in how many payments it shows.

    `since_ms` is the begin of the first slot without it, or with it.
    """

    name: str
    share: float
    since_ms: int
    payments: int

    def facts(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        found = {"field": self.name, "share": self.share, "since": format_time(self.since_ms)}
        return found | {"payments": self.payments}


class FieldFindings(NamedTuple):
    """What the slots before a time say; `shares` have the fields that came at all, `undeclared` names of now."""

    at_ms: int = 0
    payments: int = 0
    shares: Sequence[FieldShare] = ()
    stopped: Sequence[FieldChange] = ()
    begun: Sequence[FieldChange] = ()
    undeclared: Mapping[str, float] = MappingProxyType({})

    def facts(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "payments": self.payments,
            "shares": {one.name: {"before": one.before, "now": one.now} for one in self.shares},
            "stopped": [one.facts() for one in self.stopped],
            "begun": [one.facts() for one in self.begun],
            "undeclared": dict(self.undeclared),
        }

    @property
    def coming(self) -> set[str]:
        """The fields of which more than nearly none of the payments now have a value."""
        return {one.name for one in self.shares if one.now is not None and one.now > NEARLY_NONE}


class _Slots:
    """Slots in the order of time."""

    def __init__(self, slots: Iterable[SlotCounts]) -> None:
        self._slots = sorted(slots, key=lambda one: one.begin_ms)

    def within(self, begin_ms: int, end_ms: int) -> "_Slots":
        """Return those that begin in a span."""
        return _Slots(one for one in self._slots if begin_ms <= one.begin_ms < end_ms)

    @property
    def payments(self) -> int:
        return sum(one.payments for one in self._slots)

    def count(self, name: str) -> int:
        return sum(one.fields[name] for one in self._slots)

    def share(self, name: str) -> float | None:
        return self.count(name) / self.payments if self.payments else None

    def names(self) -> set[str]:
        return {name for one in self._slots for name, count in one.fields.items() if count}

    def undeclared(self) -> dict[str, float]:
        total: Counter[str] = sum((one.undeclared for one in self._slots), Counter())
        return {name: count / self.payments for name, count in total.most_common()}

    def first_with(self, name: str) -> int | None:
        return next((one.begin_ms for one in self._slots if one.fields[name]), None)

    def first_without(self, name: str) -> int | None:
        """Return the begin of the first slot with payments after the last one in which a field came."""
        found = None
        for one in reversed(self._slots):
            if one.fields[name]:
                break
            found = one.begin_ms if one.payments else found
        return found


def judge(slots: Iterable[SlotCounts], end_ms: int) -> FieldFindings:
    """Return what the slots before a time say. Slots may be missing; those of a day and some hours before it count."""
    first_ms = end_ms - LOOK_BACK_MS - SPANS_MS[-1]
    known = _Slots(slots).within(first_ms, end_ms)
    names, now_ms = sorted(known.names()), end_ms - SPANS_MS[0]
    now, before = known.within(now_ms, end_ms), known.within(now_ms - LOOK_BACK_MS, now_ms)
    stopped = [found for name in names if (found := _stopped(name, known, end_ms)) is not None]
    begun = [found for name in names if (found := _begun(name, known, end_ms)) is not None]
    shares = [FieldShare(name, before.share(name), now.share(name)) for name in names]
    return FieldFindings(end_ms, now.payments, shares, stopped, begun, now.undeclared())


def _stopped(name: str, known: _Slots, end_ms: int) -> FieldChange | None:
    for span_ms in SPANS_MS:
        now = known.within(end_ms - span_ms, end_ms)
        share = _usual_share(name, known, end_ms - span_ms, end_ms)
        if share < LEAST_SHARE:
            return None
        expected = share * now.payments
        if expected >= LEAST_EXPECTED:
            since_ms = known.first_without(name)
            is_gone = now.count(name) <= NEARLY_NONE * expected
            return FieldChange(name, share, since_ms or end_ms - span_ms, now.payments) if is_gone else None
    return None


def _usual_share(name: str, known: _Slots, begin_ms: int, end_ms: int) -> float:
    """Return the share of the payments that have a field usually: the least of the day, of the hours and of yesterday.

    A field that comes by day only is not missed at night. Yesterday at this time counts if the field came that day.
    """
    day = known.within(begin_ms - LOOK_BACK_MS, begin_ms)
    whole = day.share(name) or 0.0
    parts = [day.within(begin_ms - _RECENT_MS, begin_ms)]
    yesterday = known.within(begin_ms - LOOK_BACK_MS, begin_ms - LOOK_BACK_MS // 2)
    if (yesterday.share(name) or 0.0) > whole / 10:
        parts.append(known.within(begin_ms - LOOK_BACK_MS, end_ms - LOOK_BACK_MS + SPANS_MS[0]))
    shares = [one.share(name) or 0.0 for one in parts if one.payments >= _LEAST_PAYMENTS]
    return min([whole, *shares])


def _begun(name: str, known: _Slots, end_ms: int) -> FieldChange | None:
    for span_ms in SPANS_MS[:2]:
        begin_ms = end_ms - span_ms
        now, before = known.within(begin_ms, end_ms), known.within(begin_ms - LOOK_BACK_MS, begin_ms)
        share = now.share(name) or 0.0
        if share >= LEAST_SHARE and now.count(name) >= LEAST_EXPECTED:
            expected = share * before.payments
            is_new = expected >= LEAST_EXPECTED and before.count(name) <= NEARLY_NONE * expected
            since_ms = known.within(begin_ms - SPANS_MS[0], end_ms).first_with(name) or begin_ms
            return FieldChange(name, share, since_ms, now.count(name)) if is_new else None
    return None
