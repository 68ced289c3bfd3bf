"""The reader of a guard on a real broker: valid scores and outcomes, from a checkpoint on, and what Kafka lost."""

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from aiokafka.errors import UnknownTopicOrPartitionError
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from fraudstream.ops.folds import topics
from fraudstream.ops.folds.tail import SharedTail
from fraudstream.ops.folds.topics import FollowedTopics, ReadTopic
from fraudstream.ops.rollout.guard.reader import GuardReader
from fraudstream.ops.rollout.guard.recount import recount
from fraudstream_client.validity import ValidScores
from guards.checkpoint import read_state, state_json
from guards.paired import PAIRED_SHARE_BP, Pair, paired_guards
from guards.report import evidence
from guards.specs import GuardKind, default_guards
from guards.state import GuardState
from stream.clock import now_ms
from stream.errors import RecountError
from stream.readers import read_label_view
from stream.settings import Settings
from support.fleet.fleet import until
from support.fleet.payments import PARTITIONS
from support.handmade_scores import handmade_scores, score
from support.kafka.admin import make_anew, remove_before
from support.kafka.cluster import Cluster
from support.outcome_cases import outcome_value
from support.stream_records import Told

GUARDS = default_guards()
Records = Sequence[tuple[int, bytes | None]]
NEW, PREVIOUS = "n" * 64, "p" * 64


def with_arms(records: Records) -> Records:
    """Give what is a score one of seven cards of its partition, of which three are the canary's."""
    return [(number, value if (fields := _fields(value)) is None else _with_arm(fields)) for number, value in records]


def _fields(value: bytes | None) -> dict[str, Any] | None:
    found, reader = Told(value), ValidScores[Told]()
    return msgspec.json.decode(value or b"") if list(reader.of([found])) else None


def _with_arm(fields: dict[str, Any]) -> bytes:
    card = fields["source"]["offset"] % 7
    arm = "canary" if card < 3 else "live"
    return msgspec.json.encode(fields | {"card_id": f"{fields['card_id']}-{card}", "arm": arm})


def outcomes_of(records: Records) -> Records:
    """Return the outcome of every second record that is a score: a fraud."""
    decoded = [(number, fields) for number, value in records if (fields := _fields(value)) is not None]
    return [
        (number, outcome_value(transaction_id=one["transaction_id"], card_id=one["card_id"], deployment=""))
        for number, one in decoded[::2]
    ]


class Topics:
    """The topics that a guard reads, under a prefix."""

    def __init__(self, brokers: str, prefix: str) -> None:
        self.settings = Settings(brokers=brokers, topic_prefix=prefix)
        self._admin = AdminClient({"bootstrap.servers": brokers})

    def name(self, topic: str) -> str:
        return f"{self.settings.topic_prefix}{topic}"

    def make(self, *names: str) -> None:
        for done in self._admin.create_topics([NewTopic(self.name(one), PARTITIONS, 1) for one in names]).values():
            done.result(30)
        until(lambda: {self.name(one) for one in names} <= self._admin.list_topics().topics.keys(), "they are told of")

    def add_partition(self, *names: str) -> None:
        wanted = [NewPartitions(self.name(one), PARTITIONS + 1) for one in names]
        for done in self._admin.create_partitions(wanted).values():
            done.result(30)
        until(lambda: all(self._partitions(one) > PARTITIONS for one in names), "the brokers tell of the partition")

    def _partitions(self, name: str) -> int:
        return len(self._admin.list_topics(self.name(name)).topics[self.name(name)].partitions)

    def send(self, topic: str, records: Records) -> None:
        producer = Producer({"bootstrap.servers": self.settings.brokers})  # one that is older knows no new partitions
        for number, value in records:
            producer.produce(self.name(topic), value, partition=number)
        assert producer.flush(30) == 0


@pytest.fixture
def read(kafka: Cluster, topic_prefix: str, monkeypatch: pytest.MonkeyPatch) -> Topics:
    monkeypatch.setattr(topics, "_LOOK_SECONDS", 0.2)
    return Topics(kafka.brokers, topic_prefix)


@pytest.fixture(params=["alone", "shared"])
def tail(read: Topics, request: pytest.FixtureRequest) -> SharedTail | None:
    """What the guard's process fetches for all of its folds; without it, a reader fetches by itself."""
    return SharedTail(read.settings) if request.param == "shared" else None


def new_state() -> GuardState:
    return GuardState(GUARDS, "")


async def known() -> None:
    """All shares are known."""


async def step_and_break_off(reader: GuardReader) -> None:
    """Cancel steps at several points; what they had taken must be read again."""
    for seconds in (0.02, 0.1, 0.3, 0.5):
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    await reader.step(known)


