"""Which arm of a canary or a split decides a card's payments: the contract's rule, so that anyone can compute it again.

A card's bucket follows from its id and a salt alone, so a card keeps its arm over restarts, rebalances and versions.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from itertools import accumulate

LIVE = "live"
CANARY = "canary"
WHOLE_BP = 10_000
"""The share of all cards, in units of 0.01 % (basis points), and the number of buckets."""
_BUCKET_BYTES = 8


def bucket(salt: str, card_id: str) -> int:
    """Return a card's bucket, 0 to 9,999, one for each 0.01 %: BLAKE2b of its id, keyed by the salt."""
    digest = blake2b(card_id.encode(), key=salt.encode(), digest_size=_BUCKET_BYTES).digest()
    return int.from_bytes(digest) % WHOLE_BP


def arms_of(card_ids: Iterable[str], shares: Mapping[str, int], salt: str) -> list[str]:
    """Return the name of each card's arm, `live` for those that are left to the live model.

    The arms take consecutive ranges of buckets, from 0 on, in the order of their names, so a larger share of a canary
    only adds cards. Cards that a split excludes are live's whatever their bucket; only a deployment's own hash key
    tells which they are.

    Args:
        card_ids: the cards.
        shares: the basis points of each arm beside live, as an `event/1` has them; a canary is an arm `canary`.
        salt: that of the canary or the split; where a command had none, its `command_id`.
    """
    names = sorted(shares)
    ends = list(accumulate(shares[name] for name in names))
    names.append(LIVE)
    return [names[bisect_right(ends, bucket(salt, card_id))] for card_id in card_ids]
