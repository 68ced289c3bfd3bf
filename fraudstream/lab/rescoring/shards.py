"""Shards of transactions and labels: written by a hash of their entity's id, read back in the order of its log.

`write_shards` takes three tables or views of a database:
`rows`: the columns of `transactions_of`, `number`, `row` (-1: not scored), and for each kind of entity `<kind>_key` and
`<kind>_tie`; (key, tie, number) is the transaction's sort key in that entity's log.
`labels`: `number`, `published_ms`, the fields of `features.history.store.Label` and the same keys and ties. A label
comes before the transactions with its sort key or a greater one. Its keys in another party's log are NULL where it
directly follows its transaction.
`base`: the output columns of each `row` other than features and scores, and its `number`.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from features.history.store import Entity, Ints, Label, Transactions
from fraudstream.lab.dataset.database import connect_memory, quoted, transactions_of
from fraudstream.lab.dataset.own_columns import OwnColumns
from fraudstream.lab.rescoring.workdir import Workdir

FORMAT = "FORMAT parquet, COMPRESSION lz4_raw"
READ_ROWS = 16_384
_LABEL = ", ".join(Label._fields).replace("offset", '"offset"')

SortKey = tuple[int, int, int]
"""Key, tie and number; records of a log are in ascending order of these tuples."""


def write_shards(connection: Any, workdir: Workdir) -> None:  # noqa: ANN401 - a connection of a module without types
    """Write the transactions sharded by each kind of entity, the labels sharded by card, and the base of the output."""
    for entity in workdir.entities:
        _partition(connection, "rows", entity, workdir.shards, workdir.shard_folder(entity))
    _partition(connection, "labels", Entity.CARD, workdir.shards, workdir.labels_folder())
    connection.execute(f"COPY (SELECT * FROM base ORDER BY row) TO {quoted(workdir.base)} ({FORMAT})")


def _partition(connection: Any, table: str, entity: Entity, shards: int, folder: Path) -> None:  # noqa: ANN401 - likewise
    name = f"{entity.value}_id"
    connection.execute(
        f"COPY (SELECT *, hash({name}) % {shards} AS shard FROM {table} WHERE {name} IS NOT NULL) "
        f"TO {quoted(folder)} ({FORMAT}, PARTITION_BY (shard), OVERWRITE_OR_IGNORE)"
    )


class OrderedLabel(NamedTuple):
    """A label with its sort key in its card's log, the known ones in other parties' logs, and when it was published."""

    sort_key: SortKey
    other_keys: Mapping[Entity, SortKey]
    published_ms: int
    label: Label


class ShardBatch(NamedTuple):
    """Some transactions in the order of a log: their numbers, output rows (-1: none), keys and ties."""

    transactions: Transactions
    numbers: Ints
    rows: Ints
    keys: Ints
    ties: Ints

    def sort_keys(self) -> list[SortKey]:
        """Return the sort key of each."""
        return list(zip(self.keys.tolist(), self.ties.tolist(), self.numbers.tolist(), strict=True))

    @property
    def last_key(self) -> SortKey:
        """Return the last sort key."""
        return int(self.keys[-1]), int(self.ties[-1]), int(self.numbers[-1])


class ShardOrder(NamedTuple):
    """The order in which a shard is read, by key and tie, and a condition on its transactions, all as SQL.

    With `batch_by`, the name of a column, each batch has all transactions with one value of it.
    """

    key: str
    tie: str
    condition: str = "true"
    batch_by: str = ""

    @classmethod
    def of(cls, entity: Entity) -> "ShardOrder":
        """Return the order of an entity's log."""
        return cls(f"{entity.value}_key", f"{entity.value}_tie")

    @classmethod
    def by_party(cls, entity: Entity, rows: Path) -> "ShardOrder":
        """Return the order of the logs, one log a batch, of the entities of those output rows that a file lists."""
        listed = f"(SELECT {entity.value}_id FROM shard WHERE row IN (SELECT row FROM {quoted(rows)}))"
        condition = f"(is_decided OR is_passed) AND {entity.value}_id IN {listed}"
        return cls(f"{entity.value}_key", f"{entity.value}_tie", condition, f"{entity.value}_id")


