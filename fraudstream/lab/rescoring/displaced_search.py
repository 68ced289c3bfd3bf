"""Search for what a decision saw of another party's log if a repair later displaced its record there.

Such a decision saw everything in the log but what its own partition has after it. How long the log was at that time is
not on record; it held the decision's own record and all that was published before it, and it may have held what had
been sent: a worker appends a payment before it decides it, and may end in between. So every prefix of the log that may
have been the whole log is tried, until the features come out to the last bit. If none does, the one that gives most of
them counts, since another reason may explain the rest.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from features.history.displaced import ALL_DISPLACED
from features.history.frames import Flags, Floats
from features.history.history import History
from features.history.store import Entity, Ints, Transactions
from fraudstream.lab.dataset.database import connect_memory, quoted
from fraudstream.lab.rescoring.history_pass import MAX_RECORDS, OtherPass, PartyLabel, VisibleFeatures, columns_of
from fraudstream.lab.rescoring.rescore import different
from fraudstream.lab.rescoring.shard_output import IncomingLabel, ShardOutput, read_incoming_labels
from fraudstream.lab.rescoring.shards import Shard, ShardBatch, ShardOrder
from fraudstream.lab.rescoring.tasks import DECIDE, other_labels_before, to_decide
from fraudstream.lab.rescoring.workdir import Workdir

IN_FLIGHT_MS = 30_000
"""A record published up to this long after a decision may have been in the log when it was made.

