"""Compaction of histories: old records are merged into panes, expired ones are dropped. Runs in the background.

Only a prefix of the log is compacted, up to the first transaction that is too young. So whoever sees a record of the
log also sees everything compacted and everything before it in the log.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from features.history import panes, records
from features.history.history import TRIM_FRACTION, TRIM_LEAST, History
from features.history.panes import CompactionNotes
from features.history.retention import Retention
from features.history.store import Ints


class Compaction(NamedTuple):
    """A planned compaction: the log loses its first `removed` records, and `prefix` replaces the rows before it."""

    removed: int
    prefix: Ints


class CompactionRules(NamedTuple):
    """The history epoch, the time at which records expire, and the time up to which panes have which width."""

    epoch: int
    oldest_ms: int
    bounds_ms: Mapping[int, int]


def plan_compaction(history: History, retention: Retention, epoch: int) -> Compaction | None:
    """Plan the compaction of a committed history under a history epoch; None unless it becomes much shorter."""
    if history.newest_ms == records.NO_TIME_MS:
        return None
    rules = CompactionRules(epoch, retention.oldest_ms(history.newest_ms), _bounds(history, retention))
    log = history.log
    until_ms = max(rules.oldest_ms, *rules.bounds_ms.values())
    count = int((records.is_transaction(log[:, records.FLAGS]) & (log[:, records.TIME] > until_ms)).argmax())
    expired = int((history.panes[:, records.TIME] <= rules.oldest_ms).sum())
    if not count + expired or not is_worthwhile(count + expired, history.length):
        return None
    prefix = _prefix(history, count, rules)
    fewer = history.prefix_rows + count - len(prefix)
    return Compaction(count, prefix) if is_worthwhile(fewer, history.length) else None


def compact_in_memory(history: History, retention: Retention, epoch: int) -> None:
    """Trim or compact a committed history that exists in memory alone, where that is worthwhile."""
    if retention.allows_panes:
        compaction = plan_compaction(history, retention, epoch)
        if compaction is not None:
            history.replace_prefix(*compaction)
        return
    count = history.expired_count(retention.horizon_ms)
    if count:
        history.trim(count)


def is_worthwhile(fewer: int, length: int) -> bool:
    """Tell whether removing so many rows justifies rewriting a history of this length."""
    return length >= TRIM_LEAST and fewer * TRIM_FRACTION >= length


def _bounds(history: History, retention: Retention) -> dict[int, int]:
    """Return, by pane width from the finest on, up to when all records are in panes at least so wide from now on."""
    now = retention.bounds_ms(history.newest_ms)
    before = {} if history.notes is None else history.notes.bounds_ms
    widths, never_ms = sorted({*now, *before}), records.NO_TIME_MS
    return {width: max(now.get(width, never_ms), before.get(width, never_ms)) for width in widths}


def _prefix(history: History, count: int, rules: CompactionRules) -> Ints:
    """Return all rows before the log once its first `count` records are compacted."""
    removed = history.log[:count]
    ours = records.is_transaction(removed[:, records.FLAGS])
    summed = np.concatenate((history.panes, removed[ours]))
    summed = summed[summed[:, records.TIME] > rules.oldest_ms]
    merged = panes.merge(summed, _ends(summed[:, records.TIME], rules.bounds_ms))
    labels = np.concatenate((history.labels, _placed(removed, history.base)[~ours]))
    labels = labels[np.minimum(labels[:, records.TIME], labels[:, records.AMOUNT]) > rules.oldest_ms]
    notes = CompactionNotes(
        epoch=rules.epoch,
        since_ms=max(rules.oldest_ms, records.NO_TIME_MS if history.notes is None else history.notes.since_ms),
        panes=len(merged),
        labels=len(labels),
        bounds_ms=rules.bounds_ms,
        offsets=_offsets(history.notes, removed[ours]),
    )
    return np.concatenate((notes.note_rows(history.columns), merged, labels))


def _ends(times_ms: Ints, bounds_ms: Mapping[int, int]) -> Ints:
    """Return the end of each row's pane."""
    ends_ms = times_ms
    for coarse_ms, bound_ms in bounds_ms.items():
        ends_ms = np.where(times_ms <= bound_ms, -(-times_ms // coarse_ms) * coarse_ms, ends_ms)
    return ends_ms


def _placed(rows: Ints, base: int) -> Ints:
    """Return log records with their positions instead of the content hash in FLAGS; used for labels, which lack one."""
    placed = rows.copy()
    positions = np.arange(base, base + len(rows)) & records.CONTENT_MASK
    placed[:, records.FLAGS] = (placed[:, records.FLAGS] & ~records.CONTENT_MASK) | positions
    return placed


def _offsets(before: CompactionNotes | None, removed: Ints) -> dict[int, int]:
    """Return the highest compacted offset of each partition."""
    known = {} if before is None else dict(before.offsets)
    partitions = records.partitions(removed[:, records.FLAGS])
    order = np.lexsort((removed[:, records.OFFSET], partitions))
    highest = dict(zip(partitions[order].tolist(), removed[order, records.OFFSET].tolist(), strict=True))
    return known | {partition: max(offset, known.get(partition, -1)) for partition, offset in highest.items()}
