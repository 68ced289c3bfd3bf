"""The errors of this package, one root.

    ShadowError
    ├── FrameError    what came through a pipe is no frame of ours: give up the process at its other end
    └── LaneError     the challenger's process ended, or was too slow: count what it had as failed, start another

Nothing here knows how an error is counted.
"""


class ShadowError(Exception):
    """Any error that this package raises on purpose."""


class FrameError(ShadowError):
    """The bytes do not begin as a frame, promise too much, or end too early."""


class ChallengerProcessError(ShadowError):
    """The process is gone; whatever it was asked has no answer."""
