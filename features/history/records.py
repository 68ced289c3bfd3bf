"""One record of a history: some 64-bit integers, and the hashes by which records and entities are known.

A history is an int64 matrix of such rows, little-endian where it is stored: nine columns in a card's, the first six of
them in all others. Nothing here knows where a history is kept, what is visible in it or which features are made of it.

FLAGS, from the lowest bit: 32 content hash, 1 label, 1 fraud, 3 currency exponent, 24 partition, 1 pane, 1 note; the
sign is never set. Panes and notes are rows of folded histories: see `features.history.panes` and
`features.history.panes`.

What a card's record keeps of a transaction beside time, amount and parties, packed into two integers.

TRAITS holds, from the lowest bit: 14 category, 10 country, 3 channel, 12 wall clock, 15 currency, 1 whether there is a
place; PLACE holds latitude and longitude. What is not told is 0. Nothing here computes a feature.
"""

import hashlib
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.history.store import Entity, Ints, Label, Transactions

CACHED_TRAITS = 1 << 16
ALPHABET = 26
CHANNELS = ("pos", "ecommerce", "moto", "atm")
LATEST_CLOCK_MINUTES = 24 * 60
"""No wall clock is so far from UTC."""
PLACE_UNITS = 100_000
"""Latitude and longitude are kept in 10^-5 degrees: one metre or so."""
LOW_HALF = 32
LOW_MASK = (1 << LOW_HALF) - 1
TIME = 0
"""Transaction: when it occurred; label: since when it is known. Milliseconds of the Unix epoch."""
AMOUNT = 1
"""Transaction: minor units of its currency; label: when its transaction occurred, in ms, 0 where that is not known."""
ID = 2
"""Hash of what makes the record the same record; no label has the id of its transaction."""
OTHER = 3
"""Transaction: the other party's hash (card's history: the merchant; else: the card); label: its transaction's ID."""
OFFSET = 4
"""Offset in the source topic."""
FLAGS = 5
"""Bits, see above."""
SHARED_COLUMNS = 6
DEVICE = 6
"""Cards only. Transaction: hash of the device, 0 where none is told."""
PLACE = 7
"""Cards only. Transaction: where the terminal is, see `features.history.records`."""
TRAITS = 8
"""Cards only. Transaction: what else is told, see `features.history.records`."""
CARD_COLUMNS = 9
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
"""What of FLAGS says, with OFFSET, where the record came from."""
SOURCE_MASK = PARTITION_MASK | LABEL_BIT
"""What of FLAGS says from which partition of which topic."""

HASH_MASK = 0xFFFF_FFFF_FFFF_FFFF
CACHED_HASHES = 1 << 17


COLUMNS = MappingProxyType({Entity.CARD: CARD_COLUMNS, Entity.MERCHANT: SHARED_COLUMNS, Entity.DEVICE: SHARED_COLUMNS})
"""How wide a record is in each kind of history that is kept."""
COLUMN_BYTES = 8
RECORD_BYTES = MappingProxyType({kind: columns * COLUMN_BYTES for kind, columns in COLUMNS.items()})
"""How large a record is in each kind of history."""


class Trait(NamedTuple):
    """Where a trait lies in TRAITS: its lowest bit, and how many there are."""

    shift: int
    bits: int

    @property
    def mask(self) -> int:
        """Its bits."""
        return ((1 << self.bits) - 1) << self.shift


CATEGORY = Trait(0, 14)
"""The merchant's category (MCC) plus 1; 0: not told."""
COUNTRY = Trait(14, 10)
"""The merchant's country by its two letters; 0: not told."""
CHANNEL = Trait(24, 3)
"""Place in CHANNELS plus 1; 0: not told."""
CLOCK = Trait(27, 12)
"""The wall clock's minutes before UTC, plus LATEST_CLOCK_MINUTES."""
CURRENCY = Trait(39, 15)
"""The currency by its three letters."""
HAS_PLACE = Trait(54, 1)
"""1 where PLACE means something."""


def unpack_trait(traits: Ints, trait: Trait) -> Ints:
    """Return one trait of many records."""
    return (traits >> trait.shift) & ((1 << trait.bits) - 1)


def clock_minutes(traits: Ints) -> Ints:
    """Return how far the wall clock of each record was ahead of UTC, in minutes."""
    return unpack_trait(traits, CLOCK) - LATEST_CLOCK_MINUTES


@lru_cache(maxsize=CACHED_TRAITS)
def pack_traits(category: str | None, country: str | None, channel: str | None, clock: int, currency: str) -> int:
    """Pack all but the place; `clock` is the wall clock's offset from UTC in minutes. The same ones come again."""
    values = (
        (CATEGORY, 0 if category is None else int(category) + 1),
        (COUNTRY, 0 if country is None else 1 + _letters(country)),
        (CHANNEL, 0 if channel is None else 1 + CHANNELS.index(channel)),
        (CLOCK, clock + LATEST_CLOCK_MINUTES),
        (CURRENCY, _letters(currency)),
    )
    return sum(value << trait.shift for trait, value in values)


def pack_place(latitude: float, longitude: float) -> int:
    """Pack a place, in degrees; whoever keeps it sets PLACED."""
    return (round(latitude * PLACE_UNITS) << LOW_HALF) | (round(longitude * PLACE_UNITS) & LOW_MASK)


