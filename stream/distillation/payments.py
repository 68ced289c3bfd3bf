"""What a report needs of payments beyond their vectors: ids, amounts, currencies, and what segments go by."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.history.records import ALPHABET, CHANNEL, CHANNELS, COUNTRY, unpack_trait
from features.history.store import Ints
from stream.dataset.file import TransactionsFile

_ROWS = 65_536
_UNSTATED = "not stated"
_CHANNEL_NAMES = np.array([_UNSTATED, *CHANNELS], object)
Texts = NDArray[np.object_]


class PaymentColumns(NamedTuple):
    """All n payments of a file by time, in the order of its table of vectors.

    `transaction_ids` and `card_ids` are texts; `amounts_minor` are in minor units of `currencies`, which have
    `exponents` decimals; `countries` are the merchants'. Channels and countries that are not stated say so.
    """

    transaction_ids: Texts
    card_ids: Texts
    amounts_minor: Ints
    exponents: Ints
    currencies: Texts
    channels: Texts
    countries: Texts

    def of(self, rows: Ints) -> "PaymentColumns":
        """Return those of some rows."""
        return PaymentColumns(
            self.transaction_ids[rows],
            self.card_ids[rows],
            self.amounts_minor[rows],
            self.exponents[rows],
            self.currencies[rows],
            self.channels[rows],
            self.countries[rows],
        )


def read_payments(source: TransactionsFile) -> PaymentColumns:
    """Read the columns of all payments, by time."""
    parts = []
    for batch in source.batches(lambda: _ROWS):
        seen = batch.transactions
        traits = np.asarray(seen.traits, np.int64)
        parts.append(
            PaymentColumns(
                np.array(seen.transaction_ids, object),
                np.array(seen.card_ids, object),
                np.asarray(seen.amount_minor, np.int64),
                np.asarray(seen.exponent, np.int64),
                np.array(batch.currencies, object),
                _CHANNEL_NAMES[unpack_trait(traits, CHANNEL)],
                _countries(unpack_trait(traits, COUNTRY)),
            )
        )
    return PaymentColumns(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _countries(numbers: Ints) -> Texts:
    """Return the codes of the numbers that records have: 0 for none, else 1 and the two letters in base 26."""
    found, index = np.unique(numbers, return_inverse=True)
    codes = [_UNSTATED if number == 0 else _code(number - 1) for number in found.tolist()]
    return np.array(codes, object)[index]


def _code(number: int) -> str:
    return "".join(chr(ord("A") + letter) for letter in divmod(number, ALPHABET))
