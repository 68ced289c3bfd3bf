"""Producers with different partitioners: `topics check` names them, and scores of their cards are marked."""

import asyncio
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer

from support.fleet.fleet import Fleet, until
from support.fleet.payments import PARTITIONS, payment
from support.fleet.shipments import Place, java_classpath, run_java
from support.kafka.jars import NoJars

pytestmark = pytest.mark.usefixtures("apache_kafka")

BY_TOPIC = {"transactions": "crc32", "scores": "murmur2", "outcomes": "fnv1a", "labels": "murmur2"}
OF_LIBRDKAFKA = {"transactions": "consistent_random", "scores": "murmur2_random", "outcomes": "fnv1a_random"}
CARDS = 120
MARKED = 'fraudstream_degraded_total{reason="card_on_two_partitions"} '


def payments(numbers: Iterable[int]) -> list[dict[str, Any]]:
    return [payment(number, card_id=f"card-{number % CARDS}") for number in numbers]


def by_librdkafka(fleet: Fleet, topic: str, sent: Iterable[dict[str, Any]], partitioner: str | None = None) -> None:
    options = {"partitioner": partitioner} if partitioner else {}
    producer = Producer({"bootstrap.servers": fleet.brokers, "log_level": 2} | options)
    for one in sent:
        producer.produce(f"{fleet.prefix}{topic}", msgspec.json.encode(one), one["card_id"])
    assert producer.flush(30) == 0


def by_aiokafka(fleet: Fleet, topic: str, sent: Sequence[dict[str, Any]]) -> None:
    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=fleet.brokers) as producer:
            for one in sent:
                await producer.send(f"{fleet.prefix}{topic}", msgspec.json.encode(one), one["card_id"].encode())

    asyncio.run(send())


def by_java(fleet: Fleet, topic: str, sent: Sequence[dict[str, Any]], folder: Path) -> None:
    file = folder / "payments.txt"
    file.write_text("".join(f"a:b\t{one['card_id']}\t{json.dumps(one)}\n" for one in sent))
    run_java(Place(fleet.brokers, f"{fleet.prefix}{topic}", folder), "java", [["console", "none", str(file)]])


def checked(fleet: Fleet, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    done = fleet.cli("topics", "check", "--json", *arguments)
    assert done.stderr == ""
    found: list[dict[str, Any]] = json.loads(done.stdout)["topics"]
    return done.returncode, found


def test_the_partitioner_of_each_client_is_named(fleet: Fleet, tmp_path: Path) -> None:
    sent, expected = payments(range(3 * CARDS)), dict(BY_TOPIC)
    for topic, partitioner in OF_LIBRDKAFKA.items():
        by_librdkafka(fleet, topic, sent, partitioner)
    by_aiokafka(fleet, "labels", sent)
    try:
        java_classpath()
    except NoJars:
        pass
    else:
        by_java(fleet, "shadow-scores", sent, tmp_path)
        expected["shadow-scores"] = "murmur2"
    for topic, name in expected.items():
        code, (found,) = checked(fleet, "--topic", f"{fleet.prefix}{topic}")
        assert (code, found["verdict"], found["cards"], found["records"]) == (0, "one", CARDS, 3 * CARDS), topic
        assert found["written_by"] == [{"partitioner": name, "partitions": PARTITIONS, "placements": CARDS}], topic
    code, (found,) = checked(fleet, "--topic", f"{fleet.prefix}transactions", "--records", "50")
    assert found["records"] == 50 * PARTITIONS


def test_a_topic_without_records_tells_nothing_and_a_mixture_ends_with_1(fleet: Fleet) -> None:
    empty = fleet.cli("topics", "check")
    assert (empty.returncode, empty.stdout.count("too few cards to tell")) == (0, 4)
    by_librdkafka(fleet, "transactions", payments(range(CARDS)))
    by_aiokafka(fleet, "transactions", payments(range(CARDS, 2 * CARDS)))
    mixed = fleet.cli("topics", "check")
    assert mixed.returncode == 1
    assert f"{fleet.prefix}transactions: several partitioners (240 records of 120 cards" in mixed.stdout
    assert re.search(r"^  murmur2: 120 cards; Java's client", mixed.stdout, re.MULTILINE)
    assert re.search(r"^  crc32: \d+ cards; librdkafka's default", mixed.stdout, re.MULTILINE)
    assert re.search(r"^  on two partitions or more: \d\d cards, 7\d\.\d% of those read$", mixed.stdout, re.MULTILINE)


def test_scores_of_cards_on_two_partitions_are_marked_and_counted_and_differ_in_nothing_when_rescored(
    fleet: Fleet,
) -> None:
    (worker,) = fleet.go_live(MARK_YOUNG_HISTORY="true")
    count = 0
    for turn in range(4):
        sent = payments(range(turn * CARDS, (turn + 1) * CARDS))
        by_librdkafka(fleet, "transactions", sent) if turn % 2 else by_aiokafka(fleet, "transactions", sent)
        count += len(sent)
        valid = fleet.await_scores(count)
    partitions = {
        card: {one.source.partition for one in valid if one.card_id == card} for card in {one.card_id for one in valid}
    }
    divided = {card for card, found in partitions.items() if len(found) > 1}
    assert 0.5 * CARDS < len(divided) < CARDS
    assert {one.degraded for one in valid} == {("history_young",), ("card_on_two_partitions", "history_young")}
    marked = [one for one in valid if "card_on_two_partitions" in one.degraded]
    assert {one.card_id for one in marked} == divided
    assert len(marked) == 2 * len(divided)  # of four payments the third is the first that goes back
    assert all((one.features or {})["card_count_30d"] in {3, 4} for one in marked)
    until(lambda: f"{MARKED}{len(marked)}.0" in worker.get("/metrics")[1], "the marked scores are counted")
    young, two = json.loads(worker.get("/health/ready")[1])["warnings"]
    assert young.startswith("histories go back 0 days, but features look back 37")
    assert two.startswith(f"{len(marked)} decisions are about cards whose payments come by two partitions")
    assert "decisions are about cards whose payments come by two partitions" in worker.log()
    assert "fraudstream_history_missing_days 37.0" in worker.get("/metrics")[1]
    compared = json.loads(fleet.cli("score", "--topic", "--diff", "--json").stdout)
    assert (compared["compared"], compared["equal"], compared["unexplained"]) == (count, count, 0)