async def step_until_now(reader: GuardReader) -> None:
    """Step until everything that is there now was read and counted."""
    wanted, deadline = now_ms(), time.monotonic() + 30

    async def refresh() -> None:
        reader.state.set_share(1, 3_000)

    while (reader.read_until_ms or 0) < wanted:
        await reader.step(refresh)
        assert time.monotonic() < deadline


def expected(scores: Records, outcomes: Records) -> dict[str, Any]:
    """Return the evidence by another way: all scores by `ValidScores`, with all their fields, in one go."""
    state = GuardState(GUARDS, "", {1: 3_000})
    for number in {number for number, _ in scores}:
        valid = ValidScores[Told]()
        found = [one for _, one in valid.of(Told(value) for at, value in scores if at == number)]
        state.count(number, found, 0)
    for number, value in outcomes:
        state.count_outcomes(number, filter(None, [read_label_view(value)]), 0)
    return evidence(state)


def without_positions(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key != "positions"}


async def assert_counted_again(settings: Settings, since_ms: int, found: dict[str, Any]) -> None:
    again = GuardState(GUARDS, "", {1: 3_000})
    await recount(settings, again, since_ms, found["positions"])
    assert without_positions(evidence(again)) == without_positions(found)


async def test_a_guard_goes_on_from_its_checkpoint_and_its_evidence_can_be_counted_again(
    read: Topics, tail: SharedTail | None
) -> None:
    read.make("scores", "outcomes")
    since_ms, scores = now_ms(), with_arms(handmade_scores(seed=1))
    half, outcomes = len(scores) // 2, outcomes_of(scores)
    read.send("scores", scores[:half])
    read.send("outcomes", outcomes[:90])
    async with GuardReader(read.settings, new_state(), since_ms, tail=tail) as reader:
        await step_until_now(reader)
        early, stored, ids = evidence(reader.state), json.dumps(state_json(reader.state)), reader.topic_ids
    assert without_positions(early) == without_positions(expected(scores[:half], outcomes[:90]))
    added = [(PARTITIONS, score(PARTITIONS, 1, 0, offset)) for offset in range(30)]
    read.send("scores", scores[half:])
    async with GuardReader(
        read.settings, read_state(json.loads(stored), new_state()), since_ms, None, ids, tail=tail
    ) as reader:
        await step_and_break_off(reader)
        await step_until_now(reader)
        read.add_partition("scores", "outcomes")
        read.send("scores", added)
        read.send("outcomes", outcomes[90:])
        while PARTITIONS not in reader.state.partitions:
            await step_until_now(reader)
        await step_until_now(reader)
        late = evidence(reader.state)
        assert (dict(reader.lost), reader.void > 50, reader.unreadable > 50) == ({}, True, True)
    assert without_positions(late) == without_positions(expected([*scores, *added], outcomes))
    for found in (early, late):
        await assert_counted_again(read.settings, since_ms, found)


async def test_records_that_were_removed_unread_are_told_of_and_a_topic_made_anew_is_counted_anew(
    read: Topics,
    tail: SharedTail | None,
) -> None:
    read.make("scores", "outcomes")
    since_ms, scores = now_ms(), [(0, score(0, 1, 0, offset)) for offset in range(60)]
    read.send("scores", scores[:20])
    async with GuardReader(read.settings, new_state(), since_ms, tail=tail) as reader:
        await step_until_now(reader)
        found, stored = evidence(reader.state), json.dumps(state_json(reader.state))
    read.send("scores", scores[20:])
    remove_before(read.settings.brokers, read.name("scores"), {0: 50})
    async with GuardReader(read.settings, read_state(json.loads(stored), new_state()), since_ms, tail=tail) as reader:
        await step_until_now(reader)
        assert [(*tp, lost) for tp, lost in reader.lost.items()] == [(read.name("scores"), 0, 30)]
        assert sum(sum(arms) for arms in reader.state.decided().values()) == 30
        with pytest.raises(RecountError, match=rf"{read.name('scores')} partition 0 has no records before 50 any more"):
            await recount(read.settings, new_state(), since_ms, found["positions"])
        make_anew(read.settings.brokers, read.name("scores"), PARTITIONS)
        read.send("scores", scores[:5])
        while sum(sum(arms) for arms in reader.state.decided().values()) != 5:
            await step_until_now(reader)
        assert reader.lost == {}
    with pytest.raises(RecountError, match=r"partition 0 ends at 5, before 20: it was made anew"):
        await recount(read.settings, new_state(), since_ms, found["positions"])


