"""The part of a worker that looks for losses of the input, with stand-ins for what a test does not use."""

from typing import Any

from stream.settings import Settings
from stream.worker.losses import InputLosses


def losses_of(follower: Any, consumer: Any, **parts: Any) -> InputLosses:
    """Make it; parts that a test does not name are None."""
    unused = dict.fromkeys(("admin", "positions", "copies"))
    return InputLosses(
        follower=follower,
        consumer=lambda: consumer,
        emit=lambda _: None,
        **{"settings": Settings(), **unused} | parts,
    )
