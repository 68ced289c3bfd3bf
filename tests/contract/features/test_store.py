"""The contract of `features.history.store`, tested on every store and every available server version.

The stores: in memory, on Redis, on a Redis Cluster, and two workers that share a Redis or a Redis Cluster.
"""

import asyncio
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.declaration import DAY_MS, FeatureSet
from features.default_set_2 import FEATURES
from features.history import append, records
from features.history.store import NOWHERE, Entity, Fate, HistoryStore, Observed
from features.memory_store import MemoryStore
from features.redis import session
from features.redis.store import StoreOptions
from features.rows import device
from features.vector.vectorise import vectorise
from fraudstream_client.outputs import LabelStatus
from support.examples import examples
from support.features.recount import Row, label, transaction, transactions
from support.features.stores import DEFAULT, STORES, Servers, opened
from support.features.streams import START_MS, Stream, bits, outcomes, recounted, streams

WITH_DEVICES = FeatureSet(
    (
        *FEATURES,
        device("cards", "30d"),
        device("card_first", "7d"),
        device("fraud_share", "7d", delay="1d"),
    )
)


LIMITS = (1, 200, 1_000, 100_000)
"""Bytes: less than one record, of some records, of some histories, of all."""
CACHES = (1, 512 << 20)
LONG = (1, 3, append.LONG)
"""Rows from which the transactions of a batch share a history: all, some, none."""
LIMITED = [one for one in STORES if one.values[0] in {"redis", "two workers", "cluster"}]


async def observe(pick: Callable[[], HistoryStore], *rows: Row) -> Observed:
    return await pick().observe(transactions(list(rows)))


def value(name: str, observed: Observed, *rows: Row) -> list[float]:
    return vectorise(DEFAULT, transactions(list(rows)), observed)[:, DEFAULT.names.index(name)].tolist()


@given(stream=streams)
@settings(max_examples=examples(150), deadline=None)
def test_the_memory_store_equals_a_recount_of_the_whole_log(stream: list) -> None:
    async def told() -> list:
        store = MemoryStore(WITH_DEVICES)
        return await outcomes(Stream(stream), WITH_DEVICES, lambda: store)

    assert asyncio.run(told()) == recounted(Stream(stream), WITH_DEVICES)


@pytest.mark.parametrize("kind", STORES[1:])
@given(stream=streams)
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_redis_store_equals_a_recount_of_the_whole_log(servers: Servers, kind: str, stream: list) -> None:
    async def told() -> list:
        async with opened(kind, servers, WITH_DEVICES) as pick:
            return await outcomes(Stream(stream), WITH_DEVICES, pick)

    assert asyncio.run(told()) == recounted(Stream(stream), WITH_DEVICES)


@given(stream=streams, limit=st.sampled_from(LIMITS), long=st.sampled_from(LONG))
@settings(max_examples=examples(150), deadline=None)
def test_batches_that_are_cut_by_what_they_see_equal_a_recount(stream: list, limit: int, long: int) -> None:
    async def told() -> list:
        store = MemoryStore(WITH_DEVICES, most_bytes=limit)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(append, "LONG", long)
            return await outcomes(Stream(stream), WITH_DEVICES, lambda: store)

    assert asyncio.run(told()) == recounted(Stream(stream), WITH_DEVICES)


@pytest.mark.parametrize("kind", LIMITED)
@given(stream=streams, sizes=st.tuples(st.sampled_from(LIMITS), st.sampled_from(LONG), st.sampled_from(CACHES)))
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_batches_that_are_cut_as_their_histories_are_fetched_equal_a_recount(
    servers: Servers, kind: str, stream: list, sizes: tuple[int, int, int]
) -> None:
    limit, long, cache = sizes
    options = StoreOptions(batch_bytes=limit, cache_bytes=cache)

    async def told() -> list:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(append, "LONG", long)
            patch.setattr(session, "HEAD_BYTES", 200)
            patch.setattr(session, "FETCHED_TOGETHER", 2)
            async with opened(kind, servers, WITH_DEVICES, options=options) as pick:
                return await outcomes(Stream(stream), WITH_DEVICES, pick)

    assert asyncio.run(told()) == recounted(Stream(stream), WITH_DEVICES)


