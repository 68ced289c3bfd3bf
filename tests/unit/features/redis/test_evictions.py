"""How many keys the servers have evicted, from their counts and those that a worker has stored."""

from collections.abc import Mapping

import pytest

from features.redis.evictions import EvictionWatch, evicted_keys, read_counts, refusal_of


class SeenServers:
    """A connection whose servers were last seen so."""

    def __init__(self, why: str | None = None) -> None:
        self.why = why

    def refusal(self) -> str | None:
        return self.why

    def evicted_keys(self) -> Mapping[str, int]:
        return {}


def watch(*, refused: bool = False) -> EvictionWatch:
    """Return what a worker knows whose servers are well now, and may have been refused before."""
    servers = SeenServers("evicts" if refused else None)
    made = EvictionWatch(servers)  # type: ignore[arg-type] # no more of a connection is used
    made.note_refusal()
    servers.why = None
    return made


@pytest.mark.parametrize(
    ("stored", "counts", "evicted", "evicted_if_refused"),
    [
        (b'{"a": 5}', {"a": 5}, 0, 0),
        (b'{"a": 5}', {"a": 7}, 2, 2),
        (b'{"a": 5, "b": 0}', {"a": 5, "b": 3}, 3, 3),
        (b'{"a": 5}', {"a": 5, "new": 9}, 0, 9),
        (b'{"a": 5}', {"anew": 0}, 0, 0),  # restarted
        (b'{"a": 5}', {"a": 2}, 2, 2),  # its count was reset
        (b'{"a": 5}', {"a": 0}, 0, 1),
        (None, {"a": 4}, 0, 4),
        (b"[]", {"a": 4}, 0, 4),
        (b'{"a": "x"}', {"a": 4}, 0, 4),
    ],
)
def test_evicted_keys_are_those_since_the_stored_counts_and_of_a_server_that_was_refused_all(
    stored: bytes | None, counts: dict[str, int], evicted: int, evicted_if_refused: int
) -> None:
    assert watch().evicted(counts, stored) == evicted
    assert watch(refused=True).evicted(counts, stored) == evicted_if_refused


def test_what_is_handled_is_remembered_although_the_stored_counts_are_evicted_themselves() -> None:
    made = watch(refused=True)
    assert (made.was_refused, made.refusal) == (True, "evicts")
    text = made.handled({"a": 3})
    assert (made.was_refused, made.refusal, read_counts(text.encode())) == (False, None, {"a": 3})
    assert made.evicted({"a": 4}, None) == 1


def test_a_server_is_refused_by_its_version_and_its_policy_and_its_count_is_that_of_its_run() -> None:
    info = {"redis_version": "7.2.4", "run_id": "a", "evicted_keys": "12"}
    assert refusal_of(info, "noeviction", "here") is None
    assert "here: maxmemory-policy is 'volatile-lru'" in str(refusal_of(info, "volatile-lru", "here"))
    assert "Redis 6.0.9 is too old" in str(refusal_of({"redis_version": "6.0.9"}, "noeviction", "here"))
    assert evicted_keys(info) == {"a": 12}
    assert evicted_keys({"run_id": "b"}) == {"b": 0}
