"""The errors of training, under the root of this package.

TrainingError                  catch this to catch all of ours
├── MissingExtraError          a library is not installed: install the extra that the message names
├── TransactionsFileError      the file cannot be used: mend it (all that is wrong is in `problems`)
├── TrainingDataError          the file is sound and not enough: bring more days, labels or frauds
└── UnusableModelError         what was trained tells nothing, or does not compute the same twice: it is not stored
"""

from stream.errors import StreamError


class TrainingError(StreamError):
    """Any error that training raises on purpose."""


class MissingExtraError(TrainingError):
    """A library that only training needs is not installed."""


class TransactionsFileError(TrainingError):
    """The transactions file cannot be read, or not as one; `problems` has a line for each thing that is wrong."""

    def __init__(self, path: str, problems: tuple[str, ...]) -> None:
        """Name the file and everything that is wrong with it."""
        super().__init__("\n".join(f"{path}: {problem}" for problem in problems))
        self.path = path
        self.problems = problems


class TrainingDataError(TrainingError):
    """The transactions are sound, and too few, or too few of them are labelled."""


class UnusableModelError(TrainingError):
    """The trained model cannot go into the repository."""
