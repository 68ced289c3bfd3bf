"""Columns of a database as the transactions that histories take, and back. Nothing here reads a file."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.history.store import Ints, Transactions

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
"""What a row repeats if it is the same transaction again."""


_TEXTS = {name: f"{name}s" for name in ("transaction_id", "card_id", "merchant_id", "device_id")}
_NUMBERS = ("occurred_ms", "utc_offset_minutes", "amount_minor", "exponent", "partition", "offset", "place", "traits")


@dataclass(frozen=True, slots=True)
class Batch:
    """Transactions in the order of time, with what the file says of each: fraud 1, 0 or -1, and known since when."""

    transactions: Transactions
    fraud: NDArray[np.int8]
    labelled_ms: Ints
    lines: tuple[str, ...]
    """Each row's content as text, labels included, for the data's fingerprint."""


def batch_of(columns: dict[str, Any], start: int) -> Batch:
    """Make a batch of a query's columns, the first of them the file's transaction number `start`."""
    contents = ["\t".join(map(str, row)) for row in zip(*(columns[name].tolist() for name in CONTENT), strict=True)]
    hashes = [int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") for text in contents]
    places = np.arange(start, start + len(contents), dtype=np.int64)
    columns |= {"content": np.array(hashes, np.uint64), "partition": np.zeros_like(places), "offset": places}
    frauds, labelled = columns["fraud"].tolist(), columns["labelled_ms"].tolist()
    return Batch(
        transactions_of(columns),
        np.array(frauds, np.int8),
        np.array(labelled, np.int64),
        tuple(f"{text}\t{fraud}\t{known}\n" for text, fraud, known in zip(contents, frauds, labelled, strict=True)),
    )


def transactions_of(columns: Mapping[str, Any]) -> Transactions:
    """Make n transactions of columns as a database returns them: those of a file's table, and where each came from.

    The latter are `content`, `partition` and `offset`.
    """
    values: dict[str, Any] = {field: columns[name].tolist() for name, field in _TEXTS.items()}
    values |= {name: np.asarray(columns[name], np.int64) for name in _NUMBERS}
    return Transactions(**values, content=np.asarray(columns["content"], np.uint64))


def columns_of(transactions: Transactions) -> dict[str, Any]:
    """Return what `transactions_of` makes the same transactions of."""
    texts = {name: np.array(getattr(transactions, field), object) for name, field in _TEXTS.items()}
    return texts | {name: getattr(transactions, name) for name in (*_NUMBERS, "content")}
