"""Which parts of the topics are needed to make a range of decisions again, and reading them into the spool.

A decision depends on what its card's and the other parties' histories held: transactions back to the horizon before the
earliest of the range, their decisions and labels, which say in which order they were seen, and those of a day more,
since a transaction may be decided late. Whatever was not read is bounded by a moment, so that it can be told which
decisions cannot depend on it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, NamedTuple

import msgspec

from models.errors import InvalidTimeError
from models.times import format_time, parse_time_ms
from stream.kafka.topics import LABELS, OUTCOMES, SCORES, TRANSACTIONS
from stream.rescoring.request import NothingToScoreError, Progress, Range
from stream.rescoring.spool import Spool
from stream.rescoring.topics import Offsets, Records, TopicPart, Topics
from stream.settings import Settings

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
RUN_UP = 1_000
"""So many scores before those that are needed are read too: validity is a matter of what came before."""
FOR_EVER_MS = 1 << 62


class Gathered(NamedTuple):
    """What was read.

    `wanted` has the first offset and the first behind it, by partition: of transactions, or of scores where `by_score`.
    `decisions` tells whether decisions are meant, or transactions.
    What was not read of a partition of transactions occurred before `floors_ms`; None: all was.
    """

    wanted: Mapping[int, tuple[int, int]]
    decisions: bool
    by_score: bool
    starts: Offsets
    floors_ms: Mapping[int, int | None]


class Need(NamedTuple):
    """How far back from a transaction histories reach, and how far ahead of its record's time it may be."""

    horizon_ms: int
    skew_ms: int


class Gatherer:
    """Reads what a range needs."""

    def __init__(self, settings: Settings, topics: Topics, need: Need, progress: Progress) -> None:
        self._settings = settings
        self._topics = topics
        self._need = need
        self._progress = progress

    async def gather(self, spool: Spool, wanted: Range, *, decisions: bool) -> Gathered:
        """Read what is needed to score a range of transactions, or to make a range of decisions again.

        Raises:
            NothingToScoreError: the range is empty.
            aiokafka.errors.KafkaError: the broker does not answer, or a topic is not there.
        """
        transactions = await self._topics.whole(self._settings.topic(TRANSACTIONS.name))
        by_score = decisions and wanted.offsets is None
        asked = await self._asked(transactions, wanted, by_score=by_score)
        low_ms = None
        if wanted.offsets is not None or wanted.from_ms is not None:
            low_ms = await self._earliest(asked) - self._need.horizon_ms - self._need.skew_ms
        high_ms = None if wanted.to_ms is None else wanted.to_ms + DAY_MS
        read = await self._part(transactions, low_ms, high_ms)
        if not by_score:
            read = replace(
                read,
                starts={one: min(start, asked.starts.get(one, start)) for one, start in read.starts.items()},
                ends={one: max(end, asked.ends.get(one, end)) for one, end in read.ends.items()},
            )
        await self._take("transactions", read, spool.transactions)
        since_ms = await self._decided_since(transactions, low_ms)
        await self._take("decisions", await self._behind(SCORES.name, since_ms, high_ms, RUN_UP), spool.scores)
        await self._take("outcomes", await self._behind(OUTCOMES.name, since_ms, high_ms), spool.outcomes)
        if not decisions:
            await self._take("labels", await self._behind(LABELS.name, since_ms, high_ms), spool.labels)
        wanted_offsets = {one: (start, asked.ends[one]) for one, start in asked.starts.items()}
        return Gathered(wanted_offsets, decisions, by_score, read.starts, await self._floors(read, low_ms))

    async def _asked(self, transactions: TopicPart, wanted: Range, *, by_score: bool) -> TopicPart:
        """Return the part that is meant, or say that nothing is in it."""
        whole = await self._topics.whole(self._settings.topic(SCORES.name)) if by_score else transactions
        if wanted.offsets is None:
            starts, ends = (
                await self._topics.since(whole, wanted.from_ms),
                await self._topics.until(whole, wanted.to_ms),
            )
            part = TopicPart(whole.topic, starts, ends)
        else:
            part = _clipped(whole, wanted.offsets)
        if not part.count:
            raise NothingToScoreError(f"nothing of topic {whole.topic} is in the range: {await self._holds(whole)}")
        return part

    async def _holds(self, whole: TopicPart) -> str:
        first = await self._topics.first_ms(whole)
        if not first:
            return "it is empty"
        offsets = ", ".join(f"{one}:{whole.starts[one]}-{whole.ends[one]}" for one in sorted(whole.starts))
        return f"it holds records since {format_time(min(first.values()))}, by partition {offsets}"

    async def _earliest(self, asked: TopicPart) -> int:
        """Return when the earliest transaction of a range occurred."""
        earliest = FOR_EVER_MS

        def look(records: Records) -> None:
            nonlocal earliest
            earliest = min(earliest, *map(_occurred_ms, records), FOR_EVER_MS)

        await self._take("range", asked, look)
        return earliest

    async def _part(self, whole: TopicPart, low_ms: int | None, high_ms: int | None) -> TopicPart:
        return TopicPart(whole.topic, await self._topics.since(whole, low_ms), await self._topics.until(whole, high_ms))

    async def _decided_since(self, transactions: TopicPart, low_ms: int | None) -> int | None:
        """Return since when decisions are needed: nobody decides before the record is there, by another's clock."""
        if low_ms is None and any(transactions.starts.values()):
            low_ms = min((await self._topics.first_ms(transactions)).values(), default=None)
        return None if low_ms is None else low_ms - HOUR_MS

    async def _behind(self, name: str, since_ms: int | None, until_ms: int | None, run_up: int = 0) -> TopicPart:
        whole = await self._topics.whole(self._settings.topic(name))
        part = await self._part(whole, since_ms, until_ms)
        starts = {one: max(whole.starts[one], start - run_up) for one, start in part.starts.items()}
        return replace(part, starts=starts)

    async def _take(self, stage: str, part: TopicPart, take: Callable[[Records], None]) -> None:
        done, total = 0, part.count
        self._progress(stage, 0, total)
        async for records in self._topics.read(part):
            take(records)
            done += len(records)
            self._progress(stage, done, total)
        self._progress(stage, total, total)

    async def _floors(self, read: TopicPart, low_ms: int | None) -> Mapping[int, int | None]:
        first_ms = await self._topics.first_ms(read)
        unknown_ms = FOR_EVER_MS if low_ms is None else low_ms
        return {
            one: first_ms.get(one, unknown_ms) + self._need.skew_ms if start else None
            for one, start in read.starts.items()
        }


def _clipped(whole: TopicPart, offsets: Mapping[int, tuple[int, int]]) -> TopicPart:
    unknown = sorted(offsets.keys() - whole.starts.keys())
    if unknown:
        raise NothingToScoreError(f"topic {whole.topic} has no partitions {unknown}, but 0 to {max(whole.starts)}")
    starts = {one: max(whole.starts[one], start) for one, (start, _) in offsets.items()}
    return TopicPart(whole.topic, starts, {one: min(whole.ends[one], end) for one, (_, end) in offsets.items()})


class _When(msgspec.Struct):
    occurred_at: Annotated[int | str, msgspec.Meta()]


_when = msgspec.json.Decoder(_When).decode


def _occurred_ms(record: object) -> int:
    """Return when a transaction or decision says that it occurred; in the far future where it does not."""
    try:
        return parse_time_ms(_when(getattr(record, "value", None) or b"").occurred_at).epoch_ms
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidTimeError):
        return FOR_EVER_MS
