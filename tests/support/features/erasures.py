"""Batches with erasures of cards."""

from dataclasses import fields, replace
from typing import Any

import numpy as np

from features.history.store import Transactions
from support.features.recount import transaction, transactions


def erasure_of(offset: int, erased_ms: int, card: str = "card-1", **changes: object) -> Transactions:
    """Return a batch of one erasure; its request is named by the offset unless `changes` say otherwise."""
    row = transaction(offset, **{"card": card, "id": f"request-{offset}", "ms": erased_ms, "merchant": "", **changes})
    return replace(transactions([row]), erases=[True])


def joined(*batches: Transactions) -> Transactions:
    """Return several batches as one."""
    values: dict[str, Any] = {"erases": [erases for one in batches for erases in one.erases or [False] * len(one)]}
    for name in (field.name for field in fields(Transactions) if field.name not in {"erases", "own"}):
        parts = [getattr(one, name) for one in batches]
        is_array = isinstance(parts[0], np.ndarray)
        values[name] = np.concatenate(parts) if is_array else [value for part in parts for value in part]
    return Transactions(**values)
