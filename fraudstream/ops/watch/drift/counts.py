"""Counts of payments in the bins of a model's features, score and decisions, apart for random groups of cards.

They add up over partitions, days and processes in any order: integers, and a set of bits for the cards.
"""

import math
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.ops.watch.drift.layout import DECISIONS, Layout
from fraudstream_client.outputs import Decision
from guards.hashes import hash_of
from metrics.columns import Bools, Floats, Ints
from metrics.drift_test import GROUPS
from models.policy import bands
from models.training_reference import BAND_CLASSES, BAND_WIDTH

PROBABILITY_UNIT = 1_000_000_000
"""Probabilities are added as integers of this many parts, so that the order does not matter."""
_CARD_BITS = 1 << 17
_GROUP_SHIFT = 32
_CODES = {decision: code for code, decision in enumerate(Decision)}


class DriftRows(NamedTuple):
    """Payments of one model and arm.

    Attributes:
        cards: 8-byte hashes of the cards, of shape (n,).
        scores: of shape (n,).
        decisions: what the model wanted: 0 approve, 1 review, 2 decline; of shape (n,).
        matrix: vectors of shape (m, features) of those that carry their features.
        featured: which those are, of shape (n,).
    """

    cards: NDArray[np.uint64]
    scores: Floats
    decisions: Ints
    matrix: Floats
    featured: Bools


class StoredCounts(msgspec.Struct, frozen=True):
    """Counts as plain JSON: arrays of 8-byte integers in base64."""

    by_group: str
    expected: str
    bands: str
    cards: str
    weekend: int
    featured: int


@dataclass(frozen=True, slots=True)
class DriftCounts:
    """The counts of some payments; `merge` adds those of others.

    Attributes:
        by_group: payments by random group of cards and bin, of shape (groups, bins), as a `Layout` numbers bins.
        expected: the sum of the scores of alerts by group, in parts of `PROBABILITY_UNIT`, of shape (groups,).
        bands: payments in each class of 50 bands, of shape (20,).
        cards: a bit for each of some cards, from which their number is estimated; packed.
        weekend: payments on Saturdays and Sundays, UTC.
        featured: payments that carry their features.
    """

    by_group: Ints
    expected: Ints
    bands: Ints
    cards: NDArray[np.uint8]
    weekend: int
    featured: int

    @classmethod
    def zero(cls, width: int) -> Self:
        """Return the counts of nothing, for so many bins."""
        by_group, expected, bands = (np.zeros(shape, np.int64) for shape in ((GROUPS, width), GROUPS, BAND_CLASSES))
        return cls(by_group, expected, bands, np.zeros(_CARD_BITS // 8, np.uint8), 0, 0)

    @classmethod
    def of(cls, layout: Layout, rows: DriftRows, *, weekend: bool) -> Self:
        """Count payments of days that are all of a weekend, or none of them."""
        group = (rows.cards >> np.uint64(_GROUP_SHIFT)).astype(np.int64) % GROUPS
        places = [
            (group * layout.width + layout.score_bins(rows.scores)),
            (group * layout.width + layout.decision_begin + rows.decisions),
            (group[rows.featured, np.newaxis] * layout.width + layout.feature_bins(rows.matrix)).ravel(),
        ]
        flat = np.bincount(np.concatenate(places), minlength=GROUPS * layout.width)
        bits = np.zeros(_CARD_BITS, np.bool_)
        bits[(rows.cards % np.uint64(_CARD_BITS)).astype(np.int64)] = True
        return cls(
            flat.reshape(GROUPS, layout.width).astype(np.int64),
            _expected(group, rows),
            np.bincount(bands(rows.scores) // BAND_WIDTH, minlength=BAND_CLASSES).astype(np.int64),
            np.packbits(bits),
            len(rows.cards) if weekend else 0,
            int(rows.featured.sum()),
        )

    def merge(self, other: Self) -> Self:
        """Return the counts of both."""
        return type(self)(
            self.by_group + other.by_group,
            self.expected + other.expected,
            self.bands + other.bands,
            self.cards | other.cards,
            self.weekend + other.weekend,
            self.featured + other.featured,
        )

    @property
    def payments(self) -> int:
        """How many payments were counted."""
        return int(self.bands.sum())

    @property
    def card_count(self) -> int:
        """About how many cards: within 1 % up to 300,000, from bits that hashes set.

        Linear counting: Whang, Vander-Zanden and Taylor, ACM Transactions on Database Systems 15(2), 1990.
        """
        unset = _CARD_BITS - int(np.bitwise_count(self.cards).sum())
        return round(_CARD_BITS * math.log(_CARD_BITS / max(unset, 1)))

    @property
    def alerts_by_group(self) -> Ints:
        """Payments that the model wanted reviewed or declined, by group, of shape (groups,)."""
        alerts: Ints = self.by_group[:, 1 - DECISIONS :].sum(axis=1)
        return alerts

    def stored(self) -> StoredCounts:
        """Return it as plain JSON, which `read_counts` reads."""
        packed = _packed(self.by_group), _packed(self.expected), _packed(self.bands), _packed(self.cards)
        return StoredCounts(*packed, self.weekend, self.featured)


def read_counts(stored: StoredCounts) -> DriftCounts:
    """Read counts.

    Raises:
        ValueError: they are damaged.
    """
    by_group, expected, classes = (_unpacked(one) for one in (stored.by_group, stored.expected, stored.bands))
    cards = np.frombuffer(b64decode(stored.cards, validate=True), np.uint8)
    if (expected.size, classes.size, cards.size) != (GROUPS, BAND_CLASSES, _CARD_BITS // 8):
        raise ValueError("stored counts are of other groups, bands or cards")
    return DriftCounts(by_group.reshape(GROUPS, -1), expected, classes, cards, stored.weekend, stored.featured)


def card_hashes(cards: Sequence[str]) -> NDArray[np.uint64]:
    """Return the hashes of cards, of shape (n,)."""
    return np.fromiter((hash_of(one) for one in cards), np.uint64, len(cards))


def decision_codes(decisions: Sequence[Decision]) -> Ints:
    """Return decisions as 0 approve, 1 review, 2 decline, of shape (n,)."""
    return np.fromiter((_CODES[one] for one in decisions), np.int64, len(decisions))


def _expected(group: Ints, rows: DriftRows) -> Ints:
    alerts = rows.decisions > 0
    parts = np.rint(rows.scores[alerts] * PROBABILITY_UNIT).astype(np.int64)
    sums = np.zeros(GROUPS, np.int64)
    np.add.at(sums, group[alerts], parts)
    return sums


def _packed(values: NDArray[np.int64] | NDArray[np.uint8]) -> str:
    kind = "<i8" if values.dtype == np.int64 else "u1"
    return b64encode(values.astype(kind).tobytes()).decode()


def _unpacked(text: str) -> Ints:
    return np.frombuffer(b64decode(text, validate=True), "<i8").astype(np.int64)