class Shard:
    """One shard, sorted; use it as a context."""

    def __init__(self, workdir: Workdir, entity: Entity, number: int, order: ShardOrder | None = None) -> None:
        self._workdir = workdir
        self._entity = entity
        self._number = number
        self._order = order or ShardOrder.of(entity)
        self._connection = connect_memory(workdir.folder, workdir.memory_mb)
        self._count = self._sort()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def _sort(self) -> int:
        folder, order = self._workdir.shard_folder(self._entity) / f"shard={self._number}", self._order
        if not folder.exists():
            return 0
        self._connection.execute(
            f"CREATE TEMP TABLE sorted AS WITH shard AS (SELECT * FROM {_files(folder)}) "
            f"SELECT *, {order.key} AS key, {order.tie} AS tie FROM shard WHERE {order.condition} "
            f"ORDER BY {order.batch_by and order.batch_by + ','} key, tie, number"
        )
        return int(self._connection.execute("SELECT count(*) FROM sorted").fetchall()[0][0])

    def rows(self) -> Ints:
        """Return the output rows of this shard, ascending."""
        if not self._count:
            return np.empty(0, np.int64)
        found = self._connection.execute("SELECT row FROM sorted WHERE row >= 0 ORDER BY row").fetchnumpy()
        return np.asarray(found["row"], np.int64)

    def column(self, name: str) -> Any:  # noqa: ANN401 - an array of some kind
        """Return a column over all transactions, in order."""
        return self._connection.execute(f"SELECT {name} FROM sorted ORDER BY rowid").fetchnumpy()[name]

    def entity_ids(self) -> list[str]:
        """Return the ids of this shard's entities."""
        if not self._count:
            return []
        name = f"{self._entity.value}_id"
        return [str(one) for (one,) in self._connection.execute(f"SELECT DISTINCT {name} FROM sorted").fetchall()]

    def batches(self) -> Iterator[ShardBatch]:
        """Yield all transactions in order."""
        wanted = OwnColumns.of(self._workdir.sets)
        for start, end in pairwise(self._batch_bounds()):
            columns = self._connection.execute(
                "SELECT * FROM sorted WHERE rowid >= ? AND rowid < ? ORDER BY rowid", [start, end]
            ).fetchnumpy()
            names = ("number", "row", "key", "tie")
            own = wanted.values_of(columns["attributes"].tolist()) if wanted.names else None
            yield ShardBatch(transactions_of(columns, own), *(np.asarray(columns[name], np.int64) for name in names))

    def _batch_bounds(self) -> list[int]:
        """Return where batches begin, and where the last ends."""
        if not (self._order.batch_by and self._count):
            return [*range(0, self._count, READ_ROWS), self._count]
        values = self.column(self._order.batch_by)
        return [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1).tolist(), self._count]

    def labels(self) -> list[OrderedLabel]:
        """Return the labels of a shard of cards, in the order of the cards' logs."""
        folder = self._workdir.labels_folder() / f"shard={self._number}"
        if not folder.exists():
            return []
        sort_keys = ", ".join(f"{entity.value}_key, {entity.value}_tie" for entity in self._workdir.entities)
        found = self._connection.execute(
            f"SELECT number, {sort_keys}, published_ms, {_LABEL} FROM {_files(folder)} "
            "ORDER BY card_key, card_tie, number"
        )
        return [_ordered_label(row, self._workdir.others) for row in found.fetchall()]


def _ordered_label(row: Sequence[Any], others: Sequence[Entity]) -> OrderedLabel:
    number, key, tie, *rest = row
    other_keys = {
        entity: (rest[2 * at], rest[2 * at + 1], number) for at, entity in enumerate(others) if rest[2 * at] is not None
    }
    published_ms, *fields = rest[2 * len(others) :]
    return OrderedLabel((key, tie, number), other_keys, published_ms, Label(*fields))


def _files(folder: Path) -> str:
    return f"read_parquet({quoted(folder / '*.parquet')}, hive_partitioning = false)"
