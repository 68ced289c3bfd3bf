"""What Redis keeps of an erased card, whoever appended it, and how labels still reach its merchants."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import numpy as np
import pytest
import redis.asyncio as redis_asyncio

from features.declaration import FeatureSet, load
from features.history import records
from features.history.erasure import are_to_reduce
from features.history.store import Entity, Fate, Ints, Prediction
from features.redis.cache import HEADER
from features.redis.keys import KeyLayout
from features.redis.labels import Originals, Place
from features.redis.store import DEFAULT as UNLIMITED
from features.redis.store import RedisStore, StoreOptions
from features.rows import card, prediction
from support.features.erasures import erasure_of, joined
from support.features.recount import Row, label, transaction, transactions

pytestmark = pytest.mark.integration

DEFAULT = load(None)
NOW = 1_700_000_000_000


@asynccontextmanager
async def store(
    server: str, deployment: str, sets: FeatureSet = DEFAULT, options: StoreOptions = UNLIMITED
) -> AsyncIterator[RedisStore]:
    opened = RedisStore(server, deployment, sets, lambda: NOW, options)
    try:
        await opened.connect()
        yield opened
    finally:
        await opened.close()


async def stored(client: redis_asyncio.Redis, deployment: str, kind: Entity = Entity.CARD) -> Ints:
    """Return the rows of the card's history, or of its predictions, as Redis has them."""
    key = KeyLayout("fraudstream:", deployment, 1).key(kind, records.card_hash("card-1"))
    value = await client.get(key)
    return np.frombuffer(value[HEADER.size :], records.STORED).reshape(-1, records.COLUMNS[kind])


async def pay(one: RedisStore, *offsets: int) -> None:
    """Observe payments of the card."""
    await one.observe(transactions([transaction(offset) for offset in offsets]))


async def test_redis_keeps_id_place_and_day_from_the_same_call_on(
    server: str, client: redis_asyncio.Redis, deployment: str
) -> None:
    async with store(server, deployment) as one:
        await pay(one, 0, 1, 2)
        await one.observe(erasure_of(3, NOW + 1500))
        rows = await stored(client, deployment)
        assert not are_to_reduce(rows, NOW + 1500).any()
        assert rows[:, records.OFFSET].tolist() == [0, 1, 2, 3]
        assert rows[:2, records.AMOUNT].tolist() == [0, 0]
        assert rows[2, records.AMOUNT] == 1000


async def test_a_late_payment_and_a_label_are_reduced_as_they_come(
    server: str, client: redis_asyncio.Redis, deployment: str
) -> None:
    async with store(server, deployment) as one:
        await pay(one, 0)
        await one.observe(
            joined(transactions([transaction(1)]), erasure_of(2, NOW + 5000), transactions([transaction(3)]))
        )
        await one.label([label(0, transaction(1), True, NOW + 9000)])  # noqa: FBT003 - the verdict
        await pay(one, 4)
        rows = await stored(client, deployment)
        assert len(rows) == 6
        assert not are_to_reduce(rows, NOW + 5000).any()
        assert not rows[:, records.AMOUNT][records.exponents(rows[:, records.FLAGS]) == 2].any()


async def test_a_worker_that_had_the_card_before_sees_and_writes_nothing_of_it(
    server: str, client: redis_asyncio.Redis, deployment: str
) -> None:
    async with store(server, deployment) as first, store(server, deployment) as second:
        await pay(first, 0, 1)
        await second.observe(erasure_of(2, NOW + 1500))
        seen = await first.observe(transactions([transaction(3)]))
        assert seen.cards.rows[:, records.OFFSET].tolist() == [3]
        assert seen.cards.positions.tolist() == [3]
        await first.compact()
        assert not are_to_reduce(await stored(client, deployment), NOW + 1500).any()


async def test_what_a_worker_left_undone_is_done_when_the_erasure_is_read_again(
    server: str, client: redis_asyncio.Redis, deployment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with store(server, deployment) as one:
        await pay(one, 0)
        with monkeypatch.context() as patch:
            patch.setattr("features.redis.session.HistorySession.reduce_erased", _done)
            await one.observe(erasure_of(1, NOW + 500))
        assert are_to_reduce(await stored(client, deployment), NOW + 500).any()
    async with store(server, deployment) as another:
        assert (await another.observe(erasure_of(1, NOW + 500))).fates == [Fate.ERASURE]
        assert not are_to_reduce(await stored(client, deployment), NOW + 500).any()


async def _done(*_: object) -> bool:
    return True


async def test_the_label_of_an_erased_payment_reaches_its_merchant_by_the_original(
    server: str, deployment: str
) -> None:
    asked: list[Place] = []

    async def originals(places: Collection[Place]) -> Originals:
        asked.extend(places)
        return {place: records.card_rows(transactions([transaction(place.offset)]))[0] for place in places}

    async with store(server, deployment, options=UNLIMITED._replace(originals=originals)) as one:
        await pay(one, 0, 1)
        await one.observe(erasure_of(2, NOW + 5000))
        (result,) = await one.label([label(0, transaction(1), True, NOW + 9000)])  # noqa: FBT003 - the verdict
        assert asked == [Place(0, 1)]
        assert (result.merchant_id, result.occurred_ms) == ("shop-1", transaction(1)["ms"])
        assert result.merchant_position == 2


@pytest.mark.parametrize("found", [None, transaction(7)])
async def test_a_label_whose_original_is_gone_or_another_reaches_its_card_alone(
    server: str, deployment: str, found: Row | None
) -> None:
    async def originals(places: Collection[Place]) -> Originals:
        return dict.fromkeys(places, None if found is None else records.card_rows(transactions([found]))[0])

    async with store(server, deployment, options=UNLIMITED._replace(originals=originals)) as one:
        await pay(one, 0)
        await one.observe(erasure_of(2, NOW + 5000))
        (result,) = await one.label([label(0, transaction(0), True, NOW + 9000)])  # noqa: FBT003 - the verdict
        assert (result.merchant_id, result.merchant_position) == (None, None)


async def test_predictions_are_reduced_with_the_card(server: str, client: redis_asyncio.Redis, deployment: str) -> None:
    sets = FeatureSet((card("count", "1h"), prediction("churn", "1h", "30d")))
    async with store(server, deployment, sets) as one:
        for offset, computed_ms in enumerate((NOW, NOW + 2000)):
            await one.predict([Prediction("card-1", "churn", 0.25, computed_ms, computed_ms, 0, offset)])
        await one.observe(erasure_of(0, NOW + 1000))
        erased, kept = await stored(client, deployment, Entity.PREDICTION)
        assert not erased[[records.AMOUNT, records.OTHER]].any()
        assert kept[records.AMOUNT] == records.value_bits(0.25)