@pytest.mark.parametrize("kind", STORES)
async def test_a_device_that_a_transaction_names_has_its_own_history(servers: Servers, kind: str) -> None:
    async with opened(kind, servers, WITH_DEVICES) as pick:
        rows = [
            transaction(1, card="a", device="phone"),
            transaction(2, card="b", device="phone"),
            transaction(3, card="b"),
        ]
        observed = await observe(pick, *rows)
        assert observed.histories[Entity.DEVICE].positions.tolist() == [0, 1, NOWHERE]
        cards = vectorise(WITH_DEVICES, transactions(rows), observed)[:, WITH_DEVICES.names.index("device_cards_30d")]
        assert bits(cards.tolist()) == bits([1.0, 2.0, math.nan])


async def test_a_feature_set_without_device_features_keeps_no_device_histories(pick: Callable) -> None:
    observed = await observe(pick, transaction(1, device="phone"))
    assert set(observed.histories) == {Entity.CARD, Entity.MERCHANT}


async def test_a_first_transaction_is_decided_and_sees_only_itself(pick: Callable) -> None:
    row = transaction(1)
    observed = await observe(pick, row)
    assert list(observed.fates) == [Fate.DECIDE]
    assert observed.cards.lengths.tolist() == observed.merchants.lengths.tolist() == [1]
    assert observed.cards.positions.tolist() == observed.merchants.positions.tolist() == [0]
    assert observed.cards.rows[0, records.TIME] == row["ms"]
    assert not observed.incomplete


async def test_an_empty_batch_returns_an_empty_reply(pick: Callable) -> None:
    observed = await observe(pick)
    assert (len(observed.fates), observed.cards.rows.shape, observed.merchants.rows.shape) == (0, (0, 9), (0, 6))
    assert vectorise(DEFAULT, transactions([]), observed).shape == (0, len(DEFAULT))
    assert list(await pick().label([])) == []


async def test_trap_1_a_redelivery_of_known_records_is_appended_once(pick: Callable) -> None:
    rows = [transaction(1), transaction(2)]
    first = await observe(pick, *rows)
    again = await observe(pick, *rows)
    assert list(again.fates) == [Fate.DECIDE, Fate.DECIDE]
    assert (again.cards.rows == first.cards.rows).all()
    assert (again.merchants.rows == first.merchants.rows).all()
    assert again.cards.positions.tolist() == [0, 1]
    assert (await observe(pick, transaction(3))).cards.positions.tolist() == [2]


async def test_a_history_holds_what_was_appended_from_the_very_offset_whoever_appended_it(pick: Callable) -> None:
    mine, new = transaction(1), transaction(2)
    assert list(await pick().holds(transactions([mine, new]))) == [False, False]
    await observe(pick, mine)
    elsewhere = [{**mine, "offset": 7}, {**mine, "partition": 3}, {**mine, "card": "other"}]
    assert list(await pick().holds(transactions([mine, new, *elsewhere]))) == [True, False, False, False, False]
    assert list(await pick().holds(transactions([]))) == []


async def test_trap_2_a_transaction_twice_in_one_batch_is_appended_once(pick: Callable) -> None:
    row = transaction(1)
    observed = await observe(pick, row, row, {**row, "offset": 2}, transaction(3))
    assert list(observed.fates) == [Fate.DECIDE, Fate.DECIDE, Fate.REPEATED, Fate.DECIDE]
    assert observed.cards.positions.tolist()[3] == observed.merchants.positions.tolist()[3] == 1


async def test_trap_3_a_redelivery_after_appends_by_other_cards_is_appended_once(pick: Callable) -> None:
    mine = transaction(1, card="a")
    await observe(pick, mine)
    for offset in range(2, 6):
        await observe(pick, transaction(offset, card="b"))
    again = await observe(pick, mine, transaction(7, card="a"))
    assert again.merchants.positions.tolist() == [0, 5]
    assert again.merchants.lengths.tolist() == [1, 6]


async def test_trap_6_a_label_that_arrives_first_is_not_mistaken_for_its_transaction(pick: Callable) -> None:
    row = transaction(1)
    early = label(1, row, fraud=True, at_ms=row["ms"] + 5)
    (answer,) = await pick().label([early])
    assert answer == (LabelStatus.UNKNOWN_TRANSACTION, None, None, answer.history_epoch, 0, None)
    observed = await observe(pick, row)
    assert list(observed.fates) == [Fate.DECIDE]
    assert observed.cards.lengths.tolist() == [2]
    assert observed.merchants.lengths.tolist() == [1]
    later = transaction(2, ms=row["ms"] + 8 * DAY_MS)
    observed = await observe(pick, later)
    assert observed.merchants.positions.tolist() == [2]
    assert value("merchant_fraud_share_delayed_7d", observed, later) == [1.0]


