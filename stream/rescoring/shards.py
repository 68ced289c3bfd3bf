"""One shard of an entity's transactions, and of the labels about them, read in the order of its log.

Nothing here knows a feature or a history.

Parts the transactions and labels of a database by a hash of their entity.

The database has a table or view `rows` with the columns of `transactions_of`, `number`, `row` (-1: not scored), and for
each entity `<entity>_key` and `<entity>_tie`: its place in that log, by key, tie, number. So has `labels`, with the
fields of `features.history.store.Label`; a label comes before the transactions that have its place or a later one. Its
place in another party's log is NULL where it follows its transaction at once. `base` has what the output says of each
`row` besides features and scores, and its `number`. Nothing here knows how places came about.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from features.history.store import Entity, Ints, Label, Transactions
from stream.dataset.database import connect_memory, quoted, transactions_of
from stream.rescoring.workdir import Workdir

FORMAT = "FORMAT parquet, COMPRESSION lz4_raw"
READ_ROWS = 16_384
_LABEL = ", ".join(Label._fields).replace("offset", '"offset"')

Place = tuple[int, int, int]
"""Key, tie and number, as tuples compare."""


def part(connection: Any, place: Workdir) -> None:  # noqa: ANN401 - a connection of a module without types
    """Write the shards of all entities, the labels of the cards' shards, and the base of the output."""
    for entity in place.entities:
        _part(connection, "rows", entity, place.shards, place.shard_folder(entity))
    _part(connection, "labels", Entity.CARD, place.shards, place.labels_folder())
    connection.execute(f"COPY (SELECT * FROM base ORDER BY row) TO {quoted(place.base)} ({FORMAT})")


def _part(connection: Any, table: str, entity: Entity, shards: int, folder: Path) -> None:  # noqa: ANN401 - likewise
    name = f"{entity.value}_id"
    connection.execute(
        f"COPY (SELECT *, hash({name}) % {shards} AS shard FROM {table} WHERE {name} IS NOT NULL) "
        f"TO {quoted(folder)} ({FORMAT}, PARTITION_BY (shard), OVERWRITE_OR_IGNORE)"
    )


class LabelAt(NamedTuple):
    """A label, its place in its card's log, those in the logs of other parties that are known, and when it came."""

    place: Place
    elsewhere: Mapping[Entity, Place]
    at_ms: int
    label: Label


class ShardBatch(NamedTuple):
    """Some transactions in the order of a log: their numbers, output rows (-1: none), and places."""

    transactions: Transactions
    numbers: Ints
    rows: Ints
    keys: Ints
    ties: Ints

    def places(self) -> list[Place]:
        """Return where each is in its log."""
        return list(zip(self.keys.tolist(), self.ties.tolist(), self.numbers.tolist(), strict=True))

    @property
    def last(self) -> Place:
        """Where the last is."""
        return int(self.keys[-1]), int(self.ties[-1]), int(self.numbers[-1])


class ShardOrder(NamedTuple):
    """In which order a shard is read: by key and tie, as SQL; which of its transactions, as a condition of SQL.

    With `whole`, the name of a column, each of its values comes by itself, and whole.
    """

    key: str
    tie: str
    which: str = "true"
    whole: str = ""

    @classmethod
    def of(cls, entity: Entity) -> "ShardOrder":
        """Return the order of an entity's log."""
        return cls(f"{entity.value}_key", f"{entity.value}_tie")

    @classmethod
    def by_party(cls, entity: Entity, rows: Path) -> "ShardOrder":
        """Return the order of an entity's log, party by party, of those that have one of the output rows of a file."""
        theirs = f"(SELECT {entity.value}_id FROM told WHERE row IN (SELECT row FROM {quoted(rows)}))"
        which = f"is_decided AND {entity.value}_id IN {theirs}"
        return cls(f"{entity.value}_key", f"{entity.value}_tie", which, f"{entity.value}_id")


class Shard:
    """One shard, sorted; use it as a context."""

    def __init__(self, place: Workdir, entity: Entity, number: int, order: ShardOrder | None = None) -> None:
        self._place = place
        self._entity = entity
        self._number = number
        self._order = order or ShardOrder.of(entity)
        self._connection = connect_memory(place.folder, place.memory_mb)
        self._count = self._sort()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def _sort(self) -> int:
        folder, order = self._place.shard_folder(self._entity) / f"shard={self._number}", self._order
        if not folder.exists():
            return 0
        self._connection.execute(
            f"CREATE TEMP TABLE sorted AS WITH told AS (SELECT * FROM {_files(folder)}) "
            f"SELECT *, {order.key} AS key, {order.tie} AS tie FROM told WHERE {order.which} "
            f"ORDER BY {order.whole and order.whole + ','} key, tie, number"
        )
        return int(self._connection.execute("SELECT count(*) FROM sorted").fetchall()[0][0])

    def rows(self) -> Ints:
        """Return the output rows of this shard, ascending."""
        if not self._count:
            return np.empty(0, np.int64)
        found = self._connection.execute("SELECT row FROM sorted WHERE row >= 0 ORDER BY row").fetchnumpy()
        return np.asarray(found["row"], np.int64)

    def column(self, name: str) -> Any:  # noqa: ANN401 - an array of some kind
        """Return a column of all transactions, in order."""
        return self._connection.execute(f"SELECT {name} FROM sorted ORDER BY rowid").fetchnumpy()[name]

    def names(self) -> list[str]:
        """Return the entities of this shard."""
        if not self._count:
            return []
        name = f"{self._entity.value}_id"
        return [str(one) for (one,) in self._connection.execute(f"SELECT DISTINCT {name} FROM sorted").fetchall()]

    def lots(self) -> Iterator[ShardBatch]:
        """Yield all transactions in order."""
        for start, end in pairwise(self._cuts()):
            columns = self._connection.execute(
                "SELECT * FROM sorted WHERE rowid >= ? AND rowid < ? ORDER BY rowid", [start, end]
            ).fetchnumpy()
            names = ("number", "row", "key", "tie")
            yield ShardBatch(transactions_of(columns), *(np.asarray(columns[name], np.int64) for name in names))

    def _cuts(self) -> list[int]:
        """Return where lots begin, and where the last ends."""
        if not (self._order.whole and self._count):
            return [*range(0, self._count, READ_ROWS), self._count]
        names = self.column(self._order.whole)
        return [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist(), self._count]

    def labels(self) -> list[LabelAt]:
        """Return the labels of a shard of cards, in the order of the log."""
        folder = self._place.labels_folder() / f"shard={self._number}"
        if not folder.exists():
            return []
        places = ", ".join(f"{entity.value}_key, {entity.value}_tie" for entity in self._place.entities)
        found = self._connection.execute(
            f"SELECT number, {places}, told_ms, {_LABEL} FROM {_files(folder)} ORDER BY card_key, card_tie, number"
        )
        return [_label(row, self._place.others) for row in found.fetchall()]


def _label(row: Sequence[Any], others: Sequence[Entity]) -> LabelAt:
    number, key, tie, *rest = row
    elsewhere = {
        entity: (rest[2 * at], rest[2 * at + 1], number) for at, entity in enumerate(others) if rest[2 * at] is not None
    }
    at_ms, *told = rest[2 * len(others) :]
    return LabelAt((key, tie, number), elsewhere, at_ms, Label(*told))


def _files(folder: Path) -> str:
    return f"read_parquet({quoted(folder / '*.parquet')}, hive_partitioning = false)"
