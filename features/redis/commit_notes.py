"""A second copy of what a group committed in Kafka, one note for each partition, in HOME_SHARD.

What a note says, and whether it can be trusted, is the caller's affair.
"""

from collections.abc import Mapping

from features.redis.connection import Call, Connection
from features.redis.keys import HOME_SHARD, KeyLayout
from features.redis.progress import PROGRESS_EXPIRY_MS, LogPart, parse_part

_PREDICTIONS = "commit:"


class CommitNotes:
    """The notes of the deployment with these keys; they expire 45 days after the last one was written."""

    def __init__(self, connection: Connection, layout: KeyLayout) -> None:
        self._connection = connection
        self._key = layout.commits

    async def write(self, notes: Mapping[LogPart, bytes]) -> None:
        """Write the notes of some parts, in one round trip; none if there are none.

        Raises:
            StoreUnavailableError: the server does not answer; it is unknown whether they are written.
        """
        if notes:
            pairs = [word for part, note in notes.items() for word in (_field(part), note)]
            call = Call(HOME_SHARD, (self._key,), [PROGRESS_EXPIRY_MS, *pairs])
            await self._connection.run("set_fields", [call])

    async def read(self) -> dict[LogPart, bytes]:
        """Return the note of each part that has one.

        Raises:
            StoreUnavailableError: the server does not answer.
        """
        (reply,) = await self._connection.run("hgetall", [Call(HOME_SHARD, (self._key,), ())])
        found = {_parse_field(field): note for field, note in zip(*[iter(reply)] * 2, strict=True)}
        return {part: note for part, note in found.items() if part is not None}


def _field(part: LogPart) -> bytes:
    """Return the field of a part.

    The version before takes every part but those of labels for one of transactions, so that of predictions has a field
    that it passes over.
    """
    return f"{_PREDICTIONS if part.of_predictions else ''}{part.text}".encode()


def _parse_field(field: bytes) -> LogPart | None:
    return parse_part(field.decode(errors="replace").removeprefix(_PREDICTIONS))
