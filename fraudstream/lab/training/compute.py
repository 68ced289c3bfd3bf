"""Computes the vectors of a transactions file and writes them to a file: for a notebook, and for `model import`.

The vectors are those of `train`: point in time, by the functions that the worker runs. Rows go to parts of the output
as they come, so memory holds one part and the histories.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fraudstream.lab.dataset.database import connect_memory
from fraudstream.lab.dataset.errors import OutputError
from fraudstream.lab.dataset.file import TransactionsFile
from fraudstream.lab.dataset.output import Columns, join_parts, matrix_columns, temporary_folder, write_part
from fraudstream.lab.dataset.own_columns import OwnColumns
from fraudstream.lab.dataset.predictions_file import open_needed
from fraudstream.lab.training.request import Progress, VectorsReport, VectorsRequest
from fraudstream.lab.training.vectors import VectorBatch, VectorPass
from fraudstream.lab.training.vectors_file import DESCRIPTION, PROBES, VectorsDescription, column_meanings
from models.times import format_time

PART_ROWS = 65_536
"""Rows of a part: some 30 MB of the default features."""
SEED = 1
"""Of the choice of probes; the same file gives the same vectors file."""
_MEMORY_MB = 512


def compute_vectors(request: VectorsRequest, progress: Progress) -> VectorsReport:
    """Write the vector of every transaction that the stream would decide, by time.

    The output appears whole or not at all.

    Raises:
        FileError: what is wrong with the file, or with the output, and what to do about it.
        FormulaError: a formula of the feature set raised, or returned no number.
    """
    with temporary_folder(request.out.parent, "vectors", OutputError) as folder:
        progress("read", 0, 1)
        names = request.feature_set.prediction_delays_ms
        stored = open_needed(request.predictions, names, folder, request.threads, _MEMORY_MB)
        with (
            stored or nullcontext() as predictions,
            TransactionsFile(
                request.file, folder, request.threads, _MEMORY_MB, own=OwnColumns.of(request.feature_set)
            ) as source,
        ):
            progress("read", 1, 1)
            pass_ = VectorPass(source, request.feature_set, predictions, probe_seed=SEED)
            written = _VectorParts(request, pass_, folder)
            written.write(progress)
            facts, dropped = source.facts, source.dropped
        since, until = format_time(facts.first_ms), format_time(facts.last_ms)
        with connect_memory(folder, _MEMORY_MB) as connection:
            join_parts(connection, written.parts, request.out, written.metadata(since, until))
        progress("write", 1, 1)
    return VectorsReport(
        out=str(request.out),
        rows=written.rows,
        labelled=written.labelled,
        frauds=written.frauds,
        set_aside=facts.rows - written.rows,
        dropped=dropped,
        since=since,
        until=until,
        fingerprint=request.feature_set.fingerprint,
        features=request.feature_set.names,
    )


class _VectorParts:
    """The parts of one output, and what is in them."""

    def __init__(self, request: VectorsRequest, pass_: VectorPass, folder: Path) -> None:
        self.parts: list[Path] = []
        self.rows, self.labelled, self.frauds = 0, 0, 0
        self._request = request
        self._pass = pass_
        self._folder = folder

    def write(self, progress: Progress) -> None:
        """Write all vectors in parts, in order; at least one part, so that an output has its columns."""
        names = self._request.feature_set.names
        waiting: list[Columns] = []
        count = 0
        for batch in self._pass.batches(progress):
            waiting.append(_columns(batch, names))
            self._count(batch)
            count += int(batch.decided.sum())
            if count >= PART_ROWS:
                self._write_part(waiting)
                waiting, count = [], 0
        if count or not self.parts:
            self._write_part(waiting)

    def metadata(self, since: str, until: str) -> dict[str, str]:
        """Return the parquet metadata of the output."""
        description = VectorsDescription(
            fingerprint=self._request.feature_set.fingerprint,
            since=since,
            until=until,
            rows=self.rows,
            data=self._pass.fingerprint,
            code_version=self._request.code_version,
            columns=column_meanings(self._request.feature_set),
        )
        return {
            DESCRIPTION: msgspec.json.encode(description).decode(),
            PROBES: msgspec.json.encode(self._pass.probes).decode(),
        }

    def _count(self, batch: VectorBatch) -> None:
        fraud = batch.rows.fraud[batch.decided]
        self.rows += len(fraud)
        self.labelled += int((fraud >= 0).sum())
        self.frauds += int((fraud == 1).sum())

    def _write_part(self, batches: list[Columns]) -> None:
        columns = {name: _joined([one[name] for one in batches]) for name in batches[0]}
        self.parts.append(self._folder / f"part-{len(self.parts):05}.parquet")
        write_part(columns, self.parts[-1], _MEMORY_MB)


def _joined(values: list[Any]) -> Any:  # noqa: ANN401 - arrays of one kind
    """Concatenate arrays; masked ones stay masked."""
    masked = isinstance(values[0], np.ma.MaskedArray)
    return np.ma.concatenate(values) if masked else np.concatenate(values)  # type: ignore[no-untyped-call]


def _columns(batch: VectorBatch, names: tuple[str, ...]) -> Columns:
    """Return the rows of a batch that the stream would decide, as the columns of the file."""
    rows, decided = batch.rows, batch.decided
    unlabelled = rows.fraud[decided] < 0
    columns = {
        "transaction_id": np.array(rows.transactions.transaction_ids, object)[decided],
        "card_id": np.array(rows.transactions.card_ids, object)[decided],
        "occurred_at": _times(rows.transactions.occurred_ms[decided]),
        "amount_minor": rows.transactions.amount_minor[decided],
        "currency": np.array(rows.currencies, object)[decided],
        "fraud": np.ma.masked_array(rows.fraud[decided] == 1, unlabelled),
        "labelled_at": np.ma.masked_array(_times(rows.labelled_ms[decided]), unlabelled),
    }
    return columns | matrix_columns(names, batch.matrix[decided])


def _times(times_ms: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    return (times_ms * 1_000).astype("datetime64[us]")
