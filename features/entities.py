"""Whose histories there are. Nothing here knows what is in one."""

from enum import Enum


class Entity(Enum):
    """Whose history a feature looks at."""

    CARD = "card"
    MERCHANT = "merchant"
    DEVICE = "device"
    NONE = "none"
    """Nobody's: the feature is a function of the transaction alone."""
