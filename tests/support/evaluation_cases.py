"""Payments with scores for tests of evaluations: cards with clustered frauds, two currencies, two models."""

import numpy as np

from fraudstream.lab.evaluation.figures import ScoredBy
from fraudstream.lab.evaluation.payments import EvaluatedPayments
from metrics.alerts import first_frauds
from metrics.columns import Floats
from metrics.money import DecisionCode

DAY_MS = 86_400_000
START_MS = 20_000 * DAY_MS
CURRENCIES = ("EUR", "JPY")


def payments(seed: int = 0, rows: int = 4_000, cards: int = 400, days: int = 20) -> EvaluatedPayments:
    """Draw payments by time; some cards are compromised, and have most of the frauds."""
    random = np.random.default_rng(seed)
    card = random.integers(0, cards, rows)
    compromised = random.random(cards) < 0.3
    occurred_ms = np.sort(random.integers(0, days * DAY_MS, rows)) + START_MS
    fraud = random.random(rows) < np.where(compromised[card], 0.2, 0.01)
    return EvaluatedPayments(
        occurred_ms=occurred_ms,
        card=card,
        fraud=fraud,
        amount_minor=random.integers(100, 50_000, rows),
        currency=(random.random(rows) < 0.2).astype(np.int64),
        channel=random.integers(0, 3, rows),
        country=np.where(random.random(rows) < 0.7, 83, 0),
        categories=np.empty((rows, 0), np.int64),
        card_age_ms=random.integers(0, 60 * DAY_MS, rows),
        blocked=random.random(rows) < 0.05,
        first_fraud=first_frauds(card, occurred_ms, fraud),
    )


def said(of: EvaluatedPayments, seed: int = 1, skill: float = 2.0) -> ScoredBy:
    """Draw probabilities that rise with fraud, with ties, and decisions by two thresholds."""
    random = np.random.default_rng(seed)
    margins = random.normal(0, 1, len(of.fraud)) + skill * of.fraud - 3
    scores: Floats = np.round(1 / (1 + np.exp(-margins)), 3)
    decisions = np.select(
        [scores >= 0.4, scores >= 0.2], [int(DecisionCode.DECLINE), int(DecisionCode.REVIEW)], int(DecisionCode.APPROVE)
    )
    return ScoredBy(scores, decisions.astype(np.int64))
