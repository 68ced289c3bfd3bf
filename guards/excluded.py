"""The cards that a split leaves to the live model: by id, or by a hash that depends on the deployment's hash key.

Commands and events are kept for ever. An id in one could never be erased, and a hash without a key is an id to whoever
can try all of a small space. So the hashes are keyed, and mean nothing once the key is destroyed. BLAKE2b's `person`
separates them from the hashes that name histories.

A record of hashes has the check value of their key. Without it, a process with another key, or with none, would take an
excluded card for one of the others.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from guards.errors import OtherHashKeyError

HASH_PREFIX = "h1="
"""Begins each hash. No id has a `=`, so none is taken for a hash, and earlier versions refuse a hash as no id."""
LONGEST_KEY = hashlib.blake2b.MAX_KEY_SIZE
_HASH_BYTES = 16
_CHECK_BYTES = 16
_CACHED_CARDS = 1 << 16
_PERSON = b"excluded card"
_CHECK_PERSON = b"excluded check"


class _Key:
    """The key of this process's hashes; empty: there is none."""

    value = b""
    check: str | None = None


_key = _Key()


def use_exclusion_key(key: bytes) -> None:
    """Hash excluded cards with a deployment's key from now on, of at most `LONGEST_KEY` bytes; an empty one is none."""
    _key.value = key
    _key.check = _digest(_CHECK_PERSON, b"", _CHECK_BYTES) if key else None
    _hash_of.cache_clear()


def exclusion_key_check() -> str | None:
    """Return 32 hexadecimal digits that only equal keys have in common; None without a key, which they do not tell."""
    return _key.check


def is_hash(entry: str) -> bool:
    """Tell whether an entry of `exclude` is a hash of a card, and not its id."""
    return entry.startswith(HASH_PREFIX)


@dataclass(frozen=True, slots=True)
class ExcludedCards:
    """Cards by id and by hash; `key_check` is that of the key of the hashes, None where there are none.

    `in` takes a card's id. It costs no hash without hashes, and one for each card that is not cached with them.
    """

    ids: frozenset[str] = frozenset()
    hashes: frozenset[str] = frozenset()
    key_check: str | None = None

    @classmethod
    def of(cls, entries: Iterable[str], key_check: str | None) -> Self:
        """Return what the fields `exclude` and `exclude_key_check` of a record say."""
        given = frozenset(entries)
        hashes = frozenset(filter(is_hash, given))
        return cls(given - hashes, hashes, key_check if hashes else None)

    @classmethod
    def of_cards(cls, card_ids: Iterable[str]) -> Self:
        """Return cards by the hashes that the process's key makes, or by their ids where it has no key."""
        return cls.of(card_ids if _key.check is None else map(_hash_of, card_ids), _key.check)

    @property
    def entries(self) -> tuple[str, ...]:
        """The ids and hashes, sorted, as the field `exclude` of a record has them."""
        return tuple(sorted(self.ids | self.hashes))

    def __len__(self) -> int:
        return len(self.ids) + len(self.hashes)

    def __contains__(self, card_id: str) -> bool:
        if card_id in self.ids:
            return True
        if not self.hashes:
            return False
        self.require_key()
        return _hash_of(card_id) in self.hashes

    def key_problem(self) -> str | None:
        """Say why this process cannot tell which cards these are; None if it can."""
        if not self.hashes or (self.key_check is not None and self.key_check == _key.check):
            return None
        key = "a key, and this process has none" if _key.check is None else "another key than FRAUDSTREAM_HASH_KEY_FILE"
        return (
            f"{len(self.hashes):,} excluded cards are hashed with {key}, so it is not known here which cards they are: "
            "set FRAUDSTREAM_HASH_KEY_FILE to the file of the deployment's key"
        )

    def require_key(self) -> None:
        """Do nothing if this process can tell which cards these are.

        Raises:
            OtherHashKeyError: it has another key than that of the hashes, or none.
        """
        if (problem := self.key_problem()) is not None:
            raise OtherHashKeyError(problem)


@lru_cache(maxsize=_CACHED_CARDS)
def _hash_of(card_id: str) -> str:
    return HASH_PREFIX + _digest(_PERSON, card_id.encode(), _HASH_BYTES)


def _digest(person: bytes, identity: bytes, size: int) -> str:
    return hashlib.blake2b(identity, digest_size=size, person=person, key=_key.value).hexdigest()
