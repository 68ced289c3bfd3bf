import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from stream.engine.batches import Batch, Commit, CommitLedger, counted, in_thread, in_thread_if_large, size_of
from stream.engine.unpacking import OBJECT_BYTES
from support.stream_records import Told

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.data())
def test_only_offsets_acknowledged_without_a_gap_are_committable(sizes: list[int], data: st.DataObject) -> None:
    ledger, ends = CommitLedger(), [sum(sizes[: at + 1]) - 1 for at in range(len(sizes))]
    for end in ends:
        ledger.track(P0, 1, end)
    done: set[int] = set()
    for end in data.draw(st.permutations(ends)):
        ledger.acknowledge(P0, 1, end, f"note {end}")
        ledger.acknowledge(P0, 1, end, f"note {end}")
        done.add(end)
        first = next((at for at, one in enumerate(ends) if one not in done), len(ends))
        expected = {P0: Commit(ends[first - 1] + 1, f"note {ends[first - 1]}")} if first else {}
        assert ledger.committable() == expected
        assert ledger.finished_offset(P0) == (ends[first - 1] + 1 if first else None)
        assert [ledger.is_current(P0, 1, one) for one in ends] == [at >= first for at in range(len(ends))]


def test_an_acknowledgement_of_another_generation_offset_or_partition_is_ignored() -> None:
    ledger = CommitLedger()
    ledger.track(P0, 2, 9)
    for partition, generation, offset in ((P0, 1, 9), (P0, 3, 9), (P0, 2, 8), (P1, 2, 9)):
        ledger.acknowledge(partition, generation, offset)
        assert not ledger.is_current(partition, generation, offset)
    assert ledger.committable() == {}
    assert ledger.is_current(P0, 2, 9)


def test_a_dropped_partition_is_neither_current_nor_committable() -> None:
    ledger = CommitLedger()
    for partition in (P0, P1):
        for offset in (4, 9):
            ledger.track(partition, 1, offset)
        ledger.acknowledge(partition, 1, 4)
    ledger.drop(P0)
    ledger.acknowledge(P0, 1, 9)
    assert ledger.committable() == {P1: Commit(5, "")}
    assert not ledger.is_current(P0, 1, 9)
    assert (ledger.finished_offset(P0), ledger.finished_offset(P1)) == (None, 5)
    ledger.committed(ledger.committable())
    assert ledger.finished_offset(P1) == 5
    ledger.track(P0, 2, 4)
    ledger.acknowledge(P0, 2, 4)
    assert ledger.committable()[P0] == Commit(5, "")


def test_a_commit_removes_only_its_own_offset_from_the_committable_ones() -> None:
    ledger = CommitLedger()
    ledger.track(P0, 1, 4)
    ledger.track(P0, 1, 9)
    ledger.acknowledge(P0, 1, 4)
    sent = ledger.committable()
    ledger.acknowledge(P0, 1, 9)
    ledger.committed(sent)
    assert ledger.committable() == {P0: Commit(10, "")}
    ledger.committed(ledger.committable())
    assert ledger.committable() == {}


def a_batch(ledger: CommitLedger, draining: asyncio.Event) -> Batch:
    records = {0: [Told(offset=3), Told(offset=4)], 1: [Told(partition=1, offset=7)]}
    for partition, lot in records.items():
        ledger.track(TopicPartition("t", partition), 5, lot[-1].offset)
    return Batch("t", 5, records, ledger, draining)


def test_a_batch_ignores_its_dropped_partitions_and_does_not_start_without_any() -> None:
    ledger = CommitLedger()
    batch = a_batch(ledger, asyncio.Event())
    assert batch.current() == [0, 1]
    ledger.drop(P0)
    assert batch.current() == [1]
    batch.acknowledge(0)
    batch.acknowledge(1, "n")
    assert ledger.committable() == {P1: Commit(8, "n")}
    assert not batch.may_start()


def test_a_record_of_many_empty_headers_is_large() -> None:
    assert size_of(Told(None, None, headers=[("", None)] * 10_000)) >= 10_000 * OBJECT_BYTES


def test_work_on_large_records_is_done_in_another_thread() -> None:
    async def where(size: int) -> int:
        return await in_thread_if_large(size, threading.get_ident)

    assert asyncio.run(where(100_000)) == threading.get_ident()
    assert asyncio.run(where(1_000_000)) != threading.get_ident()


def test_a_partition_that_is_set_aside_is_not_committed_and_what_follows_waits_for_it() -> None:
    ledger, draining = CommitLedger(), asyncio.Event()
    first, second = TopicPartition("transactions", 0), TopicPartition("transactions", 1)
    for tp in (first, second):
        ledger.track(tp, 1, 4)
    batch = Batch("transactions", 1, {0: [Told(offset=4)], 1: [Told(offset=4, partition=1)]}, ledger, draining)
    batch.set_aside(0, "its scores have no leader")
    assert batch.current() == [1]
    batch.acknowledge(1)
    assert ledger.committable().keys() == {second}
    ledger.withdraw(first, 1, 4)
    ledger.track(first, 1, 4)
    again = Batch("transactions", 1, {0: [Told(offset=4)]}, ledger, draining)
    again.acknowledge(0)
    assert ledger.committable()[first].offset == 5


def burn(seconds: float) -> str:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass
    return "burnt"


async def test_a_batch_costs_what_its_own_work_takes_on_all_threads_and_nothing_else_does() -> None:
    batch = Batch("transactions", 1, {}, CommitLedger(), asyncio.Event())

    async def others() -> None:
        for _ in range(4):
            burn(0.02)
            await asyncio.sleep(0)

    async def work() -> None:
        burn(0.01)
        await asyncio.sleep(0.03)
        assert await in_thread(burn, 0.02) == "burnt"
        with pytest.raises(ValueError, match="no number"):
            await in_thread(int, "no number")
        burn(0.01)
        raise LookupError("its end")

    beside = asyncio.create_task(others())
    with pytest.raises(LookupError, match="its end"):
        await asyncio.create_task(_counted(work(), batch))
    await beside
    assert batch.cost_seconds == pytest.approx(0.04, rel=0.25)


async def test_work_on_a_batch_can_be_cancelled() -> None:
    batch, ended = Batch("transactions", 1, {}, CommitLedger(), asyncio.Event()), list[str]()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    task = asyncio.create_task(_counted(work(), batch))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["cancelled"]


async def _counted(work: Coroutine[Any, Any, None], batch: Batch) -> None:
    await counted(work, batch)
