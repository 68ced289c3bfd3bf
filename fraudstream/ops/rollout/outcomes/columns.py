"""Payments as columns, some 90 bytes each: what the model said, what was decided, and the label once one came.

An artifact, a model with the rules beside it, is judged by what it said before limits; money that was really lost, by
what was decided. Both are here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fraudstream.ops.rollout.outcomes.labels import NO_TIME, UNLABELLED, LabelRows, card_hash, is_sampled, payment_hash
from fraudstream_client.outputs import DecidedBy, Decision
from metrics.columns import Bools
from metrics.money import DecisionCode
from stream.errors import ReportError
from stream.readers import ScoreView, ValidViews, ViewedRecord

MOST_ROWS = 5_000_000
"""With more payments the report is refused: their columns take 90 bytes each, a verdict on them 600 at its peak."""
BY_RULES = -1
"""The index of the model where rules decided."""
CODES = {decision: DecisionCode[decision.name] for decision in Decision}

PAYMENT_ROW = np.dtype(
    [
        ("payment", "u8"),
        ("card", "u8"),
        ("occurred_ms", "i8"),
        ("decided_ms", "i8"),
        ("amount_minor", "i8"),
        ("score", "f8"),
        ("propensity", "f8"),
        ("labelled_ms", "i8"),
        ("latency_ms", "i8"),
        ("revision", "i4"),
        ("partition", "i4"),
        ("currency", "i2"),
        ("arm", "i2"),
        ("model", "i2"),
        ("said", "i1"),
        ("decided", "i1"),
        ("stood_in", "i1"),
        ("fraud", "i1"),
    ]
)
"""A valid decision and its payment.

`payment` and `card` are hashes, `currency`, `arm` and `model` indexes of `ColumnNames` (`BY_RULES` without a model),
`said` what the artifact decided, its rules included, and `decided` what became of it, each a `DecisionCode`; `score` is
NaN where rules decided, `propensity` NaN where no lot was drawn; `stood_in` is 1 where another model or the rules stood
in. `fraud` is 1, 0, or `UNLABELLED`, and `labelled_ms` since when that is known, or `NO_TIME`.
"""

PaymentRows = NDArray[Any]
"""Payments of the type `PAYMENT_ROW`."""


@dataclass(slots=True)
class ColumnNames:
    """Texts by the index that stands for them in columns, numbered as they come."""

    currencies: list[str] = field(default_factory=list)
    arms: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)


def index_of(names: list[str], name: str) -> int:
    """Return the index of a name, which is added if it is new."""
    if name not in names:
        names.append(name)
    return names.index(name)


class ValidPayment(NamedTuple):
    """A valid decision, its times in epoch milliseconds, and its partition; what a report keeps is chosen by it."""

    score: ScoreView
    occurred_ms: int
    decided_ms: int
    partition: int

    @property
    def payment(self) -> int:
        """The hash of the payment."""
        return payment_hash(self.score.card_id, self.score.transaction_id)


@dataclass(slots=True)
class PaymentCollector:
    """Collects valid decisions of a deployment from one topic of scores.

    Attributes:
        deployment: whose decisions count. Those of all count for validity.
        names: of all collectors that share them.
        cards_bp: the share of the cards that is kept, in 0.01 %; see `is_sampled`.
        most: so many payments at most.
    """

    deployment: str
    names: ColumnNames
    cards_bp: int
    most: int = MOST_ROWS
    kept: int = 0
    _valid: ValidViews = field(default_factory=ValidViews)
    _parts: list[PaymentRows] = field(default_factory=list)

    @property
    def void(self) -> int:
        """The scores that another worker's later epoch made void."""
        return self._valid.all_void

    def valid(self, records: Iterable[ViewedRecord], first: int) -> list[ValidPayment]:
        """Return the deployment's valid decisions among the next records of a partition.

        Those before the record offset `first` only show which are valid.
        """
        return [
            ValidPayment(score, score.occurred_ms, score.scored_ms, record.partition)
            for record, score in self._valid.of(records)
            if record.offset >= first and score.is_of(self.deployment)
        ]

    def keep(self, valid: Iterable[ValidPayment]) -> None:
        """Keep decisions, those of cards in the share.

        Raises:
            ReportError: they are too many.
        """
        lines = [line for one in valid if (line := self._line(one)) is not None]
        if lines:
            self._parts.append(np.array(lines, PAYMENT_ROW))
        self.kept += len(lines)
        if self.kept > self.most:
            raise ReportError(
                f"more than {self.most:,} payments, which would take too much memory: take a later --since, or a share "
                "of the cards, such as --cards 10% (the same cards each time; all intervals are by card)"
            )

    def _line(self, one: ValidPayment) -> tuple[Any, ...] | None:
        score, names, card = one.score, self.names, card_hash(one.score.card_id)
        if not is_sampled(card, self.cards_bp):
            return None
        return (
            payment_hash(score.card_id, score.transaction_id),
            card,
            one.occurred_ms,
            one.decided_ms,
            score.amount_minor,
            np.nan if score.score is None else score.score,
            np.nan if score.propensity is None else score.propensity,
            NO_TIME,
            score.latency_ms,
            score.revision,
            one.partition,
            index_of(names.currencies, score.currency),
            index_of(names.arms, score.arm or ""),
            BY_RULES if score.digest is None else index_of(names.models, score.digest),
            CODES[score.ruled],
            CODES[score.decision],
            score.decided_by is not DecidedBy.MODEL,
            UNLABELLED,
        )

    def rows(self) -> PaymentRows:
        """Return the payments in the order in which they were read."""
        return np.concatenate([np.empty(0, PAYMENT_ROW), *self._parts])


def last_of_each(rows: PaymentRows) -> PaymentRows:
    """Return the last row of each payment, by card and then by time: a payment has one decision that counts."""
    _, last = np.unique(rows["payment"][::-1], return_index=True)
    kept = rows[len(rows) - 1 - last]
    return kept[np.lexsort((kept["payment"], kept["occurred_ms"], kept["card"]))]


def joined(rows: PaymentRows, labels: LabelRows) -> PaymentRows:
    """Return payments with their labels.

    Args:
        rows: of shape (n,); they stay as they are.
        labels: one for each payment, by payment, as `latest_labels` returns them.
    """
    found = rows.copy()
    if not len(labels):
        return found
    at = np.minimum(np.searchsorted(labels["payment"], rows["payment"]), len(labels) - 1)
    matches = labels["payment"][at] == rows["payment"]
    found["fraud"] = np.where(matches, labels["fraud"][at], UNLABELLED)
    found["labelled_ms"] = np.where(matches, labels["labelled_ms"][at], NO_TIME)
    return found


def was_declined(rows: PaymentRows) -> Bools:
    """Tell which payments were declined in the end, so that nobody learns what would have become of them."""
    declined: Bools = rows["decided"] == DecisionCode.DECLINE
    return declined
