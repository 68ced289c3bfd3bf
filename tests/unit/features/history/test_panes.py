"""Paned windows: their edges; compaction changes no feature value and counts no transaction twice."""

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from features.declaration import DAY_MS, HOUR_MS, Feature, FeatureSet, load
from features.history import compaction, panes, records
from features.history.displaced import ALL_DISPLACED
from features.history.frames import Frame
from features.history.panes import CompactionNotes
from features.history.retention import UNCOMPACTED_MS, Moments, ResolutionSchedule, Retention
from features.history.store import Entity, Ints, Observed
from features.memory_store import MemoryStore
from features.rows import card
from features.vector import paned
from features.vector.sets import FeatureSets, Vectors
from features.vector.vectorise import vectorise
from support.acceptance import cases
from support.examples import examples
from support.features.paned_sets import FINER, HOURLY, row_of
from support.features.recount import Row, label, transaction, transactions
from support.features.streams import Stream, compared, dense_streams, last, outcomes, recounted, streams

SETS = {"hourly": HOURLY, "finer": FINER}
HOUR = 1_700_000_000_000 // HOUR_MS * HOUR_MS
"""The end of a pane."""


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compact whatever may be compacted, worthwhile or not."""
    monkeypatch.setattr(compaction, "is_worthwhile", lambda *_: True)


def at(*times_ms: int, **changes: object) -> list[Row]:
    """Make transactions at these times, each of another card."""
    return [
        transaction(offset, card=f"c{offset}", ms=time_ms, **changes)
        for offset, time_ms in enumerate(times_ms, start=1)
    ]


@pytest.mark.parametrize(
    ("other_ms", "counted"),
    [
        (HOUR - 2 * HOUR_MS, 1),  # the last millisecond of the pane before the window
        (HOUR - 2 * HOUR_MS + 1, 2),
        (HOUR, 2),
        (HOUR + 5, 2),
        (HOUR + 6, 1),
    ],
)
def test_a_paned_window_begins_at_a_pane_border_and_ends_exactly(other_ms: int, counted: int) -> None:
    feature = row_of("count", 2 * HOUR_MS, resolution_ms=HOUR_MS)
    assert last(feature, *at(other_ms, HOUR + 5)) == counted


@pytest.mark.parametrize(
    ("other_ms", "counted"),
    [
        (HOUR - 10 * HOUR_MS, 0),
        (HOUR - 10 * HOUR_MS + 1, 1),
        (HOUR - 8 * HOUR_MS, 1),
        (HOUR - 8 * HOUR_MS + 1, 0),  # older than the delay, but its pane is not
    ],
)
def test_a_delayed_paned_window_has_its_declared_length_and_looks_no_nearer_than_its_delay(
    other_ms: int, counted: int
) -> None:
    feature = row_of("count", 2 * HOUR_MS, 8 * HOUR_MS, HOUR_MS)
    assert last(feature, *at(other_ms, HOUR + 5)) == counted


def test_a_very_late_transaction_sees_only_what_precedes_its_pane_and_itself() -> None:
    feature = row_of("count", 2 * HOUR_MS, resolution_ms=HOUR_MS)
    now = HOUR + 9 * HOUR_MS
    assert last(feature, *at(HOUR - 1, HOUR + 1, HOUR + 7, now, HOUR + 5)) == 2.0
    assert last(feature, *at(HOUR - 1, HOUR + 1, HOUR + 7, HOUR + UNCOMPACTED_MS, HOUR + 5)) == 3.0


@pytest.mark.parametrize("name", SETS)
@given(stream=st.one_of(streams, dense_streams))
@settings(max_examples=examples(120), deadline=None)
def test_compaction_changes_no_feature_value(name: str, stream: list) -> None:
    feature_set = SETS[name]
    store = MemoryStore(feature_set)
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(compaction, "is_worthwhile", lambda *_: True)
        computed = asyncio.run(outcomes(Stream(stream, UNCOMPACTED_MS), feature_set, lambda: store))
    assert computed == recounted(Stream(stream, UNCOMPACTED_MS), feature_set)


@given(stream=dense_streams)
@settings(max_examples=examples(60), deadline=None)
def test_positions_count_compacted_records(stream: list) -> None:
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(compaction, "is_worthwhile", lambda *_: False)
        apart = list(positions(stream))
        patching.setattr(compaction, "is_worthwhile", lambda *_: True)
        assert list(positions(stream)) == apart


def positions(stream: list) -> Iterator[list[int]]:
    """Yield merchant positions by batch, without those of transactions redelivered long after the first delivery."""
    store = MemoryStore(HOURLY)
    for part in Stream(stream, UNCOMPACTED_MS).parts:
        if part is None:
            asyncio.run(store.compact())
        elif isinstance(part, list):
            found = store.observe_now(transactions(part)).merchants.positions.tolist()
            yield [position for row, position in zip(part, found, strict=True) if "blurred" not in row]
        else:
            yield [store.label_now([part])[0].merchant_position or -1]


def compact_all(store: MemoryStore) -> None:
    asyncio.run(store.compact())


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(("which", "others"), [(0, 0), (3, 3)])
def test_a_transaction_that_may_be_displaced_does_not_see_later_offsets_of_its_partition(
    which: int, others: int
) -> None:
    """Its own record is last and counts once, compacted or not; a compacted one sees the whole history."""
    store = MemoryStore(HOURLY)
    rows = at(HOUR, HOUR + 2 * HOUR_MS, HOUR + 4 * HOUR_MS, HOUR + 4 * HOUR_MS + 1, HOUR + 4 * HOUR_MS + 2)
    store.observe_now(transactions(rows))
    compact_all(store)
    store._displaced = ALL_DISPLACED
    again = store.observe_now(transactions([rows[which]]))
    assert again.merchants.rows[-1, records.ID] == records.transaction_hash(f"c{which + 1}", f"t{which + 1}")
    assert column("merchant_count_6h", again, rows[which]) == [others + 1.0]


@pytest.mark.usefixtures("eager")
def test_a_low_offset_of_a_recreated_topic_is_not_mistaken_for_a_compacted_record() -> None:
    store = MemoryStore(HOURLY)
    store.observe_now(transactions(at(HOUR, HOUR + 2 * HOUR_MS, HOUR + 4 * HOUR_MS)))
    compact_all(store)
    first = transaction(0, card="new", ms=HOUR + 4 * HOUR_MS + 1)
    assert column("merchant_count_6h", store.observe_now(transactions([first])), first) == [4.0]


def column(name: str, observed: Observed, *rows: Row) -> list[float]:
    return vectorise(HOURLY, transactions(list(rows)), observed)[:, HOURLY.names.index(name)].tolist()


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("corrected", [False, True])
def test_a_label_keeps_its_position_and_effect_when_its_transaction_is_compacted(corrected: bool) -> None:  # noqa: FBT001
    store = MemoryStore(HOURLY)
    rows = at(HOUR, HOUR + 1)
    store.observe_now(transactions(rows))
    says = [label(0, rows[0], fraud=True, at_ms=HOUR + 5)]
    says += [label(1, rows[0], fraud=False, at_ms=HOUR + 6)] if corrected else []
    first = store.label_now(says)
    store.observe_now(transactions([transaction(3, card="c3", ms=HOUR + 3 * HOUR_MS)]))
    compact_all(store)
    assert store.label_now(says) == first
    asked = transaction(4, card="c4", ms=HOUR + 8 * HOUR_MS)
    shares = column("merchant_fraud_share_delayed_6h", store.observe_now(transactions([asked])), asked)
    assert shares == [0.0 if corrected else 1 / 3]


def test_a_merchants_paned_history_stores_a_genuine_label_only_together_with_a_fraud_label() -> None:
    store = MemoryStore(HOURLY)
    (row,) = at(HOUR)
    store.observe_now(transactions([row]))
    (genuine,) = store.label_now([label(0, row, fraud=False, at_ms=HOUR + 6)])
    assert genuine.merchant_position is None
    assert genuine.merchant_id == row["merchant"]
    (stale,) = store.label_now([label(1, row, fraud=True, at_ms=HOUR + 5)])
    assert stale.merchant_position == 2
    asked = transaction(4, card="c4", ms=HOUR + 8 * HOUR_MS)
    shares = column("merchant_fraud_share_delayed_6h", store.observe_now(transactions([asked])), asked)
    assert shares == [0.0]


amounts = st.lists(st.tuples(st.integers(0, 10**12), st.sampled_from((0, 2, 3, 4))), min_size=1, max_size=40)


@given(amounts=amounts, cuts=st.lists(st.integers(0, 40), max_size=3), full=st.sampled_from((1, 2, 3, panes.FULL)))
def test_panes_are_exact_however_they_are_merged(amounts: list, cuts: list[int], full: int) -> None:
    rows = [transaction(i, ms=HOUR, amount=amount, exponent=exponent) for i, (amount, exponent) in enumerate(amounts)]
    left = records.card_rows(transactions(rows))[:, : records.SHARED_COLUMNS]
    made = left[:0]
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(panes, "FULL", full)
        for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(left)], strict=True):
            both = np.concatenate((made, left[begin:end]))
            made = panes.merge(both, np.full(len(both), HOUR))
    assert panes.counts(made).sum() == len(rows)
    assert (panes.counts(made) < 2 * full).all()
    for exponent in {exponent for _, exponent in amounts}:
        ours = made[records.exponents(made[:, records.FLAGS]) == exponent]
        theirs = [amount for amount, of in amounts if of == exponent]
        high, low = (part.astype(object) for part in panes.squares(ours))
        assert ours[:, records.AMOUNT].sum() == sum(theirs)
        assert ours[:, records.OTHER].max() == max(theirs)
        assert ((high << panes.REMAINDER_BITS) + low).sum() == sum(amount * amount for amount in theirs)


def test_a_pane_full_of_the_largest_amounts_does_not_overflow() -> None:
    (row,) = records.card_rows(transactions([transaction(1, amount=10**12)]))[:, : records.SHARED_COLUMNS]
    nearly = panes.FULL - 1
    pane = panes.merge(row[np.newaxis], np.array([HOUR]))
    pane[:, records.FLAGS] += nearly - 1
    pane[:, records.AMOUNT] *= nearly
    square = 10**24 * nearly
    pane[:, records.ID], pane[:, records.OFFSET] = square >> 62, square & ((1 << 62) - 1)
    both = panes.merge(np.concatenate((pane, pane)), np.array([HOUR, HOUR]))
    assert both[:, records.AMOUNT].sum() == 2 * nearly * 10**12
    high, low = panes.squares(both)
    assert sum((int(h) << 62) + int(rest) for h, rest in zip(high, low, strict=True)) == 2 * square


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("most", [1, 3])
def test_compacting_the_largest_amounts_into_several_rows_of_a_pane_changes_no_value(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panes, "FULL", most)
    rows = at(*[HOUR + i for i in range(50)], amount=10**12, exponent=0)
    asked = transaction(99, card="c", ms=HOUR + 11 * HOUR_MS, amount=1, exponent=0)
    computed = []
    for compacts in (False, True):
        store = MemoryStore(HOURLY)
        store.observe_now(transactions([*rows, transaction(98, card="d", ms=HOUR + 10 * HOUR_MS)]))
        if compacts:
            compact_all(store)
        computed.append(vectorise(HOURLY, transactions([asked]), store.observe_now(transactions([asked]))).tobytes())
    assert computed[0] == computed[1]


# Fates depend on the longest card horizon of all sets: it is the same here, so each set has the same fates alone.
BESIDE = {name: FeatureSet((*one.rows, card("count", "31d"))) for name, one in SETS.items()}


@pytest.mark.parametrize("name", BESIDE)
@given(stream=st.one_of(streams, dense_streams))
@settings(max_examples=examples(60), deadline=None)
def test_a_paned_set_gives_the_same_values_beside_another_set(name: str, stream: list) -> None:
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(compaction, "is_worthwhile", lambda *_: True)
        assert beside_each_other(BESIDE[name], stream) == recounted(Stream(stream, UNCOMPACTED_MS), BESIDE[name])


def beside_each_other(asked: FeatureSet, stream: list) -> list:
    """Return the outcomes of one set where histories are kept for both."""
    sets, result = FeatureSets(tuple(BESIDE.values())), []
    store = MemoryStore(sets)
    for part in Stream(stream, UNCOMPACTED_MS).parts:
        if part is None:
            compact_all(store)
        elif isinstance(part, list):
            batch = transactions(part)
            observed = store.observe_now(batch)
            vectors = Vectors(sets, batch, observed, np.ones(len(part), np.bool_)).of(asked.fingerprint)
            computed = zip(part, observed.fates, vectors.tolist(), strict=True)
            result += [(fate, compared(row, fate, vector)) for row, fate, vector in computed]
        else:
            store.label_now([part])
    return result


def test_nothing_within_the_horizon_of_an_exact_set_is_compacted() -> None:
    keep = FeatureSets((load(None), HOURLY, FINER)).retentions[Entity.MERCHANT]
    assert max(keep.bounds_ms(HOUR).values()) <= HOUR - 44 * DAY_MS


schedules = st.builds(
    lambda widths, tails: ResolutionSchedule(
        tuple(np.cumprod([1, *widths]).tolist()), tuple(np.cumsum(tails).tolist())
    ),
    st.lists(st.integers(2, 4), min_size=2, max_size=2),
    st.lists(st.integers(1, 30), min_size=3, max_size=3),
)


@given(several=st.lists(schedules, min_size=1, max_size=3), newest=st.integers(0, 1000), later=st.integers(0, 100))
def test_compaction_for_several_sets_is_nowhere_coarser_than_any_of_them_needs(
    several: list[ResolutionSchedule], newest: int, later: int
) -> None:
    keep = Retention(tuple(several))
    bounds = keep.bounds_ms(newest)
    assert keep.allows(keep.oldest_ms(newest), bounds, newest + later)
    for schedule in several:
        assert keep.oldest_ms(newest) <= schedule.oldest_ms(newest)
        for fine in schedule.resolutions_ms:
            wider = [bound for width, bound in bounds.items() if fine % width]
            assert all(bound <= schedule.seen_after(newest, fine) for bound in wider)


def ignore_lateness(frame: Frame, feature: Feature, schedule: ResolutionSchedule) -> tuple[Ints, Ints]:
    begin_ms, end_ms = real_ends(frame, feature, schedule)
    return begin_ms, end_ms if feature.delay_ms else frame.own_ms


def seen_after_too_late(self: ResolutionSchedule, newest_ms: Moments, resolution_ms: int) -> Moments:
    return real_seen_after(self, newest_ms, resolution_ms) + 2 * HOUR_MS


def end_a_pane_early(times_ms: Ints, bounds_ms: dict[int, int]) -> Ints:
    return compaction_ends(times_ms, bounds_ms) - HOUR_MS


def squares_without_first_parts(rows: Ints) -> tuple[Ints, Ints]:
    return np.zeros(len(rows), np.int64), panes_squares(rows)[1]


def drop_labels(rows: Ints, _base: int) -> Ints:
    return np.zeros_like(rows)


real_seen_after = ResolutionSchedule.seen_after
real_ends, compaction_ends, panes_squares = paned._ends, compaction._ends, panes.squares
BUGS = {
    "what is folded is counted a pane early": (compaction, "_ends", end_a_pane_early),
    "bounds are moved forward": (ResolutionSchedule, "seen_after", seen_after_too_late),
    "the first part of squares is lost": (panes, "squares", squares_without_first_parts),
    "labels of what was folded are dropped": (compaction, "_placed", drop_labels),
    "what was folded is not known again": (CompactionNotes, "holds", lambda *_: False),
    "everything counts as folded": (CompactionNotes, "holds", lambda *_: True),
    "late ones are cut to the millisecond": (paned, "_ends", ignore_lateness),
}


QUICK = ("what is folded is counted a pane early", "bounds are moved forward", "labels of what was folded are dropped")
"""Bugs of which a few streams tell; the others need hundreds."""


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("bug", cases(BUGS, short=QUICK))
def test_the_recount_detects_a_planted_bug(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*BUGS[bug])

    @given(stream=dense_streams)
    @settings(max_examples=400, deadline=None, database=None, derandomize=True, phases=[Phase.generate])
    def agree(stream: list) -> None:
        store = MemoryStore(HOURLY)
        computed = asyncio.run(outcomes(Stream(stream, UNCOMPACTED_MS), HOURLY, lambda: store))
        assert computed == recounted(Stream(stream, UNCOMPACTED_MS), HOURLY)

    with pytest.raises((AssertionError, RuntimeWarning)):
        agree()
