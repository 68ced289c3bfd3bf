"""The temporary folder of a rescoring run: the path of every file in it, and the sizes of shards and blocks.

A *row* is a line of the output, numbered in its order. A *number* identifies a transaction, including those that are
read only because histories need them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.history.store import Entity, Ints
from features.vector.sets import FeatureSets
from fraudstream.lab.dataset.file import DATABASE
from fraudstream.lab.rescoring.history_pass import other_entities

SHARD_ROWS = 300_000
"""Transactions in a shard, which one process holds in memory: some 200 MB with their histories and vectors."""
BLOCK_ROWS = 122_880
"""Rows that are joined and scored at a time: a row group of the output."""
Bytes = np.ndarray[tuple[int, ...], np.dtype[np.int8]]


@dataclass(frozen=True, slots=True)
class Workdir:
    """A folder with `transactions` transactions, `rows` of them scored, split into `shards` for each kind of entity.

    `memory_mb` limits the database of one process. `is_searched` is true once decisions that differ were searched for
    displaced records. The value is picklable, so it can be sent to another process.
    """

    folder: Path
    sets: FeatureSets
    transactions: int
    rows: int
    shards: int
    memory_mb: int
    is_searched: bool = False

    @property
    def entities(self) -> tuple[Entity, ...]:
        """Return the kinds of entities whose histories are needed, cards first."""
        return (Entity.CARD, *self.others)

    @property
    def others(self) -> tuple[Entity, ...]:
        """Return the kinds other than cards that some feature looks at."""
        return other_entities(self.sets)

    @property
    def database(self) -> Path:
        """Return the database with the tables `rows` and `labels`."""
        return self.folder / DATABASE

    @property
    def base(self) -> Path:
        """Return the file with the output columns of each row other than features and scores."""
        return self.folder / "base.parquet"

    @property
    def blocks(self) -> int:
        """Return the number of blocks."""
        return -(-self.rows // BLOCK_ROWS)

    def span(self, block: int) -> tuple[int, int]:
        """Return the first row of a block, and the first after it."""
        return block * BLOCK_ROWS, min(self.rows, (block + 1) * BLOCK_ROWS)

    def shard_folder(self, entity: Entity) -> Path:
        """Return the folder with the transactions, sharded by a kind of entity."""
        return self.folder / entity.value

    def labels_folder(self) -> Path:
        """Return the folder with the labels, sharded by card."""
        return self.folder / "labels"

    def unordered(self, kind: Entity) -> Path:
        """Return the file with the transactions whose position in the logs of this kind of entity is unknown."""
        return self.folder / f"unordered-{kind.value}.parquet"

    @property
    def divided_cards(self) -> Path:
        """Return the file with the transactions of cards that have some on several partitions."""
        return self.folder / "divided-cards.parquet"

    @property
    def recorded(self) -> Path:
        """Return the file, if there are any, with the numbers of these cards' transactions whose decision is on record.

        They ascend; decisions made with incomplete histories are left out.
        """
        return self.folder / "recorded.npy"

    def is_in_other_logs(self, numbers: Ints, decide: int) -> NDArray[np.bool_]:
        """Tell which transactions are in their merchants' and devices' logs: those that get the fate `decide`.

        And those of cards on several partitions whose decision is on record, even if the order of such a card's log, as
        it was after a loss, is another one now and makes them late.
        """
        found: NDArray[np.bool_] = self.fates()[numbers] == decide
        if self.recorded.exists():
            recorded = np.load(self.recorded, mmap_mode="r")
            at = np.searchsorted(recorded, numbers)
            found |= recorded[np.minimum(at, len(recorded) - 1)] == numbers
        return found

    def ambiguous(self, kind: Entity) -> Path:
        """Return the file with the transactions of which the logs of this kind may have one of several records."""
        return self.folder / f"ambiguous-{kind.value}.parquet"

    def late_answers(self, kind: Entity, what: str) -> Path:
        """Return the file with the records that were answered late, or with the positions in their logs."""
        return self.folder / f"late-{what}-{kind.value}.parquet"

    @property
    def erased(self) -> Path:
        """Return the file with the cards that are erased, and up to when; a file of transactions has none."""
        return self.folder / "erased.parquet"

    @property
    def predictions(self) -> Path:
        """Return the file with the predictions from storage, if some feature reads any."""
        return self.folder / "predictions.parquet"

    @property
    def predictions_seen(self) -> Path:
        """Return the file with how many of its card's predictions each row saw."""
        return self.folder / "predictions-seen.parquet"

    def part(self, block: int) -> Path:
        """Return the file with a block of the output."""
        return self.folder / f"part-{block:05}.parquet"

    @property
    def parts(self) -> list[Path]:
        """Return the files with all blocks of the output, in order."""
        return [self.part(block) for block in range(self.blocks)]

    @property
    def differing(self) -> Path:
        """Return the file with the decisions that are searched for displaced records."""
        return self.folder / "differing.parquet"

    def result(self, entity: Entity, shard: int, what: str, *, displaced: bool = False) -> Path:
        """Return the file with an array of a shard, written by its pass; with `displaced`, by the search."""
        return self.folder / f"{entity.value}-{shard:05}{'-displaced' if displaced else ''}.{what}.npy"

    def vectors(self, entity: Entity, shard: int, which: int, *, displaced: bool = False) -> Path:
        """Return the file with a shard's vectors by one feature set."""
        return self.result(entity, shard, f"vectors-{which}", displaced=displaced)

    def forwarded(self, entity: Entity, shard: int) -> Path:
        """Return the file with the labels that a shard of cards forwards to the histories of another kind of entity."""
        return self.folder / f"{entity.value}-from-{shard:05}.labels.npy"

    def fates(self, *, new: bool = False) -> Bytes:
        """Return the fate of each number, as an index into `Fate`; each process writes the numbers of its own shard."""
        return _map_array(self.folder / "fates.bin", np.int8, self.transactions, new=new)

    def progress(self, *, new: bool = False) -> Ints:
        """Return how many transactions (or rows) each task of the current stage has done."""
        return _map_array(self.folder / "progress.bin", np.int64, max(self.shards, self.blocks), new=new)


def shard_count(transactions: int, threads: int) -> int:
    """Return into how many shards a number of transactions is split."""
    return max(-(-transactions // SHARD_ROWS), min(threads, transactions))


def _map_array(path: Path, kind: type[np.generic], count: int, *, new: bool) -> np.memmap:
    return np.memmap(path, kind, "w+" if new else "r+", shape=(max(count, 1),))
