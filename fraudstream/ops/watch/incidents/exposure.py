"""What an incident is about: payments, their amounts by currency, what decided them, and when.

A sum over records, whose parts may be added in any order; so it does not depend on how the topics are read.
"""

from collections.abc import Iterable, Mapping
from functools import reduce

import msgspec

from fraudstream_client.incidents import Opening

_SEPARATOR = " "


class Exposure(msgspec.Struct, frozen=True):
    """A sum over payments, or over refused records.

    Attributes:
        events: how many there are.
        amounts: the sum of their amounts by currency, in minor units, of those that state one.
        decided: how many there are by what decided and by the decision, as in `rules approve`.
        reasons: how many there are by what the records say: an entry of `degraded`, or a dead letter's code.
        first_ms: the timestamp of the first of them, in epoch milliseconds; None if there is none.
        last_ms: the timestamp of the last one.
        opening: the place of the first; of several at that time the first by topic, partition, log and offset.
    """

    events: int = 0
    amounts: Mapping[str, int] = msgspec.field(default_factory=dict)
    decided: Mapping[str, int] = msgspec.field(default_factory=dict)
    reasons: Mapping[str, int] = msgspec.field(default_factory=dict)
    first_ms: int | None = None
    last_ms: int | None = None
    opening: Opening | None = None

    def plus(self, other: "Exposure") -> "Exposure":
        """Return the sum of both."""
        if other.first_ms is None or self.first_ms is None:
            return self if other.first_ms is None else other
        first = min((self, other), key=_beginning)
        return Exposure(
            self.events + other.events,
            _sums(self.amounts, other.amounts),
            _sums(self.decided, other.decided),
            _sums(self.reasons, other.reasons),
            first.first_ms,
            max(self.last_ms or 0, other.last_ms or 0),
            first.opening,
        )

    def decisions(self) -> dict[str, dict[str, int]]:
        """Return how many there are by what decided, and by the decision."""
        found: dict[str, dict[str, int]] = {}
        for name, count in sorted(self.decided.items()):
            by, _, decision = name.partition(_SEPARATOR)
            found.setdefault(by, {})[decision] = count
        return found


NOTHING = Exposure()
"""The sum over nothing."""


def one(
    at_ms: int,
    opening: Opening,
    money: tuple[str, int] | None = None,
    decided: tuple[str, str] | None = None,
    reasons: Iterable[str] = (),
) -> Exposure:
    """Return the exposure of one record.

    Args:
        at_ms: its timestamp.
        opening: its place.
        money: currency, and amount in minor units; None if it states none that can be read.
        decided: what decided, and the decision; None if nothing did.
        reasons: what it says of the cause.
    """
    return Exposure(
        1,
        {} if money is None else {money[0]: money[1]},
        {} if decided is None else {_SEPARATOR.join(decided): 1},
        dict.fromkeys(reasons, 1),
        at_ms,
        at_ms,
        opening,
    )


def total(parts: Iterable[Exposure]) -> Exposure:
    """Return the sum of some exposures."""
    return reduce(Exposure.plus, parts, NOTHING)


def decided_names(decisions: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Return `decided` from what `decisions` returned of it."""
    return {
        _SEPARATOR.join((by, decision)): count for by, counts in decisions.items() for decision, count in counts.items()
    }


PlaceKey = tuple[str, int, int, int]


def place_key(place: Opening) -> PlaceKey:
    """Return by what records of one time are ordered."""
    return place.topic, place.partition, place.log, place.offset


def _beginning(exposure: Exposure) -> tuple[int, PlaceKey]:
    return exposure.first_ms or 0, ("", 0, 0, 0) if exposure.opening is None else place_key(exposure.opening)


def _sums(one: Mapping[str, int], other: Mapping[str, int]) -> Mapping[str, int]:
    if not other or not one:
        return one or other
    found = dict(one)
    for name, count in other.items():
        found[name] = found.get(name, 0) + count
    return found
