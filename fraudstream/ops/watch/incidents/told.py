"""What `incidents` says: a fold of the topic, so that nothing is told twice, its readers, and how it is written.

Two guards may write the same record. The first one counts: `Told.add` says which is news.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Self

import msgspec
from aiokafka import TopicPartition

from fraudstream_client.incidents import Incident, IncidentKind
from stream.contract.cloud_events import event_of_incident
from stream.kafka.client import connection_options, require_topic
from stream.kafka.stray import PlainConsumer, PlainProducer
from stream.kafka.topics import INCIDENTS
from stream.readers import UNREADABLE
from stream.settings import Settings

_FETCH_MS = 200
_decode = msgspec.json.Decoder(Incident).decode


def read_incident(value: bytes | None) -> Incident | None:
    """Decode a record of `incidents`; None if this version cannot read it."""
    try:
        return _decode(value or b"")
    except UNREADABLE:
        return None


SHORT_ID = 12
"""So many digits of an incident's id are shown where there is little room."""


async def write_incident(settings: Settings, producer: PlainProducer, incident: Incident) -> None:
    """Write a record, as an event where that is asked for, and wait until the brokers have it.

    Raises:
        aiokafka.errors.KafkaError: they do not; it may have been written.
    """
    topic, key = settings.topic(INCIDENTS.name), settings.deployment.encode()
    headers = event_of_incident(incident).headers() if settings.cloud_events else ()
    await producer.send_and_wait(topic, msgspec.json.encode(incident), key=key, headers=list(headers))


class ToldIncident(NamedTuple):
    """The first and the last record of an incident that count."""

    first: Incident
    last: Incident

    def facts(self) -> dict[str, Any]:
        """Return it as plain JSON: the last record that tells of it, and when it was opened."""
        found: dict[str, Any] = msgspec.to_builtins(self.last)
        return found | {"opened_at": self.first.at, "open": self.last.is_open}


class Told:
    """The incidents of a deployment as far as `incidents` was read, in the order in which they were opened."""

    def __init__(self, deployment: str) -> None:
        self._deployment = deployment
        self._incidents: dict[str, ToldIncident] = {}

    @property
    def incidents(self) -> Mapping[str, ToldIncident]:
        """The incidents by id."""
        return self._incidents

    def add(self, incident: Incident) -> bool:
        """Add the next record, and tell whether it is news: none that was told before, nor of what is over."""
        if incident.deployment != self._deployment:
            return False
        known = self._incidents.get(incident.incident_id)
        if known is None:
            self._incidents[incident.incident_id] = ToldIncident(incident, incident)
            return True
        if not self._is_news(known.last, incident):
            return False
        self._incidents[incident.incident_id] = known._replace(last=incident)
        return True

    def next_of(self, incident: Incident) -> Incident | None:
        """Return the record to write of what is to be told; None if it was told, perhaps by another guard.

        The end of an incident is always told, whatever another guard has told of it before.
        """
        known = self._incidents.get(incident.incident_id)
        if known is None:
            return incident
        if incident.kind is IncidentKind.CLOSED and known.last.is_open:
            return msgspec.structs.replace(incident, sequence=max(incident.sequence, known.last.sequence + 1))
        return incident if self._is_news(known.last, incident) else None

    @staticmethod
    def _is_news(last: Incident, incident: Incident) -> bool:
        if not last.is_open or incident.kind is IncidentKind.OPENED:
            return False
        return incident.kind is IncidentKind.CLOSED or incident.sequence > last.sequence

    def open_ones(self) -> list[Incident]:
        """Return the last record of each incident that is open."""
        return [one.last for one in self._incidents.values() if one.last.is_open]


class ToldReader:
    """Reads `incidents` from its beginning, and goes on; open as long as more is to be read."""

    def __init__(self, settings: Settings) -> None:
        self.told = Told(settings.deployment)
        self._tp = TopicPartition(settings.topic(INCIDENTS.name), 0)
        self._consumer = PlainConsumer(
            **connection_options(settings),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=50,
            consumer_timeout_ms=1_000,  # so often it looks for what to fetch, besides where it is told
        )

    async def __aenter__(self) -> Self:
        try:
            await self._consumer.start()
            await require_topic(self._consumer, self._tp.topic)
        except BaseException:  # a cancellation as well
            await self._consumer.stop()
            raise
        self._consumer.assign([self._tp])
        await self._consumer.seek_to_beginning(self._tp)
        self._consumer.pause(self._tp)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def read_to_end(self) -> None:
        """Read up to the end that the topic has now; nothing is fetched before the next reading.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond.
        """
        end = (await self._consumer.end_offsets([self._tp]))[self._tp]
        self._consumer.resume(self._tp)
        while await self._consumer.position(self._tp) < end:
            for record in (await self._consumer.getmany(self._tp, timeout_ms=_FETCH_MS)).get(self._tp, []):
                if (incident := read_incident(record.value)) is not None:
                    self.told.add(incident)
        self._consumer.pause(self._tp)


@asynccontextmanager
async def read_told(settings: Settings) -> AsyncIterator[ToldReader]:
    """Read `incidents` to its end.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not respond, or the topic is missing.
    """
    async with ToldReader(settings) as reader:
        await reader.read_to_end()
        yield reader


async def read_incidents(settings: Settings) -> Sequence[ToldIncident]:
    """Return the deployment's incidents, in the order in which they were opened.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not respond, or the topic is missing.
    """
    async with read_told(settings) as reader:
        return list(reader.told.incidents.values())
