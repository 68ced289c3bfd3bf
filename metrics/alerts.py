"""How good alerts are: precision and recall of given alerts, of those that fit into a budget a day, and at first hits.

An alert is a payment that is reviewed or declined. A team investigates a number of alerts, or of cards, a day, so a
model is judged by the highest scores of each day rather than by a threshold. Once a card's first fraud is known, a list
of blocked cards finds the next ones, too; only an alert on the first fraud saves the card.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from metrics.columns import Bools, Flags, Floats, Ints, Tokens, check_lengths, check_numbers
from metrics.errors import MeasureInputError


@dataclass(frozen=True, slots=True)
class AlertCounts:
    """Counts of labelled rows (payments, or cards on a day): all, alerts, frauds, and frauds with an alert."""

    events: int
    alerts: int
    frauds: int
    caught: int

    def __post_init__(self) -> None:
        fewest = self.alerts + self.frauds - self.caught
        if not (0 <= self.caught <= min(self.alerts, self.frauds) and fewest <= self.events):
            raise MeasureInputError(
                f"{self.caught} frauds with an alert, {self.alerts} alerts and {self.frauds} frauds in {self.events} "
                "events: no such rows exist"
            )

    @classmethod
    def zero(cls) -> Self:
        """Return the counts of no rows."""
        return cls(0, 0, 0, 0)

    @classmethod
    def of(cls, fraud: Flags, alerted: Bools) -> Self:
        """Count rows; both columns have the shape (n,)."""
        check_lengths(fraud=fraud, alerted=alerted)
        is_fraud = fraud.astype(np.bool_)
        return cls(len(fraud), int(alerted.sum()), int(is_fraud.sum()), int((is_fraud & alerted).sum()))

    def merge(self, other: Self) -> Self:
        """Return the counts of the rows of both."""
        return type(self)(
            self.events + other.events,
            self.alerts + other.alerts,
            self.frauds + other.frauds,
            self.caught + other.caught,
        )

    @property
    def precision(self) -> float | None:
        """The share of alerts that are fraud; None without alerts."""
        return self.caught / self.alerts if self.alerts else None

    @property
    def recall(self) -> float | None:
        """The share of frauds with an alert; None without frauds."""
        return self.caught / self.frauds if self.frauds else None

    @property
    def alert_rate(self) -> float | None:
        """The share of rows with an alert; None without rows."""
        return self.alerts / self.events if self.events else None

    @property
    def fraud_rate(self) -> float | None:
        """The share of rows that are fraud; None without rows."""
        return self.frauds / self.events if self.events else None


class ScoredRows(NamedTuple):
    """Labelled rows of shape (n,): the UTC day as a number, the card, the score, and whether it is fraud."""

    days: Ints
    cards: Tokens
    scores: Floats
    fraud: Flags

    def checked(self) -> Self:
        """Return the rows themselves.

        Raises:
            MeasureInputError: columns differ in length, or a score is NaN.
        """
        check_lengths(**self._asdict())
        check_numbers("scores", self.scores)
        return self


def alerts_at_budget(days: Ints, scores: Floats, budget: int) -> Bools:
    """Tell which rows are among the `budget` highest scores of their day, of equal ones the first rows.

    `AlertCounts.of` its result for precision and recall by events; of `card_days`, for those by cards.

    Raises:
        MeasureInputError: the budget is negative, a score is NaN, or the columns differ in length.
    """
    check_lengths(days=days, scores=scores)
    check_numbers("scores", scores)
    if budget < 0:
        raise MeasureInputError(f"budget: {budget} alerts a day; it must be at least 0")
    order = np.lexsort((-scores, days))
    ordered = days[order]
    rank = np.arange(len(days)) - np.searchsorted(ordered, ordered, side="left")
    alerted = np.zeros(len(days), np.bool_)
    alerted[order[rank < budget]] = True
    return alerted


def card_days(rows: ScoredRows) -> ScoredRows:
    """Return one row for each card and day, by day and then by card: its highest score, and whether any was fraud.

    Raises:
        MeasureInputError: columns differ in length, or a score is NaN.
    """
    rows.checked()
    order = np.lexsort((rows.cards, rows.days))
    days, cards = rows.days[order], rows.cards[order]
    begins = np.flatnonzero(np.concatenate(([True], (days[1:] != days[:-1]) | (cards[1:] != cards[:-1])))[: len(days)])
    if not len(begins):
        return ScoredRows(days, cards, rows.scores, rows.fraud.astype(np.bool_))
    highest = np.maximum.reduceat(rows.scores[order], begins)
    return ScoredRows(days[begins], cards[begins], highest, np.logical_or.reduceat(rows.fraud[order], begins))


def first_frauds(cards: Tokens, occurred_ms: Ints, fraud: Flags) -> Bools:
    """Tell which rows are the first fraud of their card, of equal times the first row; at most one for each card.

    Give all rows that are known, those before the measured period too, and measure some of them afterwards: a card
    whose first fraud lies before the period has no first hit in it, since its case had begun.

    Args:
        cards: the card of each row, of shape (n,).
        occurred_ms: the time of each row, in epoch milliseconds.
        fraud: which rows are fraud; those without a label are not.

    Raises:
        MeasureInputError: the columns differ in length.
    """
    check_lengths(cards=cards, occurred_ms=occurred_ms, fraud=fraud)
    frauds = np.flatnonzero(fraud.astype(np.bool_))
    by_time = frauds[np.argsort(occurred_ms[frauds], kind="stable")]
    _, first = np.unique(cards[by_time], return_index=True)
    found = np.zeros(len(fraud), np.bool_)
    found[by_time[first]] = True
    return found


def first_hit_recall(first: Bools, alerted: Bools) -> float | None:
    """Return the share of first frauds, as of `first_frauds`, that had an alert; None without any.

    It is the recall of cases: what comes after a card's first fraud, a list of blocked cards finds without a model
    (Nguyen et al., AISTATS 2022, arXiv:2204.05265, on the score of a card's first fraudulent payment).
    """
    return AlertCounts.of(first, alerted).recall
