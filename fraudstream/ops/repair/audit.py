"""Checks over a range of `transactions` that each offset has one verdict, and counts the offsets of each kind.

An offset is decided, refused, or neither; what is neither, at or below the last valid score, must be repeated,
backfilled, no record, or in a range that was accepted as lost or skipped. The scores are read first, then the dead
letters, then the transactions: so nothing is missing of what the scores say is settled, while workers go on.
"""

import sys
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream_client.validity import OFFSETS_OF_A_LOG
from models.logs import Logs, LostRange
from stream.contract.codes import Rejection
from stream.contract.transaction import ParsedTransaction, backfill_mark, read_accepted_transaction
from stream.control.client import read_fold
from stream.kafka.client import open_admin
from stream.kafka.topic_ids import topic_states
from stream.kafka.topics import SCORES, TRANSACTIONS
from stream.positions.letters import scores_lost_of
from stream.positions.offsets import Position, folded, identity_of, read_decision
from stream.positions.refused import RefusedOffsets, read_letters, refused_by
from stream.scan import FetchedRecord, scan_topic
from stream.settings import Settings

MOST_PLACES = 100
"""So many places of each fault are named."""
_PARTS = 1000
_UNKNOWN = 0
_ALL_TIMES = range(sys.maxsize)

Ints = NDArray[np.int64]
Progress = Callable[[str, int, int], None]


class Kind(StrEnum):
    """What became of an offset."""

    DECIDED = "decided"
    REFUSED = "refused"
    REPEATED = "repeated"
    BACKFILLED = "backfilled"
    ERASURE = "erasure"
    NO_RECORD = "no_record"
    LOST = "lost"
    SKIPPED = "skipped"
    UNDECIDED = "undecided"
    """Above the last valid score, and none of the others: it is judged when its turn comes."""


class Fault(StrEnum):
    """How an offset breaks the rule."""

    DECIDED_AND_REFUSED = "decided_and_refused"
    WITHOUT_VERDICT = "without_verdict"
    """At or below the last valid score, without a score, a letter or any of the kinds that need neither."""
    DECIDED_WITHOUT_RECORD = "decided_without_record"
    """It has a valid score, and the topic has no record there, though it has earlier ones."""
    DECIDED_ANOTHER = "decided_another"
    """Its valid score is of another payment: Kafka lost what was there, and the one that is there has no decision."""


class AuditedPlace(NamedTuple):
    """An offset of a partition; `of` is the one that it repeats."""

    partition: int
    offset: int
    of: str = ""


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """The verdicts of the offsets of a topic's present log.

    `offsets` counts them by kind, `faults` names the places where the rule is broken, `repeated` some of those that
    repeat another, with that one. `late_letters` are void, `void_scores` too; `earlier_logs` counts decisions of topics
    that were made anew since. `lost_scores` counts, at most, acknowledged scores that Kafka lost after a worker or a
    commit had noted them, as scores in the range tell: readers may have seen other decisions than were made again.
    """

    topic: str
    log: int
    clean: bool
    offsets: dict[str, int]
    faults: dict[str, list[AuditedPlace]]
    fault_counts: dict[str, int]
    repeated: list[AuditedPlace]
    late_letters: int
    void_scores: int
    earlier_logs: int
    lost_scores: int


@dataclass(slots=True)
class ScoredPartition:
    """What the scores of one partition say: which offsets of its last log they decide, and whose transactions.

    `decided` are the transactions at `offsets`, `identities` those of all logs, at `places`. `log` is at first the last
    one that was accepted for the partition: others of the topic may be a log ahead, where the end of it was cut off.
    `lost` counts what scores with timestamps in `times_ms` tell to be gone.
    """

    log: int
    times_ms: range = _ALL_TIMES
    position: Position = field(default_factory=Position)
    offsets: "array[int]" = field(default_factory=lambda: array("q"))
    decided: "array[int]" = field(default_factory=lambda: array("Q"))
    identities: "array[int]" = field(default_factory=lambda: array("Q"))
    places: "array[int]" = field(default_factory=lambda: array("q"))
    earlier: int = 0
    lost: int = 0

    def add(self, record: FetchedRecord) -> None:
        """Fold one record of the partition's scores."""
        score, before = read_decision(record), self.position
        self.position = folded(before, record)
        if score is None or not before.standing.is_valid(score.epoch, score.place):
            return
        if record.headers and record.timestamp in self.times_ms:
            self.lost += scores_lost_of(record.headers)
        self.identities.append(int(score.identity, 16))
        self.places.append(score.place)
        log, offset = divmod(score.place, OFFSETS_OF_A_LOG)
        self.begin_log(log)
        if log == self.log:
            self.offsets.append(offset)
            self.decided.append(int(score.identity, 16))
        else:
            self.earlier += 1

    def begin_log(self, log: int) -> None:
        """Go on in a log, unless it is none after the present one: a score or a dead letter is of it."""
        if log > self.log:
            self.earlier += len(self.offsets)
            del self.offsets[:], self.decided[:]
            self.log = log

    @property
    def last(self) -> int:
        """The offset of the last valid score in the log; -1 if there is none."""
        return self.position.decided_to(self.log) - 1


