"""What the passes over shards leave on disk: what each output row saw, and the labels that go on to other parties.

Arrays in numpy's own format, one writer each; a reader maps them. Nothing here knows how they were computed.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from features.history.frames import Floats
from features.history.records import SHARED_COLUMNS
from features.history.store import Entity, Ints
from stream.rescoring.passes import ForwardedLabel, VisibleFeatures, about, columns_of
from stream.rescoring.shards import Place
from stream.rescoring.workdir import Workdir

_HEAD = 5
WAITS = -1
"""The key of a label that follows its transaction."""


class ShardLedger:
    """Keeps what the rows of a shard saw, by output row, ascending; use it as a context."""

    def __init__(self, place: Workdir, entity: Entity, shard: int, rows: Ints, *, moved: bool = False) -> None:
        self._rows = rows
        np.save(place.result(entity, shard, "rows", moved=moved), rows)
        self._vectors = [
            _new(place.vectors(entity, shard, at, moved=moved), np.float64, (len(rows), len(columns_of(one, entity))))
            for at, one in enumerate(place.sets.sets)
        ]
        self._visible = _new(place.result(entity, shard, "visible", moved=moved), np.int64, (len(rows),))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        del self._vectors, self._visible

    def keep(self, rows: Ints, seen: VisibleFeatures) -> None:
        """Keep what these output rows saw."""
        at = np.searchsorted(self._rows, rows)
        for kept, vectors in zip(self._vectors, seen.vectors, strict=True):
            kept[at] = vectors
        self._visible[at] = seen.visible


def _new(path: Path, kind: type[np.generic], shape: tuple[int, ...]) -> Any:  # noqa: ANN401 - a mapped array or a plain one
    """Make a mapped array of zeros; what is empty cannot be mapped, and is written at once."""
    if 0 in shape:
        empty = np.empty(shape, kind)
        np.save(path, empty)
        return empty
    return np.lib.format.open_memmap(path, "w+", kind, shape)


def assemble(place: Workdir, block: int, fingerprint: str) -> Floats:
    """Return the vectors of a block's rows by one feature set, NaN where there is no such party."""
    start, end = place.span(block)
    matrix = np.full((end - start, len(place.sets.by_fingerprint[fingerprint])), np.nan)
    for entity in place.entities:
        fill(place, block, fingerprint, (entity, matrix), moved=False)
    return matrix


def fill(place: Workdir, block: int, fingerprint: str, what: tuple[Entity, Floats], *, moved: bool) -> None:
    """Write one entity's columns into a matrix of a block's rows; `moved`: as the pass by time saw them."""
    entity, matrix = what
    start, end = place.span(block)
    which = list(place.sets.by_fingerprint).index(fingerprint)
    columns = columns_of(place.sets.sets[which], entity)
    for shard in range(place.shards):
        rows = _mapped(place.result(entity, shard, "rows", moved=moved))
        vectors = _mapped(place.vectors(entity, shard, which, moved=moved))
        low, high = np.searchsorted(rows, [start, end])
        matrix[np.ix_(rows[low:high] - start, columns)] = vectors[low:high]


def visible(place: Workdir, block: int, entity: Entity) -> Ints:
    """Return how many records of such a history a block's rows saw, own included; 0: no such party."""
    start, end = place.span(block)
    found = np.zeros(end - start, np.int64)
    for shard in range(place.shards):
        rows, counts = (_mapped(place.result(entity, shard, what)) for what in ("rows", "visible"))
        low, high = np.searchsorted(rows, [start, end])
        found[rows[low:high] - start] = counts[low:high]
    return found


def _mapped(path: Path) -> Any:  # noqa: ANN401 - an array of some kind
    return np.load(path, mmap_mode="r")


class FollowingLabel(NamedTuple):
    """A label that goes on to another party: its place in that log, whose, when it was told of, its record."""

    place: Place
    party: int
    at_ms: int
    row: Ints


class FollowingLabels(NamedTuple):
    """Labels that go on to another party: those with a place of their own, in order, and those that follow theirs."""

    placed: list[FollowingLabel]
    waiting: Mapping[tuple[int, int], Ints]


def write_followers(
    path: Path, going_on: Iterable[ForwardedLabel], told: Mapping[int, tuple[Place | None, int]]
) -> None:
    """Keep labels that go on; `told` has, by the label's number, its place if that is known, and when it came."""
    lines = []
    for one in going_on:
        place, at_ms = (None, 0) if one.number is None else told[one.number]
        lines.append((one.party, at_ms, *(place or (WAITS, 0, 0)), *one.row.tolist()))
    np.save(path, np.array(lines, np.int64).reshape(len(lines), _HEAD + SHARED_COLUMNS))


def read_followers(place: Workdir, entity: Entity, parties: Iterable[int]) -> FollowingLabels:
    """Return those of all shards that go on to some parties."""
    lines = np.concatenate([np.load(place.going_on(entity, shard)) for shard in range(place.shards)])
    lines = lines[np.isin(lines[:, 0], np.fromiter(parties, np.int64))]
    waits = lines[:, 2] == WAITS
    placed = sorted(
        (
            FollowingLabel((key, tie, number), party, at_ms, np.array(row, np.int64))
            for party, at_ms, key, tie, number, *row in lines[~waits].tolist()
        ),
        key=lambda one: one.place,
    )
    waiting: dict[tuple[int, int], list[Ints]] = {}
    for line in lines[waits]:
        waiting.setdefault((int(line[0]), about(line[_HEAD:])), []).append(line[_HEAD:])
    return FollowingLabels(placed, {key: np.array(rows) for key, rows in waiting.items()})
