"""The checkpoint of the watch, in a file beside the guard's: it saves reading weeks of scores, and may be lost.

Without it, the last weeks are read again; what `incidents` has told is not told again.
"""

import asyncio
import gzip
import logging
import zlib
from pathlib import Path

import msgspec
import numpy as np

from fraudstream.ops.watch.drift.alarm import AlarmState
from fraudstream.ops.watch.drift.book import AlertBook, StoredBook
from fraudstream.ops.watch.drift.counts import DriftCounts, StoredCounts, read_counts
from fraudstream.ops.watch.drift.feed import StoredFeed
from fraudstream.ops.watch.drift.first_days import FirstDays
from fraudstream.ops.watch.drift.fold import DriftFold, PairState, WatchedPair
from fraudstream.ops.watch.drift.judge import JudgedWindow
from fraudstream.ops.watch.drift.terms import DriftTerms
from fraudstream_client.validity import Standing
from models.folder_store import replace_file
from models.training_reference import TrainingReference
from stream.settings import Settings

log = logging.getLogger("fraudstream.drift")

VERSION = 2
"""One of an earlier version is not used: the last weeks are read again, and the log says so."""
_SUFFIX = ".drift"
_LEVEL = 1


class StoredFirstDays(msgspec.Struct, frozen=True):
    """The first days of a model without a reference."""

    first_day: int
    workdays: StoredCounts
    weekends: StoredCounts
    windows: tuple[StoredCounts, ...]


class StoredPair(msgspec.Struct, frozen=True):
    """What is known of a model and arm."""

    digest: str
    arm: str
    days: dict[int, StoredCounts]
    window: StoredCounts | None
    window_day: int
    last_day: int
    first_days: StoredFirstDays | None
    own_reference: TrainingReference | None
    alarms: AlarmState
    last: JudgedWindow | None
    recent: tuple[float, ...] | None = None


class StoredPartition(msgspec.Struct, frozen=True):
    """How far a partition of scores was read: the next offset, and the standing there."""

    position: int
    highest_epoch: int
    last_place: int


class StoredWatch(msgspec.Struct, frozen=True):
    """What is stored: the fold, the book of alerts, the feed of labels, and how far the topics were read, with ids."""

    deployment: str
    prefix: str
    topic_id: str = ""
    partitions: dict[int, StoredPartition] = {}
    pairs: tuple[StoredPair, ...] = ()
    late: int = 0
    looked_to: int = 0
    book: StoredBook = StoredBook()
    outcomes: dict[int, int] = {}
    outcomes_id: str = ""
    feed: StoredFeed = StoredFeed()
    version: int = VERSION

    def is_of(self, settings: Settings) -> bool:
        """Tell whether a guard with these settings may go on from it."""
        expected = (VERSION, settings.deployment, settings.topic_prefix)
        return (self.version, self.deployment, self.prefix) == expected

    def fold(self, terms: DriftTerms) -> DriftFold:
        """Return the fold that was stored.

        Raises:
            ValueError: its counts are damaged.
        """
        found = DriftFold(terms, {WatchedPair(one.digest, one.arm): _pair(one) for one in self.pairs})
        found.late, found.looked_to = self.late, self.looked_to
        return found

    def standings(self) -> dict[int, Standing]:
        """Return the standing of each partition."""
        return {number: Standing(one.highest_epoch, one.last_place) for number, one in self.partitions.items()}


def stored_pairs(fold: DriftFold) -> tuple[StoredPair, ...]:
    """Return a fold's state as plain JSON."""
    return tuple(
        StoredPair(
            pair.digest,
            pair.arm,
            {day: counts.stored() for day, counts in state.days.items()},
            None if state.window is None else state.window.stored(),
            state.window_day,
            state.last_day,
            None if state.first_days is None else _stored_first(state.first_days),
            state.own_reference,
            state.alarms,
            state.last,
            None if state.recent is None else tuple(state.recent.tolist()),
        )
        for pair, state in sorted(fold.pairs.items())
    )


def _stored_first(days: FirstDays) -> StoredFirstDays:
    windows = tuple(one.stored() for one in days.windows)
    return StoredFirstDays(days.first_day, days.workdays.stored(), days.weekends.stored(), windows)


def _pair(stored: StoredPair) -> PairState:
    first = stored.first_days
    return PairState(
        {day: read_counts(counts) for day, counts in stored.days.items()},
        None if stored.window is None else read_counts(stored.window),
        stored.window_day,
        stored.last_day,
        None if first is None else _first(first),
        stored.own_reference,
        stored.alarms,
        stored.last,
        None if stored.recent is None else np.array(stored.recent),
    )


def _first(stored: StoredFirstDays) -> FirstDays:
    windows: list[DriftCounts] = [read_counts(one) for one in stored.windows]
    return FirstDays(stored.first_day, read_counts(stored.workdays), read_counts(stored.weekends), windows)


class DriftCheckpoint:
    """One file; what fails is logged, and ends nothing.

    Args:
        path: the guard's own checkpoint; this one has the suffix `.drift`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + _SUFFIX)
        self._problem = ""

    def load(self, settings: Settings) -> StoredWatch | None:
        """Return what is stored for this deployment; None, with a line in the log, if there is no use of it."""
        why = "it is of another version, deployment or topic prefix"
        try:
            stored = msgspec.json.decode(gzip.decompress(self._path.read_bytes()), type=StoredWatch)
            if stored.is_of(settings):
                stored.fold(DriftTerms())  # damaged counts are found here
                AlertBook(stored.book)
                return stored
        except FileNotFoundError:
            log.info("no checkpoint of drift in %s; the last weeks of scores are read", self._path)
            return None
        except OSError as error:
            why = error.strerror or str(error)
        except (ValueError, RecursionError, EOFError, zlib.error) as error:  # msgspec's errors are ValueErrors
            why = str(error) or "it is damaged"
        log.warning("the checkpoint of drift in %s is not used: %s; the last weeks are read", self._path, why)
        return None

    async def save(self, stored: StoredWatch) -> bool:
        """Replace the file; tell whether it was written. The state is encoded at once, and may go on meanwhile."""
        value = msgspec.json.encode(stored)
        try:
            await asyncio.to_thread(_write, self._path, value)
        except OSError as error:
            problem = error.strerror or str(error)
            if problem != self._problem:
                log.warning("the checkpoint of drift cannot be written to %s: %s", self._path, problem)
            self._problem = problem
            return False
        self._problem = ""
        return True


def _write(path: Path, value: bytes) -> None:
    replace_file(path, gzip.compress(value, _LEVEL, mtime=0))
