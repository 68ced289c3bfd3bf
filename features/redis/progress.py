"""Progress of a repair, checkpoints from which one can start, and copies of commits, as all workers share them.

They are stored in Redis beside the epoch, in HOME_SHARD. A log has two parts for each partition, transactions and
labels, and a third where features read predictions from storage; when all parts are applied again, the epoch's
histories are complete.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from features.declaration import DAY_MS
from features.history.displaced import ALL_DISPLACED, Displaced
from features.history.records import NOTE_BIT, source
from features.redis.connection import Call, Connection
from features.redis.keys import HOME_SHARD, KeyLayout
from features.redis.retention import Coverage, EpochCoverage, read_coverage

PROGRESS_EXPIRY_MS = 45 * DAY_MS
"""The progress of a repair outlives the retention of the topics."""
PART_FIGURES = 4
"""The stored figures of a part: first, reached, end and whether it is done."""
NO_END = 1 << 62
"""Above every offset."""
_PARTITION = re.compile(r"[0-9]{1,9}")
VOID = "void"
"""Field of the checkpoints' hash: they are void."""


TopicName = Literal["transactions", "labels", "predictions"]
_PREDICTIONS = "predictions:p"
"""Stored so that a version that knows no predictions takes the part for none, rather than for one of transactions."""
_COMMIT_OF_PREDICTIONS = "commit:"


class LogPart(NamedTuple):
    """One partition of the labels, of the transactions or of the predictions from storage."""

    of_labels: bool
    partition: int
    of_predictions: bool = False

    @property
    def topic(self) -> TopicName:
        """The topic's name in the contract."""
        if self.of_predictions:
            return "predictions"
        return "labels" if self.of_labels else "transactions"

    @property
    def text(self) -> str:
        """The stored form."""
        return f"{_PREDICTIONS}{self.partition}" if self.of_predictions else f"{self.topic}:{self.partition}"

    @property
    def source(self) -> int:
        """The part as records have it in their flags; no record is looked up by that of predictions."""
        plain = source(self.partition, of_labels=self.of_labels)
        return plain | NOTE_BIT if self.of_predictions else plain


class PartProgress(NamedTuple):
    """How far a part is applied again: from `first` up to `reached`, going on to `end`, as offsets."""

    first: int
    reached: int
    end: int

    @property
    def done(self) -> bool:
        """Whether it is applied completely."""
        return self.reached >= self.end


class PartReport(NamedTuple):
    """The progress of a part, and the offset below which its records may be displaced by the loss or the repair.

    It is `final` if that offset will not change; only then the part counts as done.
    """

    progress: PartProgress
    displaced_below: int
    final: bool = True

    @property
    def text(self) -> str:
        """The stored form."""
        (first, reached, end), done = self.progress, self.progress.done and self.final
        return f"{first} {reached} {end} {done:d}"