def unpack_places(packed: Ints) -> tuple[Ints, Ints]:
    """Return latitudes and longitudes in 10^-5 degrees."""
    low = packed & LOW_MASK
    return packed >> LOW_HALF, low - ((low >> (LOW_HALF - 1)) << LOW_HALF)


def _letters(code: str) -> int:
    number = 0
    for letter in code:
        number = number * ALPHABET + ord(letter) - ord("A")
    return number


def _hash(person: bytes, text: str) -> int:
    """Return 64 bits of BLAKE2b as a signed integer; `person` keeps the kinds of hash apart."""
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8, person=person).digest(), "little", signed=True)


@lru_cache(maxsize=CACHED_HASHES)
def card_hash(card_id: str) -> int:
    """Name a card's history by 64 bits; remembered, since the same cards come again and again."""
    return _hash(b"card", card_id)


@lru_cache(maxsize=CACHED_HASHES)
def merchant_hash(merchant_id: str) -> int:
    """Name a merchant's history by 64 bits; remembered likewise."""
    return _hash(b"merchant", merchant_id)


@lru_cache(maxsize=CACHED_HASHES)
def device_hash(device_id: str | None) -> int:
    """Name a device's history likewise; 0 for none."""
    return 0 if device_id is None else _hash(b"device", device_id)


def transaction_hash(card_id: str, transaction_id: str) -> int:
    """Identify a transaction; the length in front keeps ('a', 'bc') and ('ab', 'c') apart."""
    return _hash(b"transaction", f"{len(card_id)}:{card_id}{transaction_id}")


def label_hash(label: Label) -> int:
    """Identify a label by its transaction, its source, since when it is known and what it says."""
    about = f"{len(label.card_id)}:{label.card_id}{len(label.transaction_id)}:{label.transaction_id}"
    return _hash(b"label", f"{about}{label.labelled_ms}:{label.fraud:d}:{label.reported_by}")


def fold_hashes(content: NDArray[np.uint64]) -> Ints:
    """Fold 64-bit content hashes to the 32 bits that a record keeps."""
    return ((content ^ (content >> np.uint64(32))) & np.uint64(CONTENT_MASK)).astype(np.int64)


def card_rows(batch: Transactions) -> Ints:
    """Return the batch's n records as its cards' histories hold them, shape (n, 9)."""
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
    return rows


def shared_rows(rows: Ints, cards: Ints) -> Ints:
    """Return cards' records as all others' histories hold them, shape (n, 6): the other party is the card."""
    seen_by_others = rows[:, :SHARED_COLUMNS].copy()
    seen_by_others[:, OTHER] = cards
    return seen_by_others


def entity_hash(row: Ints, kind: Entity) -> int:
    """Return the hash of whose history, of this kind, a transaction of a card's history is in as well; 0: nobody's."""
    return int(row[OTHER if kind is Entity.MERCHANT else DEVICE])


def label_row(label: Label) -> Ints:
    """Return a label's record, shape (9,), with its transaction's time as far as its sender says it."""
    flags = LABEL_BIT | (FRAUD_BIT if label.fraud else 0) | (label.partition << PARTITION_SHIFT)
    transaction = transaction_hash(label.card_id, label.transaction_id)
    values = (label.labelled_ms, label.occurred_ms or 0, label_hash(label), transaction, label.offset, flags, 0, 0, 0)
    return np.array(values, np.int64)


def is_label(flags: Ints) -> NDArray[np.bool_]:
    """Tell which records are labels, from their FLAGS."""
    labels: NDArray[np.bool_] = (flags & LABEL_BIT) != 0
    return labels


def is_transaction(flags: Ints) -> NDArray[np.bool_]:
    """Tell which rows are single transactions, from their FLAGS."""
    transactions: NDArray[np.bool_] = (flags & NO_TRANSACTION) == 0
    return transactions


def exponents(flags: Ints) -> Ints:
    """Return how many decimals each record's currency has, from their FLAGS."""
    return (flags >> EXPONENT_SHIFT) & EXPONENT_MASK


def partitions(flags: Ints) -> Ints:
    """Return the partition that each record came from, from their FLAGS."""
    return flags >> PARTITION_SHIFT


def source(partition: int, *, of_labels: bool) -> int:
    """Return what FLAGS under SOURCE_MASK say of records from a partition of the labels or of the transactions."""
    return (partition << PARTITION_SHIFT) | (LABEL_BIT if of_labels else 0)


def came_later(rows: Ints, row: Ints) -> NDArray[np.bool_]:
    """Tell which records lie behind another in the very partition that it came from."""
    same_source = ((rows[:, FLAGS] ^ row[FLAGS]) & SOURCE_MASK) == 0
    later: NDArray[np.bool_] = same_source & (rows[:, OFFSET] > row[OFFSET])
    return later


def label_order(labels: Ints) -> Ints:
    """Return the order in which labels overrule each other: by when they are known, then by where they came from."""
    order: Ints = np.lexsort((partitions(labels[:, FLAGS]), labels[:, OFFSET], labels[:, TIME]))
    return order


def same_source_offset(stored: Ints, row: Ints) -> bool:
    """Tell whether both records came from the same partition and offset."""
    return bool(stored[OFFSET] == row[OFFSET] and ((stored[FLAGS] ^ row[FLAGS]) & PARTITION_MASK) == 0)


def same_content(stored: Ints, row: Ints) -> bool:
    """Tell whether both records repeat the same content."""
    return ((int(stored[FLAGS]) ^ int(row[FLAGS])) & CONTENT_MASK) == 0
