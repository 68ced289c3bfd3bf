"""Where partitions begin: at their commits, with what is valid there; where records are gone, behind them."""

import logging
from collections.abc import Mapping
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError
from aiokafka.structs import OffsetAndMetadata

from fraudstream.ops.watch.explanations import reader as module
from fraudstream.ops.watch.explanations.alerts import ReadProgress
from fraudstream.ops.watch.explanations.reader import AlertReader, CommitBefore, Membership
from fraudstream_client.validity import Standing
from stream.engine.unpacking import FetchedRecord
from stream.kafka.topic_ids import TopicState
from stream.scan import EARLIER_SCORES
from stream.settings import Settings
from support.explanations.alerts import record, scored

TP, OTHER = TopicPartition("scores", 0), TopicPartition("scores", 1)
STANDING = Standing(4, 77)


class Queues:
    """Of the fetcher: the partitions whose next offset does not exist."""

    def __init__(self) -> None:
        self.out_of_range: dict[TopicPartition, int] = {}


class Consumer:
    """A consumer over some records, in the place of Kafka's."""

    def __init__(self, ranges: Mapping[TopicPartition, tuple[int, int]]) -> None:
        self.ranges = dict(ranges)
        self.sought: dict[TopicPartition, int] = {}
        self.records: dict[TopicPartition, list[FetchedRecord]] = {}
        self.queues = Queues()
        self.commits: list[Any] = []
        self.ends: dict[TopicPartition, tuple[int, int]] = {}
        self.passed_over: list[Any] = []

    @property
    def fetcher(self) -> "Consumer":
        return self

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.ranges[tp][0] for tp in tps}

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.ranges[tp][1] for tp in tps}

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.sought[tp] = offset

    async def position(self, tp: TopicPartition) -> int:
        return self.sought[tp]

    async def getmany(self, *tps: TopicPartition, **_: Any) -> dict[TopicPartition, list[FetchedRecord]]:
        found = {}
        for tp in tps:
            if some := [one for one in self.records.get(tp, ()) if one.offset >= self.sought[tp]]:
                found[tp], self.sought[tp] = some, some[-1].offset + 1
        return found

    async def commit(self, offsets: Any) -> None:
        self.commits.append(offsets)


