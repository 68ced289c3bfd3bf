"""A teacher and its student on each segment of the held-back payments."""

import numpy as np

from features.history.store import Ints
from fraudstream.lab.distillation.comparison import HeldBackRows, MoneyTerms, compare
from fraudstream.lab.distillation.report import SegmentComparison
from fraudstream.lab.training.segments import Segment, SegmentColumns, segments


def compare_segments(
    held: HeldBackRows, card_age_ms: Ints, history_ms: int, terms: MoneyTerms
) -> tuple[SegmentComparison, ...]:
    """Compare both models on each segment that the file tells apart; see `fraudstream.lab.training.segments`.

    Args:
        held: n held-back payments.
        card_age_ms: the time since the first payment of each one's card in the file, of shape (n,).
        history_ms: how long before the first of them the file begins.
        terms: how money is compared.
    """
    codes, places = np.unique(held.payments.currencies.astype(str), return_inverse=True)
    columns = SegmentColumns(
        held.payments.amounts_minor,
        places.astype(np.int64),
        held.payments.channels,
        held.payments.countries,
        card_age_ms,
    )
    return tuple(_compared(held, one, terms) for one in segments(columns, codes.tolist(), history_ms))


def _compared(held: HeldBackRows, segment: Segment, terms: MoneyTerms) -> SegmentComparison:
    chosen = held.of(segment.rows)
    swapped = chosen.teacher_codes != chosen.student_codes
    in_currency = swapped & (chosen.payments.currencies == terms.currency)
    return SegmentComparison(
        by=segment.kind,
        name=segment.name,
        swaps=int(swapped.sum()),
        swapped_minor=int(chosen.payments.amounts_minor[in_currency].sum()),
        figures=compare(chosen, terms),
    )
