"""The kernel in C has the bits of numpy's code, on histories made to be awkward; what it leaves, numpy computes."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from features.aggregates import AGGREGATES
from features.declaration import DAY_MS, FeatureSet
from features.history import records
from features.history.retention import schedule_for
from features.history.store import Entity, Fate, Histories, LongHistory, Observed, Transactions
from features.history.views import spans_of, spans_of_long
from features.rows import card, device, merchant, own
from features.vector import vectorise as vectorise_module
from features.vector.vectorise import vectorise
from features.vector.window_kernel import LIBRARY, OPERATIONS, open_kernel, steps_of

MAKERS = {Entity.CARD: card, Entity.MERCHANT: merchant, Entity.DEVICE: device}
WINDOWS = (("10m", None), ("1h", "10m"), ("1d", None), ("7d", "1d"), ("30d", None))
EDGES_MS = tuple(at * 60_000 for at in (0, 1, 10, 60, 70, 1440, 7 * 1440, 8 * 1440, 30 * 1440))
NOW_MS = 1_790_000_000_000


def everything() -> FeatureSet:
    """Every aggregate of every entity in several windows."""
    rows = [own("is_night")]
    for kind, make in MAKERS.items():
        for aggregate, info in AGGREGATES.items():
            if kind in info.of and aggregate in OPERATIONS:
                name = aggregate.value.replace("other", "merchant" if kind is Entity.CARD else "card", 1)
                windows = WINDOWS if info.windowed else ((None, None),)
                rows += [make(name, window, delay=delay) for window, delay in windows]
    return FeatureSet(tuple(rows))


EVERYTHING = everything()
needs_kernel = pytest.mark.skipif(
    vectorise_module.KERNEL is None and shutil.which("cc") is None, reason="no C compiler built the kernel"
)


def history(random: np.random.Generator, kind: Entity, own_ms: int, count: int) -> np.ndarray:
    """Make a history, the own record last: times at the edges of windows, ties, labels, absent and equal values."""
    rows = np.zeros((count, records.COLUMNS[kind]), np.int64)
    edges = random.choice(EDGES_MS, count) + random.integers(-1, 2, count)
    anywhere = random.integers(-DAY_MS, 40 * DAY_MS, count)
    rows[:, records.TIME] = own_ms - np.where(random.random(count) < 0.5, edges, anywhere)
    rows[:, records.AMOUNT] = random.choice([0, 1, 99, 100, 12_345, 4_000_000, 5 * 10**10], count)
    rows[:, records.ID] = random.integers(-(2**63), 2**63 - 1, count)
    rows[:, records.OTHER] = random.choice([5, -7, 2**62, -(2**63)], count)
    rows[:, records.OFFSET] = random.integers(0, 4, count)
    placed = random.integers(0, 3, count) << records.PARTITION_SHIFT
    exponents = random.choice([0, 2, 2, 2, 3, 4], count) << records.EXPONENT_SHIFT
    rows[:, records.FLAGS] = random.integers(0, 2**32, count) | exponents | placed
    if kind is Entity.CARD:
        rows[:, records.DEVICE :] = traits(random, count)
    labels = random.random(count) < random.choice([0, 0.3])
    labels[-1] = False
    rows[labels, records.OTHER] = rows[random.integers(0, count, count)[labels], records.ID]
    frauds = (random.random(count) < 0.6) * records.FRAUD_BIT
    rows[labels, records.FLAGS] = (records.LABEL_BIT | frauds | placed)[labels]
    rows[labels, records.SHARED_COLUMNS :] = 0
    rows[-1, records.TIME] = own_ms
    return rows


def traits(random: np.random.Generator, count: int) -> np.ndarray:
    """Make the columns that only a card's records have: few values of each, absent ones among them."""
    north = random.choice([-9_000_000, 0, 5_212_345, 9_000_000], count)
    east = random.choice([-18_000_000, 0, 17_999_999, 412_345], count)
    packed = random.integers(0, 2 * records.LATEST_CLOCK_MINUTES, count) << records.CLOCK.shift
    for trait in (records.CATEGORY, records.COUNTRY, records.CHANNEL, records.CURRENCY, records.HAS_PLACE):
        packed |= random.integers(0, min(4, 1 << trait.bits), count) << trait.shift
    places = (north << records.LOW_HALF) | (east & records.LOW_MASK)
    return np.stack((random.choice([0, 3, -9], count), places, packed), axis=1)


def batch(seed: int, n: int, most: int) -> tuple[Transactions, Observed]:
    random = np.random.default_rng(seed)
    own_ms = NOW_MS + random.integers(0, DAY_MS, n)
    histories = {}
    for kind in MAKERS:
        parts = [history(random, kind, at, int(random.integers(1, most + 1))) for at in own_ms.tolist()]
        lengths = np.array([len(part) for part in parts], np.int64)
        histories[kind] = Histories(np.concatenate(parts), lengths, lengths - 1)
    zeros, names = np.zeros(n, np.int64), ["x"] * n
    payments = Transactions(
        *(names, names, names, own_ms, zeros, zeros, zeros, zeros.astype(np.uint64), zeros, zeros, names, zeros, zeros)
    )
    return payments, Observed([Fate.DECIDE] * n, histories, history_epoch=1, incomplete=False)


