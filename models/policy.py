"""Turn a score into a decision, by the columns of payments that it may look at, and into a band for human readers.

Bands are looked up in a table of exact thresholds, because the bits of a vectorised logarithm differ between CPUs.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream_client.outputs import Decision

Floats = NDArray[np.float64]
LAST_BAND = 999


@dataclass(frozen=True, slots=True)
class Payments:
    """n payments as columns, in the order of their scores.

    `countries` are the merchants' (ISO 3166 alpha-2), None where it is not stated; `amounts_minor` are in the minor
    units of `currencies` (ISO 4217), integers of shape (n,).
    """

    card_ids: Sequence[str]
    merchant_ids: Sequence[str]
    countries: Sequence[str | None]
    amounts_minor: NDArray[np.int64]
    currencies: Sequence[str]

    def __len__(self) -> int:
        """Return n."""
        return len(self.amounts_minor)

    def of(self, rows: NDArray[np.integer[Any]]) -> "Payments":
        """Return some of the payments, by their row numbers."""
        which = rows.tolist()
        return Payments(
            [self.card_ids[at] for at in which],
            [self.merchant_ids[at] for at in which],
            [self.countries[at] for at in which],
            self.amounts_minor[rows],
            [self.currencies[at] for at in which],
        )


_BY_SEVERITY = tuple(Decision)


class Policy(msgspec.Struct, frozen=True):
    """The scores from which a payment is reviewed and from which it is declined; above 1 means never."""

    review_at: float
    decline_at: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.review_at <= self.decline_at:
            raise ValueError(
                f"review_at {self.review_at} and decline_at {self.decline_at} must be 0 <= review_at <= decline_at"
            )

    def decide(self, scores: Floats) -> list[Decision]:
        """Decide n payments by their scores of shape (n,)."""
        thresholds = (self.review_at, self.decline_at)
        return [_BY_SEVERITY[bisect_right(thresholds, score)] for score in scores.tolist()]


def _band_thresholds() -> Floats:
    """Return the lowest score of each band from 1 to 999.

    Band k begins where 500 + 50 log2(99 odds) = k - 1/2. That point is irrational, so no score lies on it and the
    rounding of halves does not matter.
    """
    with localcontext() as context:
        context.prec = 50
        step = (Decimal(2).ln() / 50).exp()
        odds = (Decimal(2).ln() * Decimal("-499.5") / 50).exp() / 99
        thresholds = []
        for _ in range(LAST_BAND):
            thresholds.append(float(odds / (1 + odds)))
            odds *= step
    return np.array(thresholds)


_THRESHOLDS = _band_thresholds()


def bands(scores: Floats) -> NDArray[np.int64]:
    """Return round(500 + 50 log2(99 odds)) of each score, clamped to 0..999.

    500 means odds of 1 in 100; each 50 more double the odds.
    """
    return np.searchsorted(_THRESHOLDS, scores, side="right").astype(np.int64)
