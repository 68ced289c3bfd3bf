"""One observation for each card: recounts in plain Python, and that looking later only adds observations."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.ops.rollout.outcomes.first_days import card_order
from fraudstream.ops.rollout.outcomes.labels import card_hash
from fraudstream.ops.rollout.outcomes.maturity import MaturityTerms
from support.outcome_cases import Payment, at_ms, cards_in_whole_cohorts, payment_rows

CARD_DAYS, MATURITY_DAYS = 7, 20
PAYMENTS = st.lists(
    st.tuples(
        st.sampled_from("abcde"),
        st.integers(0, 60),
        st.sampled_from(["approve", "decline"]),
        st.sampled_from([None, None, False, True]),
        st.integers(0, 10**12),
    ).map(lambda one: Payment(one[0], one[1], decided=one[2], fraud=one[3], amount_minor=one[4])),
    max_size=30,
)


def recounted(payments: list[Payment], as_of: float) -> list[tuple[int, int]]:
    """Return the payments and their amounts of each final card, in the order of first payments."""
    firsts: dict[str, float] = {}
    for one in payments:
        firsts[one.card] = min(one.day, firsts.get(one.card, one.day))
    found, final = [], []
    order = sorted(firsts, key=lambda name: (firsts[name], card_hash(name)))
    for card in order:
        own = [one for one in payments if one.card == card and one.day < firsts[card] + CARD_DAYS]
        has_matured = all(one.fraud is not None or one.day + MATURITY_DAYS <= as_of for one in own)
        final.append(firsts[card] + CARD_DAYS <= as_of and has_matured)
        found.append((len(own), sum(one.amount_minor for one in own)))
    return found[: cards_in_whole_cohorts([firsts[card] for card in order], final, CARD_DAYS)]


@given(PAYMENTS, st.integers(0, 100))
def test_cards_are_observed_once_in_order_by_whole_cohorts(payments: Any, as_of: int) -> None:
    rows = payment_rows(payments)
    order = card_order(rows, MaturityTerms(at_ms(as_of), MATURITY_DAYS), CARD_DAYS)
    sums = order.sums(np.ones(len(rows), np.int64), rows["amount_minor"])
    assert [tuple(one) for one in sums.tolist()] == recounted(payments, as_of)
    assert order.cards == len(order.cohorts) == len({one.card for one in payments})
    assert order.final in {0, *order.final_ends}
    assert int(order.observed.sum()) == sum(count for count, _ in recounted(payments, as_of))


@given(PAYMENTS, st.integers(0, 100), st.integers(0, 100))
def test_whoever_looks_later_sees_the_same_observations_and_further_ones(payments: Any, one: int, other: int) -> None:
    rows = payment_rows(payments)
    sooner, later = (
        card_order(rows, MaturityTerms(at_ms(as_of), MATURITY_DAYS), CARD_DAYS).sums(rows["amount_minor"]).tolist()
        for as_of in sorted((one, other))
    )
    assert later[: len(sooner)] == sooner


def test_a_cohort_counts_when_its_last_card_is_final() -> None:
    paid = [Payment("a", 0, fraud=False), Payment("b", 6, fraud=False), Payment("c", 8, fraud=False)]
    orders = [
        card_order(payment_rows(paid), MaturityTerms(at_ms(day), MATURITY_DAYS), CARD_DAYS)
        for day in (6, 7, 12, 13, 14, 15)
    ]
    assert [one.final for one in orders] == [0, 0, 0, 2, 2, 3]
    assert (orders[-1].cohorts.tolist(), orders[-1].final_ends, orders[-1].begin_ms) == ([0, 0, 1], [2, 3], at_ms(0))
