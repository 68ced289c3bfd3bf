"""An erasure of a card: what is seen afterwards, what is kept, and that what is sent again is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.declaration import DAY_MS, HOUR_MS, FeatureSet
from features.default_set import FEATURES
from features.history import erasure, records
from features.history.store import Entity, Fate, Observed, Prediction, Transactions
from features.memory_store import MemoryStore
from features.rows import prediction
from fraudstream_client.outputs import LabelStatus
from support.features.erasures import erasure_of, joined
from support.features.recount import Row, label, transaction, transactions

SETS = FeatureSet(FEATURES)
BASE_MS = 1_700_000_000_000


class Reducing(MemoryStore):
    """Keeps of what is erased what an erasure leaves, as Redis does."""

    def observe_now(self, transactions: Transactions) -> Observed:
        """Reduce the cards after each batch."""
        observed = super().observe_now(transactions)
        for card in self._histories[Entity.CARD].values():
            rows = card.reduced(card.erased_ms) if card.is_erased else None
            if rows is not None:
                card.replace(card.base, rows)
        return observed


@pytest.fixture(params=[MemoryStore, Reducing])
def store(request: pytest.FixtureRequest) -> MemoryStore:
    """A store that keeps erased records, and one that reduces them: what is seen is the same."""
    made: MemoryStore = request.param(SETS)
    return made


def fate_of(store: MemoryStore, row: Row) -> Fate:
    """Observe one payment."""
    return store.observe_now(transactions([row])).fates[0]


def rows_of_card(store: MemoryStore, card: str = "card-1") -> np.ndarray:
    """Return all rows of a card's history."""
    return store._histories[Entity.CARD][records.card_hash(card)].rows


def test_an_erasure_has_a_position_and_no_decision(store: MemoryStore) -> None:
    """The next payment comes behind it."""
    for offset in range(3):
        fate_of(store, transaction(offset))
    seen = store.observe_now(erasure_of(3, BASE_MS + 1500))
    after = store.observe_now(transactions([transaction(4)]))
    assert seen.fates == [Fate.ERASURE]
    assert (seen.cards.positions.tolist(), after.cards.positions.tolist()) == ([3], [4])


def test_a_payment_sees_itself_though_it_is_erased_and_no_later_one_does(store: MemoryStore) -> None:
    """It comes late, of a time that is erased already: it gets its decision."""
    store.observe_now(erasure_of(0, BASE_MS + 5000))
    late = store.observe_now(transactions([transaction(1)]))
    after = store.observe_now(transactions([transaction(9)]))
    assert (late.fates, late.cards.rows[:, records.OFFSET].tolist()) == ([Fate.DECIDE], [1])
    assert after.cards.rows[:, records.OFFSET].tolist() == [9]


