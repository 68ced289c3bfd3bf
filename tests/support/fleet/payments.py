"""Payments and models for integration tests; publishes payments to their card's partition, and reads topics."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from features.declaration import FeatureSet, load
from features.memory_store import MemoryStore
from features.vector.vectorise import vectorise
from models import loading
from models.artifact import Artifact, Manifest, ProbeHistories, ProbeRows, TrainingData, vectors_of, write_artifact
from models.booster import text_of
from models.calibration import Calibrator
from models.policy import Policy
from models.repository import Repository
from models.times import format_time
from stream.contract.codes import Rejection
from stream.contract.transaction import read_transaction
from stream.control.probes import vectorise_probe, write_probe
from stream.scoring.decode import decode
from support.model_artifacts import CALIBRATION, train

PARTITIONS = 4
PARTITIONED = ("transactions", "labels")
START_MS = 1_760_000_000_000
FEATURES = load(None)


class ConsumedRecord:
    """A record as a consumer returns it."""

    def __init__(self, value: bytes, key: bytes, offset: int = 0) -> None:
        self.topic, self.partition, self.offset, self.timestamp, self.timestamp_type = "t", 0, offset, 2**50, 0
        self.left_out, self.left_out_more, self.damage = (), 0, ""
        self.key, self.value, self.headers = key, value, ()


def payment(number: int, *, cards: int = 50, merchants: int = 20, **changes: Any) -> dict[str, Any]:
    """Make transaction `number` of a stream: a second apart, of few cards and merchants."""
    random = np.random.default_rng(number)
    return {
        "transaction_id": f"t-{number}",
        "card_id": f"card-{random.integers(cards)}",
        "merchant_id": f"merchant-{random.integers(merchants)}",
        "occurred_at": format_time(START_MS + number * 1000),
        "amount_minor": int(random.integers(100, 50_000)),
        "currency": "EUR",
    } | changes


def label_of(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return the label that says that a payment was fraud."""
    about = {name: one[name] for name in ("transaction_id", "card_id")}
    return about | {"fraud": True, "labelled_at": "2026-01-01T00:00:00Z", "reported_by": "analyst"}


def partition_of(card_id: str, partitions: int = PARTITIONS) -> int:
    """Return a card's partition; any rule that keeps a card on one partition will do."""
    return int.from_bytes(hashlib.blake2b(card_id.encode(), digest_size=4).digest(), "little") % partitions


def model_for_tests(
    *, seed: int = 0, trees: int = 5, features: FeatureSet = FEATURES, **overrides: Any
) -> dict[str, bytes]:
    """Make a real artifact, by default for the default features, with probe histories of a short stream."""
    encoded = [msgspec.json.encode(payment(number, cards=3)) for number in range(60)]
    records = [
        ConsumedRecord(value, msgspec.json.decode(value)["card_id"].encode(), at) for at, value in enumerate(encoded)
    ]
    columns = decode(records, 0).columns
    observed = MemoryStore(features).observe_now(columns)
    vectors = vectorise(features, columns, observed)[-20:]
    booster = train(features.names, seed=seed, trees=trees)
    scores = Calibrator.of(CALIBRATION).probabilities(np.asarray(booster.predict(vectors, raw_score=True)))
    probes = [write_probe(columns, observed, row) for row in range(40, 60)]
    manifest = Manifest(
        **{
            "name": "card",
            "version": str(seed),
            "fingerprint": features.fingerprint,
            "feature_names": features.names,
            "training": TrainingData(
                since=format_time(0), until=format_time(1), rows=400, frauds=60, fingerprint="0" * 64
            ),
            "code_version": "0",
            "parameters": {},
            "seed": seed,
            "metrics": {},
            "calibration": CALIBRATION,
            "policy": Policy(review_at=0.5, decline_at=0.8),
        }
        | overrides
    )
    return write_artifact(
        Artifact(
            manifest=manifest,
            model_text=text_of(booster),
            probe_rows=ProbeRows(vectors_of(vectors), tuple(scores.tolist())),
            probe_histories=ProbeHistories(tuple(map(msgspec.Raw, probes)), vectors_of(vectors)),
        )
    )


def luhn(head: str) -> str:
    """Complete digits to a number that passes Luhn's check."""
    doubled = [int(digit) for digit in head[::-1]]
    total = sum(sum(divmod(2 * digit, 10)) if at % 2 == 0 else digit for at, digit in enumerate(doubled))
    return head + str(-total % 10)


def put_model(folder: str, **options: Any) -> str:
    """Put a model into a repository and return its digest."""
    return Repository(folder).put(model_for_tests(**options))


def loaded_model(folder: str, digest: str) -> loading.Model:
    """Load a model from a repository as a worker does."""
    found = loading.load(Repository(folder), digest, {FEATURES.fingerprint: vectorise_probe(FEATURES)})
    assert isinstance(found, loading.Model)
    return found


async def publish(brokers: str, topic: str, payments: Iterable[Mapping[str, Any] | tuple[Any, ...]]) -> None:
    """Publish payments, or keys with values and maybe headers, each to its card's partition, in order."""
    producer = AIOKafkaProducer(bootstrap_servers=brokers, linger_ms=5)
    await producer.start()
    try:
        for one in payments:
            key, value, *headers = one if isinstance(one, tuple) else (one["card_id"], msgspec.json.encode(one))
            partition = partition_of(key) if topic.endswith(PARTITIONED) else 0
            own: list[tuple[str, bytes]] = headers[0] if headers else []
            await producer.send(topic, value=value, key=key.encode(), partition=partition, headers=own)
        await producer.flush()
    finally:
        await producer.stop()


async def read_topic(brokers: str, topic: str) -> list[Any]:
    """Read every record of a topic that is there now, each partition in order."""
    consumer = AIOKafkaConsumer(bootstrap_servers=brokers, enable_auto_commit=False, fetch_max_wait_ms=50)
    await consumer.start()
    try:
        partitions = sorted(consumer.partitions_for_topic(topic) or await _partitions(consumer, topic))
        assigned = [TopicPartition(topic, partition) for partition in partitions]
        consumer.assign(assigned)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(assigned)
        records: list[Any] = []
        for tp in assigned:
            while await consumer.position(tp) < ends[tp]:
                records += (await consumer.getmany(tp, timeout_ms=200)).get(tp, [])
        return records
    finally:
        await consumer.stop()


async def ends(brokers: str, topic: str) -> dict[int, int]:
    """Return how many records each partition of a topic has, by offsets; nothing here is compacted or deleted."""
    consumer = AIOKafkaConsumer(bootstrap_servers=brokers, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = sorted(consumer.partitions_for_topic(topic) or await _partitions(consumer, topic))
        assigned = [TopicPartition(topic, partition) for partition in partitions]
        return {tp.partition: end for tp, end in (await consumer.end_offsets(assigned)).items()}
    finally:
        await consumer.stop()


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> Sequence[int]:
    metadata = await consumer._client.fetch_all_metadata()
    return sorted(metadata.partitions_for_topic(topic) or ())


def accepted(value: Mapping[str, Any]) -> bool:
    """Tell whether the contract accepts a transaction."""
    read = read_transaction(msgspec.json.encode(value), value["card_id"].encode(), 2**50)
    return not isinstance(read, Rejection)
