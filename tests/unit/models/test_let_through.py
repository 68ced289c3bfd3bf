"""Let-through: lots are the contract's hash, the cap is never exceeded, and what a lot says is unbiased."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from math import sqrt

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.let_through import (
    MOST_CURRENCIES,
    DeclinedPayment,
    LetThrough,
    LetThroughTotals,
    draw_lots,
    noted_totals,
    totals_from_note,
)

DAYS = ("2026-01-30", "2026-01-31", "2026-02-01")
NOTES = msgspec.json.Decoder(tuple[str, dict[str, int]])

payments = st.builds(
    DeclinedPayment,
    st.integers(0, 10**9).map(str),
    st.sampled_from(["EUR", "EUR", "JPY", "SEK"]),
    st.integers(0, 400),
    st.sampled_from(DAYS),
)
rules = st.builds(
    LetThrough,
    st.sampled_from([1, 2_500, 9_999, 10_000]),
    st.dictionaries(st.sampled_from(["EUR", "JPY", "USD"]), st.integers(1, 4_000), min_size=1),
    st.sampled_from(["s", "t"]),
    st.integers(1, 5),
)


def bucket_of(salt: str, name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), key=salt.encode(), digest_size=8).digest(), "big") % 10_000


def recounted(declined: Sequence[DeclinedPayment], at_each: Sequence[LetThrough], partition: int) -> list[bool | None]:
    """Return each payment's lot under its own rule, by a count of all that was let through before."""
    used, last, found = Counter[tuple[str, str]](), "", list[bool | None]()
    for payment, rule in zip(declined, at_each, strict=True):
        day = max(last, payment.day)
        part = Fraction(rule.caps.get(payment.currency, 0), rule.partitions) if partition < rule.partitions else 0
        if payment.amount_minor == 0 or used[day, payment.currency] + payment.amount_minor > part:
            found.append(None)
            continue
        found.append(bucket_of(rule.salt, payment.transaction_id) < rule.share_bp)
        if found[-1]:
            last = day
            used[day, payment.currency] += payment.amount_minor
    return found


def through_a_note(totals: LetThroughTotals) -> LetThroughTotals:
    """Return what the next owner of the partition finds in the commit."""
    return totals_from_note(NOTES.decode(msgspec.json.encode(noted_totals(totals))))


def folded(
    totals: LetThroughTotals, declined: Sequence[DeclinedPayment], lots: Sequence[bool | None]
) -> LetThroughTotals:
    """Return the totals that a worker restores from the scores of these payments."""
    for payment, lot in zip(declined, lots, strict=True):
        if lot:
            totals = totals.after(payment.day, payment.currency, payment.amount_minor)
    return totals


@given(st.data(), st.lists(payments, max_size=40), st.integers(0, 4))
def test_lots_are_those_of_a_recount_whatever_the_batches_retries_restores_and_changes_of_the_rule(
    data: st.DataObject, declined: list[DeclinedPayment], partition: int
) -> None:
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, len(declined)), max_size=6))), len(declined)]
    totals, found, at_each = LetThroughTotals(), list[bool | None](), list[LetThrough]()
    for first, last in pairwise(cuts):
        batch, rule = declined[first:last], data.draw(rules)
        lots, after = draw_lots(rule, partition, totals, batch)
        match data.draw(st.sampled_from(["written", "tried again", "restored from the commit", "from the scores"])):
            case "tried again":
                lots, after = draw_lots(rule, partition, totals, batch)
            case "restored from the commit":
                after = through_a_note(after)
            case "from the scores":
                after = folded(through_a_note(totals), batch, lots)
        found += lots
        at_each += [rule] * len(batch)
        totals = after
    assert found == recounted(declined, at_each, partition)


@given(st.lists(st.tuples(rules, st.lists(payments, max_size=15)), max_size=5))
def test_no_partition_lets_through_more_on_a_day_than_the_largest_share_that_was_in_force_on_it(
    stretches: list[tuple[LetThrough, list[DeclinedPayment]]],
) -> None:
    """Partitions may be added in between, and the cap set anew for all of them."""
    for partition in range(5):
        used, most, totals = Counter[tuple[str, str]](), dict[tuple[str, str], int](), LetThroughTotals()
        for rule, declined in stretches:
            for payment in declined:
                day = max(totals.day, payment.day)
                part = rule.caps.get(payment.currency, 0) // rule.partitions if partition < rule.partitions else 0
                most[day, payment.currency] = max(most.get((day, payment.currency), 0), part)
                (lot,), totals = draw_lots(rule, partition, totals, [payment])
                used[day, payment.currency] += payment.amount_minor if lot else 0
        assert all(amount <= most[place] for place, amount in used.items())


def test_a_lot_is_the_contracts_bucket_of_the_payments_id_keyed_by_the_salt() -> None:
    rule = LetThrough(50, {"EUR": 10**12}, "c" * 32, 1)
    ids = [f"pay-{at}" for at in range(100_000)]
    declined = [DeclinedPayment(name, "EUR", 1, DAYS[0]) for name in ids]
    lots, totals = draw_lots(rule, 0, LetThroughTotals(), declined)
    assert lots == [bucket_of("c" * 32, name) < 50 for name in ids]
    drawn = sum(map(bool, lots))
    assert abs(drawn - 500) < 5 * sqrt(500)
    assert (totals.amounts, rule.propensity) == ({"EUR": drawn}, 0.005)


def test_a_note_holds_the_largest_amounts_if_caps_of_too_many_currencies_were_set_in_a_day() -> None:
    amounts = {
        f"{letter}{other}X": 10 * at + 1
        for at, (letter, other) in enumerate(zip("ABCDEFGHIJ" * 2, "KLMNOPQRSTUVWXYZABCD", strict=True))
    }
    found = through_a_note(LetThroughTotals(DAYS[0], amounts))
    assert (found.day, len(found.amounts)) == (DAYS[0], MOST_CURRENCIES)
    assert sorted(found.amounts.values()) == sorted(amounts.values())[-MOST_CURRENCIES:]


@pytest.mark.parametrize("cap", [40_000, 4_000])
def test_what_lots_let_through_is_unbiased_for_all_that_got_a_lot_also_where_the_cap_ends_the_day(cap: int) -> None:
    """Horvitz and Thompson: sum of y / p over what was let through, against the sum of y over all lots.

    What is fraud depends on the amount and on the hour, and so does who gets a lot; each run has a salt of its own.
    """
    draw, share_bp, differences, lots_drawn = np.random.default_rng(1), 2_000, list[float](), 0
    amounts = draw.integers(1, 400, 600).tolist()
    is_fraud = [amount > 200 or at % 3 == 0 for at, amount in enumerate(amounts)]
    declined = [DeclinedPayment(f"t-{at}", "EUR", amount, DAYS[0]) for at, amount in enumerate(amounts)]
    for run in range(150):
        lots, _ = draw_lots(LetThrough(share_bp, {"EUR": cap}, f"salt-{run}", 1), 0, LetThroughTotals(), declined)
        truth = sum(fraud for fraud, lot in zip(is_fraud, lots, strict=True) if lot is not None)
        estimate = sum(fraud for fraud, lot in zip(is_fraud, lots, strict=True) if lot) / (share_bp / 10_000)
        differences.append(estimate - truth)
        lots_drawn += sum(lot is not None for lot in lots)
    mean, error = np.mean(differences), np.std(differences) / sqrt(len(differences))
    assert abs(mean) < 4 * error
    assert (lots_drawn == 600 * 150) is (cap == 40_000), "the cap does end the day where it is low"
