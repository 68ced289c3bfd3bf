"""What the passes over shards leave on disk: what each output row saw, and the labels that go on to other parties.

Arrays in numpy's own format, one writer each; a reader maps them. Nothing here knows how they were computed.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from features.frames import Floats
from features.records import COLUMNS, Entity
from features.store import Ints
from stream.backscoring.passes import GoingOn, Seen, about, columns_of
from stream.backscoring.shards import Place
from stream.backscoring.workplace import Workplace

WAITS = -1
"""The key of a label that follows its transaction."""


class Ledger:
    """Keeps what the rows of a shard saw, by output row, ascending; use it as a context."""

    def __init__(self, place: Workplace, entity: Entity, shard: int, rows: Ints) -> None:
        self._rows = rows
        width = len(columns_of(place.feature_set, entity))
        np.save(place.result(entity, shard, "rows"), rows)
        self._vectors = _new(place.result(entity, shard, "vectors"), np.float64, (len(rows), width))
        self._visible = _new(place.result(entity, shard, "visible"), np.int64, (len(rows),))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        del self._vectors, self._visible

    def keep(self, rows: Ints, seen: Seen) -> None:
        """Keep what these output rows saw."""
        at = np.searchsorted(self._rows, rows)
        self._vectors[at] = seen.vectors
        self._visible[at] = seen.visible


def _new(path: Path, kind: type[np.generic], shape: tuple[int, ...]) -> Any:  # noqa: ANN401 - a mapped array or a plain one
    """Make a mapped array of zeros; what is empty cannot be mapped, and is written at once."""
    if 0 in shape:
        empty = np.empty(shape, kind)
        np.save(path, empty)
        return empty
    return np.lib.format.open_memmap(path, "w+", kind, shape)


def assemble(place: Workplace, block: int) -> tuple[Floats, Mapping[Entity, Ints]]:
    """Return the vectors of a block's rows, and how many records each saw, by entity."""
    start, end = place.span(block)
    matrix = np.full((end - start, len(place.feature_set)), np.nan)
    visible = {}
    for entity in place.entities:
        visible[entity] = np.zeros(end - start, np.int64)
        columns = columns_of(place.feature_set, entity)
        for shard in range(place.shards):
            rows, vectors, counts = (
                _mapped(place.result(entity, shard, what)) for what in ("rows", "vectors", "visible")
            )
            low, high = np.searchsorted(rows, [start, end])
            at = rows[low:high] - start
            matrix[np.ix_(at, columns)] = vectors[low:high]
            visible[entity][at] = counts[low:high]
    return matrix, visible


def _mapped(path: Path) -> Any:  # noqa: ANN401 - an array of some kind
    return np.load(path, mmap_mode="r")


class Followers(NamedTuple):
    """Labels that go on to another party: those with a place of their own, in order, and those that follow theirs."""

    placed: list[tuple[Place, int, Ints]]
    waiting: Mapping[tuple[int, int], Ints]


def write_followers(path: Path, going_on: Iterable[GoingOn], places: Mapping[int, Place]) -> None:
    """Keep labels that go on; `places` has, by the label's number, those that are known."""
    lines = []
    for one in going_on:
        key, tie, number = (WAITS, 0, 0) if one.number is None else places.get(one.number, (WAITS, 0, 0))
        lines.append((one.entity, key, tie, number, *one.row.tolist()))
    np.save(path, np.array(lines, np.int64).reshape(len(lines), 4 + COLUMNS))


def read_followers(place: Workplace, entity: Entity, parties: Iterable[int]) -> Followers:
    """Return those of all shards that go on to some parties."""
    lines = np.concatenate([np.load(place.going_on(entity, shard)) for shard in range(place.shards)])
    lines = lines[np.isin(lines[:, 0], np.fromiter(parties, np.int64))]
    waits = lines[:, 1] == WAITS
    placed = sorted(
        ((key, tie, number), party, np.array(row, np.int64)) for party, key, tie, number, *row in lines[~waits].tolist()
    )
    waiting: dict[tuple[int, int], list[Ints]] = {}
    for line in lines[waits]:
        waiting.setdefault((int(line[0]), about(line[4:])), []).append(line[4:])
    return Followers(placed, {key: np.array(rows) for key, rows in waiting.items()})
