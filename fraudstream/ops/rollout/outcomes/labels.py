"""Labels of payments as columns: of several for one payment the one with the latest `labelled_at`, ties by arrival.

They come from the records `outcome/1` of one deployment, whatever the status says: a label for a transaction that the
histories did not know joins its decision all the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudstream_client.arms import WHOLE_BP
from models.errors import InvalidTimeError
from models.times import parse_time_ms
from stream.readers import UNREADABLE, read_label_view

NO_TIME = -(2**63)
"""Stands for a time that is not known."""
UNLABELLED = -1

LABEL_ROW = np.dtype(
    [
        ("payment", "u8"),
        ("card", "u8"),
        ("occurred_ms", "i8"),
        ("labelled_ms", "i8"),
        ("place", "i8"),
        ("fraud", "i1"),
    ]
)
"""A label: hashes of the payment and of the card, when it occurred (`NO_TIME` if the label does not say), since when it
is known, the place of the label's own record, and 1 for fraud, 0 for genuine."""

LabelRows = NDArray[Any]
"""Labels of the type `LABEL_ROW`."""

_HASH_BYTES = 8


def card_hash(card_id: str) -> int:
    """Return the 64 bits that stand for a card: BLAKE2b of its id, big-endian."""
    return int.from_bytes(blake2b(card_id.encode(), digest_size=_HASH_BYTES).digest())


def payment_hash(card_id: str, transaction_id: str) -> int:
    """Return the 64 bits that stand for a card's payment: BLAKE2b of both ids with a line feed between, big-endian."""
    return int.from_bytes(blake2b(f"{card_id}\n{transaction_id}".encode(), digest_size=_HASH_BYTES).digest())


@dataclass(slots=True)
class LabelCollector:
    """Collects the labels of a deployment, of one share of the cards.

    Attributes:
        deployment: whose outcomes count; the other fleet on the same topics writes its own.
        cards_bp: the share of the cards, in 0.01 %; see `is_sampled`.
        read: the labels that were collected, repeats included.
    """

    deployment: str
    cards_bp: int
    read: int = 0
    _parts: list[LabelRows] = field(default_factory=list)

    def add(self, values: Iterable[bytes | None]) -> None:
        """Add the values of the next records of `outcomes`; those that are no label of the deployment are skipped."""
        lines = [line for value in values if (line := self._line(value or b"")) is not None]
        if lines:
            self._parts.append(np.array(lines, LABEL_ROW))
            self.read += len(lines)

    def _line(self, value: bytes) -> tuple[int, int, int, int, int, bool] | None:
        try:
            if (label := read_label_view(value)) is None:
                return None
            labelled_ms = parse_time_ms(label.labelled_at).epoch_ms
            occurred_ms = NO_TIME if label.occurred_at is None else parse_time_ms(label.occurred_at).epoch_ms
        except (*UNREADABLE, InvalidTimeError):
            return None
        card = card_hash(label.card_id)
        if not label.is_of(self.deployment) or not is_sampled(card, self.cards_bp):
            return None
        return (
            payment_hash(label.card_id, label.transaction_id),
            card,
            occurred_ms,
            labelled_ms,
            label.place,
            label.fraud,
        )

    def rows(self) -> LabelRows:
        """Return the label that counts of each payment, by payment."""
        return latest_labels(np.concatenate([np.empty(0, LABEL_ROW), *self._parts]))


def is_sampled(card: int, cards_bp: int) -> bool:
    """Tell whether a card is in a share of the cards: its hash modulo 10,000 is below it. A larger share only adds."""
    return card % WHOLE_BP < cards_bp


def latest_labels(rows: LabelRows) -> LabelRows:
    """Return, of the labels of each payment, the one with the latest `labelled_ms`, of equal ones the last to arrive.

    They come in any order, and repeatedly; the result is ordered by payment.
    """
    ordered = rows[np.lexsort((rows["place"], rows["labelled_ms"], rows["payment"]))]
    payments = ordered["payment"]
    is_last = np.ones(len(ordered), np.bool_)
    is_last[:-1] = payments[1:] != payments[:-1]
    return ordered[is_last]
