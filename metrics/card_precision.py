"""Card precision at a budget of cards a day, with cards that are blocked because their fraud is known.

Le Borgne, Siblini, Lebichot, Bontempi, Reproducible Machine Learning for Credit Card Fraud Detection (2022), chapter
4.3: each UTC day the cards with the highest scores are investigated, and the share of them with a fraud that day is
counted. A card that was found, or that became known to be compromised, is blocked; here for two weeks, after which it
counts as replaced (in the book: from then on).
"""

from typing import NamedTuple

import numpy as np

from metrics.alerts import ScoredRows, card_days
from metrics.columns import Bools, Ints, Tokens, check_lengths
from metrics.errors import MeasureInputError

ALERTS_A_DAY = 100
"""Cards that are investigated each day."""
BLOCKED_DAYS = 14
"""How long a card stays blocked, in days."""
_DAY_MS = 86_400_000


class DailyPrecision(NamedTuple):
    """The card precision of each day with rows, and the days as numbers since 1970-01-01."""

    days: tuple[int, ...]
    precisions: tuple[float, ...]

    @property
    def mean(self) -> float | None:
        """The mean over the days; None without days."""
        return float(np.mean(self.precisions)) if self.precisions else None


def card_precision(rows: ScoredRows, budget: int = ALERTS_A_DAY, blocked_days: int = BLOCKED_DAYS) -> DailyPrecision:
    """Return, for each day, the found cards divided by `budget`, also on a day with fewer cards than that.

    A card is found if it is among the `budget` free cards with the highest scores of the day, of equal ones those that
    come first in order, and has a fraud that day. From the next day on it is not free, for `blocked_days` in all.

    Args:
        rows: without those of cards whose fraud was known before; see `known_compromised`.
        budget: cards that are investigated each day, at least 1.
        blocked_days: how long a found card stays blocked, at least 1.

    Raises:
        MeasureInputError: the budget is below 1, columns differ in length, or a score is NaN.
    """
    if budget < 1:
        raise MeasureInputError(f"budget: {budget} cards a day; it must be at least 1")
    by_day = card_days(rows)
    _, card = np.unique(by_day.cards, return_inverse=True)
    free_from = np.full(len(card), np.iinfo(np.int64).min)
    days, begins = np.unique(by_day.days, return_index=True)
    precisions = []
    for day, begin, end in zip(days.tolist(), begins, np.append(begins, len(card))[1:], strict=True):
        free = begin + np.flatnonzero(free_from[card[begin:end]] <= day)
        top = free[np.argsort(-by_day.scores[free], kind="stable")[:budget]]
        found = card[top[by_day.fraud[top].astype(np.bool_)]]
        free_from[found] = day + blocked_days
        precisions.append(len(found) / budget)
    return DailyPrecision(tuple(days.tolist()), tuple(precisions))


class KnownFrauds(NamedTuple):
    """Frauds of shape (f,): the card, and since when each is known, in epoch milliseconds."""

    cards: Tokens
    known_ms: Ints


def known_compromised(cards: Tokens, occurred_ms: Ints, known: KnownFrauds, blocked_days: int = BLOCKED_DAYS) -> Bools:
    """Tell which rows are of a card with a fraud that became known in the two weeks before the row's UTC day.

    Args:
        cards: the card of each row, of shape (n,).
        occurred_ms: the time of each row, in epoch milliseconds.
        known: the frauds, with cards of the same kind as `cards`.
        blocked_days: how many UTC days a card is blocked, from the first at whose beginning the fraud is known.
    """
    check_lengths(cards=cards, occurred_ms=occurred_ms)
    check_lengths(**known._asdict())
    names, index = np.unique(np.concatenate((cards, known.cards)), return_inverse=True)
    card, known_card = index[: len(cards)], index[len(cards) :]
    first_days = -(-known.known_ms // _DAY_MS)
    blocked_on = first_days[:, np.newaxis] + np.arange(blocked_days)
    blocked = np.unique(blocked_on * len(names) + known_card[:, np.newaxis])
    result: Bools = np.isin(occurred_ms // _DAY_MS * len(names) + card, blocked)
    return result
