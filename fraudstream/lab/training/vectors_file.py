"""The file of vectors: what `features compute` writes, and how `model import` reads it.

Its columns are `COLUMNS` and a DOUBLE for each feature. Parquet metadata says which feature set it is of, and holds the
histories of some payments, by which an import sees whether vectors were changed, or computed by another version.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import numpy as np

from features.declaration import FeatureSet
from features.vector.sets import FeatureSets
from fraudstream.lab.dataset import columns as columns_module
from fraudstream.lab.dataset.database import connect, connect_memory, import_duckdb, quoted
from fraudstream.lab.dataset.errors import InputFileError
from fraudstream.lab.dataset.file import LABEL_DELAY_MS
from fraudstream.lab.dataset.input_table import Column, ColumnCheck, Need, TableLayout
from fraudstream.lab.dataset.input_table import read_table as read_input
from fraudstream.lab.dataset.output import is_parquet
from fraudstream.lab.training.request import Progress, VectorsFileError
from fraudstream.lab.training.vectors import Table, TableRows, TableWriter
from models.artifact import ProbeHistories, matrix_of, same_bits
from models.commands import Digest, Timestamp
from models.errors import ProbeError
from models.expected import without_pattern
from models.times import parse_time_ms
from stream.control.probes import vectorise_probe
from stream.readers import UNREADABLE
from stream.settings import PREFIX

COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "transaction_id": "the transaction's id",
        "card_id": "the card's token",
        "occurred_at": "when the transaction occurred, a timestamp with time zone; the vector sees nothing later",
        "amount_minor": "the amount in whole minor units of the currency, an integer",
        "currency": "ISO 4217",
        "fraud": "the label: true or false; null without one",
        "labelled_at": "when the label became known, a timestamp with time zone; null without one",
    }
)
"""The columns before the features, with their meaning."""
DESCRIPTION, PROBES = "fraudstream.vectors", "fraudstream.probes"
"""Keys of the parquet metadata; the values are JSON, `VectorsDescription` and `ProbeHistories`."""
_KEEP = "compute it again by `fraudstream features compute FILE --out vectors.parquet`"
_BATCH_ROWS = 16_384
_MEMORY_MB = 512


class VectorsDescription(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="vectors/1"):
    """What a vectors file says of itself.

    `since` and `until` are the times of the first and last transaction of the file that it was computed from, whose
    contents `data` hashes: histories begin at `since`. `columns` has the meaning of each column.
    """

    fingerprint: str
    since: Timestamp
    until: Timestamp
    rows: int
    data: Digest
    code_version: str
    columns: dict[str, str]


class Vectors(NamedTuple):
    """A vectors file of a feature set that is computed here."""

    path: Path
    description: VectorsDescription
    feature_set: FeatureSet
    probes: ProbeHistories

    @property
    def since_ms(self) -> int:
        """Return when its histories begin."""
        return parse_time_ms(self.description.since).epoch_ms


def column_meanings(feature_set: FeatureSet) -> dict[str, str]:
    """Return the meaning of each column of a file of this feature set."""
    return {**COLUMNS, **{row.name: f"{row.unit}: {row.meaning}" for row in feature_set.rows}}


def open_vectors(path: Path, sets: FeatureSets, folder: Path) -> Vectors:
    """Read which feature set a file is of, and check that this machine computes the same vectors.

    `folder` is one for temporary files.

    Raises:
        MissingExtraError: DuckDB is not installed.
        VectorsFileError: it is of none of the sets, or no such file.
    """
    metadata = _metadata(path, folder)
    if DESCRIPTION not in metadata or PROBES not in metadata:
        raise VectorsFileError(
            f"{path}: does not say which features it holds: {_KEEP}. A library that writes the file anew drops its "
            "metadata unless told otherwise; with pyarrow, table.replace_schema_metadata keeps them"
        )
    description = _decoded(path, metadata[DESCRIPTION], VectorsDescription)
    feature_set = sets.by_fingerprint.get(description.fingerprint)
    if feature_set is None:
        raise VectorsFileError(
            f"{path}: holds features {description.fingerprint}, and {PREFIX}FEATURES names "
            f"{', '.join(sets.by_fingerprint)}: name the feature set of the file, or {_KEEP}"
        )
    probes = _decoded(path, metadata[PROBES], ProbeHistories)
    _check_probes(path, probes, feature_set)
    return Vectors(path, description, feature_set, probes)


def _metadata(path: Path, folder: Path) -> dict[str, bytes]:
    if not is_parquet(path):
        raise VectorsFileError(
            f"{path}: ends in {path.suffix!r}: only parquet says which features it holds, so {_KEEP}"
        )
    duckdb = import_duckdb()
    try:
        with connect_memory(folder, _MEMORY_MB) as connection:
            found = connection.execute(f"SELECT key, value FROM parquet_kv_metadata({quoted(path)})").fetchall()
    except duckdb.Error as error:
        raise VectorsFileError(f"{path}: cannot be read as parquet: {str(error).splitlines()[0]}") from error
    return {key.decode(errors="replace"): value for key, value in found}


def _decoded(path: Path, value: bytes, kind: type[Any]) -> Any:  # noqa: ANN401 - of that type
    try:
        return msgspec.json.decode(value, type=kind)
    except UNREADABLE as error:
        raise VectorsFileError(f"{path}: its metadata are damaged ({without_pattern(error)}): {_KEEP}") from error


def _check_probes(path: Path, probes: ProbeHistories, feature_set: FeatureSet) -> None:
    """Check that the probe histories give their vectors here, bit for bit."""
    width = len(feature_set.names)
    if not probes.histories:
        raise VectorsFileError(f"{path}: holds no probe history: compute vectors of more transactions")
    try:
        computed = vectorise_probe(feature_set)([bytes(one) for one in probes.histories])
        expected = matrix_of(probes.vectors, width)
    except (ProbeError, ValueError) as error:
        raise VectorsFileError(f"{path}: its probe histories cannot be read: {error}; {_KEEP}") from error
    if not same_bits(computed, expected):
        raise VectorsFileError(
            f"{path}: its probe histories do not give their vectors here, so it was computed by another version or on "
            f"another kind of machine: {_KEEP}, here"
        )


def read_table(vectors: Vectors, folder: Path, threads: int, progress: Progress) -> Table:
    """Read the rows of a file, sorted by time, into a table whose matrix is a file in `folder`.

    Raises:
        VectorsFileError: a column is missing, or has values that cannot be used.
    """
    names = vectors.feature_set.names
    with connect(folder / "vectors.duckdb", threads, _MEMORY_MB) as connection:
        try:
            rows = _load(connection, vectors.path, names)
        except InputFileError as error:
            raise VectorsFileError(str(error)) from error
        writer, digest = TableWriter(rows, len(names), folder), hashlib.sha256()
        for start in range(0, rows, _BATCH_ROWS):
            columns = connection.execute(
                "SELECT * FROM vectors WHERE rowid >= ? AND rowid < ? ORDER BY rowid", [start, start + _BATCH_ROWS]
            ).fetchnumpy()
            writer.append(_rows(columns, names))
            _update(digest, columns, writer.table, slice(start, min(start + _BATCH_ROWS, rows)))
            progress("read", min(start + _BATCH_ROWS, rows), rows)
    writer.table.fingerprint, writer.table.probes = digest.hexdigest(), vectors.probes
    return writer.table


def _layout(names: tuple[str, ...]) -> TableLayout:
    """Return what a file of these features must have; without amounts nothing has costs."""
    return TableLayout(
        item="vector",
        columns=(
            Column("transaction_id", columns_module.TRANSACTION_ID),
            Column("card_id", columns_module.IDENTIFIER),
            Column("occurred_at", columns_module.TIME),
            Column("fraud", columns_module.FLAG, Need.COLUMN),
            Column("labelled_at", columns_module.TIME, Need.COLUMN),
            Column("amount_minor", columns_module.ANY, Need.NOTHING),
            Column("currency", columns_module.ANY, Need.NOTHING),
            *(Column(name, columns_module.FEATURE, Need.COLUMN) for name in names),
        ),
        checks=(ColumnCheck("labelled_at", "is before occurred_at", "read_labelled_at < read_occurred_at"),),
        unique=("card_id", "transaction_id"),
    )


def _load(connection: Any, path: Path, names: tuple[str, ...]) -> int:  # noqa: ANN401 - of a module without types
    """Check a file's columns and values, and sort its rows into the table `vectors`; return how many there are."""
    features = ", ".join(f'"read_{name}" AS "{name}"' for name in names)
    with read_input(connection, path, _layout(names)) as table:
        connection.execute(
            "CREATE TABLE vectors AS SELECT read_transaction_id AS transaction_id, read_card_id AS card_id, "
            "read_occurred_at AS occurred_ms, "
            "CASE WHEN read_fraud IS NULL THEN -1 WHEN read_fraud THEN 1 ELSE 0 END AS fraud, "
            f"coalesce(read_labelled_at, read_occurred_at + {LABEL_DELAY_MS}) AS labelled_ms, "
            f"{_money(table.kinds)}, {features} FROM read ORDER BY read_occurred_at, row"
        )
    return int(connection.execute("SELECT count(*) FROM vectors").fetchall()[0][0])


