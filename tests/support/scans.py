"""Scans of topics whose records are given, in the place of those that read Kafka."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import pytest

from stream.settings import Settings


class GivenScan:
    """A scan that yields these fetches, and then ends or hangs."""

    def __init__(
        self, fetches: Sequence[Sequence[Any]], first: Mapping[int, int] | None = None, *, hangs: bool = False
    ) -> None:
        self.first = first or {0: 0}
        self._fetches, self._hangs = fetches, hangs

    async def read(self) -> AsyncIterator[tuple[Sequence[Any], float]]:
        for records in self._fetches:
            yield records, 0.5
        if self._hangs:
            await asyncio.Event().wait()


def give_scans(monkeypatch: pytest.MonkeyPatch, module: ModuleType, scans: Mapping[str, GivenScan]) -> list[Any]:
    """Have a module scan these topics; return the list of what it asks for: topic, time, records before it."""
    asked: list[Any] = []

    @asynccontextmanager
    async def scan_topic(_settings: Settings, topic: str, since_ms: int, before: int = 0) -> AsyncIterator[GivenScan]:
        asked.append((topic, since_ms, before))
        yield scans[topic]

    monkeypatch.setattr(module, "scan_topic", scan_topic)
    return asked
