"""Histories on a Redis Cluster: failovers, slot migrations, partly applied batches, wrong configurations.

In all cases an answer equals a recount of the whole log, or is marked as incomplete.
"""

import asyncio
import itertools
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.declaration import load
from features.errors import StoreRefusedError, StoreUnavailableError
from features.history.records import card_hash
from features.history.store import Entity, Fate, Label, Observed, Transactions
from features.memory_store import MemoryStore
from features.redis.connection import Call, Script
from features.redis.keys import CLUSTER_SHARDS, KeyLayout
from features.redis.keys import slot as slot_by_name
from features.redis.store import RedisStore
from features.vector.vectorise import vectorise
from fraudstream_client.outputs import LabelStatus
from support.examples import examples
from support.features.recount import Row, label, transaction, transactions
from support.features.stores import worker
from support.features.streams import Stream, bits, recounted, streams
from support.redis.cluster import Cluster, Node, redis_cluster
from support.redis.retry import insist
from support.redis.server import free_port, redis_server, wheel_binary
from support.redis.watch import notices, watched
from support.security_page import redis_rules

pytestmark = pytest.mark.integration

DEFAULT = load(None)
DEPLOYMENTS = itertools.count()
NOW = 1_700_000_000_000


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with redis_cluster() as opened:
        yield opened


async def observe(store: RedisStore, *rows: Row) -> Observed:
    """Observe once, without a retry."""
    return await store.observe(transactions(list(rows)))


def batch_of(number: int, size: int = 40) -> list[Row]:
    """Return a batch over 300 cards and 50 shops, so that it uses most shards."""
    first = number * size
    return [
        transaction(n, card=f"card-{n * 7 % 300}", merchant=f"shop-{n * 11 % 50}", ms=NOW + n)
        for n in range(first, first + size)
    ]


def outcomes_of(observed: Observed, batch: Transactions) -> list[object]:
    pairs = zip(observed.fates, vectorise(DEFAULT, batch, observed).tolist(), strict=True)
    return [(fate, bits(vector)) for fate, vector in pairs]


class ComparedStore:
    """A store, compared with a memory store that gets the same batches: equal, or the first is marked incomplete."""

    def __init__(self, store: RedisStore) -> None:
        self.store = store
        self.failed = asyncio.Event()
        """Set at the first failure."""
        self._recount = MemoryStore(DEFAULT)
        self._numbers = itertools.count()

    async def once(self) -> Observed:
        batch = transactions(batch_of(next(self._numbers)))
        observed, _ = await insist(self.store, batch, self.failed.set)
        expected = outcomes_of(self._recount.observe_now(batch), batch)
        assert observed.incomplete or outcomes_of(observed, batch) == expected
        assert set(observed.fates) == {Fate.DECIDE}
        return observed

    async def on(self, batches: int) -> Observed:
        for _ in range(batches - 1):
            await self.once()
        return await self.once()


def slot_of(deployment: str, entity: int) -> int:
    shards = KeyLayout("fraudstream:", deployment, CLUSTER_SHARDS)
    return shards.slots[shards.shard_of(entity)]


def card_on(cluster: Cluster, deployment: str, node: Node) -> str:
    """Return a card that a node serves."""
    cards = (f"card-{number}" for number in itertools.count())
    return next(card for card in cards if cluster.owner(slot_of(deployment, card_hash(card))) is node)


def a_master(cluster: Cluster, number: int = 0) -> Node:
    """Return one of the three; for a while after a failover of one, the others do not vote about it again."""
    return cluster.owner(number * 6000)


async def test_a_master_killed_under_load_is_replaced_and_every_worker_detects_the_loss(
    cluster: Cluster, deployment: str
) -> None:
    async with worker(cluster.url, deployment) as store, worker(cluster.url, deployment) as idle:
        compared = ComparedStore(store)
        before = await compared.on(20)
        master = a_master(cluster)
        killed = asyncio.get_running_loop().call_later(0.05, master.signal, signal.SIGKILL)
        while not compared.failed.is_set():
            await compared.once()
        assert killed.when() < asyncio.get_running_loop().time()
        after = await compared.on(5)
        told, _ = await insist(idle, transactions([transaction(10_000, card="else", merchant="else")]))
        cluster.restore()
    assert not before.incomplete
    assert after.incomplete
    assert told.incomplete
    assert before.history_epoch < after.history_epoch <= told.history_epoch