async def test_a_transaction_sent_again_is_repeated_and_not_counted(pick: Callable) -> None:
    row = transaction(1)
    await observe(pick, row)
    again = await observe(pick, {**row, "offset": 9}, {**row, "offset": 0}, {**row, "partition": 3})
    assert list(again.fates) == [Fate.REPEATED] * 3
    assert again.cards.lengths.tolist() == again.merchants.lengths.tolist() == [1, 1, 1]
    assert (await observe(pick, transaction(2))).merchants.lengths.tolist() == [2]


async def test_a_transaction_sent_again_with_other_content_is_a_conflict_and_not_counted(pick: Callable) -> None:
    row = transaction(1)
    await observe(pick, row)
    other = {**row, "offset": 9, "amount": 5, "content": 5, "merchant": "shop-2"}
    assert list((await observe(pick, other)).fates) == [Fate.CONFLICT]
    assert (await observe(pick, transaction(10, merchant="shop-2"))).merchants.lengths.tolist() == [1]


async def test_a_transaction_as_old_as_the_horizon_is_too_late_and_not_counted(pick: Callable) -> None:
    newest = transaction(1)
    await observe(pick, newest)
    edge = newest["ms"] - 37 * DAY_MS
    observed = await observe(pick, transaction(2, ms=edge), transaction(3, ms=edge + 1))
    assert list(observed.fates) == [Fate.TOO_LATE, Fate.DECIDE]
    assert observed.cards.positions.tolist()[1] == observed.merchants.positions.tolist()[1] == 1


async def test_a_label_finds_a_merchant_that_another_worker_began_after_a_payment_there_was_too_late(
    pick: Callable,
) -> None:
    newest = transaction(1)
    late = transaction(2, ms=newest["ms"] - 37 * DAY_MS, merchant="shop-2")
    assert list((await observe(pick, newest, late)).fates) == [Fate.DECIDE, Fate.TOO_LATE]
    begun = transaction(3, ms=newest["ms"], merchant="shop-2")
    await observe(pick, begun)
    (answer,) = await pick().label([label(1, begun, fraud=True, at_ms=newest["ms"])])
    assert (answer.status, answer.merchant_position) == (LabelStatus.APPLIED, 1)
    later = transaction(4, ms=newest["ms"] + 8 * DAY_MS, merchant="shop-2")
    assert value("merchant_fraud_share_delayed_7d", await observe(pick, later), later) == [1.0]


async def test_a_transaction_id_is_not_recognised_beyond_the_horizon(pick: Callable) -> None:
    row = transaction(1)
    later = {**row, "ms": row["ms"] + 37 * DAY_MS, "offset": 4, "content": 1}
    await observe(pick, row, transaction(3, ms=later["ms"]))
    assert list((await observe(pick, later)).fates) == [Fate.DECIDE]


async def test_a_merchants_transaction_far_ahead_hides_older_records_except_the_own_one(pick: Callable) -> None:
    now = transaction(1)["ms"]
    await observe(pick, transaction(1, card="a"), transaction(2, card="b", ms=now + 44 * DAY_MS))
    late = transaction(3, card="c", ms=now)
    observed = await observe(pick, late)
    assert observed.merchants.lengths.tolist() == [2]
    assert observed.merchants.rows[:, records.TIME].tolist() == [now + 44 * DAY_MS, now]


@pytest.mark.parametrize(("verdicts", "share"), [((False, True), 1.0), ((True, False), 0.0)])
async def test_of_two_labels_with_the_same_time_the_later_one_counts(
    pick: Callable, verdicts: tuple[bool, bool], share: float
) -> None:
    row = transaction(1)
    await observe(pick, row)
    said = [label(offset, row, fraud=fraud, at_ms=row["ms"]) for offset, fraud in enumerate(verdicts)]
    await pick().label(said)
    later = transaction(9, ms=row["ms"] + 8 * DAY_MS - 1)
    assert value("merchant_fraud_share_delayed_7d", await observe(pick, later), later) == [share]


async def test_cards_with_confusable_ids_are_kept_apart(pick: Callable) -> None:
    rows = [transaction(1, card="a", id="bc"), transaction(2, card="ab", id="c"), transaction(3, card="1:a", id="x")]
    assert list((await observe(pick, *rows)).fates) == [Fate.DECIDE] * 3
    assert len(set(records.card_rows(transactions(rows))[:, records.ID].tolist())) == 3


