"""A guard counts valid scores alone, whatever the batches, and nothing twice after an error."""

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from fraudstream.ops.folds.topics import FetchedPart, FollowedTopics, ReadTopic
from fraudstream.ops.rollout.guard.reader import GuardReader
from fraudstream_client.validity import ValidScores
from guards.checkpoint import read_state, state_json
from guards.paired import Pair
from guards.report import evidence
from guards.specs import GuardKind, default_guards
from guards.state import GuardState
from stream.engine.unpacking import Unreadable
from stream.kafka.topic_ids import TopicState
from stream.settings import Settings
from support.fetched import fetched_part
from support.fleet.payments import PARTITIONS
from support.handmade_scores import handmade_scores, score
from support.stream_records import Told

GUARDS = default_guards()


class Log:
    """Topics whose next fetches are given."""

    def __init__(self, *parts: FetchedPart) -> None:
        self.parts = list(parts)
        self.topic_ids = {"scores": "", "outcomes": ""}

    async def fetch(self) -> FetchedPart:
        return self.parts.pop(0)


def reader_of(state: GuardState, *parts: FetchedPart) -> GuardReader:
    reader, topics = GuardReader(Settings(), state, 0), Log(*parts)
    reader.topics = topics  # type: ignore[assignment]
    return reader


def part(
    values: Mapping[int, Sequence[bytes | None]], first: Mapping[int, int], anew: Sequence[int] = ()
) -> FetchedPart:
    records = {
        TopicPartition("scores", number): [
            Told(value, partition=number, offset=first[number] + at, topic="scores") for at, value in enumerate(found)
        ]
        for number, found in values.items()
    }
    return fetched_part(
        records,
        {tp: first[tp.partition] + len(found) for tp, found in records.items()},
        {tp: 10 * tp.partition + 5 for tp in records},
        [TopicPartition("scores", number) for number in anew],
    )


async def known() -> None:
    """All shares are known."""


@pytest.mark.parametrize("seed", range(4))
async def test_valid_scores_are_counted_as_everybody_tells_them_over_any_batches_and_restarts(seed: int) -> None:
    records, draw = handmade_scores(seed), np.random.default_rng(seed)
    by_partition = {number: [value for at, value in records if at == number] for number in range(PARTITIONS)}
    state, at = GuardState(GUARDS, "", {1: 3_000}), dict.fromkeys(range(PARTITIONS), 0)
    while any(at[number] < len(values) for number, values in by_partition.items()):
        sizes = {number: int(draw.integers(0, 400)) for number in by_partition}
        taken = {number: values[at[number] : at[number] + sizes[number]] for number, values in by_partition.items()}
        await reader_of(state, part(taken, at)).step(known)
        at = {number: at[number] + len(values) for number, values in taken.items()}
        state = read_state(json.loads(json.dumps(state_json(state))), GuardState(GUARDS, ""))
    valid = ValidScores[Told]()
    found = [one for number, value in records for _, one in valid.of([Told(value, partition=number)])]
    assert sum(sum(arms) for arms in state.decided().values()) == len(found)
    assert len(state.partitions[0].cards[GuardKind.SAMPLE_RATIO]) == 1
    for number, counts in state.partitions.items():
        assert counts.position == len(by_partition[number])
        assert counts.standing == valid.standings[number]


async def test_what_was_fetched_before_an_error_is_counted_once_by_the_next_step() -> None:
    state = GuardState(GUARDS, "")
    reader = reader_of(state, part({0: [score(0, 1, 0, 1), score(0, 1, 0, 1)]}, {0: 7}))

    async def away() -> None:
        raise KafkaError("away")

    async def shares() -> None:
        state.set_share(1, 100)

    with pytest.raises(KafkaError):
        await reader.step(away)
    assert (state.partitions, reader.read_until_ms) == ({}, None)
    assert await reader.step(shares) == 2
    assert (state.partitions[0].position, reader.read_until_ms, reader.void) == (9, 5, 1)
    assert state.decided() == {100: (0, 1)}


async def test_the_event_log_is_read_where_it_changed_or_a_score_is_of_a_revision_whose_share_is_not_known() -> None:
    known_one, new_one = score(0, 1, 0, 1), score(0, 1, 0, 2).replace(b'"revision":1', b'"revision":2')
    changed = part({0: []}, {0: 1})._replace(events=True)
    parts = part({0: [known_one]}, {0: 0}), changed, part({0: [new_one]}, {0: 1})
    reader, refreshed = reader_of(GuardState(GUARDS, "", {1: 100}), *parts), list[int]()
    for step in range(len(parts)):

        async def refresh(step: int = step) -> None:
            refreshed.append(step)

        await reader.step(refresh)
    assert refreshed == [1, 2]


async def test_comparisons_are_counted_after_the_event_log_was_read() -> None:
    reader, refreshed = GuardReader(Settings(), GuardState(GUARDS, "", {1: 100}), 0, Pair("n", "p")), list[str]()
    shadow = TopicPartition("shadow-scores", 0)
    reader.topics = Log(fetched_part({shadow: [Told(b"{}")]}, {shadow: 1}, {}))  # type: ignore[assignment]

    async def refresh() -> None:
        refreshed.append("read")

    await reader.step(refresh)
    assert refreshed == ["read"]


