"""What can go wrong between the rest of the system and the histories, named by what the caller can do about it.

    FeatureError
    ├── DeclarationError        a row of the feature table is wrong: correct it; nothing starts with it
    ├── FormulaError            a function of a deployment's own failed on a transaction: correct it, raise its version
    └── StoreError
        ├── StoreUnavailableError   nothing is known of the outcome: make the same call again, later
        └── StoreRefusedError       this server, or this URL, must not be used as it is: a person has to change it

Foreign errors are translated where the server is talked to; none other leaves the package.
"""


class FeatureError(Exception):
    """Stands for every fault that this package raises on purpose."""


class DeclarationError(FeatureError):
    """A feature row cannot mean anything, or contradicts another: the message names the row and what it should be."""


class FormulaError(FeatureError):
    """A formula of a deployment's own raised something or returned no number: the message names row and error."""


class StoreError(FeatureError):
    """Stands for every fault of the place where histories are kept."""


class StoreUnavailableError(StoreError):
    """The store did not answer in time: call again later; what the call had done already is not done twice."""


class StoreRefusedError(StoreError):
    """The store answers and must not be used as it is set up: the message says what is wrong, where and what to do."""
