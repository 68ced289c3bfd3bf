"""Requests, reports and errors of training, as values.

TrainingError                  catch this to catch all of ours; a problem with the file itself is a `FileError`
├── TrainingDataError          the file is valid but has too little: add days, labels or frauds
└── UnusableModelError         the model does not predict the labels, or fails its own probes: it is not stored
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from features.declaration import FeatureSet
from models.commands import Token
from models.expected import FORM_OF_TOKENS
from stream.errors import StreamError

Progress = Callable[[str, int, int], None]
"""Called now and then with the name of the stage, how much of it is done, and the total."""
_LONGEST_SHOWN = 80
_BOUNDS = {"trees": (1, 10_000), "leaves": (2, 131_072), "threads": (1, 1_024), "seed": (0, 2**31 - 1)}


class TrainingError(StreamError):
    """Any error that training raises on purpose."""


class TrainingDataError(TrainingError):
    """The transactions are valid, but there are too few, or too few of them are labelled."""


class UnusableModelError(TrainingError):
    """The trained model must not go into the repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRequest:
    """What to train on, how, and under which name.

    `version` defaults to the day of the file's last transaction. `review_share` and `decline_share` are the shares of
    the validation transactions that get this decision or a severer one. `threads` changes the time, not the result.

    Raises:
        ValueError: invalid values, all of them named.
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
                yield f"{name}: expected {FORM_OF_TOKENS}, got {text[:_LONGEST_SHOWN]!r}"
        if not 0.0 <= self.decline_share <= self.review_share <= 1.0:
            given = f"{self.decline_share} and {self.review_share}"
            yield f"decline_share and review_share: expected 0 <= decline <= review <= 1, got {given}"
        for name, (least, most) in _BOUNDS.items():
            if not least <= getattr(self, name) <= most:
                yield f"{name}: expected an integer from {least} to {most}, got {getattr(self, name)}"
        if not 0.0 < self.learning_rate <= 1.0:
            yield f"learning_rate: expected a number above 0 and at most 1, got {self.learning_rate}"


class Period(msgspec.Struct, frozen=True):
    """One part of the split: the times of its first and last transaction, how many there are, how many are frauds."""

    since: str
    until: str
    rows: int
    frauds: int


class TrainingReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of training. `metrics` are those of the manifest; `evaluation.measure` defines them."""

    digest: str
    name: str
    version: str
    fingerprint: str
    file: str
    rows: int
    labelled: int
    frauds: int
    set_aside: int
    """Rows that are not used because the stream would not decide them: repeated or contradicting ones."""
    dropped: dict[str, int]
    """How many optional values were invalid, by column; the stream drops such values as well."""
    train: Period
    calibrate: Period
    validate: Period
    features: tuple[str, ...]
    review_at: float
    decline_at: float
    metrics: dict[str, float]
