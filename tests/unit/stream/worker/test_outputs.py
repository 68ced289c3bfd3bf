"""Outputs are written for each partition on its own, dead letters before the outputs of their partition."""

import asyncio
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

import pytest

from stream.contract.codes import DeadLetterCode
from stream.engine.publisher import Destination, Outgoing, Published
from stream.errors import StaleBatchError
from stream.positions.dead_letters import DeadLetter, LetterOrigin
from stream.worker.outputs import PartitionWriter, TopicOutputs, Written
from support.stream_records import Told

MIB = 1024 * 1024
LETTERS = ("dead-letters", 0)


class Brokers:
    """Takes what is published, except at destinations that are away or slow."""

    def __init__(
        self,
        away: Sequence[Destination] = (),
        slow: Sequence[Destination] = (),
        given_up: Collection[Destination] = frozenset(),
    ) -> None:
        self.away, self.slow, self.given_up = away, slow, frozenset(given_up)
        self.calls: list[dict[Destination, list[int]]] = []
        self.acknowledge = asyncio.Event()

    async def publish_each(self, outputs: Mapping[Destination, Sequence[Outgoing]]) -> Published:
        some = {where: [one.source_offset for one in records] for where, records in outputs.items() if records}
        self.calls += [some] if some else []
        published = Published({}, {}, {}, self.given_up & some.keys())
        for where, records in some.items():
            if where in self.away:
                published.failures[where] = f"{where[0]} {where[1]} has no leader"
            elif where in self.slow:
                published.pending[where] = asyncio.create_task(self._later(len(records)))
            else:
                published.ends[where] = len(records)
        return published

    async def _later(self, end: int) -> int:
        await self.acknowledge.wait()
        return end


def letter(partition: int, offset: int, value: bytes = b"{}") -> DeadLetter:
    return DeadLetter(Told(value, partition=partition, offset=offset), DeadLetterCode.NOT_JSON, "why")


def score(offset: int) -> Outgoing:
    return Outgoing(offset, b"card", b"{}", ())


async def write(
    brokers: Brokers, outputs: Mapping[int, Sequence[int]], dead: Sequence[DeadLetter] = (), slices: int = 1_000
) -> Written:
    """Write scores at these offsets, by partition; after so many calls the batch may not go on."""
    records = {partition: [score(offset) for offset in offsets] for partition, offsets in outputs.items()}
    writer = PartitionWriter(brokers, "dead-letters")
    origin = LetterOrigin("d-1", 2, {0: 7})
    return await writer.write(TopicOutputs("scores", records), dead, lambda: len(brokers.calls) < slices, origin)


async def test_a_partition_without_a_leader_fails_alone() -> None:
    brokers = Brokers(away=[("scores", 1)])
    written = await write(brokers, {0: [1, 2], 1: [3], 2: []})
    assert written == Written({0: 2}, {1: "scores 1 has no leader"}, {})


async def test_a_write_that_is_still_going_on_is_named_and_can_be_waited_for() -> None:
    brokers = Brokers(slow=[("scores", 1)])
    written = await write(brokers, {0: [1], 1: [3, 4]})
    assert (written.ends, written.failed) == ({0: 1}, {1: "scores 1 has not acknowledged its records yet"})
    brokers.acknowledge.set()
    assert await written.pending[1] == 2


async def test_dead_letters_are_written_before_the_outputs_of_their_partition_and_beside_those_of_others() -> None:
    brokers = Brokers()
    written = await write(brokers, {0: [1], 1: [3]}, [letter(1, 2), letter(1, 4)])
    assert brokers.calls == [{("scores", 0): [1], LETTERS: [2, 4]}, {("scores", 1): [3]}]
    assert written == Written({0: 1, 1: 1}, {}, {}, letters_end=2)


async def test_dead_letters_that_cannot_be_written_hold_up_their_partitions_alone() -> None:
    brokers = Brokers(away=[LETTERS])
    written = await write(brokers, {0: [1], 1: [3]}, [letter(1, 2), letter(2, 7)])
    assert brokers.calls == [{("scores", 0): [1], LETTERS: [2, 7]}]
    why = "dead-letters 0 has no leader"
    assert written == Written({0: 1}, {1: why, 2: why}, {})


async def test_partitions_whose_scores_or_dead_letters_were_given_up_are_named() -> None:
    scores, letters = ("scores", 1), LETTERS
    written = await write(Brokers(away=[scores], given_up=[scores]), {0: [1], 1: [3]})
    assert (set(written.failed), written.given_up, written.letters_given_up) == ({1}, {1}, False)
    brokers = Brokers(away=[scores, letters], given_up=[letters])
    written = await write(brokers, {0: [1], 1: [3], 3: [4]}, [letter(2, 2), letter(3, 7)])
    assert (set(written.failed), written.given_up, written.letters_given_up) == ({1, 2, 3}, {2, 3}, True)


async def test_partitions_whose_dead_letters_are_still_being_written_wait_for_these() -> None:
    brokers = Brokers(slow=[LETTERS])
    written = await write(brokers, {0: [1], 1: [3]}, [letter(1, 2), letter(2, 7)])
    assert (set(written.failed), written.given_up, written.letters_given_up) == ({1, 2}, set(), False)
    brokers.acknowledge.set()
    assert [await written.pending[partition] for partition in (1, 2)] == [2, 2]


async def test_large_dead_letters_are_written_slice_by_slice_in_order() -> None:
    brokers = Brokers()
    await write(brokers, {0: [99]}, [letter(0, at, b"v" * MIB) for at in range(20)])
    assert [len(call[LETTERS]) for call in brokers.calls[:-1]] == [8, 8, 4]
    assert [offset for call in brokers.calls[:-1] for offset in call[LETTERS]] == list(range(20))
    assert brokers.calls[-1] == {("scores", 0): [99]}


async def test_a_revocation_ends_the_writing_after_a_slice() -> None:
    with pytest.raises(StaleBatchError, match="not all written"):
        await write(Brokers(), {}, [letter(0, at, b"v" * MIB) for at in range(20)], 1)


class Watched(DeadLetter):
    """Notes the thread that converts it."""

    threads: ClassVar[set[int]] = set()

    def to_record(self, origin: LetterOrigin) -> Outgoing:
        self.threads.add(threading.get_ident())
        return super().to_record(origin)


async def test_large_dead_letters_are_converted_outside_of_the_event_loop() -> None:
    await write(Brokers(), {}, [Watched(Told(b"{}"), DeadLetterCode.NOT_JSON, "why")])
    assert Watched.threads == {threading.get_ident()}
    await write(Brokers(), {}, [Watched(Told(b"5-" * MIB), DeadLetterCode.NOT_JSON, "why")])
    assert len(Watched.threads) == 2
