"""One observation for each card: which cards are final, and between which bounds their losses lie."""

import pytest

from fraudstream.ops.rollout.experiments.cards import card_losses
from fraudstream.ops.rollout.outcomes.labels import card_hash
from support.experiment_cases import ARMS, ArmPayment, by_card, drawn_payments, loss, rows_of, terms
from support.outcome_cases import Payment, at_ms, cards_in_whole_cohorts

AS_OF_DAY = 70.0


def recounted(payments: list[ArmPayment], as_of_day: float) -> list[tuple[int, int, int]]:
    """Return place of the arm, least and largest loss of each final card, in order, in plain Python."""
    names, found = [arm.name for arm in ARMS], list[tuple[int, int, int]]()
    cards = by_card(one for one in payments if one.currency == 0)
    firsts, final = list[int](), list[bool]()
    for card in sorted(cards, key=lambda one: (min(at_ms(it.paid.day) for it in cards[one]), card_hash(one))):
        first = min(at_ms(one.paid.day) for one in cards[card])
        inside = [one for one in cards[card] if at_ms(one.paid.day) < first + at_ms(10) - at_ms(0)]
        young = [
            one for one in inside if one.paid.fraud is None and at_ms(one.paid.day) > at_ms(as_of_day) - 20 * 86_400_000
        ]
        firsts.append(first)
        final.append(first + 10 * 86_400_000 <= at_ms(as_of_day) and not young)
        low = high = 0
        for _, paid, _ in inside:
            unseen = paid.fraud is None and paid.decided == "decline"
            ways = (False, True) if unseen else (bool(paid.fraud),)
            losses = [loss(paid.said, fraud=fraud, amount_minor=paid.amount_minor) for fraud in ways]
            low, high = low + min(losses), high + max(losses)
        found.append((names.index(cards[card][0].arm), low, high))
    return found[: cards_in_whole_cohorts(firsts, final, 10 * 86_400_000)]


@pytest.mark.parametrize("seed", range(3))
def test_the_losses_of_final_cards_are_those_of_a_recount_to_the_cent(seed: int) -> None:
    payments = drawn_payments(seed)
    found = card_losses(rows_of(payments), terms(AS_OF_DAY))
    expected = recounted(payments, AS_OF_DAY)
    assert len(expected) > 5
    assert list(zip(found.arms.tolist(), found.low.tolist(), found.high.tolist(), strict=True)) == expected
    assert len(found.first_ms) + len(found.waiting_ms) == len(by_card(one for one in payments if one.currency == 0))
    assert found.cut_off is None


@pytest.mark.parametrize("seed", range(2))
def test_what_was_observed_once_stays_as_it_was_where_labels_come_in_time(seed: int) -> None:
    payments = [
        one._replace(paid=one.paid._replace(labelled_day=min(one.paid.labelled_day, one.paid.day + 20)))
        for one in drawn_payments(seed, as_of_day=120.0)
    ]
    before = list[tuple[int, int, int]]()
    for day in (30.0, 50.0, 70.0, 90.0):
        known = [
            one._replace(paid=one.paid._replace(fraud=one.paid.fraud if one.paid.labelled_day <= day else None))
            for one in payments
            if one.paid.day <= day
        ]
        found = card_losses(rows_of(known), terms(day))
        seen = list(zip(found.arms.tolist(), found.low.tolist(), found.high.tolist(), strict=True))
        assert seen[: len(before)] == before
        before = seen
    assert len(before) > 10


def test_a_card_whose_days_the_end_of_the_experiment_cuts_off_is_never_final() -> None:
    payments = [ArmPayment("new", Payment(f"card-{day}", day)) for day in (0.0, 5.0, 12.0)]
    found = card_losses(rows_of(payments), terms(100.0), ended_ms=at_ms(16.0))
    assert (len(found.arms), found.cut_off, len(found.waiting_ms)) == (2, 1, 0)


def test_a_decline_without_an_outcome_is_bounded_both_ways_and_one_with_a_label_is_not() -> None:
    payments = [
        ArmPayment("new", Payment("card-1", 0.0, "decline", "decline", amount_minor=1_000)),
        ArmPayment("new", Payment("card-2", 1.0, "decline", "decline", fraud=True, amount_minor=1_000)),
        ArmPayment("new", Payment("card-3", 2.0, "decline", "approve", fraud=False, amount_minor=1_000)),
        ArmPayment("new", Payment("card-4", 3.0, "decline", "review", amount_minor=1_000)),
    ]
    found = card_losses(rows_of(payments), terms(100.0))
    assert found.low.tolist() == [0, 0, 250, 250]
    assert found.high.tolist() == [250, 0, 250, 250]


def test_an_experiment_without_payments_has_no_observation() -> None:
    found = card_losses(rows_of([]), terms(100.0))
    assert (len(found.arms), len(found.waiting_ms)) == (0, 0)


def test_an_approved_fraud_stands_for_those_that_nobody_labels() -> None:
    payments = [
        ArmPayment("new", Payment("card-1", 0.0, "approve", fraud=True, amount_minor=1_001)),
        ArmPayment("new", Payment("card-2", 1.0, "approve", fraud=False, amount_minor=1_000)),
        ArmPayment("new", Payment("card-3", 2.0, "review", "review", fraud=True, amount_minor=1_000)),
    ]
    found = card_losses(rows_of(payments), terms(100.0, label_share=0.4))
    assert found.low.tolist() == found.high.tolist() == [2_502, 0, 300]
