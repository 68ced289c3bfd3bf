"""The payments of measurements have identifiers like tokens: random, and never taken for a card number."""

from collections import Counter

from fraudstream.bench.payments import payments
from stream.contract.transaction import ParsedTransaction
from stream.scoring.decode import read_transaction

COUNT = 3_000
LATEST_MS = 2**50


def test_all_payments_are_accepted_and_none_repeats_another() -> None:
    made = payments(COUNT, seed=3)
    assert made == payments(COUNT, seed=3)
    for one in made:
        read = read_transaction(one.value, one.key, LATEST_MS)
        assert isinstance(read, ParsedTransaction), read
        assert read.transaction.transaction_id == one.transaction_id
    assert len({one.transaction_id for one in made}) == COUNT
    assert 50 <= len(Counter(one.key for one in made)) <= COUNT // 40


def test_identifiers_differ_from_their_beginning_and_hold_no_digits() -> None:
    made = payments(500, seed=5)
    assert len({one.transaction_id[:4] for one in made}) > 450
    assert all(one.transaction_id.isalpha() and one.key.isalpha() for one in made), "digits may be a card number"
