"""One label's fault is its own: a label of a damaged card waits beside the others, any other error is a dead letter."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition

from features.errors import HistoryDamagedError, StoreUnavailableError
from features.history.store import Label, LabelResult
from features.memory_store import MemoryStore
from features.vector.sets import load_sets
from stream.engine.batches import Batch, CommitLedger
from stream.engine.publisher import Destination, Outgoing, Published, Publisher
from stream.scoring.facts import Fact, LabelsApplied
from stream.scoring.tracing import NoTracing
from stream.settings import Settings
from stream.worker import labeller
from stream.worker.labeller import Labeller
from support.stream_records import MENTION, Told

FEATURES = load_sets("")
DAMAGED = "card-9"


class FaultyStore(MemoryStore):
    """A store in which one card is damaged until it is mended, and an error is raised for one transaction."""

    def __init__(self) -> None:
        super().__init__(FEATURES)
        self.damaged = True
        self.away = False

    async def label(self, labels: Sequence[Label]) -> Sequence[LabelResult]:
        if self.away:
            raise StoreUnavailableError("away")
        places = [place for place, one in enumerate(labels) if one.card_id == DAMAGED]
        if places and self.damaged:
            raise HistoryDamagedError({"key"}, places)
        if any(one.transaction_id == "faulty" for one in labels):
            raise ZeroDivisionError("a bug of ours")
        return await super().label(labels)


class Written(Publisher):
    """Collects what is published; `failing` fails that."""

    def __init__(self) -> None:
        super().__init__(Settings())
        self.records: dict[Destination, list[Outgoing]] = {}
        self.failing = False

    async def publish_each(self, outputs: Mapping[Destination, Sequence[Outgoing]]) -> Published:
        some = {where: records for where, records in outputs.items() if records}
        if self.failing:
            return Published({}, dict.fromkeys(some, "not acknowledged"), {})
        for where, records in some.items():
            self.records.setdefault(where, []).extend(records)
        return Published({where: len(records) for where, records in some.items()}, {}, {})

    def offsets(self, topic: str = "outcomes") -> list[int]:
        return sorted(one.source_offset for where, some in self.records.items() for one in some if where[0] == topic)


class FirstLog:
    """The labels' topic, which was never made anew; the payments of partitions `behind` are not applied yet."""

    log = 0

    def __init__(self) -> None:
        self.behind: set[int] = set()

    def awaits_payments(self, partition: int) -> bool:
        return partition in self.behind

    def label_note(self, partition: int) -> str:
        return f"id-of-{partition}"


