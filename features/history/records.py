"""The record format of histories, and the hashes that identify records and entities.

A history is an int64 matrix, one row for each record, little-endian where it is stored: nine columns in a card's, the
first six of them in a merchant's or a device's.

A record of a prediction from storage has seven columns: in TIME when it was computed, in AMOUNT the bits of its value
as a float64 (NaN: none), in OTHER the hash of its name, in ARRIVED the timestamp of its record in Kafka.

FLAGS, from the lowest bit: 32 content hash, 1 label, 1 fraud, 3 currency exponent, 24 partition, 1 pane, 1 note; the
sign bit is never set. Panes and notes are rows of compacted histories, see `features.history.panes`; erasures, and what
they leave of a record, have numbers of their own in place of the exponent, see `features.history.erasure`.

TRAITS, from the lowest bit: 14 category, 10 country, 3 channel, 12 wall clock, 15 currency, 1 whether PLACE is set.
PLACE holds latitude and longitude. An absent field is 0.
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.history.store import Entity, Ints, Label, Prediction, Transactions

TIME = 0
"""Transaction: when it occurred; label: since when it is known. Milliseconds of the Unix epoch."""
AMOUNT = 1
"""Transaction: minor units of its currency; label: when its transaction occurred, in ms, 0 if unknown."""
ID = 2
"""Hash that identifies the record; a label never has the id of its transaction."""
OTHER = 3
"""Transaction: the counterparty's hash (in a card's history the merchant, else the card); label: the transaction's."""
OFFSET = 4
"""Offset in the source topic."""
FLAGS = 5
"""Bits, see the module's docstring."""
SHARED_COLUMNS = 6
DEVICE = 6
"""Cards only. Transaction: hash of the device, 0 if absent."""
PLACE = 7
"""Cards only. Transaction: where the terminal is, packed by `pack_place`."""
TRAITS = 8
"""Cards only. Transaction: the other fields, packed by `pack_traits`."""
CARD_COLUMNS = 9
ARRIVED = 6
"""Predictions only: the timestamp of the record in Kafka, in ms."""
PREDICTION_COLUMNS = 7
COLUMNS = MappingProxyType(
    {
        Entity.CARD: CARD_COLUMNS,
        Entity.MERCHANT: SHARED_COLUMNS,
        Entity.DEVICE: SHARED_COLUMNS,
        Entity.PREDICTION: PREDICTION_COLUMNS,
    }
)
"""Columns of a record, by entity."""
COLUMN_BYTES = 8
RECORD_BYTES = MappingProxyType({kind: columns * COLUMN_BYTES for kind, columns in COLUMNS.items()})
"""Bytes of a record, by entity."""
STORED = np.dtype("<i8")
CONTENT_MASK = 0xFFFF_FFFF
LABEL_BIT = 1 << 32
FRAUD_BIT = 1 << 33
EXPONENT_SHIFT = 34
EXPONENT_MASK = 0b111
PARTITION_SHIFT = 37
PANE_BIT = 1 << 61
NOTE_BIT = 1 << 62
NO_TRANSACTION = LABEL_BIT | PANE_BIT | NOTE_BIT
PARTITION_MASK = ~((1 << PARTITION_SHIFT) - 1)
"""Bits of FLAGS that give, together with OFFSET, a record's position in its topic."""
SOURCE_MASK = PARTITION_MASK | LABEL_BIT
"""Bits of FLAGS that give topic (transactions or labels) and partition."""
FINEST_EXPONENT = 4
"""No currency has more decimals."""
REDUCED = 6
"""In place of an exponent: an erasure has left the record's id, its place and its day."""
ERASURE = 7
"""In place of an exponent: the row is an erasure."""
MARKED = REDUCED << EXPONENT_SHIFT
"""Bits of FLAGS that all rows with one of these two have, and no others."""
NO_TIME_MS = -(1 << 62)
"""Earlier than any time."""
LATEST_MS = 1 << 50
"""No time is so far from 1970."""
CHANNELS = ("pos", "ecommerce", "moto", "atm")
ALPHABET = 26
LATEST_CLOCK_MINUTES = 24 * 60
"""No wall clock is so far from UTC."""
PLACE_UNITS = 100_000
"""Units per degree: latitude and longitude are rounded to 10^-5 degrees, about one metre."""
LOW_HALF = 32
LOW_MASK = (1 << LOW_HALF) - 1
HASH_MASK = 0xFFFF_FFFF_FFFF_FFFF
LONGEST_HASH_KEY = hashlib.blake2b.MAX_KEY_SIZE
CACHED_TRAITS = 1 << 16
CACHED_HASHES = 1 << 17