A batch is published once it is done, and what was in flight when histories were lost only once they are whole again."""
MAX_PREFIXES = 1_000
"""The most prefixes of a log that are tried for one decision."""


class DifferingDecision(NamedTuple):
    """A decision that differs: the index of its feature set, and the recorded vector."""

    which: int
    vector: Floats


class PartyLog(NamedTuple):
    """One party's whole log: its transactions, and their positions; by position when each record was published.

    `sent_ms` is by position when each was sent, before which it was in no log.
    """

    transactions: Transactions
    history: History
    positions: Ints
    published_ms: Ints
    sent_ms: Ints

    def possible_ends(self, at: int) -> Sequence[int]:
        """Return the last positions that the log may have had when transaction `at` was decided, likely ones first.

        The likeliest is the last record published by then.
        """
        position = int(self.positions[at])
        decided_ms = self.published_ms[position]
        likely = _last(self.published_ms[position:] <= decided_ms)
        last = _last(self.sent_ms[position:] <= decided_ms + IN_FLIGHT_MS)
        ends = sorted(range(position, position + last + 1), key=lambda end: abs(end - position - likely))
        return ends[:MAX_PREFIXES]


def _last(flags: Flags) -> int:
    """Return the last place of a true flag; 0 without any: the own record was in the log, whatever its times say."""
    return int(np.flatnonzero(flags)[-1]) if flags.any() else 0


class LogPass(OtherPass):
    """Loads one party's log at once, and then computes features over its prefixes."""

    def __init__(self, workdir: Workdir, entity: Entity) -> None:
        super().__init__(workdir.sets, entity, ALL_DISPLACED)
        self._columns = [columns_of(one, entity) for one in workdir.sets.sets]

    def load(
        self,
        batch: ShardBatch,
        scored_ms: Ints,
        sent_ms: Ints,
        labels: deque[IncomingLabel],
        parked: Mapping[tuple[int, int], Ints],
    ) -> PartyLog:
        """Append all of a party's transactions, scored and sent at these times, and their labels."""
        due = list(labels)
        placed = [*other_labels_before(labels, batch.sort_keys(), batch.last_key)]
        placed += [PartyLabel(len(batch.numbers), one.party, one.row) for one in labels]
        drafted = self.draft(batch.transactions, placed, parked)
        (history,) = set(drafted.histories)
        places = [position for _, position in drafted.labels]
        published, sent = (
            _by_position(history.length, (places, [one.published_ms for one in due]), (drafted.positions, times))
            for times in (scored_ms, sent_ms)
        )
        return PartyLog(batch.transactions, history, np.array(drafted.positions, np.int64), published, sent)

    def search(self, log: PartyLog, at: int, recorded: DifferingDecision) -> VisibleFeatures:
        """Return what transaction `at` saw of the likeliest of the prefixes that give most of its recorded features."""
        wanted, found = recorded.vector[self._columns[recorded.which]], list[tuple[int, VisibleFeatures]]()
        for seen in self._prefixes(log, at):
            counts = different(seen.vectors[recorded.which], wanted[np.newaxis]).sum(axis=1)
            best = int(counts.argmin())
            found.append((int(counts[best]), _one(seen, best)))
            if not counts[best]:
                break
        return min(found, key=itemgetter(0))[1]

    def _prefixes(self, log: PartyLog, at: int) -> Iterator[VisibleFeatures]:
        """Yield what a transaction saw of the log's prefixes, several at a time."""
        ends, position = log.possible_ends(at), int(log.positions[at])
        count = max(1, MAX_RECORDS // log.history.length)
        row = log.history.at(position)
        for start in range(0, len(ends), count):
            some = ends[start : start + count]
            histories = [prefix(log.history, end) for end in some]
            batch = log.transactions.at([at] * len(some))
            places = [(number, history, position) for number, history in enumerate(histories)]
            yield self.features_at(batch, places, np.repeat(row[np.newaxis], len(some), axis=0))


def _by_position(length: int, *parts: tuple[Sequence[int], Sequence[int] | Ints]) -> Ints:
    """Return the times of a log's records: the last of the given ones; a parked label has that of its transaction."""
    found = np.full(length, -1, np.int64)
    for positions, times in parts:
        found[positions] = times
    return found[np.maximum.accumulate(np.where(found < 0, 0, np.arange(length)))]


def _one(seen: VisibleFeatures, at: int) -> VisibleFeatures:
    return VisibleFeatures([vectors[at : at + 1] for vectors in seen.vectors], seen.visible[at : at + 1])


def prefix(history: History, end: int) -> History:
    """Return a history as it was when the record at position `end` was its last."""
    found = History(history.entity, history.entity_id, history.columns)
    found.replace(history.base, history.upto(end))
    return found


def search_displaced(entity: Entity, workdir: Workdir, shard: int) -> None:
    """Search the logs of a shard's entities for the differing decisions, and write what they saw as `displaced`."""
    recorded = _differing_decisions(workdir)
    with Shard(workdir, entity, shard, ShardOrder.by_party(entity, workdir.differing)) as source:
        rows = np.intersect1d(source.rows(), np.fromiter(recorded, np.int64, len(recorded)))
        with ShardOutput(workdir, entity, shard, rows, displaced=True) as output:
            if not len(rows):
                return
            incoming = read_incoming_labels(
                workdir, entity, OtherPass(workdir.sets, entity).hashes(source.entity_ids())
            )
            sent_ms = np.asarray(source.column("timestamp_ms"), np.int64)
            scored_ms, start = _published_ms(source, sent_ms), 0
            for batch in source.batches():
                decided = workdir.is_in_other_logs(batch.numbers, DECIDE)
                batch_ms, batch_sent_ms = (one[start : start + len(decided)][decided] for one in (scored_ms, sent_ms))
                start += len(decided)
                party = LogPass(workdir, entity)
                (name,) = party.hashes({getattr(batch.transactions, f"{entity.value}_ids")[0]})
                labels = deque(one for one in incoming.ordered if one.party == name)
                accepted = to_decide(batch, decided)
                log = party.load(accepted, batch_ms, batch_sent_ms, labels, incoming.parked)
                for at in np.flatnonzero(np.isin(accepted.rows, rows)).tolist():
                    output.write(accepted.rows[at : at + 1], party.search(log, at, recorded[int(accepted.rows[at])]))
            workdir.progress()[shard] = start


def _published_ms(source: Shard, sent_ms: Ints) -> Ints:
    """Return when the transactions of a shard were decided, or, those that never will be, when they were sent."""
    scored_ms = np.ma.asarray(source.column("scored_ms"), np.int64)
    found: Ints = np.where(np.ma.getmaskarray(scored_ms), sent_ms, scored_ms.data)
    return found


def _differing_decisions(workdir: Workdir) -> dict[int, DifferingDecision]:
    """Return the decisions to search for, by output row."""
    which = {fingerprint: at for at, fingerprint in enumerate(workdir.sets.by_fingerprint)}
    with connect_memory(workdir.folder, workdir.memory_mb) as connection:
        found = connection.execute(f"SELECT row, fingerprint, features FROM {quoted(workdir.differing)}").fetchall()
    return {row: DifferingDecision(which[name], np.frombuffer(packed)) for row, name, packed in found if name in which}
