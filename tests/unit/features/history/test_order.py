"""Histories that a repair restored in another order give the same fates and values as if nothing had been lost."""

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from features.declaration import DAY_MS, HOUR_MS, FeatureSet, load
from features.history import records
from features.history.displaced import NONE_DISPLACED, Displaced
from features.history.history import History
from features.history.store import Entity, Fate, Label
from features.memory_store import MemoryStore
from features.rows import card, device, merchant
from features.vector.vectorise import vectorise
from fraudstream_client.outputs import LabelStatus
from support.examples import examples
from support.features.recount import Row, label, transaction, transactions
from support.features.streams import FIELDS, START_MS, Step, Stream, bits, outcomes

DEFAULT = load("features.default_set_2")
TRANSACTIONS, LABELS = records.source(0, of_labels=False), records.source(0, of_labels=True)
NEAR = FeatureSet(
    (
        *DEFAULT.rows,
        merchant("count", "1d"),
        merchant("fraud_share", "7d"),
        device("count", "7d"),
        device("fraud_share", "30d"),
        card("fraud_share", "7d"),
        merchant("fraud_run", "7d"),
        device("fraud_share_of_last_5", "30d"),
        card("largest_to_median", "7d"),
    )
)
"""With features that read the latest records of merchants, devices and labels, without a delay."""


def told(store: MemoryStore, *rows: Row) -> list[tuple[str, ...]]:
    batch = transactions(list(rows))
    return [bits(vector.tolist()) for vector in vectorise(NEAR, batch, store.observe_now(batch))]


def merchant_of(store: MemoryStore, name: str = "shop-1") -> History:
    return store._histories[Entity.MERCHANT][records.merchant_hash(name)]


def lose(histories: dict[int, History], name: int, *, kept: int = 0) -> None:
    """Cut a history to its first `kept` records, as an older snapshot has it; delete it if that is 0."""
    if kept:
        histories[name].replace(histories[name].base, histories[name].rows[:kept].copy())
    else:
        histories.pop(name, None)


def apply(store: MemoryStore, part: Any) -> None:
    """Apply one part of a stream, a label or a batch."""
    if isinstance(part, Label):
        store.label_now([part])
    elif part:
        store.observe_now(transactions(part))


gaps = st.sampled_from((0, 0, 1, HOUR_MS, DAY_MS, DAY_MS, 7 * DAY_MS, 37 * DAY_MS))
steps = st.builds(
    Step,
    act=st.sampled_from(
        (*("new",) * 4, *("label",) * 4, "early label", "early label", "redelivered", "again", "conflict", "tidy")
    ),
    card=st.integers(0, 1),
    merchant=st.integers(0, 1),
    device=st.sampled_from((None, 0)),
    gap_ms=gaps,
    late_ms=st.sampled_from((0, 0, 0, HOUR_MS, 8 * DAY_MS, 40 * DAY_MS)),
    amount=st.sampled_from((1, 999, 10**6)),
    exponent=st.just(2),
    back=st.integers(0, 3),
    fraud=st.booleans(),
    cut=st.booleans(),
    told=FIELDS["told"],
)
busy_streams = st.lists(steps, min_size=12, max_size=40)


def probes(stream: Stream) -> list[Row]:
    """Return transactions of every card at every merchant, at the end of a stream and after the label delay."""
    offset = max(
        [part.offset if isinstance(part, Label) else part[-1]["offset"] for part in stream.parts if part], default=0
    )
    newest_ms = max([START_MS, *(row["ms"] for part in stream.parts if isinstance(part, list) for row in part)])
    ahead = (0, 7 * DAY_MS + 1, 8 * DAY_MS)
    every = [(card, shop, gap_ms) for gap_ms in ahead for card in range(2) for shop in range(2)]
    return [
        transaction(
            offset + 1 + i, card=f"card-{card}", merchant=f"shop-{shop}", device="phone-0", ms=newest_ms + gap_ms
        )
        for i, (card, shop, gap_ms) in enumerate(every)
    ]


