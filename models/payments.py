"""The columns of payments that a decision may look at beside the score: for costs by amount, and for rules."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Payments:
    """n payments as columns, in the order of their scores.

    `countries` are the merchants' (ISO 3166 alpha-2), None where it is not stated; `amounts_minor` are in the minor
    units of `currencies` (ISO 4217), integers of shape (n,).
    """

    card_ids: Sequence[str]
    merchant_ids: Sequence[str]
    countries: Sequence[str | None]
    amounts_minor: NDArray[np.int64]
    currencies: Sequence[str]

    def __len__(self) -> int:
        """Return n."""
        return len(self.amounts_minor)

    def of(self, rows: NDArray[np.integer[Any]]) -> "Payments":
        """Return some of the payments, by their row numbers."""
        which = rows.tolist()
        return Payments(
            [self.card_ids[at] for at in which],
            [self.merchant_ids[at] for at in which],
            [self.countries[at] for at in which],
            self.amounts_minor[rows],
            [self.currencies[at] for at in which],
        )
