"""The errors of this package, named by what the caller can do about them.

    FeatureError
    ├── DeclarationError        a row of the feature table is invalid: correct it; the process does not start
    ├── FormulaError            a deployment's own formula failed on a transaction: correct it, raise its version
    └── StoreError
        ├── StoreUnavailableError   the outcome is unknown: repeat the same call later
        ├── HistoryDamagedError     some histories lack records: leave out what needs these, the others go on
        └── StoreRefusedError       this server, or this URL, is not usable as configured: an operator has to change it

Errors of redis-py are translated in `features.redis`; none leaves the package.
"""

from collections.abc import Collection


class FeatureError(Exception):
    """Base class of every error that this package raises on purpose."""


class DeclarationError(FeatureError):
    """A feature row is invalid or contradicts another; the message names the row and what is expected."""


class FormulaError(FeatureError):
    """A deployment's own formula raised an exception or returned no number; the message names the row and the error.

    Attributes:
        feature: the name of the row. The message may quote a payment; this does not.
    """

    def __init__(self, message: str = "", feature: str = "") -> None:
        super().__init__(message)
        self.feature = feature


class StoreError(FeatureError):
    """Base class of every error of the history store."""


class StoreUnavailableError(StoreError):
    """The store did not answer in time: repeat the call later; what the first call did already is not done twice."""


class HistoryDamagedError(StoreError):
    """Histories were damaged, and lack records until these are appended again.

    `places` are the indexes, in the batch of the call, of those that need such a history.
    """

    def __init__(self, keys: Collection[str], places: Collection[int]) -> None:
        super().__init__(f"{len(keys)} histories were damaged and are rebuilt from Kafka, such as {min(keys)}")
        self.keys = frozenset(keys)
        self.places = frozenset(places)


class StoreRefusedError(StoreError):
    """The store answers but is not usable as configured; the message says what is wrong, where and what to do."""
