"""A payment from the far future is refused, and harms its card's and its merchant's histories neither now nor later."""

import asyncio
from typing import Any

import msgspec
import pytest

from models.times import format_time
from stream.clock import now_ms
from support.fleet.fleet import Fleet, until
from support.fleet.payments import partition_of, payment
from support.fleet.shipments import librdkafka_producer
from support.kafka.admin import set_on_topic
from support.redis.own import OwnRedis

pytestmark = pytest.mark.usefixtures("apache_kafka")

YEAR_MS = 365 * 86_400_000


def genuine(number: int) -> dict[str, Any]:
    return payment(number, card_id="card", merchant_id="shop") | {"occurred_at": format_time(now_ms() - 1_000)}


@pytest.mark.acceptance
def test_a_payment_a_year_ahead_is_refused_and_left_out_when_histories_are_rebuilt(
    apart: Fleet, own_redis: OwnRedis
) -> None:
    topic = f"{apart.prefix}transactions"
    set_on_topic(apart.brokers, topic, message_timestamp_after_max_ms=str(2 * YEAR_MS))
    (worker,) = apart.go_live()
    ahead_ms = now_ms() + YEAR_MS
    ahead = genuine(900) | {"occurred_at": format_time(ahead_ms)}
    with librdkafka_producer(apart.brokers) as producer:
        value, partition = msgspec.json.encode(ahead), partition_of("card")
        producer.produce(topic, value, b"card", partition=partition, timestamp=ahead_ms)
        assert producer.flush(30) == 0
    apart.publish([genuine(number) for number in range(3)])
    apart.await_scores(3)
    (letter,) = apart.await_dead_letters(1)
    assert dict(letter.headers)["error.code"] == b"ahead_of_clock"
    asyncio.run(own_redis.empty())
    until(lambda: any("lost histories" in one for one in worker.readiness()[1]), "the loss is noticed")
    worker.await_ready()
    apart.publish([genuine(3)])
    scores = {score.transaction_id: score for score in apart.await_scores(4)}
    assert scores.keys() == {f"t-{number}" for number in range(4)}
    assert [(scores[f"t-{number}"].features or {})["card_count_30d"] for number in range(4)] == [1, 2, 3, 4]
    compared = apart.cli("score", "--topic", "--diff", "--json")
    assert compared.returncode == 0, compared.stdout + compared.stderr
