"""Shipments of payments, each by one client library with one codec: good and bad records, and two transactions.

The clients are Java's (the console producer, the performance producer, and its library's transactions), librdkafka's
and aiokafka. Each uses its own partitioner, and cards of its own, so all of a card's payments share a partition.
"""

import asyncio
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer

from stream.contract.codes import DeadLetterCode
from support.fleet.payments import payment
from support.kafka.jars import SUPPORT, NoJars, tools_classpath

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
IN_TRANSACTIONS = ("aborted", "committed")
"""In this order."""
PER_KIND = 3
DRAWN = 8
"""Values that a performance producer sends; it has no keys, so each of them is a dead letter."""
HEADERS: tuple[tuple[str, bytes | None], ...] = (
    ("correlation-id", b"c-1"),
    ("twice", b"1"),
    ("twice", b"2"),
    ("", b"no name"),
    ("empty", b""),
    ("null", None),
    ("größe", "zwölf".encode()),
)
"""Odd, but all of them can be passed on."""
LARGEST_REQUEST = 16 * 1024 * 1024
JAVA_SECONDS = 120.0
TRANSACTION_MS = 10_000
"""After which the coordinator aborts a transaction that its producer has left."""

Sent = tuple[str | None, bytes | None]


class Place(NamedTuple):
    """Where shipments are sent to, and a folder for files."""

    brokers: str
    topic: str
    folder: Path


class Shipment(NamedTuple):
    """What one client sends with one codec; names, and numbers of payments, are its own."""

    client: str
    codec: str
    first: int

    @property
    def name(self) -> str:
        return f"{self.client}-{self.codec}"

    def payments(self, kind: str) -> list[dict[str, Any]]:
        """Return the payments of a kind; those of transactions share a card, so an aborted one would be counted."""
        card = f"{self.name}-{'shared' if kind in IN_TRANSACTIONS else kind}"
        numbers = range(self.first, self.first + PER_KIND)
        return [payment(at, transaction_id=f"{self.name}-{kind}-{at}", card_id=card) for at in numbers]

    def keyed(self, kind: str) -> list[tuple[str, bytes]]:
        """Return the payments of a kind as keys and values."""
        return [(one["card_id"], msgspec.json.encode(one)) for one in self.payments(kind)]

    def dead(self) -> list[tuple[DeadLetterCode, Sent]]:
        """Return what becomes a dead letter: a tombstone, a payment without a key, and no payment at all."""
        card = f"{self.name}-bad"
        (_, without_a_key), *_ = self.keyed("bad")
        return [
            (DeadLetterCode.EMPTY_VALUE, (card, None)),
            (DeadLetterCode.WRONG_KEY, (None, without_a_key)),
            (DeadLetterCode.NOT_JSON, (card, b"no payment")),
        ]


def shipments(*clients: str) -> list[Shipment]:
    """Return a shipment for each client and codec."""
    names = [(client, codec) for client in clients for codec in CODECS]
    return [Shipment(client, codec, at * PER_KIND) for at, (client, codec) in enumerate(names)]


def send_all(place: Place, sent: Iterable[Shipment]) -> None:
    """Send all shipments, each kind of client at the same time as the others."""
    by_client: dict[str, list[Shipment]] = {}
    for one in sent:
        by_client.setdefault(one.client, []).append(one)
    with ThreadPoolExecutor(len(SENDERS)) as pool:
        for done in [pool.submit(SENDERS[client], place, group) for client, group in by_client.items()]:
            done.result()


# --- aiokafka


def by_aiokafka(place: Place, sent: Sequence[Shipment]) -> None:
    """Send shipments by aiokafka."""
    for one in sent:
        asyncio.run(_by_aiokafka(place, one))


async def _by_aiokafka(place: Place, one: Shipment) -> None:
    options = {"bootstrap_servers": place.brokers, "compression_type": None if one.codec == "none" else one.codec}
    async with AIOKafkaProducer(**options, linger_ms=5) as producer:
        for key, value in [*one.keyed("good"), *(bad for _, bad in one.dead())]:
            await producer.send(place.topic, value, key and key.encode(), headers=list(HEADERS))
    transactional_id = f"{place.topic}-{one.name}"
    async with AIOKafkaProducer(**options, transactional_id=transactional_id) as producer:
        for kind, end in zip(IN_TRANSACTIONS, (producer.abort_transaction, producer.commit_transaction), strict=True):
            await producer.begin_transaction()
            for key, value in one.keyed(kind):
                await producer.send_and_wait(place.topic, value, key.encode())
            await end()


