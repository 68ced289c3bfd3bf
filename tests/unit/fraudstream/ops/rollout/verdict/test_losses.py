"""Losses of both models: recounts in plain Python, bounds of what was declined, and labels that are missing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.ops.rollout.outcomes.maturity import outcomes_of
from fraudstream.ops.rollout.verdict.losses import LossFacts, compare_losses, pair_losses
from fraudstream.ops.rollout.verdict.terms import VerdictTerms
from support.outcome_cases import Payment, at_ms
from support.verdict_cases import (
    AS_OF,
    COSTS,
    TERMS,
    Compared,
    compared_payments,
    decision_cost,
    observed_cards,
    pairs_of,
    saved,
)


def compare(compared: list[Compared], terms: VerdictTerms = TERMS) -> LossFacts:
    pairs = pairs_of(compared)
    return compare_losses(pairs, outcomes_of(pairs.rows, terms.maturity(at_ms(AS_OF))), at_ms(AS_OF), terms)


@given(compared_payments())
def test_the_sums_over_final_cards_are_those_of_a_plain_recount(compared: list[Compared]) -> None:
    found, cards = compare(compared), list(observed_cards(compared))
    every = [one for own in cards for one in own]
    known = [one for one in every if not one.is_unobserved]
    assert (found.cards, found.final) == (len({one.payment.card for one in compared}), len(cards))
    assert (found.payments, found.unobserved) == (len(every), len(every) - len(known))
    for name, minor in (("live", found.live_minor), ("challenger", found.challenger_minor)):
        costs = (
            decision_cost(getattr(one, name), one.payment.amount_minor, fraud=one.payment.fraud is True)
            for one in known
        )
        assert minor == sum(costs)
    worst = [
        sum(
            min(saved(one, fraud=True), saved(one, fraud=False))
            if one.is_unobserved
            else saved(one, fraud=one.payment.fraud is True)
            for one in own
        )
        for own in cards
    ]
    assert found.total_worst_minor == sum(worst)
    assert found.capped == sum(abs(one) > TERMS.cap_minor for one in worst)
    capped = [min(max(one, -TERMS.cap_minor), TERMS.cap_minor) for one in worst]
    assert found.beyond_minor == sum(worst) - sum(capped)
    assert found.mean_worst_minor == (pytest.approx(sum(capped) / len(cards)) if cards else None)
    assert found.low_minor <= (found.mean_worst_minor or 0) <= (found.mean_best_minor or 0) <= found.high_minor


@given(compared_payments())
def test_whatever_a_declined_payment_was_the_truth_lies_between_the_bounds(compared: list[Compared]) -> None:
    pairs = pairs_of(compared)
    losses = pair_losses(pairs, np.zeros(len(compared), np.bool_), COSTS)
    for at, one in enumerate(compared):
        for fraud in (False, True):
            assert losses.worst[at] <= saved(one, fraud=fraud) <= losses.best[at]


@given(compared_payments(), st.sampled_from([1.0, 0.5, 0.1]))
def test_a_labelled_fraud_stands_for_those_that_are_not(compared: list[Compared], share: float) -> None:
    pairs, fraud = pairs_of(compared), np.array([one.payment.fraud is True for one in compared], np.bool_)
    losses = pair_losses(pairs, fraud, COSTS, share)
    for at, one in enumerate(compared):
        genuine = saved(one, fraud=False)
        expected = genuine + (saved(one, fraud=True) - genuine) / share if fraud[at] else genuine
        assert losses.saved[at] == pytest.approx(expected, abs=1.01)


def test_a_challenger_that_stops_frauds_is_proved_better_and_one_that_approves_them_worse() -> None:
    """800 cards, a fraud of 50.00 on each tenth; one model reviews them, the other approves all."""
    both = []
    for says in ("live", "challenger"):
        compared = []
        for at in range(800):
            fraud = at % 10 == 0
            approves, stops = "approve", "review" if fraud else "approve"
            live, challenger = (stops, approves) if says == "live" else (approves, stops)
            payment = Payment(f"card-{at}", at / 100, live, live, True if fraud else None, 15.0, 5_000)
            compared.append(Compared(payment, challenger))
        both.append(compare(compared))
    worse, better = both
    assert better.low_minor > 0
    assert better.mean_worst_minor == pytest.approx(470)
    assert worse.high_minor < 0
    assert better.total_worst_minor == -worse.total_worst_minor == 80 * 4_700


def test_what_live_declined_is_never_counted_as_good() -> None:
    """The challenger approves what live declines: that may have been all genuine, and is no proof of anything."""
    compared = [Compared(Payment(f"card-{at}", 1.0, "decline", "decline"), "approve") for at in range(500)]
    found = compare(compared)
    assert found.unobserved == 500
    assert (found.live_minor, found.challenger_minor) == (0, 0)
    assert found.total_worst_minor == -500 * 1_000
    assert found.low_minor < 0 < found.high_minor
    assert found.mean_best_minor == pytest.approx(250)


def test_missing_labels_are_allowed_for_at_both_ends() -> None:
    """If a fifth of the frauds is never labelled, a challenger that reviews less looks better than it is."""
    compared = []
    for at in range(2_000):
        fraud = at % 20 == 0
        payment = Payment(f"card-{at}", at / 1_000, "review", "review", True if fraud else None, 15.0, 5_500)
        compared.append(Compared(payment, "approve"))
    plain, careful = compare(compared, TERMS_FOR_ALL), compare(compared)
    assert plain.low_minor > careful.low_minor
    assert plain.mean_worst_minor == careful.mean_worst_minor == pytest.approx(300 - 275)


TERMS_FOR_ALL = VerdictTerms(
    currency="EUR", costs=COSTS, maturity_days=TERMS.maturity_days, card_days=TERMS.card_days, least_labels=0
)
