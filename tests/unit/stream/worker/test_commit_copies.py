"""Commits are copied to Redis once Kafka has accepted them; commits of labels that Kafka has no more are made again."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import RebalanceInProgressError
from aiokafka.structs import OffsetAndMetadata

from features.errors import StoreUnavailableError
from features.redis.progress import LogPart
from models.judge import InputTopic
from models.logs import Logs
from stream.kafka.batches import Commit
from stream.kafka.commit_copies import CommitCopy, parse_copy
from stream.kafka.losses import Start
from stream.settings import Settings
from stream.worker import losses
from stream.worker.commit_copies import CommitCopier, CommitCopies
from stream.worker.losses import InputLosses, LossesDeps

PAYMENTS, LABELS, COMMANDS = (TopicPartition(topic, 0) for topic in ("transactions", "labels", "model-control"))
GROUP = Settings().group
PAID, LABELLED = LogPart(of_labels=False, partition=0), LogPart(of_labels=True, partition=0)


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


def copier(notes: Any, consumer: Any) -> CommitCopier:
    return CommitCopier(Settings(), notes, lambda: consumer, {0: "id-scores"})


async def test_the_last_commits_of_all_partitions_are_copied_in_one_call_and_each_once() -> None:
    notes, consumer = Notes(), SimpleNamespace(uncopied={})
    copying = copier(notes, consumer)
    await copying.copy()
    assert notes.calls == 0
    consumer.uncopied |= {PAYMENTS: Commit(9, "note"), LABELS: Commit(4, "id-labels"), COMMANDS: Commit(2, "")}
    await copying.copy()
    await copying.copy()
    assert notes.calls == 1
    assert {part: parse_copy(note) for part, note in notes.stored.items()} == {
        PAID: CommitCopy(GROUP, 9, "note", "id-scores"),
        LABELLED: CommitCopy(GROUP, 4, "id-labels"),
    }


async def test_a_commit_that_redis_did_not_take_is_copied_later_unless_a_newer_one_was_made() -> None:
    notes, consumer = Notes(), SimpleNamespace(uncopied={PAYMENTS: Commit(9, "a"), LABELS: Commit(4, "b")})
    notes.away = True
    await copier(notes, consumer).copy()
    notes.away = False
    consumer.uncopied[PAYMENTS] = Commit(12, "c")
    await copier(notes, consumer).copy()
    assert parse_copy(notes.stored[PAID]) == CommitCopy(GROUP, 12, "c", "id-scores")
    assert parse_copy(notes.stored[LABELLED]) == CommitCopy(GROUP, 4, "b")


async def test_a_commit_that_is_made_during_the_call_is_copied_by_the_next() -> None:
    consumer = SimpleNamespace(uncopied={PAYMENTS: Commit(9, "a")})

    class Slow(Notes):
        async def write(self, notes: Mapping[LogPart, bytes]) -> None:
            await super().write(notes)
            consumer.uncopied[PAYMENTS] = Commit(12, "b")

    await copier(Slow(), consumer).copy()
    assert consumer.uncopied == {PAYMENTS: Commit(12, "b")}


async def test_copies_that_redis_does_not_give_are_none_for_transactions_and_an_error_for_labels() -> None:
    notes: Any = Notes({PAID: CommitCopy("g", 9, "a").encode(), LABELLED: b"damaged"})
    copies = CommitCopies(notes)
    assert await copies.of_transactions() == {0: CommitCopy("g", 9, "a")}
    assert await copies.of_labels() == {}
    notes.away = True
    assert await copies.of_transactions() == {}
    with pytest.raises(StoreUnavailableError):
        await copies.of_labels()


# --- labels


class Brokers:
    """Stands in for what Kafka says of a partition of labels, and takes commits."""

    def __init__(self, topic_id: str, *, accepts: bool = True) -> None:
        self.state = InputTopic(topic_id, 0, 90)
        self.committed: dict[TopicPartition, Commit] = {}
        self.rewound: dict[TopicPartition, int] = {}
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
) -> Start | tuple[str, int | None]:
    """Return where labels are read on whose commits Kafka has no more; `copy` is what Redis has."""

    async def states(*_: object) -> dict[TopicPartition, InputTopic]:
        return {LABELS: brokers.state}

    async def no_commits(*_: object) -> dict[TopicPartition, OffsetAndMetadata]:
        return {LABELS: OffsetAndMetadata(-1, "")}

    monkeypatch.setattr(losses, "input_states", states)
    monkeypatch.setattr(losses, "committed_offsets", no_commits)
    notes: Any = Notes({} if copy is None else {LABELLED: copy.encode()})
    follower: Any = SimpleNamespace(logs=Logs())
    unused: Any = None
    consumer: Any = brokers
    deps = LossesDeps(Settings(), follower, unused, unused, lambda: consumer, CommitCopies(notes), lambda _: None)
    found = InputLosses(deps)
    found._displaced |= displaced

    async def find() -> Start | tuple[str, int | None]:
        return await found._find_start(LABELS, (await found._look([LABELS]))[LABELS])

    return asyncio.run(find())


def test_labels_go_on_where_the_copy_of_the_lost_commit_says(monkeypatch: pytest.MonkeyPatch) -> None:
    brokers = Brokers("id-labels")
    assert find(monkeypatch, brokers, CommitCopy(GROUP, 40, "id-labels")) == Start(0, 40, 40)
    assert brokers.rewound == {LABELS: 40}
    assert brokers.committed == {LABELS: Commit(40, "id-labels")}


def test_labels_made_anew_while_no_worker_ran_are_told_of_and_the_commit_lets_the_command_find_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    brokers = Brokers("id-newer")
    found = find(monkeypatch, brokers, CommitCopy(GROUP, 40, "id-labels"))
    assert not isinstance(found, Start)
    why, lost = found
    assert "its topic was deleted and made anew" in why
    assert lost is None
    assert brokers.committed == {LABELS: Commit(40, "id-labels")}
    assert brokers.rewound == {}


@pytest.mark.parametrize("copy", [None, CommitCopy("other", 40, "id-labels"), CommitCopy(GROUP, 40, "")])
def test_labels_without_a_commit_and_a_copy_that_tells_their_topic_are_read_from_their_beginning(
    monkeypatch: pytest.MonkeyPatch, copy: CommitCopy | None
) -> None:
    brokers = Brokers("id-newer")
    assert find(monkeypatch, brokers, copy) == Start(0, 0)
    assert (brokers.committed, brokers.rewound) == ({}, {})


def test_a_consumer_that_stands_beyond_labels_made_anew_goes_to_their_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    brokers = Brokers("id-newer")
    assert find(monkeypatch, brokers, None, frozenset({LABELS})) == Start(0, 0)
    assert brokers.rewound == {LABELS: 0}


def test_labels_wait_while_the_coordinator_does_not_take_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RebalanceInProgressError):
        find(monkeypatch, Brokers("id-labels", accepts=False), CommitCopy(GROUP, 40, "id-labels"))
