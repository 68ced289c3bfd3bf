"""What a report needs of payments beyond their vectors: ids, amounts, currencies, and what segments go by."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.history.records import CHANNEL, COUNTRY, unpack_trait
from features.history.store import Ints
from fraudstream.lab.dataset.file import TransactionsFile

_ROWS = 65_536
Texts = NDArray[np.object_]


class FilePayments(NamedTuple):
    """All n payments of a file by time, in the order of its table of vectors.

    `transaction_ids` and `card_ids` are texts; `amounts_minor` are in minor units of `currencies`. `channels` and
    `countries`, the merchants', are packed as in histories; 0 where the file gives none.
    """

    transaction_ids: Texts
    card_ids: Texts
    amounts_minor: Ints
    currencies: Texts
    channels: Ints
    countries: Ints

    def of(self, rows: Ints) -> "FilePayments":
        """Return those of some rows."""
        return FilePayments(
            self.transaction_ids[rows],
            self.card_ids[rows],
            self.amounts_minor[rows],
            self.currencies[rows],
            self.channels[rows],
            self.countries[rows],
        )


def read_payments(source: TransactionsFile) -> FilePayments:
    """Read the columns of all payments, by time."""
    parts = []
    for batch in source.batches(lambda: _ROWS):
        seen = batch.transactions
        traits = np.asarray(seen.traits, np.int64)
        parts.append(
            FilePayments(
                np.array(seen.transaction_ids, object),
                np.array(seen.card_ids, object),
                np.asarray(seen.amount_minor, np.int64),
                np.array(batch.currencies, object),
                unpack_trait(traits, CHANNEL),
                unpack_trait(traits, COUNTRY),
            )
        )
    return FilePayments(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
