"""Decisions without Redis (`DegradingStore`): marked, not delayed, and applied in order once Redis is back."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.declaration import DAY_MS, load
from features.errors import StoreUnavailableError
from features.history.history import History
from features.history.store import (
    Entity,
    Fate,
    Label,
    LabelResult,
    Observed,
    Transactions,
    observe_all,
)
from features.memory_store import MemoryStore, no_history
from features.vector.vectorise import vectorise
from fraudstream_client.outputs import LabelStatus
from stream.recovery.outage import DegradingStore
from support.examples import examples
from support.features.recount import Recount, Row, label, transaction, transactions
from support.features.streams import START_MS, Stream, bits, streams

FEATURES = load("features.default_set_2")


class Flaky:
    """A store in memory that can be unavailable, and yields to other tasks before it answers, as a server does.

    While `responding` is cleared it does not answer at all, not even with an error.
    """

    def __init__(self) -> None:
        self.unavailable = False
        self.responding = asyncio.Event()
        self.responding.set()
        self.calls = 0
        self._store = MemoryStore(FEATURES)

    def lose_all(self) -> None:
        """Forget every history, as a replica does that had not received them and is a master now."""
        self._store = MemoryStore(FEATURES)

    def limit(self, most_bytes: int) -> None:
        """Cut batches beyond so many bytes from now on."""
        self._store = MemoryStore(FEATURES, most_bytes=most_bytes)

    async def _answers(self) -> MemoryStore:
        self.calls += 1
        await asyncio.sleep(0)
        await self.responding.wait()
        if self.unavailable:
            raise StoreUnavailableError("away")
        return self._store

    async def observe(self, batch: Transactions) -> Observed:
        return await (await self._answers()).observe(batch)

    async def label(self, labels: Sequence[Label]) -> Sequence[LabelResult]:
        return await (await self._answers()).label(labels)

    async def compact(self) -> None:
        await (await self._answers()).compact()

    def cached_copy(self, kind: Entity, entity: int) -> History | None:
        """Return a copy of any history, as a cache that is large enough does."""
        known = self._store._histories[kind].get(entity)
        if known is None:
            return None
        copy = History(entity, known.entity_id, known.columns)
        copy.replace(known.base, known.rows)
        return copy


def a_pair(*, cached: bool = True) -> tuple[Flaky, DegradingStore]:
    redis = Flaky()
    recall = redis.cached_copy if cached else no_history
    return redis, DegradingStore(redis, lambda: MemoryStore(FEATURES, recall))


async def observe(store: DegradingStore, *rows: Row) -> Observed:
    return await store.observe(transactions(list(rows)))


async def five_decisions_without_redis() -> tuple[Flaky, DegradingStore]:
    """Return Redis, which is still unavailable, and a store with the transactions 0 to 4 pending."""
    redis, store = a_pair()
    redis.unavailable = True
    for offset in range(5):
        await observe(store, transaction(offset))
    return redis, store


async def test_decisions_without_redis_are_marked_and_do_not_call_it() -> None:
    redis, store = a_pair()
    redis.unavailable = True
    first = await observe(store, transaction(1))
    calls = redis.calls
    more = [await observe(store, transaction(offset)) for offset in range(2, 50)]
    assert redis.calls == calls, "a decision called Redis"
    assert all(one.incomplete and one.stopgap and one.fates == [Fate.DECIDE] for one in (first, *more))
    assert more[-1].cards.lengths.tolist() == [49]
    assert store.degraded
    assert store.has_pending


async def test_decisions_without_redis_see_cached_histories_and_recognise_retries() -> None:
    redis, store = a_pair()
    await observe(store, transaction(1), transaction(2))
    redis.unavailable = True
    observed = await observe(store, {**transaction(1), "offset": 7}, {**transaction(2), "offset": 8, "content": 1})
    assert list(observed.fates) == [Fate.REPEATED, Fate.CONFLICT]
    assert (await observe(store, transaction(9))).cards.lengths.tolist() == [3]


async def test_a_retry_on_an_uncached_card_is_decided_again_and_counted_once() -> None:
    redis, store = a_pair(cached=False)
    await observe(store, transaction(1))
    redis.unavailable = True
    assert list((await observe(store, {**transaction(1), "offset": 7})).fates) == [Fate.DECIDE]
    redis.unavailable = False
    await store.catch_up()
    assert (await observe(store, transaction(8))).cards.lengths.tolist() == [2]


async def test_what_was_refused_without_redis_does_not_take_the_place_of_a_payment_that_redis_lost() -> None:
    redis, store = a_pair()
    payment = transaction(1)
    await observe(store, payment)
    redis.unavailable = True
    refused, repeated = transaction(7, id="t1", amount=1001), {**payment, "offset": 8}
    assert list((await observe(store, refused, repeated)).fates) == [Fate.CONFLICT, Fate.REPEATED]
    assert not store.has_pending, "what was not decided is not applied"
    decided, too_late = transaction(10, ms=payment["ms"] + 60 * DAY_MS), transaction(11)
    assert list((await observe(store, decided, too_late)).fates) == [Fate.DECIDE, Fate.TOO_LATE]
    redis.lose_all()
    redis.unavailable = False
    await store.catch_up()
    applied_again = await redis.observe(transactions([decided]))
    assert (list(applied_again.fates), applied_again.cards.lengths.tolist()) == ([Fate.DECIDE], [1])


async def test_batches_that_are_cut_without_redis_are_applied_whole_once_it_is_back() -> None:
    redis = Flaky()
    redis.limit(1)
    store = DegradingStore(redis, lambda: MemoryStore(FEATURES, most_bytes=1))
    redis.unavailable = True
    rows = [transaction(offset) for offset in range(6)]
    seen = [one async for _, one in observe_all(store, transactions(rows))]
    assert [(len(one.fates), one.cards.lengths.tolist(), one.stopgap) for one in seen] == [
        (1, [length], True) for length in range(1, 7)
    ]
    redis.unavailable = False
    await store.catch_up()
    assert not store.has_pending
    assert (await observe(store, transaction(8))).cards.lengths.tolist() == [7]


async def test_labels_are_refused_until_pending_transactions_are_applied() -> None:
    redis, store = a_pair()
    redis.unavailable = True
    row = transaction(1)
    await observe(store, row)
    said = label(1, row, fraud=True, at_ms=row["ms"])
    redis.unavailable = False
    with pytest.raises(StoreUnavailableError, match=r"labels wait .* on 1 decisions"):
        await store.label([said])
    await store.catch_up()
    assert (await store.label([said]))[0].status is LabelStatus.APPLIED


async def test_decisions_made_while_the_store_catches_up_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.recovery.outage._CATCH_UP_BATCH", 3)
    redis, store = await five_decisions_without_redis()
    redis.unavailable = False
    catching_up = asyncio.ensure_future(store.catch_up())
    meanwhile = []
    for offset in range(5, 20):
        await asyncio.sleep(0)
        meanwhile.append(await observe(store, transaction(offset)))
    await catching_up
    assert [one.stopgap for one in meanwhile][0::14] == [True, False]
    assert [one.cards.lengths.tolist() for one in meanwhile] == [[n] for n in range(6, 21)]
    assert not store.has_pending


async def test_probing_whether_redis_is_back_delays_no_decision() -> None:
    redis, store = a_pair()
    redis.unavailable = True
    await observe(store, transaction(1))
    redis.responding.clear()
    asking = asyncio.ensure_future(store.catch_up())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        assert (await observe(store, transaction(2))).stopgap
    redis.responding.set()
    with pytest.raises(StoreUnavailableError):
        await asking


async def test_a_failed_catch_up_keeps_its_pending_transactions_for_the_next() -> None:
    redis, store = await five_decisions_without_redis()
    with pytest.raises(StoreUnavailableError):
        await store.catch_up()
    assert store.has_pending
    redis.unavailable = False
    await store.catch_up()
    assert (store.has_pending, store.degraded) == (False, False)
    assert (await observe(store, transaction(9))).cards.lengths.tolist() == [6]


@pytest.mark.parametrize("is_applied", [False, True])
async def test_a_catch_up_that_fails_partway_applies_every_transaction_once(
    is_applied: bool,  # noqa: FBT001 - a parameter
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second of three calls fails: Redis did not receive it, or applied it and its answer was lost."""
    monkeypatch.setattr("stream.recovery.outage._CATCH_UP_BATCH", 2)
    redis, store = await five_decisions_without_redis()
    redis.unavailable = False
    apply, sent = redis.observe, list[list[int]]()

    async def apply_except_the_second(batch: Transactions) -> Observed:
        sent.append(batch.offset.tolist())
        observed = await apply(batch) if is_applied or len(sent) != 2 else None
        if observed is None or len(sent) == 2:
            raise StoreUnavailableError("away again")
        return observed

    monkeypatch.setattr(redis, "observe", apply_except_the_second)
    with pytest.raises(StoreUnavailableError, match="away again"):
        await store.catch_up()
    assert (await observe(store, transaction(5))).stopgap
    with pytest.raises(StoreUnavailableError, match="on 4 decisions"):
        await store.label([label(1, transaction(0), fraud=True, at_ms=START_MS)])
    await store.catch_up()
    assert sent == [[0, 1], [2, 3], [2, 3], [4, 5]]
    assert (store.has_pending, store.degraded) == (False, False)
    assert (await observe(store, transaction(9))).cards.lengths.tolist() == [7]


