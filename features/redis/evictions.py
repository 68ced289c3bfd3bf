"""Whether Redis may evict histories, and whether it has: its policy now, and its own count of evicted keys.

An evicted history looks like a new card's. A policy that evicts may have come and gone between two looks, or while no
worker ran, so the servers' counts are stored beside the epoch as they were when a worker last knew its histories whole.
"""

import json
from collections.abc import Mapping
from typing import Any

from features.redis.connection import Connection

REQUIRED_POLICY = "noeviction"
OLDEST_SERVER = (6, 2)


def refusal_of(reply: Mapping[str, Any], policy: str, where: str) -> str | None:
    """Say why a server with this INFO must not be used, and what to do; None if it may be."""
    version = str(reply.get("redis_version", "0.0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_SERVER:
        return f"{where}: Redis {version} is too old; 6.2 or later is needed. Upgrade it."
    if policy != REQUIRED_POLICY:
        return (
            f"{where}: maxmemory-policy is {policy!r}, with which Redis evicts histories when memory runs short and "
            f"features become silently wrong. Set it to {REQUIRED_POLICY} (CONFIG SET maxmemory-policy "
            f"{REQUIRED_POLICY}, and in redis.conf)."
        )
    return None


def evicted_keys(reply: Mapping[str, Any]) -> dict[str, int]:
    """Return how many keys a server has evicted, by the id of its run: it counts anew after a restart."""
    return {str(reply.get("run_id")): int(reply.get("evicted_keys", 0))}


class EvictionWatch:
    """What a worker knows of evictions, from its looks at the servers and from what is stored.

    Counts are numbers of evicted keys by the id of a server's run.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._refusal: str | None = None
        self._handled: Mapping[str, int] = {}

    @property
    def refusal(self) -> str | None:
        """Why Redis must not be used; also while it may be again, until what it has evicted meanwhile is known."""
        return self._refusal or self._connection.refusal()

    @property
    def was_refused(self) -> bool:
        """Whether a look has found that Redis must not be used since its evictions were last handled."""
        return self._refusal is not None

    def note_refusal(self) -> str | None:
        """Return why Redis must not be used as it was last inspected, and remember it."""
        refusal = self._connection.refusal()
        self._refusal = refusal or self._refusal
        return refusal

    def evicted(self, counts: Mapping[str, int], stored: bytes | None) -> int:
        """Return how many keys were evicted since anyone last handled that, by the servers' counts and the stored ones.

        A server that is not known yet counts from now on, unless it was seen to evict; so does one whose count was
        reset. `counts` must be newer than `stored`, else what another worker has just handled looks like a reset.
        """
        handled = {**self._handled, **read_counts(stored)}
        evicted = 0
        for run, count in counts.items():
            known = handled.get(run)
            if known is None:
                evicted += count if self._refusal else 0
            elif count >= known:
                evicted += count - known
            else:
                evicted += max(count, 1 if self._refusal else 0)
        return evicted

    def handled(self, counts: Mapping[str, int]) -> str:
        """Note that what was evicted up to these counts is handled; return them as they are stored."""
        self._refusal, self._handled = None, dict(counts)
        return json.dumps(self._handled)


def read_counts(stored: bytes | None) -> dict[str, int]:
    """Parse stored counts; what is unreadable says nothing."""
    try:
        return {str(run): int(count) for run, count in json.loads(stored or b"{}").items()}
    except (ValueError, TypeError, AttributeError):
        return {}
