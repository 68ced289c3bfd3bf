"""The errors of this package, one root.

GuardError                catch this to catch all errors of the package
├── GuardSpecError        the guards of a rollout are declared wrongly: correct the fields that the message names
├── LadderError           a ladder is written wrongly: correct the rung that the message names
├── CheckpointError       a stored state cannot be read: discard it and count the topics again
└── OtherHashKeyError     excluded cards are hashed with a key that this process has not: set FRAUDSTREAM_HASH_KEY_FILE
"""


class GuardError(Exception):
    """Base class of the package's errors."""


class GuardSpecError(GuardError, ValueError):
    """The guards of a rollout are invalid; the message names every wrong field."""


class LadderError(GuardError, ValueError):
    """A ladder is invalid; the message names the rung and what it lacks."""


class CheckpointError(GuardError, ValueError):
    """The stored state of a guard is damaged, of another version, or of other guards."""


class OtherHashKeyError(GuardError):
    """Cards are hashed with another key than this process has, or it has none: it cannot tell which they are."""
