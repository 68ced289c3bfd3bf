"""The errors of this package, one root.

MetricsError                catch this to catch all errors of the package
├── MeasureInputError       columns or parameters cannot be measured: correct what the message names
└── MissingLibraryError     a library of an optional extra is not installed: install the extra that the message names
"""


class MetricsError(Exception):
    """Base class of the package's errors."""


class MeasureInputError(MetricsError, ValueError):
    """A column or a parameter is wrong; the message names it, and what it must be."""


class MissingLibraryError(MetricsError):
    """A library of an optional extra is not installed."""

    def __init__(self, purpose: str, library: str, extra: str) -> None:
        """Build a message that says which extra to install."""
        super().__init__(f"{purpose}: {library} is not installed; install the extra fraudstream[{extra}]")
        self.library = library
        self.extra = extra
