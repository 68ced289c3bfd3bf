"""Tells of what the input shows about its producers: cards on two partitions, and fields that the contract lacks.

Neither stops a decision, so neither is a dead letter; both are mistakes of a producer that nobody sees in its own log.
Each is logged when it begins and then every `REPEAT_SECONDS` with what came since, and stands among the warnings of
`/health/ready` until none came for so long.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stream.scoring.facts import Decided, Fact, LabelsApplied, PredictionsApplied
from stream.scoring.two_partitions import CARD_ON_TWO_PARTITIONS

log = logging.getLogger("fraudstream.input")

REPEAT_SECONDS = 600.0
TWO_PARTITIONS = (
    "{count:,} decisions are about cards whose payments come by two partitions, so their order is not known: producers "
    "use different partitioners; `fraudstream topics check` names them"
)
UNKNOWN_FIELDS = (
    "{count:,} fields of records are not of the contract, and were passed over; `fraudstream schema` prints what is"
)


@dataclass(slots=True)
class _Notice:
    """One kind of notice: what came since it was logged last, and in all."""

    event: str
    words: str
    total: int = 0
    since_logged: int = 0
    logged_at: float | None = None
    last_at: float = 0.0

    def add(self, count: int, now: float) -> None:
        self.total += count
        self.since_logged += count
        self.last_at = now
        if self.logged_at is None:
            self._log(now)

    def look(self, now: float) -> None:
        """Log what came since, once it is time; forget a notice of which nothing came for so long."""
        if self.logged_at is None or now < self.logged_at + REPEAT_SECONDS:
            return
        if self.since_logged:
            self._log(now)
        else:
            self.logged_at, self.total = None, 0

    def _log(self, now: float) -> None:
        log.warning("%s", self.words.format(count=self.since_logged), extra={"event": self.event, "count": self.total})
        self.since_logged, self.logged_at = 0, now


class InputNotices:
    """Counts what facts tell of the producers, for the log and `/health/ready`; `clock` returns monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._two_partitions = _Notice("card_on_two_partitions", TWO_PARTITIONS)
        self._unknown_fields = _Notice("unknown_fields", UNKNOWN_FIELDS)

    def add(self, fact: Fact) -> None:
        """Count what a fact tells."""
        if not isinstance(fact, Decided | LabelsApplied | PredictionsApplied):
            return
        if fact.unknown:
            self._unknown_fields.add(fact.unknown, self._clock())
        if isinstance(fact, Decided):
            divided = sum(
                1 for one in fact.scored.judgements if one.degraded and CARD_ON_TWO_PARTITIONS in one.degraded
            )
            if divided:
                self._two_partitions.add(divided, self._clock())

    def look(self) -> None:
        """Log again what goes on, once it is time."""
        for notice in (self._two_partitions, self._unknown_fields):
            notice.look(self._clock())

    def warnings(self) -> Sequence[str]:
        """Return what goes on, for `/health/ready`."""
        return [
            notice.words.format(count=notice.total)
            for notice in (self._two_partitions, self._unknown_fields)
            if notice.logged_at is not None
        ]
