"""A field that stops and one that begins, told of by a guard's process: the topic, its metrics, and `status`."""

import asyncio
import json
from itertools import count
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from features.declaration import HOUR_MS, MINUTE_MS
from fraudstream_client.incidents import IncidentRule
from models.times import format_time
from stream.clock import now_ms
from support.fleet.fleet import Fleet, until
from support.fleet.incidents import guard_of
from support.fleet.payments import partition_of, payment

pytestmark = pytest.mark.acceptance


def fields(at_ms: int, changed_ms: int) -> dict[str, Any]:
    if at_ms < changed_ms:
        return {"device_id": "d-1"}
    return {"channel": "pos", "attributes": {"ip_land": "NG"}}


async def publish(fleet: Fleet, now: int) -> None:
    """Write a payment each 20 s of 26 hours, by their own times; what they have changed 40 minutes ago.

    That is more than the half hour that is looked at, and hardly more: a new field is new for so long.
    """
    numbers = count()
    async with AIOKafkaProducer(bootstrap_servers=fleet.brokers) as producer:
        for at_ms in range(now - 26 * HOUR_MS, now, 20_000):
            changes = fields(at_ms, now - 40 * MINUTE_MS)
            one = payment(next(numbers), occurred_at=format_time(at_ms), **changes)
            key, partition = one["card_id"].encode(), partition_of(one["card_id"])
            value, topic = msgspec.json.encode(one), f"{fleet.prefix}transactions"
            await producer.send(topic, value, key, partition, timestamp_ms=at_ms)


def test_a_guard_tells_of_fields_that_stopped_and_began_and_status_names_them(fleet: Fleet) -> None:
    fleet.go_live()
    asyncio.run(publish(fleet, now_ms()))
    before = json.loads(fleet.cli("status", "--json").stdout)
    assert [one["field"] for one in before["fields"]["stopped"]] == ["device_id"], "without a guard"
    assert any("device_id" in one["what"] for one in before["look_first"])
    guard = guard_of(fleet)
    gauge = 'fraudstream_field_{}{{field="{}"}}'
    until(lambda: guard.metric(gauge.format("stopped", "device_id")) == 1, "the guard's metric", 60)
    assert guard.metric(gauge.format("begun", "channel")) == 1
    found = json.loads(fleet.cli("status", "--json").stdout)
    open_ones = {one["rule"]: [*one["reasons"]] for one in found["incidents"]}
    assert open_ones == {IncidentRule.FIELD_STOPPED: ["device_id"], IncidentRule.FIELD_BEGUN: ["channel"]}
    assert found["fields"]["undeclared"] == {"ip_land": 1.0}
