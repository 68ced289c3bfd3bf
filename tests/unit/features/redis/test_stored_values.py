"""Any bytes under a history's key: they are refused as damaged, or every feature can be computed with them."""

import struct
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from features.declaration import FeatureSet, load
from features.errors import StoreRefusedError
from features.history import panes, records
from features.history.append import rows_by_entity
from features.history.compaction import compact_in_memory
from features.history.history import History
from features.history.store import Entity
from features.redis.cache import COMPACTED, HEADER, INCOMPLETE, PLAIN, CachedHistory, load_together
from features.redis.retention import UNKNOWN_RETENTION, StoredRetention, read_retention
from support.examples import examples
from support.features.recount import transactions
from support.features.stored_histories import NAMES, NOW_MS, PAYMENT, history, use

SETS = [load(None), load("features.extended_set"), load("features.hot_merchants_set")]
MOST_OF_THEM = st.sampled_from((True, True, True, True, True, False))


@given(value=st.binary(max_size=300), kind=st.sampled_from(list(NAMES)))
@settings(max_examples=examples(300))
def test_any_bytes_are_refused_or_read(value: bytes, kind: Entity) -> None:
    entry = history(kind)
    try:
        if entry.load(value):
            assert entry.rows.nbytes == len(value) - HEADER.size
    except StoreRefusedError:
        assert struct.unpack_from("<Q", value, 8)[0] in range(5, 64)


@st.composite
def stored(draw: st.DrawFn, kind: Entity) -> bytes:
    """A value with a sound header, and rows of any bytes; most of them with flags and times that records can have."""
    count, columns = draw(st.integers(0, 5)), records.COLUMNS[kind]
    size = count * columns * records.COLUMN_BYTES
    rows = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), np.int64).reshape(count, columns).copy()
    if draw(MOST_OF_THEM):
        rows[:, records.TIME] %= draw(st.sampled_from((records.LATEST_MS, 2 * NOW_MS)))
        rows[:, records.FLAGS] &= records.LABEL_BIT | records.FRAUD_BIT | records.CONTENT_MASK | (1 << 36)
    encoded = draw(st.sampled_from((PLAIN, PLAIN, INCOMPLETE, COMPACTED)))
    if encoded == COMPACTED and count >= 2 and draw(MOST_OF_THEM):
        rows[0, records.FLAGS] = records.NOTE_BIT | records.PANE_BIT
        rows[1, records.FLAGS] = records.NOTE_BIT | records.LABEL_BIT
        rows[0, [records.AMOUNT, records.OTHER, records.OFFSET]] = 2, draw(st.integers(0, 3)), draw(st.integers(0, 3))
    return HEADER.pack(draw(st.integers(0, 10**10)), encoded, NAMES[kind].encode()) + rows.tobytes()


@given(values=st.tuples(*map(stored, NAMES)), which=st.sampled_from(SETS))
@settings(max_examples=examples(500), deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_every_feature_can_be_computed_with_whatever_is_read(values: tuple[bytes, ...], which: FeatureSet) -> None:
    found = {kind: (history(kind), value) for kind, value in zip(NAMES, values, strict=True)}
    assume(all(entry.load(value) for entry, value in found.values()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a value that is no payment's may overflow
        use(which, {kind: found[kind][0] for kind in which.retentions})


def state_of(entry: CachedHistory) -> tuple[object, ...]:
    """Return all that a load sets."""
    names = ("base", "committed", "newest_ms", "erased_ms", "labelled", "notes", "prefix_rows", "entity_id")
    sizes = entry.is_incomplete, entry.committed_end, entry.last_id if entry.committed else None
    return *(getattr(entry, name) for name in names), *sizes, entry.rows.tobytes()


def loaded_alone(kind: Entity, value: bytes | None) -> tuple[object, ...] | None:
    entry = history(kind)
    try:
        return state_of(entry) if entry.load(value) else None
    except StoreRefusedError:
        return None


KINDS = st.sampled_from(list(NAMES))


@given(
    st.lists(
        KINDS.flatmap(
            lambda kind: st.tuples(st.just(kind), stored(kind) | stored(kind) | st.none() | st.binary(max_size=90))
        ),
        max_size=8,
    )
)
@settings(max_examples=examples(300), deadline=None)
def test_histories_that_are_loaded_together_are_as_if_each_had_been_loaded_alone(
    stored_ones: list[tuple[Entity, bytes | None]],
) -> None:
    entries, values = [history(kind) for kind, _ in stored_ones], [value for _, value in stored_ones]
    for (kind, value), entry, is_loaded in zip(stored_ones, entries, load_together(entries, values), strict=True):
        if is_loaded:
            assert state_of(entry) == loaded_alone(kind, value)
            entry.append(np.zeros(entry.columns, np.int64), NOW_MS)
        else:
            assert state_of(entry) == state_of(history(kind)), "nothing has changed"


def test_logs_of_transactions_are_loaded_together() -> None:
    row = rows_by_entity(transactions([PAYMENT]), (Entity.MERCHANT,))[Entity.MERCHANT].rows[0]
    value = history(Entity.MERCHANT).header() + np.stack([row] * 3).tobytes()
    assert load_together([history(Entity.MERCHANT) for _ in range(3)], [value, None, value[:-1]]) == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("epoch", [b"9" * 5000, "\u0667".encode(), b"-1", b""])
def test_needs_under_an_epoch_that_is_no_number_are_unknown(epoch: bytes) -> None:
    assert read_retention(b"7\ncard 1/5") == StoredRetention(7, ("card 1/5",))
    assert read_retention(epoch + b"\ncard 1/5") is UNKNOWN_RETENTION


def test_what_is_stored_is_read() -> None:
    entry = history(Entity.MERCHANT)
    entry.append(rows_by_entity(transactions([PAYMENT]), (Entity.MERCHANT,))[Entity.MERCHANT].rows[0], NOW_MS)
    again = history(Entity.MERCHANT)
    assert again.load(entry.header() + entry.rows.tobytes())
    assert not again.is_incomplete
    assert again.load(entry.incomplete_header(7) + entry.rows.tobytes())
    assert (again.is_incomplete, again.base, again.is_absent) == (True, 7, False)
    assert again.load(None)
    assert (again.is_incomplete, again.is_absent) == (False, True)


@pytest.mark.parametrize("column", [records.AMOUNT, records.OTHER, records.OFFSET])
def test_notes_that_count_more_rows_than_there_are_make_no_compacted_history(column: int) -> None:
    made = History(1, "x", records.SHARED_COLUMNS)
    for number in range(60):
        time_ms = NOW_MS + number * 1_000 + (number == 59) * 20 * 86_400_000
        made.append(np.array((time_ms, 5, number, 0, number, 0)), time_ms)
    made.commit()
    compact_in_memory(made, SETS[2].retentions[Entity.MERCHANT], 1)
    rows = made.rows.copy()
    assert panes.is_compacted(rows)
    rows[0, column] += 1_000
    assert not panes.is_compacted(rows)
