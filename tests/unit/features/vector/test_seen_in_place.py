"""The kernel reads histories where they lie, and sees of them what numpy's code sees of copies."""

import copy
import pickle
from collections.abc import Sequence

import numpy as np
import pytest

from features.declaration import DAY_MS, FeatureSet
from features.history import records
from features.history.append import Visibility, visible_histories
from features.history.displaced import ALL_DISPLACED, NONE_DISPLACED, Displaced
from features.history.history import History
from features.history.retention import Retention, exact
from features.history.store import NOWHERE, Entity, Fate, Histories, Observed, Transactions
from features.history.views import spans_of
from features.rows import card
from features.vector import vectorise as vectorise_module
from features.vector import window_kernel
from features.vector.vectorise import KERNEL, vectorise
from features.vector.window_kernel import WindowKernel
from models import tree_kernel

NOW_MS = 1_790_000_000_000
SET = FeatureSet(
    (
        *(card(name, "30d") for name in ("count", "amount_sum", "merchants", "fraud_share", "speed_from_last")),
        *(card("count", "7d", delay="1d"), card("seconds_since_last")),
    )
)
needs_kernel = pytest.mark.skipif(KERNEL is None, reason="no C compiler built the kernel")


def rows_of(random: np.random.Generator, count: int) -> np.ndarray:
    """Make rows of a card, in any order, some of them labels, of which the first is never one."""
    rows = np.zeros((count, records.CARD_COLUMNS), np.int64)
    edges = random.choice((0, 1, 20, 40), count) * DAY_MS + random.integers(-1, 2, count)
    rows[:, records.TIME] = NOW_MS - np.where(random.random(count) < 0.7, edges, random.integers(0, 50 * DAY_MS, count))
    rows[:, records.AMOUNT] = random.integers(1, 10_000, count)
    rows[:, records.ID] = random.permutation(count) + 1
    rows[:, records.OTHER] = random.integers(1, 5, count)
    rows[:, records.FLAGS] = (2 << records.EXPONENT_SHIFT) | (random.integers(0, 2, count) << records.PARTITION_SHIFT)
    rows[:, records.OFFSET] = np.arange(count)
    rows[:, records.PLACE] = random.integers(-(2**50), 2**50, count)
    rows[:, records.TRAITS] = random.integers(0, 2, count) << records.HAS_PLACE.shift
    labels = random.random(count) < 0.2
    labels[0] = False
    rows[labels, records.FLAGS] |= records.LABEL_BIT | records.FRAUD_BIT
    rows[labels, records.OTHER] = random.integers(1, count + 1, count)[labels]
    return rows


def card_history(rows: np.ndarray) -> History:
    made = History(1, "card-1", records.CARD_COLUMNS)
    made.replace(0, rows)
    return made


def seen(
    seed: int, n: int, horizon_ms: int, displaced: Displaced = NONE_DISPLACED
) -> tuple[list[History | None], Transactions, Observed]:
    """Make n payments somewhere in their histories, a few of which are not there or have no position."""
    random = np.random.default_rng(seed)
    histories, positions, own = list[History | None](), list[int](), list[np.ndarray]()
    for _ in range(n):
        rows = rows_of(random, int(random.integers(1, 60)))
        transactions = np.flatnonzero(~records.is_label(rows[:, records.FLAGS]))
        position = int(random.choice(transactions))
        own.append(rows[position])
        kind = random.integers(0, 10)
        histories.append(None if kind == 0 else card_history(rows))
        positions.append(NOWHERE if kind in (0, 1) else position)
    return histories, *as_batch(
        histories, positions, np.stack(own), Visibility(Retention((exact(horizon_ms),)), displaced)
    )


