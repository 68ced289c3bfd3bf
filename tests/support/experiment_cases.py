"""Experiments made by hand or drawn at random, and their figures counted again in plain Python."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fraudstream.ops.rollout.experiments.span import Experiment
from fraudstream.ops.rollout.experiments.terms import ExperimentTerms
from fraudstream.ops.rollout.outcomes.columns import PaymentRows
from fraudstream.ops.rollout.outcomes.maturity import MaturityTerms
from guards.excluded import ExcludedCards
from guards.shares import ArmShare
from metrics.money import CostMatrix
from models.arms import Arm, Split
from support.outcome_cases import Payment, at_ms, payment_rows

COSTS = CostMatrix(review_fixed_minor=300, review_share_bp=0, decline_fixed_minor=200, decline_share_bp=500)
LIVE_MODEL, NEW_MODEL, OTHER_MODEL = "a" * 64, "b" * 64, "c" * 64
SPLIT = Split(
    (Arm("new", NEW_MODEL, 3_000), Arm("other", OTHER_MODEL, 2_000)), "salt", ExcludedCards.of(["card-x"], None)
)
EXPERIMENT = Experiment(SPLIT, LIVE_MODEL, first=2, since_ms=at_ms(0))
ARMS = EXPERIMENT.arms
DECISIONS = ("approve", "review", "decline")


class ArmPayment(NamedTuple):
    """A payment, the arm of its card, and its currency: 0 is the one in which arms are compared."""

    arm: str
    paid: Payment
    currency: int = 0


def terms(as_of_day: float, **changes: Any) -> ExperimentTerms:
    """Return terms of a report at a day; 10 days of a card count, and 20 without a label make a payment genuine."""
    chosen = {"currency": 0, "costs": COSTS, "cap_minor": 100_000, "card_days": 10.0} | changes
    maturity = MaturityTerms(at_ms(as_of_day), chosen.pop("maturity_days", 20.0))
    return ExperimentTerms(maturity, **chosen)


def rows_of(payments: Sequence[ArmPayment], arms: Sequence[ArmShare] = ARMS) -> PaymentRows:
    """Return payments as columns, their arms as places."""
    rows, names = payment_rows([one.paid for one in payments]), [arm.name for arm in arms]
    rows["arm"] = [names.index(one.arm) for one in payments]
    rows["currency"] = [one.currency for one in payments]
    return rows


def drawn_payments(seed: int, cards: int = 80, as_of_day: float = 70.0) -> list[ArmPayment]:
    """Draw the payments of some cards until a day: some declined, let through or capped, some labelled by then."""
    rng, found, names = np.random.default_rng(seed), list[ArmPayment](), [one.name for one in ARMS]
    for number in range(cards):
        arm = names[int(rng.choice(len(names), p=[one.share_bp / 10_000 for one in ARMS]))]
        for at in range(int(rng.integers(1, 7))):
            paid = _drawn(rng, f"card-{number}", f"t-{number}-{at}", float(rng.uniform(0, as_of_day)))
            if paid.fraud is not None and paid.labelled_day > as_of_day:
                paid = paid._replace(fraud=None, labelled_day=0.0)
            found.append(ArmPayment(arm, paid, int(rng.random() < 0.1)))
    return [found[int(at)] for at in rng.permutation(len(found))]


def _drawn(rng: np.random.Generator, card: str, name: str, day: float) -> Payment:
    said = DECISIONS[int(rng.choice(3, p=(0.6, 0.2, 0.2)))]
    decided, propensity = said, None
    if said == "decline":
        propensity = (None, None, 0.25, 0.5)[int(rng.integers(4))]
        if propensity is not None and rng.random() < propensity:
            decided = "approve"
        elif rng.random() < 0.2:
            decided = "review"
    is_labelled = rng.random() < (0.05 if decided == "decline" else 0.6)
    fraud = bool(rng.random() < {"approve": 0.1, "review": 0.4, "decline": 0.7}[said]) if is_labelled else None
    return Payment(
        card, day, said, decided, fraud, day + float(rng.exponential(5)), int(rng.integers(50_000)),
        None if rng.random() < 0.05 else float(rng.random()), propensity, name,
    )  # fmt: skip


def loss(said: str, *, fraud: bool, amount_minor: int) -> int:
    """Return the loss of a decision by `COSTS`, written out."""
    if said == "approve":
        return amount_minor if fraud else 0
    if said == "review":
        return 300
    return 0 if fraud else 200 + (amount_minor * 5 + 50) // 100


def settled_before_ms(payments: Iterable[ArmPayment], as_of_day: float, maturity_days: float = 20.0) -> int:
    """Return up to when all payments that can mature have."""
    old_ms = at_ms(as_of_day) - round(maturity_days * 86_400_000)
    times = [at_ms(one.paid.day) for one in payments if one.paid.fraud is None]
    return min((time for time in times if time > old_ms), default=2**62)


def by_card(payments: Iterable[ArmPayment]) -> dict[str, list[ArmPayment]]:
    """Return payments by card."""
    found: dict[str, list[ArmPayment]] = defaultdict(list)
    for one in payments:
        found[one.paid.card].append(one)
    return found