async def test_transactions_beyond_the_pending_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.recovery.outage._MAX_PENDING", 3)
    redis, store = a_pair()
    redis.unavailable = True
    await observe(store, *(transaction(offset) for offset in range(3)))
    with pytest.raises(StoreUnavailableError, match="3 transactions wait to be applied"):
        await observe(store, transaction(3))
    redis.unavailable = False
    await store.catch_up()
    assert (await observe(store, transaction(3))).cards.lengths.tolist() == [4]


@given(stream=streams, outages=st.lists(st.integers(1, 6), max_size=8), cached=st.booleans())
@settings(max_examples=examples(80), deadline=None)
def test_features_after_outages_equal_a_recount_without_outages(
    stream: list,
    outages: list[int],
    cached: bool,  # noqa: FBT001 - drawn
) -> None:
    assert asyncio.run(differing(Stream(stream), outages, cached=cached)) == []


async def differing(stream: Stream, outages: list[int], *, cached: bool) -> list[object]:
    """Decide a stream with and without Redis in turn; return the rows that Redis decided differently from a recount."""
    redis, store = a_pair(cached=cached)
    recount, waiting, found = Recount(FEATURES), list[Label](), []
    unavailable = [at % 2 == 1 for at, length in enumerate(outages) for _ in range(length)]
    for part, redis.unavailable in zip(stream.parts, unavailable + [False] * len(stream.parts), strict=False):
        if not redis.unavailable:
            await store.catch_up()
            for said in waiting:
                await store.label([said])
                recount.label(said)
            waiting.clear()
        if isinstance(part, Label):
            waiting.append(part)
        elif part is not None:
            batch = transactions(part)
            observed = await store.observe(batch)
            vectors = vectorise(FEATURES, batch, observed).tolist()
            for row, fate, vector in zip(part, observed.fates, vectors, strict=True):
                expected = recount.observe(row)
                seen = (fate, bits(vector if fate is Fate.DECIDE else []))
                if not observed.stopgap and seen != (expected[0], bits(expected[1])):
                    found.append((row, seen, expected))
    return found


def test_a_label_after_an_outage_counts_in_a_later_feature_of_the_merchant() -> None:
    """Ensure that the property above does not hold merely because nothing is visible."""

    async def run() -> float:
        redis, store = a_pair()
        redis.unavailable = True
        row = transaction(1, ms=START_MS)
        await observe(store, row)
        redis.unavailable = False
        await store.catch_up()
        await store.label([label(1, row, fraud=True, at_ms=START_MS)])
        later = transaction(2, card="other", ms=START_MS + 8 * DAY_MS)
        vector = vectorise(FEATURES, transactions([later]), await observe(store, later))[0]
        return float(vector[FEATURES.names.index("merchant_fraud_share_delayed_7d")])

    assert asyncio.run(run()) == 1.0
