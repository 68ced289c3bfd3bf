"""Requests, reports and errors of rescoring, as values.

RescoringError                 catch this to catch all of ours; a problem with the file itself is a `FileError`
├── UnknownModelError          the model does not exist or cannot be used here: name another, or fix what is named
├── NothingToScoreError        the range has no records, or none of the wanted kind: choose another
└── ComputationError           a process ended, or the disk is full: the message says what to do before a retry
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from features.vector.sets import FeatureSets
from stream.control.trusted_models import ModelPlace
from stream.errors import StreamError
from stream.settings import Settings

Progress = Callable[[str, int, int], None]
"""Called now and then with the name of the stage, how much of it is done, and the total."""


class RescoringError(StreamError):
    """Any error that scoring a file or a range raises on purpose."""


class UnknownModelError(RescoringError):
    """The model cannot be loaded, or does not compute here what it computed where it was trained."""


class NothingToScoreError(RescoringError):
    """The requested records do not exist."""


class ComputationError(RescoringError):
    """The run could not finish on this machine as it is."""


class Range(NamedTuple):
    """A range of decisions or transactions: by time (None: from the first, to the last), or by transaction offsets."""

    from_ms: int | None = None
    to_ms: int | None = None
    offsets: Mapping[int, tuple[int, int]] | None = None


@dataclass(frozen=True, slots=True)
class FileRequest:
    """Score a transactions file with a model (a digest or a prefix of one), on `threads` processes.

    `predictions` is the file of the predictions from storage that the model's features read.
    """

    file: Path
    model: str
    out: Path
    models: str | ModelPlace
    sets: FeatureSets
    threads: int
    predictions: Path | None = None


@dataclass(frozen=True, slots=True)
class TopicRequest:
    """Score a range of the transactions topic, or compare a range of decisions, on `threads` processes."""

    settings: Settings
    range: Range
    out: Path | None
    sets: FeatureSets
    threads: int


class ScoreReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of scoring: how many rows of each fate, and how many decisions of each kind."""

    digest: str
    out: str
    rows: int
    fates: dict[str, int]
    decisions: dict[str, int]


class Example(msgspec.Struct, frozen=True):
    """An unexplained decision; `differences` is JSON: each thing that differs, as recorded and as rescored."""

    transaction_id: str
    card_id: str
    partition: int
    offset: int
    differences: str


class DiffReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of comparing the decisions of one deployment; `silent` of them lie on its own topic, not on `scores`.

    `reasons` counts the decisions that each explains; one with two reasons counts in both. `overruled` counts those
    whose model's decision was changed afterwards, by what changed it: what the model said is compared. Of the
    transactions between its first and its last decision of the range in each partition, `refused` counts those that
    have a dead letter or are skipped, `repeated` those that repeat another, `backfilled` those that only filled
    histories, `undecided` those that would be decided and have no valid decision of any deployment, `elsewhere` those
    that only another deployment decided: this one applied them to its histories, as it does before it begins and while
    it catches up. `void` counts the void scores that were read, of whichever deployment, and `other_logs` the valid
    ones about transactions of a log that the topic had before it was made anew.
    """

    deployment: str
    compared: int
    equal: int
    explained: int
    unexplained: int
    reasons: dict[str, int]
    models: dict[str, int]
    decided_by: dict[str, int]
    overruled: dict[str, int]
    silent: int
    refused: int
    repeated: int
    backfilled: int
    undecided: int
    elsewhere: int
    void: int
    other_logs: int
    examples: tuple[Example, ...]