@dataclass(slots=True)
class PartitionAudit:
    """Counts the verdicts of a partition, record by record in their order."""

    partition: int
    scored: ScoredPartition
    refused: Ints
    skipped: frozenset[int]
    lost: Sequence[LostRange]
    counts: Counter[Kind] = field(default_factory=Counter)
    faults: defaultdict[Fault, list[int]] = field(default_factory=lambda: defaultdict(list))
    open_ones: list[tuple[int, int]] = field(default_factory=list)
    """Offsets that may repeat another one, with the identities of their transactions."""
    backfilled: dict[int, int] = field(default_factory=dict)
    next_offset: int | None = None
    _decided: Ints = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        """Keep the decided offsets as an array, in their order."""
        self._decided = np.array(self.scored.offsets, np.int64)

    def begin(self, first: int) -> None:
        """Begin at an offset."""
        self.next_offset = first

    def add(self, records: Sequence[FetchedRecord]) -> None:
        """Take the next records of the partition."""
        offsets = np.array([record.offset for record in records], np.int64)
        decided, refused = _among(offsets, self._decided), _among(offsets, self.refused)
        scores = np.searchsorted(self._decided, offsets).tolist()
        for record, score, is_decided, is_refused in zip(
            records, scores, decided.tolist(), refused.tolist(), strict=True
        ):
            self._gap(record.offset)
            if is_decided and not _is_payment(record, self.scored.decided[score]):
                self.faults[Fault.DECIDED_ANOTHER].append(record.offset)
            else:
                self._record(record, is_decided=is_decided, is_refused=is_refused)
            self.next_offset = record.offset + 1

    def skip(self, first: int, end: int) -> None:
        """Count a range that cannot be unpacked and that operators let workers pass over: it was taken for a gap."""
        if first in self.skipped:
            self.counts[Kind.SKIPPED] += end - first
            self.counts[Kind.NO_RECORD] -= end - first

    def end(self, end: int) -> None:
        """Take the end of the range: what is left before it holds no record."""
        self._gap(end)
        self.next_offset = end

    def _gap(self, offset: int) -> None:
        """Count the offsets before the next record that hold none: markers, and records of aborted transactions."""
        first = offset if self.next_offset is None else self.next_offset
        if first < offset:
            at, behind = np.searchsorted(self._decided, [first, offset])
            self.faults[Fault.DECIDED_WITHOUT_RECORD] += self._decided[at:behind].tolist()
            self.counts[Kind.NO_RECORD] += offset - first - int(behind - at)

    def _record(self, record: FetchedRecord, *, is_decided: bool, is_refused: bool) -> None:
        offset = record.offset
        if is_decided and is_refused:
            self.faults[Fault.DECIDED_AND_REFUSED].append(offset)
        elif is_decided:
            self.counts[Kind.DECIDED] += 1
        elif is_refused:
            self.counts[Kind.REFUSED] += 1
        elif offset in self.skipped:
            self.counts[Kind.SKIPPED] += 1
        elif backfill_mark(record.headers) is not None:
            self.counts[Kind.BACKFILLED] += 1
            self.backfilled.setdefault(_identity(record), offset)
        elif (read := _read(record)) is not None and read.erases:
            self.counts[Kind.ERASURE] += 1
        else:
            self.open_ones.append((offset, _identity(record)))

    def settle(self, found: Mapping[int, str]) -> list[AuditedPlace]:
        """Count those that repeat another transaction, as identities are `found`; the others have no verdict."""
        repeated = []
        for offset, identity in self.open_ones:
            if identity in found:
                self.counts[Kind.REPEATED] += 1
                repeated.append(AuditedPlace(self.partition, offset, found[identity]))
            elif any((one.first or 0) <= offset < one.up_to for one in self.lost):
                self.counts[Kind.LOST] += 1
            elif offset > self.scored.last:
                self.counts[Kind.UNDECIDED] += 1
            else:
                self.faults[Fault.WITHOUT_VERDICT].append(offset)
        return repeated


