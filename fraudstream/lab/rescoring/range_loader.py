"""Load the parts of the topics that a range of decisions depends on into the tables of `topic_tables`.

A decision depends on the histories of its card and the other parties: on transactions back to the horizon before the
earliest of the range, and on their decisions and labels, which record the order in which they were seen. A day more of
these is read, because a transaction may be decided late. A time bounds what was not read (`floors_ms`), so that
decisions that may depend on it are known.

A deployment's decisions lie on `scores`, from when it published, and on its own `scores-<deployment>`, from when it
decided silently; that one may not exist.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, NamedTuple

import msgspec

from features.declaration import DAY_MS, HOUR_MS
from fraudstream.lab.rescoring.prediction_tables import PredictionTables
from fraudstream.lab.rescoring.request import NothingToScoreError, Progress, Range
from fraudstream.lab.rescoring.topic_reader import Offsets, Records, TopicPart, TopicReader
from fraudstream.lab.rescoring.topic_tables import TopicTables
from models.errors import InvalidTimeError
from models.times import format_time, parse_time_ms
from stream.kafka.topics import LABELS, OUTCOMES, PREDICTIONS, SCORES, TRANSACTIONS, silent_scores
from stream.settings import Settings

LEAD_IN_SCORES = 1_000
"""Scores that are read before the first that is needed: whether a score is valid depends on those before it."""
FAR_FUTURE_MS = 1 << 62


class LoadedRange(NamedTuple):
    """What was read.

    `wanted` has the first offset and the end of the range by partition, of the transactions topic or, if `by_score`, of
    the scores topic, and `silent` then those of the deployment's own silent scores. `decisions` is true if the range is
    one of decisions, not of transactions. Transactions of a partition that were not read occurred before `floors_ms`;
    None: all were read.
    """

    wanted: Mapping[int, tuple[int, int]]
    silent: Mapping[int, tuple[int, int]]
    decisions: bool
    by_score: bool
    starts: Offsets
    floors_ms: Mapping[int, int | None]


class Lookback(NamedTuple):
    """How far histories reach back from a transaction, and how far ahead of its record's timestamp that may be."""

    horizon_ms: int
    skew_ms: int


