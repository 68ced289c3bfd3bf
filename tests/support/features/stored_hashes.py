"""A connection that keeps hashes in a dictionary, for what is only stored in and read from one."""

from collections.abc import Sequence
from typing import Any

from features.redis.connection import Call, Script


class HashConnection:
    """Does what the scripts `set_fields` and `hgetall` do; `fails` makes the next call raise."""

    def __init__(self) -> None:
        self.hashes: dict[bytes, dict[bytes, bytes]] = {}
        self.calls: list[Script] = []
        self.fails: Exception | None = None

    async def run(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        """Run a script for each call."""
        self.calls.append(script)
        if self.fails is not None:
            raise self.fails
        return [self._run(script, call) for call in calls]

    def _run(self, script: Script, call: Call) -> Any:
        found = self.hashes.setdefault(call.keys[0], {})
        if script == "hgetall":
            return [word for pair in found.items() for word in pair]
        assert script == "set_fields"
        words = [str(one).encode() if isinstance(one, int) else one for one in call.arguments[1:]]
        found.update(zip(words[::2], words[1::2], strict=True))
        return len(words) // 2
