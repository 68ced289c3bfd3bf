"""A file's transactions as the histories take them, batch by batch. Nothing here reads a file."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.store import Ints, Transactions

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
    told = {name: columns[name].tolist() for name in CONTENT}
    frauds, labelled = columns["fraud"].tolist(), columns["labelled_ms"].tolist()
    contents = ["\t".join(map(str, row)) for row in zip(*told.values(), strict=True)]
    hashes = [int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") for text in contents]
    count = len(contents)
    return Batch(
        Transactions(
            transaction_ids=told["transaction_id"],
            card_ids=told["card_id"],
            merchant_ids=told["merchant_id"],
            occurred_ms=np.array(told["occurred_ms"], np.int64),
            utc_offset_minutes=np.array(told["utc_offset_minutes"], np.int64),
            amount_minor=np.array(told["amount_minor"], np.int64),
            exponent=np.asarray(columns["exponent"], np.int64),
            content=np.array(hashes, np.uint64),
            partition=np.zeros(count, np.int64),
            offset=np.arange(start, start + count, dtype=np.int64),
            device_ids=told["device_id"],
            place=np.array(told["place"], np.int64),
            traits=np.array(told["traits"], np.int64),
        ),
        np.array(frauds, np.int8),
        np.array(labelled, np.int64),
        tuple(f"{text}\t{fraud}\t{known}\n" for text, fraud, known in zip(contents, frauds, labelled, strict=True)),
    )
