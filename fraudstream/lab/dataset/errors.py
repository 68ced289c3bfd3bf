"""The errors of transactions files, of what is written from them and of filling histories, under the root of `stream`.

FileError                      catch this to catch all that a file can cause
├── MissingExtraError          a library is not installed: install the extra that the message names
├── OutputError                the output cannot be written: name another place, or make room
└── InputFileError             a table cannot be used: fix it (`problems` has all that is wrong)
    ├── PredictionsFileError   a file of predictions
    └── TransactionsFileError  a transactions file
BackfillError                  the histories cannot be filled so: the message says what to leave out or to do first
"""

from stream.errors import StreamError, install_extra


class FileError(StreamError):
    """Any error that reading a transactions file raises on purpose."""


class MissingExtraError(FileError):
    """A library of an optional extra is not installed."""

    def __init__(self, purpose: str, library: str, extra: str) -> None:
        """Build a message that says which extra to install, and how."""
        super().__init__(f"{purpose}: {library} is not installed; {install_extra(extra)}")


class OutputError(FileError):
    """There is no such folder, no right to write into it, or no room left in it."""


class InputFileError(FileError):
    """A table cannot be read, or is not as declared; `problems` has a line for each problem."""

    def __init__(self, path: str, problems: tuple[str, ...]) -> None:
        """Build a message with a line for each problem, which begins with the file's path."""
        super().__init__("\n".join(f"{path}: {problem}" for problem in problems))
        self.path = path
        self.problems = problems


class TransactionsFileError(InputFileError):
    """The file is not a valid transactions file."""


class PredictionsFileError(InputFileError):
    """The file is no valid file of predictions."""


class BackfillError(StreamError):
    """A backfill may not begin as it was asked for; nothing was written."""
