"""The arms of a split and their models; which arm decides a card's payments is the rule of `fraudstream_client.arms`.

A canary is a split of one arm; a larger share of it only adds cards.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from fraudstream_client.arms import CANARY, LIVE, WHOLE_BP, arms_of
from guards.excluded import ExcludedCards
from models.errors import InvalidShareError

_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,2})?) ?%")


class Arm(NamedTuple):
    """An arm beside what is left to the live model: its share of the buckets, and its model's full digest."""

    name: str
    model: str
    share_bp: int


class Split(NamedTuple):
    """Arms in the order of their names, what the cards' hash is keyed with, and the cards that are always live's.

    The first arm takes the buckets from 0 on, each other one those behind the arm before it; what is left is live's.
    """

    arms: tuple[Arm, ...]
    salt: str
    exclude: ExcludedCards = ExcludedCards()

    @property
    def models(self) -> frozenset[str]:
        """The digests of the arms' models; the live model may be one of them."""
        return frozenset(arm.model for arm in self.arms)

    @property
    def live_bp(self) -> int:
        """The share of the buckets that is left to the live model."""
        return WHOLE_BP - sum(arm.share_bp for arm in self.arms)

    def arm(self, name: str) -> Arm | None:
        """Return the arm of a name; None if there is none, as for `live`."""
        return next((arm for arm in self.arms if arm.name == name), None)

    def arms_of(self, card_ids: Sequence[str]) -> list[str]:
        """Return the name of each card's arm, `live` for those of the live model.

        Raises:
            OtherHashKeyError: cards are excluded by hashes of another key than this process has.
        """
        names = arms_of(card_ids, {arm.name: arm.share_bp for arm in self.arms}, self.salt)
        if not self.exclude:
            return names
        return [LIVE if card in self.exclude else name for card, name in zip(card_ids, names, strict=True)]


class Canary(NamedTuple):
    """A model that decides for the cards whose bucket is below `share_bp`; `model` is its full digest."""

    model: str
    share_bp: int
    salt: str

    @property
    def split(self) -> Split:
        """The same as a split of one arm."""
        return Split((Arm(CANARY, self.model, self.share_bp),), self.salt)


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
