"""A silent deployment follows the published scores of its own partitions, through every rebalance."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from fraudstream_client.validity import place_of
from models.terms import Term
from models.worker_records import WorkerRecord, WorkerRecords
from stream.engine.unpacking import FetchedRecord
from stream.settings import Settings
from stream.worker import role
from stream.worker.role import PublishedScores
from support.control_events import event
from support.known_letters import KnownLetters

SCORES = 3


def score(tp: TopicPartition, offset: int) -> FetchedRecord:
    source = {"topic": "transactions", "partition": tp.partition, "offset": offset, "log": 0}
    fields = {"epoch": 1, "revision": 1, "card_id": "c", "transaction_id": f"t-{offset}", "source": source}
    return FetchedRecord(tp.topic, tp.partition, offset, 0, 0, b"c", msgspec.json.encode(fields), ())


async def no_commits(_group: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata]:
    return dict.fromkeys(partitions, OffsetAndMetadata(-1, ""))


class Scores:
    """A consumer of partitions with `SCORES` scores each; `asked` and `may_answer` hold its fetches up.

    Behind the scores are `markers` of transactions.
    """

    def __init__(self, markers: int = 0) -> None:
        self._end, self._at = SCORES + markers, 0
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()
        self._tps: Sequence[TopicPartition] = ()
        self._paused: set[TopicPartition] = set()

    async def start(self) -> None: ...
    async def stop(self) -> None: ...

    def seek(self, *_: object) -> None: ...

    def assign(self, tps: Sequence[TopicPartition]) -> None:
        self._tps = tps

    def pause(self, *tps: TopicPartition) -> None:
        self._paused |= set(tps)

    def resume(self, tp: TopicPartition) -> None:
        self._paused.remove(tp)

    async def beginning_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 0)

    async def end_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, self._end)

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self._tps)

    async def position(self, _tp: TopicPartition) -> int:
        return self._at

    async def getmany(self, *_: object, **__: object) -> dict[TopicPartition, list[FetchedRecord]]:
        self.asked.set()
        await self.may_answer.wait()
        await asyncio.sleep(0)
        self._at = self._end
        return {tp: [score(tp, offset) for offset in range(SCORES)] for tp in self._tps if tp not in self._paused}


async def test_a_rebalance_during_a_fetch_of_the_published_scores_follows_the_new_partitions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(role, "_POLL_SECONDS", 0.001)
    consumers = [Scores(), Scores()]
    opened = iter(consumers)
    monkeypatch.setattr(role, "open_consumer", lambda *_, **__: next(opened))
    monkeypatch.setattr(role, "LettersTail", lambda *_, **__: KnownLetters())
    follower: Any = SimpleNamespace(term=Term(1, "blue"), workers=WorkerRecords())
    commits: Any = SimpleNamespace(list_consumer_group_offsets=no_commits)
    published = PublishedScores(Settings(deployment="green"), follower, commits)
    published.assigned([0, 1])
    following = asyncio.create_task(published.run())
    try:
        await consumers[0].asked.wait()
        published.assigned([1])
        consumers[0].may_answer.set()
        await asyncio.wait_for(consumers[1].asked.wait(), 5)
        assert published.bounds() == {1: 0}, "nothing may be read before the published scores are"
        consumers[1].may_answer.set()
        for _ in range(5_000):
            if published.last_place(1) is not None:
                break
            await asyncio.sleep(0.001)
        assert published.last_place(1) == place_of(0, SCORES - 1)
        assert published.bounds() == {1: SCORES}
        assert published.last_place(0) is None
    finally:
        following.cancel()


async def test_the_published_scores_are_read_to_their_end_where_that_is_the_marker_of_a_transaction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(role, "_POLL_SECONDS", 0.001)
    scores = Scores(markers=1)
    follower: Any = SimpleNamespace(term=Term(1, "blue"), workers=WorkerRecords())
    scores.may_answer.set()
    monkeypatch.setattr(role, "open_consumer", lambda *_, **__: scores)
    monkeypatch.setattr(role, "LettersTail", lambda *_, **__: KnownLetters())
    commits: Any = SimpleNamespace(list_consumer_group_offsets=no_commits)
    published = PublishedScores(Settings(deployment="green"), follower, commits)
    published.assigned([0])
    following = asyncio.create_task(published.run())
    try:
        async with asyncio.timeout(5):
            while published.last_place(0) is None:  # noqa: ASYNC110 - as nothing tells of it
                await asyncio.sleep(0.001)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert (published.bounds(), published.reasons()) == ({0: SCORES}, [])


async def test_the_commits_of_the_deployment_that_publishes_are_those_of_the_group_that_its_workers_wrote() -> None:
    groups = list[str]()

    async def noted_groups(group: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata]:
        groups.append(group)
        return await no_commits(group, partitions)

    follower: Any = SimpleNamespace(term=Term(0, "blue"), workers=WorkerRecords())
    commits: Any = SimpleNamespace(list_consumer_group_offsets=noted_groups)
    published = PublishedScores(Settings(deployment="green"), follower, commits)
    await published._noted(frozenset({0}))
    said = WorkerRecord("cards-blue", "0.1.0", "aca8e9b3")._asdict()
    follower.workers.add(event("ready", 0, "e", deployment="blue", **said))
    await published._noted(frozenset({0}))
    assert groups == ["fraudstream-green", "fraudstream-blue", "fraudstream-green", "cards-blue"]
