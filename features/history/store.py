"""The port to the histories: entities, batches, and the interface of a store.

`features.memory_store` and `features.redis.store` implement it; one contract test suite runs against both.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from features.history.retention import ResolutionSchedule, Retention
from features.own_fields import OwnValues
from features.own_table import OwnTable
from fraudstream_client.outputs import LabelStatus, PredictionStatus

Ints = NDArray[np.int64]
_MINUTE_MS = 60_000
NOWHERE = -1
"""The position of a record that is in no history."""
Words = NDArray[np.uint64]


class Entity(Enum):
    """The entity whose history a feature reads."""

    CARD = "card"
    MERCHANT = "merchant"
    DEVICE = "device"
    PREDICTION = "prediction"
    """A card's predictions from storage: no transaction is appended to them."""
    NONE = "none"
    """No history: the feature is a function of the transaction alone."""

    __hash__ = object.__hash__
    """Members are singletons; before Python 3.12 an Enum's own hash costs more than the dict look-up it is for."""


ENTITY_TEXT: Mapping[Entity, str] = MappingProxyType(
    {
        Entity.CARD: "a card",
        Entity.MERCHANT: "a merchant",
        Entity.DEVICE: "a device",
        Entity.PREDICTION: "a card's stored predictions",
        Entity.NONE: "the transaction alone",
    }
)
"""The entities as error messages name them."""
PARTIES = (Entity.MERCHANT, Entity.DEVICE)
"""The kinds other than cards to whose histories transactions and labels are appended."""


class Fate(Enum):
    """The decision about a transaction, from its card's history alone."""

    DECIDE = "decide"
    """New, or a redelivery of the same offset: it gets a decision."""
    REPEATED = "repeated"
    """The same transaction with the same content at another offset: it has a decision, or gets one there."""
    CONFLICT = "transaction_conflict"
    """The same transaction id with other content."""
    TOO_LATE = "too_late"
    """Older than its card's horizon."""
    ERASURE = "erasure"
    """No payment: up to its time, nothing sees the card's records from now on."""


@dataclass(frozen=True, slots=True)
class Transactions:
    """A batch of n valid transactions as columns, in log order within each card.

    `occurred_ms` is in milliseconds of the Unix epoch, `utc_offset_minutes` the local clock's offset, `exponent`
    the currency's number of decimals, `content` a hash of everything that a producer's retry must repeat,
    `partition` and `offset` the position in the transactions topic; `device_ids` has None where there is no device;
    `place` and `traits` are packed by `features.history.records`. `erases` tells which of them are erasures of their
    cards up to `occurred_ms`, with the id of the request as `transaction_ids`; None: none is. `own` are the values of
    the fields that are declared here, see `features.own_fields`; None: none is read.
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
    erases: Sequence[bool] | None = None
    own: Sequence[OwnValues] | None = None

    def __len__(self) -> int:
        """Return n."""
        return len(self.transaction_ids)

    @property
    def wall_clock_ms(self) -> Ints:
        """When they occurred by the local clock, as `occurred_ms`."""
        return self.occurred_ms + self.utc_offset_minutes * _MINUTE_MS

    def after(self, first: int) -> "Transactions":
        """Return the transactions behind the first ones."""
        return self._sliced(slice(first, None)) if first else self

    def first(self, count: int) -> "Transactions":
        """Return the first transactions."""
        return self if count >= len(self) else self._sliced(slice(0, count))

    def at(self, numbers: Sequence[int] | Ints) -> "Transactions":
        """Return the transactions with these numbers, in this order."""
        which = np.asarray(numbers, np.int64)
        values: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        for name, column in values.items():
            if column is not None:
                in_whole = isinstance(column, np.ndarray | OwnTable)
                values[name] = column[which] if in_whole else [column[i] for i in which.tolist()]
        return Transactions(**values)

    def _sliced(self, which: slice) -> "Transactions":
        values: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        for name, column in values.items():
            values[name] = None if column is None else column[which]
        return Transactions(**values)


class Label(NamedTuple):
    """One label; `occurred_ms` and `merchant_id` are its sender's, or None to be taken from the card's history."""

    transaction_id: str
    card_id: str
    fraud: bool
    labelled_ms: int
    reported_by: str
    merchant_id: str | None
    occurred_ms: int | None
    partition: int
    offset: int


class Prediction(NamedTuple):
    """One prediction from storage about a card; `value` is None where its model has none.

    `computed_ms` is when its model computed it, `arrived_ms` its record's timestamp in Kafka, both in milliseconds of
    the Unix epoch; `partition` and `offset` are its position in the predictions topic.
    """

    card_id: str
    name: str
    value: float | None
    computed_ms: int
    arrived_ms: int
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class LongHistory:
    """A history that is too long to be copied for each of the k transactions that see it: they share its rows.

    `rows` are all of the history, its compacted part included if it is `compacted`. Of each transaction there are its
    number in the batch (`numbers`), its own record (`own`), which row is that record or stands for it (`places`), and
    whether it is `displaced`; see `features.history.history.seen_by`. Visible is what `within` leaves of that.
    """

    rows: Ints
    numbers: Ints
    own: Ints
    places: Ints
    displaced: Sequence[bool]
    compacted: bool
    within: ResolutionSchedule | Retention


@dataclass(frozen=True, slots=True)
class Histories:
    """What is visible to each of n transactions in one kind of history, concatenated; long histories apart.

    `rows` is int64 of shape (sum of `lengths`, columns of `features.history.records`), in log order, the
    transaction's own record last; `lengths` has an entry, at least 1, for each transaction that sees none of the
    histories in `long`, in their order. `positions` of shape (n,) counts the records before one's own since the
    beginning of the entity's log, trimmed ones included; NOWHERE if one's own record is in no history. For predictions
    from storage the last record of each part is no prediction, but has the transaction's time, and `positions` counts
    the predictions.
    """

    rows: Ints
    lengths: Ints
    positions: Ints
    long: Sequence[LongHistory] = ()

    def part(self, which: NDArray[np.bool_]) -> tuple[Ints, Ints]:
        """Return the rows and lengths of some of the transactions whose rows are concatenated."""
        return self.rows[np.repeat(which, self.lengths)], self.lengths[which]

    @property
    def short(self) -> Ints:
        """The numbers of the transactions whose rows are concatenated, shape of `lengths`."""
        which = np.ones(len(self.positions), np.bool_)
        for one in self.long:
            which[one.numbers] = False
        return np.flatnonzero(which)


@dataclass(frozen=True, slots=True)
class Observed:
    """The answer for the first n transactions of a batch.

    `fates` has n entries. `histories` has n of each kind that the store keeps, cards and merchants at least; a
    transaction without a decision, or without that entity, has its own record alone. Positions count under
    `history_epoch`. `incomplete` is true where the store is known to be behind Kafka; `stopgap` where the store was
    not available and local memory answered instead. `damaged` names, by index, a history of each transaction that lacks
    records because it was damaged; the transaction is appended to it all the same. `ages_days` has n entries: how many
    days the histories of the deployment went back when each transaction occurred; None where that is not known.
    """

    fates: Sequence[Fate]
    histories: Mapping[Entity, Histories]
    history_epoch: int
    incomplete: bool
    stopgap: bool = False
    damaged: Mapping[int, str] = field(default_factory=dict)
    ages_days: Ints | None = None

    @property
    def cards(self) -> Histories:
        """The cards' histories."""
        return self.histories[Entity.CARD]

    @property
    def merchants(self) -> Histories:
        """The merchants' histories."""
        return self.histories[Entity.MERCHANT]

    @property
    def long_bytes(self) -> int:
        """How many bytes the long histories have that some of the transactions see."""
        size = 0
        for seen in self.histories.values():
            if seen.long:
                size += sum(one.rows.nbytes for one in seen.long)
        return size


