"""Predictions from storage in a worker: statuses and positions on `outcomes`, dead letters, none without rows."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import pytest
from aiokafka import TopicPartition
from jsonschema import Draft202012Validator

from features.errors import StoreUnavailableError
from features.history.store import Prediction, PredictionResult
from features.memory_store import MemoryStore
from features.vector.sets import load_sets
from fraudstream_client.outputs import PredictionStatus
from stream.contract.schema import json_schema
from stream.engine.batches import Batch, Commit, CommitLedger
from stream.engine.publisher import Destination, Outgoing, Published, Publisher
from stream.scoring.facts import Fact, FactListener, PredictionsApplied, Retried
from stream.scoring.tracing import NoTracing, Tracing
from stream.settings import Settings
from stream.worker.prediction_applier import PredictionApplier
from support.stream_records import Told

SETS = load_sets("support.features.prediction_set")
COMPUTED_MS = 1_767_225_600_000
HOUR_MS = 3_600_000
STORED = {"card_id": "card-1", "name": "teacher", "value": 0.5, "computed_at": COMPUTED_MS, "model": "slow 7"}


class AwayStore(MemoryStore):
    """A store that is away for the first calls, and that raises for one value."""

    def __init__(self, away: int) -> None:
        super().__init__(SETS)
        self.away = away

    async def predict(self, predictions: Sequence[Prediction]) -> Sequence[PredictionResult]:
        if self.away:
            self.away -= 1
            raise StoreUnavailableError("away")
        if any(one.value == 666.0 for one in predictions):
            raise ZeroDivisionError("a bug of ours")
        return await super().predict(predictions)


class WrittenOutcomes(Publisher):
    """Collects what is published."""

    def __init__(self) -> None:
        super().__init__(Settings())
        self.records: dict[Destination, list[Outgoing]] = {}

    async def publish_each(self, outputs: Mapping[Destination, Sequence[Outgoing]]) -> Published:
        some = {where: records for where, records in outputs.items() if records}
        for where, records in some.items():
            self.records.setdefault(where, []).extend(records)
        return Published({where: len(records) for where, records in some.items()}, {}, {})

    def outcomes(self) -> list[dict[str, Any]]:
        found = [one for where, some in self.records.items() if where[0] == "outcomes" for one in some]
        return [msgspec.json.decode(one.value) for one in found]


class ListTelemetry(NamedTuple):
    emit: FactListener
    tracing: Tracing


class Notes:
    def prediction_note(self, partition: int) -> str:
        return f"note-{partition}"


class Applying:
    """An applier with what it writes and emits, and the ledger of its partitions."""

    def __init__(
        self, away: int = 0, modules: str = "support.features.prediction_set", *, events: bool = False
    ) -> None:
        self.store, self.written, self.facts = AwayStore(away), WrittenOutcomes(), list[Fact]()
        self.ledger, self.draining = CommitLedger(), asyncio.Event()
        telemetry = ListTelemetry(self.facts.append, NoTracing())
        self.applier = PredictionApplier(
            settings=Settings(cloud_events=events),
            store=self.store,
            publisher=self.written,
            features=load_sets(modules),
            telemetry=telemetry,
            source=Notes(),
        )

    async def apply(self, *records: Told) -> None:
        by_partition: dict[int, list[Told]] = {}
        for record in records:
            by_partition.setdefault(record.partition, []).append(record)
        for partition, some in by_partition.items():
            self.ledger.track(TopicPartition("predictions", partition), 1, some[-1].offset)
        await self.applier.apply_batch(Batch("predictions", 1, by_partition, self.ledger, self.draining))

    def applied(self) -> list[PredictionsApplied]:
        return [one for one in self.facts if isinstance(one, PredictionsApplied)]


def sent(offset: int, took_ms: int = HOUR_MS, partition: int = 0, **changes: Any) -> Told:
    body = STORED | changes
    key = str(body["card_id"]).encode()
    return Told(msgspec.json.encode(body), key, partition, offset, topic="predictions", timestamp=COMPUTED_MS + took_ms)


async def test_each_prediction_leaves_its_status_and_position_and_is_acknowledged() -> None:
    applying = Applying()
    await applying.apply(
        sent(0), sent(1), sent(2, value=0.75), sent(3, 7 * HOUR_MS, value=None), sent(9, partition=1, card_id="card-2")
    )
    found = applying.written.outcomes()
    assert [one["status"] for one in found] == ["applied", "repeated", "applied", "late", "applied"]
    assert [one["positions"]["prediction"] for one in found] == [0, 0, 1, 2, 0]
    assert found[0] == {
        "schema": "outcome/1",
        "deployment": "default",
        "kind": "prediction",
        "card_id": "card-1",
        "name": "teacher",
        "computed_at": "2026-01-01T00:00:00.000Z",
        "positions": {"history_epoch": 1, "prediction": 0},
        "status": "applied",
        "source": {"topic": "predictions", "partition": 0, "offset": 0, "log": 0},
    }
    for one in found:
        Draft202012Validator(json_schema("outcome/1:prediction")).validate(one)
    commits = {tp.partition: commit for tp, commit in applying.ledger.committable().items()}
    assert commits == {0: Commit(4, "note-0"), 1: Commit(10, "note-1")}
    assert [one.statuses for one in applying.applied()] == [[PredictionStatus(one["status"]) for one in found]]


async def test_a_redelivery_says_the_same_again() -> None:
    applying = Applying()
    for _ in range(2):
        await applying.apply(sent(0), sent(1), sent(2, 9 * HOUR_MS, value=1.0))
    found = applying.written.outcomes()
    assert found[:3] == found[3:]


async def test_what_is_no_prediction_is_a_dead_letter_beside_the_others() -> None:
    applying = Applying()
    wrong = [
        sent(1, value="high"),
        sent(2, computed_at=COMPUTED_MS + 3 * HOUR_MS),
        Told(b"{", b"card-1", 0, 3, topic="predictions"),
        sent(4, card_id="4111111111111111"),
        sent(5, value=666.0),
    ]
    await applying.apply(sent(0), *wrong, sent(6, value=0.0))
    (fact,) = applying.applied()
    codes = ["invalid_field", "in_the_future", "not_json", "card_number", "undecidable"]
    assert sorted(one.code.value for one in fact.dead) == sorted(codes)
    assert [one["status"] for one in applying.written.outcomes()] == ["applied", "applied"]
    assert applying.ledger.committable()[TopicPartition("predictions", 0)].offset == 7


async def test_a_batch_is_tried_again_while_redis_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.worker.isolation._FIRST_PAUSE_SECONDS", 0.001)
    applying = Applying(away=2)
    await applying.apply(sent(0))
    assert applying.facts[:2] == [Retried("predictions", "StoreUnavailableError")] * 2
    assert [one["status"] for one in applying.written.outcomes()] == ["applied"]
    assert applying.applier.reasons() == []


async def test_outcomes_of_predictions_are_events_where_that_is_asked_for() -> None:
    found = []
    for events in (False, True):
        applying = Applying(events=events)
        await applying.apply(sent(7))
        found.append(dict(applying.written.records["outcomes", 0][0].headers))
    assert found[0] == {}
    assert (found[1]["ce_id"], found[1]["ce_subject"]) == (b"predictions:0:7:0", b"card-1")
