"""Segments that a fraud team looks at: by amount, by channel, by country, and new cards."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.declaration import DAY_MS
from features.history.store import Ints
from stream.distillation.comparison import HeldBackRows, MoneyTerms, compare
from stream.distillation.payments import PaymentColumns, Texts
from stream.distillation.report import SegmentComparison

AMOUNT_EDGES = (10, 50, 200, 1_000)
"""In major units of the payment's currency."""
NEW_CARD_DAYS = 7
"""A card is new for so long after its first payment in the file."""
_MOST_NAMES = 6


class SegmentRows(NamedTuple):
    """The rows of one segment, such as `by` "channel" and `name` "ecommerce"."""

    by: str
    name: str
    rows: Ints


def segments(payments: PaymentColumns, card_age_ms: Ints) -> Iterator[SegmentRows]:
    """Yield the segments of n payments, those without payments left out.

    Args:
        payments: their columns.
        card_age_ms: the time since the first payment of each one's card in the file.
    """
    edges = np.array(AMOUNT_EDGES, np.float64)
    bands = np.searchsorted(edges, payments.amounts_minor / 10.0**payments.exponents, side="right")
    for at, name in enumerate(_band_names()):
        yield from _segment("amount", name, bands == at)
    for by, values in (("channel", payments.channels), ("country", payments.countries)):
        yield from _named(by, values)
    new = card_age_ms < NEW_CARD_DAYS * DAY_MS
    yield from _segment("card", f"new (first {NEW_CARD_DAYS} days)", new)
    yield from _segment("card", "older", ~new)


def _band_names() -> tuple[str, ...]:
    between = (f"{low:,} to {high:,}" for low, high in pairwise(AMOUNT_EDGES))
    return (f"below {AMOUNT_EDGES[0]:,}", *between, f"{AMOUNT_EDGES[-1]:,} and more")


def _named(by: str, values: Texts) -> Iterator[SegmentRows]:
    """Yield the most frequent values and all others together; nothing where all are the same."""
    counted = Counter(values.tolist())
    if len(counted) == 1:
        return
    names = [name for name, _ in sorted(counted.items(), key=lambda one: (-one[1], one[0]))[:_MOST_NAMES]]
    for name in names:
        yield from _segment(by, name, values == name)
    yield from _segment(by, "others", ~np.isin(values.astype(str), names))


def _segment(by: str, name: str, chosen: NDArray[np.bool_]) -> Iterator[SegmentRows]:
    rows = np.flatnonzero(chosen)
    if len(rows):
        yield SegmentRows(by, name, rows)


def compare_segment(held: HeldBackRows, segment: SegmentRows, terms: MoneyTerms) -> SegmentComparison:
    """Compare both models on one segment."""
    chosen = held.of(segment.rows)
    swapped = chosen.teacher_codes != chosen.student_codes
    in_currency = swapped & (chosen.payments.currencies == terms.currency)
    return SegmentComparison(
        by=segment.by,
        name=segment.name,
        swaps=int(swapped.sum()),
        swapped_minor=int(chosen.payments.amounts_minor[in_currency].sum()),
        figures=compare(chosen, terms),
    )
