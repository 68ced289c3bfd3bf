"""Going on without Redis: what is decided meanwhile is marked, waits for nobody, and is applied in order afterwards."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.declaration import DAY_MS, load
from features.errors import StoreUnavailableError
from features.history.history import History
from features.history.store import Entity, Fate, Label, LabelResult, LabelStatus, Observed, Transactions
from features.memory_store import MemoryStore, no_history
from features.vector.vectorise import vectorise
from stream.recovery.outage import DegradingStore
from support.examples import examples
from support.features.recount import Recount, Row, label, transaction, transactions
from support.features.streams import START_MS, Stream, bits, streams

FEATURES = load(None)


class Flaky:
    """A store in memory that can be away, and lets others run before it answers, as a server does.

    While `speaking` is cleared it does not even say that it is away.
    """

    def __init__(self) -> None:
        self.away = False
        self.speaking = asyncio.Event()
        self.speaking.set()
        self.asked = 0
        self._store = MemoryStore(FEATURES)

    async def _answers(self) -> MemoryStore:
        self.asked += 1
        await asyncio.sleep(0)
        await self.speaking.wait()
        if self.away:
            raise StoreUnavailableError("away")
        return self._store

    async def observe(self, batch: Transactions) -> Observed:
        return await (await self._answers()).observe(batch)

    async def label(self, labels: Sequence[Label]) -> Sequence[LabelResult]:
        return await (await self._answers()).label(labels)

    async def compact(self) -> None:
        await (await self._answers()).compact()

    def cached_copy(self, kind: Entity, entity: int) -> History | None:
        """Remember everything, as a cache that is large enough does."""
        known = self._store._histories[kind].get(entity)
        if known is None:
            return None
        copy = History(entity, known.entity_id, known.columns)
        copy.replace(known.base, known.rows)
        return copy


def a_pair(*, remembers: bool = True) -> tuple[Flaky, DegradingStore]:
    redis = Flaky()
    recall = redis.cached_copy if remembers else no_history
    return redis, DegradingStore(redis, lambda: MemoryStore(FEATURES, recall))


async def observe(store: DegradingStore, *rows: Row) -> Observed:
    return await store.observe(transactions(list(rows)))


async def test_with_redis_there_it_alone_answers() -> None:
    _, store = a_pair()
    observed = await observe(store, transaction(1))
    assert (observed.incomplete, observed.stopgap, store.degraded, store.has_pending) == (False, False, False, False)


async def test_without_redis_decisions_are_marked_and_do_not_wait_for_it() -> None:
    redis, store = a_pair()
    redis.away = True
    first = await observe(store, transaction(1))
    asked = redis.asked
    more = [await observe(store, transaction(offset)) for offset in range(2, 50)]
    assert redis.asked == asked, "it was asked on the way of a decision"
    assert all(one.incomplete and one.stopgap and one.fates == [Fate.DECIDE] for one in (first, *more))
    assert more[-1].cards.lengths.tolist() == [49]
    assert store.degraded
    assert store.has_pending


async def test_what_is_remembered_of_a_card_is_seen_and_its_retries_are_known() -> None:
    redis, store = a_pair()
    await observe(store, transaction(1), transaction(2))
    redis.away = True
    observed = await observe(store, {**transaction(1), "offset": 7}, {**transaction(2), "offset": 8, "content": 1})
    assert list(observed.fates) == [Fate.REPEATED, Fate.CONFLICT]
    assert (await observe(store, transaction(9))).cards.lengths.tolist() == [3]


async def test_a_retry_on_a_card_that_is_not_remembered_is_decided_again_and_counted_once() -> None:
    redis, store = a_pair(remembers=False)
    await observe(store, transaction(1))
    redis.away = True
    assert list((await observe(store, {**transaction(1), "offset": 7})).fates) == [Fate.DECIDE]
    redis.away = False
    await store.catch_up()
    assert (await observe(store, transaction(8))).cards.lengths.tolist() == [2]


async def test_labels_wait_until_what_came_before_them_is_applied() -> None:
    redis, store = a_pair()
    redis.away = True
    row = transaction(1)
    await observe(store, row)
    said = label(1, row, fraud=True, at_ms=row["ms"])
    redis.away = False
    with pytest.raises(StoreUnavailableError, match=r"labels wait .* on 1 decisions"):
        await store.label([said])
    await store.catch_up()
    assert (await store.label([said]))[0].status is LabelStatus.APPLIED


async def test_a_decision_in_the_middle_of_catching_up_is_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.recovery.outage._CATCH_UP_BATCH", 3)
    redis, store = a_pair()
    redis.away = True
    for offset in range(5):
        await observe(store, transaction(offset))
    redis.away = False
    catching_up = asyncio.ensure_future(store.catch_up())
    meanwhile = []
    for offset in range(5, 20):
        await asyncio.sleep(0)
        meanwhile.append(await observe(store, transaction(offset)))
    await catching_up
    assert [one.stopgap for one in meanwhile][0::14] == [True, False]
    assert [one.cards.lengths.tolist() for one in meanwhile] == [[n] for n in range(6, 21)]
    assert not store.has_pending


async def test_finding_out_whether_redis_is_back_holds_up_no_decision() -> None:
    redis, store = a_pair()
    redis.away = True
    await observe(store, transaction(1))
    redis.speaking.clear()
    asking = asyncio.ensure_future(store.catch_up())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        assert (await observe(store, transaction(2))).stopgap
    redis.speaking.set()
    with pytest.raises(StoreUnavailableError):
        await asking


async def test_one_that_goes_away_while_it_catches_up_goes_on_where_it_was() -> None:
    redis, store = a_pair()
    redis.away = True
    for offset in range(5):
        await observe(store, transaction(offset))
    with pytest.raises(StoreUnavailableError):
        await store.catch_up()
    assert store.has_pending
    redis.away = False
    await store.catch_up()
    assert (store.has_pending, store.degraded) == (False, False)
    assert (await observe(store, transaction(9))).cards.lengths.tolist() == [6]


async def test_too_much_that_waits_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.recovery.outage._MAX_PENDING", 3)
    redis, store = a_pair()
    redis.away = True
    await observe(store, *(transaction(offset) for offset in range(3)))
    with pytest.raises(StoreUnavailableError, match="3 transactions wait to be applied"):
        await observe(store, transaction(3))
    redis.away = False
    await store.catch_up()
    assert (await observe(store, transaction(3))).cards.lengths.tolist() == [4]


@given(stream=streams, outages=st.lists(st.integers(1, 6), max_size=8), remembers=st.booleans())
@settings(max_examples=examples(200), deadline=None)
def test_after_an_outage_every_feature_is_as_if_it_had_not_been(
    stream: list,
    outages: list[int],
    remembers: bool,  # noqa: FBT001 - drawn
) -> None:
    assert asyncio.run(differing(Stream(stream), outages, remembers=remembers)) == []


async def differing(stream: Stream, outages: list[int], *, remembers: bool) -> list[object]:
    """Send a stream through stretches with Redis there and away, in turn; compare what is decided while it is there."""
    redis, store = a_pair(remembers=remembers)
    recount, waiting, found = Recount(FEATURES), list[Label](), []
    away = [at % 2 == 1 for at, length in enumerate(outages) for _ in range(length)]
    for part, redis.away in zip(stream.parts, away + [False] * len(stream.parts), strict=False):
        if not redis.away:
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


def test_a_stream_long_enough_shows_merchants_and_labels_too() -> None:
    """Keep the property from passing because nothing is ever seen."""

    async def run() -> float:
        redis, store = a_pair()
        redis.away = True
        row = transaction(1, ms=START_MS)
        await observe(store, row)
        redis.away = False
        await store.catch_up()
        await store.label([label(1, row, fraud=True, at_ms=START_MS)])
        later = transaction(2, card="other", ms=START_MS + 8 * DAY_MS)
        vector = vectorise(FEATURES, transactions([later]), await observe(store, later))[0]
        return float(vector[FEATURES.names.index("merchant_fraud_share_delayed_7d")])

    assert asyncio.run(run()) == 1.0
