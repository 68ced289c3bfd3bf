"""Computes the vector of every transaction in the order of time, by the functions that the worker runs.

Vectors go to a file mapped into memory, so memory holds only one batch and the histories.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.declaration import FeatureSet
from features.history.store import Fate, Ints, Observed, Transactions
from features.memory_store import MemoryStore
from features.vector.vectorise import vectorise
from models.policy import Floats
from stream.control.probes import write_probe
from stream.dataset.database import DatasetBatch
from stream.dataset.file import TransactionsFile
from stream.training.request import Progress

BATCH = 2_048
MAX_RECORDS = 2_000_000
"""The most records (100 MB) that a batch should read from histories: long histories make batches small."""
PROBES = 24
"""Rows of the file near which probes are taken, two each."""
LONGEST_PROBE = 2_000
"""The most records of a history in a probe, so that artifacts stay small."""


@dataclass(slots=True)
class Table:
    """All n transactions by time: `matrix` of shape (n, features), their labels and cards, and some of them as probes.

    `decided` is false for rows that the stream would not decide (repeated, contradicting). `card` has a number for each
    card.
    """

    matrix: Floats
    occurred_ms: Ints
    labelled_ms: Ints
    fraud: NDArray[np.int8]
    card: Ints
    decided: NDArray[np.bool_]
    fingerprint: str = ""
    probes: list[bytes] = field(default_factory=list)
    probe_rows: list[int] = field(default_factory=list)

    @property
    def last_ms(self) -> int:
        """Return the time of the last transaction; labels known later are not used."""
        return int(self.occurred_ms[-1])

    @property
    def known(self) -> NDArray[np.bool_]:
        """Tell which rows have a label known by `last_ms` and would be decided by the stream."""
        return self.decided & (self.fraud >= 0) & (self.labelled_ms <= self.last_ms)


def build_table(
    source: TransactionsFile, feature_set: FeatureSet, folder: Path, seed: int, progress: Progress
) -> Table:
    """Run a file through the histories; a label becomes visible when it becomes known."""
    rows = source.facts.rows
    table = _create_table(rows, feature_set, folder)
    pass_ = _FilePass(feature_set, table, np.random.default_rng(seed))
    known_ms = -1
    for batch in source.batches(lambda: pass_.batch_size):
        until_ms = int(batch.transactions.occurred_ms[-1])
        pass_.store.label_now(source.frauds_known(known_ms, until_ms))
        known_ms = until_ms
        pass_.process(batch)
        progress("features", pass_.done, rows)
    table.fingerprint = pass_.digest.hexdigest()
    return table


def _create_table(rows: int, feature_set: FeatureSet, folder: Path) -> Table:
    shape = (rows, len(feature_set.names))
    return Table(
        matrix=np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float64, shape),
        occurred_ms=np.empty(rows, np.int64),
        labelled_ms=np.empty(rows, np.int64),
        fraud=np.empty(rows, np.int8),
        card=np.empty(rows, np.int64),
        decided=np.empty(rows, np.bool_),
    )


class _FilePass:
    """One pass over a file: the histories, and how far the table is filled."""

    def __init__(self, feature_set: FeatureSet, table: Table, random: np.random.Generator) -> None:
        self.store = MemoryStore(feature_set)
        self.done = 0
        self.batch_size = BATCH
        self.digest = hashlib.sha256()
        self._feature_set = feature_set
        self._table = table
        self._random = random
        # Probes come from the last three quarters of the file, where histories are long.
        rows = len(table.fraud)
        self._probe_rows = np.linspace(rows // 4, rows - 1, PROBES).astype(int).tolist()
        self._cards: dict[str, int] = {}

    def process(self, batch: DatasetBatch) -> None:
        """Append one batch to the histories, and write its vectors to the table."""
        transactions, table = batch.transactions, self._table
        observed = self.store.observe_now(transactions)
        rows = slice(self.done, self.done + len(transactions))
        table.matrix[rows] = vectorise(self._feature_set, transactions, observed)
        table.occurred_ms[rows] = transactions.occurred_ms
        table.labelled_ms[rows] = batch.labelled_ms
        table.fraud[rows] = batch.fraud
        table.card[rows] = [self._cards.setdefault(card_id, len(self._cards)) for card_id in transactions.card_ids]
        table.decided[rows] = [fate is Fate.DECIDE for fate in observed.fates]
        self.digest.update("".join(batch.lines).encode())
        probe_rows = [row for row in self._probe_rows if self.done <= row < self.done + len(transactions)]
        if probe_rows:
            self._keep_probes(transactions, observed)
        self.done += len(transactions)
        records = len(observed.cards.rows) + len(observed.merchants.rows)
        self.batch_size = int(np.clip(len(transactions) * MAX_RECORDS // records, 16, BATCH))

    def _keep_probes(self, transactions: Transactions, observed: Observed) -> None:
        """Keep two transactions with short enough histories: a random one, and one with the card's longest history."""
        lengths = observed.cards.lengths
        decided = np.array([fate is Fate.DECIDE for fate in observed.fates])
        fit = np.flatnonzero(decided & (lengths <= LONGEST_PROBE) & (observed.merchants.lengths <= LONGEST_PROBE))
        if not len(fit):
            return
        for row in dict.fromkeys((int(self._random.choice(fit)), int(fit[np.argmax(lengths[fit])]))):
            self._table.probes.append(write_probe(transactions, observed, row))
            self._table.probe_rows.append(self.done + row)
