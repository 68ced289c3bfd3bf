"""Whatever client and codec payments come by, each gets one decision, and what is no payment stops nothing else.

The clients are Java's console and performance producers, Java's library, librdkafka and aiokafka; and Produce requests
made by hand for what none of them would send but Apache Kafka stores all the same.
"""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka.codec import snappy_encode, zstd_encode
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from fraudstream_client.outputs import Score
from stream.clock import now_ms
from stream.contract.codes import DeadLetterCode
from stream.engine.decompression import LARGEST_UNPACKED_BYTES
from stream.engine.unpacking import LARGEST_HEADER_COUNT, LARGEST_NAMED
from support.acceptance import FULL
from support.fleet.fleet import Fleet, sources, until
from support.fleet.payments import PARTITIONS, label_of, partition_of, payment
from support.fleet.shipments import (
    CODECS,
    DRAWN,
    HEADERS,
    PER_KIND,
    Place,
    Shipment,
    java_classpath,
    librdkafka_producer,
    send_all,
    shipments,
)
from support.fleet.workers import Worker
from support.kafka.jars import NoJars
from support.kafka.raw_batches import (
    ENCODE,
    Headers,
    RawRecord,
    lz4_with_wrong_checksum,
    produce,
    record_batch,
    records_section,
)
from support.redis.own import OwnRedis
from support.score_headers import passed_on

pytestmark = pytest.mark.usefixtures("apache_kafka")

LARGER_THAN_ANY_TOPIC_TAKES = 3 * 1024 * 1024
NEAR_THE_LIMIT = 1_048_000
"""`max.message.bytes` of the transactions topic is 1,048,588, and holds for a batch."""
ODD_HEADERS: Headers = ((b"kept", b"1"), (b"\xff\xfe", b"2"), (b"", b"3"), (b"kept", None), (b"caf\xe9", b"4"))
PASSED_ON = (("kept", b"1"), ("", b"3"), ("kept", None))
SHORT = {"aiokafka": "zstd", "librdkafka": "lz4", "java": "snappy", "performance": "gzip"}
"""The codec of each client outside of `make acceptance`, which has all pairs."""
BAD = {"amount_minor": -1}
UNTOLD = 10_001
"""Records of a batch that is unreadable if they cannot be told apart; up to one less they are dead letters."""
MANY = 1_500_000
"""Empty headers that gzip makes 3 kB of; the broker takes them."""
OPEN_MS = 60_000
"""How long the brokers leave a transaction open; after 10 s, a worker says that it waits for it."""


def clients() -> list[str]:
    """Return the clients that can run here."""
    try:
        java_classpath()
    except NoJars:
        return ["aiokafka", "librdkafka"]
    return ["aiokafka", "librdkafka", "java", "performance"]


def assert_all_alive(workers: Iterable[Worker]) -> None:
    for worker in workers:
        assert worker.exit_code is None, worker.log()


def values(payments: Iterable[dict[str, Any]]) -> list[tuple[bytes, bytes]]:
    return [(one["card_id"].encode(), msgspec.json.encode(one)) for one in payments]


@pytest.mark.full_size
def test_each_client_with_each_codec_gets_one_decision_for_each_committed_payment(
    apart: Fleet, own_redis: OwnRedis, tmp_path: Path, report: Callable[[str], None]
) -> None:
    workers = apart.go_live(workers=2)
    place = Place(apart.brokers, f"{apart.prefix}transactions", tmp_path)
    sent = [one for one in shipments(*clients()) if FULL or one.codec == SHORT[one.client]]
    send_all(place, sent)
    full = [one for one in sent if one.client != "performance"]
    good = [one for shipment in full for kind in ("good", "committed") for one in shipment.payments(kind)]
    valid = apart.await_scores(len(good))
    assert Counter(score.transaction_id for score in valid) == Counter(one["transaction_id"] for one in good)
    expected = Counter(code for shipment in full for code, _ in shipment.dead())
    expected[DeadLetterCode.WRONG_KEY] += DRAWN * (len(sent) - len(full))
    letters = apart.await_dead_letters(expected.total())
    assert Counter(dict(letter.headers)["error.code"].decode() for letter in letters) == expected
    assert headers_of_scores(apart, full) == {one.name: HEADERS for one in full}
    assert_an_open_transaction_holds_back_its_partition_alone(apart, place, workers)
    assert_log_append_time_is_the_time_of_a_record(apart, place)
    assert_nothing_of_an_aborted_transaction_counts(apart, own_redis, full)
    assert_all_alive(workers)
    report(f"{len(sent)} pairs of a client and a codec: {', '.join(clients())}")


