"""Scores of a model for tests of the watch: payments of cards, as records of `scores`."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from fraudstream.ops.watch.drift.fold import LATENESS_MS, DriftFold, DriftNews
from fraudstream.ops.watch.drift.scores import ScoreFilter
from fraudstream.ops.watch.drift.terms import DriftTerms
from models.artifact import Manifest, TrainingData
from models.calibration import Calibration
from models.policy import Policy
from models.times import format_time
from models.training_reference import DAY_MS, ReferenceRows, TrainingReference, build_reference
from stream.readers import read_scores
from support.outcome_cases import outcome_value

DIGEST = "ab" * 32
NAMES = ("amount", "night", "gap")
POLICY = Policy(0.3, 0.6)
FIRST_DAY = 20_458
"""A Monday, 2026-01-05."""
TERMS = DriftTerms(least_cards=150, most_days=3, windows=2, first_days=7)


class Payment(NamedTuple):
    """A payment of a test: its day, card, vector and score."""

    day: int
    card: str
    vector: tuple[float, ...]
    score: float


class DriftRecord(NamedTuple):
    """A record of `scores`, as far as the watch reads it."""

    partition: int
    offset: int
    timestamp: int
    value: bytes
    headers: Sequence[tuple[str, bytes | None]] = ()


def payments(days: Iterable[int], *, seed: int = 1, cards: int = 200, moved: float = 0.0) -> list[Payment]:
    """Draw a payment a day of each card; `moved` is added to the first feature."""
    random = np.random.default_rng(seed)
    level = random.normal(size=cards)
    found = []
    for day in days:
        values = level + random.normal(size=cards)
        gaps = np.where(random.random(cards) < 0.1, np.nan, random.exponential(size=cards))
        scores = 1 / (1 + np.exp(4 - values))
        for at in range(cards):
            vector = (float(values[at]) + moved, float(at % 4 == 0), float(gaps[at]))
            found.append(Payment(day, f"card-{at}", vector, float(scores[at])))
    return found


def reference(drawn: Sequence[Payment]) -> TrainingReference:
    """Make the reference of payments."""
    cards = {card: at for at, card in enumerate(dict.fromkeys(one.card for one in drawn))}
    rows = ReferenceRows(
        np.array([one.vector for one in drawn]),
        np.arange(len(drawn)),
        np.array([one.score for one in drawn]),
        np.array([cards[one.card] for one in drawn]),
        np.array([one.day * DAY_MS for one in drawn]),
    )
    return build_reference(rows, POLICY)


def manifest(known: TrainingReference | None) -> Manifest:
    """Return a manifest with that reference."""
    since = format_time(FIRST_DAY * DAY_MS)
    return Manifest(
        name="card",
        version="1",
        fingerprint="f",
        feature_names=NAMES,
        training=TrainingData(since=since, until=since, rows=1, frauds=1, fingerprint="0" * 64),
        code_version="",
        parameters={},
        seed=0,
        metrics={},
        calibration=Calibration((0.0, 1.0), (0.0, 1.0)),
        policy=POLICY,
        reference=known,
    )


def record(one: Payment, offset: int, partition: int = 0, **changes: Any) -> DriftRecord:
    """Return the record of a payment's score, written at noon of its day unless `timestamp` says otherwise."""
    occurred_ms = one.day * DAY_MS + DAY_MS // 2
    value = {
        "schema": "score/1",
        "transaction_id": f"t-{partition}-{offset}",
        "card_id": one.card,
        "occurred_at": format_time(occurred_ms),
        "score": one.score,
        "decision": str(POLICY.decide(np.array([one.score]))[0]),
        "decided_by": "model",
        "model": {"name": "card", "version": "1", "digest": DIGEST},
        "arm": "live",
        "deployment": "default",
        "features": dict(zip(NAMES, (None if x != x else x for x in one.vector), strict=True)),  # noqa: PLR0124 - NaN
        "amount_minor": 1_000,
        "currency": "EUR",
        "revision": 3,
        "scored_at": format_time(occurred_ms + 1_000),
        "epoch": 1,
        "source": {"topic": "transactions", "partition": partition, "offset": offset},
    }
    timestamp = changes.pop("timestamp", occurred_ms + 1_000)
    return DriftRecord(partition, offset, timestamp, msgspec.json.encode(value | changes))


def records(drawn: Sequence[Payment], partitions: int = 1) -> list[DriftRecord]:
    """Return the records of payments; a card is always on one partition."""
    offsets = [0] * partitions
    found = []
    for one in drawn:
        partition = int(one.card.removeprefix("card-")) % partitions
        found.append(record(one, offsets[partition], partition))
        offsets[partition] += 1
    return found


def new_fold(known: TrainingReference | None, terms: DriftTerms = TERMS) -> DriftFold:
    """Return a fold of one model with that reference."""
    fold = DriftFold(terms)
    fold.manifests[DIGEST] = manifest(known)
    return fold


def watched(fold: DriftFold, found: Sequence[DriftRecord], end_day: int) -> list[DriftNews]:
    """Add records to a fold, and return what it says once all days before `end_day` are complete."""
    fold.add(ScoreFilter("default").of(read_scores(found)))  # type: ignore[arg-type] # it reads no other field
    return fold.advance(end_day * DAY_MS + LATENESS_MS)


def label(one: Payment, offset: int, partition: int, *, fraud: bool, days: int) -> DriftRecord:
    """Return the record of `outcomes` of a label that came so many days after the payment of a score's place."""
    labelled_ms = one.day * DAY_MS + DAY_MS // 2 + days * DAY_MS
    value = outcome_value(
        transaction_id=f"t-{partition}-{offset}",
        card_id=one.card,
        fraud=fraud,
        occurred_at=format_time(one.day * DAY_MS + DAY_MS // 2),
        labelled_at=format_time(labelled_ms),
        source={"topic": "labels", "partition": partition, "offset": offset},
    )
    return DriftRecord(partition, offset, labelled_ms, value)
