"""The errors of this package, one root.

StreamError                     catch this to catch all of ours
├── SettingsError               a setting is wrong: mend it and start again (all problems are named at once)
├── StaleBatchError             the batch's partition is no longer ours: drop it, acknowledge nothing
├── TopicsError                 topics are missing or laid out otherwise: `fraudstream topics apply`
├── MeasurementError            what is to be measured does not run: say it to who asked; nothing was measured
├── RebuildError                histories cannot be put together so: the message says what to do
├── ReportError                 there is nothing to report on: say it to who asked
└── PublishError                the broker has not acknowledged all outputs: read the tail again, then retry
"""


class StreamError(Exception):
    """Any error that this package raises on purpose."""


class SettingsError(StreamError):
    """Settings that cannot be used; the message has a line for each."""


class StaleBatchError(StreamError):
    """A batch outlived its assignment; whoever owns the partition now decides its records."""


class TopicsError(StreamError):
    """The topics are not as the contract lays them out."""


class MeasurementError(StreamError):
    """What is to be measured does not run; the message says why, or names its logs. Nothing was measured."""


class RebuildError(StreamError):
    """Histories are not put together, and why."""


class ReportError(StreamError):
    """No such challenger is there, or was."""


class PublishError(StreamError):
    """Not every output of a batch is known to be on its topic."""