def repaired(before: Stream, data: st.DataObject) -> MemoryStore:
    """Return a store that applied a stream, lost some histories or their ends, and applied all of it again.

    As in a repair, labels come first, in any order; each is added to other histories with its transaction.
    """
    store = MemoryStore(NEAR)
    asyncio.run(outcomes(before, NEAR, lambda: store))
    for histories in store._histories.values():
        for name in data.draw(st.lists(st.sampled_from(sorted(histories)), unique=True)) if histories else ():
            lose(histories, name, kept=data.draw(st.integers(0, histories[name].length)))
    said = [part for part in before.parts if isinstance(part, Label)]
    sent = [part for part in before.parts if isinstance(part, list)]
    for part in [*data.draw(st.permutations(said)), *sent]:
        apply(store, part)
    return store


def parted(stream: Stream, cut: int) -> tuple[Stream, Stream]:
    before, after = Stream([]), Stream([])
    before.parts, after.parts = stream.parts[:cut], stream.parts[cut:]
    return before, after


def rows_of(stream: Stream) -> list[Row]:
    return [row for part in stream.parts if isinstance(part, list) for row in part]


def has_labels_beyond_the_horizon(stream: Stream) -> bool:
    """Tell whether a label found its transaction beyond the horizon: that depends on arrival, which a loss forgets."""
    store, sent = MemoryStore(NEAR), set[object]()
    for part in stream.parts:
        if isinstance(part, Label):
            (answer,) = store.label_now([part])
            if answer.status is LabelStatus.UNKNOWN_TRANSACTION and part.transaction_id in sent:
                return True
        elif part:
            store.observe_now(transactions(part))
            sent |= {row["id"] for row in part}
    return False


