"""How far the histories of an epoch are put together again, as all workers of a deployment know it.

It is kept in Redis beside the epoch, in the shard HOME. A log has two parts for each partition, one of transactions and
one of labels; when all parts are applied again, the epoch's histories are whole. Nothing here reads a log.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from features.declaration import DAY_MS
from features.history.displaced import Displaced
from features.history.records import source
from features.redis.connection import Call, Connection
from features.redis.keys import HOME, Shards
from features.redis.retention import Cover, EpochCover, read_span

KEPT_MS = 45 * DAY_MS
"""What is noted of a repair outlives all that the log keeps."""
NO_END = 1 << 62
"""Above every offset."""
VOID = "void"
"""Among marks: they mean nothing."""


class LogPart(NamedTuple):
    """One partition of the labels or of the transactions."""

    of_labels: bool
    partition: int

    @property
    def text(self) -> str:
        """As it is kept."""
        return f"{'labels' if self.of_labels else 'transactions'}:{self.partition}"


class Reached(NamedTuple):
    """How far a part is applied again: from `first` up to `reached`, and to go on to `end`, as offsets."""

    first: int
    reached: int
    end: int

    @property
    def done(self) -> bool:
        """Whether all of it is applied again."""
        return self.reached >= self.end


class PartReport(NamedTuple):
    """How far a part is, and the offset below which its records may lie where the loss or the repair put them.

    It is `final` where that offset will stay; only then the part counts as done.
    """

    reached: Reached
    displaced_below: int
    final: bool = True

    @property
    def text(self) -> str:
        """As it is kept."""
        (first, reached, end), done = self.reached, self.reached.done and self.final
        return f"{first} {reached} {end} {done:d}"


class RepairProgress:
    """What is known of the repairs of one deployment's histories: each is of an epoch, as far back as is kept."""

    def __init__(self, link: Connection, shards: Shards) -> None:
        self._link = link
        self._shards = shards

    async def report(self, repair: EpochCover, reports: Mapping[LogPart, PartReport], parts: int) -> bool | None:
        """Note how far parts are, of so many that there are.

        Returns:
            Whether the histories are whole with that; None where it is not the epoch any more.
        """
        noted: list[bytes | int] = [repair.epoch, parts, repair.cover.text.encode(), KEPT_MS, len(reports)]
        for part, report in reports.items():
            noted += [part.text.encode(), report.text.encode()]
        for part, report in reports.items():
            noted += [source(part.partition, of_labels=part.of_labels), report.displaced_below]
        keys = (self._shards.epochs[HOME], self._shards.whole, self._repair(repair), self._displaced(repair.epoch))
        (reply,) = await self._link.run("report", [Call(HOME, keys, noted)])
        return None if reply < 0 else bool(reply)

    async def progress(self, repair: EpochCover) -> dict[LogPart, Reached]:
        """Return how far each part is, as far as anything was reported."""
        found = {}
        for field, value in (await self._fields(self._repair(repair))).items():
            first, reached, end, _ = map(int, value.split())
            found[_part(field)] = Reached(first, reached, end)
        return found

    async def displaced(self, epoch: int) -> Displaced:
        """Return which records the repair of an epoch may have put elsewhere than they came in."""
        return Displaced({int(place): int(end) for place, end in (await self._fields(self._displaced(epoch))).items()})

    async def mark(self, epoch: int, marks: Mapping[LogPart, int]) -> bool:
        """Note that of each part all below an offset is applied, and was when this was asked; tell whether that stands.

        Replication and what a server writes down keep the order of its commands: one that still knows of a mark has all
        that came before. So a repair after the loss of a server begins there.
        """
        identity = self._link.identity()
        if identity is None or not marks:
            return False
        pairs = [word for part, offset in marks.items() for word in (part.text.encode(), offset)]
        return await self._mark(epoch, [epoch, *map(str.encode, identity), KEPT_MS, *pairs])

    async def void_marks(self, epoch: int) -> bool:
        """Make the marks of an epoch mean nothing, since records are gone that came before; tell if there were any."""
        return await self._mark(epoch, [epoch, b"", b"", KEPT_MS])

    async def _mark(self, epoch: int, arguments: Sequence[bytes | int]) -> bool:
        keys = (self._shards.epochs[HOME], self._shards.whole, self._shards.marks(HOME, epoch))
        (reply,) = await self._link.run("mark", [Call(HOME, keys, arguments)])
        return bool(reply)

    async def marks(self, wanted: Cover) -> dict[LogPart, int]:
        """Return below which offsets all was applied when the histories were last whole, as the server still knows.

        That means nothing where they were not so as far back as is wanted.
        """
        whole = await self.whole()
        fields = await self._fields(self._shards.marks(HOME, whole.epoch)) if whole.cover.reaches(wanted) else {}
        return {} if VOID in fields else {_part(field): int(offset) for field, offset in fields.items()}

    async def whole(self) -> EpochCover:
        """Return the last epoch whose histories were all there, and how far back."""
        (value,) = await self._link.values([(HOME, self._shards.whole)])
        return read_span(value)

    async def _fields(self, key: bytes) -> dict[str, str]:
        (reply,) = await self._link.run("fields", [Call(HOME, (key,), ())])
        texts = [text.decode() for text in reply]
        return dict(zip(texts[::2], texts[1::2], strict=True))

    def _repair(self, repair: EpochCover) -> bytes:
        return self._shards.epochs[HOME] + f":rebuilding:{repair.text}".encode()

    def _displaced(self, epoch: int) -> bytes:
        return self._shards.epochs[HOME] + f":displaced:{epoch}".encode()


def _part(text: str) -> LogPart:
    topic, _, partition = text.partition(":")
    return LogPart(topic == "labels", int(partition))
