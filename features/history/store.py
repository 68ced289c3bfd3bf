"""The port to the histories: what a store is asked, and what it answers.

Nothing here talks to a server or computes a feature. `memory_store` and `redis.store` keep these promises,
and one contract suite holds both to them.

Whose histories there are. Nothing here knows what is in one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from features.history.retention import Retention

Ints = NDArray[np.int64]
NOWHERE = -1
"""The position of what is in no history."""
Words = NDArray[np.uint64]


class Entity(Enum):
    """Whose history a feature looks at."""

    CARD = "card"
    MERCHANT = "merchant"
    DEVICE = "device"
    NONE = "none"
    """Nobody's: the feature is a function of the transaction alone."""

    __hash__ = object.__hash__
    """Members are single; before Python 3.12 the hash of an Enum takes longer than the look-up that it is for."""


ENTITY_TEXT: Mapping[Entity, str] = MappingProxyType(
    {
        Entity.CARD: "a card",
        Entity.MERCHANT: "a merchant",
        Entity.DEVICE: "a device",
        Entity.NONE: "the transaction alone",
    }
)
"""How messages call them."""


class Fate(Enum):
    """What becomes of a transaction, by its card's history alone."""

    DECIDE = "decide"
    """New, or a redelivery of the very offset that was observed before: it is owed a decision."""
    REPEATED = "repeated"
    """The same transaction with the same content at a later offset: decided already, or about to be."""
    CONFLICT = "transaction_conflict"
    """The same transaction id with other content."""
    TOO_LATE = "too_late"
    """Older than its card's horizon."""


class LabelStatus(Enum):
    """What a label did, by its card's history before the label's first offset."""

    APPLIED = "applied"
    REPEATED = "repeated"
    CORRECTED = "corrected"
    STALE = "stale"
    UNKNOWN_TRANSACTION = "unknown_transaction"


@dataclass(frozen=True, slots=True)
class Transactions:
    """A batch of n valid transactions as columns, in the order of the log within each card.

    `occurred_ms` is in whole milliseconds of the Unix epoch, `utc_offset_minutes` that of the wall clock where it
    happened, `exponent` the currency's number of decimals, `content` a hash of all that a producer's retry must
    repeat, `partition` and `offset` its place in the transactions topic; `device_ids` has None where none is told,
    `place` and `traits` are what `features.history.records` packs.
    """

    transaction_ids: Sequence[str]
    card_ids: Sequence[str]
    merchant_ids: Sequence[str]
    occurred_ms: Ints
    utc_offset_minutes: Ints
    amount_minor: Ints
    exponent: Ints
    content: Words
    partition: Ints
    offset: Ints
    device_ids: Sequence[str | None]
    place: Ints
    traits: Ints

    def __len__(self) -> int:
        """Return n."""
        return len(self.transaction_ids)


class Label(NamedTuple):
    """One label: `occurred_ms` and `merchant_id` as its sender says, or None to take them from the card's history."""

    transaction_id: str
    card_id: str
    fraud: bool
    labelled_ms: int
    reported_by: str
    merchant_id: str | None
    occurred_ms: int | None
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Histories:
    """What is visible to each of n transactions of one kind of history, one after the other.

    `rows` is int64 of shape (sum of `lengths`, columns of `features.history.records`), in the log's order, the
    transaction's own record last; `lengths` of shape (n,) counts at least 1. `positions` of shape (n,) count the
    records before one's own in the key's log since its beginning, trimmed ones included; NOWHERE where one's own is in
    none.
    """

    rows: Ints
    lengths: Ints
    positions: Ints


@dataclass(frozen=True, slots=True)
class Observed:
    """The answer for a batch of n transactions.

    `fates` has n entries. `histories` holds n of each kind that the store keeps, cards and merchants at least; for a
    transaction that is not to be decided, or that has no such party, its own record alone. Positions count under
    `history_epoch`. `incomplete` is true where the store is known to be behind Kafka; `stopgap`, where it
    was not even asked, and this is what was seen meanwhile.
    """

    fates: Sequence[Fate]
    histories: Mapping[Entity, Histories]
    history_epoch: int
    incomplete: bool
    stopgap: bool = False

    @property
    def cards(self) -> Histories:
        """The cards' histories."""
        return self.histories[Entity.CARD]

    @property
    def merchants(self) -> Histories:
        """The merchants' histories."""
        return self.histories[Entity.MERCHANT]


class LabelResult(NamedTuple):
    """The answer for one label; `merchant_id` and `occurred_ms` are None where neither side knows them."""

    status: LabelStatus
    merchant_id: str | None
    occurred_ms: int | None
    history_epoch: int
    card_position: int
    merchant_position: int | None


class RetentionPolicy(Protocol):
    """Says which histories are kept, how long and how fine: a feature set, or several side by side."""

    @property
    def retentions(self) -> Mapping[Entity, Retention]:
        """How long and how fine histories are kept, by whose they are."""
        ...


class HistoryStore(Protocol):
    """Append-only histories of cards, merchants and devices.

    Every call is idempotent: a record is appended if absent, so a call that failed half-way is simply made again.
    """

    async def observe(self, transactions: Transactions) -> Observed:
        """Append each transaction to the histories of its parties, and return what each may see.

        A transaction that is not to be decided is not appended to a history that lacks it, nor counted anywhere.

        Raises:
            StoreUnavailableError: nothing can be said; ask again later.
        """
        ...

    async def label(self, labels: Sequence[Label]) -> Sequence[LabelResult]:
        """Append each label to its card's history, and to the other parties' where the transaction is known.

        Raises:
            StoreUnavailableError: nothing can be said; ask again later.
        """
        ...

    async def compact(self) -> None:
        """Trim what has become invisible since the last call; off the path of a decision."""
        ...
