"""The errors of this package, one root.

ShadowError
├── FrameError                the bytes on a pipe are not a valid frame: end the process at the other end
├── ChallengerProcessError    the process ended or timed out: count its decisions as failed, start another
└── NoSeccompError            the kernel cannot restrict this process: say so, and go on
"""


class ShadowError(Exception):
    """Base class of the package's errors."""


class FrameError(ShadowError):
    """The bytes do not start like a frame, announce too large a payload, or end too early."""


class ChallengerProcessError(ShadowError):
    """The process has ended; its pending request has no reply."""


class NoSeccompError(ShadowError):
    """The kernel, or this kind of machine, has no such filter; says why."""
