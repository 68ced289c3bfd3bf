"""Lots on declined payments with known truth: estimates of the report are right in the mean, naive figures are not."""

from typing import NamedTuple

import numpy as np

from fraudstream.ops.rollout.outcomes.columns import PAYMENT_ROW, PaymentRows
from fraudstream.ops.rollout.outcomes.declines import decline_figures
from metrics.bootstrap import BootstrapPlan
from metrics.columns import Bools, Floats, Ints
from metrics.intervals import Interval
from metrics.money import DecisionCode

PAYMENTS = 20_000
_CARDS = 5_000
_DECLINE_AT = 0.06
_LARGE_MINOR = 20_000
_LARGE_ODDS = 6.0
_PROPENSITIES = (0.20, 0.05)
"""Of small payments, and of large ones, which are fraud more often."""
_DRAWS = 200


class LotLine(NamedTuple):
    """A figure over many lots on the same payments: its truth, mean and deviation of its estimates, and the naive one.

    `covered` is the part of lots whose interval for 95 % held the truth; None for figures without an interval.
    """

    figure: str
    truth: float
    mean: float
    deviation: float
    naive: float
    covered: float | None


class LotWorld(NamedTuple):
    """Payments with their scores, amounts and truth; large ones are fraud more often than the model knows."""

    cards: Ints
    scores: Floats
    amounts: Ints
    fraud: Bools

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "LotWorld":
        """Draw a world."""
        cards = rng.integers(_CARDS, size=PAYMENTS)
        amounts = np.exp(rng.normal(9.0, 1.0, PAYMENTS)).astype(np.int64)
        odds = np.exp(rng.normal(-4.5, 1.2, PAYMENTS))
        scores, true = odds / (1 + odds), odds * np.where(amounts >= _LARGE_MINOR, _LARGE_ODDS, 1.0)
        return cls(cards, scores, amounts, rng.random(PAYMENTS) < true / (1 + true))

    @property
    def declined(self) -> Bools:
        """The payments that the model declines."""
        found: Bools = self.scores >= _DECLINE_AT
        return found

    def seen_by_lot(self, rng: np.random.Generator) -> PaymentRows:
        """Return the payments as a report reads them, after a lot on each decline."""
        rows = np.zeros(PAYMENTS, PAYMENT_ROW)
        rows["payment"], rows["card"], rows["score"] = np.arange(PAYMENTS), self.cards, self.scores
        rows["amount_minor"] = self.amounts
        chances = np.where(self.amounts >= _LARGE_MINOR, _PROPENSITIES[1], _PROPENSITIES[0])
        passed = rng.random(PAYMENTS) < chances
        rows["propensity"] = np.where(self.declined, chances, np.nan)
        rows["said"] = np.where(self.declined, DecisionCode.DECLINE, DecisionCode.APPROVE)
        rows["decided"] = np.where(self.declined & ~passed, DecisionCode.DECLINE, DecisionCode.APPROVE)
        rows["fraud"] = np.where(rows["decided"] == DecisionCode.DECLINE, -1, self.fraud)
        return rows


def simulate_lots(rng: np.random.Generator, lots: int) -> list[LotLine]:
    """Draw lots again and again on the same payments."""
    world, plan = LotWorld.draw(rng), BootstrapPlan(draws=_DRAWS, seed=1)
    found = [decline_figures(world.seen_by_lot(rng), 0, plan) for _ in range(lots)]
    truth = float(world.fraud[world.declined].mean())
    recall = float((world.fraud & world.declined).sum() / world.fraud.sum())
    seen = [_naive_recall(world, rng) for _ in range(lots)]
    naive = float(np.mean([one.naive_precision or 0.0 for one in found]))
    return [
        _line("precision of declines", truth, [(one.precision.value, one.precision.interval) for one in found], naive),
        _line("recall", recall, [(one.recall.value, one.recall.interval) for one in found], float(np.mean(seen))),
    ]


def _naive_recall(world: LotWorld, rng: np.random.Generator) -> float:
    """Return the recall among the frauds that were seen, each counted once."""
    rows = world.seen_by_lot(rng)
    frauds = rows["fraud"] == 1
    return float((frauds & (rows["said"] == DecisionCode.DECLINE)).sum() / max(int(frauds.sum()), 1))


def _line(figure: str, truth: float, found: list[tuple[float | None, Interval | None]], naive: float) -> LotLine:
    values = np.array([value for value, _ in found if value is not None])
    intervals = [interval for _, interval in found if interval is not None]
    held = [low <= truth <= high for low, high in intervals]
    covered = float(np.mean(held)) if held else None
    return LotLine(figure, truth, float(values.mean()), float(values.std()), naive, covered)
