"""The part of a guard's process that watches live models: read scores, fold, write alarms to `incidents`.

It shares what is fetched with the guard's own work and with what tells of other incidents, and nothing else.
"""

import asyncio
import logging
from contextlib import AsyncExitStack

from fraudstream.ops.folds.run import LoopTerms, run_fold
from fraudstream.ops.folds.tail import SharedTail
from fraudstream.ops.folds.topics import FetchedPart, FollowedTopics, ReadTopic
from fraudstream.ops.rollout.outcomes.labels import LabelCollector
from fraudstream.ops.rollout.outcomes.maturity import DAY_MS
from fraudstream.ops.watch.drift.book import AlertBook
from fraudstream.ops.watch.drift.checkpoint import DriftCheckpoint, StoredPartition, StoredWatch, stored_pairs
from fraudstream.ops.watch.drift.feed import FeedTerms, LabelFeed
from fraudstream.ops.watch.drift.fold import DriftNews
from fraudstream.ops.watch.drift.gauges import DriftGauges
from fraudstream.ops.watch.drift.manifests import KnownManifests
from fraudstream.ops.watch.drift.report import add_scores
from fraudstream.ops.watch.drift.scores import ScoreFilter
from fraudstream.ops.watch.drift.telling import feed_record, record_of
from fraudstream.ops.watch.drift.terms import DriftTerms
from fraudstream.ops.watch.incidents.told import ToldReader, write_incident
from fraudstream_client.arms import WHOLE_BP
from fraudstream_client.incidents import Incident
from fraudstream_client.validity import Standing
from models.errors import RepositoryUnavailableError
from models.repository import Repository
from stream.clock import now_ms
from stream.kafka.client import producer_options, require_topic
from stream.kafka.stray import PlainProducer
from stream.kafka.topics import INCIDENTS, OUTCOMES, SCORES
from stream.readers import ScoreView
from stream.scan import EARLIER_SCORES
from stream.settings import Settings

log = logging.getLogger("fraudstream.drift")

START_DAYS = 35
"""Without a checkpoint, scores of so many days are read, so that a model's first days and its runs are known."""
MARGIN_MS = 5_000
"""A record reaches its topic so much later than its timestamp says, at most; clocks may differ by as much."""
_TERMS = LoopTerms(
    log,
    "live models are not watched for drift",
    "live models are watched for drift again",
    retry_seconds=5.0,
    keep_seconds=60.0,
    troubles=(RepositoryUnavailableError,),
)
_TURN_SECONDS = 1.0
_MANY_RECORDS = 1_000
_HOUR_MS = 3_600_000


