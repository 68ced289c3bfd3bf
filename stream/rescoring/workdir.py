"""The folder in which back-scoring works: what lies where, and how much goes together.

A *row* is a line of the output, in its order; a *number* names a transaction, those of the run-up included.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from features.history.store import Entity, Ints
from features.vector.sets import FeatureSets
from stream.dataset.file import DATABASE
from stream.rescoring.passes import looked_at

SHARD_ROWS = 300_000
"""About so many transactions are run through by one process at a time: some 200 MB with what they see."""
BLOCK_ROWS = 122_880
"""So many rows are put together and scored at a time: a row group of the output."""
Bytes = np.ndarray[tuple[int, ...], np.dtype[np.int8]]


@dataclass(frozen=True, slots=True)
class Workdir:
    """A folder with `numbers` transactions in it, `rows` of which are scored, parted into `shards` for each entity.

    `memory_mb` is what one process may give its database; `is_searched` says that what differed was searched for. All
    of it can be sent to another process.
    """

    folder: Path
    sets: FeatureSets
    numbers: int
    rows: int
    shards: int
    memory_mb: int
    is_searched: bool = False

    @property
    def entities(self) -> tuple[Entity, ...]:
        """Whose histories are run through, in this order."""
        return (Entity.CARD, *self.others)

    @property
    def others(self) -> tuple[Entity, ...]:
        """The other parties that some feature looks at."""
        return looked_at(self.sets)

    @property
    def database(self) -> Path:
        """Where the tables `rows` and `labels` are."""
        return self.folder / DATABASE

    @property
    def base(self) -> Path:
        """What the output says of each row besides features and scores."""
        return self.folder / "base.parquet"

    @property
    def blocks(self) -> int:
        """How many blocks the rows make."""
        return -(-self.rows // BLOCK_ROWS)

    def span(self, block: int) -> tuple[int, int]:
        """Return the first row of a block, and the first behind it."""
        return block * BLOCK_ROWS, min(self.rows, (block + 1) * BLOCK_ROWS)

    def shard_folder(self, entity: Entity) -> Path:
        """Where the transactions of an entity's shards are."""
        return self.folder / entity.value

    def labels_folder(self) -> Path:
        """Where the labels of the cards' shards are."""
        return self.folder / "labels"

    def loose(self, kind: Entity) -> Path:
        """Where the transactions are whose place in the logs of such parties nobody knows."""
        return self.folder / f"loose-{kind.value}.parquet"

    def part(self, block: int) -> Path:
        """Where a block of the output is."""
        return self.folder / f"part-{block:05}.parquet"

    @property
    def unlike(self) -> Path:
        """Where the decisions are that are searched for."""
        return self.folder / "unlike.parquet"

    def result(self, entity: Entity, shard: int, what: str, *, moved: bool = False) -> Path:
        """Where a pass left an array of its shard; `moved`: the search."""
        return self.folder / f"{entity.value}-{shard:05}{'-moved' if moved else ''}.{what}.npy"

    def vectors(self, entity: Entity, shard: int, which: int, *, moved: bool = False) -> Path:
        """Where a pass left the vectors of one feature set."""
        return self.result(entity, shard, f"vectors-{which}", moved=moved)

    def going_on(self, entity: Entity, shard: int) -> Path:
        """Where the cards of a shard left the labels that go on to another party."""
        return self.folder / f"{entity.value}-from-{shard:05}.labels.npy"

    def fates(self, *, new: bool = False) -> Bytes:
        """Return the fate of each number, as an index into `Fate`; all processes write to it, each its own."""
        return _mapped(self.folder / "fates.bin", np.int8, self.numbers, new=new)

    def progress(self, *, new: bool = False) -> Ints:
        """Return how many transactions each task of the present stage has done."""
        return _mapped(self.folder / "progress.bin", np.int64, max(self.shards, self.blocks), new=new)


def shards_for(numbers: int, threads: int) -> int:
    """Return into how many parts so many transactions are cut."""
    return max(-(-numbers // SHARD_ROWS), min(threads, numbers))


def _mapped(path: Path, kind: type[np.generic], count: int, *, new: bool) -> np.memmap:
    return np.memmap(path, kind, "w+" if new else "r+", shape=(max(count, 1),))
