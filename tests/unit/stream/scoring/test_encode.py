import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from features.history.store import Entity, Fate, Histories, Observed
from fraudstream_client.outputs import DecidedBy, Decision, LabelStatus, ModelName, Outcome, Positions, Source
from fraudstream_client.validity import ValidScores
from models.policy import Policy, bands
from stream.contract.schema import RECORDS, json_schema
from stream.scoring.decode import decode
from stream.scoring.encode import Judgement, Scored, ScoreFrame, encode
from stream.scoring.tracing import NoTracing
from stream.settings import Settings
from support.stream_records import KEY, LATEST_MS, Told, text

FINGERPRINT = "f" * 64
NAMES = ("a", "b", "c")
MODEL = ModelName("card", "1", "d" * 64)
SCORE_SCHEMA = Draft202012Validator(json_schema("score/1"))
FLOATS = st.floats(allow_nan=True, allow_infinity=True)


def judgement(score: float | None = 0.25, decision: Decision = Decision.APPROVE, **changes: Any) -> Judgement:
    band = None if score is None else int(bands(np.array([score]))[0])
    given = {"decided_by": DecidedBy.MODEL, "model": MODEL} | changes
    return Judgement(score, band, decision, **given)


def frame(wanted: Any = "all", epochs: dict[int, int] | None = None) -> ScoreFrame:
    return ScoreFrame(
        Settings(score_features=wanted),
        NAMES,
        FINGERPRINT,
        "0.1.0",
        7,
        epochs or {0: 3, 1: 4, 2: 5},
        LATEST_MS + 12,
        NoTracing().headers,
    )


def observed(count: int, *, incomplete: bool = False) -> Observed:
    ones, places = np.ones(count, np.int64), np.arange(count)
    histories = {
        Entity.CARD: Histories(np.zeros((count, 9), np.int64), ones, 10 + places),
        Entity.MERCHANT: Histories(np.zeros((count, 6), np.int64), ones, 20 + places),
    }
    return Observed([Fate.DECIDE] * count, histories, 1_770_000_000, incomplete)


def written(
    records: Sequence[Told],
    judgements: Sequence[Judgement],
    vectors: Any = None,
    *,
    of: ScoreFrame | None = None,
    incomplete: bool = False,
) -> dict[int, list[Any]]:
    decoded = decode(records, 0)
    assert not decoded.dead
    matrix = np.zeros((len(records), len(NAMES))) if vectors is None else np.array(vectors, np.float64)
    which = np.arange(len(records))
    seen = observed(len(records), incomplete=incomplete)
    return encode(of or frame(), decoded, seen, (which, {FINGERPRINT: matrix}, judgements)).by_partition()


def one(record: Told, *arguments: Any, **changes: Any) -> dict[str, Any]:
    ((lot,),) = (written([record], *arguments, **changes).values(),)
    found: dict[str, Any] = msgspec.json.decode(lot[0].value)
    SCORE_SCHEMA.validate(found)
    return found


def test_a_score_has_every_field_of_the_contract() -> None:
    record = Told(text(occurred_at="2026-01-31T13:00:00.1239+01:00", mcc="x"), KEY, 2, 14, timestamp=LATEST_MS)
    assert one(record, [judgement()], [[1.5, math.nan, -0.0]]) == {
        "schema": "score/1",
        "transaction_id": "t-1",
        "card_id": "card-1",
        "merchant_id": "merchant-1",
        "occurred_at": "2026-01-31T12:00:00.123Z",
        "amount_minor": 1250,
        "currency": "EUR",
        "score": 0.25,
        "band": 752,
        "decision": "approve",
        "decided_by": "model",
        "model": {"name": "card", "version": "1", "digest": "d" * 64},
        "arm": "live",
        "overruled": None,
        "propensity": None,
        "deployment": "default",
        "revision": 7,
        "fingerprint": FINGERPRINT,
        "code_version": "0.1.0",
        "features": {"a": 1.5, "b": None, "c": -0.0},
        "positions": {"history_epoch": 1_770_000_000, "card": 10, "merchant": 20, "device": None},
        "degraded": [],
        "dropped": ["mcc"],
        "epoch": 5,
        "source": {"topic": "transactions", "partition": 2, "offset": 14, "log": 0},
        "scored_at": "2027-01-15T08:00:00.012Z",
        "latency_ms": 12,
    }


