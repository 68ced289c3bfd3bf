"""Whose histories there are. Nothing here knows what is in one."""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType


class Entity(Enum):
    """Whose history a feature looks at."""

    CARD = "card"
    MERCHANT = "merchant"
    DEVICE = "device"
    NONE = "none"
    """Nobody's: the feature is a function of the transaction alone."""

    __hash__ = object.__hash__
    """Members are single; before Python 3.12 the hash of an Enum takes longer than the look-up that it is for."""


WHO: Mapping[Entity, str] = MappingProxyType(
    {
        Entity.CARD: "a card",
        Entity.MERCHANT: "a merchant",
        Entity.DEVICE: "a device",
        Entity.NONE: "the transaction alone",
    }
)
"""How messages call them."""