def _among(offsets: Ints, known: Ints) -> NDArray[np.bool_]:
    """Tell which offsets are among known ones, which are in their order."""
    at = np.minimum(np.searchsorted(known, offsets), len(known) - 1)
    return known[at] == offsets if len(known) else np.zeros(len(offsets), np.bool_)


def _read(record: FetchedRecord) -> ParsedTransaction | None:
    """Return a record's transaction; None if it cannot be read, as no record that was accepted."""
    read = read_accepted_transaction(record.value)
    return None if isinstance(read, Rejection) or record.damage else read


def _identity(record: FetchedRecord) -> int:
    """Return the identity of a record's transaction; 0 if it cannot be read."""
    read = _read(record)
    return _UNKNOWN if read is None else int(identity_of(read.transaction.card_id, read.transaction.transaction_id), 16)


class _Ids(msgspec.Struct):
    card_id: str = ""
    transaction_id: str = ""


_read_ids = msgspec.json.Decoder(_Ids).decode


def _is_payment(record: FetchedRecord, identity: int) -> bool:
    """Tell whether a record is the payment with this identity, or cannot be read.

    Where its ids alone say so, the rest of it is not read: that takes most of an audit's time.
    """
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        ids = _read_ids(record.value or b"")
        if int(identity_of(ids.card_id, ids.transaction_id), 16) == identity:
            return True
    return _identity(record) in {_UNKNOWN, identity}


def originals(
    wanted: Iterable[int], partitions: Mapping[int, ScoredPartition], backfilled: Mapping[int, str]
) -> dict[int, str]:
    """Return where the transactions with these identities were decided, or filled in, on whichever partition."""
    searched = np.array(sorted(set(wanted) - {_UNKNOWN}), np.uint64)
    found = {one: backfilled[one] for one in searched.tolist() if one in backfilled}
    for partition, scored in partitions.items():
        identities = np.array(scored.identities, np.uint64)
        for at in np.flatnonzero(np.isin(identities, searched))[::-1].tolist():
            log, offset = divmod(scored.places[at], OFFSETS_OF_A_LOG)
            found[int(identities[at])] = f"{partition}:{offset}" if log == scored.log else f"{partition}:{offset}@{log}"
    return found


class _Verdicts(NamedTuple):
    """What was read before the transactions: the scores of each partition, what is refused, and the control log."""

    scored: Mapping[int, ScoredPartition]
    refused: RefusedOffsets
    logs: Logs


async def audit(settings: Settings, since_ms: int, until_ms: int | None, progress: Progress) -> AuditReport:
    """Check the records of `transactions` with timestamps in [since, until); None: to the end.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not respond, or a topic does not exist.
    """
    topic, fold = settings.topic(TRANSACTIONS.name), await read_fold(settings)
    log = await _log_of(settings, topic, fold.logs)
    times_ms = range(since_ms, _ALL_TIMES.stop if until_ms is None else until_ms)
    scored = await _read_scores(settings, lambda one: _own_log(fold.logs, topic, one, log), times_ms, progress)
    claims = {partition: one.position.claims for partition, one in scored.items()}
    letters = await read_letters(settings, fold.term)
    of_topic = {source: columns for source, columns in letters.items() if source[0] == topic}
    _begin_logs_of_letters(scored, of_topic)
    verdicts = _Verdicts(scored, refused_by(of_topic, claims, topic), fold.logs)
    partitions: dict[int, PartitionAudit] = {}
    async with scan_topic(settings, topic, since_ms) as scan:
        ends = await scan.ends() if until_ms is None else await scan.first_since(until_ms)
        for partition, first in scan.first.items():
            partitions[partition] = made = _partition(verdicts, topic, log, partition)
            made.begin(first)
        async for records, share in scan.read(ends):
            if records:
                partitions[records[0].partition].add(records)
            progress(TRANSACTIONS.name, round(share * _PARTS), _PARTS)
        unreadable = scan.unreadable
    for partition, made in partitions.items():
        made.end(max(ends[partition], made.next_offset or 0))
    for tp, one in unreadable:
        partitions[tp.partition].skip(one.first, min(one.end, ends[tp.partition]))
    found = _found_here(verdicts, partitions)
    if since_ms and (unknown := _open_identities(partitions) - found.keys()):
        found |= await _filled_in_before(settings, topic, scan.first, unknown)
    return _report(topic, log, verdicts, partitions, found)


