"""A connection to no server: every append succeeds at once, and no history is stored.

So a store on it caches as it does on Redis, and what it costs is this process's part: no socket, no other process.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from features.redis.connection import Call, Deletions, Script
from features.redis.topology import Servers


class AssentingConnection:
    """Implements `features.redis.connection.Connection` for one worker that is alone and has all histories cached.

    It keeps what says which epoch and retention there are, so that a store can join.
    """

    where = "no server"

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}

    async def check_server(self) -> None:
        """Find nothing wrong."""

    async def close(self) -> None:
        """Close nothing."""

    async def values(self, keys: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
        """Return what was set; no history was."""
        return [self._values.get(key) for _, key in keys]

    async def set(self, shard: int, key: bytes, value: str) -> None:  # noqa: ARG002 - there is one
        """Set one value."""
        self._values[key] = value.encode()

    async def run(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        """Answer as the script of that name does where nobody else writes and no history is stored."""
        return [self._answer(script, call) for call in calls]

    def _answer(self, script: Script, call: Call) -> Any:  # noqa: ANN401 - as the port says
        match script:
            case "append":
                return [0]
            case "heads":
                return [None] * len(call.keys)
            case "init_epoch":
                epoch = _text(call.arguments[0])
                self._values |= {call.keys[0]: epoch, call.keys[1]: b"-" + epoch}
                return 1
            case "raise_epoch":
                before = self._values.get(call.keys[0])
                self._values[call.keys[0]] = _text(call.arguments[1])
                return before
            case "add_needs":
                self._values[call.keys[0]] = b"\n".join(map(_text, call.arguments))
                return self._values[call.keys[0]]
            case _:
                return []

    async def loss_reason(self, *, recheck: bool = False) -> str | None:  # noqa: ARG002 - as the port
        """Find no loss."""
        return None

    def refusal(self) -> str | None:
        """Refuse nothing."""
        return None

    def evicted_keys(self) -> Mapping[str, int]:
        """Return none: there is no server."""
        return {}

    def deletions(self) -> Deletions:
        """Refuse: nothing is deleted here.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError

    def identity(self) -> tuple[str, str] | None:
        """Return None: there is no server."""
        return None

    def trusted(self) -> Servers | None:
        """Return None: there is no server."""
        return None

    def trust(self) -> None:
        """Trust nothing."""


def _text(argument: bytes | int) -> bytes:
    return argument if isinstance(argument, bytes) else str(argument).encode()
