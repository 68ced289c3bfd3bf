"""Excluded cards by hashes: a deployment's key for a while, and the hashes again by the words of the contract."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from guards.excluded import ExcludedCards, use_exclusion_key

KEY, OTHER_KEY = bytes(range(32)), b"o" * 32


@contextmanager
def exclusion_key(key: bytes = KEY) -> Iterator[None]:
    """Let this process have a deployment's hash key; empty: none."""
    use_exclusion_key(key)
    try:
        yield
    finally:
        use_exclusion_key(b"")


def hash_by_the_contract(card_id: str, key: bytes = KEY) -> str:
    """Return the hash of an excluded card, with nothing of the code."""
    return "h1=" + hashlib.blake2b(card_id.encode(), digest_size=16, person=b"excluded card", key=key).hexdigest()


def check_by_the_contract(key: bytes = KEY) -> str:
    """Return the check value of a key."""
    return hashlib.blake2b(b"", digest_size=16, person=b"excluded check", key=key).hexdigest()


def hashed(*card_ids: str, key: bytes = KEY) -> ExcludedCards:
    """Return cards as a sender with the key names them."""
    return ExcludedCards.of((hash_by_the_contract(card_id, key) for card_id in card_ids), check_by_the_contract(key))
