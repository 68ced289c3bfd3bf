"""What to distil, and the errors of it.

DistillationError              catch this to catch all of ours; a problem with the file itself is a `FileError`
├── TeacherError               a teacher cannot be used for this file: name another, or do what the message says
├── ScoresFileError            the file of scores does not fit the transactions file; the message counts what does not
└── UnpricedCurrencyError      costs are stated, but not for the currency that is compared: state them for it
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Self

from features.vector.sets import FeatureSets
from fraudstream.lab.training.request import DEFAULT_SIZES, ArtifactRequest, SplitSizes, size_problems
from fraudstream.ops.rollout.outcomes.costs import StatedCosts
from stream.errors import StreamError

MOST_SIZES = 40
_SIZE = re.compile(r"\s*(\d{1,5})\s*x\s*(\d{1,5})(?:\s*x\s*(\d{1,4}))?\s*")
_TEACHER = re.compile(r"\s*([0-9a-f]{8,64})(?::(\d{1,6}(?:\.\d{1,6})?))?\s*")
_LONGEST_SHOWN = 80
_MOST_TREES, _MOST_LEAVES, _LARGEST_SEED = 10_000, 4_096, 2**31 - 1
_REACH = 7.5
_FASTEST = 0.3


class DistillationError(StreamError):
    """Any error that distillation raises on purpose."""


class TeacherError(DistillationError):
    """A teacher cannot teach on this file: it has seen what the student is measured on, or says nothing of it."""


class ScoresFileError(DistillationError):
    """A file of scores cannot be used, or is of other payments; the message has a line for each problem."""


class UnpricedCurrencyError(DistillationError):
    """Costs are stated, but not for the currency that is compared; the message names it."""


class SoftTarget(StrEnum):
    """What of the teacher's scores a student learns."""

    PROBABILITIES = "probabilities"
    """The probabilities, by cross-entropy: a difference counts by how near to a decision it is."""
    LOG_ODDS = "log-odds"
    """The log odds, by squared error: all differences count alike, also those among payments that nobody suspects."""


class StudentSize(NamedTuple):
    """The size of a student: trees, leaves of each, and how many features it may use (None: all)."""

    trees: int = 150
    leaves: int = 31
    features: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the size that a text such as "30x8" or "30x8x12" (12 features) names.

        Raises:
            ValueError: it is none.
        """
        found = _SIZE.fullmatch(text)
        if found is None:
            raise ValueError(
                f"{text[:_LONGEST_SHOWN]!r} is no size such as 30x8 (trees x leaves) or 30x8x12 (x features)"
            )
        return cls(int(found[1]), int(found[2]), None if found[3] is None else int(found[3]))

    @property
    def text(self) -> str:
        """The size as `parse` reads it."""
        return f"{self.trees}x{self.leaves}{'' if self.features is None else f'x{self.features}'}"

    @property
    def learning_rate(self) -> float:
        """Return the rate with which so many trees reach as far as 150 trees at a rate of 0.05; at most 0.3."""
        return min(_FASTEST, _REACH / self.trees)

    def problems(self, width: int) -> Iterator[str]:
        """Yield what is wrong with it for a feature set of `width` features."""
        if not 1 <= self.trees <= _MOST_TREES:
            yield f"trees: expected an integer from 1 to {_MOST_TREES}, got {self.trees}"
        if not 2 <= self.leaves <= _MOST_LEAVES:  # noqa: PLR2004 - a split has two
            yield f"leaves: expected an integer from 2 to {_MOST_LEAVES}, got {self.leaves}"
        if self.features is not None and not 1 <= self.features <= width:
            yield f"features: expected an integer from 1 to {width}, as the feature set has, got {self.features}"


DEFAULT_SIZE = StudentSize()
"""It keeps the teacher's ranking: on a public stream 0.001 of average precision are lost, and by 30x8 0.114."""


def parse_sizes(text: str) -> tuple[StudentSize, ...]:
    """Return the sizes of a text such as "10x4, 30x8, 60x16x12", each once.

    Raises:
        ValueError: one of them is none, or there are too many.
    """
    sizes = tuple(dict.fromkeys(StudentSize.parse(one) for one in text.split(",")))
    if len(sizes) > MOST_SIZES:
        raise ValueError(f"{len(sizes)} sizes: name at most {MOST_SIZES}")
    return sizes


class NamedTeacher(NamedTuple):
    """A model by its digest or a prefix of it, and how much it counts in an ensemble."""

    name: str
    weight: float = 1.0


def parse_teachers(text: str) -> tuple[NamedTeacher, ...]:
    """Return the models of a text such as "3f9a02c1" or "3f9a02c1:2,81d07a5b:1".

    Raises:
        ValueError: it names no models, or a weight is none.
    """
    return tuple(_teacher(one) for one in text.split(","))


def _teacher(text: str) -> NamedTeacher:
    found = _TEACHER.fullmatch(text)
    if found is None or float(found[2] or 1) <= 0:
        raise ValueError(
            f"{text[:_LONGEST_SHOWN]!r} is no teacher such as 3f9a02c1 or 3f9a02c1:2: a digest or its first 8 digits "
            "or more, and a weight above 0"
        )
    return NamedTeacher(found[1], float(found[2] or 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillationRequest(ArtifactRequest):
    """From which teacher to distil, on which file, into which size, and under which name.

    Either `teachers` or `scores` teach; the latter is a file with the columns `transaction_id` and `score` for all
    payments of `file`, whose model was trained on transactions up to `scores_until_ms`. The student's features are
    those of the newest of `sets`; a teacher may need any of them. `sizes` are compared, too; only `size` is stored.
    `review_share` and `decline_share` are the alert budget of a teacher without thresholds of its own: an ensemble, or
    a file of scores without decisions. `predictions` is the file of the predictions from storage that features of the
    student or of a teacher read. `split` has the sizes of the parts of the file.

    Raises:
        ValueError: invalid values, all of them named.
    """

    sets: FeatureSets
    teachers: tuple[NamedTeacher, ...] = ()
    scores: Path | None = None
    scores_until_ms: int | None = None
    predictions: Path | None = None
    size: StudentSize = DEFAULT_SIZE
    sizes: tuple[StudentSize, ...] = ()
    split: SplitSizes = DEFAULT_SIZES
    target: SoftTarget = SoftTarget.PROBABILITIES
    learning_rate: float | None = None
    seed: int = 1
    currency: str | None = None
    costs: StatedCosts = field(default_factory=StatedCosts)

    def rate(self, size: StudentSize) -> float:
        """Return the learning rate of a student: the stated one, or the one that suits its number of trees."""
        return size.learning_rate if self.learning_rate is None else self.learning_rate

    def _problems(self) -> Iterator[str]:
        if bool(self.teachers) is (self.scores is not None):
            yield "teacher: expected one or more models, or a file of scores"
        if (self.scores is None) is not (self.scores_until_ms is None):
            yield (
                "scores_until: a file of scores needs the time of the last transaction that its model was trained on, "
                "and nothing else does"
            )
        names = [one.name for one in self.teachers]
        if len(set(names)) < len(names):
            yield "teacher: a model is named twice"
        for size in dict.fromkeys((self.size, *self.sizes)):
            yield from size.problems(len(self.sets.newest))
        if self.learning_rate is not None and not 0.0 < self.learning_rate <= 1.0:
            yield f"learning_rate: expected a number above 0 and at most 1, got {self.learning_rate}"
        yield from size_problems(self.split)
        if not 0 <= self.seed <= _LARGEST_SEED:
            yield f"seed: expected an integer from 0 to {_LARGEST_SEED}, got {self.seed}"