def by_numpy(monkeypatch: pytest.MonkeyPatch, payments: Transactions, observed: Observed) -> np.ndarray:
    with monkeypatch.context() as without:
        without.setattr(vectorise_module, "KERNEL", None)
        return vectorise(EVERYTHING, payments, observed)


def same_bits(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Tell it of each value; every NaN is as good as another."""
    return (one.view(np.int64) == other.view(np.int64)) | (np.isnan(one) & np.isnan(other))


@needs_kernel
@pytest.mark.parametrize(("n", "most", "seeds"), [(1, 40, 150), (16, 12, 60), (40, 90, 15), (3, 3_000, 3)])
def test_every_feature_has_the_bits_of_numpy(n: int, most: int, seeds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = open_kernel()
    assert kernel is not None
    for seed in range(seeds):
        payments, observed = batch(seed, n, most)
        for seen in observed.histories.values():
            nothing = np.empty((0, n))
            assert not kernel.compute(steps_of([]), spans_of(seen), payments.occurred_ms, nothing).any()
        compiled, expected = vectorise(EVERYTHING, payments, observed), by_numpy(monkeypatch, payments, observed)
        wrong = ~same_bits(compiled, expected)
        names = [EVERYTHING.names[at] for at in np.flatnonzero(wrong.any(axis=0))]
        assert not wrong.any(), (seed, names, compiled[wrong], expected[wrong])


@needs_kernel
def test_histories_that_could_overflow_are_computed_by_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    payments, observed = batch(1, 6, 30)
    rows = observed.histories[Entity.CARD].rows
    ends = np.cumsum(observed.histories[Entity.CARD].lengths)
    rows[ends[2] - 1, records.AMOUNT] = 2**55
    rows[ends[4] - 1, records.AMOUNT] = 2**61
    kernel = open_kernel()
    assert kernel is not None
    cards = observed.histories[Entity.CARD]
    left = kernel.compute(steps_of([card("count", "1d")]), spans_of(cards), payments.occurred_ms, np.empty((1, 6)))
    assert np.flatnonzero(left).tolist() == [2, 4]
    compiled, expected = vectorise(EVERYTHING, payments, observed), by_numpy(monkeypatch, payments, observed)
    assert same_bits(compiled, expected).all()


def shared(random: np.random.Generator, kind: Entity, numbers: np.ndarray, rows: np.ndarray) -> LongHistory:
    """Make a long history that the transactions with these numbers see, in the order of the log but for a few."""
    payments = np.flatnonzero(~records.is_label(rows[:, records.FLAGS]))
    places = np.sort(random.choice(payments[len(payments) // 3 :], len(numbers)))
    if random.random() < 0.3:
        random.shuffle(places)
    displaced = random.random(len(numbers)) < random.choice([0, 0.3])
    within = EVERYTHING.schedules[kind]
    return LongHistory(rows, numbers, rows[places], places, displaced.tolist(), compacted=False, within=within)


def long_batch(seed: int, n: int, most: int) -> tuple[Transactions, Observed]:
    """Make a batch of which most transactions see one of two long histories of each kind, all at different times."""
    random = np.random.default_rng(seed)
    payments, observed = batch(seed, n, 40)
    histories = {}
    for kind, seen in observed.histories.items():
        lane = random.integers(0, 3, n)  # 0: a short history
        long = [
            shared(random, kind, np.flatnonzero(lane == number), history(random, kind, NOW_MS + DAY_MS, most))
            for number in (1, 2)
        ]
        rows, lengths = seen.part(lane == 0)
        histories[kind] = Histories(rows, lengths, seen.positions, [one for one in long if len(one.numbers)])
    return payments, replace(observed, histories=histories)


def at_own_times(payments: Transactions, observed: Observed) -> Observed:
    """Give each payment's record in each long history the payment's time; later ones may be before earlier ones."""
    for seen in observed.histories.values():
        for long in seen.long:
            long.rows[long.places, records.TIME] = payments.occurred_ms[long.numbers]
            long.own[:] = long.rows[long.places]
    return observed


@needs_kernel
@pytest.mark.parametrize(("n", "most", "seeds"), [(1, 60, 60), (12, 30, 60), (30, 200, 20), (6, 9_000, 3)])
def test_every_feature_of_a_long_history_has_the_bits_of_numpy(
    n: int, most: int, seeds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, by_the_kernel = open_kernel(), 0
    assert kernel is not None
    for seed in range(seeds):
        payments, observed = long_batch(seed, n, most)
        at_own_times(payments, observed)
        for seen in observed.histories.values():
            if (spans := spans_of_long(seen)) is not None:
                nothing = np.empty((0, n))
                assert not kernel.compute(steps_of([]), spans[1], payments.occurred_ms[spans[0]], nothing).any()
                by_the_kernel += len(spans[0])
        compiled, expected = vectorise(EVERYTHING, payments, observed), by_numpy(monkeypatch, payments, observed)
        wrong = ~same_bits(compiled, expected)
        names = [EVERYTHING.names[at] for at in np.flatnonzero(wrong.any(axis=0))]
        assert not wrong.any(), (seed, names, compiled[wrong], expected[wrong])
    assert by_the_kernel > seeds


def with_largest(amount: int, count: int) -> tuple[Transactions, Observed]:
    """Make a payment that sees a long history of so many records, the largest amount of which is given in 10^-4."""
    payments, observed = batch(4, 1, 1)
    rows = np.repeat(observed.cards.rows, count, axis=0)
    rows[:, records.TIME] = payments.occurred_ms[0] - np.arange(count)[::-1] * 1_000
    rows[:, records.AMOUNT] = amount
    rows[:, records.FLAGS] = records.FINEST_EXPONENT << records.EXPONENT_SHIFT
    rows[-1, records.AMOUNT] = 1
    places, within = np.array([count - 1]), EVERYTHING.schedules[Entity.CARD]
    long = LongHistory(rows, np.array([0]), rows[-1:], places, [False], compacted=False, within=within)
    none = Histories(rows[:0], np.empty(0, np.int64), places, [long])
    return payments, replace(observed, histories={**observed.histories, Entity.CARD: none})


@needs_kernel
@pytest.mark.parametrize("count", [9_000, 100_000])
def test_the_largest_amount_that_the_kernel_takes_follows_the_number_of_records(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = open_kernel()
    assert kernel is not None
    for amount, is_left in ((2**62 // count, False), (2**62 // count + 1, True)):
        payments, observed = with_largest(amount, count)
        spans = spans_of_long(observed.cards)
        assert spans is not None
        found = np.empty((1, 1))
        left = kernel.compute(steps_of([card("count", "1d")]), spans[1], payments.occurred_ms, found)
        assert left.tolist() == [is_left]
        compiled, expected = vectorise(EVERYTHING, payments, observed), by_numpy(monkeypatch, payments, observed)
        assert same_bits(compiled, expected).all()


@needs_kernel
def test_payments_before_the_first_amount_that_is_too_large_are_not_left() -> None:
    kernel = open_kernel()
    assert kernel is not None
    _, observed = with_largest(1, 9_000)
    (long,) = observed.cards.long
    long.rows[[4_000, 7_000], records.AMOUNT] = 2**50
    places = np.array([3_999, 4_000, 5_000, 7_000, 3_000])
    own_ms = long.rows[places, records.TIME]
    long = replace(long, numbers=np.arange(5), own=long.rows[places], places=places, displaced=[False] * 5)
    spans = spans_of_long(Histories(long.rows[:0], np.empty(0, np.int64), places, [long]))
    assert spans is not None
    left = kernel.compute(steps_of([card("amount_sum", "1d")]), spans[1], own_ms, np.empty((1, 5)))
    assert left.tolist() == [False, True, True, True, False]


@needs_kernel
def test_a_history_longer_than_the_kernel_takes_is_left() -> None:
    kernel, most = open_kernel(), 2**20
    assert kernel is not None
    payments, observed = batch(2, 2, 5)
    rows = np.repeat(observed.merchants.rows[-1:], most + 1, axis=0)
    places, within = np.array([most, most - 1]), EVERYTHING.schedules[Entity.MERCHANT]
    long = LongHistory(rows, np.arange(2), rows[places], places, [False] * 2, compacted=False, within=within)
    spans = spans_of_long(Histories(rows[:0], np.empty(0, np.int64), places, [long]))
    assert spans is not None
    found = np.empty((1, 2))
    left = kernel.compute(steps_of([merchant("count", "1d")]), spans[1], np.repeat(payments.occurred_ms[-1:], 2), found)
    assert left.tolist() == [True, False]
    assert found[0, 1] == most


@needs_kernel
def test_what_is_no_plain_beginning_of_a_history_is_left_to_numpy() -> None:
    payments, observed = long_batch(7, 12, 60)
    for seen in observed.histories.values():
        plain = [number for long in seen.long for number in long.numbers[~np.array(long.displaced)].tolist()]
        spans = spans_of_long(seen)
        assert spans is not None
        assert spans[0].tolist() == plain
        assert spans_of_long(replace(seen, long=[replace(long, compacted=True) for long in seen.long])) is None
        paned = schedule_for({60_000: DAY_MS}, DAY_MS)
        assert spans_of_long(replace(seen, long=[replace(long, within=paned) for long in seen.long])) is None
    assert len(payments) == 12


def test_without_the_library_there_is_no_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("features.vector.window_kernel.LIBRARY", tmp_path / LIBRARY.name)
    assert open_kernel() is None
    (tmp_path / LIBRARY.name).write_bytes(b"of another machine")
    assert open_kernel() is None
