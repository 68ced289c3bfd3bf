"""The bytes of scores against a plain encoder: a dict of the contract's fields in their order, one score at a time."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.history.records import CARD_COLUMNS, FLAGS, PARTITION_SHIFT, SHARED_COLUMNS, TIME
from features.history.store import NOWHERE, Entity, Fate, Histories, Observed
from fraudstream_client.arms import LIVE
from fraudstream_client.outputs import DecidedBy, Decision, ModelName, Overruled, Score
from stream.contract.transaction import ParsedTransaction
from stream.engine.unpacking import FetchedRecord
from stream.redaction import redact_headers
from stream.scoring.decode import Decoded, decode
from stream.scoring.encode import Judgement, ScoreFrame, encode
from stream.scoring.tracing import NoTracing
from stream.settings import Settings
from support.stream_records import CARD_NUMBER, FULL_PAYMENT, LATEST_MS, PAYMENT

OURS, OTHER = "f" * 64, "e" * 64
NAMES: Mapping[str, tuple[str, ...]] = {OURS: ("a", "card_count_1h", "teacher@2-b.c", "class"), OTHER: ("b", "a")}
YOUNG_DAYS = 37
_TOKENS = st.text("abzAZ019._:@-", min_size=1, max_size=64).filter(lambda text: sum(map(str.isdigit, text)) < 10)
_NUMBERS = st.one_of(
    st.floats(),
    st.integers(-(2**60), 2**60).map(float),
    st.sampled_from(
        [math.nan, math.inf, -math.inf, -0.0, 5e-324, 2.2250738585072014e-308, 1e16, 1e17, 1e22, 0.1, 1e-5]
    ),
)
_UNITS = st.one_of(st.floats(0, 1), st.sampled_from([0.0, -0.0, 1.0, 5e-324, 1e-5, 1e-7]))
_TIMES = st.one_of(
    st.integers(0, LATEST_MS),
    st.sampled_from(
        [
            "2026-01-31T12:00:00.123Z",
            "2026-01-31 12:00:00.123Z",
            "2026-01-31t12:00:00.123z",
            "2026-01-31T12:00:00.123z",
            "2026-01-31T12:00:00.12Z",
            "2026-01-31T12:00:00.1239Z",
            "2026-01-31T12:00:00Z",
            "1970-01-01T00:00:00-00:00",
            "2026-01-31T12:00:00+05:45",
            "2024-02-29T23:59:59.999Z",
        ]
    ),
)
_HEADERS = st.lists(
    st.sampled_from([("traceparent", b"00-1-2-01"), ("x", None), ("x", b"\xff"), (f"n{CARD_NUMBER}", b""), ("é", b"")]),
    max_size=3,
)
_MODELS = st.none() | st.builds(ModelName, st.text(max_size=5), st.text(max_size=5), st.just("d" * 64))
JUDGEMENTS = st.builds(
    Judgement,
    st.none() | _UNITS,
    st.none() | st.integers(0, 999),
    st.sampled_from(Decision),
    st.sampled_from(DecidedBy),
    _MODELS,
    st.lists(st.sampled_from(["live_model_failed", "no_model", "undecidable"]), max_size=2).map(tuple),
    st.sampled_from([LIVE, "canary", "arm-b"]),
    st.sampled_from([None, OURS, OTHER]),
    st.none() | st.builds(Overruled, st.sampled_from(["decline_cap", "rule:é"]), st.sampled_from(Decision)),
    st.none() | st.floats(0.001, 1),
    st.none() | st.sampled_from(["DE", "FR"]),
)


@st.composite
def records(draw: st.DrawFn, offset: int) -> FetchedRecord:
    card = draw(_TOKENS)
    fields = {
        "transaction_id": draw(st.text(min_size=1, max_size=64)),
        "card_id": card,
        "merchant_id": draw(_TOKENS),
        "occurred_at": draw(_TIMES),
        "amount_minor": draw(st.integers(0, 10**12)),
        "currency": draw(st.sampled_from(["EUR", "JPY", "KWD"])),
    }
    optional = FULL_PAYMENT if draw(st.booleans()) else PAYMENT
    fields = optional | fields | draw(st.sampled_from([{}, {"mcc": "x"}, {"unknown": 1}, {"latitude": 91, "mcc": 5}]))
    place = draw(st.integers(0, 3)), offset + draw(st.sampled_from([0, 2**43]))
    stamp = LATEST_MS - draw(st.integers(-5, 10**6))
    return FetchedRecord(
        "transactions", *place, stamp, 0, card.encode(), msgspec.json.encode(fields), tuple(draw(_HEADERS))
    )


def _histories(draw: st.DrawFn, count: int) -> dict[Entity, Histories]:
    places = st.lists(st.integers(0, 2**40), min_size=count, max_size=count)
    devices = st.lists(st.sampled_from([NOWHERE, 0, 7]), min_size=count, max_size=count)
    kinds = {Entity.CARD: places, Entity.MERCHANT: places}
    kinds |= draw(st.sampled_from([{}, {Entity.DEVICE: devices}, {Entity.DEVICE: devices, Entity.PREDICTION: places}]))
    found = {
        kind: Histories(
            np.zeros((count, CARD_COLUMNS if kind is Entity.CARD else SHARED_COLUMNS), np.int64),
            np.ones(count, np.int64),
            np.array(draw(values), np.int64),
        )
        for kind, values in kinds.items()
    }
    divided = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)), np.bool_)
    rows = np.zeros((count, 3, CARD_COLUMNS), np.int64)
    of_cards = np.array(draw(st.lists(st.integers(0, 2), min_size=count, max_size=count)), np.int64)
    rows[:, :, FLAGS] = (of_cards << PARTITION_SHIFT)[:, np.newaxis]
    rows[:, 1, FLAGS] += divided * (1 << PARTITION_SHIFT)
    rows[:, 1, TIME], rows[:, 2, TIME] = 1, 2
    lengths = np.full(count, 3)
    found[Entity.CARD] = Histories(rows.reshape(-1, CARD_COLUMNS), lengths, found[Entity.CARD].positions)
    return found


class Batch(NamedTuple):
    """What `encode` takes."""

    frame: ScoreFrame
    decoded: Decoded
    observed: Observed
    which: Any
    vectors: Mapping[str, Any]
    judgements: Sequence[Judgement]


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    given_records = [draw(records(at)) for at in range(draw(st.integers(0, 5)))]
    decoded = decode(given_records, 10**15)
    assert not decoded.dead
    count = len(given_records)
    flags = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)), np.bool_)
    which = np.flatnonzero(flags | draw(st.booleans()))
    ages = draw(st.none() | st.lists(st.integers(30, 40), min_size=count, max_size=count).map(np.array))
    observed = Observed(
        [Fate.DECIDE] * count,
        _histories(draw, count),
        draw(st.integers(0, 2**40)),
        incomplete=draw(st.booleans()),
        ages_days=ages,
    )
    vectors = {
        fingerprint: np.array(
            [[draw(_NUMBERS) for _ in names] if draw(st.booleans()) else [math.nan] * len(names) for _ in which],
            np.float64,
        ).reshape(len(which), len(names))
        for fingerprint, names in NAMES.items()
    }
    settings = Settings(
        score_features=draw(st.sampled_from(["all", "alerts", "none"])),
        deployment=draw(st.sampled_from(["default", "blue"])),
        mark_young_history=draw(st.booleans()),
    )
    frame = ScoreFrame(
        settings,
        NAMES[OURS],
        OURS,
        "0.1.0",
        draw(st.integers(0, 9)),
        {0: 3, 1: 2**40, 2: 0, 3: 1},
        LATEST_MS + draw(st.integers(-10, 10**7)),
        NoTracing().headers,
        draw(st.integers(0, 3)),
        YOUNG_DAYS,
        NAMES,
    )
    return Batch(frame, decoded, observed, which, vectors, [draw(JUDGEMENTS) for _ in which])


def _time(epoch_ms: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=epoch_ms)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _plain_features(batch: Batch, row: int, judgement: Judgement) -> dict[str, float] | None:
    fingerprint, wanted = judgement.fingerprint or OURS, batch.frame.settings.score_features
    values = batch.vectors[fingerprint][row].tolist()
    is_undefined = "undecidable" in judgement.degraded and all(math.isnan(value) for value in values)
    if wanted == "none" or (wanted == "alerts" and not judgement.is_alert) or is_undefined:
        return None
    return dict(zip(NAMES[fingerprint], values, strict=True))


def _plain_positions(observed: Observed, at: int) -> dict[str, int | None]:
    positions = {kind: int(one.positions[at]) for kind, one in observed.histories.items()}
    device = positions.get(Entity.DEVICE, NOWHERE)
    found: dict[str, int | None] = {
        "history_epoch": observed.history_epoch,
        "card": positions[Entity.CARD],
        "merchant": positions[Entity.MERCHANT],
        "device": None if device == NOWHERE else device,
    }
    if Entity.PREDICTION in positions:
        found["prediction"] = positions[Entity.PREDICTION]
    return found


def _plain_degraded(batch: Batch, at: int, judgement: Judgement) -> list[str]:
    observed, ages = batch.observed, batch.observed.ages_days
    partitions = batch.observed.cards.rows.reshape(-1, 3, CARD_COLUMNS)[at, :, FLAGS] >> PARTITION_SHIFT
    young = batch.frame.settings.mark_young_history and ages is not None and ages[at] < YOUNG_DAYS
    return [
        *judgement.degraded,
        *(["history_incomplete"] if observed.incomplete else []),
        *(["card_on_two_partitions"] if len(set(partitions.tolist())) > 1 else []),
        *(["history_young"] if young else []),
    ]


def _plain_beginning(parsed: ParsedTransaction, judgement: Judgement) -> dict[str, Any]:
    transaction, model, overruled = parsed.transaction, judgement.model, judgement.overruled
    return {
        "schema": "score/1",
        "transaction_id": transaction.transaction_id,
        "card_id": transaction.card_id,
        "merchant_id": transaction.merchant_id,
        "occurred_at": _time(parsed.occurred_ms),
        "amount_minor": transaction.amount_minor,
        "currency": transaction.currency,
        "score": judgement.score,
        "band": judgement.band,
        "decision": judgement.decision.value,
        "decided_by": judgement.decided_by.value,
        "model": model and {"name": model.name, "version": model.version, "digest": model.digest},
        "arm": judgement.arm,
        "overruled": overruled and {"by": overruled.by, "from": overruled.decision.value},
        "propensity": judgement.propensity,
        **({"merchant_country": judgement.country} if judgement.country else {}),
    }


def plain_score(batch: Batch, row: int) -> dict[str, Any]:
    """Return one score as the contract describes it."""
    at, judgement, frame = int(batch.which[row]), batch.judgements[row], batch.frame
    record, parsed = batch.decoded.records[at], batch.decoded.accepted[at]
    source = {"topic": record.topic, "partition": record.partition, "offset": record.offset, "log": frame.log}
    return _plain_beginning(parsed, judgement) | {
        "deployment": frame.settings.deployment,
        "revision": frame.revision,
        "fingerprint": judgement.fingerprint or OURS,
        "code_version": "0.1.0",
        "features": _plain_features(batch, row, judgement),
        "positions": _plain_positions(batch.observed, at),
        "degraded": _plain_degraded(batch, at, judgement),
        "dropped": list(parsed.dropped),
        "epoch": frame.epochs[record.partition],
        "source": source,
        "scored_at": _time(frame.now_ms),
        "latency_ms": frame.now_ms - record.timestamp,
    }


@given(batches())
def test_scores_have_the_bytes_of_a_plain_encoder(batch: Batch) -> None:
    frame, decoded, observed, which, vectors, judgements = batch
    scored = encode(frame, decoded, observed, (which, vectors, judgements))
    assert len(scored.outgoing) == len(scored) == len(which)
    for row, (at, outgoing) in enumerate(zip(which.tolist(), scored.outgoing, strict=True)):
        record, plain = decoded.records[at], plain_score(batch, row)
        assert outgoing.value == msgspec.json.encode(plain)
        assert list(plain) == [name for name in Score.__struct_encode_fields__ if name in plain]
        assert (outgoing.source_offset, outgoing.key) == (record.offset, record.key)
        assert outgoing.headers == redact_headers(record.headers)
        assert outgoing.transaction_id == plain["transaction_id"]
        assert scored.latencies_ms[row] == plain["latency_ms"]
        assert list(scored.judgements[row].degraded) == plain["degraded"]
