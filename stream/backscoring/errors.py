"""The errors of back-scoring, under the root of `stream`.

BackscoringError               catch this to catch all of ours; what is wrong with the file itself is a `FileError`
├── UnknownModelError          no such model here, or it cannot be used here: name another, or mend what is said
├── NothingToScoreError        the range holds nothing, or nothing of what is asked for: ask for another
└── ComputationError           a process ended, or the disk is full: the message says what to do before trying again
"""

from stream.errors import StreamError


class BackscoringError(StreamError):
    """Any error that scoring a file or a range raises on purpose."""


class UnknownModelError(BackscoringError):
    """The model cannot be had, or does not compute here what it computed where it was made."""


class NothingToScoreError(BackscoringError):
    """What was asked for is not there."""


class ComputationError(BackscoringError):
    """The work could not be finished on this machine as it is."""