class World:
    """A reader with what the brokers would tell it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, since_ms: int | None = None, first: int = 0) -> None:
        self.consumer = Consumer({TP: (0, 10_000), OTHER: (0, 0)})
        self.commit = OffsetAndMetadata(-1, "")
        self.topic_id = "id"
        self.done: dict[int, ReadProgress] = {}
        self.reader = AlertReader(Settings(), since_ms, lambda: self.done)
        self.reader._consumer = self.consumer  # type: ignore[assignment]
        self.reader._admin = None  # type: ignore[assignment]

        async def states(*_: Any) -> dict[str, TopicState]:
            return {"scores": TopicState(self.topic_id, 2)}

        async def commits(settings: Settings, _admin: Any, tps: list[TopicPartition]) -> Any:
            assert settings.group == "fraudstream-default-explanations"
            return dict.fromkeys(tps, OffsetAndMetadata(-1, "")) | {TP: self.commit}

        async def firsts(_consumer: Any, tps: list[TopicPartition], _since_ms: int) -> dict[TopicPartition, int]:
            return dict.fromkeys(tps, first)

        monkeypatch.setattr(module, "topic_states", states)
        monkeypatch.setattr(module, "committed_offsets", commits)
        monkeypatch.setattr(module, "first_offsets", firsts)

    async def assigned(self, *tps: TopicPartition) -> AlertReader:
        self.reader.membership.on_partitions_assigned(tps)
        await self.reader.fetch(0, ())
        return self.reader


async def test_what_is_explained_is_committed_before_others_may_get_the_partitions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    world.done = {TP.partition: ReadProgress(40, STANDING)}
    reader = await world.assigned(TP)
    await reader.listener.on_partitions_revoked([TP])
    (commits,) = world.consumer.commits
    assert commits[TP].offset == 40
    assert (reader.membership.own, reader.is_settled) == (frozenset(), False)


async def test_partitions_are_given_up_where_the_coordinator_does_not_take_the_commit() -> None:
    async def away() -> None:
        raise KafkaTimeoutError

    membership = Membership()
    listener = CommitBefore(away, membership)
    listener.on_partitions_assigned([TP])
    assert membership.own == {TP}
    await listener.on_partitions_revoked([TP])
    assert (membership.own, membership.number) == (frozenset(), 2)


async def test_without_a_commit_it_begins_with_the_oldest_score(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.consumer.ranges[TP] = (300, 10_000)
    reader = await world.assigned(TP, OTHER)
    assert world.consumer.sought == {TP: 300, OTHER: 0}
    assert (reader.lost, reader.lag) == (0, 9_700)


async def test_since_a_time_it_reads_earlier_scores_for_their_validity_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, since_ms=1, first=5_000)
    reader = await world.assigned(TP)
    assert world.consumer.sought == {TP: 5_000 - EARLIER_SCORES}
    assert reader._reading[TP].first == 5_000


async def test_it_goes_on_at_its_commit_with_the_standing_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, since_ms=1, first=9_000)
    world.commit = OffsetAndMetadata(6_000, ReadProgress(6_000, STANDING).note("id"))
    reader = await world.assigned(TP)
    assert world.consumer.sought == {TP: 6_000}
    assert reader._reading[TP].progress == ReadProgress(6_000, STANDING)


async def test_at_a_commit_without_a_standing_earlier_scores_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.commit = OffsetAndMetadata(6_000, "by hand")
    reader = await world.assigned(TP)
    assert world.consumer.sought == {TP: 6_000 - EARLIER_SCORES}
    assert reader._reading[TP].first == 6_000


async def test_scores_that_are_gone_are_counted_and_the_rest_is_explained(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(monkeypatch)
    world.consumer.ranges[TP] = (6_100, 10_000)
    world.commit = OffsetAndMetadata(6_000, ReadProgress(6_000, STANDING).note("id"))
    reader = await world.assigned(TP)
    assert world.consumer.sought == {TP: 6_100}
    assert reader._reading[TP].progress.standing == STANDING
    assert reader.lost == 100
    assert "scores partition 0: at most 100 scores from offset 6000 on were removed" in caplog.text


@pytest.mark.parametrize(("offset", "topic_id"), [(6_000, "another"), (10_001, "id")])
async def test_a_topic_that_was_made_anew_is_explained_from_its_beginning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, offset: int, topic_id: str
) -> None:
    world = World(monkeypatch)
    world.topic_id = topic_id
    world.commit = OffsetAndMetadata(offset, ReadProgress(offset, STANDING).note("id"))
    with caplog.at_level(logging.WARNING):
        reader = await world.assigned(TP)
    assert world.consumer.sought == {TP: 0}
    assert reader._reading[TP].progress == ReadProgress(0)
    assert "scores was made anew; partition 0 is explained from its beginning" in caplog.text


async def test_records_that_are_removed_while_it_reads_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    reader = await world.assigned(TP)
    world.consumer.ranges[TP] = (50, 10_000)
    world.consumer.queues.out_of_range = {TP: 0}
    await reader.fetch(0, ())
    assert world.consumer.sought == {TP: 50}
    assert reader.lost == 50


async def test_it_commits_the_standing_and_nothing_once_the_group_has_rebalanced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    reader = await world.assigned(TP)
    progress = ReadProgress(6_000, STANDING)
    await reader.commit({0: progress})
    assert world.consumer.commits == [{TP: OffsetAndMetadata(6_000, progress.note("id"))}]
    reader.membership.on_partitions_revoked([TP])
    await reader.commit({0: progress})
    assert len(world.consumer.commits) == 1


@pytest.mark.parametrize("commit", [OffsetAndMetadata(-1, ""), OffsetAndMetadata(5_000, "by hand")])
async def test_it_commits_nothing_of_the_scores_that_it_reads_for_their_validity_alone(
    monkeypatch: pytest.MonkeyPatch, commit: OffsetAndMetadata
) -> None:
    world = World(monkeypatch, since_ms=1, first=5_000)
    world.commit = commit
    reader = await world.assigned(TP)
    await reader.commit({0: ReadProgress(4_999, STANDING)})
    assert world.consumer.commits == []
    await reader.commit({0: ReadProgress(5_000, STANDING)})
    assert [commits[TP].offset for commits in world.consumer.commits] == [5_000]


async def test_an_alert_that_cannot_be_read_is_counted_and_named_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(monkeypatch)
    world.consumer.ranges[TP] = (0, 4)
    world.consumer.records[TP] = [record(scored(None, at), at) for at in range(4)]
    for at in (1, 2):
        value = world.consumer.records[TP][at].value or b""
        world.consumer.records[TP][at].value = value.replace(b'"transaction_id"', b'"id"')
    world.reader.membership.on_partitions_assigned([TP])
    await world.reader.look_ahead()
    (part,) = (await world.reader.fetch(0, ())).values()
    await world.reader.fetch(0, ())
    assert [alert.before.offset for alert in part.alerts] == [0, 3]
    assert part.after.offset == 4
    assert world.reader.unreadable == 2
    said = "scores partition 0: 2 records cannot be read and are not explained, the first at offset 1"
    assert [one.getMessage() for one in caplog.records if one.levelname == "WARNING"] == [said]


async def test_what_is_looked_at_ahead_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.consumer.ranges[TP] = (0, 3)
    world.consumer.records[TP] = [record(scored(None, at), at) for at in range(3)]
    world.reader.membership.on_partitions_assigned([TP])
    assert [one.source.offset for one in await world.reader.look_ahead()] == [0, 1, 2]
    (part,) = (await world.reader.fetch(0, ())).values()
    assert [alert.before.offset for alert in part.alerts] == [0, 1, 2]
    assert await world.reader.fetch(0, ()) == {}
