"""Cards on two partitions: found by their histories, whatever the order of the log, and not after a topic has grown."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.declaration import DAY_MS, HOUR_MS, load
from features.history import append
from features.history.displaced import Displaced
from features.history.records import source
from features.history.store import NOWHERE, Entity, Fate
from features.memory_store import MemoryStore
from fraudstream_client.validity import place_of
from stream.scoring.two_partitions import _are_divided, _seen, on_two_partitions
from support.examples import examples
from support.features.recount import Row, label, transaction, transactions

DEFAULT = load(None)
HORIZON_MS = DEFAULT.horizons_ms[Entity.CARD]
LIMIT = append.NO_LIMIT - 1
"""A store without a limit shares no rows."""
START_MS = 1_700_000_000_000


def pay(number: int, partition: int, at_ms: int, *, log: int = 0, card: str = "card-1") -> Row:
    made = transaction(number, partition=partition, ms=START_MS + at_ms, card=card)
    return made | {"offset": place_of(log, number)}


def marks(store: MemoryStore, rows: Sequence[Row]) -> list[bool]:
    """Observe payments as one batch, and return which are marked."""
    observed = store.observe_now(transactions(list(rows)))
    assert len(observed.fates) == len(rows)
    return on_two_partitions(observed.cards).tolist()


def one_by_one(*places: tuple[int, int], log: int = 0) -> list[bool]:
    """Observe payments of one card, each a partition and a time, and return which are marked."""
    store = MemoryStore(DEFAULT)
    return [marks(store, [pay(at, partition, ms, log=log)])[0] for at, (partition, ms) in enumerate(places)]


def test_without_the_kernel_the_same_payments_are_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.scoring.two_partitions.KERNEL", None)
    assert one_by_one((0, 0), (0, 1), (2, 2), (0, 3), (2, 4)) == [False, False, False, True, True]


def test_a_repeated_payment_on_another_partition_counts_for_nothing() -> None:
    store, first = MemoryStore(DEFAULT), pay(0, 0, 0)
    repeated = first | {"partition": 1, "offset": 7}
    assert store.observe_now(transactions([first, repeated])).fates == [Fate.DECIDE, Fate.REPEATED]
    assert marks(store, [pay(2, 0, 2), pay(3, 0, 3)]) == [False, False]


def test_a_label_on_another_partition_counts_for_nothing() -> None:
    store, first = MemoryStore(DEFAULT), pay(0, 0, 0)
    assert marks(store, [first]) == [False]
    store.label_now([label(0, first, fraud=True, at_ms=START_MS + 1, partition=1)])
    assert marks(store, [pay(2, 0, 2)]) == [False]


def test_histories_that_were_rebuilt_partition_by_partition_tell_the_same() -> None:
    both = [pay(at, at % 2, at) for at in range(6)]
    grown = [pay(10 + at, at // 3, at, card="grown") for at in range(6)]
    store = MemoryStore(DEFAULT)
    for partition in (1, 0):
        store.observe_now(transactions([one for one in (*both, *grown) if one["partition"] == partition]))
    assert marks(store, [pay(6, 0, 6), pay(7, 1, 7)]) == [True, True]
    assert marks(store, [pay(16, 1, 6, card="grown"), pay(17, 1, 7, card="grown")]) == [False, False]


def test_a_payment_that_expires_within_a_batch_is_seen_by_those_before_it_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(append, "LONG", 1)
    store = MemoryStore(DEFAULT, most_bytes=LIMIT)
    marks(store, [pay(0, 0, 10), pay(1, 1, HORIZON_MS + 9)])
    assert marks(store, [pay(2, 0, 10), pay(3, 0, HORIZON_MS + 10)]) == [True, False]


PLACES = st.tuples(st.integers(0, 1), st.integers(0, 1), st.sampled_from(["a", "b"]))
TIMES = st.one_of(
    st.integers(0, 5),
    st.integers(0, 5).map(lambda ms: HORIZON_MS + ms),
    st.integers(0, 60 * 24).map(lambda hours: hours * HOUR_MS),
)
STREAM = st.lists(st.lists(st.tuples(PLACES, TIMES), min_size=1, max_size=6), max_size=6)


@pytest.mark.parametrize("least", [append.LONG, 1, 3], ids=["copied", "shared", "both"])
def test_the_marks_are_those_of_a_recount(least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append, "LONG", least)

    @given(stream=STREAM)
    @settings(max_examples=examples(60), deadline=None)
    def equal(stream: list[list[tuple[tuple[int, int, str], int]]]) -> None:
        store, seen, number = MemoryStore(DEFAULT, most_bytes=LIMIT), list[Row](), 0
        for batch in stream:
            rows = []
            for (partition, log, card), at_ms in batch:
                rows.append(pay(number, partition, at_ms, log=log, card=card))
                number += 1
            observed = store.observe_now(transactions(rows))
            found = on_two_partitions(observed.cards).tolist()
            for row, position, mark in zip(rows, observed.cards.positions.tolist(), found, strict=True):
                if position == NOWHERE:
                    assert not mark
                else:
                    seen.append(row)
                    assert mark is recounted([one for one in seen if one["card"] == row["card"]])
            asyncio.run(store.compact())

    equal()


@given(stream=STREAM, labelled=st.lists(st.integers(0, 30), max_size=6), below=st.sampled_from([0, 3, 12]))
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_payments_that_share_a_long_history_are_marked_as_if_each_had_its_own(
    monkeypatch: pytest.MonkeyPatch,
    stream: list[list[tuple[tuple[int, int, str], int]]],
    labelled: list[int],
    below: int,
) -> None:
    """Also where labels come from another partition, and where a repair displaced payments of one partition."""
    monkeypatch.setattr(append, "LONG", 1)
    store, number = MemoryStore(DEFAULT, most_bytes=LIMIT), 0
    store._displaced = Displaced({source(0, of_labels=False): below})
    for batch in stream:
        rows = [pay(number + at, one, ms, log=log, card=card) for at, ((one, log, card), ms) in enumerate(batch)]
        cards = store.observe_now(transactions(rows)).cards
        found = on_two_partitions(cards)
        for history in cards.long:
            alone = [bool(_are_divided(*_seen(history, at))[0]) for at in range(len(history.numbers))]
            assert found[history.numbers].tolist() == alone
        for at, row in enumerate(rows, number):
            if at in labelled:
                store.label_now([label(at, row, fraud=True, at_ms=START_MS, partition=1)])
        number += len(rows)


def recounted(seen: Sequence[Row]) -> bool:
    """Tell it by the definition, from all payments of the card so far, one's own last."""
    rows = [(int(row["partition"]), int(row["offset"]) // place_of(1, 0), int(row["ms"])) for row in seen]  # type: ignore[call-overload]
    newest = max(ms for *_, ms in rows)
    partition, log, own_ms = rows[-1]
    visible = [one for one in rows[:-1] if one[2] > newest - HORIZON_MS and one[1] == log] + [rows[-1]]
    first = min(ms for there, _, ms in visible if there == partition)
    return any(there != partition and ms > first and ms > own_ms - DAY_MS for there, _, ms in visible)