class Bench:
    """A labeller with what it writes and emits, and the ledger of its partitions."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.store, self.written, self.facts = FaultyStore(), Written(), list[Fact]()
        self.ledger, self.draining = CommitLedger(), asyncio.Event()
        self.input = FirstLog()
        self.labeller = Labeller(
            settings=settings or Settings(),
            store=self.store,
            publisher=self.written,
            source=self.input,
            emit=self.facts.append,
            tracing=NoTracing(),
        )

    def batch(self, *records: Told) -> Batch:
        partitions = sorted({record.partition for record in records})
        by_partition = {one: [record for record in records if record.partition == one] for one in partitions}
        for partition, some in by_partition.items():
            self.ledger.track(TopicPartition("labels", partition), 1, some[-1].offset)
        return Batch("labels", 1, by_partition, self.ledger, self.draining)

    def committable(self) -> dict[int, int]:
        return {tp.partition: commit.offset for tp, commit in self.ledger.committable().items()}


def said(offset: int, partition: int = 0, **changes: Any) -> Told:
    body = {**MENTION, "transaction_id": f"t-{partition}-{offset}", "card_id": f"card-{offset}", **changes}
    return Told(msgspec.json.encode(body), body["card_id"].encode(), partition, offset, topic="labels")


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if holds():
            return
        await asyncio.sleep(0.005)
    raise TimeoutError("not within 5 s")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(labeller, "_RETRY_WAITING_SECONDS", 0.01)
    return Bench()


async def test_a_label_of_a_damaged_card_waits_and_the_others_of_its_batch_and_the_next_one_are_applied(
    bench: Bench,
) -> None:
    first = bench.batch(said(1), said(2, card_id=DAMAGED), said(3), said(7, 1))
    await bench.labeller.apply_batch(first)
    assert first.finished.is_set()
    await bench.labeller.apply_batch(bench.batch(said(4), said(8, 1)))
    assert bench.written.offsets() == [1, 3, 4, 7, 8]
    assert bench.committable() == {1: 9}, "the offset of the label that waits is not passed"
    assert bench.labeller.waiting == 1
    assert bench.labeller.reasons() == [
        "1 labels wait: the histories of their cards were damaged, and are rebuilt from Kafka"
    ]
    bench.store.damaged = False
    await until(lambda: bench.labeller.waiting == 0)
    assert bench.written.offsets() == [1, 2, 3, 4, 7, 8]
    assert bench.committable() == {0: 5, 1: 9}
    assert bench.labeller.reasons() == []
    told = [fact for fact in bench.facts if isinstance(fact, LabelsApplied)]
    assert [len(fact.records) for fact in told] == [3, 2, 1]


async def test_labels_wait_for_the_payments_of_their_partition_and_after_a_while_the_others_go_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.input.behind = {0, 1}
    batch = bench.batch(said(1), said(7, 1))
    handling = asyncio.create_task(bench.labeller.apply_batch(batch))
    await asyncio.sleep(0.1)
    assert bench.written.offsets() == []
    monkeypatch.setattr(labeller, "_POLLS", 2)
    bench.input.behind = {0}
    again = bench.batch(said(2), said(8, 1))
    await bench.labeller.apply_batch(again)
    assert 8 in bench.written.offsets()
    assert 2 not in bench.written.offsets()
    assert again.aside == {0: "payments that were decided before are applied to the histories first"}
    bench.input.behind = set()
    await handling
    assert bench.written.offsets() == [1, 7, 8]


async def test_a_commit_names_the_topic_of_its_partition_also_where_labels_waited(bench: Bench) -> None:
    await bench.labeller.apply_batch(bench.batch(said(1, card_id=DAMAGED), said(7, 1)))
    bench.store.damaged = False
    await until(lambda: bench.labeller.waiting == 0)
    notes = {tp.partition: commit.metadata for tp, commit in bench.ledger.committable().items()}
    assert notes == {0: "id-of-0", 1: "id-of-1"}


async def test_labels_that_wait_go_on_waiting_while_redis_or_kafka_is_away(bench: Bench) -> None:
    await bench.labeller.apply_batch(bench.batch(said(1, card_id=DAMAGED)))
    bench.store.damaged, bench.store.away = False, True
    await asyncio.sleep(0.05)
    bench.store.away, bench.written.failing = False, True
    await asyncio.sleep(0.05)
    assert bench.labeller.waiting == 1
    bench.written.failing = False
    await until(lambda: bench.labeller.waiting == 0)
    assert bench.written.offsets() == [1]


async def test_labels_of_revoked_partitions_wait_no_longer_and_nothing_is_written_for_them(bench: Bench) -> None:
    await bench.labeller.apply_batch(bench.batch(said(1, card_id=DAMAGED), said(2, 1, card_id=DAMAGED)))
    bench.draining.set()
    bench.store.damaged = False
    await asyncio.sleep(0.05)
    assert bench.written.offsets() == [], "no side effect begins while partitions are revoked"
    bench.ledger.drop(TopicPartition("labels", 0))
    bench.draining.clear()
    await until(lambda: bench.labeller.waiting == 0)
    assert bench.written.offsets() == [2]
    assert bench.committable() == {1: 3}


async def test_a_label_that_raises_is_a_dead_letter_and_the_others_are_applied(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    batch = bench.batch(said(1), said(2, transaction_id="faulty"), Told(b"x", offset=3), said(4))
    await bench.labeller.apply_batch(batch)
    assert bench.written.offsets() == [1, 4]
    assert bench.written.offsets("dead-letters") == [2, 3]
    assert bench.committable() == {0: 5}
    assert "partition 0 offset 2 cannot be decided: ZeroDivisionError" in caplog.text


async def test_with_too_many_batches_that_wait_the_partition_is_set_aside_and_others_go_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labeller, "MOST_SLICES", 1)
    await bench.labeller.apply_batch(bench.batch(said(1, card_id=DAMAGED)))
    batch = bench.batch(said(2, card_id=DAMAGED), said(3), said(5, 1))
    await bench.labeller.apply_batch(batch)
    assert batch.aside == {0: "1 labels wait already for damaged histories"}
    assert bench.written.offsets() == [5]
    assert bench.committable() == {1: 6}


async def test_an_outcome_has_the_kind_of_fraud_without_card_numbers_and_none_where_the_label_has_none(
    bench: Bench,
) -> None:
    kinds = ({"fraud_type": "stolen card"}, {"fraud_type": "used 4242424242424242 twice"}, {})
    await bench.labeller.apply_batch(bench.batch(*(said(at, **kind) for at, kind in enumerate(kinds, start=1))))
    found = [msgspec.json.decode(one.value or b"") for some in bench.written.records.values() for one in some]
    assert found[0]["fraud_type"] == "stolen card"
    assert "4242" not in found[1]["fraud_type"]
    assert "fraud_type" not in found[2]


async def test_outcomes_are_events_where_that_is_asked_for_and_not_those_of_their_labels() -> None:
    found = {}
    label = replace(said(1), headers=(("ce_id", b"theirs"), ("correlation-id", b"c")))
    for asked in (False, True):
        bench = Bench(Settings(cloud_events=asked))
        await bench.labeller.apply_batch(bench.batch(label))
        ((one,),) = bench.written.records.values()
        found[asked] = one
    assert found[False].headers == label.headers
    assert dict(found[True].headers)["ce_id"] == b"labels:0:1:0"
    assert found[True].headers[-1] == ("correlation-id", b"c")
    assert found[True].value == found[False].value
