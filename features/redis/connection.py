"""The port to Redis: one server, or a cluster.

`features.redis.server` and `features.redis.cluster` implement it.
"""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, NamedTuple, Protocol, Self

from features.redis.topology import Servers

Script = Literal[
    "hgetall",
    "heads",
    "compact",
    "init_epoch",
    "add_needs",
    "checkpoint",
    "append",
    "raise_epoch",
    "report_progress",
    "trim",
    "reduce",
    "damage",
    "mend",
    "set_fields",
]
"""The script in the file of that name, whose header describes arguments and reply."""


class Deletions(Protocol):
    """A subscription to deleted or evicted keys; a context manager."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def next(self, seconds: float) -> bytes | None:
        """Return the name of a deleted key; None if there was none within `seconds`."""
        ...

    async def was_moved(self, key: bytes) -> bool:
        """Tell whether the key that was reported last has only moved to another server."""
        ...


class Call(NamedTuple):
    """One call of a script; all its keys are in one shard."""

    shard: int
    keys: Sequence[bytes]
    arguments: Sequence[bytes | int]


class Connection(Protocol):
    """A connection to one or several servers; `where` is the URL without its password.

    Raises, everywhere:
        StoreUnavailableError: a server does not answer in time, or cannot serve now. The call may have taken effect.
        StoreRefusedError: a server will never serve as it is configured.
    """

    where: str

    async def check_server(self) -> None:
        """Refuse servers that are too old, may evict histories or lack permissions; remember their identity."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...

    async def values(self, keys: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
        """Return whole values of keys, each given with its shard."""
        ...

    async def set(self, shard: int, key: bytes, value: str) -> None:
        """Set one value."""
        ...

    async def run(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        """Call a script, and return its replies in the order of the calls; each call is atomic."""
        ...

    async def loss_reason(self, *, recheck: bool = False) -> str | None:
        """Say why records may be lost: a server is another than the trusted one, or was restarted; None if it is not.

        Servers are inspected if there was a new connection since, and always with `recheck`.
        """
        ...

    def refusal(self) -> str | None:
        """Say why the servers must not be used as they were last inspected, and what to do; None if they may be."""
        ...

    def evicted_keys(self) -> Mapping[str, int]:
        """Return how many keys each server has evicted since its start, by run id, as they were last inspected."""
        ...

    def deletions(self) -> Deletions:
        """Return a subscription to keys that others delete."""
        ...

    def identity(self) -> tuple[str, str] | None:
        """Return the trusted server's run id and replication id; None if there are several servers."""
        ...

    def trusted(self) -> Servers | None:
        """Return the trusted servers; None before the first inspection."""
        ...

    def trust(self) -> None:
        """Trust the servers as `loss_reason` last saw them: a loss is handled."""
        ...
