"""A season of simulated payments with their labels, in three parts, and a recount of their features from the topics.

The parts are more than a label delay apart, so that merchants' features do not depend on the order of arrival within a
part: they see only the parts before it.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from aiokafka import ConsumerRecord

from features.declaration import FeatureSet, load
from features.history.store import Label, Transactions
from fraudstream_client.outputs import Score
from stream.contract.label import ParsedLabel, read_label
from stream.engine.unpacking import FetchedRecord
from stream.scoring.decode import decode
from support.features.recount import Recount, Row
from support.fleet.fleet import Fleet

FEATURES = load(None)
DAY_MS = 86_400_000
START_MS = 1_700_000_000_000
APART_MS = 8 * DAY_MS
SPACING_MS = (8 * 60_000, 60_000, 10 * 60_000)
"""Between two payments of a part."""

EARLY = 200
"""Every second one of the first so many payments of `during` has a label; they are decided before the outage."""

Payments = list[dict[str, Any]]


class Season(NamedTuple):
    """Payments before, during and after an outage; labels known before it, and only after it."""

    before: Payments
    during: Payments
    after: Payments
    early_labels: Payments
    late_labels: Payments


def a_season(before: int, during: int, after: int, seed: int) -> Season:
    """Make so many payments for each part."""
    random, at, parts = np.random.default_rng(seed), START_MS, list[Payments]()
    for count, spacing in zip((before, during, after), SPACING_MS, strict=True):
        assert count * spacing < 7 * DAY_MS, "payments of one part would see each other at their merchants"
        parts.append([_payment(f"{len(parts)}-{number}", at + number * spacing, random) for number in range(count)])
        at += count * spacing + APART_MS
    known_late = parts[2][0]["occurred_at"]
    late = [*parts[0][1::2], *parts[1][:EARLY:2]]
    return Season(
        *parts,
        [_label(one, one["occurred_at"] + 7 * DAY_MS, random) for one in parts[0][::2]],
        [_label(one, known_late, random) for one in late],
    )


def _payment(name: str, at_ms: int, random: np.random.Generator) -> dict[str, Any]:
    return {
        "transaction_id": f"p-{name}",
        "card_id": f"card-{random.integers(200)}",
        "merchant_id": f"shop-{random.integers(60)}",
        "occurred_at": at_ms,
        "amount_minor": int(random.integers(100, 90_000)),
        "currency": "EUR",
    }


def _label(of: dict[str, Any], known_ms: int, random: np.random.Generator) -> dict[str, Any]:
    about = {name: of[name] for name in ("transaction_id", "card_id")}
    return about | {"fraud": bool(random.random() < 0.3), "labelled_at": known_ms, "reported_by": "analyst"}


def recounted(
    fleet: Fleet, features: FeatureSet = FEATURES, wanted: Collection[str] | None = None
) -> Mapping[str, list[float]]:
    """Return every feature of the payments in the topic, by transaction, recounted in the order of time.

    All payments are counted; the features are those of the `wanted` transactions, of all if that is None.
    """
    recount, found = Recount(features), dict[str, list[float]]()
    for _, event in sorted(_events(fleet), key=lambda one: one[0]):
        if isinstance(event, Label):
            recount.label(event)
            continue
        _, own = recount.count(event)
        if own is not None and (wanted is None or own["id"] in wanted):
            found[str(own["id"])] = recount.features(own)
    return found


def _events(fleet: Fleet) -> Iterator[tuple[int, Row | Label]]:
    for record in fleet.read("labels"):
        recorded = read_label(record.value, record.key, (record.partition, record.offset))
        assert isinstance(recorded, ParsedLabel)
        yield recorded.label.labelled_ms, recorded.label
    payments = [fetched(record) for record in fleet.read("transactions")]
    yield from ((int(row["ms"]), row) for row in rows_of(decode(payments, 0).columns))


def fetched(record: ConsumerRecord[bytes, bytes]) -> FetchedRecord:
    """Return a record of a client's as a worker's consumer returns it."""
    return FetchedRecord(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.timestamp_type,
        record.key,
        record.value,
        tuple(record.headers),
    )


ABSENT: Row = {"at": None, "mcc": None, "country": None, "channel": None, "currency": "EUR"}
"""Fields that a season's payments do not have."""


def rows_of(batch: Transactions) -> Iterator[Row]:
    """Turn the columns of a batch into plain rows."""
    for at in range(len(batch)):
        yield {
            "id": batch.transaction_ids[at],
            "card": batch.card_ids[at],
            "merchant": batch.merchant_ids[at],
            "device": batch.device_ids[at],
            "ms": int(batch.occurred_ms[at]),
            "utc_offset": int(batch.utc_offset_minutes[at]),
            "amount": int(batch.amount_minor[at]),
            "exponent": int(batch.exponent[at]),
            "content": int(batch.content[at]),
            "partition": int(batch.partition[at]),
            "offset": int(batch.offset[at]),
            **ABSENT,
        }


def differing(
    scores: list[Score], expected: Mapping[str, list[float]], features: FeatureSet = FEATURES
) -> list[tuple[str, str, float | None, float]]:
    """Return where a score's features differ from the recount: transaction, feature, recorded, recounted."""
    found = []
    for score in scores:
        assert score.features is not None
        for name, value in zip(features.names, expected[score.transaction_id], strict=True):
            recorded = score.features[name]
            if recorded != (None if math.isnan(value) else value):
                found.append((score.transaction_id, name, recorded, value))
    return found