class Trait(NamedTuple):
    """The bits of one trait in TRAITS: the lowest one, and how many."""

    shift: int
    bits: int

    @property
    def mask(self) -> int:
        """The trait's bits as a mask."""
        return ((1 << self.bits) - 1) << self.shift


CATEGORY = Trait(0, 14)
"""The merchant's category (MCC) plus 1; 0 if absent."""
COUNTRY = Trait(14, 10)
"""The merchant's country, from its two letters; 0 if absent."""
CHANNEL = Trait(24, 3)
"""Index into CHANNELS plus 1; 0 if absent."""
CLOCK = Trait(27, 12)
"""The wall clock's offset from UTC in minutes, plus LATEST_CLOCK_MINUTES."""
CURRENCY = Trait(39, 15)
"""The currency, from its three letters."""
HAS_PLACE = Trait(54, 1)
"""1 if PLACE is set."""
TEXT_TRAITS = MappingProxyType({"mcc": CATEGORY, "channel": CHANNEL, "merchant_country": COUNTRY, "currency": CURRENCY})
"""The traits that are texts, by the contract's names of their fields."""


def card_rows(batch: Transactions) -> Ints:
    """Return the batch's n records as in card histories, shape (n, 9)."""
    rows = np.empty((len(batch), CARD_COLUMNS), np.int64)
    rows[:, TIME] = batch.occurred_ms
    rows[:, AMOUNT] = batch.amount_minor
    rows[:, ID] = list(map(transaction_hash, batch.card_ids, batch.transaction_ids))
    rows[:, OTHER] = list(map(merchant_hash, batch.merchant_ids))
    rows[:, OFFSET] = batch.offset
    rows[:, FLAGS] = (
        fold_hashes(batch.content) | (batch.exponent << EXPONENT_SHIFT) | (batch.partition << PARTITION_SHIFT)
    )
    rows[:, DEVICE] = list(map(device_hash, batch.device_ids))
    rows[:, PLACE] = batch.place
    rows[:, TRAITS] = batch.traits
    for at in () if batch.erases is None else np.flatnonzero(batch.erases).tolist():
        rows[at] = _erasure_row(batch, at)
    return rows


def _erasure_row(batch: Transactions, at: int) -> Ints:
    """Return the row of an erasure, shape (9,): a label that is about no transaction, of the time of the erasure."""
    erased_ms, offset = int(batch.occurred_ms[at]), int(batch.offset[at])
    about = f"{len(batch.card_ids[at])}:{batch.card_ids[at]}{erased_ms}:{batch.transaction_ids[at]}"
    flags = LABEL_BIT | (ERASURE << EXPONENT_SHIFT) | (int(batch.partition[at]) << PARTITION_SHIFT)
    return np.array((erased_ms, erased_ms, _hash(b"erasure", about), 0, offset, flags, 0, 0, 0), np.int64)


def shared_rows(rows: Ints, cards: Ints) -> Ints:
    """Return card records as in merchant and device histories, shape (n, 6): the counterparty is the card."""
    seen_by_others = rows[:, :SHARED_COLUMNS].copy()
    seen_by_others[:, OTHER] = cards
    return seen_by_others


def label_row(label: Label) -> Ints:
    """Return a label's record, shape (9,), with its transaction's time if the sender gave it."""
    flags = LABEL_BIT | (FRAUD_BIT if label.fraud else 0) | (label.partition << PARTITION_SHIFT)
    transaction = transaction_hash(label.card_id, label.transaction_id)
    values = (label.labelled_ms, label.occurred_ms or 0, label_hash(label), transaction, label.offset, flags, 0, 0, 0)
    return np.array(values, np.int64)


def prediction_row(prediction: Prediction) -> Ints:
    """Return a prediction's record, shape (7,)."""
    values = (
        prediction.computed_ms,
        value_bits(prediction.value),
        _prediction_hash(prediction),
        prediction_name_hash(prediction.name),
        prediction.offset,
        prediction.partition << PARTITION_SHIFT,
        prediction.arrived_ms,
    )
    return np.array(values, np.int64)


def value_bits(value: float | None) -> int:
    """Return the bits of a prediction's value as a float64; those of NaN for none, and of 0.0 for -0.0."""
    return int(np.array([np.nan if value is None else value + 0.0], np.float64).view(np.int64)[0])


def _prediction_hash(prediction: Prediction) -> int:
    """Return a prediction's id: its card, its name, when it was computed and its value."""
    about = f"{len(prediction.card_id)}:{prediction.card_id}{len(prediction.name)}:{prediction.name}"
    return _hash(b"prediction", f"{about}{prediction.computed_ms}:{value_bits(prediction.value)}")


