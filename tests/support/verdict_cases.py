"""Compared payments made by hand, and what a verdict has to find of them, counted in plain Python."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from fraudstream.ops.rollout.outcomes.columns import CODES, ColumnNames
from fraudstream.ops.rollout.outcomes.labels import LABEL_ROW, card_hash
from fraudstream.ops.rollout.verdict.pairs import Pairs, SwapIds
from fraudstream.ops.rollout.verdict.report import Subject, VerdictInput
from fraudstream.ops.rollout.verdict.terms import VerdictOptions, VerdictTerms
from metrics.money import CostMatrix
from shadow.history import WorkerReports
from support.outcome_cases import LIVE_DIGEST, Payment, at_ms, cards_in_whole_cohorts, payment_rows

CHALLENGER_DIGEST = "c" * 64
COSTS = CostMatrix(300, 0, 200, 500)
AS_OF = 100.0
MATURITY, CARD_DAYS = 20.0, 7.0
TERMS = VerdictTerms(currency="EUR", costs=COSTS, maturity_days=MATURITY, card_days=CARD_DAYS, draws=50)
OPTIONS = VerdictOptions("EUR", others={"maturity_days": MATURITY, "card_days": CARD_DAYS, "draws": 50})


class Compared(NamedTuple):
    """A payment, and what the challenger said of it; what live said is the payment's own."""

    payment: Payment
    challenger: str
    score: float = 0.25

    @property
    def live(self) -> str:
        return self.payment.said

    @property
    def is_unobserved(self) -> bool:
        return self.payment.decided == "decline" and self.payment.fraud is None

    @property
    def has_matured(self) -> bool:
        is_old = self.payment.day + MATURITY <= AS_OF
        return self.payment.fraud is not None or (is_old and not self.is_unobserved)


def decision_cost(decision: str, amount: int, *, fraud: bool) -> int:
    """Return the loss of a decision by the words of the documentation."""
    if decision == "approve":
        return amount if fraud else 0
    if decision == "review":
        return 300
    return 0 if fraud else 200 + (amount * 5 + 50) // 100


def saved(one: Compared, *, fraud: bool) -> int:
    """Return how much less the challenger's decision costs."""
    amount = one.payment.amount_minor
    return decision_cost(one.live, amount, fraud=fraud) - decision_cost(one.challenger, amount, fraud=fraud)


def settled(compared: list[Compared]) -> list[Compared]:
    """Return the payments that occurred before all had matured."""
    waits = [one.payment.day for one in compared if one.payment.fraud is None and one.payment.day + MATURITY > AS_OF]
    return [one for one in compared if all(one.payment.day < day for day in waits)]


def used(compared: list[Compared]) -> list[Compared]:
    return [one for one in settled(compared) if one.has_matured]


def observed_cards(compared: list[Compared]) -> Iterator[list[Compared]]:
    """Yield the payments of the first days of each card in a final cohort, in the order of first payments."""
    by_card: dict[str, list[Compared]] = defaultdict(list)
    for one in compared:
        by_card[one.payment.card].append(one)
    firsts = {card: min(one.payment.day for one in own) for card, own in by_card.items()}
    order = sorted(firsts, key=lambda name: (firsts[name], card_hash(name)))
    windows = [[one for one in by_card[card] if one.payment.day < firsts[card] + CARD_DAYS] for card in order]
    final = [
        firsts[card] + CARD_DAYS <= AS_OF
        and all(one.payment.fraud is not None or one.payment.day + MATURITY <= AS_OF for one in own)
        for card, own in zip(order, windows, strict=True)
    ]
    yield from windows[: cards_in_whole_cohorts([firsts[card] for card in order], final, CARD_DAYS)]


def pairs_of(compared: list[Compared]) -> Pairs:
    rows = payment_rows([one.payment for one in compared])
    codes = np.array([CODES[one.challenger] for one in compared], np.int8)  # type: ignore[index] - an enum of strings
    scores = np.array([one.score for one in compared], np.float64)
    opponents = np.zeros(len(compared), np.int16)
    lags = np.full(len(compared), 7, np.int64)
    return Pairs(rows, rows["said"], codes, rows["score"].copy(), scores, opponents, lags)


def labels_of(compared: list[Compared]) -> np.ndarray:
    """Return the labels of the payments as columns."""
    rows = payment_rows([one.payment for one in compared])
    found = np.zeros(len(rows), LABEL_ROW)
    for name in ("payment", "card", "occurred_ms", "labelled_ms", "fraud"):
        found[name] = rows[name]
    return np.sort(found[rows["fraud"] >= 0], order="payment")


def read_of(compared: list[Compared], **changes: Any) -> VerdictInput:
    """Return what would have been read."""
    rows = pairs_of(compared)
    ids = {
        int(row["payment"]): SwapIds(int(row["payment"]), one.payment.name or f"t-{at}", one.payment.card)
        for at, (row, one) in enumerate(zip(rows.rows, compared, strict=True))
    }
    read = VerdictInput(
        subject=Subject("default", CHALLENGER_DIGEST, LIVE_DIGEST, 3),
        pairs=rows,
        eligible=len(compared),
        void=0,
        names=ColumnNames(["EUR"], ["live"], [LIVE_DIGEST, CHALLENGER_DIGEST]),
        labels=labels_of(compared),
        reports=WorkerReports(),
        row_times=(),
        since_ms=at_ms(0),
        as_of_ms=at_ms(AS_OF),
        now_ms=at_ms(AS_OF),
        ids={"EUR": ids},
    )
    return read._replace(**changes)


SAID = st.sampled_from(["approve", "review", "decline"])


@st.composite
def compared_payments(draw: st.DrawFn, most: int = 30) -> list[Compared]:
    """Draw compared payments; what live declined was declined, let through, or reviewed by the cap."""
    found = []
    for at in range(draw(st.integers(0, most))):
        said, lot = draw(SAID), draw(st.sampled_from([None, False, True]))
        decided = said
        if said == "decline":
            decided = "approve" if lot else draw(st.sampled_from(["decline", "review"])) if lot is None else "decline"
        day = draw(st.integers(0, 99))
        payment = Payment(
            draw(st.sampled_from("abcdef")),
            day,
            said,
            decided,
            draw(st.sampled_from([None, None, None, False, True])),
            day + draw(st.integers(0, 40)),
            draw(st.integers(0, 200_000)),
            draw(st.sampled_from([None, 0.01, 0.5])),
            0.25 if said == "decline" and lot is not None else None,
            f"t-{at}",
        )
        found.append(Compared(payment, draw(SAID), draw(st.floats(0, 1))))
    return found
