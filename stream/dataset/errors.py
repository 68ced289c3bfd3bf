"""The errors of transactions files, under the root of `stream`.

FileError                      catch this to catch all of ours
├── MissingExtraError          a library is not installed: install the extra that the message names
└── TransactionsFileError      the file cannot be used: mend it (all that is wrong is in `problems`)
"""

from stream.errors import StreamError


class FileError(StreamError):
    """Any error that reading a transactions file raises on purpose."""


class MissingExtraError(FileError):
    """A library that a worker does without is not installed."""


class TransactionsFileError(FileError):
    """The transactions file cannot be read, or not as one; `problems` has a line for each thing that is wrong."""

    def __init__(self, path: str, problems: tuple[str, ...]) -> None:
        """Name the file and everything that is wrong with it."""
        super().__init__("\n".join(f"{path}: {problem}" for problem in problems))
        self.path = path
        self.problems = problems
