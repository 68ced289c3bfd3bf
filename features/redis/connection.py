"""The port to whatever keeps the histories' bytes: one server, or a cluster of them.

Nothing here knows what a history is. `server_link` and `cluster_link` keep these promises.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Literal, NamedTuple, Protocol, Self

from features.redis.topology import Servers

Script = Literal[
    "hgetall", "compact", "init_epoch", "add_needs", "checkpoint", "append", "raise_epoch", "report_progress", "trim"
]
"""Each is the file of that name, with what it is told and answers at its head."""


class Deletions(Protocol):
    """A subscription to keys that were deleted or evicted, while it is entered."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def next(self, seconds: float) -> bytes | None:
        """Return the name of a key that is gone; None where none went for so long."""
        ...

    async def was_moved(self, key: bytes) -> bool:
        """Tell whether the key that was told of last is only gone from there to another server."""
        ...


class Call(NamedTuple):
    """One script's call; all its keys are of one shard."""

    shard: int
    keys: Sequence[bytes]
    arguments: Sequence[bytes | int]


class Connection(Protocol):
    """A way to one server or several, `where` being its URL without a password.

    Raises, everywhere:
        StoreUnavailableError: a server does not answer in time, or cannot serve now. What was asked may have been done.
        StoreRefusedError: one never will as it is set up.
    """

    where: str

    async def check_server(self) -> None:
        """Refuse servers that are too old, may throw histories away or forbid what we need; remember which they are."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...

    async def values(self, keys: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
        """Fetch whole values of keys, each with its shard."""
        ...

    async def set(self, shard: int, key: bytes, value: str) -> None:
        """Set one value."""
        ...

    async def run(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        """Call a script, and return its replies in the order of the calls; each call is done wholly or not at all."""
        ...

    async def loss_reason(self, *, recheck: bool = False) -> str | None:
        """Say why records may be lost, if a server is another than the trusted one, or was started anew.

        Servers are asked where there was a new connection since, and anyway if `recheck`.
        """
        ...

    def deletions(self) -> Deletions:
        """Return a subscription to what others delete."""
        ...

    def identity(self) -> tuple[str, str] | None:
        """Return the trusted server's process, and the replication that it leads; None where there are several."""
        ...

    def trusted(self) -> Servers | None:
        """Return the trusted servers; None before any was met."""
        ...

    def trust(self) -> None:
        """Trust the servers as they were when `loss_reason` last looked: a loss of theirs is dealt with."""
        ...
