"""What a student learned from where its teacher is not one model: several models, or a file of scores.

A student of one model names it as its `parent`, and has none of this.
"""

from typing import Annotated

import msgspec

from models.commands import Digest, Timestamp


class WeighedTeacher(msgspec.Struct, frozen=True):
    """One model of an ensemble; `weight` is its share of the ensemble's score, and those of all models sum up to 1."""

    digest: Digest
    weight: Annotated[float, msgspec.Meta(gt=0, le=1)]


class TeacherScoresFile(msgspec.Struct, frozen=True):
    """A file of scores: its SHA-256, and the last transaction that its model was trained on, as somebody stated it."""

    digest: Digest
    trained_until: Timestamp


class DistilledFrom(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The teachers of a student: either the models of an ensemble or a file of scores."""

    ensemble: tuple[WeighedTeacher, ...] = ()
    scores_file: TeacherScoresFile | None = None

    def __post_init__(self) -> None:
        if bool(self.ensemble) is (self.scores_file is not None):
            raise ValueError("ensemble, scores_file: expected one of the two")
