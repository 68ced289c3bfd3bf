"""List what the partitions of the input topics lost, as their workers find it: for the command that accepts it."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import UnknownTopicOrPartitionError

from features.redis.store import open_commit_notes
from models.judge import InputTopic
from models.logs import Logs
from models.terms import Term
from stream.control.client import read_fold
from stream.kafka.client import committed_offsets, missing_topic, open_admin
from stream.kafka.topics import LABELS, PREDICTIONS, TRANSACTIONS, own_scores, partition_counts
from stream.positions.commit_copies import CommitCopies, copies_of
from stream.positions.inputs import input_reader, input_states, partitions_of
from stream.positions.losses import (
    Loss,
    Progress,
    find_start,
    is_of_worker,
    place_of_labels,
    place_of_predictions,
    progress_of_transactions,
)
from stream.positions.score_tails import TailSources, tail_reader
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
    """Return what each partition of the input topics lost and no operator has accepted yet.

    Of predictions that is only what a commit that no worker has made would pass over.

    Raises:
        ControlLogError: the log of events has lost records.
        StoreError: some commits were not made by workers, and Redis does not answer.
        aiokafka.errors.KafkaError: the brokers do not respond, or a topic is missing.
    """
    fold = await read_fold(settings)
    async with open_admin(settings) as admin, open_commit_notes(settings.redis_url, settings.deployment) as notes:
        copies = CommitCopies(notes)
        tps = {one.name: await _partitions(admin, settings.topic(one.name)) for one in (TRANSACTIONS, LABELS)}
        await _partitions(admin, settings.topic(own_scores(settings, fold.term).name))
        predictions = settings.topic(PREDICTIONS.name)
        count = (await partition_counts(admin, settings)).get(predictions, 0)
        tps[PREDICTIONS.name] = partitions_of(predictions, range(count))
        before = await input_states(settings, admin, [tp for some in tps.values() for tp in some])
        payments = {tp: before[tp] for tp in tps[TRANSACTIONS.name]}
        others = {tp: state for tp, state in before.items() if tp not in payments}
        read = {
            **await _read_of_transactions(settings, admin, fold.term, payments, copies),
            **await _read_of_others(settings, admin, others, copies),
        }
    found = [one for tp, some in read.items() for one in _loss(settings, fold.logs, tp, *some)]
    return FoundLosses(found, {settings.topic(name): len(some) for name, some in tps.items() if some})


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


async def _states_around(
    settings: Settings, admin: AIOKafkaAdminClient, before: Mapping[TopicPartition, InputTopic]
) -> dict[TopicPartition, InputTopic]:
    """Return what partitions held from `before` until now: the progress that was read is of some time between.

    Workers go on while we look. Beside an end that was read before, what they have read since would seem to be cut off,
    and beside a beginning that was read afterwards, what they had read would seem to be removed.
    """
    after = await input_states(settings, admin, list(before))
    return {
        tp: now if now.topic_id != before[tp].topic_id else now._replace(begin=before[tp].begin)
        for tp, now in after.items()
    }


async def _read_of_transactions(
    settings: Settings,
    admin: AIOKafkaAdminClient,
    term: Term,
    before: Mapping[TopicPartition, InputTopic],
    copies: CommitCopies,
) -> dict[TopicPartition, tuple[InputTopic, Progress]]:
    """Return what its topic held and how far the deployment itself has read, published or silent, by partition."""
    numbers = [tp.partition for tp in before]
    async with (
        tail_reader(settings, admin, numbers, term, TailSources(copies)) as reader,
        input_reader(settings, admin, list(before)) as inputs,
    ):
        points = await reader.read_all()
        states = await _states_around(settings, admin, before)
        same = await asyncio.gather(
            *(
                inputs.is_same_record(reader.consumer, tp, state, points[tp.partition].position)
                for tp, state in states.items()
            )
        )
    return {
        tp: (state, progress_of_transactions(points[tp.partition], same_record=one))
        for (tp, state), one in zip(states.items(), same, strict=True)
    }


async def _read_of_others(
    settings: Settings, admin: AIOKafkaAdminClient, before: Mapping[TopicPartition, InputTopic], copies: CommitCopies
) -> dict[TopicPartition, tuple[InputTopic, Progress]]:
    """Return the same of labels, and of predictions where a commit that no worker has made is all that says it."""
    commits = await committed_offsets(settings, admin, list(before))
    states = await _states_around(settings, admin, before)
    moved = [
        tp for tp, commit in commits.items() if commit.offset >= 0 and not is_of_worker(commit, states[tp].topic_id)
    ]
    stored = await copies_of(copies, settings, moved) if moved else {}
    found = dict[TopicPartition, tuple[InputTopic, Progress]]()
    for tp, state in states.items():
        is_label = tp.topic == settings.topic(LABELS.name)
        place_of = place_of_labels if is_label else place_of_predictions
        progress = place_of(commits[tp], state.topic_id, stored.get(tp)).progress
        if is_label or progress.moved is not None:
            found[tp] = state, progress
    return found
