"""Which arm of a rollout decides a card's payments: the contract's rule, so that anyone can compute it again.

A card's bucket follows from its id and the rollout's salt alone, so a card keeps its arm over restarts, rebalances and
versions, and a larger share only adds cards.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from guards.shares import WHOLE_BP
from models.errors import InvalidShareError

_BUCKET_BYTES = 8
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,2})?) ?%")


class Canary(NamedTuple):
    """A model that decides for the cards whose bucket is below `share_bp`; `model` is its full digest."""

    model: str
    share_bp: int
    salt: str

    def takes(self, card_ids: Sequence[str]) -> NDArray[np.bool_]:
        """Tell which of n cards are decided by the canary."""
        return np.fromiter((bucket(self.salt, one) < self.share_bp for one in card_ids), np.bool_, len(card_ids))


def bucket(salt: str, card_id: str) -> int:
    """Return a card's bucket, 0 to 9,999, one for each 0.01 %: BLAKE2b of its id, keyed by the salt."""
    digest = blake2b(card_id.encode(), key=salt.encode(), digest_size=_BUCKET_BYTES).digest()
    return int.from_bytes(digest) % WHOLE_BP


def parse_share(text: str) -> int:
    """Return the basis points of a share such as "1%" or "0.25 %", from 0.01 % to 100 %.

    Raises:
        InvalidShareError: the text is no such share.
    """
    found = _SHARE.fullmatch(text.strip())
    share_bp = int(Decimal(found[1]) * 100) if found else 0
    if not 0 < share_bp <= WHOLE_BP:
        expected = "a percentage from 0.01% to 100% in steps of 0.01, such as 1%"
        raise InvalidShareError(f"a share is {expected}, not {text!r}")
    return share_bp
