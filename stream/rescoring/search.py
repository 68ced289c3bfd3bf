"""How much of another party's log a decision may have seen that a repair may have displaced, and what it saw of that.

It saw all that was there, but what its own partition has behind it. How long the log was then is not on record: only
that its own record was there, and what had been told of. So every beginning of the log that may have been all of it is
looked at, until the decision comes out to the bit.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from features.history.displaced import ALL_DISPLACED
from features.history.frames import Floats
from features.history.history import History
from features.history.store import Entity, Ints, Transactions
from stream.dataset.database import connect_memory, quoted
from stream.rescoring.ledgers import FollowingLabel, ShardLedger, read_followers
from stream.rescoring.passes import MOST_RECORDS, OtherPass, PlacedLabel, VisibleFeatures, chosen, columns_of
from stream.rescoring.rescore import different
from stream.rescoring.shards import Shard, ShardBatch, ShardOrder
from stream.rescoring.tasks import DECIDE, placed_before, to_decide
from stream.rescoring.workdir import Workdir

UNDER_WAY_MS = 30_000
"""What is told of within so long after a decision may have been in the log by then: a batch is told of when it is done,
and what was under way when histories were lost is told of only after they are whole."""
MOST_BEGINNINGS = 1_000
"""So many beginnings are looked at for one decision at most."""


class DifferingDecision(NamedTuple):
    """A decision in which something differs: by which of the feature sets, and the vector on record."""

    which: int
    vector: Floats


class Log(NamedTuple):
    """One party's whole log: its transactions, their positions, and when, by position, each record was told of."""

    transactions: Transactions
    history: History
    positions: Ints
    told_ms: Ints

    def ends(self, at: int) -> Sequence[int]:
        """Return where the log may have ended when transaction `at` was decided, as last positions, likely ones first.

        That is where the last record is that had been told of by then.
        """
        position = int(self.positions[at])
        told_ms = self.told_ms[position:] - self.told_ms[position]
        likely, last = (position + int(np.flatnonzero(told_ms <= late)[-1]) for late in (0, UNDER_WAY_MS))
        ends = sorted(range(position, last + 1), key=lambda end: abs(end - likely))
        return ends[:MOST_BEGINNINGS]


class LogPass(OtherPass):
    """Takes one party's log at once, and then looks at its beginnings."""

    def __init__(self, place: Workdir, entity: Entity) -> None:
        super().__init__(place.sets, entity, ALL_DISPLACED)
        self._columns = [columns_of(one, entity) for one in place.sets.sets]

    def log(
        self, lot: ShardBatch, told_ms: Ints, followers: deque[FollowingLabel], waiting: Mapping[tuple[int, int], Ints]
    ) -> Log:
        """Take all of a party's transactions, told of at these times, and the labels that come with them."""
        due = list(followers)
        placed = [*placed_before(followers, lot.places(), lot.last)]
        placed += [PlacedLabel(len(lot.numbers), one.party, one.row) for one in followers]
        drafted = self.draft(lot.transactions, placed, waiting)
        (history,) = set(drafted.histories)
        found = np.full(history.length, -1, np.int64)
        found[[position for _, position in drafted.labels]] = [one.at_ms for one in due]
        found[drafted.positions] = told_ms
        last = np.maximum.accumulate(np.where(found < 0, 0, np.arange(len(found))))  # labels that follow theirs
        return Log(lot.transactions, history, np.array(drafted.positions, np.int64), found[last])

    def search(self, log: Log, at: int, told: DifferingDecision) -> VisibleFeatures:
        """Return what transaction `at` saw of the first beginning in which it comes out; else of the likeliest."""
        wanted, found = told.vector[self._columns[told.which]], []
        for seen in self._beginnings(log, at):
            fits = np.flatnonzero(~different(seen.vectors[told.which], wanted[np.newaxis]).any(axis=1))
            if len(fits):
                found = [_one(seen, int(fits[0]))]
                break
            found = found or [_one(seen, 0)]
        return found[0]

    def _beginnings(self, log: Log, at: int) -> Iterator[VisibleFeatures]:
        """Yield what a transaction saw of beginnings of the log, some at a time."""
        ends, position = log.ends(at), int(log.positions[at])
        some = max(1, MOST_RECORDS // log.history.length)
        row = log.history.at(position)
        for start in range(0, len(ends), some):
            these = ends[start : start + some]
            histories = [beginning(log.history, end) for end in these]
            batch = chosen(log.transactions, [at] * len(these))
            looked = [(number, history, position) for number, history in enumerate(histories)]
            yield self.look(batch, looked, np.repeat(row[np.newaxis], len(these), axis=0))


def _one(seen: VisibleFeatures, at: int) -> VisibleFeatures:
    return VisibleFeatures([vectors[at : at + 1] for vectors in seen.vectors], seen.visible[at : at + 1])


def beginning(history: History, end: int) -> History:
    """Return a history as it was when the record at a position was its last."""
    found = History(history.entity, history.entity_id, history.columns)
    found.replace(history.base, history.upto(end))
    return found


def search(entity: Entity, place: Workdir, shard: int) -> None:
    """Look for the decisions that differ of a shard's parties of one kind; keep what they saw as `moved`."""
    told, fates = _unlike(place), place.fates()
    with Shard(place, entity, shard, ShardOrder.by_party(entity, place.unlike)) as source:
        rows = np.intersect1d(source.rows(), np.fromiter(told, np.int64, len(told)))
        with ShardLedger(place, entity, shard, rows, moved=True) as ledger:
            if not len(rows):
                return
            followers = read_followers(place, entity, OtherPass(place.sets, entity).hashes(source.names()))
            scored_ms, start = source.column("scored_ms"), 0
            for lot in source.lots():
                decided = fates[lot.numbers] == DECIDE
                when_ms = scored_ms[start : start + len(decided)][decided]
                start += len(decided)
                party = LogPass(place, entity)
                (name,) = party.hashes({getattr(lot.transactions, f"{entity.value}_ids")[0]})
                due = deque(one for one in followers.placed if one.party == name)
                theirs = to_decide(lot, decided)
                log = party.log(theirs, when_ms, due, followers.waiting)
                for at in np.flatnonzero(np.isin(theirs.rows, rows)).tolist():
                    ledger.keep(theirs.rows[at : at + 1], party.search(log, at, told[int(theirs.rows[at])]))
            place.progress()[shard] = start


def _unlike(place: Workdir) -> dict[int, DifferingDecision]:
    """Return the decisions to be looked for, by output row."""
    which = {fingerprint: at for at, fingerprint in enumerate(place.sets.by_fingerprint)}
    with connect_memory(place.folder, place.memory_mb) as connection:
        found = connection.execute(f"SELECT row, fingerprint, features FROM {quoted(place.unlike)}").fetchall()
    return {row: DifferingDecision(which[name], np.frombuffer(packed)) for row, name, packed in found if name in which}