class LabelResult(NamedTuple):
    """The answer for one label; `merchant_id` and `occurred_ms` are None if neither label nor history has them."""

    status: LabelStatus
    merchant_id: str | None
    occurred_ms: int | None
    history_epoch: int
    card_position: int
    merchant_position: int | None


class PredictionResult(NamedTuple):
    """The answer for one prediction; `position` counts the records before it in its card's predictions."""

    status: PredictionStatus
    history_epoch: int
    position: int


class RetentionPolicy(Protocol):
    """Says which histories are kept, how long and at which resolution: a feature set, or several."""

    @property
    def retentions(self) -> Mapping[Entity, Retention]:
        """Retention of histories, by entity."""
        ...


class HistoryStore(Protocol):
    """Append-only histories of cards, merchants and devices.

    Every call is idempotent: a record is appended if absent, so a call that failed half-way is repeated as it is.
    """

    async def observe(self, transactions: Transactions) -> Observed:
        """Append each transaction to the histories of its entities, and return what is visible to each.

        The answer is for the first transactions, at least one, as far as they see no more than the store's limit; call
        again for the others, see `observe_all`.

        A transaction that gets no decision is not appended to a history that lacks it, and not counted.

        Raises:
            StoreUnavailableError: the outcome is unknown; repeat the call later.
        """
        ...

    async def holds(self, transactions: Transactions) -> Sequence[bool]:
        """Tell which transactions are in their cards' histories, appended from the very offsets that they are at.

        Raises:
            StoreUnavailableError: repeat the call later.
        """
        ...

    async def label(self, labels: Sequence[Label]) -> Sequence[LabelResult]:
        """Append each label to its card's history, and to its merchant's and device's if the transaction is known.

        Raises:
            StoreUnavailableError: the outcome is unknown; repeat the call later.
            HistoryDamagedError: some cards lack records; nothing was appended, repeat the call without their labels.
        """
        ...

    async def predict(self, predictions: Sequence[Prediction]) -> Sequence[PredictionResult]:
        """Append each prediction to its card's predictions; the store must keep these, see `Entity.PREDICTION`.

        Raises:
            StoreUnavailableError: the outcome is unknown; repeat the call later.
        """
        ...

    async def compact(self) -> None:
        """Trim or compact the histories that grew since the last call; for a background task."""
        ...


async def observe_all(store: HistoryStore, transactions: Transactions) -> AsyncIterator[tuple[Transactions, Observed]]:
    """Observe a batch in as many parts as the store's limit asks for; yield the transactions of each and the answer.

    Raises:
        StoreUnavailableError: the outcome of the part is unknown; repeat the whole later.
    """
    while True:
        observed = await store.observe(transactions)
        count = len(observed.fates)
        yield transactions.first(count), observed
        if count >= len(transactions):
            return
        del observed  # the next part needs the memory
        transactions = transactions.after(count)