def headers_of_scores(fleet: Fleet, sent: Iterable[Shipment]) -> dict[str, tuple[tuple[str, bytes | None], ...]]:
    """Return the headers of each shipment's first score."""
    names = {one.payments("good")[0]["transaction_id"]: one.name for one in sent}
    found = ((json.loads(record.value)["transaction_id"], passed_on(record.headers)) for record in fleet.read("scores"))
    return {names[name]: headers for name, headers in found if name in names}


def assert_an_open_transaction_holds_back_its_partition_alone(
    fleet: Fleet, place: Place, workers: Sequence[Worker]
) -> None:
    """Leave a transaction open for a while: what is behind it in its partition is decided after its end."""
    before, card = decided(fleet), "open-card"
    other = next(one for one in map(str, range(50)) if partition_of(one) != partition_of(card))
    inside, behind, elsewhere = (payment(900 + at, card_id=one) for at, one in enumerate((card, card, other)))
    name = f"{place.topic}-open"
    with librdkafka_producer(place.brokers, transactional_id=name, transaction_ms=OPEN_MS) as producer:
        producer.init_transactions(30)
        producer.begin_transaction()
        ((key, value),) = values([inside])
        producer.produce(place.topic, value, key, partition=partition_of(card))
        assert producer.flush(30) == 0
        fleet.publish([behind, elsewhere])
        fleet.await_scores(len(before) + 1)
        time.sleep(0.5)  # for the payments of that partition, if they were decided
        assert decided(fleet) - before == {elsewhere["transaction_id"]}
        assert_told_of_held_back(workers, place.topic, partition_of(card))
        producer.commit_transaction(30)
    assert Counter(sources(fleet.await_scores(len(before) + 3)).values()) == {1: len(before) + 3}


def assert_told_of_held_back(workers: Sequence[Worker], topic: str, partition: int) -> None:
    named = f"{topic} partition {partition}: up to 2 records from offset "
    told = [worker for worker in workers if series_of(worker, topic, partition)]
    assert len(told) == 1, "one worker owns the partition"
    until(lambda: any(one.startswith(named) for one in told[0].readiness()[1]), "a reason names the transaction")


def series_of(worker: Worker, topic: str, partition: int) -> bool:
    """Tell whether a worker counts two records behind an open transaction."""
    return f'fraudstream_uncommitted{{partition="{partition}",topic="{topic}"}} 2.0' in worker.get("/metrics")[1]


def decided(fleet: Fleet) -> set[str]:
    return {score.transaction_id for score in fleet.scores()[0]}


def assert_log_append_time_is_the_time_of_a_record(fleet: Fleet, place: Place) -> None:
    """Publish with producers' timestamps long before the payments, which only the broker's own time makes valid."""
    before = decided(fleet)
    resource = ConfigResource(ResourceType.TOPIC, place.topic)
    entry = ConfigEntry("message.timestamp.type", "LogAppendTime", incremental_operation=AlterConfigOpType.SET)
    resource.add_incremental_config(entry)
    admin = AdminClient({"bootstrap.servers": place.brokers})
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(30)
    made = [payment(1_000 + at, card_id=f"appended-{at % len(CODECS)}") for at in range(4 * len(CODECS))]
    for at, codec in enumerate(CODECS):
        with librdkafka_producer(place.brokers, codec) as producer:
            for key, value in values(made[at :: len(CODECS)]):
                producer.produce(place.topic, value, key, timestamp=1)
            assert producer.flush(30) == 0
    valid = {score.transaction_id: score for score in fleet.await_scores(len(before) + len(made))}
    assert {one["transaction_id"] for one in made} <= valid.keys()
    assert all(valid[one["transaction_id"]].latency_ms < 60_000 for one in made)


