"""A batch handed to the decider as the consumer does: tracked, handled, and then acknowledged or withdrawn."""

import asyncio
from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

from aiokafka import TopicPartition

from stream.engine.batches import Batch
from stream.worker.decider import Decider

TOPIC = "transactions"


async def deliver(
    decider: Decider,
    ledger: Any,
    at: MutableSequence[int] | MutableMapping[int, int],
    records: Mapping[int, Sequence[Any]],
) -> Batch:
    """Have records decided as one batch; move `at`, by partition, behind those that are acknowledged."""
    batch = Batch(TOPIC, 1, records, ledger, asyncio.Event())
    for partition, some in records.items():
        ledger.track(TopicPartition(TOPIC, partition), 1, some[-1].offset)
    async with asyncio.timeout(5):
        await decider.decide_batch(batch)
    for partition, some in records.items():
        if partition in batch.acknowledged:
            at[partition] = some[-1].offset + 1
        else:
            ledger.withdraw(TopicPartition(TOPIC, partition), 1, some[-1].offset)
    return batch
