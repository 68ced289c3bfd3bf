"""The arms of a rollout or a split and the shares of the cards that they have, in units of 0.01 % (basis points)."""

from typing import NamedTuple

from guards.excluded import ExcludedCards


class ArmShare(NamedTuple):
    """An arm of a split, and its share of the cards."""

    name: str
    share_bp: int


class SplitArms(NamedTuple):
    """The arms of a split, `live` last, with what is left to it; and the cards that are live's whatever their bucket.

    Those cards were not assigned by chance, so they tell nothing of the arms.
    """

    arms: tuple[ArmShare, ...]
    exclude: ExcludedCards = ExcludedCards()

    @property
    def taken_bp(self) -> int:
        """The share of all arms but live."""
        return sum(arm.share_bp for arm in self.arms[:-1])


def share_text(share_bp: float) -> str:
    """Return a share for people: 25 basis points are "0.25%"."""
    return f"{share_bp / 100:g}%"