# --- librdkafka


def by_librdkafka(place: Place, sent: Sequence[Shipment]) -> None:
    """Send shipments by librdkafka."""
    for one in sent:
        with librdkafka_producer(place.brokers, one.codec) as producer:
            for key, value in [*one.keyed("good"), *(bad for _, bad in one.dead())]:
                producer.produce(place.topic, value, key, headers=list(HEADERS))
            assert producer.flush(30) == 0
        with librdkafka_producer(place.brokers, one.codec, f"{place.topic}-{one.name}") as producer:
            producer.init_transactions(30)
            for kind, end in zip(
                IN_TRANSACTIONS, (producer.abort_transaction, producer.commit_transaction), strict=True
            ):
                producer.begin_transaction()
                for key, value in one.keyed(kind):
                    producer.produce(place.topic, value, key)
                assert producer.flush(30) == 0
                end(30)


def librdkafka_producer(
    brokers: str, codec: str = "none", transactional_id: str | None = None, transaction_ms: int = TRANSACTION_MS
) -> Producer:
    """Return an idempotent producer of librdkafka, which sends what it has together."""
    options = {"bootstrap.servers": brokers, "compression.codec": codec, "linger.ms": 20, "log_level": 2}
    options |= {"acks": "all", "enable.idempotence": True, "message.max.bytes": LARGEST_REQUEST}
    transactions = {"transactional.id": transactional_id, "transaction.timeout.ms": transaction_ms}
    return Producer(options | (transactions if transactional_id else {}))


# --- Java


def by_java(place: Place, sent: Sequence[Shipment]) -> None:
    """Send shipments by the console producer and in transactions of Java's library."""
    jobs = []
    for one in sent:
        records = [*one.keyed("good"), *(bad for _, bad in one.dead())]
        jobs.append(["console", one.codec, _file(place, f"{one.name}-console", map(_console_line, records))])
        for kind, outcome in zip(IN_TRANSACTIONS, ("abort", "commit"), strict=True):
            lines = (f"{key}\t{value.decode()}" for key, value in one.keyed(kind))
            file = _file(place, f"{one.name}-{kind}", lines)
            jobs.append(["transaction", one.codec, file, f"{place.topic}-{one.name}", outcome])
    run_java(place, sent[0].client, jobs)


def by_performance_producer(place: Place, sent: Sequence[Shipment]) -> None:
    """Have the performance producer draw `DRAWN` payments of each shipment, without keys, in transactions."""
    jobs = []
    for one in sent:
        file = _file(place, one.name, (value.decode() for _, value in one.keyed("drawn")))
        jobs.append(["performance", one.codec, file, str(DRAWN), f"{place.topic}-{one.name}"])
    run_java(place, sent[0].client, jobs)


def _console_line(record: Sent) -> str:
    key, value = record
    headers = ",".join(f"{name}:{'NULL' if content is None else content.decode()}" for name, content in HEADERS)
    return "\t".join((headers, "NULL" if key is None else key, "NULL" if value is None else value.decode()))


def _file(place: Place, name: str, lines: Iterable[str]) -> str:
    file = place.folder / f"{name}.txt"
    file.write_text("".join(f"{line}\n" for line in lines))
    return str(file)


def run_java(place: Place, name: str, jobs: Iterable[Sequence[str]], program: str = "ForeignProducers.java") -> None:
    """Run the jobs of a program in one process; the name is that of the file for them.

    Raises:
        NoJars: there is no JDK, or the artifacts cannot be resolved.
    """
    jars = java_classpath()
    file = _file(place, f"{name}-jobs", ("\t".join(job) for job in jobs))
    command = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", jars]
    command += [str(SUPPORT / "kafka" / program), place.brokers, place.topic, file]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=JAVA_SECONDS)
    assert done.returncode == 0, done.stdout[-1_500:] + done.stderr[-3_000:]


def java_classpath() -> str:
    """Return the class path of Kafka's tools.

    Raises:
        NoJars: there is no JDK, or the artifacts cannot be resolved.
    """
    if shutil.which("javac") is None:
        raise NoJars("no javac on PATH: a JDK is needed to run Java's producers")
    return tools_classpath()


SENDERS: dict[str, Callable[[Place, Sequence[Shipment]], None]] = {
    "aiokafka": by_aiokafka,
    "librdkafka": by_librdkafka,
    "java": by_java,
    "performance": by_performance_producer,
}
