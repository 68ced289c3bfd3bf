"""Topics that were created are there for the next command: brokers answer before their metadata have them."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.admin import NewTopic

from stream.kafka import client, topics
from stream.kafka.topics import LAYOUTS, apply
from stream.settings import Settings


class Broker:
    """An administration client whose broker tells of new topics only at a later look."""

    def __init__(self, later: int) -> None:
        self.looks = 0
        self._later = later
        self._created: list[str] = []

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def create_topics(self, new: Sequence[NewTopic]) -> Any:
        self._created += [topic.name for topic in new]
        return SimpleNamespace(topic_errors=[(topic.name, 0, None) for topic in new])

    async def list_topics(self) -> list[str]:
        self.looks += 1
        return self._created if self.looks > self._later else []

    async def describe_topics(self, names: Sequence[str]) -> list[dict[str, Any]]:
        return [{"topic": name, "partitions": [0, 1], "error_code": 0} for name in names]


async def created(monkeypatch: pytest.MonkeyPatch, later: int) -> Broker:
    broker = Broker(later)
    monkeypatch.setattr(client, "AIOKafkaAdminClient", lambda **_: broker)
    monkeypatch.setattr(topics, "_LOOK_SECONDS", 0.001)
    assert len(await apply(Settings(), 2, 1)) == len(LAYOUTS) + 1
    return broker


async def test_creation_ends_when_the_broker_tells_of_the_new_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await created(monkeypatch, later=4)).looks == 5


async def test_creation_ends_in_time_where_new_topics_stay_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "_VISIBLE_SECONDS", 0.02)
    assert (await created(monkeypatch, later=10**6)).looks > 2
