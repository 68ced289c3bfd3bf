"""Commits are copied to Redis once Kafka has accepted them; commits of labels that Kafka has no more are made again."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, RebalanceInProgressError
from aiokafka.structs import OffsetAndMetadata

from features.errors import StoreUnavailableError
from features.redis.progress import LogPart
from models.judge import InputTopic
from models.logs import AcceptedLoss, Logs, TopicLogs
from stream.engine.batches import Commit
from stream.engine.transport import BatchConsumer
from stream.positions.commit_copies import CommitCopies, CommitCopy, parse_copy
from stream.positions.losses import Start
from stream.settings import Settings
from stream.worker import losses
from stream.worker.commit_copies import CommitCopier
from support.input_losses import losses_of

PAYMENTS, LABELS, COMMANDS = (TopicPartition(topic, 0) for topic in ("transactions", "labels", "model-control"))
PREDICTIONS, UNREAD = TopicPartition("predictions", 0), TopicPartition("transactions", 1)
GROUP = Settings().group
PAID, LABELLED = LogPart(of_labels=False, partition=0), LogPart(of_labels=True, partition=0)
PREDICTED = LogPart(of_labels=False, partition=0, of_predictions=True)
ID, NEWER_ID = (f"00000000-0000-0000-0000-00000000000{number}" for number in (1, 2))


class Notes:
    """Stands in for Redis; it is away while `away` is set."""

    def __init__(self, stored: Mapping[LogPart, bytes] | None = None) -> None:
        self.stored = dict(stored or {})
        self.away = False
        self.calls = 0

    async def write(self, notes: Mapping[LogPart, bytes]) -> None:
        self.require()
        self.calls += bool(notes)
        self.stored |= notes

    async def read(self) -> dict[LogPart, bytes]:
        self.require()
        return self.stored

    def require(self) -> None:
        if self.away:
            raise StoreUnavailableError("away")


class Consumer:
    """Stands in for the consumer of some partitions."""

    def __init__(self, *own: TopicPartition, uncopied: Mapping[TopicPartition, Commit] | None = None) -> None:
        self.uncopied = dict(uncopied or {})
        self.own = own

    def partitions(self, topic: str) -> list[int]:
        return [tp.partition for tp in self.own if tp.topic == topic]


class Kafka:
    """Stands in for the group's coordinator, and for the store's history epoch; it is away while `away` is set."""

    def __init__(self, commits: Mapping[TopicPartition, OffsetAndMetadata] | None = None) -> None:
        self.commits, self.asked, self.away, self.epoch = dict(commits or {}), list[TopicPartition](), False, 1

    async def read(self, tps: list[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata]:
        if self.away:
            raise KafkaConnectionError("away")
        self.asked += tps
        return {tp: self.commits.get(tp, OffsetAndMetadata(-1, "")) for tp in tps}


def copier(notes: Any, consumer: Any, kafka: Kafka | None = None) -> CommitCopier:
    kafka = kafka or Kafka()
    return CommitCopier(
        settings=Settings(),
        notes=notes,
        consumer=lambda: consumer,
        scores_ids={0: "id-scores"},
        commits=kafka.read,
        history_epoch=lambda: kafka.epoch,
    )


async def test_the_last_commits_of_all_partitions_are_copied_in_one_call_and_each_once() -> None:
    notes, consumer = Notes(), Consumer()
    copying = copier(notes, consumer)
    await copying.copy()
    assert notes.calls == 0
    consumer.uncopied |= {PAYMENTS: Commit(9, "note"), LABELS: Commit(4, "id-labels"), COMMANDS: Commit(2, "")}
    consumer.uncopied[PREDICTIONS] = Commit(7, "id-predictions")
    await copying.copy()
    await copying.copy()
    assert notes.calls == 1
    assert {part: parse_copy(note) for part, note in notes.stored.items()} == {
        PAID: CommitCopy(GROUP, 9, "note", "id-scores"),
        LABELLED: CommitCopy(GROUP, 4, "id-labels"),
        PREDICTED: CommitCopy(GROUP, 7, "id-predictions"),
    }


async def test_a_commit_that_redis_did_not_take_is_copied_later_unless_a_newer_one_was_made() -> None:
    notes, consumer = Notes(), Consumer(uncopied={PAYMENTS: Commit(9, "a"), LABELS: Commit(4, "b")})
    notes.away = True
    await copier(notes, consumer).copy()
    notes.away = False
    consumer.uncopied[PAYMENTS] = Commit(12, "c")
    await copier(notes, consumer).copy()
    assert parse_copy(notes.stored[PAID]) == CommitCopy(GROUP, 12, "c", "id-scores")
    assert parse_copy(notes.stored[LABELLED]) == CommitCopy(GROUP, 4, "b")


async def test_a_commit_that_is_made_during_the_call_is_copied_by_the_next() -> None:
    consumer = Consumer(uncopied={PAYMENTS: Commit(9, "a")})

    class Slow(Notes):
        async def write(self, notes: Mapping[LogPart, bytes]) -> None:
            await super().write(notes)
            consumer.uncopied[PAYMENTS] = Commit(12, "b")

    await copier(Slow(), consumer).copy()
    assert consumer.uncopied == {PAYMENTS: Commit(12, "b")}


async def test_what_redis_has_lost_and_what_comes_from_another_worker_is_copied_again_from_kafka() -> None:
    notes, consumer = Notes(), Consumer(PAYMENTS, LABELS, uncopied={PAYMENTS: Commit(9, "note")})
    moved_by_a_tool = OffsetAndMetadata(30, "")
    kafka = Kafka(
        {PAYMENTS: OffsetAndMetadata(8, "older"), LABELS: OffsetAndMetadata(4, ID), PREDICTIONS: moved_by_a_tool}
    )
    copying = copier(notes, consumer, kafka)
    kafka.away = True
    await copying.copy()
    assert (notes.calls, consumer.uncopied) == (0, {PAYMENTS: Commit(9, "note")})
    kafka.away = False
    both = {PAID: CommitCopy(GROUP, 9, "note", "id-scores"), LABELLED: CommitCopy(GROUP, 4, ID)}
    for _ in range(2):
        await copying.copy()
        assert ({part: parse_copy(note) for part, note in notes.stored.items()}, kafka.asked) == (both, [LABELS])
    notes.stored.clear()
    kafka.epoch += 1
    kafka.commits[PAYMENTS] = OffsetAndMetadata(9, "note")
    consumer.own = (PAYMENTS, UNREAD, LABELS, PREDICTIONS)
    for _ in range(2):
        await copying.copy()
        assert {part: parse_copy(note) for part, note in notes.stored.items()} == both
        assert kafka.asked == [LABELS, PAYMENTS, LABELS, PREDICTIONS]
    consumer.own = (PAYMENTS,)
    await copying.copy()
    consumer.own = (PAYMENTS, LABELS)
    await copying.copy()
    assert kafka.asked[4:] == [LABELS], "another worker may have owned it meanwhile"


# --- labels and predictions


class Brokers:
    """Stands in for what Kafka says of a partition, and takes commits."""

    def __init__(self, topic_id: str, *, accepts: bool = True) -> None:
        self.state = InputTopic(topic_id, 0, 90)
        self.committed: dict[TopicPartition, Commit] = {}
        self.rewound: dict[TopicPartition, int] = {}
        self.note = ""
        self._accepts = accepts

    async def commit_now(self, tp: TopicPartition, commit: Commit) -> bool:
        if self._accepts:
            self.committed[tp] = commit
        return self._accepts

    async def rewind(self, tp: TopicPartition, offset: int) -> None:
        self.rewound[tp] = offset


def find(
    monkeypatch: pytest.MonkeyPatch,
    brokers: Brokers,
    copy: CommitCopy | None,
    displaced: frozenset[TopicPartition] = frozenset(),
    *,
    tp: TopicPartition = LABELS,
    made: OffsetAndMetadata = OffsetAndMetadata(-1, ""),  # noqa: B008 - frozen
    logs: Logs = Logs(),  # noqa: B008 - frozen
) -> Start | tuple[str, int | None]:
    """Return where a partition is read on of which Kafka has the commit `made`; `copy` is what Redis has."""

    async def states(*_: object) -> dict[TopicPartition, InputTopic]:
        return {tp: brokers.state}

    async def commits(*_: object) -> dict[TopicPartition, OffsetAndMetadata]:
        return {tp: made}

    monkeypatch.setattr(losses, "input_states", states)
    monkeypatch.setattr(losses, "committed_offsets", commits)
    notes: Any = Notes({} if copy is None else {LABELLED if tp == LABELS else PREDICTED: copy.encode()})
    follower: Any = SimpleNamespace(logs=logs)
    consumer: Any = brokers
    found = losses_of(follower, consumer, copies=CommitCopies(notes))
    found._displaced |= displaced

    async def find() -> Start | tuple[str, int | None]:
        return await found._find_start(tp, (await found._look([tp]))[tp])

    started = asyncio.run(find())
    brokers.note = found.label_note(0) or found.prediction_note(0)
    return started


def test_labels_go_on_where_the_copy_of_the_lost_commit_says(monkeypatch: pytest.MonkeyPatch) -> None:
    brokers = Brokers(ID)
    assert find(monkeypatch, brokers, CommitCopy(GROUP, 40, ID)) == Start(0, 40, 40)
    assert brokers.rewound == {LABELS: 40}
    assert brokers.committed == {LABELS: Commit(40, ID)}


def test_labels_made_anew_while_no_worker_ran_are_told_of_and_the_commit_lets_the_command_find_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    brokers = Brokers(NEWER_ID)
    found = find(monkeypatch, brokers, CommitCopy(GROUP, 40, ID))
    assert not isinstance(found, Start)
    why, lost = found
    assert "its topic was deleted and made anew" in why
    assert lost is None
    assert brokers.committed == {LABELS: Commit(40, ID)}
    assert brokers.rewound == {}


@pytest.mark.parametrize("copy", [None, CommitCopy("other", 40, ID), CommitCopy(GROUP, 40, "")])
def test_labels_without_a_commit_and_a_copy_that_tells_their_topic_are_read_from_their_beginning(
    monkeypatch: pytest.MonkeyPatch, copy: CommitCopy | None
) -> None:
    brokers = Brokers(NEWER_ID)
    assert find(monkeypatch, brokers, copy) == Start(0, 0)
    assert (brokers.committed, brokers.rewound) == ({}, {})


def test_labels_wait_while_the_coordinator_does_not_take_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RebalanceInProgressError):
        find(monkeypatch, Brokers(ID, accepts=False), CommitCopy(GROUP, 40, ID))


MOVED = OffsetAndMetadata(70, "")


@pytest.mark.parametrize("tp", [LABELS, PREDICTIONS])
def test_a_commit_that_no_worker_has_made_is_replaced_by_the_copy_of_the_last_one_that_did(
    monkeypatch: pytest.MonkeyPatch, tp: TopicPartition
) -> None:
    for made in (MOVED, OffsetAndMetadata(0, "")):
        brokers = Brokers(ID)
        assert find(monkeypatch, brokers, CommitCopy(GROUP, 40, ID), tp=tp, made=made) == Start(0, 40, 40)
        assert (brokers.rewound, brokers.committed, brokers.note) == ({tp: 40}, {tp: Commit(40, ID)}, ID)


def test_labels_whose_commit_was_moved_wait_without_a_copy_and_go_on_where_that_is_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    brokers = Brokers(ID)
    found = find(monkeypatch, brokers, None, made=MOVED)
    assert not isinstance(found, Start)
    assert found[0].startswith(
        "its commit was moved to offset 70, by no worker: at most 70 records from offset 0 to 69"
    )
    assert (found[1], brokers.rewound, brokers.committed) == (70, {}, {})
    topics = MappingProxyType({"labels": TopicLogs(MappingProxyType({ID: 0}))})
    accepted = MappingProxyType({("default", "labels", 0): AcceptedLoss(0, 70, 0)})
    assert find(monkeypatch, brokers, None, made=MOVED, logs=Logs(topics, accepted)) == Start(0, 70)
    assert (brokers.rewound, brokers.committed) == ({}, {LABELS: Commit(70, ID)})


def test_predictions_of_the_version_before_go_on_at_their_commit_which_gets_a_note_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    brokers = Brokers(ID)
    assert find(monkeypatch, brokers, None, tp=PREDICTIONS, made=MOVED) == Start(0, 70, 70)
    assert (brokers.rewound, brokers.committed, brokers.note) == ({}, {PREDICTIONS: Commit(70, ID)}, ID)


def test_predictions_that_kafka_no_longer_has_hold_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    brokers = Brokers(ID)
    brokers.state = InputTopic(ID, 60, 90)
    assert find(monkeypatch, brokers, None, tp=PREDICTIONS, made=OffsetAndMetadata(40, ID)) == Start(0, 40, 40)
    assert (brokers.rewound, brokers.committed) == ({}, {})
    assert find(monkeypatch, brokers, CommitCopy(GROUP, 40, NEWER_ID), tp=PREDICTIONS) == Start(0, 60)
    assert (brokers.rewound, brokers.committed) == ({}, {})


async def test_labels_that_wait_between_the_commit_of_the_copy_and_their_start_are_read_from_it_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The consumer stands where the commit was moved to, until it is told to go back."""
    brokers, known = Brokers(ID), asyncio.Event()
    note = f"{ID}@1"

    async def states(*_: object) -> dict[TopicPartition, InputTopic]:
        return {LABELS: brokers.state}

    async def commits(*_: object) -> dict[TopicPartition, OffsetAndMetadata]:
        made = brokers.committed.get(LABELS)
        return {LABELS: MOVED if made is None else OffsetAndMetadata(made.offset, made.metadata)}

    async def wait_for_change(_seconds: float) -> None:
        await known.wait()

    monkeypatch.setattr(losses, "input_states", states)
    monkeypatch.setattr(losses, "committed_offsets", commits)
    follower: Any = SimpleNamespace(logs=Logs(), wait_for_change=wait_for_change)
    notes: Any = Notes({LABELLED: CommitCopy(GROUP, 40, note).encode()})
    consumer = cast("BatchConsumer", brokers)
    checked = losses_of(follower, consumer, copies=CommitCopies(notes))
    checked.assigned([LABELS])
    for _ in range(20):
        await asyncio.sleep(0)
    assert checked.reasons() == ["labels partition 0: it was read in log 1, which is not known here yet"]
    follower.logs = Logs({"labels": TopicLogs({ID: 1}, 1)})
    known.set()
    for _ in range(20):
        await asyncio.sleep(0)
    assert LABELS not in checked.held
    assert (brokers.rewound, brokers.committed) == ({LABELS: 40}, {LABELS: Commit(40, note)})
