"""Keys that hold no history: each is begun anew, told of and listed, and nothing else is affected."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis as sync_redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.declaration import load
from features.errors import HistoryDamagedError
from features.history.records import card_hash, merchant_hash
from features.history.store import Entity, Fate
from features.redis.cache import HEADER
from features.redis.keys import CLUSTER_SHARDS, SINGLE_SERVER_SHARDS, KeyLayout
from features.redis.progress import LogPart
from features.redis.urls import is_cluster, seeds
from features.redis.wholeness import read_wholeness
from features.vector.vectorise import vectorise
from fraudstream_client.outputs import LabelStatus
from support.examples import examples
from support.features.recount import label, transaction, transactions
from support.features.stores import worker
from support.redis.cluster import redis_cluster
from support.redis.server import redis_server

pytestmark = pytest.mark.integration

DEFAULT = load(None)
DEPLOYMENTS = itertools.count()
NOW = 1_700_000_000_000
ROWS = [transaction(number, card=f"c{number % 5}", merchant=f"m{number % 2}") for number in range(1, 21)]
WEEK_MS = 7 * 86_400_000
Damage = Callable[[Any, bytes], None]


def overwrite_with(value: bytes) -> Damage:
    return lambda client, key: client.set(key, value)


def make_a_list(client: Any, key: bytes) -> None:
    client.delete(key)
    client.rpush(key, "x")


def append_garbage(client: Any, key: bytes) -> None:
    client.append(key, b"x" * 11)


def append_a_row_of_garbage(client: Any, key: bytes) -> None:
    client.append(key, b"\xff" * (72 if b":c:" in key else 48))


DAMAGES: dict[str, Damage] = {
    "text": overwrite_with(b"hello"),
    "empty": overwrite_with(b""),
    "a header of nonsense": overwrite_with(b"\xee" * HEADER.size),
    "another card's header": overwrite_with(HEADER.pack(0, 2, b"somebody")),
    "a list": make_a_list,
    "garbage behind it": append_garbage,
    "an impossible record behind it": append_a_row_of_garbage,
}


@pytest.fixture(scope="module")
def one_server() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with redis_cluster(replicas=False) as opened:
        yield opened.url


@pytest.fixture(params=["one_server", "cluster"])
def server(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def client_of(url: str) -> Any:
    if not is_cluster(url):
        return sync_redis.Redis.from_url(url)
    return sync_redis.RedisCluster(host=seeds(url)[0].host, port=seeds(url)[0].port)


def layout_of(url: str, deployment: str) -> KeyLayout:
    return KeyLayout("fraudstream:", deployment, CLUSTER_SHARDS if is_cluster(url) else SINGLE_SERVER_SHARDS)


def card_key(url: str, deployment: str, card: str) -> bytes:
    return layout_of(url, deployment).key(Entity.CARD, card_hash(card))


def merchant_key(url: str, deployment: str, merchant: str) -> bytes:
    return layout_of(url, deployment).key(Entity.MERCHANT, merchant_hash(merchant))


@pytest.mark.parametrize("remembered", [True, False], ids=["cached", "not cached"])
@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_card_or_merchant_is_begun_anew_and_the_others_of_the_batch_are_complete(
    server: str, deployment: str, damage: str, *, remembered: bool
) -> None:
    async with worker(server, deployment) as first, worker(server, deployment) as second:
        await first.observe(transactions(ROWS))
        store = first if remembered else second
        epoch = store.history_epoch
        card, merchant = card_key(server, deployment, "c1"), merchant_key(server, deployment, "m0")
        with client_of(server) as client:
            DAMAGES[damage](client, card)
            DAMAGES[damage](client, merchant)
            batch = transactions(
                [
                    transaction(31, card="c1", merchant="m1"),
                    transaction(32, card="c2", merchant="m1"),
                    transaction(33, card="c3", merchant="m0"),
                ]
            )
            observed = await store.observe(batch)
            assert list(observed.fates) == [Fate.DECIDE] * 3
            assert observed.damaged == {0: card.decode(), 2: merchant.decode()}
            assert (store.history_epoch, observed.incomplete) == (epoch, False)
            counts = dict(zip(DEFAULT.names, vectorise(DEFAULT, batch, observed)[1].tolist(), strict=True))
            assert counts["card_count_30d"] == 5
            again = await second.observe(batch)
            assert set(again.damaged) == {0, 2}
            assert again.cards.positions.tolist() == observed.cards.positions.tolist()
            assert {one.key for one in await second.damaged.read()} == {card, merchant}


async def test_labels_of_a_damaged_card_are_named_and_the_others_are_applied_without_them(
    server: str, deployment: str
) -> None:
    async with worker(server, deployment) as store:
        await store.observe(transactions(ROWS))
        key = card_key(server, deployment, "c1")
        with client_of(server) as client:
            make_a_list(client, key)
        said = [label(number, row, fraud=True, at_ms=NOW) for number, row in enumerate(ROWS[:6])]
        with pytest.raises(HistoryDamagedError, match="1 histories were damaged") as refused:
            await store.label(said)
        assert refused.value.places == {0, 5}
        assert refused.value.keys == {key.decode()}
        done = await store.label(said[1:5])
        assert [one.status for one in done] == [LabelStatus.APPLIED] * 4
        await store.apply_labels(said)
        assert [one.status for one in await store.label(said[1:5])] == [LabelStatus.APPLIED] * 4


async def test_a_label_about_a_payment_at_a_damaged_merchant_is_applied(server: str, deployment: str) -> None:
    async with worker(server, deployment) as first, worker(server, deployment) as second:
        await first.observe(transactions(ROWS))
        key = merchant_key(server, deployment, "m1")
        with client_of(server) as client:
            make_a_list(client, key)
        for store in (first, second):
            (done,) = await store.label([label(1, ROWS[0], fraud=True, at_ms=NOW)])
            assert done.status is LabelStatus.APPLIED


async def damaged_seen_from_outside(server: str, deployment: str) -> int:
    found = await read_wholeness(server, deployment)
    assert found is not None
    return found.damaged


async def test_a_history_is_whole_once_it_is_mended_unless_it_was_damaged_again(server: str, deployment: str) -> None:
    async with worker(server, deployment) as store, worker(server, deployment) as other:
        await store.observe(transactions(ROWS))
        with client_of(server) as client:
            make_a_list(client, card_key(server, deployment, "c1"))
        batch = transactions([transaction(31, card="c1")])
        before = await store.observe(batch)
        (found,) = await other.damaged.read()
        assert before.cards.positions[0] >= NOW // 1000, "the positions are not above all earlier ones"
        assert not await other.damaged.mend(found._replace(since_ms=found.since_ms + 1))
        assert await damaged_seen_from_outside(server, deployment) == 1
        await other.apply(transactions(ROWS))
        await other.repair_progress.add_displaced(other.history_epoch, {LogPart(of_labels=False, partition=0): 40}, NOW)
        assert await other.damaged.mend(found)
        assert await other.damaged.read() == []
        assert await damaged_seen_from_outside(server, deployment) == 0
        assert not await other.damaged.mend(found)
        await store.refresh()
        observed = await store.observe(transactions([transaction(32, card="c1")]))
        assert observed.damaged == {}
        assert observed.cards.lengths.tolist() == [6]
        assert store.state.displaced.holds(observed.cards.rows[0])
        again = await store.observe(transactions(ROWS[:1]))
        assert again.cards.lengths.tolist() == [1], "a displaced record sees later ones of its own partition"


async def test_an_incomplete_history_that_is_missing_in_the_list_is_listed_when_it_is_met(
    one_server: str, deployment: str
) -> None:
    async with worker(one_server, deployment) as store:
        await store.observe(transactions(ROWS))
        with client_of(one_server) as client:
            make_a_list(client, card_key(one_server, deployment, "c1"))
            await store.observe(transactions([transaction(31, card="c1")]))
            client.delete(layout_of(one_server, deployment).damaged[0])
        async with worker(one_server, deployment) as other:
            await other.observe(transactions([transaction(32, card="c1")]))
            assert len(await other.damaged.read()) == 1


async def test_a_transaction_is_confirmed_by_the_first_intact_history_that_has_or_dropped_it(
    one_server: str, deployment: str
) -> None:
    async with worker(one_server, deployment) as store:
        await store.observe(transactions(ROWS))
        unknown = transaction(40, card="c1")
        repeated = {**ROWS[0], "offset": 41}
        expired = transaction(42, card="c1", ms=NOW - 60 * 86_400_000)
        asked = transactions([ROWS[0], unknown, repeated, expired])
        assert await store.confirm(asked) == [True, False, False, True]
        with client_of(one_server) as client:
            make_a_list(client, card_key(one_server, deployment, "c1"))
        await store.observe(transactions([transaction(31, card="c1", merchant="m1")]))
        assert await store.confirm(asked) == [True, False, False, True], "the merchant's history does not tell"
        with client_of(one_server) as client:
            make_a_list(client, merchant_key(one_server, deployment, "m1"))
        await store.observe(transactions([transaction(32, card="c1", merchant="m1")]))
        assert (await store.confirm(asked))[0], "no history tells, so it counts as accepted"


async def test_trimming_and_compaction_leave_a_key_of_another_type_alone(one_server: str, deployment: str) -> None:
    async with worker(one_server, deployment) as store:
        old = [transaction(number, card="c1", ms=NOW - 50 * 86_400_000 + number) for number in range(1, 40)]
        await store.observe(transactions(old))
        await store.observe(transactions([transaction(50, card="c1", ms=NOW)]))
        with client_of(one_server) as client:
            make_a_list(client, card_key(one_server, deployment, "c1"))
            await store.compact()
            assert client.llen(card_key(one_server, deployment, "c1")) == 1


STATE_KEYS = (":whole", ":kept", ":servers", "", ":damaged", ":displaced-at")


@given(
    which=st.sampled_from(STATE_KEYS),
    value=st.one_of(st.none(), st.binary(max_size=40), st.from_regex(rb"[0-9 \n=a-z]{0,20}", fullmatch=True)),
)
@settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_state_of_the_deployment_is_repaired_or_refused_but_never_an_error_of_ours(
    one_server: str, which: str, value: bytes | None
) -> None:
    async def run() -> None:
        deployment = f"state{next(DEPLOYMENTS)}"
        async with worker(one_server, deployment) as store:
            await store.observe(transactions(ROWS[:3]))
            key = f"fraudstream:{deployment}:epoch{which}"
            with client_of(one_server) as client:
                if value is None:
                    make_a_list(client, key.encode())
                else:
                    client.delete(key)
                    client.set(key, value)
            await store.observe(transactions(ROWS[3:6]))
            await store.refresh()
            await store.damaged.read()
            await store.checkpoint({LogPart(of_labels=False, partition=0): 3})
            observed = await store.observe(transactions(ROWS[6:9]))
            assert list(observed.fates) == [Fate.DECIDE] * 3
            async with worker(one_server, deployment) as other:
                assert other.history_epoch == store.history_epoch or other.incomplete

    asyncio.run(run())
