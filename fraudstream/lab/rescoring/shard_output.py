"""Files that the passes over shards write: the vectors of each output row, and labels forwarded to other parties.

They are arrays in numpy's own format. Each has one writer; readers map them into memory.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from features.history.frames import Floats
from features.history.records import SHARED_COLUMNS
from features.history.store import Entity, Ints
from fraudstream.lab.rescoring.history_pass import ForwardedLabel, VisibleFeatures, columns_of, transaction_key
from fraudstream.lab.rescoring.predictions import fill_predictions
from fraudstream.lab.rescoring.shards import SortKey
from fraudstream.lab.rescoring.workdir import Workdir

_HEADER_COLUMNS = 5
PARKED_KEY = -1
"""Stands for the sort key of a label that waited for its transaction, and follows it directly."""


class IncomingLabel(NamedTuple):
    """A label's record for the history of `party`, its sort key in that log, and when it was published."""

    sort_key: SortKey
    party: int
    published_ms: int
    row: Ints


class IncomingLabels(NamedTuple):
    """Labels for the histories of one kind of party.

    `ordered` have a sort key of their own, ascending. `parked` waited for their transaction and directly follow it;
    they are by party and transaction, see `transaction_key`.
    """

    ordered: list[IncomingLabel]
    parked: Mapping[tuple[int, int], Ints]


class ShardOutput:
    """Writes what the rows of a shard saw; `rows` are output rows, ascending. Use it as a context."""

    def __init__(self, workdir: Workdir, entity: Entity, shard: int, rows: Ints, *, displaced: bool = False) -> None:
        self._rows = rows
        np.save(workdir.result(entity, shard, "rows", displaced=displaced), rows)
        self._vectors = [
            _new_array(
                workdir.vectors(entity, shard, at, displaced=displaced),
                np.float64,
                (len(rows), len(columns_of(one, entity))),
            )
            for at, one in enumerate(workdir.sets.sets)
        ]
        self._visible = _new_array(
            workdir.result(entity, shard, "visible", displaced=displaced), np.int64, (len(rows),)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        del self._vectors, self._visible

    def write(self, rows: Ints, seen: VisibleFeatures) -> None:
        """Write what these output rows saw."""
        at = np.searchsorted(self._rows, rows)
        for target, vectors in zip(self._vectors, seen.vectors, strict=True):
            target[at] = vectors
        self._visible[at] = seen.visible


def block_vectors(workdir: Workdir, block: int, fingerprint: str) -> Floats:
    """Return the vectors of a block's rows by one feature set, NaN where a row has no such party."""
    start, end = workdir.span(block)
    matrix = np.full((end - start, len(workdir.sets.by_fingerprint[fingerprint])), np.nan)
    for entity in workdir.entities:
        fill_vectors(workdir, block, fingerprint, (entity, matrix), displaced=False)
    fill_predictions(workdir, block, fingerprint, matrix)
    return matrix


def fill_vectors(
    workdir: Workdir, block: int, fingerprint: str, part: tuple[Entity, Floats], *, displaced: bool
) -> None:
    """Fill one kind of entity's columns in a matrix of a block's rows; with `displaced`, from the search's output."""
    entity, matrix = part
    start, end = workdir.span(block)
    which = list(workdir.sets.by_fingerprint).index(fingerprint)
    columns = columns_of(workdir.sets.sets[which], entity)
    for shard in range(workdir.shards):
        rows = _map_array(workdir.result(entity, shard, "rows", displaced=displaced))
        vectors = _map_array(workdir.vectors(entity, shard, which, displaced=displaced))
        low, high = np.searchsorted(rows, [start, end])
        matrix[np.ix_(rows[low:high] - start, columns)] = vectors[low:high]


def visible_counts(workdir: Workdir, block: int, entity: Entity) -> Ints:
    """Return how many records of such a history each row of a block saw, its own included; 0: no such party."""
    start, end = workdir.span(block)
    found = np.zeros(end - start, np.int64)
    for shard in range(workdir.shards):
        rows, counts = (_map_array(workdir.result(entity, shard, part)) for part in ("rows", "visible"))
        low, high = np.searchsorted(rows, [start, end])
        found[rows[low:high] - start] = counts[low:high]
    return found


def write_forwarded_labels(
    path: Path, forwarded: Iterable[ForwardedLabel], published: Mapping[int, tuple[SortKey | None, int]]
) -> None:
    """Write forwarded labels; `published` has, by the label's number, its sort key if known, and when it was published.

    The columns of a line are party, `published_ms`, key, tie, number and those of the record.
    """
    lines = []
    for one in forwarded:
        sort_key, published_ms = (None, 0) if one.number is None else published[one.number]
        lines.append((one.party, published_ms, *(sort_key or (PARKED_KEY, 0, 0)), *one.row.tolist()))
    np.save(path, np.array(lines, np.int64).reshape(len(lines), _HEADER_COLUMNS + SHARED_COLUMNS))


def read_incoming_labels(workdir: Workdir, entity: Entity, parties: Iterable[int]) -> IncomingLabels:
    """Return the labels that all shards of cards forwarded to some parties."""
    lines = np.concatenate([np.load(workdir.forwarded(entity, shard)) for shard in range(workdir.shards)])
    lines = lines[np.isin(lines[:, 0], np.fromiter(parties, np.int64))]
    is_parked = lines[:, 2] == PARKED_KEY
    ordered = sorted(
        (
            IncomingLabel((key, tie, number), party, published_ms, np.array(row, np.int64))
            for party, published_ms, key, tie, number, *row in lines[~is_parked].tolist()
        ),
        key=lambda one: one.sort_key,
    )
    parked: dict[tuple[int, int], list[Ints]] = {}
    for line in lines[is_parked]:
        parked.setdefault((int(line[0]), transaction_key(line[_HEADER_COLUMNS:])), []).append(line[_HEADER_COLUMNS:])
    return IncomingLabels(ordered, {key: np.array(rows) for key, rows in parked.items()})


def _new_array(path: Path, kind: type[np.generic], shape: tuple[int, ...]) -> Any:  # noqa: ANN401 - a mapped array or a plain one
    """Create a mapped array of zeros; an empty one cannot be mapped, and is written at once."""
    if 0 in shape:
        empty = np.empty(shape, kind)
        np.save(path, empty)
        return empty
    return np.lib.format.open_memmap(path, "w+", kind, shape)


def _map_array(path: Path) -> Any:  # noqa: ANN401 - an array of some kind
    return np.load(path, mmap_mode="r")
