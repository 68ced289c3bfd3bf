"""Simulated transactions as columns: an array for each field, with positions in the population instead of names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int32]
Millis = NDArray[np.int64]
Amounts = NDArray[np.float64]

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


class Pattern(IntEnum):
    """The truth about a transaction; all but the first are fraud."""

    GENUINE = 0
    STOLEN = 1
    """A stolen card: one small purchase online, then large ones within hours."""
    SKIMMED = 2
    """Cards copied at one terminal, used days later at the same few complicit merchants."""
    TAKEOVER = 3
    """An account taken over: purchases at night, at merchants that the card never saw."""
    TESTING = 4
    """A card tested by many tiny purchases within minutes, and perhaps one large one."""


@dataclass(frozen=True, slots=True)
class TransactionRows:
    """Transactions in columns of equal length, in no particular order; refuses columns of unequal length."""

    card: Indices
    """Position in the population's cards."""
    merchant: Indices
    """Position in the population's merchants."""
    occurred_ms: Millis
    """Epoch milliseconds; the whole population is in UTC."""
    amount: Amounts
    """In euro; converted to the card's own currency when a row is written."""
    pattern: NDArray[np.int8]
    """A `Pattern`."""

    def __post_init__(self) -> None:
        lengths = {len(getattr(self, field.name)) for field in fields(self)}
        if len(lengths) != 1:
            raise ValueError(f"columns of lengths {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.card)

    def take(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> Self:
        """Return the rows at these positions, or where this mask holds."""
        return type(self)(*(getattr(self, field.name)[which] for field in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return all rows of all parts, one part after the other."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))
