"""Somebody sets a policy by which a running fleet's Redis evicts histories, and sets it back: no worker ends."""

import pytest

from support.fleet.fleet import Fleet, sources, until
from support.fleet.miscounted import miscounted
from support.fleet.payments import payment
from support.fleet.workers import Worker
from support.redis.own import OwnRedis

PART = 400


def publish(fleet: Fleet, part: int) -> None:
    fleet.publish(payment(number) for number in range(part * PART, (part + 1) * PART))


def evict_all(server: OwnRedis, policy: str) -> None:
    """Let the server evict every history."""
    server.client.config_set("maxmemory-policy", policy)
    until(lambda: evicts_nothing_more(server), "all that expires is evicted")
    server.client.config_set("maxmemory", 0)


def evicts_nothing_more(server: OwnRedis) -> bool:
    server.client.config_set("maxmemory", 1)
    return not server.client.info("keyspace").get("db0", {}).get("expires")


def is_repaired(fleet: Fleet, server: OwnRedis, above: int) -> bool:
    """Tell whether histories are whole again, under an epoch above this one."""
    key = f"fraudstream:{fleet.environment['DEPLOYMENT']}:epoch"
    epoch, whole = server.client.get(key) or b"0", server.client.get(f"{key}:whole") or b""
    return int(epoch) > above and whole.split(b" ")[0] == epoch


def await_refused(workers: list[Worker], policy: str) -> None:
    until(lambda: all(policy in str(worker.readiness()[1]) for worker in workers), "the policy is the reason")


def test_while_redis_may_evict_workers_wait_with_the_reason_and_go_on_with_whole_histories(
    apart: Fleet, own_redis: OwnRedis
) -> None:
    workers = apart.go_live(workers=2)
    publish(apart, 0)
    before = apart.await_scores(PART)
    own_redis.client.config_set("maxmemory-policy", "volatile-lru")
    await_refused(workers, "volatile-lru")
    publish(apart, 1)
    evict_all(own_redis, "volatile-lru")
    assert all(not worker.readiness()[0] for worker in workers)
    assert len(apart.scores()[0]) == PART, "nothing is decided by histories that may be evicted"
    own_redis.client.config_set("maxmemory-policy", "noeviction")
    for worker in workers:
        worker.await_ready()
    publish(apart, 2)
    valid = apart.await_scores(3 * PART)
    assert {worker.exit_code for worker in workers} == {None}
    assert (set(sources(valid).values()), len(valid)) == ({1}, 3 * PART)
    assert {score.degraded for score in valid} == {()}
    assert miscounted(valid) == []
    epochs = {score.positions.history_epoch for score in before}, {score.positions.history_epoch for score in valid}
    assert max(epochs[1]) > max(epochs[0])
    for worker in workers:
        assert worker.terminate() == 0


@pytest.mark.acceptance
def test_with_degrade_payments_are_decided_from_memory_and_marked_while_redis_may_evict(
    apart: Fleet, own_redis: OwnRedis
) -> None:
    workers = apart.go_live(workers=2, REDIS_DOWN="degrade")
    publish(apart, 0)
    apart.await_scores(PART)
    own_redis.client.config_set("maxmemory-policy", "volatile-lru")
    await_refused(workers, "volatile-lru")
    publish(apart, 1)
    marked = [one for one in apart.await_scores(2 * PART) if int(one.transaction_id[2:]) >= PART]
    evict_all(own_redis, "volatile-lru")
    own_redis.client.config_set("maxmemory-policy", "noeviction")
    for worker in workers:
        worker.await_ready()
    until(lambda: is_repaired(apart, own_redis, marked[0].positions.history_epoch), "all is repaired")
    whole = "\nfraudstream_history_incomplete 0"
    until(lambda: all(whole in worker.get("/metrics")[1] for worker in workers), "all workers know that")
    publish(apart, 2)
    valid = apart.await_scores(3 * PART)
    assert {worker.exit_code for worker in workers} == {None}
    assert {score.degraded for score in marked} == {("history_incomplete",)}
    assert (set(sources(valid).values()), len(valid)) == ({1}, 3 * PART)
    assert miscounted(valid) == []
    assert {score.degraded for score in valid if int(score.transaction_id[2:]) >= 2 * PART} == {()}
