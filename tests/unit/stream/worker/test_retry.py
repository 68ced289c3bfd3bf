"""A batch that is dropped is logged, but not again and again while its partitions wait for an operator."""

import asyncio

import pytest
from aiokafka import TopicPartition

from stream.engine.batches import Batch, CommitLedger
from stream.errors import StaleBatchError
from stream.worker.isolation import retry_until_done
from support.stream_records import Told


@pytest.mark.parametrize(("waits", "lines"), [(False, 1), (True, 0)])
async def test_a_dropped_batch_is_logged_unless_its_partitions_are_set_aside_with_a_reason_of_their_own(
    caplog: pytest.LogCaptureFixture,
    waits: bool,  # noqa: FBT001 - a parameter
    lines: int,
) -> None:
    ledger = CommitLedger()
    ledger.track(TopicPartition("t", 0), 5, 3)
    batch = Batch("t", 5, {0: [Told(offset=3)]}, ledger, asyncio.Event())

    async def decide() -> None:
        if waits:
            batch.set_aside(0, "at most 5 records were removed")
        raise StaleBatchError("none of its partitions could be decided")

    with caplog.at_level("INFO"):
        await retry_until_done(batch, decide, lambda _: None, lambda _: None)
    assert len(caplog.records) == lines