async def test_a_watch_reads_comparisons(read: Topics, tail: SharedTail | None) -> None:
    read.make("shadow-scores", "outcomes")
    sides = {"live": {"digest": NEW, "decision": "decline"}, "challenger": {"digest": PREVIOUS, "decision": "approve"}}
    pairs = [{"transaction_id": f"t-{at}", "card_id": f"c-{at}", "revision": 1} | sides for at in range(20)]
    read.send("shadow-scores", [(at % PARTITIONS, msgspec.json.encode(one)) for at, one in enumerate(pairs)])
    state = GuardState(paired_guards(GUARDS), "", {1: PAIRED_SHARE_BP})
    async with GuardReader(read.settings, state, now_ms(), Pair(NEW, PREVIOUS), tail=tail) as reader:
        while sum(counts.position for counts in state.partitions.values()) < len(pairs):
            await reader.step(known)
    assert state.counts_of(GuardKind.DECLINED) == {PAIRED_SHARE_BP: (20, 0)}


async def test_a_missing_topic_is_an_error_that_says_what_to_do(read: Topics, tail: SharedTail | None) -> None:
    read.make("scores")

    async def refresh() -> None:
        raise AssertionError

    async with GuardReader(read.settings, new_state(), now_ms(), tail=tail) as reader:
        missing = rf"topic {read.name('outcomes')} is missing: create it with `fraudstream topics apply"
        with pytest.raises(UnknownTopicOrPartitionError, match=missing):
            await reader.step(refresh)
        read.make("outcomes")
        while not reader.state.outcomes:  # the brokers may tell of it a moment later
            with suppress(UnknownTopicOrPartitionError):
                await step_until_now(reader)


async def read_all(part: FollowedTopics, count: int) -> list[tuple[int, int]]:
    """Fetch until so many records came; return their places."""
    found = list[tuple[int, int]]()
    async with asyncio.timeout(60):
        while len(found) < count:
            fetched = await part.fetch()
            assert not fetched.records
            found += [(one.partition, one.offset) for some in fetched.scores.values() for one in some]
    return found


async def test_readers_at_the_end_share_each_record_and_those_elsewhere_read_by_themselves(read: Topics) -> None:
    """One starts at the beginning, one in the middle, and one stands still until all that it needs is forgotten."""
    read.make("scores")
    sent = [(at % PARTITIONS, score(at % PARTITIONS, 1, 0, at)) for at in range(600)]
    read.send("scores", sent[:300])
    shared, each = SharedTail(read.settings), 300 // PARTITIONS
    shared.begin()
    name = read.name("scores")
    starts = [0, each // 2, each]
    readers = [
        FollowedTopics(read.settings, [ReadTopic(name, 0, 0, dict.fromkeys(range(PARTITIONS), at))], shared)
        for at in starts
    ]
    for reader, start in zip(readers, starts, strict=True):
        found = await read_all(reader, PARTITIONS * (each - start))
        assert sorted(found) == [(number, at) for number in range(PARTITIONS) for at in range(start, each)]
    for reader in readers:  # all are at the end
        assert not (await reader.fetch()).scores
    read.send("scores", sent[300:420])
    wanted = [(number, at) for number in range(PARTITIONS) for at in range(each, 420 // PARTITIONS)]
    first = [one for some in (await fetch_some(readers[0], 120)) for one in some]
    second = [one for some in (await fetch_some(readers[1], 120)) for one in some]
    assert sorted((one.partition, one.offset) for one in first) == wanted
    assert {id(one) for one in first} == {id(one) for one in second}, "each was decoded once"
    shared._needed.pop(id(readers[2]))  # it has stood still for long
    shared._evict()
    read.send("scores", sent[420:])
    await read_all(readers[0], 180)
    await read_all(readers[1], 180)
    late = [(number, at) for number in range(PARTITIONS) for at in range(each, 600 // PARTITIONS)]
    assert sorted(await read_all(readers[2], len(late))) == late
    for reader in readers:
        await reader.close()
    assert shared._consumer is None


async def fetch_some(part: FollowedTopics, count: int) -> list[Sequence[Any]]:
    found = list[Sequence[Any]]()
    async with asyncio.timeout(60):
        while sum(map(len, found)) < count:
            found += (await part.fetch()).scores.values()
    return found


async def test_readers_in_other_threads_share_what_one_loop_fetches(read: Topics) -> None:
    read.make("scores")
    sent = [(at % PARTITIONS, score(at % PARTITIONS, 1, 0, at)) for at in range(3_000)]
    shared = SharedTail(read.settings)
    shared.begin()

    async def read_there() -> list[tuple[int, int]]:
        part = FollowedTopics(read.settings, [ReadTopic(read.name("scores"), 0)], shared)
        try:
            return await read_all(part, len(sent))
        finally:
            await part.close()

    threads = [asyncio.to_thread(asyncio.run, read_there()) for _ in range(3)]
    sending = asyncio.to_thread(lambda: [read.send("scores", sent[at : at + 500]) for at in range(0, len(sent), 500)])
    *found, _ = await asyncio.gather(*threads, sending)
    each = sorted((number, at) for number in range(PARTITIONS) for at in range(len(sent) // PARTITIONS))
    assert [sorted(one) for one in found] == [each] * 3
