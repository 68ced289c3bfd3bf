"""The average precision of two scores of the same payments, with intervals by card, and of their difference.

Cards are drawn as in `bootstrap`. A drawn card's payments come with it, so a draw is a weight for each payment, and the
order of the payments is that of all of them: it is sorted once, not for each draw.
"""

from typing import NamedTuple

import numpy as np

from metrics.bootstrap import BootstrapPlan, percentiles
from metrics.columns import Flags, Floats, Ints, Tokens, check_lengths
from metrics.intervals import Interval
from metrics.weighted_ranking import WeightedRanking

DRAWS = BootstrapPlan(draws=500)
"""By default; each draw reads all rows."""


class PairedPrecision(NamedTuple):
    """Average precisions and their difference, first less second; its interval is None where `bootstrap` has none.

    `difference_error` is the standard error of the difference, None without draws.
    """

    first: float
    second: float
    difference_interval: Interval | None
    difference_error: float | None = None

    @property
    def difference(self) -> float:
        """The first less the second."""
        return self.first - self.second


def paired_average_precision(
    fraud: Flags, scores: tuple[Floats, Floats], cards: Tokens, plan: BootstrapPlan = DRAWS
) -> PairedPrecision | None:
    """Return the average precision of two scores of the same n rows; None unless there are frauds and genuine rows.

    Args:
        fraud: which rows are fraud, of shape (n,).
        scores: both scores of each row, in any unit.
        cards: the card of each row.
        plan: how to draw; only cards with a fraud count for `least_cards`.

    Raises:
        MeasureInputError: the columns differ in length, or a score is NaN.
    """
    check_lengths(fraud=fraud, cards=cards)
    if not 0 < fraud.sum() < len(fraud):
        return None
    ranked = [WeightedRanking(fraud, one) for one in scores]
    first, second = (one.measure(np.ones(len(fraud)))[1] for one in ranked)
    found, index = np.unique(cards, return_inverse=True)
    if len(np.unique(index[fraud.astype(np.bool_)])) < plan.least_cards:
        return PairedPrecision(first, second, None)
    drawn = _draws(ranked, index.astype(np.int64), len(found), plan)
    differences = drawn[:, 0] - drawn[:, 1]
    return PairedPrecision(first, second, percentiles(differences, plan.confidence), float(np.nanstd(differences)))


def _draws(ranked: list[WeightedRanking], index: Ints, cards: int, plan: BootstrapPlan) -> Floats:
    """Return the average precisions of each draw, of shape (draws, 2); NaN for a draw without a fraud."""
    rng = np.random.default_rng(plan.seed)
    figures = np.empty((plan.draws, len(ranked)))
    for at in range(plan.draws):
        weights = np.bincount(rng.integers(cards, size=cards), minlength=cards).astype(np.float64)[index]
        figures[at] = [one.measure(weights)[1] for one in ranked]
    return figures