def entity_hash(row: Ints, kind: Entity) -> int:
    """Return the hash of a transaction's merchant or device, from its record in a card's history; 0 if it has none."""
    return int(row[OTHER if kind is Entity.MERCHANT else DEVICE])


@lru_cache(maxsize=CACHED_HASHES)
def card_hash(card_id: str) -> int:
    """Return the 64-bit hash that names a card's history; cached, since the same cards occur again."""
    return _hash(b"card", card_id)


@lru_cache(maxsize=CACHED_HASHES)
def merchant_hash(merchant_id: str) -> int:
    """Return the 64-bit hash that names a merchant's history; cached likewise."""
    return _hash(b"merchant", merchant_id)


@lru_cache(maxsize=CACHED_HASHES)
def device_hash(device_id: str | None) -> int:
    """Return the 64-bit hash that names a device's history; 0 for none."""
    return 0 if device_id is None else _hash(b"device", device_id)


@lru_cache(maxsize=CACHED_TRAITS)
def prediction_name_hash(name: str) -> int:
    """Return the 64-bit hash that stands for a prediction's name in its record; cached likewise."""
    return _hash(b"prediction name", name)


def keyless_prediction_name_hash(name: str) -> int:
    """Return the hash of a prediction's name as a process without a key has it, such as one that trains a model."""
    return _hash(b"prediction name", name, b"")


def transaction_hash(card_id: str, transaction_id: str) -> int:
    """Return a transaction's id; the length in front separates ('a', 'bc') from ('ab', 'c')."""
    return _hash(b"transaction", f"{len(card_id)}:{card_id}{transaction_id}")


def label_hash(label: Label) -> int:
    """Return a label's id: its transaction, its source, since when it is known and what it says."""
    about = f"{len(label.card_id)}:{label.card_id}{len(label.transaction_id)}:{label.transaction_id}"
    return _hash(b"label", f"{about}{label.labelled_ms}:{label.fraud:d}:{label.reported_by}")


HASHES: Mapping[Entity, Callable[[str], int]] = MappingProxyType(
    {
        Entity.CARD: card_hash,
        Entity.MERCHANT: merchant_hash,
        Entity.DEVICE: device_hash,
        Entity.PREDICTION: card_hash,
    }
)
"""The hash that names a history, by entity; a card's predictions have the card's."""


def _hash(person: bytes, text: str, key: bytes | None = None) -> int:
    """Return 64 bits of BLAKE2b, by the process's key, as a signed integer; `person` separates the kinds of hashes."""
    keyed = _keyed if key is None else {"key": key}
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, person=person, **keyed).digest()
    return int.from_bytes(digest, "little", signed=True)


_keyed: dict[str, Any] = {}
"""What gives BLAKE2b this process's key; empty: without one, whoever knows how ids look can try them all."""


def use_hash_key(key: bytes) -> None:
    """Hash ids with a deployment's key from now on, of at most 64 bytes; call it before anything is hashed.

    Histories made by another key are not found. Values of features depend on no hash.
    """
    _keyed.clear()
    if key:
        _keyed["key"] = key
    for cached in (card_hash, merchant_hash, device_hash, prediction_name_hash):
        cached.cache_clear()


def has_hash_key() -> bool:
    """Tell whether ids are hashed by a key: then no card's or device's id is stored."""
    return bool(_keyed)


def hash_key_check() -> str:
    """Return a text that is the same for the same key alone, and from which it cannot be found; empty without one."""
    if not _keyed:
        return ""
    return hashlib.blake2b(b"fraudstream", digest_size=16, person=b"check", **_keyed).hexdigest()


def fold_hashes(content: NDArray[np.uint64]) -> Ints:
    """XOR-fold 64-bit content hashes to the 32 bits that a record has."""
    return ((content ^ (content >> np.uint64(32))) & np.uint64(CONTENT_MASK)).astype(np.int64)


@lru_cache(maxsize=CACHED_TRAITS)
def pack_traits(category: str | None, country: str | None, channel: str | None, clock: int, currency: str) -> int:
    """Pack all traits but HAS_PLACE; `clock` is the offset from UTC in minutes. Cached: few combinations occur."""
    values = (
        (CATEGORY, 0 if category is None else int(category) + 1),
        (COUNTRY, 0 if country is None else 1 + _letters(country)),
        (CHANNEL, 0 if channel is None else 1 + CHANNELS.index(channel)),
        (CLOCK, clock + LATEST_CLOCK_MINUTES),
        (CURRENCY, _letters(currency)),
    )
    return sum(value << trait.shift for trait, value in values)