class DriftWatcher:
    """Watches the models of a deployment until it is cancelled.

    Attributes:
        gauges: what its metrics show.
        trouble: why it does not watch now, in words; None if it does.

    Args:
        settings: those of the guard's process.
        checkpoint: where it keeps what it has counted, if anywhere.
        terms: those of the watch.
        tail: what is new, read for all folds of the process.
    """

    def __init__(
        self,
        settings: Settings,
        checkpoint: DriftCheckpoint | None,
        terms: DriftTerms | None = None,
        tail: SharedTail | None = None,
    ) -> None:
        self.gauges = DriftGauges()
        self.trouble: str | None = None
        self._settings = settings
        self._checkpoint = checkpoint
        self._tail = tail
        self._terms = terms or DriftTerms()
        self._incidents = settings.topic(INCIDENTS.name)
        self._scores, self._outcomes = settings.topic(SCORES.name), settings.topic(OUTCOMES.name)
        self._manifests = KnownManifests(lambda: Repository(settings.models))
        self._fetched: FetchedPart | None = None
        self._news: list[DriftNews] = []
        self._looked_at_ms = 0
        self._begin()

    def _begin(self) -> None:
        """Begin where the checkpoint ends, or some weeks before now."""
        stored = None if self._checkpoint is None else self._checkpoint.load(self._settings)
        if stored is None:
            stored = StoredWatch(self._settings.deployment, self._settings.topic_prefix)
        self._fold, self._book = stored.fold(self._terms), AlertBook(stored.book)
        self._filter = ScoreFilter(self._settings.deployment, stored.standings())
        since_ms = max(now_ms() - START_DAYS * DAY_MS, 0)
        positions = {number: one.position for number, one in stored.partitions.items()}
        scores = ReadTopic(self._scores, since_ms, EARLIER_SCORES, positions, stored.topic_id)
        self._feed, self._feed_told_to = LabelFeed(self._settings.deployment, stored.feed), 0
        labels_since_ms = max(now_ms() - FeedTerms().kept_days * DAY_MS, 0)
        outcomes = ReadTopic(self._outcomes, labels_since_ms, 0, stored.outcomes, stored.outcomes_id)
        self._topics = FollowedTopics(self._settings, [scores, outcomes], self._tail)

    @property
    def unknown(self) -> list[str]:
        """The models that have decided and that the repository does not have, so that they are not watched."""
        return sorted(self._manifests.missing)

    async def run(self) -> None:
        """Watch for ever; where Kafka or the repository does not answer, try again."""
        await run_fold(self._settings, self, _TERMS)

    async def close(self) -> None:
        """Keep what is known, and disconnect."""
        await self.keep()
        await self._topics.close()

    async def connect(self, stack: AsyncExitStack) -> tuple[ToldReader, PlainProducer]:
        """Connect; `stack` disconnects.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond, or a topic is missing.
        """
        told = await stack.enter_async_context(ToldReader(self._settings))
        producer = PlainProducer(**producer_options(self._settings))
        stack.push_async_callback(producer.stop)
        await producer.start()
        await require_topic(producer, self._incidents)
        return told, producer

    async def turn(self, connection: tuple[ToldReader, PlainProducer]) -> bool:
        """Read once what is new, look at days that are complete, and tell of alarms."""
        told, producer = connection
        began = asyncio.get_running_loop().time()
        fetched = self._fetched = self._fetched or await self._topics.fetch()
        await self._count(fetched)
        self._fetched = None
        until_ms = read_until(fetched, self._scores)
        if until_ms is not None:
            self._news += self._fold.advance(until_ms - MARGIN_MS)
            self._look_at_labels(until_ms)
        labels_until_ms = read_until(fetched, self._outcomes)
        if labels_until_ms is not None:
            self._feed.advance(labels_until_ms - MARGIN_MS)
        await self._tell(told, producer)
        await self._tell_of_labels(told, producer)
        self.gauges.show(self._fold, until_ms)
        worked_s = asyncio.get_running_loop().time() - began
        await asyncio.sleep(worked_s if fetched.size >= _MANY_RECORDS else max(0.0, _TURN_SECONDS - worked_s))
        return True

    async def _count(self, fetched: FetchedPart) -> None:
        """Count what was fetched, all of it or nothing: the manifests of its models are read before.

        Raises:
            RepositoryUnavailableError: the repository does not respond; what was fetched is counted at the next turn.
        """
        standings = self._filter.valid.standings.copy()
        for tp in fetched.anew:
            if tp.topic == self._scores:
                self._filter.valid.standings[tp.partition] = Standing()
        found, labels = list[tuple[int, ScoreView]](), LabelCollector(self._settings.deployment, WHOLE_BP)
        for scores in fetched.scores.values():
            found += self._filter.of(scores)
        for records in fetched.records.values():
            labels.add(record.value for record in records)
        try:
            await add_scores(self._fold, self._manifests, found)
        except RepositoryUnavailableError:
            self._filter.valid.standings = standings
            raise
        for records in fetched.records.values():
            self._feed.add(records)
        self._book.add(score for _, score in found)
        self._book.add_labels(labels.rows())

    def _look_at_labels(self, until_ms: int) -> None:
        """Show the matured precision, once an hour of what was read."""
        if until_ms // _HOUR_MS > self._looked_at_ms // _HOUR_MS:
            self._looked_at_ms = until_ms
            self._book.forget(until_ms)
            self.gauges.show_matured(self._book.matured(until_ms))

    async def _tell(self, told: ToldReader, producer: PlainProducer) -> None:
        """Write the alarms that are to be told of and were not yet, by whichever guard.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond, or refuse; they are written at the next turn.
        """
        while self._news:
            if self._news[0].alarm is not None:
                await told.read_to_end()
                record = record_of(self._news[0], told.told.incidents, self._settings, self._terms)
                if record is not None:
                    await self._write(producer, record)
            self._news.pop(0)

    async def _tell_of_labels(self, told: ToldReader, producer: PlainProducer) -> None:
        """Write that labels are missing, or are not any more, once after each day that was judged.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond, or refuse; it is written at the next turn.
        """
        self.gauges.show_feed(self._feed)
        if self._feed.looked_to in (None, self._feed_told_to):
            return
        await told.read_to_end()
        record = feed_record(self._feed, told.told.incidents, self._settings)
        if record is not None:
            await self._write(producer, record)
        self._feed_told_to = self._feed.looked_to or 0

    async def _write(self, producer: PlainProducer, incident: Incident) -> None:
        await write_incident(self._settings, producer, incident)
        log.warning("incident %s %s: %s", incident.incident_id, incident.kind, incident.text)

    async def keep(self) -> None:
        """Store what was counted and how far; not while an alarm waits to be told of, or a part to be counted."""
        if self._checkpoint is None or self._news or self._fetched is not None:
            return
        positions = self._topics.positions
        partitions = {
            tp.partition: StoredPartition(position, *self._filter.valid.standings.get(tp.partition, Standing()))
            for tp, position in positions.items()
            if tp.topic == self._scores
        }
        ids = self._topics.topic_ids
        stored = StoredWatch(
            self._settings.deployment,
            self._settings.topic_prefix,
            ids[self._scores],
            partitions,
            stored_pairs(self._fold),
            self._fold.late,
            self._fold.looked_to,
            self._book.stored(),
            {tp.partition: position for tp, position in positions.items() if tp.topic == self._outcomes},
            ids[self._outcomes],
            self._feed.stored(),
        )
        await self._checkpoint.save(stored)


def read_until(fetched: FetchedPart, topic: str) -> int | None:
    """Return the time up to which all partitions of a topic were read; None until each was read once."""
    times = [fetched.until_ms.get(tp) for tp in fetched.positions if tp.topic == topic]
    known = [time for time in times if time is not None]
    return min(known) if known and len(known) == len(times) else None
