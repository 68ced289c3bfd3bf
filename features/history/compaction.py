"""Folds what is old in a history into panes, and drops what is out of sight; off the path of a decision.

Only the beginning of the log is folded, as far as every transaction in it is old enough. So whoever sees a record
of the log sees all that was folded, and what came before it in the log. Nothing here knows where a history is kept.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from features.history import panes, records
from features.history.history import NO_TIME_MS, TRIM_FRACTION, TRIM_LEAST, History
from features.history.panes import CompactionNotes
from features.history.retention import Retention
from features.history.store import Ints


class Compaction(NamedTuple):
    """A planned compaction: the log loses its first `removed` records, and `prefix` replaces the rows before it."""

    removed: int
    prefix: Ints


class CompactionRules(NamedTuple):
    """Under which epoch a history is folded, what of it is out of sight, and up to when panes are how wide."""

    epoch: int
    oldest_ms: int
    bounds_ms: Mapping[int, int]


def plan_compaction(history: History, retention: Retention, epoch: int) -> Compaction | None:
    """Fold a settled history under a history epoch; None while that would not make it much shorter."""
    if history.newest_ms == NO_TIME_MS:
        return None
    rules, log = (
        CompactionRules(epoch, retention.oldest_ms(history.newest_ms), _bounds(history, retention)),
        history.log,
    )
    until_ms = max(rules.oldest_ms, *rules.bounds_ms.values())
    count = int((records.is_transaction(log[:, records.FLAGS]) & (log[:, records.TIME] > until_ms)).argmax())
    expired = int((history.panes[:, records.TIME] <= rules.oldest_ms).sum())
    if not count + expired or not is_worthwhile(count + expired, history.length):
        return None
    made = _carried(history, count, rules)
    return Compaction(count, made) if is_worthwhile(history.prefix_rows + count - len(made), history.length) else None


def compact_in_memory(history: History, retention: Retention, epoch: int) -> None:
    """Trim or fold a settled history that is in memory alone, where that is worth it."""
    if retention.allows_panes:
        made = plan_compaction(history, retention, epoch)
        if made is not None:
            history.replace_prefix(*made)
        return
    count = history.expired_count(retention.horizon_ms)
    if count:
        history.trim(count)


def is_worthwhile(fewer: int, length: int) -> bool:
    """Tell whether so many rows fewer are worth that a history of this length is written anew."""
    return length >= TRIM_LEAST and fewer * TRIM_FRACTION >= length


def _bounds(history: History, retention: Retention) -> dict[int, int]:
    """Return up to when everything is in panes at least so wide from now on, the finest first."""
    now = retention.bounds_ms(history.newest_ms)
    before = {} if history.notes is None else history.notes.bounds_ms
    return {width: max(now.get(width, NO_TIME_MS), before.get(width, NO_TIME_MS)) for width in sorted({*now, *before})}


def _carried(history: History, count: int, rules: CompactionRules) -> Ints:
    """Return all that lies before the log once its first `count` records have left it."""
    removed = history.log[:count]
    ours = records.is_transaction(removed[:, records.FLAGS])
    summed = np.concatenate((history.panes, removed[ours]))
    summed = summed[summed[:, records.TIME] > rules.oldest_ms]
    made = panes.merge(summed, _ends(summed[:, records.TIME], rules.bounds_ms))
    labels = np.concatenate((history.labels, _placed(removed, history.base)[~ours]))
    labels = labels[np.minimum(labels[:, records.TIME], labels[:, records.AMOUNT]) > rules.oldest_ms]
    notes = CompactionNotes(
        epoch=rules.epoch,
        since_ms=max(rules.oldest_ms, NO_TIME_MS if history.notes is None else history.notes.since_ms),
        panes=len(made),
        labels=len(labels),
        bounds_ms=rules.bounds_ms,
        offsets=_offsets(history.notes, removed[ours]),
    )
    return np.concatenate((notes.notes(history.columns), made, labels))


def _ends(times_ms: Ints, bounds_ms: Mapping[int, int]) -> Ints:
    """Return where the pane of each row ends."""
    ends_ms = times_ms
    for coarse_ms, bound_ms in bounds_ms.items():
        ends_ms = np.where(times_ms <= bound_ms, -(-times_ms // coarse_ms) * coarse_ms, ends_ms)
    return ends_ms


def _placed(rows: Ints, base: int) -> Ints:
    """Return records of the log with their positions where a transaction has its content; labels have none."""
    placed = rows.copy()
    positions = np.arange(base, base + len(rows)) & records.CONTENT_MASK
    placed[:, records.FLAGS] = (placed[:, records.FLAGS] & ~records.CONTENT_MASK) | positions
    return placed


def _offsets(before: CompactionNotes | None, removed: Ints) -> dict[int, int]:
    """Return the highest folded offset of each partition."""
    known = {} if before is None else dict(before.offsets)
    partitions = removed[:, records.FLAGS] >> records.PARTITION_SHIFT
    order = np.lexsort((removed[:, records.OFFSET], partitions))
    highest = dict(zip(partitions[order].tolist(), removed[order, records.OFFSET].tolist(), strict=True))
    return known | {partition: max(offset, known.get(partition, -1)) for partition, offset in highest.items()}