@given(st.lists(st.tuples(st.integers(0, 2), FLOATS, st.floats(0, 1) | st.none()), min_size=1, max_size=6))
def test_every_score_matches_its_schema_and_its_source_and_is_valid_for_a_consumer(
    rows: list[tuple[int, float, float | None]],
) -> None:
    policy = Policy(0.5, 0.8)
    records = [Told(text(transaction_id=f"t-{at}"), KEY, partition, at) for at, (partition, _, _) in enumerate(rows)]
    judgements = [
        judgement(score, Decision.REVIEW if score is None else policy.decide(np.array([score]))[0])
        for _, _, score in rows
    ]
    out = written(records, judgements, [[value, 0.0, math.nan] for _, value, _ in rows])
    back = 0
    for partition, lot in out.items():
        assert [outgoing.source_offset for outgoing in lot] == [
            record.offset for record in records if record.partition == partition
        ]
        for outgoing in lot:
            found = msgspec.json.decode(outgoing.value)
            SCORE_SCHEMA.validate(found)
            assert found["schema"] == "score/1"
            value = rows[outgoing.source_offset][1]
            assert found["features"]["a"] == (value if math.isfinite(value) else None)
            assert found["features"]["c"] is None
            assert found["source"] == {
                "topic": "transactions",
                "partition": partition,
                "offset": outgoing.source_offset,
                "log": 0,
            }
        valid = ValidScores[Told]()
        back += len(list(valid.of(Told(outgoing.value, partition=partition) for outgoing in lot)))
        assert (valid.void, valid.unreadable) == (0, 0)
    assert back == len(rows)


def test_decisions_are_split_by_partition_and_concatenated_in_order() -> None:
    records = [Told(text(transaction_id=f"t-{at}"), offset=at, partition=at % 3) for at in range(6)]
    vectors = np.arange(18.0).reshape(6, 3)
    seen, judged = observed(6), (np.arange(6), {FINGERPRINT: vectors}, [judgement()] * 6)
    whole = encode(frame(), decode(records, 0), seen, judged)
    assert whole.of([0, 1, 2]) is whole
    some = whole.of([2, 0])
    assert [one.transaction_id for one in some.transactions] == ["t-0", "t-2", "t-3", "t-5"]
    assert some.vectors[FINGERPRINT].tolist() == vectors[[0, 2, 3, 5]].tolist()
    assert [len(lot) for lot in some.by_partition().values()] == [2, 2]
    joined = Scored.concat([some, Scored.empty(), whole.of([1])])
    assert [record.offset for record in joined.records] == [0, 2, 3, 5, 1, 4]
    assert joined.vectors[FINGERPRINT].tolist() == vectors[[0, 2, 3, 5, 1, 4]].tolist()
    assert [one.source_offset for one in joined.outgoing] == [0, 2, 3, 5, 1, 4]


# --- from records to columns


def test_a_batch_is_decoded_into_columns_and_dead_letters_in_log_order() -> None:
    records = [
        Told(text(transaction_id="t-0", amount_minor=10**12, currency="KWD"), offset=0, partition=2),
        Told(b"x", offset=1),
        Told(text(transaction_id="t-2", occurred_at=LATEST_MS + 5), offset=2),
        Told(text(transaction_id="t-3", occurred_at=LATEST_MS + 6), offset=3),
        Told(text(transaction_id="t-4", occurred_at="2026-01-31T12:00:00+05:30"), offset=4),
    ]
    decoded = decode(records, 5)
    assert [(letter.record.offset, letter.code) for letter in decoded.dead] == [(1, "not_json"), (3, "in_the_future")]
    columns = decoded.columns
    assert [record.offset for record in decoded.records] == columns.offset.tolist() == [0, 2, 4]
    assert columns.transaction_ids == ["t-0", "t-2", "t-4"]
    assert columns.amount_minor.tolist() == [10**12, 1250, 1250]
    assert columns.exponent.tolist() == [3, 2, 2]
    assert columns.utc_offset_minutes.tolist() == [0, 0, 330]
    assert columns.occurred_ms.tolist()[1:] == [LATEST_MS + 5, 1769841000000]
    assert columns.partition.tolist() == [2, 0, 0]
    assert columns.content.dtype == np.uint64
    assert columns.content.tolist() == [one.content for one in decoded.accepted]


# --- schemas


@pytest.mark.parametrize("record", RECORDS)
def test_every_schema_is_valid_and_allows_additional_fields(record: str) -> None:
    schema = json_schema(record)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == record
    assert not [
        definition for definition in schema["$defs"].values() if definition.get("additionalProperties") is False
    ]


@pytest.mark.parametrize("status", LabelStatus)
@pytest.mark.parametrize("known", [True, False])
def test_every_outcome_matches_its_schema(status: LabelStatus, known: bool) -> None:  # noqa: FBT001 - a parameter
    outcome = Outcome(
        transaction_id="t-1",
        card_id="card-1",
        merchant_id="m-1" if known else None,
        occurred_at="2026-01-31T12:00:00.000Z" if known else None,
        fraud=True,
        labelled_at="2026-01-31T12:00:00.000Z",
        reported_by="analyst",
        fraud_type="account_takeover" if known else msgspec.UNSET,
        positions=Positions(1, 2, 3 if known else None),
        status=status,
        source=Source("labels", 0, 5),
    )
    found = msgspec.json.decode(msgspec.json.encode(outcome))
    Draft202012Validator(json_schema("outcome/1")).validate(found)
    assert found["schema"] == "outcome/1"
    assert found["status"] == status.value
    assert len(found) == len(msgspec.structs.fields(Outcome)) - (not known)