def test_of_an_erased_payment_the_history_has_its_id_its_place_and_its_day() -> None:
    """Everything else is gone, so is its label."""
    store = Reducing(SETS)
    paid = transaction(7, device="device-1", at=(1.0, 2.0), mcc="5411", country="DE", channel="pos", partition=5)
    fate_of(store, paid)
    store.label_now([label(0, paid, True, BASE_MS + 8000)])  # noqa: FBT003 - the verdict
    before = rows_of_card(store).copy()
    store.observe_now(erasure_of(8, BASE_MS + 7000))
    kept, of_label, _ = rows_of_card(store)
    day_end = (BASE_MS // DAY_MS + 1) * DAY_MS - 1
    assert kept[[records.ID, records.OFFSET, records.TIME]].tolist() == [before[0, records.ID], 7, day_end]
    assert not kept[[records.AMOUNT, records.OTHER, records.DEVICE, records.PLACE, records.TRAITS]].any()
    assert int(kept[records.FLAGS]) == (5 << records.PARTITION_SHIFT) | records.MARKED
    assert of_label[[records.ID, records.OTHER, records.TIME]].tolist() == [
        before[1, records.ID],
        before[0, records.ID],
        day_end,
    ]
    assert not int(of_label[records.FLAGS]) & records.FRAUD_BIT


@pytest.mark.parametrize("amount", [1000, 5])
def test_what_is_sent_again_is_repeated_whatever_it_says(store: MemoryStore, amount: int) -> None:
    """What it said is not known any more."""
    fate_of(store, transaction(0))
    store.observe_now(erasure_of(1, BASE_MS + 5000))
    again = transaction(2, id="t0", ms=BASE_MS, amount=amount)
    assert fate_of(store, again) is Fate.REPEATED
    assert fate_of(store, transaction(0)) is Fate.DECIDE, "a redelivery of the offset that was decided"


def test_what_is_not_erased_is_in_conflict_as_before(store: MemoryStore) -> None:
    """The opposite of the above."""
    fate_of(store, transaction(2))
    store.observe_now(erasure_of(3, BASE_MS + 1000))
    assert fate_of(store, transaction(4, id="t2", ms=BASE_MS + 2000, amount=5)) is Fate.CONFLICT


def test_an_erased_payment_is_known_for_as_long_as_it_would_have_been(store: MemoryStore) -> None:
    """Its day alone is kept, so it is taken for as late as that."""
    horizon_ms = SETS.horizons_ms[Entity.CARD]
    store = MemoryStore(SETS)
    fate_of(store, transaction(0, ms=BASE_MS))
    store.observe_now(erasure_of(1, BASE_MS))
    fate_of(store, transaction(2, ms=BASE_MS + horizon_ms - 1))
    assert fate_of(store, transaction(3, id="t0", ms=BASE_MS)) is Fate.REPEATED
    fate_of(store, transaction(4, ms=BASE_MS + horizon_ms))
    assert fate_of(store, transaction(5, id="t0", ms=BASE_MS)) is Fate.TOO_LATE


def test_an_erased_newest_payment_makes_no_later_one_late_by_its_day(store: MemoryStore) -> None:
    """The newest time of the card counts from the beginning of that day."""
    horizon_ms = SETS.horizons_ms[Entity.CARD]
    fate_of(store, transaction(0, ms=BASE_MS))
    store.observe_now(erasure_of(1, BASE_MS))
    assert fate_of(store, transaction(2, ms=BASE_MS - horizon_ms + 1)) is Fate.DECIDE


def test_an_erasure_in_a_batch_holds_for_the_payments_beside_it(store: MemoryStore) -> None:
    """It lies between them, and counts there."""
    fate_of(store, transaction(0))
    batch = joined(transactions([transaction(1)]), erasure_of(2, BASE_MS + 500), transactions([transaction(3)]))
    seen = store.observe_now(batch)
    assert seen.fates == [Fate.DECIDE, Fate.ERASURE, Fate.DECIDE]
    assert seen.cards.positions.tolist() == [1, 2, 3]
    lengths = dict(zip((1, 2, 3), seen.cards.lengths.tolist(), strict=True))
    assert (lengths[1], lengths[3]) == (1, 2)


def test_a_label_of_an_erased_payment_counts_nowhere_in_the_card(store: MemoryStore) -> None:
    """Whether it comes before or after the erasure."""
    first, second = transaction(0), transaction(1)
    for row in (first, second):
        fate_of(store, row)
    store.label_now([label(0, first, True, BASE_MS + 3000)])  # noqa: FBT003 - the verdict
    store.observe_now(erasure_of(2, BASE_MS + 1000))
    (result,) = store.label_now([label(1, second, True, BASE_MS + 4000)])  # noqa: FBT003 - the verdict
    seen = store.observe_now(transactions([transaction(9)]))
    assert result.status is LabelStatus.APPLIED
    assert seen.cards.rows[:, records.OFFSET].tolist() == [9]


def test_a_label_waits_for_its_payment_though_that_is_erased(store: MemoryStore) -> None:
    """In a repair labels come first, erasures next: the merchant gets the label with the payment all the same."""
    paid = transaction(0)
    store.label_now([label(0, paid, True, BASE_MS + 3000, occurred_ms=BASE_MS)])  # noqa: FBT003 - the verdict
    store.observe_now(erasure_of(5, BASE_MS + 4000))
    store.observe_now(transactions([paid]))
    seen = store.observe_now(transactions([transaction(9, card="card-2")]))
    of_labels = records.is_label(seen.merchants.rows[:, records.FLAGS])
    assert (seen.merchants.rows[of_labels, records.FLAGS] & records.FRAUD_BIT).all()
    assert of_labels.sum() == 1


def test_predictions_that_were_computed_by_then_are_not_seen() -> None:
    """One that was computed later is; both have positions."""
    store = MemoryStore(FeatureSet((*FEATURES, prediction("churn", "1h", "30d"))))
    for offset, computed_ms in enumerate((BASE_MS, BASE_MS + 2000)):
        store.predict_now([Prediction("card-1", "churn", 0.5, computed_ms, computed_ms, 0, offset)])
    store.observe_now(erasure_of(0, BASE_MS + 1000))
    seen = store.observe_now(transactions([transaction(4)])).histories[Entity.PREDICTION]
    assert seen.rows[:-1, records.TIME].tolist() == [BASE_MS + 2000]
    assert seen.positions.tolist() == [2]


moments = st.integers(0, 40).map(lambda hours: BASE_MS + hours * 7 * HOUR_MS)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("pay"), moments, st.sampled_from(["card-1", "card-2"])),
        st.tuples(st.just("erase"), moments, st.just("card-1")),
    ),
    max_size=25,
)


@given(steps, moments)
def test_a_payment_sees_what_it_would_if_erased_records_had_never_been(done: list[tuple], last_ms: int) -> None:  # type: ignore[type-arg]
    """The features of cards are those of a stream without them; positions and merchants are as with them."""
    erased_ms = max((ms for what, ms, _ in done if what == "erase"), default=records.NO_TIME_MS)
    store, without = MemoryStore(SETS), MemoryStore(SETS)
    for offset, (what, ms, card) in enumerate(done):
        if what == "erase":
            store.observe_now(erasure_of(offset, ms))
            continue
        batch = transactions([transaction(offset, ms=ms, card=card)])
        store.observe_now(batch)
        if card != "card-1" or ms > erased_ms:
            without.observe_now(batch)
    own = transactions([transaction(99, ms=last_ms)])
    seen, expected = store.observe_now(own), without.observe_now(own)
    assert seen.fates == expected.fates
    assert seen.cards.rows.tolist() == expected.cards.rows.tolist()


def test_rows_without_an_erasure_have_none() -> None:
    """The marks collide with no currency's exponent."""
    rows = records.card_rows(transactions([transaction(0, exponent=exponent) for exponent in range(5)]))
    assert not records.are_marked(rows[:, records.FLAGS]).any()
    assert erasure.erased_until(rows) == records.NO_TIME_MS
    assert records.are_valid(records.card_rows(erasure_of(0, BASE_MS)))