async def _filled_in_before(
    settings: Settings, topic: str, first: Mapping[int, int], wanted: Collection[int]
) -> dict[int, str]:
    """Return which of these transactions were filled in before the range, and where: those have no score."""
    found: dict[int, str] = {}
    async with scan_topic(settings, topic, 0) as scan:
        async for records, _ in scan.read(first):
            for record in records:
                if backfill_mark(record.headers) is not None and (identity := _identity(record)) in wanted:
                    found.setdefault(identity, f"{record.partition}:{record.offset}")
    return found


async def _log_of(settings: Settings, topic: str, logs: Logs) -> int:
    """Return the number of the log that the topic is now: the next one if it was made anew and that is not accepted."""
    async with open_admin(settings) as admin:
        state = (await topic_states(admin, [topic])).get(topic)
    number = logs.number(topic, None if state is None else state.topic_id or None)
    return logs.last(topic) + 1 if number is None else number


def _own_log(logs: Logs, topic: str, partition: int, log: int) -> int:
    """Return the log in which a partition was last accepted; that of the topic, `log`, while none of it is accepted.

    Where the end of a topic was cut off, the partitions whose loss is not accepted go on in the log before. One that
    had lost nothing needs no acceptance: its scores and dead letters tell of a later log.
    """
    if log > logs.last(topic):
        return log
    accepted = (loss.log for (_, *where), loss in logs.losses.items() if where == [topic, partition])
    return max(accepted, default=0)


def _begin_logs_of_letters(scored: Mapping[int, ScoredPartition], sources: Iterable[tuple[str, int, int]]) -> None:
    for _, partition, log in sources:
        if partition in scored:
            scored[partition].begin_log(log)


async def _read_scores(
    settings: Settings, log_of: Callable[[int], int], times_ms: range, progress: Progress
) -> dict[int, ScoredPartition]:
    found: dict[int, ScoredPartition] = {}
    async with scan_topic(settings, settings.topic(SCORES.name), 0) as scan:
        found = {partition: ScoredPartition(log_of(partition), times_ms) for partition in scan.first}
        async for records, share in scan.read():
            for record in records:
                found[record.partition].add(record)
            progress(SCORES.name, round(share * _PARTS), _PARTS)
    return found


def _partition(verdicts: _Verdicts, topic: str, log: int, partition: int) -> PartitionAudit:
    scored = verdicts.scored.get(partition, ScoredPartition(log))
    log = scored.log
    lost = [
        one
        for (_, *where), ranges in verdicts.logs.lost.items()
        for one in ranges
        if where == [topic, partition] and one.log == log
    ]
    refused = np.array(list(verdicts.refused.of(topic, partition, log)), np.int64)
    return PartitionAudit(partition, scored, refused, verdicts.logs.skipped_in(topic, partition, log), lost)


def _open_identities(partitions: Mapping[int, PartitionAudit]) -> set[int]:
    """Return the transactions that may repeat others, as far as they can be read."""
    return {identity for made in partitions.values() for _, identity in made.open_ones} - {_UNKNOWN}


def _found_here(verdicts: _Verdicts, partitions: Mapping[int, PartitionAudit]) -> dict[int, str]:
    """Return where those were decided, or filled in within the range."""
    backfilled = {
        identity: f"{partition}:{offset}"
        for partition, made in partitions.items()
        for identity, offset in made.backfilled.items()
    }
    return originals(_open_identities(partitions), verdicts.scored, backfilled)


def _report(
    topic: str,
    log: int,
    verdicts: _Verdicts,
    partitions: Mapping[int, PartitionAudit],
    found: Mapping[int, str],
) -> AuditReport:
    lost_scores = sum(one.lost for one in verdicts.scored.values())
    repeated = [place for made in partitions.values() for place in made.settle(found)]
    counts, faults = Counter[Kind](), defaultdict[Fault, list[AuditedPlace]](list)
    for partition, made in partitions.items():
        counts.update(made.counts)
        for fault, offsets in made.faults.items():
            faults[fault] += [AuditedPlace(partition, offset) for offset in offsets]
    return AuditReport(
        topic=topic,
        log=log,
        clean=not any(faults.values()) and not lost_scores,
        offsets={kind.value: counts[kind] for kind in Kind},
        faults={fault.value: places[:MOST_PLACES] for fault, places in faults.items() if places},
        fault_counts={fault.value: len(faults[fault]) for fault in Fault},
        repeated=repeated[:MOST_PLACES],
        late_letters=verdicts.refused.late,
        void_scores=sum(one.position.void for one in verdicts.scored.values()),
        earlier_logs=sum(one.earlier for one in verdicts.scored.values()),
        lost_scores=lost_scores,
    )
