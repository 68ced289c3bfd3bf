"""The alerts of the last weeks with the labels that came for them: what a guard reads matured precision from.

An alert takes 35 bytes. Labels of other payments are dropped, once the score of their payment must have been read.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.ops.rollout.outcomes.columns import PAYMENT_ROW, PaymentRows, joined
from fraudstream.ops.rollout.outcomes.labels import (
    LABEL_ROW,
    NO_TIME,
    UNLABELLED,
    LabelRows,
    card_hash,
    latest_labels,
    payment_hash,
)
from fraudstream.ops.rollout.outcomes.maturity import MATURITY_DAYS, MaturityTerms
from fraudstream.ops.watch.drift.fold import WatchedPair
from fraudstream.ops.watch.drift.precision import latest_matured
from fraudstream_client.outputs import Decision
from metrics.money import DecisionCode
from models.training_reference import DAY_MS
from stream.readers import ScoreView

MOST_ALERTS = 1_000_000
KEPT_DAYS = MATURITY_DAYS + 28
"""Alerts are kept for so long: four weeks of them have matured then, whatever labels come."""
WAITING_DAYS = 1
"""A label whose payment occurred so long before what was read of scores is of no alert, if none is known."""
_ALERT_ROW = np.dtype(
    [("payment", "u8"), ("card", "u8"), ("occurred_ms", "i8"), ("score", "f8"), ("declined", "?"), ("pair", "i2")]
)

AlertRows = NDArray[Any]
"""Alerts: hashes of the payment and of the card, when it occurred, the score, whether it was declined in the end, and
the number of its model and arm."""


class StoredBook(msgspec.Struct, frozen=True):
    """A book as plain JSON: models and arms, and arrays in base64."""

    pairs: tuple[tuple[str, str], ...] = ()
    alerts: str = ""
    labels: str = ""


class AlertBook:
    """Alerts and their labels.

    Args:
        stored: what a book had stored.

    Raises:
        ValueError: it is damaged.
    """

    def __init__(self, stored: StoredBook | None = None) -> None:
        known = stored or StoredBook()
        self._pairs = [WatchedPair(*one) for one in known.pairs]
        self._alerts: AlertRows = np.frombuffer(b64decode(known.alerts, validate=True), _ALERT_ROW)
        self._labels: LabelRows = np.frombuffer(b64decode(known.labels, validate=True), LABEL_ROW)

    def add(self, scores: Iterable[ScoreView]) -> None:
        """Add those of some scores that are alerts."""
        lines = [
            (
                payment_hash(score.card_id, score.transaction_id),
                card_hash(score.card_id),
                score.occurred_ms,
                score.score or 0.0,
                score.decision is Decision.DECLINE,
                self._number(WatchedPair(score.digest or "", score.arm or "")),
            )
            for score in scores
            if score.ruled is not Decision.APPROVE
        ]
        if lines:
            self._alerts = np.concatenate((self._alerts, np.array(lines, _ALERT_ROW)))

    def _number(self, pair: WatchedPair) -> int:
        if pair not in self._pairs:
            self._pairs.append(pair)
        return self._pairs.index(pair)

    def add_labels(self, labels: LabelRows) -> None:
        """Add labels, of alerts and of others."""
        if len(labels):
            self._labels = latest_labels(np.concatenate((self._labels, labels)))

    def forget(self, until_ms: int) -> None:
        """Forget alerts that are old, and labels that are of no alert; scores were read up to `until_ms`."""
        recent = self._alerts[self._alerts["occurred_ms"] >= until_ms - KEPT_DAYS * DAY_MS]
        self._alerts = recent[np.argsort(recent["occurred_ms"], kind="stable")][-MOST_ALERTS:]
        labels = self._labels
        paid_ms = np.where(labels["occurred_ms"] == NO_TIME, labels["labelled_ms"], labels["occurred_ms"])
        is_waiting = paid_ms >= until_ms - WAITING_DAYS * DAY_MS
        self._labels = labels[is_waiting | np.isin(labels["payment"], self._alerts["payment"])]

    def rows(self, pair: WatchedPair) -> PaymentRows:
        """Return the alerts of a model and arm, with their labels."""
        if pair not in self._pairs:
            return np.empty(0, PAYMENT_ROW)
        alerts = self._alerts[self._alerts["pair"] == self._pairs.index(pair)]
        rows = np.zeros(len(alerts), PAYMENT_ROW)
        for name in ("payment", "card", "occurred_ms", "score"):
            rows[name] = alerts[name]
        rows["decided"] = np.where(alerts["declined"], DecisionCode.DECLINE, DecisionCode.REVIEW)
        rows["fraud"], rows["labelled_ms"] = UNLABELLED, NO_TIME
        return joined(rows, self._labels)

    def matured(self, as_of_ms: int) -> dict[WatchedPair, float]:
        """Return the precision of the latest week of each model and arm of which most alerts are known."""
        terms = MaturityTerms(as_of_ms)
        found = {pair: latest_matured(self.rows(pair), terms) for pair in self._pairs}
        return {pair: value for pair, value in found.items() if value is not None}

    def stored(self) -> StoredBook:
        """Return it as plain JSON."""
        arrays = (b64encode(one.tobytes()).decode() for one in (self._alerts, self._labels))
        return StoredBook(tuple((pair.digest, pair.arm) for pair in self._pairs), *arrays)
