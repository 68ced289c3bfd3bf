"""Opens DuckDB databases, and converts their columns to and from the `Transactions` that histories take.

The only module that imports DuckDB for the product's own tables. A database spills to its folder what exceeds its
memory limit.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.history.store import Ints, Transactions
from features.own_fields import OwnValues
from fraudstream.lab.dataset.errors import MissingExtraError

CONTENT = (
    "transaction_id",
    "card_id",
    "merchant_id",
    "occurred_ms",
    "utc_offset_minutes",
    "amount_minor",
    "currency",
    "device_id",
    "place",
    "traits",
)
"""The columns that are equal in two rows of the same transaction; their hash is its `content`."""
_encode = msgspec.json.Encoder(order="sorted").encode
MEMORY_MB = 2_048
"""The default memory limit of a database."""
_TEXTS = {name: f"{name}s" for name in ("transaction_id", "card_id", "merchant_id", "device_id")}
_NUMBERS = ("occurred_ms", "utc_offset_minutes", "amount_minor", "exponent", "partition", "offset", "place", "traits")


@dataclass(frozen=True, slots=True)
class DatasetBatch:
    """Transactions in the order of time with their labels: `fraud` is 1, 0 or -1 (none), known since `labelled_ms`."""

    transactions: Transactions
    fraud: NDArray[np.int8]
    labelled_ms: Ints
    currencies: list[str]
    lines: tuple[str, ...]
    """The content of each row as text, label included, for the fingerprint of the data."""


def batch_of(columns: dict[str, Any], start: int, own: Sequence[OwnValues] | None = None) -> DatasetBatch:
    """Return the columns of a query as a batch; its first row is the file's transaction number `start`.

    `own` are the values of the rows' own fields.
    """
    contents = ["\t".join(map(str, row)) for row in zip(*(columns[name].tolist() for name in CONTENT), strict=True)]
    hashes = [int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") for text in contents]
    places = np.arange(start, start + len(contents), dtype=np.int64)
    columns |= {"content": np.array(hashes, np.uint64), "partition": np.zeros_like(places), "offset": places}
    frauds, labelled = columns["fraud"].tolist(), columns["labelled_ms"].tolist()
    texts = contents
    if own is not None:
        texts = [f"{text}\t{_encode(values).decode()}" for text, values in zip(contents, own, strict=True)]
    return DatasetBatch(
        transactions_of(columns, own),
        np.array(frauds, np.int8),
        np.array(labelled, np.int64),
        columns["currency"].tolist(),
        tuple(f"{text}\t{fraud}\t{known}\n" for text, fraud, known in zip(texts, frauds, labelled, strict=True)),
    )


def transactions_of(columns: Mapping[str, Any], own: Sequence[OwnValues] | None = None) -> Transactions:
    """Return columns of a database as n transactions, with the values of their own fields.

    The columns are those of a file's table `transactions`, and `content`, `partition` and `offset`.
    """
    values: dict[str, Any] = {field: columns[name].tolist() for name, field in _TEXTS.items()}
    values |= {name: np.asarray(columns[name], np.int64) for name in _NUMBERS}
    return Transactions(**values, content=np.asarray(columns["content"], np.uint64), own=own)


def columns_of(transactions: Transactions) -> dict[str, Any]:
    """Return transactions as columns, the inverse of `transactions_of`, without own fields."""
    texts = {name: np.array(getattr(transactions, field), object) for name, field in _TEXTS.items()}
    return texts | {name: getattr(transactions, name) for name in (*_NUMBERS, "content")}


def connect(path: Path, threads: int, memory_mb: int = MEMORY_MB) -> Any:  # noqa: ANN401 - of a module that may not be there
    """Open or create a database file; what exceeds `memory_mb` is spilled to its folder.

    Raises:
        MissingExtraError: DuckDB is not installed.
    """
    return _open(str(path), threads, memory_mb, path.parent)


def connect_memory(folder: Path, memory_mb: int) -> Any:  # noqa: ANN401 - likewise
    """Open a database in memory, for one thread; what exceeds `memory_mb` is spilled to a folder.

    Raises:
        MissingExtraError: DuckDB is not installed.
    """
    return _open(":memory:", 1, memory_mb, folder)


def _open(name: str, threads: int, memory_mb: int, folder: Path) -> Any:  # noqa: ANN401 - likewise
    """Open a database without a progress bar, which DuckDB would print to standard output among a command's JSON.

    DuckDB enables the bar in processes that it takes for interactive ones, as it does with those of a pool.
    """
    options = {"threads": threads, "memory_limit": f"{memory_mb}MiB", "temp_directory": str(folder / "overflow")}
    connection = import_duckdb().connect(name, config=options)
    connection.execute("SET enable_progress_bar = false")
    return connection


def import_duckdb() -> Any:  # noqa: ANN401 - the module, which may not be there
    """Import DuckDB.

    Raises:
        MissingExtraError: DuckDB is not installed.
    """
    try:
        import duckdb  # noqa: PLC0415 - of the extra `train`; a worker runs without it
    except ImportError as error:
        raise MissingExtraError("transactions files", "DuckDB", "train") from error
    return duckdb


def quoted(text: object) -> str:
    """Quote a text, or a path, as an SQL literal."""
    return "'" + str(text).replace("'", "''") + "'"
