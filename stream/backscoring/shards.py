"""One shard of an entity's transactions, and of the labels about them, read in the order of its log.

Nothing here knows a feature or a history.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from features.records import Entity
from features.store import Ints, Label, Transactions
from stream.backscoring.passes import OTHERS
from stream.backscoring.workplace import Workplace
from stream.transactions_file.database import connect_memory, quoted
from stream.transactions_file.reading import transactions_of

READ_ROWS = 16_384
_LABEL = ", ".join(Label._fields).replace("offset", '"offset"')

Place = tuple[int, int, int]
"""Key, tie and number, as tuples compare."""


class LabelAt(NamedTuple):
    """A label, its place in its card's log, and those in the logs of other parties that are known."""

    place: Place
    elsewhere: Mapping[Entity, Place]
    label: Label


class Lot(NamedTuple):
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


class Shard:
    """One shard, sorted; use it as a context."""

    def __init__(self, place: Workplace, entity: Entity, number: int) -> None:
        self._place = place
        self._entity = entity
        self._number = number
        self._connection = connect_memory(place.folder, place.memory_mb)
        self._count = self._sort()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def _sort(self) -> int:
        folder, name = self._place.shard_folder(self._entity) / f"shard={self._number}", self._entity.value
        if not folder.exists():
            return 0
        self._connection.execute(
            f"CREATE TEMP TABLE sorted AS SELECT * FROM {_files(folder)} ORDER BY {name}_key, {name}_tie, number"
        )
        return int(self._connection.execute("SELECT count(*) FROM sorted").fetchall()[0][0])

    def rows(self) -> Ints:
        """Return the output rows of this shard, ascending."""
        if not self._count:
            return np.empty(0, np.int64)
        found = self._connection.execute("SELECT row FROM sorted WHERE row >= 0 ORDER BY row").fetchnumpy()
        return np.asarray(found["row"], np.int64)

    def names(self) -> list[str]:
        """Return the entities of this shard."""
        if not self._count:
            return []
        name = f"{self._entity.value}_id"
        return [str(one) for (one,) in self._connection.execute(f"SELECT DISTINCT {name} FROM sorted").fetchall()]

    def lots(self) -> Iterator[Lot]:
        """Yield all transactions in order."""
        for start in range(0, self._count, READ_ROWS):
            columns = self._connection.execute(
                "SELECT * FROM sorted WHERE rowid >= ? AND rowid < ? ORDER BY rowid", [start, start + READ_ROWS]
            ).fetchnumpy()
            names = ("number", "row", f"{self._entity.value}_key", f"{self._entity.value}_tie")
            yield Lot(transactions_of(columns), *(np.asarray(columns[name], np.int64) for name in names))

    def labels(self) -> list[LabelAt]:
        """Return the labels of a shard of cards, in the order of the log."""
        folder = self._place.labels_folder() / f"shard={self._number}"
        if not folder.exists():
            return []
        places = ", ".join(f"{entity.value}_key, {entity.value}_tie" for entity in (Entity.CARD, *OTHERS))
        found = self._connection.execute(
            f"SELECT number, {places}, {_LABEL} FROM {_files(folder)} ORDER BY card_key, card_tie, number"
        )
        return [_label(row) for row in found.fetchall()]


def _label(row: Sequence[Any]) -> LabelAt:
    number, key, tie, *rest = row
    elsewhere = {
        entity: (rest[2 * at], rest[2 * at + 1], number) for at, entity in enumerate(OTHERS) if rest[2 * at] is not None
    }
    return LabelAt((key, tie, number), elsewhere, Label(*rest[2 * len(OTHERS) :]))


def _files(folder: Path) -> str:
    return f"read_parquet({quoted(folder / '*.parquet')}, hive_partitioning = false)"