async def test_a_failover_is_noticed_by_batches_of_cached_cards_that_may_only_be_appended_to_whole_histories(
    cluster: Cluster, deployment: str
) -> None:
    """Such a batch asks for losses before it sends any command that could say that a master is gone."""
    master = a_master(cluster)
    card = card_on(cluster, deployment, master)
    async with worker(cluster.url, deployment) as store, asyncio.timeout(30):
        for number in range(3):
            await store.observe(transactions([transaction(number, card=card)]), whole=True)
        master.signal(signal.SIGKILL)
        while not store.incomplete:
            with suppress(StoreUnavailableError):
                await store.observe(transactions([transaction(3, card=card)]), whole=True)
            await asyncio.sleep(0.05)
        cluster.restore()


async def test_a_tail_that_the_promoted_replica_lacks_is_detected_without_a_cached_copy(
    cluster: Cluster, deployment: str
) -> None:
    master = a_master(cluster, 1)
    replica = cluster.replica_of(master)
    card = card_on(cluster, deployment, master)
    async with worker(cluster.url, deployment) as store, worker(cluster.url, deployment) as fresh:
        await observe(store, transaction(1, card=card))
        master.do(
            "SET", KeyLayout("other:", deployment, CLUSTER_SHARDS).key(Entity.CARD, card_hash(card)), "written last"
        )
        assert master.do("WAIT", 1, 5000) == 1
        replica.signal(signal.SIGSTOP)
        master.do("CLIENT", "KILL", "TYPE", "REPLICA")
        await observe(store, transaction(2, card=card))
        master.signal(signal.SIGKILL)
        replica.signal(signal.SIGCONT)
        await asyncio.to_thread(cluster.taken_over, replica)
        after, _ = await insist(fresh, transactions([transaction(3, card=card)]))
        cluster.restore()
    assert after.cards.lengths.tolist() == [2]
    assert after.incomplete
    assert after.history_epoch > NOW // 1000


async def test_a_planned_failover_counts_as_one_loss(cluster: Cluster, deployment: str) -> None:
    async with worker(cluster.url, deployment) as store:
        compared = ComparedStore(store)
        before = await compared.on(3)
        replica = cluster.replica_of(a_master(cluster, 2))
        replica.do("CLUSTER", "FAILOVER")
        await asyncio.to_thread(cluster.taken_over, replica)
        first = await compared.on(2)
        cluster.settle()
        again = await compared.on(2)
    assert (before.incomplete, first.incomplete) == (False, True)
    assert again.history_epoch == first.history_epoch == before.history_epoch + 1


async def test_a_slot_migration_makes_batches_retry_and_is_no_loss(cluster: Cluster, deployment: str) -> None:
    slot = slot_of(deployment, card_hash("card-7"))
    others = [node for node in cluster.running if node.info("role") == "master" and node is not cluster.owner(slot)]
    for to in others:
        async with worker(cluster.url, deployment) as store, worker(cluster.url, deployment) as idle:
            compared = ComparedStore(store)
            moving = cluster.moving(slot, to)
            next(moving)
            next(moving, None)
            going = asyncio.ensure_future(compared.on(10))
            await asyncio.wait_for(compared.failed.wait(), 10)  # keys on both nodes: the batch must be refused
            await asyncio.to_thread(list, moving)
            after = await going
            told = await observe(idle, *batch_of(0))
        deployment = f"{deployment}-"
        slot = slot_of(deployment, card_hash("card-7"))
        assert not after.incomplete
        assert not told.incomplete
        assert after.history_epoch == told.history_epoch == NOW // 1000