async def test_it_is_told_when_the_event_log_changes_and_takes_none_of_its_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log, first = TopicPartition("model-events", 0), TopicPartition("scores", 0)
    consumer, topics = Consumer(), FollowedTopics(Settings(), [ReadTopic("scores", 0)], watches_events=True)
    consumer.at = {first: 0, log: 0}

    async def connected() -> Consumer:
        return consumer

    monkeypatch.setattr(topics, "_connected", connected)
    assert (await topics.fetch()).events, "it may have changed before"
    assert not (await topics.fetch()).events
    consumer.at[log], consumer.taken = 1, 0
    fetched = await topics.fetch()
    assert (fetched.events, fetched.size, fetched.positions) == (True, 0, {first: 8})


async def test_a_partition_made_anew_is_counted_from_nothing() -> None:
    state = GuardState(GUARDS, "", {1: 100})
    many, one = [score(0, 5, 0, at) for at in range(8)], [score(0, 1, 0, 0)]
    reader = reader_of(state, part({0: many, 1: many}, {0: 0, 1: 0}), part({0: one, 1: []}, {0: 0, 1: 8}, anew=[0]))
    await reader.step(known)
    await reader.step(known)
    alone = GuardState(GUARDS, "", {1: 100})
    await reader_of(alone, part({0: one, 1: many}, {0: 0, 1: 0})).step(known)
    assert evidence(state) == evidence(alone)
    assert reader.read_until_ms == 5


class Consumer:
    """Two partitions with ten records each, of which as many are fetched as is said; timestamps are offsets."""

    def __init__(self) -> None:
        self.at = {TopicPartition("scores", number): 0 for number in range(2)}
        self.end, self.taken, self.fails = 10, 4, False
        self.fetcher: Any = self
        self.queues: Any = self
        self.out_of_range: dict[TopicPartition, int] = {}
        self.passed_over: list[Any] = []
        self.ends: dict[TopicPartition, tuple[int, int]] = {}

    def assignment(self) -> set[TopicPartition]:
        return set(self.at)

    async def end_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, self.end)

    async def getmany(self, *_: TopicPartition, **__: int) -> dict[TopicPartition, list[Told]]:
        tp = TopicPartition("scores", 0)
        records = [Told(partition=0, offset=at, timestamp=at) for at in range(self.at[tp], self.at[tp] + self.taken)]
        self.at[tp] += self.taken
        return {tp: records} if records else {}

    async def position(self, tp: TopicPartition) -> int:
        if self.fails:
            raise KafkaError("away")
        return self.at[tp]


async def test_the_time_up_to_which_a_partition_is_read_is_that_of_its_last_record_until_its_end_is_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consumer, topics = Consumer(), FollowedTopics(Settings(), [ReadTopic("scores", 0)])
    times = iter([100_000, 200_000, 300_000, 400_000])
    monkeypatch.setattr("fraudstream.ops.folds.tail.now_ms", lambda: next(times))

    async def connected() -> Consumer:
        return consumer

    monkeypatch.setattr(topics, "_connected", connected)
    first = TopicPartition("scores", 0)
    assert (await topics.fetch()).until_ms == {first: 3}
    consumer.taken = 6
    assert (await topics.fetch()).until_ms == {first: 200_000}
    consumer.end, consumer.taken = 12, 1
    assert (await topics.fetch()).until_ms == {first: 200_000}, "it does not go back"
    consumer.taken = 1
    assert (await topics.fetch()).until_ms == {first: 400_000}


async def test_what_was_taken_before_an_error_is_fetched_again_over_a_new_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topics = FollowedTopics(Settings(), [ReadTopic("scores", 0, positions={0: 0, 1: 0})])
    made: list[Consumer] = []

    async def states(_admin: object) -> dict[str, TopicState]:
        return {"scores": TopicState("", 2)}

    async def assigned(_tps: object) -> Consumer:
        consumer = Consumer()
        consumer.at = dict(topics.positions)
        made.append(consumer)
        return consumer

    monkeypatch.setattr("fraudstream.ops.folds.topics.open_admin", lambda _settings: nullcontext())
    monkeypatch.setattr(topics, "_states", states)
    monkeypatch.setattr(topics, "_assigned", assigned)
    first = TopicPartition("scores", 0)
    assert [one.offset for one in (await topics.fetch()).scores[first]] == [0, 1, 2, 3]
    made[0].fails = True
    with pytest.raises(KafkaError):
        await topics.fetch()
    assert [one.offset for one in (await topics.fetch()).scores[first]] == [4, 5, 6, 7]
    assert len(made) == 2


async def test_records_that_cannot_be_unpacked_or_decoded_are_counted_and_end_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consumer, state = Consumer(), GuardState(GUARDS, "", {1: 100})
    reader = GuardReader(Settings(), state, 0)

    async def connected() -> Consumer:
        return consumer

    monkeypatch.setattr(reader.topics, "_connected", connected)
    consumer.passed_over = [(TopicPartition("scores", 0), Unreadable(4, 7, "its checksum is wrong"))]
    assert await reader.step(known) == 4, "records of {}, which are no scores"
    assert await reader.step(known) == 4
    assert (reader.unreadable, reader.void, state.partitions[0].position) == (3 + 8, 0, 8)
