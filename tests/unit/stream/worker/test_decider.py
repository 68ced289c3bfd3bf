"""A partition whose position is read again while its outputs are written is delivered again, and ends no worker."""

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition

from models.limits import LimitState
from stream.kafka.batches import Batch, CommitLedger
from stream.kafka.publisher import Outgoing
from stream.kafka.unpacking import FetchedRecord
from stream.worker.decider import Decider
from stream.worker.outputs import TopicOutputs, Written

READING, KNOWN = 0, 1


class Positions:
    """The positions of two partitions; that of `READING` is being read again."""

    def __init__(self) -> None:
        self.known = {KNOWN: "known"}
        self.advanced: list[int] = []

    def get(self, partition: int) -> str | None:
        return self.known.get(partition)

    def why(self, _partition: int) -> str:
        return "its last decisions are being read"

    def advance(self, partition: int, *_: object) -> bool:
        self.advanced.append(len(self.known[partition]))
        return True


async def test_a_partition_that_is_read_again_during_its_write_is_set_aside_and_the_others_advance() -> None:
    ledger, positions = CommitLedger(), Positions()
    records = {one: [FetchedRecord("transactions", one, 0, 0, 0, b"c", b"{}", ())] for one in (READING, KNOWN)}
    batch = Batch("transactions", 1, records, ledger, asyncio.Event())
    for one in records:
        ledger.track(TopicPartition("transactions", one), 1, records[one][-1].offset)

    async def write(*_: object) -> Written:
        return Written(ends={READING: 5, KNOWN: 7})

    decider: Any = Decider.__new__(Decider)
    decider._positions, decider._writer, decider._deps = positions, SimpleNamespace(write=write), None
    scores = TopicOutputs("scores", {one: [Outgoing(0, b"c", b"{}", ())] for one in records})
    terms = SimpleNamespace(serving=SimpleNamespace(revision=1), limit_states={one: LimitState() for one in records})
    await decider._write(batch, terms, scores, [])
    assert batch.aside == {READING: "its last decisions are being read"}
    assert (batch.current(), len(positions.advanced)) == ([KNOWN], 1)