class RepairProgress:
    """The stored progress of a deployment's repairs; each belongs to an epoch and a coverage."""

    def __init__(self, connection: Connection, layout: KeyLayout) -> None:
        self._connection = connection
        self._layout = layout

    async def report(self, repair: EpochCoverage, reports: Mapping[LogPart, PartReport], parts: int) -> bool | None:
        """Store the progress of parts; the log has `parts` parts in all.

        Returns:
            Whether the histories are now complete; None if the epoch is no longer current.
        """
        arguments: list[bytes | int] = [
            repair.epoch,
            parts,
            repair.cover.text.encode(),
            PROGRESS_EXPIRY_MS,
            len(reports),
        ]
        for part, report in reports.items():
            arguments += [part.text.encode(), report.text.encode()]
        for part, report in reports.items():
            arguments += [part.source, report.displaced_below]
        keys = (
            self._layout.epochs[HOME_SHARD],
            self._layout.complete,
            self._repair_key(repair),
            self._displaced_key(repair.epoch),
        )
        (reply,) = await self._connection.run("report_progress", [Call(HOME_SHARD, keys, arguments)])
        return None if reply < 0 else bool(reply)

    async def parts(self, repair: EpochCoverage) -> dict[LogPart, PartProgress]:
        """Return the progress of each part that was reported."""
        stored = await self._hash(self._repair_key(repair))
        found = {}
        for field, value in stored.items():
            part, figures = parse_part(field), _integers(value.split())
            if part is not None and len(figures) == PART_FIGURES:
                found[part] = PartProgress(*figures[:-1])
        return found

    async def displaced(self, epoch: int) -> Displaced:
        """Return which records the repair of an epoch may have displaced: all, if that is not readable."""
        stored = await self._hash(self._displaced_key(epoch))
        places, ends = _integers(stored), _integers(stored.values())
        return (
            Displaced(dict(zip(places, ends, strict=True)))
            if len(places) == len(ends) == len(stored)
            else ALL_DISPLACED
        )

    async def add_displaced(self, epoch: int, ends: Mapping[LogPart, int], now_ms: int) -> None:
        """Store below which offsets records may have been displaced while a part of the histories was repaired.

        All workers read it when they look at the state next.
        """
        pairs = [number for part, end in ends.items() for number in (part.source, end)]
        arguments: list[bytes | int] = [epoch, NO_END, b"", PROGRESS_EXPIRY_MS, 0, *pairs]
        begin = self._layout.epochs[HOME_SHARD]
        keys = (begin, self._layout.complete, begin + b":rebuilding", self._displaced_key(epoch))
        await self._connection.run("report_progress", [Call(HOME_SHARD, keys, arguments)])
        await self._connection.set(HOME_SHARD, self._layout.displaced_at, str(now_ms))

    async def checkpoint(self, epoch: int, checkpoints: Mapping[LogPart, int]) -> bool:
        """Store, for each part, the offset below which everything is applied; tell whether it was stored.

        Replication and persistence keep the order of a server's commands: a server that still has a checkpoint
        has everything before it. So a repair after the loss of a server starts there.
        """
        identity = self._connection.identity()
        if identity is None or not checkpoints:
            return False
        pairs = [word for part, offset in checkpoints.items() for word in (part.text.encode(), offset)]
        return await self._checkpoint(epoch, [epoch, *map(str.encode, identity), PROGRESS_EXPIRY_MS, *pairs])

    async def void_checkpoints(self, epoch: int) -> bool:
        """Void the checkpoints of an epoch, since records before them are lost; tell if there were any."""
        return await self._checkpoint(epoch, [epoch, b"", b"", PROGRESS_EXPIRY_MS])

    async def _checkpoint(self, epoch: int, arguments: Sequence[bytes | int]) -> bool:
        keys = (self._layout.epochs[HOME_SHARD], self._layout.complete, self._layout.checkpoints(HOME_SHARD, epoch))
        (reply,) = await self._connection.run("checkpoint", [Call(HOME_SHARD, keys, arguments)])
        return bool(reply)

    async def checkpoints(self, wanted: Coverage) -> dict[LogPart, int]:
        """Return the checkpoints of the last complete epoch that the server still has.

        None count if the histories were not complete as far back as `wanted`.
        """
        complete = await self.complete()
        fields = (
            await self._hash(self._layout.checkpoints(HOME_SHARD, complete.epoch))
            if complete.cover.includes(wanted)
            else {}
        )
        if VOID in fields:
            return {}
        read = {parse_part(field): _integers([offset]) for field, offset in fields.items()}
        return {part: offset[0] for part, offset in read.items() if part is not None and offset}

    async def complete(self) -> EpochCoverage:
        """Return the last epoch under which histories were complete, and how far back."""
        (value,) = await self._connection.values([(HOME_SHARD, self._layout.complete)])
        return read_coverage(value)

    async def _hash(self, key: bytes) -> dict[str, str]:
        (reply,) = await self._connection.run("hgetall", [Call(HOME_SHARD, (key,), ())])
        texts = [text.decode(errors="replace") for text in reply]
        return dict(zip(texts[::2], texts[1::2], strict=True))

    def _repair_key(self, repair: EpochCoverage) -> bytes:
        return self._layout.epochs[HOME_SHARD] + f":rebuilding:{repair.text}".encode()

    def _displaced_key(self, epoch: int) -> bytes:
        return self._layout.epochs[HOME_SHARD] + f":displaced:{epoch}".encode()


def parse_part(text: str) -> LogPart | None:
    """Parse a part; None if the text is none."""
    topic, _, partition = text.partition(":")
    if text.startswith(_PREDICTIONS):
        number = text.removeprefix(_PREDICTIONS)
        return LogPart(of_labels=False, partition=int(number), of_predictions=True) if number.isdecimal() else None
    return LogPart(topic == "labels", int(partition)) if _PARTITION.fullmatch(partition) else None


def _integers(texts: Iterable[str]) -> tuple[int, ...]:
    """Parse integers; none at all if any text is none."""
    try:
        return tuple(map(int, texts))
    except ValueError:
        return ()


class CommitNotes:
    """A second copy of what a group committed in Kafka, one note for each partition, of the deployment with these keys.

    What a note says, and whether it can be trusted, is the caller's affair. They expire 45 days after the last one was
    written.
    """

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
    return f"{_COMMIT_OF_PREDICTIONS if part.of_predictions else ''}{part.text}".encode()


def _parse_field(field: bytes) -> LogPart | None:
    return parse_part(field.decode(errors="replace").removeprefix(_COMMIT_OF_PREDICTIONS))
