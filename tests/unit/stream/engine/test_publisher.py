"""What is published is compressed as the setting says, and stays below the limit of its topic."""

import asyncio
from typing import Any, ClassVar, get_args

import msgspec
import numpy as np
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import NotEnoughReplicasError, ProducerClosed
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.produce import ProduceResponse_v7
from aiokafka.structs import RecordMetadata

from stream.contract.codes import DeadLetterCode
from stream.engine import publisher
from stream.engine.ending import EndableProducer, ProduceHandler
from stream.engine.publisher import Outgoing, Publisher
from stream.engine.unpacking import FetchedRecord, RecordBatch
from stream.errors import WriteGivenUpError
from stream.kafka.client import BATCH_BYTES, LARGEST_OUTPUT_BYTES
from stream.kafka.topics import DEAD_LETTERS, LAYOUTS
from stream.positions.dead_letters import DeadLetter, LetterOrigin
from stream.setting_types import Compression
from stream.settings import Settings
from support.acceptance import cases
from support.record_batches import CODECS

WHERE = ("scores", 0)
SCORE = msgspec.json.encode({f"card_amount_sum_{at}h": at / 7 for at in range(45)})
ATTRIBUTES_AT = 22


class RecordingProducer(EndableProducer):
    """Keeps the batches that would be sent, as they would be on the wire."""

    made: ClassVar[list[Any]] = []

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._closed, self.batches = True, list[bytes]()
        self.made.append(self)

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def partitions_for(self, _topic: str) -> set[int]:
        return {0}

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> "asyncio.Future[RecordMetadata]":
        self.batches.append(bytes(batch._build()))
        acknowledged = asyncio.get_running_loop().create_future()
        acknowledged.set_result(RecordMetadata(topic, partition, TopicPartition(topic, partition), 0, -1, 0, 0))
        return acknowledged


async def sent(monkeypatch: pytest.MonkeyPatch, records: list[Outgoing], **settings: Any) -> list[bytes]:
    """Return the batches in which a publisher with these settings sends records."""
    monkeypatch.setattr(publisher, "EndableProducer", RecordingProducer)
    await Publisher(Settings(**settings)).publish({WHERE: records})
    return RecordingProducer.made.pop().batches


def codec_of(batch: bytes) -> str:
    names = {number: name for name, number in CODECS.items()}
    return names[batch[ATTRIBUTES_AT] & 7]


def values_in(batch: bytes) -> list[bytes | None]:
    """Return the values of a batch's records; None for what cannot be unpacked."""
    records = [record for piece in RecordBatch(batch).unpack(TopicPartition(*WHERE)) for record in piece]
    return [record.value if isinstance(record, FetchedRecord) else None for record in records]


@pytest.mark.parametrize("codec", get_args(Compression))
async def test_a_batch_is_compressed_with_the_codec_of_the_setting(monkeypatch: pytest.MonkeyPatch, codec: str) -> None:
    records = [Outgoing(at, b"card", SCORE, ()) for at in range(64)]
    (batch,) = await sent(monkeypatch, records, compression=codec)
    assert codec_of(batch) == codec
    assert values_in(batch) == [SCORE] * 64
    assert (len(batch) * 3 < 64 * len(SCORE)) == (codec != "none")


@pytest.mark.parametrize("codec", cases(get_args(Compression), ["zstd"]))
async def test_the_largest_dead_letter_fits_its_topic_if_a_codec_would_make_it_larger(
    monkeypatch: pytest.MonkeyPatch, codec: str
) -> None:
    random = np.random.default_rng(1).bytes(2 * LARGEST_OUTPUT_BYTES)
    record = FetchedRecord("transactions", 0, 7, 0, 0, b"card", random, ())
    letter = DeadLetter(record, DeadLetterCode.NOT_JSON, "no JSON").to_record(LetterOrigin(values="redacted"))
    small = [Outgoing(at, b"card", SCORE, ()) for at in range(2)]
    batches = await sent(monkeypatch, [small[0], letter, small[1]], compression=codec)
    assert [values_in(batch) for batch in batches] == [[SCORE], [letter.value], [SCORE]]
    assert LARGEST_OUTPUT_BYTES - 200 < len(batches[1]) <= DEAD_LETTERS.largest_bytes
    assert [codec_of(batch) for batch in batches] == [codec, "none", codec]