async def test_a_slot_migrated_to_a_new_master_is_no_loss_but_its_restart_without_data_is(deployment: str) -> None:
    with redis_cluster(replicas=False) as cluster:
        async with worker(cluster.url, deployment) as store:
            compared = ComparedStore(store)
            await compared.on(3)
            newcomer = cluster.add()
            for slot in KeyLayout("fraudstream:", deployment, CLUSTER_SHARDS).slots[:4]:
                for _ in cluster.moving(slot, newcomer):
                    pass
            after = await compared.on(3)
            newcomer.signal(signal.SIGKILL)
            newcomer.start()
            cluster.settle()
            emptied = await compared.on(2)
    assert not after.incomplete
    assert after.history_epoch == NOW // 1000
    assert emptied.incomplete


async def test_masters_restarted_from_an_old_snapshot_while_no_worker_ran_are_detected(deployment: str) -> None:
    with redis_cluster(replicas=False) as cluster:
        card = card_on(cluster, deployment, a_master(cluster, 2))
        async with worker(cluster.url, deployment) as store:
            await observe(store, *batch_of(0))
            for node in cluster.nodes:
                node.do("SAVE")
            written = await observe(store, transaction(1_000, card=card))
        async with worker(cluster.url, deployment) as again:
            assert not again.incomplete, "nothing is lost yet"
        for node in cluster.nodes:
            node.signal(signal.SIGKILL)
        cluster.restore()
        async with worker(cluster.url, deployment) as late, worker(cluster.url, deployment) as later:
            assert late.incomplete
            assert late.history_epoch == later.history_epoch == written.history_epoch + 1
            after = await observe(late, transaction(1_001, card=card))
            assert after.cards.lengths.tolist() == written.cards.lengths.tolist(), "one record was lost"


async def test_a_failover_while_no_worker_ran_is_detected_once(cluster: Cluster, deployment: str) -> None:
    async with worker(cluster.url, deployment) as store:
        before = (await observe(store, *batch_of(0))).history_epoch
    replica = cluster.replica_of(a_master(cluster))
    replica.do("CLUSTER", "FAILOVER")
    await asyncio.to_thread(cluster.taken_over, replica)
    await asyncio.to_thread(cluster.settle)
    async with worker(cluster.url, deployment) as late:
        assert late.incomplete
        assert late.history_epoch == before + 1
    async with worker(cluster.url, deployment) as known:
        assert known.history_epoch == before + 1, "the serving masters were recorded"


async def test_a_slot_migrated_while_no_worker_ran_is_no_loss(deployment: str) -> None:
    with redis_cluster(replicas=False) as cluster:
        async with worker(cluster.url, deployment) as store:
            await observe(store, *batch_of(0))
        slot, *_ = KeyLayout("fraudstream:", deployment, CLUSTER_SHARDS).slots
        for _ in cluster.moving(slot, a_master(cluster, 2)):
            pass
        async with worker(cluster.url, deployment) as late:
            assert not late.incomplete


async def test_the_deletion_of_an_uncached_key_is_detected_on_every_master(cluster: Cluster, deployment: str) -> None:
    keys = KeyLayout("fraudstream:", deployment, CLUSTER_SHARDS)
    async with worker(cluster.url, deployment) as before:
        await observe(before, *batch_of(0))
    async with worker(cluster.url, deployment) as store, watched(store):
        for number in range(3):
            epoch = store.history_epoch
            master = a_master(cluster, number)
            cards = (str(row["card"]) for row in batch_of(0))
            card = next(card for card in cards if cluster.owner(slot_of(deployment, card_hash(card))) is master)
            assert master.do("DEL", keys.key(Entity.CARD, card_hash(card))) == 1
            assert await notices(store, epoch + 1)


async def test_a_deletion_on_a_promoted_replica_is_detected(cluster: Cluster, deployment: str) -> None:
    keys = KeyLayout("fraudstream:", deployment, CLUSTER_SHARDS)
    async with worker(cluster.url, deployment) as store, watched(store):
        replica = cluster.replica_of(a_master(cluster, 1))
        replica.do("CLUSTER", "FAILOVER")
        await asyncio.to_thread(cluster.taken_over, replica)
        await asyncio.to_thread(cluster.settle)
        card = card_on(cluster, deployment, replica)
        await insist(store, transactions([transaction(1, card=card)]))
        await asyncio.sleep(1.5)  # by then it has subscribed at the new master
        epoch = store.history_epoch
        assert replica.do("DEL", keys.key(Entity.CARD, card_hash(card))) == 1
        assert await notices(store, epoch + 1)


