"""What is known of the inputs when they are read again: the number of each log, and the verdict of each offset.

An offset that has no letter and lies below what was decided or committed was accepted, whatever is valid today.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupAuthorizationFailedError, GroupCoordinatorNotAvailableError
from aiokafka.structs import OffsetAndMetadata

from features.history.store import Label, Prediction
from models.logs import Logs
from stream.contract.attributes import FieldRules
from stream.contract.codes import Rejection
from stream.control.client import read_fold
from stream.engine.batches import Record
from stream.id_rules import IdRules, declared_ids
from stream.kafka.client import committed_offsets, open_admin
from stream.kafka.topics import LABELS, PREDICTIONS, SCORES, TRANSACTIONS, own_scores, partition_counts
from stream.positions.decided import undecided_on
from stream.positions.letters import Claim, OffsetSet
from stream.positions.offsets import Position, read_note, read_topic_note
from stream.positions.refused import NONE_REFUSED, RefusedOffsets, read_letters, refused_by
from stream.positions.score_tails import noted_on_scores, read_resume_points
from stream.scoring.decode import Decoded, decode, read_label_record, read_prediction_record
from stream.settings import Settings
from stream.tasks import until_tick

_COORDINATOR_ATTEMPTS, _COORDINATOR_SECONDS = 40, 0.25

_T = TypeVar("_T")


class ReplayedInput(NamedTuple):
    """What is known of the input that is read again: the number of each topic's log, and the verdicts that were given.

    `read_to` is, by partition, the offset before which every record of the log was accepted unless it is among the
    `refused`: no clock, no setting and no rule of today judges those again.
    """

    settings: Settings
    logs: Logs = Logs()
    refused: RefusedOffsets = NONE_REFUSED
    read_to: Mapping[TopicPartition, int] = MappingProxyType({})

    def log(self, topic: str) -> int:
        """Return the number of the topic's log that is there now."""
        return self.logs.last(topic)

    def is_accepted(self, record: Record) -> bool:
        """Tell whether a record, of those that were not refused, was accepted when it was first read."""
        return record.offset < self.read_to.get(TopicPartition(record.topic, record.partition), 0)

    def decode(self, records: Sequence[Record]) -> Decoded:
        """Decode transactions as when they were first read."""
        log_number = self.log(self.settings.topic(TRANSACTIONS.name))
        skew_ms = round(self.settings.future_skew * 1000)
        return decode(records, skew_ms, log_number, fields=FieldRules(ids=self._ids), is_accepted=self.is_accepted)

    def labels(self, records: Iterable[Record]) -> list[Label]:
        """Decode labels; those that cannot be decoded became dead letters the first time."""
        log_number = self.log(self.settings.topic(LABELS.name))
        read = [read_label_record(one, log_number, ids=self._ids, accepted=self.is_accepted(one)) for one in records]
        return [one.label for one in read if not isinstance(one, Rejection)]

    def predictions(self, records: Iterable[Record]) -> list[Prediction]:
        """Decode predictions; those that cannot be decoded became dead letters the first time."""
        skew_ms = round(self.settings.future_skew * 1000)
        read = [read_prediction_record(one, skew_ms, ids=self._ids, accepted=self.is_accepted(one)) for one in records]
        return [one.prediction for one in read if not isinstance(one, Rejection)]

    @property
    def _ids(self) -> IdRules:
        return declared_ids(self.settings.id_shapes)

    def was_refused(self, record: Record) -> bool:
        """Tell whether the record has a dead letter, or whether operators let workers pass over it."""
        return record.offset in self.refused.of(record.topic, record.partition, self.log(record.topic))

    def is_left_out(self, record: Record) -> bool:
        """Tell whether no history has the record: it was refused, or accepted as lost."""
        return self.was_refused(record) or self.was_lost(record)

    def was_lost(self, record: Record) -> bool:
        """Tell whether a record is a transaction that was accepted as lost: if it comes again, it is decided."""
        if record.topic != self.settings.topic(TRANSACTIONS.name):
            return False
        where = (self.settings.deployment, record.topic, record.partition)
        return any(record.offset in lost for lost in self.logs.lost_in(where, self.log(record.topic)))


