"""Sets of 8-byte hashes of cards and transactions: exact, and 12 to 19 bytes of memory for each of a million or more.

Two of ten million cards share a hash with a probability of 3 in a million; the second would then not be counted.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
_PACKED = "<u8"
_LEAST_RECENT = 4_096
_RECENT_PART = 16


def hash_of(text: str) -> int:
    """Return the 8-byte hash of a `card_id` or `transaction_id`; the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class HashSet:
    """A set of hashes: a sorted array, and a Python set of the most recent until they are merged into it."""

    __slots__ = ("_recent", "_sorted")

    def __init__(self, packed: bytes = b"") -> None:
        self._sorted: Hashes = np.frombuffer(packed, _PACKED).astype(np.uint64)
        self._recent: set[int] = set()

    def __len__(self) -> int:
        return len(self._sorted) + len(self._recent)

    def __contains__(self, one: int) -> bool:
        if one in self._recent:
            return True
        if not self._sorted.size:
            return False
        place = int(self._sorted.searchsorted(np.uint64(one)))
        return place < self._sorted.size and int(self._sorted[place]) == one

    def __iter__(self) -> Iterator[int]:
        yield from self._sorted.tolist()
        yield from self._recent

    def add(self, one: int) -> bool:
        """Add a hash; return whether it is new."""
        if one in self:
            return False
        self._recent.add(one)
        if len(self._recent) >= max(_LEAST_RECENT, self._sorted.size // _RECENT_PART):
            self._merge()
        return True

    def packed(self) -> bytes:
        """Return the hashes as bytes, sorted, 8 for each."""
        self._merge()
        return self._sorted.astype(_PACKED).tobytes()

    def _merge(self) -> None:
        recent = np.fromiter(self._recent, np.uint64, len(self._recent))
        self._sorted = np.concatenate((self._sorted, recent))
        self._sorted.sort(kind="stable")  # which merges what is sorted already in linear time
        self._recent = set()
