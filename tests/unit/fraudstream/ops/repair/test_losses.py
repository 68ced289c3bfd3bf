"""The command that accepts losses finds those of its own deployment, and takes no name that no worker reads."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata
from click.testing import CliRunner

from features.errors import StoreUnavailableError
from features.redis.progress import LogPart
from fraudstream.cli import topics_loss
from fraudstream.cli.main import main
from fraudstream.ops.repair import losses
from fraudstream.ops.repair.losses import read_losses
from fraudstream_client.validity import Standing
from models.event_log import EventFold
from models.judge import InputTopic
from models.terms import Term
from stream.kafka import client
from stream.kafka.topics import own_scores
from stream.positions.commit_copies import CommitCopy
from stream.positions.offsets import Position, ResumePoint, topic_note
from stream.settings import Settings

PAYMENTS = TopicPartition("transactions", 0)


class Brokers:
    """Stands in for Kafka: `blue` has decided up to offset 99, `green` silently up to 9; the topic begins at 50."""

    def __init__(self, **_: object) -> None: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        return [{"error_code": 0, "partitions": [{"partition": 0}, {"partition": 1}]} for _ in names]


async def fold(settings: Settings) -> EventFold:
    found = EventFold(settings.deployment)
    found.term = Term(0, "blue")
    return found


async def states(_settings: Settings, _admin: object, tps: list[TopicPartition]) -> dict[TopicPartition, InputTopic]:
    return {tp: InputTopic("id", 50 if tp == PAYMENTS else 0, 120) for tp in tps}


@asynccontextmanager
async def tails(
    settings: Settings, _admin: object, partitions: list[int], term: Term, _sources: object
) -> AsyncIterator[Any]:
    async def read_all() -> dict[int, ResumePoint]:
        last = {"scores": 99, "scores-green": 9}[own_scores(settings, term).name]
        return {one: ResumePoint(10, Position(Standing(1, last), topic_id="id")) for one in partitions}

    yield SimpleNamespace(read_all=read_all, consumer=None)


@asynccontextmanager
async def inputs(*_: object) -> AsyncIterator[Any]:
    async def same(*_: object) -> None: ...

    yield SimpleNamespace(is_same_record=same)


async def commits(_settings: Settings, _admin: object, tps: list[TopicPartition]) -> dict[TopicPartition, Any]:
    return dict.fromkeys(tps, OffsetAndMetadata(-1, ""))


async def counts(*_: object) -> dict[str, int]:
    return {"predictions": 1}


ID = "00000000-0000-0000-0000-000000000001"


class Notes:
    """Stands in for the copies of commits in Redis."""

    def __init__(self) -> None:
        self.stored: dict[LogPart, bytes] = {}
        self.away = False

    async def read(self) -> dict[LogPart, bytes]:
        if self.away:
            raise StoreUnavailableError("away")
        return self.stored


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Notes:
    """Return the copies; every commit of labels and predictions is at 30 and of no worker."""
    found = Notes()

    @asynccontextmanager
    async def opened(*_: object) -> AsyncIterator[Notes]:
        yield found

    async def moved(_settings: Settings, _admin: object, tps: list[TopicPartition]) -> dict[TopicPartition, Any]:
        metadata = {"labels": "", "predictions": "moved by ann"}
        return {tp: OffsetAndMetadata(30, metadata[tp.topic]) for tp in tps}

    monkeypatch.setattr(losses, "open_commit_notes", opened)
    monkeypatch.setattr(losses, "committed_offsets", moved)
    return found


@pytest.fixture(autouse=True)
def _brokers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "read_fold": fold,
        "input_states": states,
        "tail_reader": tails,
        "input_reader": inputs,
        "committed_offsets": commits,
        "partition_counts": counts,
    }.items():
        monkeypatch.setattr(losses, name, value)
    monkeypatch.setattr(client, "AIOKafkaAdminClient", Brokers)


async def test_a_deployment_finds_what_it_lost_itself_whether_it_publishes_or_decides_silently() -> None:
    (lost,) = (await read_losses(Settings(deployment="green"))).losses
    assert (lost.topic, lost.partition) == PAYMENTS
    assert (lost.loss.log, lost.loss.up_to, lost.loss.lost) == (0, 50, 40)
    assert (await read_losses(Settings(deployment="blue"))).losses == []


async def test_what_running_workers_read_while_we_look_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ends are those of before at first; then payments and labels come, and are decided and committed."""
    looks = 0

    async def growing(_settings: Settings, _admin: object, tps: list[TopicPartition]) -> dict[TopicPartition, Any]:
        nonlocal looks
        looks += 1
        found = (0, 25) if looks == 1 else (12, 120)
        return {tp: InputTopic("id" if tp.topic == PAYMENTS.topic else ID, *found) for tp in tps}

    async def committed(_settings: Settings, _admin: object, tps: list[TopicPartition]) -> dict[TopicPartition, Any]:
        return dict.fromkeys(tps, OffsetAndMetadata(80, topic_note(ID, 0)))

    monkeypatch.setattr(losses, "input_states", growing)
    monkeypatch.setattr(losses, "committed_offsets", committed)
    assert (await read_losses(Settings(deployment="blue"))).losses == []
    assert looks == 3


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--topic", "transaction"), "workers read: labels, predictions, transactions"),
        (("--topic", "transactions", "--partition", "2"), "transactions has no partition 2, but those from 0 to 1"),
        (("--partition", "7"), "no topic has a partition 7"),
    ],
)
def test_a_topic_or_partition_that_no_worker_reads_is_refused(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], why: str
) -> None:
    monkeypatch.setattr(topics_loss, "settings_or_refuse", lambda: Settings(deployment="green"))
    done = CliRunner().invoke(main, ["topics", "accept-loss", "--dry-run", *arguments])
    assert done.exit_code == 2
    assert why in " ".join(done.output.split())


def test_a_topic_that_workers_read_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics_loss, "settings_or_refuse", lambda: Settings(deployment="green"))
    for arguments, said in ((("--topic", "labels"), "no partition has lost"), (("--partition", "0"), "at most 40")):
        done = CliRunner().invoke(main, ["topics", "accept-loss", "--dry-run", *arguments])
        assert done.exit_code == 0
        assert said in done.output


async def test_labels_and_predictions_whose_commits_were_moved_are_listed_unless_copies_say_what_was_read(
    notes: Notes,
) -> None:
    settings = Settings(deployment="blue")
    found = (await read_losses(settings)).losses
    assert [(one.topic, one.partition, one.loss[:3], one.loss.first) for one in found] == [
        ("labels", 0, (0, 30, 30), 0),
        ("labels", 1, (0, 30, 30), 0),
        ("predictions", 0, (0, 30, 30), 0),
    ]
    notes.stored[LogPart(of_labels=True, partition=1)] = CommitCopy(settings.group, 10, ID).encode()
    assert [(one.topic, one.partition) for one in (await read_losses(settings)).losses] == [
        ("labels", 0),
        ("labels", 1),  # it was read in another topic
        ("predictions", 0),
    ]


def test_while_redis_is_away_no_loss_is_listed_that_a_copy_may_disprove(
    monkeypatch: pytest.MonkeyPatch, notes: Notes
) -> None:
    notes.away = True
    monkeypatch.setattr(topics_loss, "settings_or_refuse", lambda: Settings(deployment="blue"))
    done = CliRunner().invoke(main, ["topics", "accept-loss", "--dry-run"])
    assert done.exit_code == 1
    assert "a commit was made by no worker, and the copy of the last one cannot be read" in done.output