def assert_nothing_of_an_aborted_transaction_counts(fleet: Fleet, redis: OwnRedis, sent: Sequence[Shipment]) -> None:
    """Look at what was counted: when decided, when rescored, and after the histories are rebuilt from Kafka."""
    before = fleet.scores()[0]
    committed = [shipment.payments("committed") for shipment in sent]
    assert counts_of(before, "-committed-") == {
        one["transaction_id"]: at for payments in committed for at, one in enumerate(payments, 1)
    }
    compared = fleet.cli("score", "--topic", "--diff", "--json")
    assert compared.returncode == 0, compared.stdout[-2_000:] + compared.stderr[-2_000:]
    assert json.loads(compared.stdout)["compared"] == len(before)
    asyncio.run(redis.empty())
    asked = [payments[-1] | {"transaction_id": f"asked-{at}"} for at, payments in enumerate(committed)]
    fleet.publish(asked)
    after = fleet.await_scores(len(before) + len(asked))
    assert counts_of(after, "asked-") == {one["transaction_id"]: PER_KIND + 1 for one in asked}


def counts_of(scores: Iterable[Score], named: str) -> dict[str, float | None]:
    """Return how many payments of its card each of these decisions counted."""
    return {one.transaction_id: (one.features or {})["card_count_30d"] for one in scores if named in one.transaction_id}


def test_a_header_that_is_not_text_is_left_out_and_named_and_its_record_is_decided(fleet: Fleet) -> None:
    workers = fleet.go_live()
    good, odd = list[str](), list[str]()
    for at, codec in enumerate(CODECS):
        card = f"odd-{codec}"
        first, second, third = (payment(10 * at + more, card_id=card) for more in range(3))
        batch = [raw(first), raw(second, ODD_HEADERS), raw(third | BAD, ODD_HEADERS), raw(third)]
        store(fleet, batch, partition_of(card), codec)
        store(fleet, [raw(label_of(first), ODD_HEADERS)], partition_of(card), codec, topic="labels")
        good += [one["transaction_id"] for one in (first, second, third)]
        odd.append(second["transaction_id"])
    valid = fleet.await_scores(len(good))
    fleet.await_outcomes(len(CODECS))
    letters = fleet.await_dead_letters(len(CODECS))
    assert Counter(score.transaction_id for score in valid) == Counter(good)
    assert {one.transaction_id: len(one.dropped) for one in valid if one.dropped} == dict.fromkeys(odd, 2)
    headers = {json.loads(record.value)["transaction_id"]: passed_on(record.headers) for record in fleet.read("scores")}
    assert {name: some for name, some in headers.items() if some} == dict.fromkeys(odd, PASSED_ON)
    for record in (*letters, *fleet.read("outcomes")):
        assert record.headers[: len(PASSED_ON)] == PASSED_ON
    assert_all_alive(workers)


@pytest.mark.acceptance
def test_what_unpacks_to_more_than_a_topic_takes_is_decided_or_is_cut_to_a_dead_letter(fleet: Fleet) -> None:
    workers = fleet.go_live(DEAD_LETTER_VALUES="redacted")
    much, good, bad = "x" * LARGER_THAN_ANY_TOPIC_TAKES, list[str](), 0
    for at, codec in enumerate(CODECS[1:]):
        card = f"large-{codec}"
        wide, headed, last = (payment(10 * at + more, card_id=card) for more in range(3))
        wide["note"] = much
        for one, header in ((wide, ""), (headed, much), (wide | BAD, ""), (headed | BAD, much), (last, "")):
            send_alone(fleet, codec, one, header)
        good += [one["transaction_id"] for one in (wide, headed, last)]
        bad += 2
    near = payment(100, card_id="near")
    near["note"] = "x" * (NEAR_THE_LIMIT - len(msgspec.json.encode(near)))
    store(fleet, [raw(near)], partition_of("near"))
    store(fleet, [raw(near | BAD)], partition_of("near"))
    valid = fleet.await_scores(len(good) + 1)
    letters = [dict(letter.headers) for letter in fleet.await_dead_letters(bad + 1)]
    assert Counter(score.transaction_id for score in valid) == Counter([*good, near["transaction_id"]])
    assert Counter(headers["error.code"] for headers in letters) == {b"invalid_field": bad + 1}
    assert sum("error.truncated" in headers for headers in letters) == bad
    dropped = [one.dropped for one in valid if one.dropped]
    assert len(dropped) == len(CODECS[1:])
    assert all("note" in name for names in dropped for name in names)
    assert_many_headers_delay_nothing(fleet, workers)
    assert_all_alive(workers)


