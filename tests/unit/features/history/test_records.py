"""A record's bits and hashes, a history's drafts, and a worker's cache."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.declaration import DAY_MS
from features.errors import StoreRefusedError
from features.history import records
from features.history.history import History
from features.history.store import Entity
from features.redis.cache import ENTRY_OVERHEAD_BYTES, HEADER, Cache, CachedHistory, append_requests
from support.features.recount import label, transaction, transactions

NOW = 1_700_000_000_000


def rows_of(*offsets: int) -> np.ndarray:
    return records.card_rows(transactions([transaction(offset) for offset in offsets]))


def cached(*offsets: int, entity: int = 1) -> CachedHistory:
    history = CachedHistory(Entity.CARD, entity, "card-1", b"key")
    history.replace(0, rows_of(*offsets))
    return history


@given(
    amount=st.integers(0, 10**12),
    exponent=st.integers(0, 4),
    partition=st.integers(0, 2**24 - 1),
    offset=st.integers(0, 2**62),
    content=st.integers(0, 2**64 - 1),
)
def test_the_packed_fields_of_a_record_can_be_read_back(
    amount: int, exponent: int, partition: int, offset: int, content: int
) -> None:
    row = transaction(offset, ms=NOW, amount=amount, exponent=exponent, partition=partition, content=content)
    (kept,) = records.card_rows(transactions([row]))
    assert kept[records.AMOUNT] == amount
    assert kept[records.OFFSET] == offset
    flags = kept[records.FLAGS : records.FLAGS + 1]
    assert flags[0] >= 0
    assert records.exponents(flags).tolist() == [exponent]
    assert flags[0] >> records.PARTITION_SHIFT == partition
    assert flags[0] & records.CONTENT_MASK == (content ^ (content >> 32)) & 0xFFFF_FFFF
    assert not records.is_label(flags)[0]


@given(st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), min_size=2, max_size=2, unique=True))
def test_different_transactions_have_different_ids(pairs: list[tuple[str, str]]) -> None:
    assert len({records.transaction_hash(card, transaction_id) for card, transaction_id in pairs}) == 2


def test_an_id_with_a_lone_surrogate_can_be_hashed() -> None:
    assert records.transaction_hash("card", "\ud800") != records.transaction_hash("card", "\ud801")


def test_a_labels_id_covers_its_content_but_neither_its_source_offset_nor_its_merchant() -> None:
    row = transaction(1)
    said = label(1, row, fraud=True, at_ms=NOW)
    changes = [
        {"transaction_id": "t2"},
        {"card_id": "card-2"},
        {"fraud": False},
        {"labelled_ms": NOW + 1},
        {"reported_by": "rule"},
    ]
    assert len({records.label_hash(said._replace(**change)) for change in [{}, *changes]}) == 6
    assert records.label_hash(said._replace(offset=9, partition=9, merchant_id="m")) == records.label_hash(said)
    assert records.label_hash(said) != records.transaction_hash("card-1", "t1")


def test_content_and_source_offset_are_compared_separately() -> None:
    row = transaction(1)
    rows = records.card_rows(transactions([row, {**row, "partition": 1}, {**row, "offset": 2}, {**row, "content": 3}]))
    assert [records.same_source_offset(rows[0], other) for other in rows] == [True, False, False, True]
    assert [records.same_content(rows[0], other) for other in rows] == [True, True, True, False]


def test_a_rollback_removes_drafts_and_their_times() -> None:
    history = History(1, "card-1", records.CARD_COLUMNS)
    for i, row in enumerate(rows_of(*range(20))):
        history.append(row, NOW + i)
    assert (history.end, history.newest_ms, len(history.uncommitted())) == (20, NOW + 19, 20)
    history.rollback()
    assert (history.end, history.newest_ms) == (0, records.NO_TIME_MS)


def test_a_history_with_only_labels_is_never_trimmed() -> None:
    history = History(1, "card-1", records.CARD_COLUMNS)
    for i in range(20):
        history.append(records.label_row(label(i, transaction(i), fraud=True, at_ms=NOW + i * 90 * DAY_MS)), None)
    assert history.expired_count(37 * DAY_MS) == 0


def test_a_stored_history_is_read_as_it_was_written() -> None:
    history = cached(1, 2, 3)
    again = CachedHistory(Entity.CARD, records.card_hash("card-1"), "", b"key")
    assert again.load(history.header() + history.rows.tobytes())
    assert (again.entity_id, again.base, again.committed) == ("card-1", 0, 3)
    assert (again.rows == history.rows).all()
    assert again.load(None)
    assert again.is_absent


def test_a_stored_history_of_an_unknown_format_is_refused() -> None:
    with pytest.raises(StoreRefusedError, match="format 5 is unknown; this version supports 2 to 4"):
        CachedHistory(Entity.CARD, 1, "", b"key").load(HEADER.pack(0, 5, b"card-1"))


def test_growth_and_trimming_show_no_loss_but_a_shorter_or_different_history_does() -> None:
    end, last_id = 3, cached(1, 2, 3).last_id
    grown, trimmed, shorter, other = cached(1, 2, 3, 4), cached(4, 5), cached(1, 2), cached(1, 2, 9)
    trimmed.base = 3
    assert [h.shows_loss(end, last_id) for h in (grown, trimmed, shorter, other)] == [False, False, True, True]


def test_the_cache_evicts_the_least_recently_used_history() -> None:
    entries = [cached(1, entity=i) for i in range(4)]
    cache = Cache(3 * (entries[0].nbytes + 600))
    cache.put(entries[:3])
    assert cache.get(0) is entries[0]
    cache.put(entries[3:])
    assert [cache.get(i) for i in range(4)] == [entries[0], None, entries[2], entries[3]]
    assert cache.stats == (0, 0, 1, 3 * (entries[0].nbytes + ENTRY_OVERHEAD_BYTES))
    cache.drop(2)
    cache.drop(2)
    assert len(cache) == 2


def test_a_grown_history_takes_more_of_the_cache_and_an_evicted_one_can_be_cached_again() -> None:
    first, second = cached(1, entity=1), cached(2, entity=2)
    cache = Cache(first.nbytes + second.nbytes + 2 * 600)
    cache.put([first, second])
    while not first.is_full:
        first.append(rows_of(3)[0], NOW)
    first.append(rows_of(4)[0], NOW)
    cache.put([first])
    assert (cache.get(1), cache.get(2)) == (first, None)
    cache.put([second])
    assert (cache.get(1), cache.get(2)) == (None, second)
    cache.clear(10_000)
    cache.put([second])
    assert cache.get(2) is second


def test_an_append_request_states_the_cached_end_and_carries_the_drafts() -> None:
    known, absent = cached(1, 2), CachedHistory(Entity.CARD, 2, "card-2", b"other")
    known.append(rows_of(3)[0], NOW)
    absent.append(rows_of(4)[0], NOW)
    known.refreshed_ms = 5
    ((asks, drafts, headers),) = append_requests([[known, absent]], 4)
    assert len(asks) == 2 * 20
    assert int.from_bytes(asks[:4], "little") == 80 + 72
    assert asks[4:12] == rows_of(2)[0, records.ID].tobytes()
    assert [asks[16], asks[36]] == [0, 3]
    assert drafts == rows_of(3, 4).tobytes()
    assert headers == absent.header()
    assert append_requests([[known], [absent]], 4) == [
        (asks[:20], rows_of(3).tobytes(), b""),
        (asks[20:], rows_of(4).tobytes(), absent.header()),
    ]