class RangeLoader:
    """Reads the records that a range depends on."""

    def __init__(self, settings: Settings, topics: TopicReader, lookback: Lookback, progress: Progress) -> None:
        self._settings = settings
        self._topics = topics
        self._lookback = lookback
        self._progress = progress

    async def load(self, tables: TopicTables, wanted: Range, *, decisions: bool) -> LoadedRange:
        """Read what is needed to score a range of transactions, or to rescore a range of decisions.

        Raises:
            NothingToScoreError: the range is empty.
            aiokafka.errors.KafkaError: the broker does not answer, or a topic does not exist.
        """
        transactions = await self._topics.whole(self._settings.topic(TRANSACTIONS.name))
        by_score = decisions and wanted.offsets is None
        scores = await self._score_topics()
        requested = await self._requested(scores if by_score else [transactions], wanted)
        low_ms = None
        if wanted.offsets is not None or wanted.from_ms is not None:
            low_ms = await self._earliest(requested) - self._lookback.horizon_ms - self._lookback.skew_ms
        high_ms = None if wanted.to_ms is None else wanted.to_ms + DAY_MS
        read = await self._between(transactions, low_ms, high_ms)
        if not by_score:
            read = _with(read, requested[0])
        await self._read("transactions", read, tables.transactions)
        behind = replace(transactions, starts={one: read.ends.get(one, 0) for one in transactions.starts})
        await self._read("erasures", behind, tables.erasures)
        seen_ms = await self._decided_since(transactions, low_ms), high_ms
        await self._read_decisions(tables, scores, seen_ms)
        outcomes = await self._topics.whole(self._settings.topic(OUTCOMES.name))
        await self._read("outcomes", await self._related(outcomes, seen_ms), tables.outcomes)
        await self._read_labels(tables, seen_ms, decisions=decisions)
        if tables.predictions is not None:
            await self._read_predictions(tables.predictions, (low_ms, high_ms))
        silent = _spans(requested[1]) if len(requested) > 1 else {}
        floors_ms = await self._floors(tables, read, low_ms)
        return LoadedRange(_spans(requested[0]), silent, decisions, by_score, read.starts, floors_ms)

    async def _read_decisions(
        self, tables: TopicTables, scores: Sequence[TopicPart], seen_ms: tuple[int | None, int | None]
    ) -> None:
        """Read the valid decisions of both topics, and keep one of each transaction."""
        published, *silent = [await self._related(whole, seen_ms, LEAD_IN_SCORES) for whole in scores]
        await self._read("decisions", published, tables.scores)
        for part in silent:
            await self._read("silent decisions", part, tables.silent_scores)
        tables.keep_one_decision_each()

    async def _read_labels(
        self, tables: TopicTables, seen_ms: tuple[int | None, int | None], *, decisions: bool
    ) -> None:
        """Read labels; those of decisions that are compared only without an outcome: they may have been applied."""
        labels = await self._related(await self._topics.whole(self._settings.topic(LABELS.name)), seen_ms)
        if decisions:
            first = {one: tables.answered_labels.get(one, -1) + 1 for one in labels.starts}
            labels = replace(labels, starts={one: max(start, first[one]) for one, start in labels.starts.items()})
        await self._read("labels", labels, tables.labels)

    async def _read_predictions(self, tables: PredictionTables, times_ms: tuple[int | None, int | None]) -> None:
        """Read the predictions from storage that came between two times."""
        whole = await self._topics.whole(self._settings.topic(PREDICTIONS.name))
        part = await self._between(whole, *times_ms)
        await self._read("predictions", part, tables.records)
        floors_ms = await self._floors(tables, part, times_ms[0])
        tables.floor_ms = max((one for one in floors_ms.values() if one is not None), default=None)

    async def _score_topics(self) -> Sequence[TopicPart]:
        """Return the topics that have decisions of the deployment: `scores`, and its silent ones if they exist."""
        scores = await self._topics.whole(self._settings.topic(SCORES.name))
        silent = await self._topics.existing(self._settings.topic(silent_scores(self._settings).name))
        return [scores] if silent is None else [scores, silent]

    async def _requested(self, topics: Sequence[TopicPart], wanted: Range) -> Sequence[TopicPart]:
        """Return the parts of the topics that the range selects; offsets are those of the first topic.

        Raises:
            NothingToScoreError: all are empty.
        """
        if wanted.offsets is None:
            parts = [await self._between(whole, wanted.from_ms, wanted.to_ms) for whole in topics]
        else:
            parts = [_clip(topics[0], wanted.offsets)]
        if not any(part.count for part in parts):
            held = [f"of topic {whole.topic} is in the range: {await self._describe(whole)}" for whole in topics]
            raise NothingToScoreError(f"nothing {'; and nothing '.join(held)}")
        return parts

    async def _describe(self, whole: TopicPart) -> str:
        first = await self._topics.first_ms(whole)
        if not first:
            return "it is empty"
        offsets = ", ".join(f"{one}:{whole.starts[one]}-{whole.ends[one]}" for one in sorted(whole.starts))
        return f"it holds records since {format_time(min(first.values()))}, by partition {offsets}"

    async def _earliest(self, requested: Sequence[TopicPart]) -> int:
        """Return when the earliest transaction of the range occurred."""
        earliest = FAR_FUTURE_MS

        def find_earliest(records: Records) -> None:
            nonlocal earliest
            earliest = min(earliest, *map(_occurred_ms, records), FAR_FUTURE_MS)

        for part in requested:
            await self._read("range", part, find_earliest)
        return earliest

    async def _between(self, whole: TopicPart, low_ms: int | None, high_ms: int | None) -> TopicPart:
        return TopicPart(whole.topic, await self._topics.since(whole, low_ms), await self._topics.until(whole, high_ms))

    async def _decided_since(self, transactions: TopicPart, low_ms: int | None) -> int | None:
        """Return the time from which decisions are needed.

        That of the first transaction, less an hour: a worker decides after the record was written, by another clock.
        """
        if low_ms is None and any(transactions.starts.values()):
            low_ms = min((await self._topics.first_ms(transactions)).values(), default=None)
        return None if low_ms is None else low_ms - HOUR_MS

    async def _related(self, whole: TopicPart, seen_ms: tuple[int | None, int | None], lead_in: int = 0) -> TopicPart:
        """Return the part of a topic between two times, and some records before it."""
        part = await self._between(whole, *seen_ms)
        starts = {one: max(whole.starts[one], start - lead_in) for one, start in part.starts.items()}
        return replace(part, starts=starts)

    async def _read(self, stage: str, part: TopicPart, consume: Callable[[Records], None]) -> None:
        done, total = 0, part.count
        self._progress(stage, 0, total)
        async for records in self._topics.read(part):
            consume(records)
            done += len(records)
            self._progress(stage, done, total)
        self._progress(stage, total, total)

    async def _floors(
        self, tables: TopicTables | PredictionTables, read: TopicPart, low_ms: int | None
    ) -> Mapping[int, int | None]:
        """Return by partition since when all records are known: None if it is read from the beginning of its only log.

        Where the topic was made anew, histories may hold what its earlier logs had.
        """
        is_later_log = tables.log(read.topic) > 0
        first_ms = await self._topics.first_ms(read)
        unknown_ms = FAR_FUTURE_MS if low_ms is None else low_ms
        return {
            one: first_ms.get(one, unknown_ms) + self._lookback.skew_ms if start or is_later_log else None
            for one, start in read.starts.items()
        }


def _clip(whole: TopicPart, offsets: Mapping[int, tuple[int, int]]) -> TopicPart:
    unknown = sorted(offsets.keys() - whole.starts.keys())
    if unknown:
        raise NothingToScoreError(f"topic {whole.topic} has no partitions {unknown}, but 0 to {max(whole.starts)}")
    starts = {one: max(whole.starts[one], start) for one, (start, _) in offsets.items()}
    return TopicPart(whole.topic, starts, {one: min(whole.ends[one], end) for one, (_, end) in offsets.items()})


def _with(part: TopicPart, more: TopicPart) -> TopicPart:
    """Return a part of a topic that reaches over another part as well."""
    starts = {one: min(start, more.starts.get(one, start)) for one, start in part.starts.items()}
    ends = {one: max(end, more.ends.get(one, end)) for one, end in part.ends.items()}
    return replace(part, starts=starts, ends=ends)


def _spans(part: TopicPart) -> Mapping[int, tuple[int, int]]:
    return {one: (start, part.ends[one]) for one, start in part.starts.items()}


class _OccurredAt(msgspec.Struct):
    occurred_at: Annotated[int | str, msgspec.Meta()]


_decode_occurred_at = msgspec.json.Decoder(_OccurredAt).decode


def _occurred_ms(record: object) -> int:
    """Return the `occurred_at` of a transaction or decision; FAR_FUTURE_MS if it has none."""
    try:
        return parse_time_ms(_decode_occurred_at(getattr(record, "value", None) or b"").occurred_at).epoch_ms
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidTimeError):
        return FAR_FUTURE_MS
