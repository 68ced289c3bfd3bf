"""Decode a batch of records into columns and dead letters."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from features.history.records import HAS_PLACE, pack_place, pack_traits
from features.history.store import Transactions
from stream.contract.codes import Rejection
from stream.contract.iso import CURRENCY_DECIMALS
from stream.contract.transaction import ParsedTransaction, Transaction, read_transaction
from stream.kafka.batches import Record
from stream.kafka.dead_letters import DeadLetter


@dataclass(frozen=True, slots=True)
class Decoded:
    """The transactions of a batch as records, values and columns, all in the same order, and the dead letters."""

    records: Sequence[Record]
    accepted: Sequence[ParsedTransaction]
    columns: Transactions
    dead: Sequence[DeadLetter]

    def part(self, first: int, behind: int) -> "Decoded":
        """Return some of the transactions, without dead letters."""
        columns = self.columns.first(behind).after(first)
        return Decoded(self.records[first:behind], self.accepted[first:behind], columns, ())


def decode(records: Sequence[Record], skew_ms: int) -> Decoded:
    """Decode each record; `skew_ms` is how far a transaction may be ahead of its record's timestamp."""
    kept, accepted, dead = [], [], []
    for record in records:
        read = read_transaction(record.value, record.key, record.timestamp + skew_ms)
        if isinstance(read, Rejection):
            dead.append(DeadLetter(record, read.code, read.detail))
        else:
            kept.append(record)
            accepted.append(read)
    return Decoded(kept, accepted, _columns(kept, accepted), dead)


def _columns(records: Sequence[Record], accepted: Sequence[ParsedTransaction]) -> Transactions:
    transactions = [one.transaction for one in accepted]
    return Transactions(
        transaction_ids=[one.transaction_id for one in transactions],
        card_ids=[one.card_id for one in transactions],
        merchant_ids=[one.merchant_id for one in transactions],
        occurred_ms=np.array([one.occurred_ms for one in accepted], np.int64),
        utc_offset_minutes=np.array([one.utc_offset_minutes for one in accepted], np.int64),
        amount_minor=np.array([one.amount_minor for one in transactions], np.int64),
        exponent=np.array([CURRENCY_DECIMALS[one.currency] for one in transactions], np.int64),
        content=np.array([one.content for one in accepted], np.uint64),
        partition=np.array([record.partition for record in records], np.int64),
        offset=np.array([record.offset for record in records], np.int64),
        device_ids=[one.device_id for one in transactions],
        place=np.array([_place(one) for one in transactions], np.int64),
        traits=np.array([_traits(one) for one in accepted], np.int64),
    )


def _place(transaction: Transaction) -> int:
    """Return the terminal's packed coordinates; 0 if they are absent."""
    if transaction.latitude is None or transaction.longitude is None:
        return 0
    return pack_place(transaction.latitude, transaction.longitude)


def _traits(accepted: ParsedTransaction) -> int:
    """Return the other attributes that a card's history keeps, packed."""
    one = accepted.transaction
    packed = pack_traits(one.mcc, one.merchant_country, one.channel, accepted.utc_offset_minutes, one.currency)
    placed = one.latitude is not None and one.longitude is not None
    return packed | (placed << HAS_PLACE.shift)
