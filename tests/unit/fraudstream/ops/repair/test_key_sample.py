"""The sample of a topic's keys: cards with their partitions, within a bounded time."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from fraudstream.ops.repair import key_sample
from fraudstream.ops.repair.key_sample import LONGEST_CARD, sample_keys
from stream.settings import Settings
from support.stream_records import Told


class Scan:
    """A scan that yields these records, and then ends or hangs."""

    def __init__(self, fetches: Sequence[Sequence[Told]], *, hangs: bool) -> None:
        self.first = {0: 70, 1: 0, 2: 9}
        self._fetches = fetches
        self._hangs = hangs

    async def read(self) -> AsyncIterator[tuple[Sequence[Told], float]]:
        for records in self._fetches:
            yield records, 0.5
        if self._hangs:
            await asyncio.Event().wait()


@pytest.mark.parametrize("hangs", [False, True])
async def test_keys_are_sampled_until_the_ends_or_until_the_time_is_over(
    hangs: bool,  # noqa: FBT001 - a parameter
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    one_partition = [Told(b"", b"card-1", 0, 1), Told(b"", b"card-2", 0, 2), Told(b"", b"card-1", 0, 3)]
    another = [Told(b"", b"card-1", 2, 1), Told(b"", None, 2, 2), Told(b"", b"x" * (LONGEST_CARD + 1), 2, 3)]

    @asynccontextmanager
    async def scan_topic(_settings: Settings, topic: str, since_ms: int, before: int) -> AsyncIterator[Scan]:
        asked.append((topic, since_ms > 2**49, before))
        yield Scan([one_partition, another], hangs=hangs)

    monkeypatch.setattr(key_sample, "scan_topic", scan_topic)
    found = await sample_keys(Settings(), "transactions", 500, 0.05 if hangs else 60.0)
    assert asked == [("transactions", True, 500)]
    assert (found.topic, found.partitions, found.records, found.without_card) == ("transactions", 3, 6, 2)
    assert found.placements == {(b"card-1", 0), (b"card-2", 0), (b"card-1", 2)}
    assert found.is_whole is not hangs