def as_batch(
    histories: Sequence[History | None], positions: Sequence[int], own: np.ndarray, visibility: Visibility
) -> tuple[Transactions, Observed]:
    n, zeros, names = len(own), np.zeros(len(own), np.int64), ["x"] * len(own)
    payments = Transactions(
        *(names, names, names, own[:, records.TIME].copy(), zeros, zeros, zeros, zeros.astype(np.uint64)),
        *(zeros, zeros, names, zeros, zeros),
    )
    view = visible_histories(histories, positions, own, visibility)
    return payments, Observed([Fate.DECIDE] * n, {Entity.CARD: view}, history_epoch=1, incomplete=False)


def by_numpy(monkeypatch: pytest.MonkeyPatch, payments: Transactions, observed: Observed) -> np.ndarray:
    with monkeypatch.context() as without:
        without.setattr(vectorise_module, "KERNEL", None)
        return vectorise(SET, payments, observed)


@needs_kernel
@pytest.mark.parametrize("displaced", [NONE_DISPLACED, ALL_DISPLACED])
@pytest.mark.parametrize("horizon_ms", [1, DAY_MS, 20 * DAY_MS, 40 * DAY_MS])
@pytest.mark.parametrize("n", [1, 40])
def test_what_is_hidden_from_a_payment_is_hidden_in_place(
    n: int, horizon_ms: int, displaced: Displaced, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = 0
    for seed in range(25):
        _, payments, observed = seen(seed, n, horizon_ms, displaced)
        compiled, spans = vectorise(SET, payments, observed), spans_of(observed.cards)
        assert compiled.tobytes() == by_numpy(monkeypatch, payments, observed).tobytes()
        hidden += int(spans.table[1].sum()) - len(observed.cards.rows)
    assert hidden > 0


@needs_kernel
@pytest.mark.parametrize("horizon_ms", [DAY_MS, 5 * DAY_MS, 40 * DAY_MS])
def test_payments_of_several_partitions_are_told_in_place(horizon_ms: int) -> None:
    assert isinstance(KERNEL, WindowKernel)
    found = list[bool]()
    for seed in range(40):
        cards = seen(seed, 10, horizon_ms)[2].cards
        each = np.split(cards.rows[:, records.FLAGS], np.cumsum(cards.lengths)[:-1])
        expected = [len(set(records.partitions(one[records.is_transaction(one)]).tolist())) > 1 for one in each]
        joined = Histories(cards.rows, cards.lengths, cards.positions)
        assert KERNEL.several_partitions(spans_of(cards)).tolist() == expected
        assert KERNEL.several_partitions(spans_of(joined)).tolist() == expected
        found += expected
        rows, lengths = cards.part(np.array(expected))
        assert rows.tobytes() == joined.part(np.array(expected))[0].tobytes()
        assert lengths.tolist() == joined.part(np.array(expected))[1].tolist()
    assert {True, False} == set(found)


def test_rows_that_were_seen_stay_as_they_are_while_their_history_changes() -> None:
    histories, payments, observed = seen(3, 20, 40 * DAY_MS)
    expected, again = vectorise(SET, payments, observed), seen(3, 20, 40 * DAY_MS)[2].cards
    random = np.random.default_rng(4)
    for history in histories:
        for row in rows_of(random, 30) if history is not None else ():
            history.append(row, int(row[records.TIME]))  # type: ignore[union-attr]
        if history is not None:
            history.rollback()
            history.append(rows_of(random, 1)[0], NOW_MS)
            history.commit()
            history.trim(history.committed // 2)
            history.append(rows_of(random, 1)[0], NOW_MS)
    assert vectorise(SET, payments, observed).tobytes() == expected.tobytes()
    assert (observed.cards.rows == again.rows).all()
    assert observed.cards.lengths.tolist() == again.lengths.tolist()


def test_a_history_is_neither_pickled_nor_copied() -> None:
    history = card_history(rows_of(np.random.default_rng(1), 5))
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="a history is neither pickled nor copied: `replace` the rows of a new one"):
            duplicate(history)


@needs_kernel
def test_a_library_of_other_sources_is_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_kernel, "LIBRARY", tree_kernel.LIBRARY)
    assert window_kernel.open_kernel() is None