@lru_cache(maxsize=CACHED_TRAITS)
def trait_text(name: str, traits: int) -> str | None:
    """Return a packed field of the contract as its text; None if it is absent. The inverse of `pack_traits`."""
    value = (traits & TEXT_TRAITS[name].mask) >> TEXT_TRAITS[name].shift
    match name:
        case "mcc":
            return f"{value - 1:04}" if value else None
        case "channel":
            return CHANNELS[value - 1] if value else None
        case "merchant_country":
            return _as_letters(value - 1, 2) if value else None
        case _:
            return _as_letters(value, 3)


def _as_letters(number: int, count: int) -> str:
    letters = ""
    for _ in range(count):
        number, letter = divmod(number, ALPHABET)
        letters = chr(ord("A") + letter) + letters
    return letters


def _letters(code: str) -> int:
    number = 0
    for letter in code:
        number = number * ALPHABET + ord(letter) - ord("A")
    return number


def pack_place(latitude: float, longitude: float) -> int:
    """Pack a place given in degrees; the caller sets HAS_PLACE."""
    return (round(latitude * PLACE_UNITS) << LOW_HALF) | (round(longitude * PLACE_UNITS) & LOW_MASK)


def unpack_trait(traits: Ints, trait: Trait) -> Ints:
    """Return one trait of many records."""
    return (traits >> trait.shift) & ((1 << trait.bits) - 1)


def clock_minutes(traits: Ints) -> Ints:
    """Return the wall clock's offset from UTC in minutes, positive to the east."""
    return unpack_trait(traits, CLOCK) - LATEST_CLOCK_MINUTES


def unpack_places(packed: Ints) -> tuple[Ints, Ints]:
    """Return latitudes and longitudes in 10^-5 degrees."""
    low = packed & LOW_MASK
    return packed >> LOW_HALF, low - ((low >> (LOW_HALF - 1)) << LOW_HALF)


def is_label(flags: Ints) -> NDArray[np.bool_]:
    """Mark the records that are labels, from their FLAGS."""
    labels: NDArray[np.bool_] = (flags & LABEL_BIT) != 0
    return labels


def is_transaction(flags: Ints) -> NDArray[np.bool_]:
    """Mark the rows that are single transactions, from their FLAGS."""
    transactions: NDArray[np.bool_] = (flags & NO_TRANSACTION) == 0
    return transactions


def are_marked(flags: Ints) -> NDArray[np.bool_]:
    """Mark the erasures, and what erasures have left of records, from their FLAGS."""
    marked: NDArray[np.bool_] = (flags & MARKED) == MARKED
    return marked


def are_valid(rows: Ints) -> bool:
    """Tell whether rows can be records, or panes: what no formula can compute with is found, a wrong value is not."""
    return not are_wrong(rows).any()


def are_wrong(rows: Ints) -> NDArray[np.bool_]:
    """Mark the rows that can be neither records nor panes."""
    flags, times = rows[:, FLAGS], rows[:, TIME]
    is_known = (exponents(flags) <= FINEST_EXPONENT) | are_marked(flags)
    wrong: NDArray[np.bool_] = (flags < 0) | ~is_known | (times > LATEST_MS) | (times < -LATEST_MS)
    return wrong


def exponents(flags: Ints) -> Ints:
    """Return the decimals of each record's currency, from its FLAGS."""
    return (flags >> EXPONENT_SHIFT) & EXPONENT_MASK


def partitions(flags: Ints) -> Ints:
    """Return the partition that each record came from, from its FLAGS."""
    return flags >> PARTITION_SHIFT


def source(partition: int, *, of_labels: bool) -> int:
    """Return the bits of SOURCE_MASK for a partition of the labels or of the transactions topic."""
    return (partition << PARTITION_SHIFT) | (LABEL_BIT if of_labels else 0)


def came_later(rows: Ints, row: Ints) -> NDArray[np.bool_]:
    """Mark the records of the same topic and partition that have a higher offset than `row`."""
    same_source = ((rows[:, FLAGS] ^ row[FLAGS]) & SOURCE_MASK) == 0
    later: NDArray[np.bool_] = same_source & (rows[:, OFFSET] > row[OFFSET])
    return later


def label_order(labels: Ints) -> Ints:
    """Return the order of precedence of labels, the last one wins: by time, then offset, then partition."""
    order: Ints = np.lexsort((partitions(labels[:, FLAGS]), labels[:, OFFSET], labels[:, TIME]))
    return order


def same_source_offset(stored: Ints, row: Ints) -> bool:
    """Tell whether both records came from the same partition and offset."""
    return bool(stored[OFFSET] == row[OFFSET] and ((stored[FLAGS] ^ row[FLAGS]) & PARTITION_MASK) == 0)


def same_content(stored: Ints, row: Ints) -> bool:
    """Tell whether both records have the same content hash."""
    return ((int(stored[FLAGS]) ^ int(row[FLAGS])) & CONTENT_MASK) == 0
