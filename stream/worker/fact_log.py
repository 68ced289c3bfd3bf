"""Counts decisions and labels for the log, and summarises dead letters: no line is written for each payment or batch.

The first dead letter of a burst is logged at once, so that an operator can look at it; those that follow are counted by
code, and logged together every `SUMMARY_SECONDS`. A burst of a code ends when none came for that long. `InputNotices`
tells of mistakes of producers that stop no decision, so that neither is a dead letter and nobody sees them elsewhere.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stream.contract.codes import DeadLetterCode
from stream.positions.dead_letters import DeadLetter
from stream.scoring.facts import Decided, Fact, FactListener, LabelsApplied, PredictionsApplied
from stream.scoring.two_partitions import CARD_ON_TWO_PARTITIONS

REPEAT_SECONDS = 600.0
TWO_PARTITIONS = (
    "{count:,} decisions are about cards whose payments come by two partitions, so their order is not known: producers "
    "use different partitioners; `fraudstream topics check` names them"
)
UNKNOWN_FIELDS = (
    "{count:,} fields of records are not of the contract, and were passed over; `fraudstream schema` prints what is"
)
log = logging.getLogger("fraudstream.dead_letters")
_input_log = logging.getLogger("fraudstream.input")

SUMMARY_SECONDS = 10.0


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
        _input_log.warning(
            "%s", self.words.format(count=self.since_logged), extra={"event": self.event, "count": self.total}
        )
        self.since_logged, self.logged_at = 0, now


class InputNotices:
    """Counts what facts tell of the producers, for the log and `/health/ready`; `clock` returns monotonic seconds.

    That are cards on two partitions, and fields that the contract lacks. Each is logged when it begins and then every
    `REPEAT_SECONDS` with what came since, and stands among the warnings until none came for so long.
    """

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


class FactLog:
    """Passes each fact on to `emit`, then counts it; call it on the event loop only.

    `clock` returns monotonic seconds.
    """

    def __init__(self, emit: FactListener, clock: Callable[[], float] = time.monotonic) -> None:
        self._emit = emit
        self._clock = clock
        self._counts: Counter[DeadLetterCode] = Counter()
        self._bursts: dict[DeadLetterCode, int] = {}
        self._newest: dict[DeadLetterCode, DeadLetter] = {}
        self._since = clock()
        self.notices = InputNotices(clock)
        """What the input shows about its producers."""
        self.decided = 0
        """The number of payments that this worker has decided."""
        self.labels = 0
        """The number of labels that this worker has applied."""

    def __call__(self, fact: Fact) -> None:
        """Pass a fact on, and count it."""
        self._emit(fact)
        self.notices.add(fact)
        if isinstance(fact, Decided):
            self.decided += len(fact.scored)
        elif isinstance(fact, LabelsApplied):
            self.labels += len(fact.records)
        elif not isinstance(fact, PredictionsApplied):
            return
        if fact.dead:
            self._add(fact.dead)

    def _add(self, dead: Sequence[DeadLetter]) -> None:
        """Log the first dead letter of each burst, and count the others."""
        if not self._bursts:
            self._since = self._clock()
        for letter in dead:
            if letter.code in self._bursts:
                self._counts[letter.code] += 1
                self._newest[letter.code] = letter
            else:
                _log_first(letter)
            self._bursts[letter.code] = self._bursts.get(letter.code, 0) + 1

    def summarise(self, *, now: bool = False) -> None:
        """Log what has been counted since the last summary, if `SUMMARY_SECONDS` have passed or `now` is set."""
        seconds = self._clock() - self._since
        if not self._bursts or (seconds < SUMMARY_SECONDS and not now):
            return
        if self._counts:
            _log_more(self._counts, self._bursts, self._newest, seconds)
        self._bursts = {code: self._bursts[code] for code in self._counts}
        self._counts, self._newest, self._since = Counter(), {}, self._clock()


def _log_first(letter: DeadLetter) -> None:
    """Log where a dead letter comes from; not its detail, which quotes the record."""
    record = letter.record
    log.warning(
        "dead letter %s: %s partition %d offset %d; see `fraudstream dead-letters show %s`. More of this "
        "code are counted, and logged every %.0f s",
        *(letter.code, record.topic, record.partition, record.offset, _place(letter), SUMMARY_SECONDS),
        extra={
            "event": "dead_letter",
            "code": letter.code.value,
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
        },
    )


def _log_more(
    counts: Counter[DeadLetterCode],
    bursts: dict[DeadLetterCode, int],
    newest: dict[DeadLetterCode, DeadLetter],
    seconds: float,
) -> None:
    each = (f"{n} {code} ({bursts[code]} in all, the last {_place(newest[code])})" for code, n in counts.most_common())
    log.warning(
        "dead letters of the last %.0f s: %s",
        seconds,
        ", ".join(each),
        extra={"event": "dead_letters", "seconds": round(seconds, 1), "counts": {str(c): n for c, n in counts.items()}},
    )


def _place(letter: DeadLetter) -> str:
    """Return the place as `fraudstream dead-letters show` takes it."""
    return f"{letter.record.topic}:{letter.record.partition}:{letter.record.offset}"
