"""Write explanations, each partition's on its own: one that no broker takes holds up no other partition.

A partition has one write at a time. After a failed one it pauses, and its alerts are explained and written again.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from features.reason_codes import VERSION
from fraudstream.ops.watch.explanations.alerts import Alert
from fraudstream.ops.watch.explanations.explain import Explained
from fraudstream_client.validity import trace_headers
from stream.engine.publisher import Destination, Outgoing, Publisher
from stream.engine.tracing import OperationTrace
from stream.errors import PublishError

CODES_HEADER = "reason-codes"
"""The header of an explanation that says by which version of the table of codes it was made."""
RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ExplainedPart:
    """Explained alerts of one partition, in order, with their explanations and traces."""

    alerts: Sequence[Alert]
    found: Sequence[Explained]
    traces: Sequence[OperationTrace]

    def outgoing(self) -> list[Outgoing]:
        """Return the records to write."""
        return [_outgoing(*one) for one in zip(self.alerts, self.found, self.traces, strict=True)]

    def fail(self, why: str) -> None:
        """End the traces of explanations that are not known to be written."""
        for trace in self.traces:
            trace.failed(why)


class ExplanationWrites:
    """Writes explained parts to the partitions of `explanations`, and knows which of them are written.

    Args:
        publisher: writes them; its owner starts and stops it.
        topic: the name of the topic.

    Attributes:
        failures: why the last write of a partition failed, by partition, until one succeeds.
    """

    def __init__(self, publisher: Publisher, topic: str) -> None:
        self.failures: dict[int, str] = {}
        self._publisher = publisher
        self._topic = topic
        self._pending: dict[int, tuple[ExplainedPart, asyncio.Task[int]]] = {}
        self._retry_at: dict[int, float] = {}

    def may_write(self, partition: int) -> bool:
        """Tell whether a partition may be written now: not during a write, nor in the pause after a failed one."""
        return partition not in self._pending and self._retry_at.get(partition, 0.0) <= _now()

    async def write(self, parts: Mapping[int, ExplainedPart]) -> dict[int, ExplainedPart]:
        """Write parts, and return those that are acknowledged by now, earlier ones among them.

        A write that takes longer goes on; a later call returns its part.
        """
        outputs: dict[Destination, list[Outgoing]] = {
            (self._topic, partition): part.outgoing() for partition, part in parts.items()
        }
        written = self._ended()
        try:
            published = await self._publisher.publish_each(outputs)
        except BaseException as error:
            for part in parts.values():
                part.fail(type(error).__name__)
            raise
        for (_, partition), why in published.failures.items():
            self._fail(partition, parts[partition], why)
        for (_, partition), task in published.pending.items():
            self._pending[partition] = parts[partition], task
        written |= {partition: parts[partition] for _, partition in published.ends}
        for partition in written:
            self.failures.pop(partition, None)
        return written

    def drop(self) -> None:
        """Forget writes and failures: the partitions belong to others, or are read again from their commits."""
        for part, task in self._pending.values():
            task.cancel()
            part.fail("dropped")
        self._pending, self._retry_at, self.failures = {}, {}, {}

    def _ended(self) -> dict[int, ExplainedPart]:
        """Take the writes that went on and have ended; return the parts that are written."""
        written = {}
        for partition, (part, task) in list(self._pending.items()):
            if not task.done():
                continue
            del self._pending[partition]
            try:
                task.result()
            except PublishError as error:
                self._fail(partition, part, str(error))
            else:
                written[partition] = part
        return written

    def _fail(self, partition: int, part: ExplainedPart, why: str) -> None:
        part.fail("PublishError")
        self.failures[partition], self._retry_at[partition] = why, _now() + RETRY_SECONDS


def _now() -> float:
    return asyncio.get_running_loop().time()


def _outgoing(alert: Alert, one: Explained, trace: OperationTrace) -> Outgoing:
    headers = (*trace_headers(trace.headers), (CODES_HEADER, str(VERSION).encode()))
    value = msgspec.json.encode(one.explanation)
    return Outgoing(alert.score.source.offset, alert.key, value, headers, alert.score.transaction_id)
