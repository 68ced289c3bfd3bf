"""List what the partitions of the input topics lost, as their workers find it: for the command that accepts it."""

import asyncio
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import UnknownTopicOrPartitionError

from models.judge import InputTopic
from models.logs import Logs
from models.terms import Term
from stream.control.client import read_fold
from stream.kafka.client import missing_topic, open_admin
from stream.kafka.inputs import input_reader, input_states, partitions_of
from stream.kafka.losses import Loss, Progress, find_start, progress_of_labels
from stream.kafka.offsets import committed_offsets
from stream.kafka.score_tails import tail_reader
from stream.kafka.topics import LABELS, TRANSACTIONS, own_scores
from stream.settings import Settings


class PartitionLoss(NamedTuple):
    """What one partition lost."""

    topic: str
    partition: int
    loss: Loss


class FoundLosses(NamedTuple):
    """What is lost and not accepted; `partitions` is how many partitions each topic has that workers read."""

    losses: list[PartitionLoss]
    partitions: dict[str, int]


async def read_losses(settings: Settings) -> FoundLosses:
    """Return what each partition of transactions and labels lost and no operator has accepted yet.

    Raises:
        ControlLogError: the log of events has lost records.
        aiokafka.errors.KafkaError: the brokers do not respond, or a topic is missing.
    """
    fold = await read_fold(settings)
    async with open_admin(settings) as admin:
        tps = {one.name: await _partitions(admin, settings.topic(one.name)) for one in (TRANSACTIONS, LABELS)}
        await _partitions(admin, settings.topic(own_scores(settings, fold.term).name))
        states = await input_states(settings, admin, [tp for some in tps.values() for tp in some])
        progress = {
            **await _progress_of_transactions(
                settings, admin, fold.term, {tp: states[tp] for tp in tps[TRANSACTIONS.name]}
            ),
            **await _progress_of_labels(settings, admin, tps[LABELS.name]),
        }
    found = [one for tp in progress for one in _loss(settings, fold.logs, tp, states[tp], progress[tp])]
    return FoundLosses(found, {settings.topic(name): len(some) for name, some in tps.items()})


def _loss(
    settings: Settings, logs: Logs, tp: TopicPartition, state: InputTopic, progress: Progress
) -> list[PartitionLoss]:
    found = find_start(logs, (settings.deployment, tp.topic, tp.partition), state, progress)
    return [PartitionLoss(tp.topic, tp.partition, found)] if isinstance(found, Loss) else []


async def _partitions(admin: AIOKafkaAdminClient, topic: str) -> list[TopicPartition]:
    (described,) = await admin.describe_topics([topic])
    if described["error_code"]:
        raise UnknownTopicOrPartitionError(missing_topic(topic))
    return partitions_of(topic, sorted(one["partition"] for one in described["partitions"]))


async def _progress_of_transactions(
    settings: Settings, admin: AIOKafkaAdminClient, term: Term, states: dict[TopicPartition, InputTopic]
) -> dict[TopicPartition, Progress]:
    """Return how far the deployment itself has read, whether it publishes or decides silently."""
    async with (
        tail_reader(settings, admin, [tp.partition for tp in states], term) as reader,
        input_reader(settings, admin, list(states)) as inputs,
    ):
        points = await reader.read_all()
        same = await asyncio.gather(
            *(
                inputs.is_same_record(reader.consumer, tp, state, points[tp.partition].position)
                for tp, state in states.items()
            )
        )
    return {
        tp: Progress(point.committed, at.standing.last_place, at.topic_id, one, at.log)
        for tp, one in zip(states, same, strict=True)
        for point, at in ((points[tp.partition], points[tp.partition].position),)
    }


async def _progress_of_labels(
    settings: Settings, admin: AIOKafkaAdminClient, tps: list[TopicPartition]
) -> dict[TopicPartition, Progress]:
    commits = await committed_offsets(settings, admin, tps)
    return {tp: progress_of_labels(commits[tp].offset, commits[tp].metadata or "") for tp in tps}