@pytest.mark.parametrize("codec", get_args(Compression))
async def test_a_full_batch_fits_every_topic_if_a_codec_makes_it_larger(
    monkeypatch: pytest.MonkeyPatch, codec: str
) -> None:
    value = np.random.default_rng(2).bytes(BATCH_BYTES // 8)
    batches = await sent(monkeypatch, [Outgoing(at, b"card", value, ()) for at in range(9)], compression=codec)
    assert [values_in(batch) for batch in batches] == [[value] * 7, [value] * 2]
    assert max(map(len, batches)) <= min(layout.largest_bytes for layout in LAYOUTS)


# --- each destination on its own


class AccumulatingProducer(RecordingProducer):
    """Knows one partition; what is sent waits in its accumulator for a sender that does not run."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.client.cluster.partitions_for_topic = lambda _topic: {0}

    @property
    def waiting(self) -> list[Any]:
        """The batches that a sender would send."""
        return [batch for batches in self._message_accumulator._batches.values() for batch in batches]


async def started(monkeypatch: pytest.MonkeyPatch) -> tuple[Publisher, AccumulatingProducer]:
    monkeypatch.setattr(publisher, "EndableProducer", AccumulatingProducer)
    made = Publisher(Settings())
    await made.start()
    producer = AccumulatingProducer.made.pop()
    assert isinstance(producer, AccumulatingProducer)
    return made, producer


RECORDS = [Outgoing(at, b"card", SCORE, ()) for at in range(3)]


async def test_one_batch_of_a_known_partition_is_sent_without_a_task_and_ends_behind_its_last_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, producer = await started(monkeypatch)
    before = len(asyncio.all_tasks())
    publishing = asyncio.create_task(made.publish_each({WHERE: RECORDS}))
    await asyncio.sleep(0)
    (batch,) = producer.waiting
    assert len(asyncio.all_tasks()) == before + 1
    assert values_in(bytes(batch.get_data_buffer())) == [SCORE] * 3
    batch.done(base_offset=40)
    published = await publishing
    assert (published.ends, published.failures, published.pending) == ({WHERE: 43}, {}, {})


async def test_what_is_refused_fails_alone_and_discards_the_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    made, producer = await started(monkeypatch)
    publishing = asyncio.create_task(made.publish_each({WHERE: RECORDS, ("other", 0): RECORDS}))
    await asyncio.sleep(0)
    refused, written = producer.waiting
    refused.failure(NotEnoughReplicasError())
    written.done(base_offset=7)
    published = await publishing
    assert published.ends == {("other", 0): 10}
    assert "scores 0 does not acknowledge: NotEnoughReplicasError" in published.failures[WHERE]
    assert made._producer is None


async def test_what_is_not_acknowledged_after_a_moment_is_pending_and_ends_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publisher, "_PATIENCE_SECONDS", 0.01)
    made, producer = await started(monkeypatch)
    published = await made.publish_each({WHERE: RECORDS})
    assert (published.ends, published.failures) == ({}, {})
    (batch,) = producer.waiting
    batch.done(base_offset=1)
    assert await published.pending[WHERE] == 4


async def test_who_gives_up_a_pending_write_leaves_the_batch_to_the_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "_PATIENCE_SECONDS", 0.01)
    made, producer = await started(monkeypatch)
    published = await made.publish_each({WHERE: RECORDS})
    (batch,) = producer.waiting
    published.pending[WHERE].cancel()
    await asyncio.wait(published.pending.values())
    assert not batch.future.done()
    publishing = asyncio.create_task(made.publish_each({("other", 0): RECORDS}))
    await asyncio.sleep(0)
    another = producer.waiting[-1]
    publishing.cancel()
    await asyncio.wait((publishing,))
    assert not another.future.done()
    another.failure(NotEnoughReplicasError())  # nobody waits for it any more, and nobody is warned
    await asyncio.sleep(0)


async def test_a_partition_with_a_batch_that_waits_gets_the_next_one_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "_PATIENCE_SECONDS", 0.01)
    made, producer = await started(monkeypatch)
    await made.publish_each({WHERE: RECORDS})
    published = await made.publish_each({WHERE: RECORDS})
    assert published.ends == {WHERE: 3}, "by `send_batch`, which waits where it has to"
    assert (len(producer.waiting), len(producer.batches)) == (1, 1)


async def test_records_for_several_batches_are_sent_one_batch_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    made, producer = await started(monkeypatch)
    value = np.random.default_rng(2).bytes(BATCH_BYTES // 2)
    published = await made.publish_each({WHERE: [Outgoing(at, None, value, ()) for at in range(2)]})
    assert published.ends == {WHERE: 1}
    assert (len(producer.waiting), len(producer.batches)) == (0, 2)


async def test_what_is_given_up_ends_the_producer_with_all_that_it_was_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "_PATIENCE_SECONDS", 0.01)
    made, producer = await started(monkeypatch)
    other = await made.publish_each({("other", 0): RECORDS})
    await asyncio.sleep(0)  # its time begins
    made.give_up_seconds = 0.01
    published = await made.publish_each({WHERE: RECORDS})
    for write in (published.pending[WHERE], other.pending["other", 0]):
        with pytest.raises(WriteGivenUpError, match="does not acknowledge"):
            await write
    assert (producer.has_failed, producer.waiting, made._producer) == (True, [], None)
    with pytest.raises(ProducerClosed):
        await producer._message_accumulator.add_batch(producer.create_batch(), TopicPartition(*WHERE), 1)


async def test_writes_that_pend_are_given_up_at_once_and_those_that_are_done_end_no_producer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publisher, "_PATIENCE_SECONDS", 0.01)
    made, producer = await started(monkeypatch)
    published = await made.publish_each({WHERE: RECORDS, ("other", 0): RECORDS})
    done, pending = published.pending["other", 0], published.pending[WHERE]
    producer.waiting[1].done(base_offset=1)
    await done
    made.give_up([done])
    assert (producer.has_failed, made._producer) == (False, producer)
    made.give_up([done, pending])
    assert (producer.has_failed, made._producer) == (True, None)
    with pytest.raises(WriteGivenUpError, match="does not acknowledge"):
        await pending


async def test_a_batch_that_is_too_large_is_halved_and_the_topic_remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    made, producer = await started(monkeypatch)
    publishing = asyncio.create_task(made.publish_each({WHERE: RECORDS}))
    await asyncio.sleep(0)
    (batch,) = producer.waiting
    producer._txn_manager.set_pid_and_epoch(1, 0)
    producer._message_accumulator._pop_batch(TopicPartition(*WHERE))
    handler = ProduceHandler(producer._sender, {TopicPartition(*WHERE): batch})
    handler.handle_response(ProduceResponse_v7([("scores", [(0, 10, -1, -1, -1)])], 0))
    published = await publishing
    assert (published.failures, published.given_up) == ({}, set())
    assert [len(values_in(one)) for one in producer.batches] == [1, 1, 1]
    await made.publish({WHERE: RECORDS})
    assert [len(values_in(one)) for one in producer.batches] == [1] * 6
    assert made._producer is producer
