"""Computes the vector of every transaction in the order of time, by the functions that the worker runs.

`VectorPass` yields them batch by batch, with what is decided; a `TableWriter` collects rows in a file mapped
into memory, so memory holds only one batch and the histories.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.declaration import FeatureSet
from features.history import records
from features.history.predictions import PredictionLog
from features.history.store import Entity, Fate, Ints, Observed, Transactions
from features.memory_store import MemoryStore
from features.vector.vectorise import vectorise
from fraudstream.lab.dataset.database import DatasetBatch
from fraudstream.lab.dataset.file import TransactionsFile
from fraudstream.lab.dataset.predictions_file import PredictionsFile
from fraudstream.lab.training.request import Progress
from models.artifact import ProbeHistories, Vector, vectors_of
from models.categories import NO_CATEGORIES, Categories
from models.policy import Floats
from stream.control.probes import write_probe

BATCH = 2_048
MAX_RECORDS = 2_000_000
"""The most records (100 MB) that a batch should read from histories: long histories make batches small."""
PROBES = 24
"""Rows of a file near which probes for a vectors file are taken, two each; an artifact has invented ones."""
LONGEST_PROBE = 2_000
"""The most records of a history in a probe."""
_BLOCK_ROWS = 65_536
NO_PROBES = ProbeHistories((), ())
CURRENCY_CODE = np.dtype("S3")
"""Three bytes a row, where text would take twelve."""


class TableRows(NamedTuple):
    """n rows of a table: `matrix` of shape (n, features), and the other columns as in `Table`."""

    matrix: Floats
    occurred_ms: Ints
    labelled_ms: Ints
    fraud: NDArray[np.int8]
    decided: NDArray[np.bool_]
    card_ids: Sequence[str]
    amount_minor: Ints
    currencies: Sequence[str]


@dataclass(slots=True)
class Table:
    """All n transactions by time: `matrix` of shape (n, features), their labels and cards.

    `decided` is false for rows that the stream would not decide (repeated, contradicting). `card` has a number for each
    card. `amount_minor` is in minor units of `currency`, its code in ASCII; 0 and empty where they are not known.
    `fingerprint` hashes the rows, labels included; `probes` are the vectors file's. `categories` are
    those that trees that are fitted to the table know by numbers.
    """

    matrix: Floats
    occurred_ms: Ints
    labelled_ms: Ints
    fraud: NDArray[np.int8]
    card: Ints
    decided: NDArray[np.bool_]
    amount_minor: Ints
    currency: NDArray[np.bytes_]
    fingerprint: str = ""
    probes: ProbeHistories = NO_PROBES
    categories: Categories = NO_CATEGORIES

    @property
    def last_ms(self) -> int:
        """Return the time of the last transaction; labels known later are not used."""
        return int(self.occurred_ms[-1])

    @property
    def known(self) -> NDArray[np.bool_]:
        """Tell which rows have a label known by `last_ms` and would be decided by the stream."""
        return self.decided & (self.fraud >= 0) & (self.labelled_ms <= self.last_ms)


class TableWriter:
    """Fills a table of `rows` rows in their order; its matrix is a file in `folder`, mapped into memory."""

    def __init__(self, rows: int, width: int, folder: Path) -> None:
        self.table = Table(
            matrix=np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float64, (rows, width)),
            occurred_ms=np.empty(rows, np.int64),
            labelled_ms=np.empty(rows, np.int64),
            fraud=np.empty(rows, np.int8),
            card=np.empty(rows, np.int64),
            decided=np.empty(rows, np.bool_),
            amount_minor=np.empty(rows, np.int64),
            currency=np.empty(rows, CURRENCY_CODE),
        )
        self._filled = 0
        self._cards: dict[str, int] = {}

    def append(self, rows: TableRows) -> None:
        """Write rows behind those that are there."""
        table, at = self.table, slice(self._filled, self._filled + len(rows.fraud))
        table.matrix[at] = rows.matrix
        table.occurred_ms[at] = rows.occurred_ms
        table.labelled_ms[at] = rows.labelled_ms
        table.fraud[at] = rows.fraud
        table.decided[at] = rows.decided
        table.amount_minor[at] = rows.amount_minor
        table.currency[at] = np.array(rows.currencies, CURRENCY_CODE)
        table.card[at] = [self._cards.setdefault(card_id, len(self._cards)) for card_id in rows.card_ids]
        self._filled = at.stop


class VectorBatch(NamedTuple):
    """Some transactions with their labels, their vectors of shape (n, features), and which the stream would decide."""

    rows: DatasetBatch
    matrix: Floats
    decided: NDArray[np.bool_]


@dataclass(slots=True)
class _Probes:
    """The probes taken so far."""

    histories: list[msgspec.Raw] = field(default_factory=list)
    vectors: list[Vector] = field(default_factory=list)


class VectorPass:
    """One pass of a transactions file through the histories; a label becomes visible when it becomes known.

    With a `probe_seed` it keeps probes, of payments that this chooses. `predictions` is the file of the predictions
    from storage, for a feature set that reads some; a payment sees those that had come by its own time.
    """

    def __init__(
        self,
        source: TransactionsFile,
        feature_set: FeatureSet,
        predictions: PredictionsFile | None = None,
        *,
        probe_seed: int | None = None,
    ) -> None:
        self._source = source
        self._feature_set = feature_set
        self._random = np.random.default_rng(probe_seed)
        self._store = MemoryStore(feature_set)
        self._digest = hashlib.sha256()
        self._predictions: PredictionLog | None = None
        if predictions is not None and (names := feature_set.prediction_delays_ms):
            self._predictions = predictions.log(names)
            self._digest.update(predictions.fingerprint.encode())
        self._done = 0
        self._batch_size = BATCH
        # Probes come from the last three quarters of the file, where histories are long.
        rows = source.facts.rows
        near = np.linspace(rows // 4, rows - 1, PROBES).astype(int).tolist()
        self._probe_rows = [] if probe_seed is None else near
        self._probes = _Probes()

    def batches(self, progress: Progress) -> Iterator[VectorBatch]:
        """Yield all transactions by time, at one time in the file's order.

        Raises:
            FormulaError: a formula of the feature set raised, or returned no number.
        """
        known_ms = -1
        for batch in self._source.batches(lambda: self._batch_size):
            until_ms = int(batch.transactions.occurred_ms[-1])
            self._store.label_now(self._source.frauds_known(known_ms, until_ms))
            known_ms = until_ms
            yield self._vectors_of(batch)
            progress("features", self._done, self._source.facts.rows)

    @property
    def width(self) -> int:
        """Return the number of features."""
        return len(self._feature_set)

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 over all transactions so far, labels and predictions included."""
        return self._digest.hexdigest()

    @property
    def probes(self) -> ProbeHistories:
        """Return the probes taken so far."""
        return ProbeHistories(tuple(self._probes.histories), tuple(self._probes.vectors))

    def _vectors_of(self, batch: DatasetBatch) -> VectorBatch:
        """Append one batch to the histories, and compute its vectors."""
        count = len(batch.transactions)
        observed = self._store.observe_now(batch.transactions)
        if self._predictions is not None:
            observed = self._with_predictions(self._predictions, batch.transactions, observed)
        matrix = vectorise(self._feature_set, batch.transactions, observed)
        decided = np.array([fate is Fate.DECIDE for fate in observed.fates], np.bool_)
        self._digest.update("".join(batch.lines).encode())
        found = VectorBatch(batch, matrix, decided)
        if any(self._done <= row < self._done + count for row in self._probe_rows):
            self._keep_probes(found, observed)
        self._done += count
        kinds = (Entity.CARD, Entity.MERCHANT, Entity.PREDICTION)
        seen = sum(len(observed.histories[kind].rows) for kind in kinds if kind in observed.histories)
        self._batch_size = int(np.clip(count * MAX_RECORDS // seen, 16, BATCH))
        return found

    def _with_predictions(self, log: PredictionLog, batch: Transactions, observed: Observed) -> Observed:
        """Return what a batch saw, with the predictions from storage."""
        cards, own_ms = np.array(list(map(records.card_hash, batch.card_ids)), np.int64), batch.occurred_ms
        schedule = self._feature_set.schedules[Entity.PREDICTION]
        seen = log.seen(cards, own_ms, log.arrived(cards, own_ms), schedule)
        return replace(observed, histories={**observed.histories, Entity.PREDICTION: seen})

    def _keep_probes(self, batch: VectorBatch, observed: Observed) -> None:
        """Keep two transactions with short enough histories: a random one, and one with the card's longest history."""
        lengths = observed.cards.lengths
        fit = np.flatnonzero(batch.decided & (lengths <= LONGEST_PROBE) & (observed.merchants.lengths <= LONGEST_PROBE))
        if not len(fit):
            return
        for row in dict.fromkeys((int(self._random.choice(fit)), int(fit[np.argmax(lengths[fit])]))):
            reads = self._feature_set.reads_payments
            probe = write_probe(batch.rows.transactions, observed, row, with_fields=reads)
            self._probes.histories.append(msgspec.Raw(probe))
            self._probes.vectors += vectors_of(batch.matrix[row : row + 1])


def fill_table(source: TransactionsFile, pass_: VectorPass, folder: Path, progress: Progress) -> Table:
    """Return all rows of a file as a table, with the vectors of a pass over it."""
    writer = TableWriter(source.facts.rows, pass_.width, folder)
    for rows, matrix, decided in pass_.batches(progress):
        seen = rows.transactions
        labels = rows.labelled_ms, rows.fraud
        money = seen.amount_minor, rows.currencies
        writer.append(TableRows(matrix, seen.occurred_ms, *labels, decided, seen.card_ids, *money))
    writer.table.fingerprint = pass_.fingerprint
    return writer.table


def score_blocks(
    score: Callable[[Floats], Floats], table: Table, rows: Ints, on_block: Callable[[int, int], None] | None = None
) -> Floats:
    """Return what a model's function says of some rows, of shape (len(rows),), in blocks that fit into memory.

    `on_block` is called with the number of blocks that are done, and of all.
    """
    parts, blocks = list[Floats](), row_blocks(rows)
    for done, block in enumerate(blocks, start=1):
        parts.append(score(np.asarray(table.matrix[block])))
        if on_block is not None:
            on_block(done, len(blocks))
    return np.concatenate(parts)


def row_blocks(rows: Ints) -> list[Ints]:
    """Return rows in blocks whose vectors fit into memory."""
    return np.array_split(rows, max(1, len(rows) // _BLOCK_ROWS))


def reach_ms(feature_set: FeatureSet) -> int:
    """Return how far the features look back: nearer to a file's beginning, histories are incomplete."""
    return max((row.reach_ms for row in feature_set.rows if row.entity is not Entity.NONE), default=0)
