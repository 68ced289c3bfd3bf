"""A backfill reads all of its topics or says what it could not read: behind an open transaction, or in a bad batch."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from aiokafka.codec import lz4_encode

from fraudstream.lab.dataset.backfill import find_written
from fraudstream.lab.dataset.backfill_sources import TopicsSource, read_topics
from fraudstream.lab.dataset.errors import BackfillError
from fraudstream.lab.dataset.records import RecordKind
from stream import scan
from stream.clock import now_ms
from stream.contract.transaction import BackfillMark
from stream.settings import Settings
from support.fleet.fleet import Fleet
from support.fleet.payments import payment
from support.fleet.shipments import librdkafka_producer
from support.kafka.raw_batches import RawRecord, lz4_with_wrong_checksum, produce, record_batch, records_section

BACKFILL = "a" * 16
OPEN_MS = 30_000
WITHOUT_TIMESTAMP = -1


class Place:
    """A source topic and the fleet's own topics, of which the first partition is used."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self.settings = Settings(brokers=fleet.brokers, topic_prefix=fleet.prefix)
        self.archive = f"{fleet.prefix}archive-transactions"
        archives = f"{fleet.prefix}archive-"
        assert fleet.cli("topics", "apply", "--partitions", "2", TOPIC_PREFIX=archives).returncode == 0
        self._folder = folder
        self._reads = 0

    async def read(self) -> TopicsSource:
        self._reads += 1
        (place := self._folder / str(self._reads)).mkdir()
        return await read_topics(self.settings, {RecordKind.TRANSACTION: self.archive}, place, None)

    async def look(self, source: TopicsSource) -> tuple[int, int]:
        """Return the last number found of the backfill, and how many payments to decide were found."""
        found = await find_written(self.settings, source, BACKFILL, lambda *_: None)
        return found.written.numbers.get((self.settings.topic("transactions"), 0), -1), found.live


def values(*numbers: int) -> list[tuple[bytes, bytes]]:
    return [(one["card_id"].encode(), msgspec.json.encode(one)) for one in map(payment, numbers)]


def append(settings: Settings, topic: str, numbers: Sequence[int], headers: Sequence[tuple[str, bytes]] = ()) -> None:
    with librdkafka_producer(settings.brokers) as producer:
        for key, value in values(*numbers):
            producer.produce(topic, value, key, partition=0, headers=list(headers))
        assert producer.flush(30) == 0


@pytest.fixture
def place(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(scan, "OPEN_SECONDS", 0.5)
    return Place(fleet, tmp_path)


async def test_a_topic_that_an_open_transaction_holds_back_is_refused_and_read_whole_after_its_end(
    place: Place,
) -> None:
    live, brokers = place.settings.topic("transactions"), place.settings.brokers
    append(place.settings, place.archive, [0, 1])
    source = await place.read()
    with librdkafka_producer(brokers, transactional_id=f"{live}-open", transaction_ms=OPEN_MS) as producer:
        producer.init_transactions(30)
        producer.begin_transaction()
        for topic in (place.archive, live):
            ((key, value),) = values(900)
            producer.produce(topic, value, key, partition=0)
        assert producer.flush(30) == 0
        append(place.settings, place.archive, [2])
        append(place.settings, live, [0], [BackfillMark(BACKFILL, 7).header()])
        where = f"{place.archive} partition 0: up to 2 records from offset 2 on wait for a producer's transaction"
        with pytest.raises(BackfillError, match=where):
            await place.read()
        where = f"{live} partition 0: up to 2 records from offset 0 on wait for a producer's transaction"
        with pytest.raises(BackfillError, match=where):
            await place.look(source)
        producer.commit_transaction(30)
    assert (await place.read()).count(RecordKind.TRANSACTION) == 4
    assert await place.look(source) == (7, 1)


async def test_a_batch_that_cannot_be_unpacked_is_counted_and_a_record_without_a_timestamp_is_read(
    place: Place,
) -> None:
    port = int(place.settings.brokers.rpartition(":")[2])
    append(place.settings, place.archive, [0])
    untimed = records_section([RawRecord(key, value) for key, value in values(5)])
    produce(port, place.archive, 1, record_batch(untimed, 1, WITHOUT_TIMESTAMP))
    section = records_section([RawRecord(key, value) for key, value in values(1, 2, 3)])
    for content in (lz4_with_wrong_checksum(section), lz4_encode(section) + b"more"):
        produce(port, place.archive, 0, record_batch(content, 3, now_ms(), "lz4"))
    append(place.settings, place.archive, [4])
    source = await place.read()
    assert source.count(RecordKind.TRANSACTION) == 3
    ((code, records, first),) = source.left_out
    assert (code, records, first) == ("unreadable_record", 6, f"{place.archive} partition 0 offset 1")
