"""What back-scoring is asked for and what it reports, as values.

The errors of back-scoring, under the root of `stream`.

BackscoringError               catch this to catch all of ours; what is wrong with the file itself is a `FileError`
├── UnknownModelError          no such model here, or it cannot be used here: name another, or mend what is said
├── NothingToScoreError        the range holds nothing, or nothing of what is asked for: ask for another
└── ComputationError           a process ended, or the disk is full: the message says what to do before trying again

How far a long computation is, as whoever waits for it is told.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from features.vector.sets import FeatureSets
from stream.errors import StreamError
from stream.settings import Settings

Progress = Callable[[str, int, int], None]
"""Told, now and then, the name of the stage, how much of it is done, and of how much."""


class RescoringError(StreamError):
    """Any error that scoring a file or a range raises on purpose."""


class UnknownModelError(RescoringError):
    """The model cannot be had, or does not compute here what it computed where it was made."""


class NothingToScoreError(RescoringError):
    """What was asked for is not there."""


class ComputationError(RescoringError):
    """The work could not be finished on this machine as it is."""


class Range(NamedTuple):
    """Which decisions are meant: by moments (None: from the first, to the last), or by offsets of transactions."""

    from_ms: int | None = None
    to_ms: int | None = None
    offsets: Mapping[int, tuple[int, int]] | None = None


@dataclass(frozen=True, slots=True)
class FileRequest:
    """Score a transactions file by a model (a digest, or the beginning of one), on so many processes."""

    file: Path
    model: str
    out: Path
    models: str
    sets: FeatureSets
    threads: int


@dataclass(frozen=True, slots=True)
class TopicRequest:
    """Score a range of the transactions topic, or compare a range of decisions, on so many processes."""

    settings: Settings
    range: Range
    out: Path | None
    sets: FeatureSets
    threads: int


class ScoreReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came out: how many rows of each fate, and how many decisions of each kind."""

    digest: str
    out: str
    rows: int
    fates: dict[str, int]
    decisions: dict[str, int]


class Example(msgspec.Struct, frozen=True):
    """A decision that nothing explains; `differences` is JSON: what differs, on record and made again."""

    transaction_id: str
    card_id: str
    partition: int
    offset: int
    differences: str


class DiffReport(msgspec.Struct, frozen=True, kw_only=True):
    """What comparing decisions came to.

    `reasons` counts the decisions that each explains, a decision with two in both. `undecided` are transactions among
    them that would be decided and have no valid decision, `void` counts scores that were met and do not count.
    """

    compared: int
    equal: int
    explained: int
    unexplained: int
    reasons: dict[str, int]
    models: dict[str, int]
    decided_by: dict[str, int]
    undecided: int
    void: int
    examples: tuple[Example, ...]
