"""The front door: commands, and all that runs beside a fleet or works on files. What programs import is named here.

    from fraudstream import ValidScores, trace_of
    from fraudstream.features import FeatureSet, card, merchant

The packages that this is made of have plain names (`features`, `models`, `stream`); a project may have folders of the
same names, see `fraudstream.shared_names`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from fraudstream.shared_names import share

if TYPE_CHECKING:
    from fraudstream_client import Score, Standing, ValidScores, trace_of

__all__ = ["Score", "Standing", "ValidScores", "trace_of"]

share()


def __getattr__(name: str) -> object:
    """Import what is asked for: a command starts without what only readers of scores need."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("fraudstream_client"), name)