def assert_many_headers_delay_nothing(fleet: Fleet, workers: Sequence[Worker]) -> None:
    """Store a payment with `MANY` empty headers, which are 3 kB, and its label likewise, among ordinary payments."""
    before = decided(fleet)
    ordinary = [payment(1_000 + at, card_id=f"beside-{at % 40}") for at in range(400)]
    assert {partition_of(one["card_id"]) for one in ordinary} == set(range(PARTITIONS))
    many, headers = payment(2_000, card_id="many"), [(b"", None)] * MANY
    fleet.publish(ordinary[:200])
    store(fleet, [raw(many, headers)], partition_of("many"), "gzip")
    store(fleet, [raw(label_of(many), headers)], partition_of("many"), "gzip", topic="labels")
    fleet.publish(ordinary[200:])
    expected = before | {one["transaction_id"] for one in (*ordinary, many)}
    deadline = time.monotonic() + 60
    while sum(fleet.ends("scores").values()) < len(expected) or not sum(fleet.ends("outcomes").values()):
        assert time.monotonic() < deadline
        assert [worker.get("/health/live", 2.0)[0] for worker in workers] == [200] * len(workers)
    valid = fleet.await_scores(len(expected))
    assert Counter(score.transaction_id for score in valid) == Counter(expected)
    assert [one.dropped[-1] for one in valid if one.transaction_id == many["transaction_id"]] == [
        f"headers: {MANY - LARGEST_HEADER_COUNT - LARGEST_NAMED} more"
    ]


def test_records_of_a_batch_that_cannot_be_unpacked_are_dead_letters_and_their_partition_goes_on(fleet: Fleet) -> None:
    workers = fleet.go_live()
    card = "beside"
    here, section = partition_of(card), records_section([raw(payment(number, card_id=card)) for number in range(3)])
    fleet.publish([payment(10, card_id=card)])
    first = store_section(fleet, (lz4_with_wrong_checksum(section), 3), here, "lz4")
    bomb = records_section([RawRecord(card.encode(), bytes(LARGEST_UNPACKED_BYTES))])
    store_section(fleet, (zstd_encode(bomb), 1), here, "zstd")
    fleet.publish([payment(11, card_id=card)])
    fleet.await_scores(2)
    letters = [dict(letter.headers) for letter in fleet.await_dead_letters(4)]
    assert [int(headers["source.offset"]) for headers in letters] == list(range(first, first + 4))
    assert {headers["error.code"] for headers in letters} == {b"unreadable_record"}
    assert all(b"its batch cannot be unpacked" in headers["error.detail"] for headers in letters)
    assert_all_alive(workers)