async def test_the_del_notifications_of_a_slot_migration_are_no_loss(deployment: str) -> None:
    slot = slot_of(deployment, card_hash("card-7"))
    with redis_cluster(replicas=False) as cluster:
        async with worker(cluster.url, deployment) as store, watched(store):
            await observe(store, *batch_of(0))
            source = cluster.owner(slot)
            to = next(node for node in cluster.nodes if node is not source)
            told = source.client.pubsub(ignore_subscribe_messages=True)
            told.subscribe("__keyevent@0__:del")
            assert told.get_message(timeout=1.0) is None  # the reply to SUBSCRIBE
            for _ in cluster.moving(slot, to):
                await asyncio.sleep(0.05)
            assert not await notices(store, NOW // 1000 + 1)
            assert store.history_epoch == NOW // 1000
            heard = iter(lambda: told.get_message(timeout=0.2), None)
            assert any(keys_in(slot, message["data"]) for message in heard), (
                "the source sends notifications for the keys that it migrates"
            )
            told.close()


def keys_in(slot: int, key: str) -> bool:
    return slot_by_name(key.partition("{")[2].partition("}")[0]) == slot


async def test_slots_that_valkey_migrates_at_once_are_no_loss(deployment: str) -> None:
    with redis_cluster(replicas=False, binary=wheel_binary("valkey")) as cluster:
        async with worker(cluster.url, deployment) as store:
            compared = ComparedStore(store)
            await compared.on(3)
            source, to = cluster.owner(0), cluster.owner(12_000)
            source.do("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", 0, 4000, "NODE", to.node_id)
            while cluster.owner(0) is not to:
                await compared.once()
            after = await compared.on(3)
    assert not after.incomplete
    assert after.history_epoch == NOW // 1000


async def test_a_paused_master_is_unavailable_and_is_no_loss(cluster: Cluster, deployment: str) -> None:
    async with worker(cluster.url, deployment, timeout_s=0.1) as store:
        compared = ComparedStore(store)
        await compared.on(3)
        master = a_master(cluster)
        master.signal(signal.SIGSTOP)
        with pytest.raises(StoreUnavailableError, match=str(master.port)):
            await store.refresh()
        with pytest.raises(StoreUnavailableError, match=r"redis\+cluster://127\.0\.0\.1:"):
            await observe(store, *batch_of(3))
        master.signal(signal.SIGCONT)
        await store.refresh()
        after = await compared.on(3)
    assert not after.incomplete


async def test_a_flushed_master_is_detected_by_the_next_batch_that_uses_it(cluster: Cluster, deployment: str) -> None:
    async with worker(cluster.url, deployment) as store:
        before = await ComparedStore(store).on(2)
        master = a_master(cluster)
        master.do("FLUSHALL")
        after = await observe(store, transaction(9_000, card=card_on(cluster, deployment, master), merchant="new"))
    assert (before.incomplete, after.incomplete) == (False, True)
    assert after.history_epoch == before.history_epoch + 1


class PartialAppends:
    """Passes only some calls of a step on, then raises StoreUnavailableError; `cuts` has a bit mask for each step."""

    def __init__(self, store: RedisStore, cuts: Sequence[int | None]) -> None:
        self._inner = store._connection.run
        self._cuts = iter(cuts)
        store._connection.run = self.run  # type: ignore[method-assign]

    async def run(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        cut = next(self._cuts, None) if script == "append" else None
        if cut is None:
            return await self._inner(script, calls)
        passed = [call for number, call in enumerate(calls) if cut >> number & 1]
        if passed:
            await self._inner(script, passed)
        raise StoreUnavailableError("cut")


async def outcomes(stream: Stream, stores: Sequence[RedisStore]) -> list[Any]:
    """Send a stream through stores in turn, and each part again until it is answered."""
    result: list[Any] = []
    for number, part in enumerate(stream.parts):
        for store in itertools.islice(itertools.cycle(stores), number, None):
            with suppress(StoreUnavailableError):
                if part is None:
                    await store.compact()
                elif isinstance(part, Label):
                    await store.label([part])
                else:
                    batch = transactions(part)
                    observed = await store.observe(batch)
                    pairs = zip(observed.fates, vectorise(DEFAULT, batch, observed).tolist(), strict=True)
                    result += [bits(vector) if fate is Fate.DECIDE else None for fate, vector in pairs]
                break
    return result


@given(stream=streams, cuts=st.lists(st.none() | st.integers(0, 15), max_size=30))
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_partly_applied_batch_is_counted_once(cluster: Cluster, stream: list[Any], cuts: list[int | None]) -> None:
    async def told() -> list[Any]:
        deployment = f"p{next(DEPLOYMENTS)}"
        async with worker(cluster.url, deployment) as one, worker(cluster.url, deployment) as other:
            PartialAppends(one, cuts[::2])
            PartialAppends(other, cuts[1::2])
            return await outcomes(Stream(stream), [one, other])

    decided = [vector for _, vector in recounted(Stream(stream), DEFAULT)]
    assert asyncio.run(told()) == decided


class BlockedStore:
    """Blocks a store before one of its append steps until `release` is set."""

    def __init__(self, store: RedisStore, before: int) -> None:
        self.reached, self.release = asyncio.Event(), asyncio.Event()
        self._inner = store._connection.run
        self._before = before
        store._connection.run = self.run  # type: ignore[method-assign]

    async def run(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        if script == "append":
            self._before -= 1
            if not self._before:
                self.reached.set()
                await self.release.wait()
        return await self._inner(script, calls)


@pytest.mark.parametrize(("step", "merchant_position"), [(2, None), (3, 1)])
async def test_a_label_that_overtakes_its_transaction_reaches_the_merchants_history(
    cluster: Cluster, deployment: str, step: int, merchant_position: int | None
) -> None:
    row = transaction(1)
    async with worker(cluster.url, deployment) as store, worker(cluster.url, deployment) as other:
        blocked = BlockedStore(store, before=step)
        going = asyncio.ensure_future(observe(store, row))
        await asyncio.wait_for(blocked.reached.wait(), 10)
        (answer,) = await other.label([label(1, row, fraud=True, at_ms=NOW)])
        blocked.release.set()
        await going
        seen = await observe(store, transaction(2, card="other"))
    assert (answer.status, answer.merchant_position) == (LabelStatus.APPLIED, merchant_position)
    assert seen.merchants.lengths.tolist() == [3]


async def test_a_label_reaches_a_merchants_history_that_is_created_at_the_same_time(
    cluster: Cluster, deployment: str
) -> None:
    row = transaction(1)
    async with worker(cluster.url, deployment) as store, worker(cluster.url, deployment) as other:
        on_the_way, labelling = BlockedStore(store, before=2), BlockedStore(other, before=1)
        going = asyncio.ensure_future(observe(store, row))
        await asyncio.wait_for(on_the_way.reached.wait(), 10)
        labelled = asyncio.ensure_future(other.label([label(1, row, fraud=True, at_ms=NOW)]))
        await asyncio.wait_for(labelling.reached.wait(), 10)
        on_the_way.release.set()
        await going
        labelling.release.set()
        ((answer),) = await labelled
        seen = await observe(store, transaction(2, card="other"))
    assert (answer.status, answer.merchant_position) == (LabelStatus.APPLIED, 1)
    assert seen.merchants.lengths.tolist() == [3]


async def test_a_repeated_transaction_reaches_no_merchant_despite_an_outdated_card_in_the_cache(
    cluster: Cluster, deployment: str
) -> None:
    row = transaction(1)
    async with worker(cluster.url, deployment) as store, worker(cluster.url, deployment) as other:
        await observe(store, transaction(0))
        await observe(other, row)
        again = await observe(store, {**row, "offset": 9})
        seen = await observe(store, transaction(2, card="other"))
    assert list(again.fates) == [Fate.REPEATED]
    assert seen.merchants.lengths.tolist() == [3]


async def test_card_histories_are_spread_over_all_masters(cluster: Cluster, deployment: str) -> None:
    async with worker(cluster.url, deployment) as store:
        await ComparedStore(store).on(3)
    masters = [node for node in cluster.running if node.info("role") == "master"]
    counts = [len(node.do("KEYS", f"fraudstream:{{{deployment}/*}}:c:*")) for node in masters]
    assert sum(counts) == len({row["card"] for number in range(3) for row in batch_of(number)})
    assert min(counts) > max(counts) // 2


async def test_a_master_with_an_eviction_policy_is_refused_by_its_address(cluster: Cluster, deployment: str) -> None:
    master = a_master(cluster)
    master.do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(StoreRefusedError, match=rf"127\.0\.0\.1:{master.port}: maxmemory-policy is 'allkeys-lru'"):
            async with worker(cluster.url, deployment):
                pass
    finally:
        master.do("CONFIG", "SET", "maxmemory-policy", "noeviction")


async def test_a_user_needs_the_documented_rules_and_cluster_slots(cluster: Cluster, deployment: str) -> None:
    url = cluster.url.replace("://", "://fraudstream:secret@")
    alone = [rule.replace("~fraudstream:*", f"~fraudstream:{{{deployment}/*") for rule in redis_rules()]

    def allow(*rules: str) -> None:
        for node in cluster.running:
            node.do("ACL", "SETUSER", "fraudstream", "reset", "on", ">secret", *rules)

    try:
        allow(*alone)
        with pytest.raises(StoreRefusedError, match=r"\+cluster\|slots") as refused:
            async with worker(url, deployment):
                pass
        allow(*alone, "+cluster|slots")
        async with worker(url, deployment) as store:
            assert list((await observe(store, transaction(1))).fates) == [Fate.DECIDE]
        with pytest.raises(StoreRefusedError, match="on the deployment's keys"):
            async with worker(url, f"{deployment}-another"):
                pass
    finally:
        for node in cluster.running:
            node.do("ACL", "DELUSER", "fraudstream")
    assert "secret" not in str(refused.value)


async def test_a_url_for_a_single_server_is_refused_by_a_cluster_and_vice_versa(
    cluster: Cluster, deployment: str
) -> None:
    with pytest.raises(StoreRefusedError, match=r"belongs to a Redis Cluster.*redis\+cluster://"):
        async with worker(f"redis://127.0.0.1:{cluster.nodes[0].port}/0", deployment):
            pass
    with redis_server() as url, pytest.raises(StoreRefusedError, match=r"belongs to no Redis Cluster.*redis://"):
        async with worker(url.replace("redis://", "redis+cluster://"), deployment):
            pass


async def test_one_reachable_server_of_the_url_suffices(cluster: Cluster, deployment: str) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    async with worker(f"redis+cluster://{nobody},127.0.0.1:{cluster.nodes[-1].port}", deployment) as store:
        assert list((await observe(store, transaction(1))).fates) == [Fate.DECIDE]
    with pytest.raises(StoreUnavailableError, match=r"no server returned the cluster's topology"):
        async with worker(f"redis+cluster://{nobody}", deployment):
            pass


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis+cluster://:secret@h:1/3", r"redis\+cluster://h:1/3: a Redis Cluster has no databases"),
        ("redis+cluster://:secret@h:1/?speed=1", "redis://h:1: this is no valid Redis URL: .*'speed'"),
        ("redis://:secret@h:1/0?socket_timeout=soon", "redis://h:1/0: this is no valid .*'socket_timeout'"),
        ("redis://:secret@h:port/0", "redis://h:port/0: this is no valid Redis URL: Port could not be cast"),
    ],
)
def test_an_invalid_url_is_refused_with_the_reason_and_without_its_password(url: str, why: str) -> None:
    with pytest.raises(StoreRefusedError, match=why) as refused:
        RedisStore(url, "d", DEFAULT, lambda: NOW)
    assert "secret" not in str(refused.value)


async def test_scripts_are_sent_again_after_a_script_flush_on_one_master(cluster: Cluster, deployment: str) -> None:
    async with worker(cluster.url, deployment) as store:
        compared = ComparedStore(store)
        await compared.on(2)
        a_master(cluster).do("SCRIPT", "FLUSH")
        await compared.on(2)
        assert not compared.failed.is_set()
