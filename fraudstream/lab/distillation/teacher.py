"""Teachers: which models or scores teach, what they say of each payment, and that the held-back part is new to them.

A student learns scores, not labels, so labels of the held-back part could reach it through a teacher alone: one that
was trained on them, or a file of scores made from them. Both are refused.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fraudstream.lab.distillation.request import DistillationRequest, ScoresFileError, TeacherError
from fraudstream.lab.distillation.scores_file import decided_shares, read_scores
from fraudstream.lab.evaluation.payments import FileTable
from fraudstream.lab.rescoring.rescore import resolve, usable_model
from fraudstream.lab.training.evaluation import choose_policy
from fraudstream.lab.training.request import Progress
from fraudstream.lab.training.seen import known_until_ms
from fraudstream.lab.training.split import SingleFit
from fraudstream.lab.training.vectors import Table, score_blocks
from metrics.columns import Flags
from models.artifact import DistilledFrom, TeacherScoresFile, WeighedTeacher
from models.loading import Model
from models.policy import Floats, Policy
from models.repository import Repository
from models.times import format_time


class TeacherMember(NamedTuple):
    """A model that teaches, and its share of the teacher's score."""

    model: Model
    weight: float


class TeacherScores(NamedTuple):
    """What a teacher says.

    Attributes:
        scores: the probability of fraud of each of n payments; NaN for those that no part has.
        policy: the thresholds that make decisions of these.
        parent: the digest of the model that teaches, where it is one.
        distilled: else what the manifest says of the teacher.
    """

    scores: Floats
    policy: Policy
    parent: str | None = None
    distilled: DistilledFrom | None = None


def load_members(request: DistillationRequest, repository: Repository) -> tuple[TeacherMember, ...]:
    """Load the models that teach; their weights sum up to 1.

    Raises:
        UnknownModelError: a model does not exist, cannot be used here, or needs features that are not computed here.
        TeacherError: one model is named twice.
    """
    digests = [resolve(repository, one.name) for one in request.teachers]
    if len(set(digests)) < len(digests):
        raise TeacherError("a teacher is named twice, by different prefixes of its digest: name each model once")
    total = sum(one.weight for one in request.teachers)
    return tuple(
        TeacherMember(usable_model(repository, digest, request.sets), one.weight / total)
        for digest, one in zip(digests, request.teachers, strict=True)
    )


def check_unseen(
    members: tuple[TeacherMember, ...], request: DistillationRequest, repository: Repository, held_back_ms: int
) -> None:
    """Check that no teacher was trained on transactions from `held_back_ms` on, when the held-back part begins.

    Raises:
        TeacherError: one was, or nobody knows; the message names each.
    """
    begins = format_time(held_back_ms)
    problems = []
    for member in members:
        until_ms = known_until_ms(member.model.manifest, repository)
        name = f"teacher {member.model.digest[:12]}"
        if until_ms is None:
            problems.append(
                f"{name} was imported, and nobody stated until when it was trained: import it with --trained-until"
            )
        elif until_ms >= held_back_ms:
            problems.append(f"{name} {_has_seen(until_ms, begins)}")
    if request.scores_until_ms is not None and request.scores_until_ms >= held_back_ms:
        problems.append(f"the model of {request.scores} {_has_seen(request.scores_until_ms, begins)}")
    if problems:
        raise TeacherError("; ".join(problems))


def _has_seen(until_ms: int, begins: str) -> str:
    return (
        f"was trained on transactions up to {format_time(until_ms)}, and the held-back part begins at {begins}: it has "
        "seen labels that the student would be measured by; take a file that goes on longer, or a teacher that was "
        "trained by `train --no-refit`, which does not see the end of its file"
    )


def score_by_models(
    members: tuple[TeacherMember, ...],
    tables: Mapping[str, FileTable],
    parts: SingleFit,
    request: DistillationRequest,
    progress: Progress,
) -> TeacherScores:
    """Score all parts by one model, or by the weighted mean of several models' probabilities.

    One model brings its own thresholds; those of several flag the stated shares of the calibrate part.
    """
    rows = np.concatenate(parts)
    scores = np.full(len(next(iter(tables.values())).table.fraud), np.nan)
    scores[rows] = 0.0
    for place, member in enumerate(members, start=1):
        table = tables[member.model.fingerprint].table
        scores[rows] += member.weight * score_blocks(member.model.score, table, rows)
        progress("teacher", place, len(members))
    np.clip(scores, 0.0, 1.0, out=scores)  # rounding of weights could carry a sum beyond 1
    if len(members) == 1:
        return TeacherScores(scores, members[0].model.policy, parent=members[0].model.digest)
    ensemble = tuple(WeighedTeacher(one.model.digest, one.weight) for one in members)
    policy = choose_policy(scores[parts.calibrate], *request.shares)
    return TeacherScores(scores, policy, distilled=DistilledFrom(ensemble=ensemble))


def score_by_file(
    path: Path, request: DistillationRequest, table: Table, parts: SingleFit, folder: Path
) -> TeacherScores:
    """Read the scores of all payments that the stream would decide from a file.

    Thresholds flag as many payments of the calibrate part as the file's decisions do, or the stated shares of it.

    Args:
        path: the file.
        request: says until when its model was trained, and which shares are flagged where it has no decisions.
        table: of all payments.
        parts: of the table.
        folder: has the database of the transactions file that was read.

    Raises:
        ScoresFileError: the file does not fit, or its scores give the labels away.
    """
    decided = np.flatnonzero(table.decided)
    found = read_scores(path, decided, folder)
    scores = np.full(len(table.fraud), np.nan)
    scores[decided] = found.scores
    check_no_labels(path, table.fraud[parts.held_back], scores[parts.held_back])
    shares: tuple[float, float] = request.shares
    if found.decisions is not None:
        shares = decided_shares(found.decisions, np.searchsorted(decided, parts.calibrate))
    policy = choose_policy(scores[parts.calibrate], *shares)
    until = format_time(request.scores_until_ms or 0)
    return TeacherScores(scores, policy, distilled=DistilledFrom(scores_file=TeacherScoresFile(found.digest, until)))


def check_no_labels(path: Path, frauds: Flags, scores: Floats) -> None:
    """Refuse scores that tell every fraud of the held-back part, which has both, from every genuine payment.

    Raises:
        ScoresFileError: they do.
    """
    is_fraud = frauds == 1
    if scores[is_fraud].min() > scores[~is_fraud].max():
        raise ScoresFileError(
            f"{path}: the scores tell all {int(is_fraud.sum()):,} frauds of the held-back part from all "
            f"{int((~is_fraud).sum()):,} genuine payments, so they know the labels: score by a model that has not "
            "seen them"
        )
