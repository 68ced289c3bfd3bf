"""What back-scoring is asked for and what it reports, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from features.vector.sets import FeatureSets
from stream.settings import Settings


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
