"""The owner of a slot, and which changes of the owner mean a loss."""

import pytest

from features.errors import StoreUnavailableError
from features.redis.topology import Master, Owner, Servers, read_master, read_servers, read_topology
from features.redis.urls import Address

ASKED = Address("10.0.0.9", 7000)
BEFORE = Master("a" * 40, "run-a", "line-a", promoted=False)
OTHER = Master("b" * 40, "run-b", "line-b", promoted=True)
REPLICAS = frozenset({"r" * 40})


def test_the_owner_of_each_slot_and_all_replicas_are_read() -> None:
    reply = [
        [0, 5460, [b"10.0.0.1", 7000, b"a", []], [b"10.0.0.2", 7001, b"ra", []]],
        [5461, 16383, [b"", 7002, b"b", [b"hostname", b"h"]], [b"::1", 7003, b"rb", []]],
    ]
    a, b = Owner("a", Address("10.0.0.1", 7000)), Owner("b", Address("10.0.0.9", 7002))
    known = read_topology(reply, [5460, 5461, 0, 16383], ASKED)
    assert known.owners == (a, b, a, b)
    assert known.masters == [a, b]
    assert known.replicas == {"ra", "rb"}


def test_a_slot_without_a_master_is_named_in_the_error() -> None:
    with pytest.raises(StoreUnavailableError, match=r"10\.0\.0\.9:7000: no master serves slot 11 and 1 others"):
        read_topology([[0, 10, [b"h", 1, b"a"]]], [3, 12, 11], ASKED)


def test_a_master_is_read_from_its_info_reply() -> None:
    info = {"role": "master", "run_id": "r", "master_replid": "l", "master_replid2": "0" * 40}
    assert read_master("a", info) == Master("a", "r", "l", promoted=False)
    assert read_master("a", {**info, "master_replid2": 0}) == Master("a", "r", "l", promoted=False)
    assert read_master("a", {**info, "master_replid2": "f" * 40}) == Master("a", "r", "l", promoted=True)
    assert read_master("a", {**info, "role": "slave"}) is None


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (BEFORE, None),
        (BEFORE._replace(run_id="anew"), "aaaaaaaa was restarted"),
        (BEFORE._replace(run_id="anew", replication_id="new"), "aaaaaaaa was restarted"),
        (BEFORE._replace(replication_id="new", promoted=True), "aaaaaaaa was a replica in between"),
        (BEFORE._replace(replication_id="new"), None),  # as Redis does an hour after the last replica left
        (OTHER, None),  # migrated to a known master, though that was promoted long before
        (OTHER._replace(run_id="anew"), "bbbbbbbb was restarted"),
        (OTHER._replace(replication_id="new"), "bbbbbbbb was a replica in between"),
        (Master("c" * 40, "run-c", "line-c", promoted=False), None),  # migrated to a new master
        (Master("c" * 40, "run-c", "line-c", promoted=True), "a replica took over from aaaaaaaa"),
        (Master("r" * 40, "run-r", "line-r", promoted=True), "a replica took over from aaaaaaaa"),
        (Master("r" * 40, "run-r", "line-r", promoted=False), "a replica took over from aaaaaaaa"),
    ],
)
def test_an_unchanged_or_migrated_slot_is_no_loss_but_a_restart_or_failover_is(now: Master, why: str | None) -> None:
    before = Servers((BEFORE, OTHER), REPLICAS)
    assert before.loss_reason(Servers((now, OTHER))) == why
    assert read_servers(before.text.encode()).loss_reason(Servers((now, OTHER))) == why


def test_the_stored_servers_name_each_master_once_and_are_read_back_equal() -> None:
    servers = Servers((BEFORE, OTHER, BEFORE, BEFORE), REPLICAS)
    assert read_servers(servers.text.encode()) == servers
    assert servers.text.count(BEFORE.run_id) == 1
