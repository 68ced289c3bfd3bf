"""Counts decisions and labels for the log, and summarises dead letters: no line is written for each payment or batch.

The first dead letter of a burst is logged at once, so that an operator can look at it; those that follow are counted by
code, and logged together every `SUMMARY_SECONDS`. A burst of a code ends when none came for that long.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence

from stream.contract.codes import DeadLetterCode
from stream.positions.dead_letters import DeadLetter
from stream.scoring.facts import Decided, Fact, FactListener, LabelsApplied, PredictionsApplied
from stream.worker.input_notices import InputNotices

log = logging.getLogger("fraudstream.dead_letters")

SUMMARY_SECONDS = 10.0


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
