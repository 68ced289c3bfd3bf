"""Keep a snapshot of `model-events` in the model repository, from which `fraudstream model restore` writes it back.

The judge writes it soon after each event on which a lineup depends: off the event loop, and with the repository's
deadline. A worker that starts compares it with the log: a topic that was made anew looks like that of a new deployment.
A snapshot that is not sealed as it must be says nothing: whoever may write to the repository may have written it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import ParamSpec, TypeVar

from models.deadline import in_thread
from models.errors import DamagedSnapshotError, ModelError, UnsealedSnapshotError
from models.snapshot import lost_revision, read_snapshot
from stream.control.follower import Follower
from stream.control.snapshot_store import SnapshotStore
from stream.errors import NotReadyError
from stream.kafka.topics import MODEL_EVENTS
from stream.settings import Settings

log = logging.getLogger("fraudstream.snapshots")

_P = ParamSpec("_P")
_T = TypeVar("_T")
_POLL_SECONDS = 2.0
_COALESCE_SECONDS = 1.0
_RETRY_SECONDS = 30.0
_PAUSES = 20
"""A pause after a snapshot is this many times as long as writing it took, so that a large one does not cost a core."""
_LOOK_AGAIN_SECONDS = 600.0
"""A judge that has lost the topic may have replaced the snapshot by an older one."""


class Snapshots:
    """Writes the snapshot of a deployment while `judges` returns true, and compares it with the log at the start."""

    def __init__(
        self, settings: Settings, follower: Follower, store: SnapshotStore, judges: Callable[[], bool]
    ) -> None:
        self._follower = follower
        self._store = store
        self._judges = judges
        self._topic = settings.topic(MODEL_EVENTS.name)
        self._saved = 0
        self._compare_at = 0.0
        self._said = ""

    @property
    def unsaved(self) -> int:
        """How many events the snapshot lacks, as far as the judge knows; 0 in other workers."""
        return max(0, len(self._follower.log.kept) - self._saved) if self._judges() else 0

    async def check(self) -> None:
        """Compare the snapshot with the log that was read; without a snapshot, or a repository, there is nothing to do.

        Raises:
            NotReadyError: the log lacks revisions of this deployment.
        """
        lineup = self._follower.lineup
        try:
            revision = await _in_thread(lost_revision, await self._read(), lineup)
        except UnsealedSnapshotError as error:
            log.warning("the snapshot of %s at %s is not used: %s", self._topic, self._store.place, error)
            return
        except ModelError as error:
            log.warning("the snapshot of %s cannot be read: %s", self._topic, error)
            return
        if revision is not None:
            raise NotReadyError(
                f"{self._topic} is whole and ends with revision {lineup.revision} of {lineup.deployment}, but "
                f"{self._store.place} has revision {revision}: the topic was made anew or emptied, or that file is not "
                "of this log. Look who did it, and which of the two counts: docs/how-to/restore-the-control-log.md"
            )

    async def run(self) -> None:
        """Write a snapshot whenever it lacks events."""
        while True:
            await self._follower.wait_for_change(_POLL_SECONDS)
            if not self._judges():
                self._saved, self._compare_at = 0, 0.0
            elif self._follower.caught_up and (self.unsaved or time.monotonic() >= self._compare_at):
                await asyncio.sleep(_COALESCE_SECONDS)
                await asyncio.sleep(await self._save())

    async def _save(self) -> float:
        """Write the snapshot if it lacks events, and return how long to pause."""
        events, lineup, start = dict(self._follower.log.kept), self._follower.lineup, time.monotonic()
        try:
            if start >= self._compare_at:
                before = await self._compared(events)
                self._compare_at = start + _LOOK_AGAIN_SECONDS
                self._saved = before
            if self._saved < len(events):
                value = await _in_thread(self._store.seal.write, lineup, tuple(events.values()))
                await _in_thread(self._store.write, value)
                self._saved = len(events)
        except ModelError as error:
            if str(error) != self._said:
                log.warning("the snapshot of %s could not be written, retrying: %s", self._topic, error)
            self._said = str(error)
            return _RETRY_SECONDS
        self._said = ""
        return (time.monotonic() - start) * _PAUSES

    async def _compared(self, events: Mapping[str, bytes]) -> int:
        """Return how many of the events the snapshot has.

        Raises:
            DamagedSnapshotError: it has events that the log lacks, and must stay.
        """
        text = await _in_thread(self._store.read)
        if text is None:
            return 0
        try:
            # Without keys nobody can tell who wrote it: one that has more may be the only copy of what was lost.
            read = self._store.seal.read if self._store.seal.keys else read_snapshot
            found = await _in_thread(read, text)
        except (DamagedSnapshotError, UnsealedSnapshotError) as error:
            aside = await _in_thread(self._store.put_aside, text)
            log.warning("the snapshot of %s is replaced, and kept as %s: %s", self._topic, aside, error)
            return 0
        if more := len(found.keys() - events.keys()):
            raise DamagedSnapshotError(
                f"{self._store.place} has {more} events that the log lacks, so it stays as it is"
            )
        return len(found)

    async def _read(self) -> dict[str, bytes]:
        text = await _in_thread(self._store.read)
        return {} if text is None else await _in_thread(self._store.seal.read, text)


async def _in_thread(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    return await asyncio.wrap_future(in_thread(partial(work, *args, **kwargs)))