def _money(kinds: Mapping[str, str]) -> str:
    """Return the expressions of amount and currency; a file may lack them, and then nothing has costs."""
    is_there = kinds.get("amount_minor") in columns_module.INTEGERS and kinds.get("currency") == columns_module.TEXT
    amount, code = ("amount_minor", "currency") if is_there else ("NULL", "NULL")
    largest = columns_module.LARGEST_AMOUNT
    known = f"{amount} BETWEEN 0 AND {largest} AND regexp_full_match({code}, '[A-Z]{{3}}')"
    return (
        f"CASE WHEN {known} THEN CAST({amount} AS BIGINT) ELSE 0 END AS amount_minor, "
        f"CASE WHEN {known} THEN {code} ELSE '' END AS currency"
    )


def _rows(columns: dict[str, Any], names: tuple[str, ...]) -> TableRows:
    """Return rows of the table `vectors`; all of them were decided, and NULL is NaN."""
    matrix = np.column_stack([np.ma.filled(np.ma.asarray(columns[name], np.float64), np.nan) for name in names])
    return TableRows(
        matrix=matrix,
        occurred_ms=np.asarray(columns["occurred_ms"], np.int64),
        labelled_ms=np.asarray(columns["labelled_ms"], np.int64),
        fraud=np.asarray(columns["fraud"], np.int8),
        decided=np.ones(len(matrix), np.bool_),
        card_ids=columns["card_id"].tolist(),
        amount_minor=np.asarray(columns["amount_minor"], np.int64),
        currencies=columns["currency"].tolist(),
    )


def _update(digest: Any, columns: dict[str, Any], table: Table, rows: slice) -> None:  # noqa: ANN401 - hashlib names no type
    """Hash rows of the table, labels and vectors included, so that it does not matter which library wrote the file."""
    digest.update("\n".join(columns["transaction_id"].tolist()).encode())
    for values in (table.occurred_ms, table.labelled_ms, table.fraud, table.matrix):
        part = np.asarray(values[rows])
        digest.update((np.where(np.isnan(part), np.nan, part) if part.dtype == np.float64 else part).tobytes())
