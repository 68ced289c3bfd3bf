"""Payments, decisions and labels made by hand, for tests of reports about outcomes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from fraudstream.ops.rollout.outcomes.columns import CODES, PAYMENT_ROW, PaymentRows
from fraudstream.ops.rollout.outcomes.labels import LABEL_ROW, NO_TIME, UNLABELLED, LabelRows, card_hash, payment_hash

LIVE_DIGEST = "d" * 64
DAY_MS = 86_400_000
STARTED_MS = 1_767_225_600_000
"""2026-01-01."""


class Payment(NamedTuple):
    """One payment as a test states it; times in days after 2026-01-01, `fraud` None without a label."""

    card: str
    day: float
    said: str = "approve"
    decided: str = "approve"
    fraud: bool | None = None
    labelled_day: float = 0.0
    amount_minor: int = 1_000
    score: float | None = 0.25
    propensity: float | None = None
    name: str = ""


def at_ms(day: float) -> int:
    return STARTED_MS + round(day * DAY_MS)


def payment_rows(payments: list[Payment]) -> PaymentRows:
    """Return payments as columns, in their order."""
    rows = np.zeros(len(payments), PAYMENT_ROW)
    for at, one in enumerate(payments):
        rows[at] = (
            payment_hash(one.card, one.name or f"t-{at}"), card_hash(one.card), at_ms(one.day), at_ms(one.day) + 5,
            one.amount_minor, np.nan if one.score is None else one.score,
            np.nan if one.propensity is None else one.propensity,
            NO_TIME if one.fraud is None else at_ms(one.labelled_day), 4, 1, 0, 0, 0, 0,
            CODES[one.said], CODES[one.decided], one.score is None,  # type: ignore[index] - the enum is of strings
            UNLABELLED if one.fraud is None else one.fraud,
        )  # fmt: skip
    return rows


def label_rows(labels: list[tuple[str, str, float | None, float, int, bool]]) -> LabelRows:
    """Return labels as columns, of (card, transaction, day that it occurred, day of the label, place, fraud)."""
    lines = [
        (payment_hash(card, name), card_hash(card), NO_TIME if day is None else at_ms(day), at_ms(known), place, fraud)
        for card, name, day, known, place, fraud in labels
    ]
    return np.array(lines, LABEL_ROW)


def score_value(**changes: Any) -> bytes:
    """Encode a score of a live decision."""
    fields: dict[str, Any] = {
        "schema": "score/1", "transaction_id": "t-1", "card_id": "card-1", "merchant_id": "m",
        "occurred_at": "2026-01-31T12:00:00.000Z", "amount_minor": 1_000, "currency": "EUR", "score": 0.25,
        "band": 500, "decision": "approve", "decided_by": "model",
        "model": {"name": "card", "version": "1", "digest": LIVE_DIGEST}, "arm": "live", "deployment": "default",
        "revision": 1, "fingerprint": "f", "code_version": "0", "features": None,
        "positions": {"history_epoch": 1, "card": 1, "merchant": None}, "degraded": [], "dropped": [], "epoch": 1,
        "source": {"topic": "transactions", "partition": 0, "offset": 0},
        "scored_at": "2026-01-31T12:00:00.004Z", "latency_ms": 4,
    }  # fmt: skip
    return msgspec.json.encode(fields | changes)


def outcome_value(**changes: Any) -> bytes:
    """Encode the outcome of a label."""
    fields: dict[str, Any] = {
        "schema": "outcome/1", "deployment": "default", "kind": "label", "transaction_id": "t-1", "card_id": "card-1",
        "merchant_id": None, "occurred_at": "2026-01-31T12:00:00.000Z", "fraud": True,
        "labelled_at": "2026-02-10T12:00:00.000Z", "reported_by": "chargeback",
        "positions": {"history_epoch": 1, "card": 2, "merchant": None}, "status": "applied",
        "source": {"topic": "labels", "partition": 0, "offset": 0},
    }  # fmt: skip
    return msgspec.json.encode(fields | changes)


def cards_in_whole_cohorts(firsts: Sequence[float], final: Sequence[bool], length: float) -> int:
    """Return how many cards count: those of the first cohorts whose cards are all final.

    Args:
        firsts: the first payment of each card, ascending.
        final: whether each card is final.
        length: how long the cards of a cohort appear, in the unit of the times.
    """
    counted = 0
    while counted < len(firsts):
        number = (firsts[counted] - firsts[0]) // length
        own = [at for at, first in enumerate(firsts) if (first - firsts[0]) // length == number]
        if not all(final[at] for at in own):
            break
        counted += len(own)
    return counted