async def read_input(settings: Settings, read_to: Mapping[int, int] = MappingProxyType({})) -> ReplayedInput:
    """Find out what is known of the input, beside the workers or without any.

    `read_to` is the offset up to which a worker knows that it has read its partitions of transactions; the ends of the
    scores and the group's commits say the rest.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond.
    """
    fold, transactions = await read_fold(settings), settings.topic(TRANSACTIONS.name)
    log_number, scores = fold.logs.last(transactions), own_scores(settings, fold.term)
    # The commits and scores before the letters: a letter of what is committed, or decided, is written by then.
    async with open_admin(settings) as admin:
        counts = await partition_counts(admin, settings)
        commits = await _when_coordinated(lambda: _commits(settings, admin, counts))
        both = range(min(counts.get(transactions, 0), counts.get(settings.topic(scores.name), 0)))
        points = await read_resume_points(settings, admin, both, fold.term)
    known = {one: max(point.read_to(log_number), read_to.get(one, 0)) for one, point in points.items()}
    reached = {TopicPartition(transactions, one): offset for one, offset in {**read_to, **known}.items()}
    claims = dict[int, Sequence[Claim]]()
    for tp, commit in commits.items():
        if tp.topic != transactions:
            if read_topic_note(commit.metadata or "")[1] == fold.logs.last(tp.topic):
                reached[tp] = max(0, commit.offset)
        elif scores is SCORES and tp.partition in points:  # there may be later claims than the commit notes
            claims[tp.partition] = points[tp.partition].position.claims
        else:
            noted = noted_on_scores(settings, fold.term, read_note(commit.metadata))
            claims[tp.partition] = (noted or Position()).claims
    refused = refused_by(await read_letters(settings, fold.term), claims, transactions)
    refused = await _with_skipped(settings, refused, settings.topic(scores.name), fold.logs)
    return ReplayedInput(settings, fold.logs, refused, reached)


async def read_input_from_outside(settings: Settings) -> ReplayedInput:
    """Find out what is known of the input for a client that may not see the deployment's group: then the letters alone.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond.
    """
    try:
        return await read_input(settings)
    except GroupAuthorizationFailedError:
        fold, transactions = await read_fold(settings), settings.topic(TRANSACTIONS.name)
        refused = refused_by(await read_letters(settings, fold.term), {}, transactions)
        scores = settings.topic(own_scores(settings, fold.term).name)
        return ReplayedInput(settings, fold.logs, await _with_skipped(settings, refused, scores, fold.logs))


async def _when_coordinated(read: Callable[[], Awaitable[_T]]) -> _T:
    """Read what a group's coordinator has; one that is being chosen, as for a cluster's first group, is awaited."""
    for _ in range(_COORDINATOR_ATTEMPTS):
        try:
            return await read()
        except GroupCoordinatorNotAvailableError:
            await until_tick(_COORDINATOR_SECONDS)
    return await read()


async def _commits(
    settings: Settings, admin: AIOKafkaAdminClient, counts: Mapping[str, int]
) -> Mapping[TopicPartition, OffsetAndMetadata]:
    """Return the group's commits of all inputs, which have so many partitions."""
    topics = [settings.topic(one.name) for one in (TRANSACTIONS, LABELS, PREDICTIONS)]
    tps = [TopicPartition(topic, partition) for topic in topics for partition in range(counts.get(topic, 0))]
    return await committed_offsets(settings, admin, tps)


async def _with_skipped(settings: Settings, refused: RefusedOffsets, scores: str, logs: Logs) -> RefusedOffsets:
    """Add what operators let workers pass over, of whichever deployment, less what was decided before they did."""
    transactions = settings.topic(TRANSACTIONS.name)
    log = logs.last(transactions)
    partitions = sorted({partition for _, topic, partition in logs.skipped if topic == transactions})
    by_partition = {partition: logs.skipped_in(transactions, partition, log) for partition in partitions}
    skipped = {partition: offsets for partition, offsets in by_partition.items() if offsets}
    if not skipped:
        return refused
    found = dict(refused.offsets)
    for partition, offsets in (await undecided_on(settings, scores, log, skipped)).items():
        found[transactions, partition, log] = OffsetSet([*refused.of(transactions, partition, log), *offsets])
    return RefusedOffsets(found, refused.late)
