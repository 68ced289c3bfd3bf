"""Declined payments with lots while the cap on declines holds, and cards whose money has heavy tails."""

from typing import NamedTuple

import numpy as np

from fraudstream.ops.rollout.outcomes.columns import PAYMENT_ROW, PaymentRows
from fraudstream.ops.rollout.outcomes.labels import NO_TIME, UNLABELLED
from metrics.bootstrap import BootstrapPlan, ratio_interval, total_interval
from metrics.columns import Bools, Floats
from metrics.intervals import Interval
from metrics.money import DecisionCode

DECLINES, OTHER, OTHER_FRAUDS = 1_500, 300, 100
"""Declined payments; others, which are approved; and how many of these are fraud."""
FRAUD_SHARE, PROPENSITY, CAPPED = 0.336, 0.2, 0.7
"""Of declines: how many are fraud, let through by a lot, and sent to review by the cap where their lot failed."""
LOG_DEVIATION = 2.0
"""Of amounts: half of the money is in 2 % of the cards."""
STOPPED = 0.6
MEAN_AMOUNT = float(np.exp(LOG_DEVIATION**2 / 2))
"""The true mean of `heavy_amounts`."""


class CappedLots(NamedTuple):
    """Matured payments, one of each card, and how many of the declined ones are fraud in truth."""

    rows: PaymentRows
    frauds: int

    @property
    def recall(self) -> float:
        """The true share of frauds that are alerted: those that are declined."""
        return self.frauds / (self.frauds + OTHER_FRAUDS)


def draw_capped_lots(random: np.random.Generator) -> CappedLots:
    """Draw 1,500 declines with a lot each, most of which the cap sends to review, and 300 other payments.

    What is not declined in the end has a label.
    """
    fraud, let = random.random(DECLINES) < FRAUD_SHARE, random.random(DECLINES) < PROPENSITY
    capped = random.random(DECLINES) < CAPPED
    rows = np.zeros(DECLINES + OTHER, PAYMENT_ROW)
    rows["payment"] = rows["card"] = np.arange(len(rows))
    rows["amount_minor"], rows["score"], rows["propensity"] = 10_000, 0.25, np.nan
    own, rest = rows[:DECLINES], rows[DECLINES:]
    own["propensity"], own["said"] = PROPENSITY, DecisionCode.DECLINE
    stopped = np.where(capped, DecisionCode.REVIEW, DecisionCode.DECLINE)
    own["decided"] = np.where(let, DecisionCode.APPROVE, stopped)
    own["fraud"] = np.where(own["decided"] == DecisionCode.DECLINE, UNLABELLED, fraud)
    rest["fraud"] = np.arange(OTHER) < OTHER_FRAUDS
    rows["labelled_ms"] = np.where(rows["fraud"] == UNLABELLED, NO_TIME, 0)
    return CappedLots(rows, int(fraud.sum()))


def heavy_amounts(random: np.random.Generator, cards: int, share: float = STOPPED) -> tuple[Floats, Bools]:
    """Draw cards with a fraud each: amounts whose logarithm has a deviation of 2, and which of them are stopped."""
    return np.exp(random.normal(0, LOG_DEVIATION, cards)), random.random(cards) < share


def share_missed(random: np.random.Generator, cards: int, plan: BootstrapPlan) -> bool:
    """Tell whether the interval of the share of money that is stopped leaves out the truth."""
    amounts, stopped = heavy_amounts(random, cards)
    return _misses(ratio_interval(np.arange(cards), amounts * stopped, amounts, plan, of_money=True), STOPPED)


def sum_missed(random: np.random.Generator, cards: int, plan: BootstrapPlan) -> bool:
    """Tell whether the interval of the sum of money leaves out what is expected of so many cards."""
    return _misses(total_interval(heavy_amounts(random, cards)[0], plan), cards * MEAN_AMOUNT)


def _misses(found: Interval | None, truth: float) -> bool:
    """Tell whether an interval is stated and wrong."""
    return found is not None and not found.low <= truth <= found.high
