"""Slots of payments on Kafka: the first records of each partition by their times, what is found and told of them."""

import asyncio
from contextlib import AsyncExitStack
from itertools import count

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka.admin import AdminClient, NewTopic

from features.declaration import HOUR_MS
from fraudstream.ops.watch.fields import sample
from fraudstream.ops.watch.fields.judgement import SLOT_MS, FieldFindings
from fraudstream.ops.watch.fields.process import FieldWatcher
from fraudstream.ops.watch.fields.sample import SLOT_RECORDS, look_at_fields, read_slots, rules_of
from fraudstream.ops.watch.incidents.told import read_told
from fraudstream_client.incidents import Incident, IncidentRule
from models.times import stated_ms
from stream.clock import now_ms
from stream.settings import Settings
from support.fleet.payments import payment
from support.kafka.cluster import Cluster

HOURS = 26


async def publish(settings: Settings, now: int) -> None:
    """Write a payment each 15 s of 26 hours, those of each partition in the order of time."""
    numbers = count()
    async with AIOKafkaProducer(bootstrap_servers=settings.brokers) as producer:
        for at_ms in range(now - HOURS * HOUR_MS, now, 15_000):
            has_device = at_ms < now - HOUR_MS
            one = payment(next(numbers), **({"device_id": "d-1"} if has_device else {"attributes": {"ip": "x"}}))
            await producer.send(
                settings.topic("transactions"),
                msgspec.json.encode(one),
                one["card_id"].encode(),
                timestamp_ms=at_ms,
                partition=next(numbers) // 2 % 2,
            )


def test_the_last_day_is_counted_in_slots_and_a_field_that_stopped_is_found_and_told_of(
    kafka: Cluster, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(brokers=kafka.brokers, topic_prefix=topic_prefix, worker_id="guard-1")
    topics = [NewTopic(settings.topic("transactions"), 2, 1), NewTopic(settings.topic("incidents"), 1, 1)]
    admin = AdminClient({"bootstrap.servers": kafka.brokers})
    for made in admin.create_topics(topics).values():
        made.result(30)
    now = now_ms()
    monkeypatch.setattr(sample, "now_ms", lambda: now)

    async def look() -> tuple[list[int], FieldFindings | None]:
        await publish(settings, now)
        begins = [now - 2 * HOURS * HOUR_MS, now - 2 * HOUR_MS, now - SLOT_MS, now + HOUR_MS]
        slots = [one async for one in read_slots(settings, begins, rules_of(settings)[0])]
        return [one.payments for one in slots], await look_at_fields(settings)

    payments, found = asyncio.run(look())
    assert payments == [0, 20, 20, 0]
    assert max(payments) <= 2 * SLOT_RECORDS
    assert found is not None
    assert [one.name for one in found.stopped] == ["device_id"]
    assert abs(found.stopped[0].since_ms - (now - HOUR_MS)) <= SLOT_MS
    assert found.undeclared == {"ip": 1.0}
    guard = FieldWatcher(settings)

    async def watch() -> list[Incident]:
        async with AsyncExitStack() as stack:
            await guard.turn(await guard.connect(stack))
        async with read_told(settings) as told:
            return told.told.open_ones()

    (incident,) = asyncio.run(watch())
    assert (incident.rule, [*incident.reasons]) == (IncidentRule.FIELD_STOPPED, ["device_id"])
    assert abs(stated_ms(incident.since) - (now - HOUR_MS)) <= SLOT_MS
    assert guard.gauges()["fraudstream.field.stopped"]() == {("device_id",): 1}
