"""What a training is asked for and what it reports, as values.

The errors of training, under the root of this package.

TrainingError                  catch this to catch all of ours; what is wrong with the file itself is a `FileError`
├── TrainingDataError          the file is sound and not enough: bring more days, labels or frauds
└── UnusableModelError         what was trained tells nothing, or does not compute the same twice: it is not stored
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from features.declaration import FeatureSet
from models.commands import Token
from stream.errors import StreamError

Progress = Callable[[str, int, int], None]
"""Told, now and then, the name of the stage, how much of it is done, and of how much."""


_BOUNDS = {"trees": (1, 10_000), "leaves": (2, 131_072), "threads": (1, 1_024), "seed": (0, 2**31 - 1)}


class TrainingError(StreamError):
    """Any error that training raises on purpose."""


class TrainingDataError(TrainingError):
    """The transactions are sound, and too few, or too few of them are labelled."""


class UnusableModelError(TrainingError):
    """The trained model cannot go into the repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRequest:
    """What to train on, how, and under which name.

    `version` defaults to the day of the file's last transaction. `review_share` and `decline_share` of the validation
    transactions get these decisions or severer ones. `threads` changes how long it takes, not what comes out.

    Raises:
        ValueError: values that mean nothing, all of them named.
    """

    file: Path
    name: str
    feature_set: FeatureSet
    version: str | None = None
    seed: int = 1
    trees: int = 150
    leaves: int = 31
    learning_rate: float = 0.05
    review_share: float = 0.005
    decline_share: float = 0.001
    threads: int = 2
    code_version: str = ""

    def __post_init__(self) -> None:
        problems = tuple(self._problems())
        if problems:
            raise ValueError("; ".join(problems))

    def _problems(self) -> Iterator[str]:
        for name, text in (("name", self.name), ("version", self.version or "-")):
            try:
                msgspec.convert(text, Token)
            except msgspec.ValidationError:
                yield f"{name} is not 1 to 64 of A-Z a-z 0-9 . _ : @ -"
        if not 0.0 <= self.decline_share <= self.review_share <= 1.0:
            yield "decline_share and review_share are not 0 <= decline <= review <= 1"
        for name, (least, most) in _BOUNDS.items():
            if not least <= getattr(self, name) <= most:
                yield f"{name} is not from {least} to {most}"
        if not 0.0 < self.learning_rate <= 1.0:
            yield "learning_rate is not above 0 and at most 1"


class Period(msgspec.Struct, frozen=True):
    """Transactions of one part of the split: from the first to the last one's time, how many, how many frauds."""

    since: str
    until: str
    rows: int
    frauds: int


class TrainingReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came out. `metrics` are those of the manifest; `evaluation` says what they mean."""

    digest: str
    name: str
    version: str
    fingerprint: str
    file: str
    rows: int
    labelled: int
    frauds: int
    set_aside: int
    """Repeated or contradicting rows, which the stream would not decide either."""
    dropped: dict[str, int]
    """Optional values that were invalid, by column; the stream drops them as well."""
    train: Period
    calibrate: Period
    validate: Period
    features: tuple[str, ...]
    review_at: float
    decline_at: float
    metrics: dict[str, float]
