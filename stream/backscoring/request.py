"""What back-scoring is asked for and what it reports, as values."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from features.declaration import FeatureSet

Progress = Callable[[str, int, int], None]
"""Told, now and then, the name of the stage, how much of it is done, and of how much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRequest:
    """Score a transactions file by a model (a digest, or the beginning of one), on so many processes."""

    file: Path
    model: str
    out: Path
    models: str
    feature_set: FeatureSet
    threads: int


class ScoreReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came out: how many rows of each fate, and how many decisions of each kind."""

    digest: str
    out: str
    rows: int
    fates: dict[str, int]
    decisions: dict[str, int]
