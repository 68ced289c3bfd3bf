"""One observation for each card: its payments in its first days, counted with all cards that appeared in its cohort.

Confidence sequences need observations that do not depend on each other, and each in its final form. So a card counts
once, with the payments of its first `card_days` days, when all of them have matured. Cards that pay often appear first,
and cards with frauds are labelled first. So cards count by whole entry cohorts, all that appear within `card_days`
days, when the last of them is final and all cohorts before are. What a card does later is in the tables, not in the
sequence. That is the price for looking at any time.
"""

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fraudstream.ops.rollout.outcomes.columns import PaymentRows
from fraudstream.ops.rollout.outcomes.labels import UNLABELLED
from fraudstream.ops.rollout.outcomes.maturity import DAY_MS, MaturityTerms
from metrics.columns import Bools, Ints

CARD_DAYS = 28.0
MOST_COHORTS = 60
"""Looks are told apart by so many cohorts at most; which cards are final depends on all of them."""


class CardOrder(NamedTuple):
    """Cards in the order of their first payments, of equal ones that of their hashes.

    Attributes:
        ranks: the number of each row's card in that order, of shape (n,).
        in_window: the row is of the card's first days; of shape (n,).
        cards: how many there are.
        final: how many of the first of them are in cohorts that are final.
        begin_ms: the first payment of all, with which the first cohort begins; 0 without payments.
        cohorts: of shape (cards,), ascending: the number of each card's cohort, from 0.
    """

    ranks: Ints
    in_window: Bools
    cards: int
    final: int
    begin_ms: int
    cohorts: Ints

    @property
    def ends(self) -> list[int]:
        """How many cards are in each cohort and all before it; of very many cohorts, several are taken together."""
        ends = np.flatnonzero(np.diff(self.cohorts, append=np.iinfo(np.int64).max)) + 1
        if len(ends) > MOST_COHORTS:
            chosen = np.unique(np.linspace(0, len(ends) - 1, MOST_COHORTS).astype(np.int64))
            ends = np.union1d(ends[chosen], [self.final] if self.final else [])
        found: list[int] = ends.tolist()
        return found

    @property
    def final_ends(self) -> list[int]:
        """Those of the final cohorts."""
        return [end for end in self.ends if end <= self.final]

    @property
    def observed(self) -> Bools:
        """The rows that are observed: of the first days of cards that are final."""
        return self.in_window & (self.ranks < self.final)

    def only_observed(self) -> Self:
        """Return the order of the observed rows alone; their columns are the others' under `observed`."""
        observed = self.observed
        return self._replace(ranks=self.ranks[observed], in_window=self.in_window[observed])

    def sums(self, *columns: NDArray[Any]) -> Ints:
        """Return the exact sums of integer columns over the observed rows of each final card, of shape (final, k)."""
        observed = self.observed
        found = np.zeros((self.final, len(columns)), np.int64)
        for at, column in enumerate(columns):
            np.add.at(found[:, at], self.ranks[observed], column[observed])
        return found


def card_order(rows: PaymentRows, terms: MaturityTerms, card_days: float = CARD_DAYS) -> CardOrder:
    """Put the cards of payments into their order, and tell which of them are final.

    A card is final when its first days are over and all payments in them are labelled or as old as the maturity. A
    payment that was declined waits as long as others: a label may still come. A cohort is final when all its cards are,
    and so are all cohorts before it; by then no further card can appear in it.
    """
    cards, at = np.unique(rows["card"], return_inverse=True)
    firsts = np.full(len(cards), np.iinfo(np.int64).max)
    np.minimum.at(firsts, at, rows["occurred_ms"])
    order = np.lexsort((cards, firsts))
    places = np.empty(len(cards), np.int64)
    places[order] = np.arange(len(cards))
    card_ms = round(card_days * DAY_MS)
    ends = firsts + card_ms
    in_window = rows["occurred_ms"] < ends[at]
    waits = in_window & (rows["fraud"] == UNLABELLED) & (rows["occurred_ms"] > terms.old_ms)
    is_open = ends > terms.as_of_ms
    is_open[at[waits]] = True
    begin_ms = int(firsts.min()) if len(cards) else 0
    cohorts = (firsts[order] - begin_ms) // max(card_ms, 1)
    opened = np.flatnonzero(is_open[order])
    final = int(np.searchsorted(cohorts, cohorts[opened[0]])) if len(opened) else len(cards)
    return CardOrder(places[at], in_window, len(cards), final, begin_ms, cohorts)