async def test_a_card_and_a_merchant_with_the_same_id_are_two_entities(pick: Callable) -> None:
    observed = await observe(pick, transaction(1, card="same", merchant="same"))
    assert observed.cards.lengths.tolist() == observed.merchants.lengths.tolist() == [1]


async def test_labels_are_applied_corrected_stale_and_repeated(pick: Callable) -> None:
    row = transaction(1)
    await observe(pick, row)
    now = row["ms"]
    sent = [(1, True, 50), (2, True, 60), (3, False, 70), (4, True, 65), (5, True, 70), (6, True, 50)]
    labels = [label(offset, row, fraud=fraud, at_ms=now + at) for offset, fraud, at in sent]
    answers = [(await pick().label([said]))[0] for said in labels]
    expected = [
        LabelStatus.APPLIED,
        LabelStatus.APPLIED,
        LabelStatus.CORRECTED,
        LabelStatus.STALE,
        LabelStatus.CORRECTED,
        LabelStatus.REPEATED,
    ]
    assert [answer.status for answer in answers] == expected
    assert [answer.card_position for answer in answers] == [1, 2, 3, 4, 5, 1]
    assert [answer.merchant_position for answer in answers] == [1, 2, 3, 4, 5, 1]
    assert {(answer.merchant_id, answer.occurred_ms) for answer in answers} == {(row["merchant"], now)}
    redelivered = [(await pick().label([said]))[0] for said in labels]
    assert redelivered == answers
    at_once = await pick().label(labels)
    assert list(at_once) == answers


async def test_several_labels_of_one_card_in_one_call_keep_their_order(pick: Callable) -> None:
    rows = [transaction(1), transaction(2)]
    await observe(pick, *rows)
    now = rows[0]["ms"]
    sent = [label(1, rows[0], fraud=True, at_ms=now), label(2, rows[0], fraud=False, at_ms=now)]
    sent += [label(3, rows[1], fraud=False, at_ms=now), label(4, {"id": "none", "card": "card-1"}, fraud=True, at_ms=1)]
    answers = await pick().label(sent)
    assert [a.status.value for a in answers] == ["applied", "corrected", "applied", "unknown_transaction"]
    assert [a.card_position for a in answers] == [2, 3, 4, 5]


async def test_a_label_of_an_unknown_transaction_returns_the_merchant_and_time_that_it_states(pick: Callable) -> None:
    said = label(1, transaction(1), fraud=True, at_ms=5, merchant_id="shop-9", occurred_ms=3)
    (answer,) = await pick().label([said])
    assert (answer.status, answer.merchant_id, answer.occurred_ms) == (LabelStatus.UNKNOWN_TRANSACTION, "shop-9", 3)


async def test_positions_keep_growing_when_a_history_is_trimmed(pick: Callable) -> None:
    for day in range(80):
        row = transaction(day, ms=START_MS + day * DAY_MS)
        observed = await observe(pick, row)
        await pick().compact()
        assert observed.cards.positions.tolist() == observed.merchants.positions.tolist() == [day]
    assert observed.cards.lengths.tolist() == [37]
    assert observed.merchants.lengths.tolist() == [44]
    assert value("card_count_30d", observed, row) == [30.0]


@pytest.mark.parametrize("kind", STORES)
async def test_vector_bits_depend_neither_on_batch_size_nor_on_trimming(kind: str, servers: Servers) -> None:
    rng = np.random.default_rng(7)
    rows = [
        transaction(
            i,
            card=f"c{rng.integers(3)}",
            merchant=f"m{rng.integers(2)}",
            ms=START_MS + i * DAY_MS // 6 - int(rng.integers(0, 3 * DAY_MS)),
            amount=int(rng.integers(0, 10**7)),
        )
        for i in range(600)
    ]
    told = []
    for size, tidies in ((1, True), (7, True), (600, False)):
        async with opened(kind, servers, DEFAULT) as pick:
            vectors = []
            for start in range(0, len(rows), size):
                part = transactions(rows[start : start + size])
                vectors.append(vectorise(DEFAULT, part, await pick().observe(part)))
                if tidies:
                    await pick().compact()
            told.append(np.concatenate(vectors).tobytes())
    assert told[0] == told[1] == told[2]


def test_a_custom_feature_set_computes_its_own_columns() -> None:
    own = FeatureSet(FEATURES[3:6])
    row = transaction(1)
    observed = MemoryStore(own).observe_now(transactions([row]))
    assert vectorise(own, transactions([row]), observed).tolist() == [[1.0, 1.0, 10.0]]
