"""The errors of training, under the root of this package.

TrainingError                  catch this to catch all of ours; what is wrong with the file itself is a `FileError`
├── TrainingDataError          the file is sound and not enough: bring more days, labels or frauds
└── UnusableModelError         what was trained tells nothing, or does not compute the same twice: it is not stored
"""

from stream.errors import StreamError


class TrainingError(StreamError):
    """Any error that training raises on purpose."""


class TrainingDataError(TrainingError):
    """The transactions are sound, and too few, or too few of them are labelled."""


class UnusableModelError(TrainingError):
    """The trained model cannot go into the repository."""