def test_many_records_that_cannot_be_told_apart_halt_their_own_partition_alone_and_are_told_of(fleet: Fleet) -> None:
    workers = fleet.go_live()
    cards = [next(one for one in map(str, range(50)) if partition_of(one) == here) for here in range(PARTITIONS)]
    first, second = ([payment(at + card, card_id=cards[card]) for card in range(PARTITIONS)] for at in (0, 10))
    fleet.publish(first)
    fleet.await_scores(PARTITIONS)
    section = records_section([RawRecord(None, b"{}")] * UNTOLD)
    damaged = {"lz4": lz4_with_wrong_checksum(section), "snappy": snappy_encode(section) + b".."}
    unreadable = {
        0: store_section(fleet, (damaged["lz4"], UNTOLD), 0, "lz4"),
        1: store_section(fleet, (damaged["lz4"], UNTOLD), 1, "lz4"),
        2: store_section(fleet, (damaged["snappy"], UNTOLD), 2, "snappy"),
    }
    fleet.publish([label_of(first[0])], topic="labels")
    stray = store_section(fleet, (damaged["snappy"], UNTOLD), 0, "snappy", topic="labels")
    fleet.publish([label_of(first[-1])], topic="labels")
    fleet.publish(second)
    fleet.await_scores(PARTITIONS + 1)
    fleet.await_outcomes(2)
    until(lambda: all(told(workers, *where) for where in (*unreadable.items(), (0, stray))), "all four are told of")
    log = "".join(worker.log() for worker in workers)
    for partition, offset in unreadable.items():
        last = offset + UNTOLD - 1
        assert f"transactions partition {partition} is set aside: offsets {offset} to {last} cannot be read" in log
    assert decided(fleet) == {one["transaction_id"] for one in (*first, second[-1])}
    assert "warning: what is at offset 0 can be read here" in skip(fleet, 0, 0)
    assert "warning" not in skip(fleet, 0, unreadable[0])
    fleet.await_scores(PARTITIONS + 2)
    assert decided(fleet) == {one["transaction_id"] for one in (*first, second[0], second[-1])}
    assert_all_alive(workers)


def skip(fleet: Fleet, partition: int, offset: int) -> str:
    """Pass over an offset of `transactions`, and return what the command warns of."""
    place = ("--topic", f"{fleet.prefix}transactions", "--partition", str(partition), "--offset", str(offset))
    done = fleet.cli("dead-letters", "skip", *place, "--reason", "a test damaged it")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def test_a_record_that_claims_an_offset_behind_its_batch_makes_no_later_payment_disappear(fleet: Fleet) -> None:
    workers = fleet.go_live()
    card = "claims"
    claiming = store_section(fleet, (records_section([raw(payment(0, card_id=card))], first=40), 1), partition_of(card))
    later = [payment(number, card_id=card) for number in range(1, 6)]
    fleet.publish(later)
    names = {one["transaction_id"] for one in later}
    until(
        lambda: names <= decided(fleet) or told(workers, partition_of(card), claiming),
        "the later payments are decided, or the worker tells why they are not",
    )
    assert_all_alive(workers)


# --- records made by hand


def raw(one: dict[str, Any], headers: Headers = ()) -> RawRecord:
    return RawRecord(one["card_id"].encode(), msgspec.json.encode(one), headers)


def store(
    fleet: Fleet, records: Sequence[RawRecord], partition: int, codec: str = "none", *, topic: str = "transactions"
) -> int:
    """Have the broker store a batch, and return its first offset."""
    section = ENCODE[codec](records_section(records))
    return store_section(fleet, (section, len(records)), partition, codec, topic=topic)


def store_section(
    fleet: Fleet, content: tuple[bytes, int], partition: int, codec: str = "none", *, topic: str = "transactions"
) -> int:
    """Have the broker store a batch of these bytes, which claim to be so many records; return its first offset."""
    section, count = content
    batch = record_batch(section, count, now_ms(), codec)
    return produce(int(fleet.brokers.rpartition(":")[2]), f"{fleet.prefix}{topic}", partition, batch)


def send_alone(fleet: Fleet, codec: str, one: dict[str, Any], header: str) -> None:
    """Send a payment in a batch of its own."""
    with librdkafka_producer(fleet.brokers, codec) as producer:
        headers = [("note", header.encode())] if header else []
        key, value = one["card_id"].encode(), msgspec.json.encode(one)
        place = {"partition": partition_of(one["card_id"]), "headers": headers}
        producer.produce(f"{fleet.prefix}transactions", value, key, **place)
        assert producer.flush(30) == 0


def told(workers: Sequence[Worker], partition: int, offset: int) -> bool:
    """Tell whether a worker that is not ready names the partition and the offset."""
    reasons = [reason for worker in workers for reason in worker.readiness()[1]]
    return any(f"partition {partition}" in one and re.search(rf"\b{offset}\b", one) for one in reasons)