@given(stream=busy_streams, data=st.data())
@settings(max_examples=examples(100))
def test_decisions_after_a_loss_and_a_repair_equal_those_without_a_loss(stream: list, data: st.DataObject) -> None:
    whole = Stream(stream)
    before, after = parted(whole, data.draw(st.integers(len(whole.parts) // 2, len(whole.parts))))
    assume(not has_labels_beyond_the_horizon(before))
    after.parts.append(probes(whole))
    reference = MemoryStore(NEAR)
    asyncio.run(outcomes(before, NEAR, lambda: reference))
    store = repaired(before, data)
    sent = {row["offset"] for row in rows_of(before)}
    new = [row["offset"] not in sent for row in rows_of(after)]
    expected = asyncio.run(outcomes(after, NEAR, lambda: reference))
    again = asyncio.run(outcomes(after, NEAR, lambda: store))
    assert list(itertools.compress(again, new)) == list(itertools.compress(expected, new))


@given(stream=busy_streams, data=st.data())
@settings(max_examples=examples(100))
def test_transactions_undecided_at_a_loss_get_the_same_outcome_after_the_repair(
    stream: list, data: st.DataObject
) -> None:
    whole = Stream(stream)
    batches = [i for i, part in enumerate(whole.parts) if isinstance(part, list)]
    assume(batches)
    before, _ = parted(whole, data.draw(st.sampled_from(batches)) + 1)
    undecided = before.parts[-1]
    earlier = [row["offset"] for row in rows_of(before)[: -len(undecided)]]
    parked = {part.transaction_id for part in before.parts if isinstance(part, Label)}  # known before they happened
    new = [row["offset"] > max(earlier, default=-1) and row["id"] not in parked for row in undecided]
    reference = MemoryStore(NEAR)
    first = asyncio.run(outcomes(before, NEAR, lambda: reference))[-len(undecided) :]
    store = repaired(before, data)
    store._displaced = Displaced({TRANSACTIONS: before.parts[-1][-1]["offset"] + 1})
    last, _ = parted(before, 0)
    last.parts = [undecided]
    again = asyncio.run(outcomes(last, NEAR, lambda: store))
    assert list(itertools.compress(again, new)) == list(itertools.compress(first, new))


def test_a_displaced_transaction_sees_restored_records_but_no_later_offsets_of_its_partition() -> None:
    rows = [transaction(offset) for offset in range(4)]
    elsewhere = transaction(90, card="card-2", partition=1)
    store = MemoryStore(NEAR)
    store.observe_now(transactions([rows[2], rows[3]]))  # these survived the loss and are not decided yet
    store.label_now([label(1, rows[0], fraud=True, at_ms=rows[0]["ms"])])
    store.observe_now(transactions([rows[0], rows[1], elsewhere]))
    store._displaced = Displaced({TRANSACTIONS: 4})
    seen = store.observe_now(transactions([rows[2], rows[3]]))
    assert seen.cards.lengths.tolist() == [4, 5]  # two transactions, a label and itself; the second also sees the first
    assert seen.merchants.lengths.tolist() == [5, 6]  # and the one of another partition
    assert seen.merchants.rows[[4, 10], records.OFFSET].tolist() == [2, 3]


def test_a_transaction_in_its_place_sees_records_before_it_and_a_displaced_one_lower_offsets() -> None:
    rows = [transaction(offset) for offset in range(4)]
    store = MemoryStore(NEAR)
    store.observe_now(transactions([rows[2], rows[3], rows[0], rows[1]]))
    store._displaced = Displaced({TRANSACTIONS: 2, LABELS: 99, records.source(1, of_labels=False): 99})
    assert store.observe_now(transactions([rows[3], rows[1]])).cards.lengths.tolist() == [2, 2]


def test_the_status_of_a_displaced_label_depends_on_records_restored_after_it() -> None:
    row, store = transaction(1), MemoryStore(NEAR)
    said = [label(offset, row, fraud=True, at_ms=row["ms"] + offset) for offset in (1, 2, 3)]
    store.label_now([said[1]])
    store.label_now([said[2], said[0]])
    store.observe_now(transactions([row]))
    assert store.label_now([said[1]])[0].status is LabelStatus.UNKNOWN_TRANSACTION
    store._displaced = Displaced({LABELS: 3})
    assert [one.status for one in store.label_now(said)] == [
        LabelStatus.APPLIED,
        LabelStatus.APPLIED,
        LabelStatus.UNKNOWN_TRANSACTION,
    ]


@pytest.mark.parametrize("displaced", [NONE_DISPLACED, Displaced(everything=True)])
def test_a_transaction_that_arrived_in_time_is_not_too_late_when_it_is_reapplied(
    displaced: Displaced,
) -> None:
    old, new = transaction(1), transaction(2, ms=START_MS + 40 * DAY_MS)
    store = MemoryStore(NEAR)
    store._displaced = displaced
    store.observe_now(transactions([old, new]))
    lose(store._histories[Entity.CARD], records.card_hash("card-1"))
    lose(store._histories[Entity.MERCHANT], records.merchant_hash("shop-1"))
    store.observe_now(transactions([new]))
    assert list(store.observe_now(transactions([old, {**old, "offset": 3}])).fates) == [Fate.DECIDE, Fate.TOO_LATE]
    assert (
        store._histories[Entity.CARD][records.card_hash("card-1")].length == 1
    )  # the old one is beyond the horizon there
    assert merchant_of(store).length == 2
    store.observe_now(transactions([old]))
    assert merchant_of(store).length == 2


def test_an_id_reused_beyond_the_horizon_is_another_transaction_at_its_merchant_too() -> None:
    old = transaction(1)
    again = {**old, "ms": old["ms"] + 38 * DAY_MS, "offset": 3, "content": 5}
    store = MemoryStore(NEAR)
    store.observe_now(transactions([old, transaction(2, ms=again["ms"])]))
    seen = store.observe_now(transactions([again]))
    assert list(seen.fates) == [Fate.DECIDE]
    assert seen.merchants.lengths.tolist() == [3]
    assert store.observe_now(transactions([again])).merchants.lengths.tolist() == [3]
