"""Splits the rows into train, calibrate and validate parts, and calibrates and measures a model on them.

The split is by time and by when labels were known: every label used to train or calibrate was known when validation
begins, as if the model had been trained on that day and used from then on. The measures are those of `metrics`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.declaration import DAY_MS
from features.history.store import Ints
from metrics.alerts import AlertCounts, ScoredRows
from metrics.calibration import brier_score
from metrics.card_precision import ALERTS_A_DAY, BLOCKED_DAYS, KnownFrauds, card_precision, known_compromised
from metrics.errors import MissingLibraryError
from metrics.ranking import average_precision, roc_auc
from models.calibration import Calibration
from models.policy import Floats, Policy
from models.times import format_time
from stream.dataset.errors import MissingExtraError
from stream.training.request import TrainingDataError, UnusableModelError
from stream.training.vectors import Table

VALIDATE_SHARE = 0.3
CALIBRATE_SHARE = 0.2
UNSEEN_VALIDATE_SHARE = 0.5
FEWEST_FRAUDS = 10
"""The least in each part: with fewer, neither trees nor thresholds are meaningful."""
KNOTS = 128
"""Points of the calibration table."""
WIDEST_LOGIT = 30.0
"""Beyond it neighbouring probabilities round to the same float."""


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers of the three parts, each in order of time."""

    train: Ints
    calibrate: Ints
    validate: Ints


def split(table: Table, reach_ms: int) -> Split:
    """Split the rows whose labels are known.

    The first `reach_ms`, as far as the features look back, are left out because histories are incomplete there; at most
    a quarter of the time. The last 30 % of the time is for validation. Of the rows before it with labels known when it
    begins, the last 20 % are for calibration.

    Raises:
        TrainingDataError: a part has too few frauds, or only frauds.
    """
    known = np.flatnonzero(table.known)
    check_labels(int((table.fraud >= 0).sum()), len(known), table.last_ms)
    begin_ms, end_ms = int(table.occurred_ms[0]), int(table.occurred_ms[known[-1]])
    warm_ms = begin_ms + min(reach_ms, (end_ms - begin_ms) // 4)
    validate_ms = end_ms - int((end_ms - warm_ms) * VALIDATE_SHARE)
    before, validate = _cut(table, known[table.occurred_ms[known] >= warm_ms], validate_ms)
    cut = len(before) - int(len(before) * CALIBRATE_SHARE)
    parts = Split(before[:cut], before[cut:], validate)
    _check_parts(table, {"train": parts.train, "calibrate": parts.calibrate, "validate": validate}, "")
    return parts


class UnseenSplit(NamedTuple):
    """Row numbers of two parts, each in order of time, and how many rows were left out as seen in training."""

    calibrate: Ints
    validate: Ints
    trained_on: int


def split_unseen(table: Table, complete_ms: int, trained_until_ms: int | None) -> UnseenSplit:
    """Split the rows whose labels are known and which a model that was trained elsewhere has not seen.

    Rows up to `trained_until_ms` are left out, and of the others those before `complete_ms`, where histories are
    incomplete; the latter at most for a quarter of the time. The last half of the time is for validation. Of the rows
    before it, those are for calibration whose labels are known when it begins.

    Raises:
        TrainingDataError: a part has too few frauds, or only frauds.
    """
    known = np.flatnonzero(table.known)
    check_labels(int((table.fraud >= 0).sum()), len(known), table.last_ms)
    unseen = known if trained_until_ms is None else known[table.occurred_ms[known] > trained_until_ms]
    until = "" if trained_until_ms is None else format_time(trained_until_ms)
    if not len(unseen):
        raise TrainingDataError(
            f"no labelled transaction is later than {until}, until when the model was trained (--trained-until): "
            "compute vectors of later days"
        )
    begin_ms, end_ms = int(table.occurred_ms[unseen[0]]), int(table.occurred_ms[unseen[-1]])
    warm_ms = begin_ms + min(max(complete_ms - begin_ms, 0), (end_ms - begin_ms) // 4)
    validate_ms = end_ms - int((end_ms - warm_ms) * UNSEEN_VALIDATE_SHARE)
    calibrate, validate = _cut(table, unseen[table.occurred_ms[unseen] >= warm_ms], validate_ms)
    left_out = f"; those until {until} were left out, because the model was trained on them" if until else ""
    _check_parts(table, {"calibrate": calibrate, "validate": validate}, left_out)
    return UnseenSplit(calibrate, validate, len(known) - len(unseen))


def _cut(table: Table, rows: Ints, at_ms: int) -> tuple[Ints, Ints]:
    """Return the rows before a time whose labels were known then, and the rows from it on."""
    before = (table.labelled_ms[rows] <= at_ms) & (table.occurred_ms[rows] < at_ms)
    return rows[before], rows[table.occurred_ms[rows] >= at_ms]


def check_labels(labelled: int, known: int, last_ms: int) -> None:
    """Check that some transactions are labelled, and that some of the labels were known at the file's end.

    Raises:
        TrainingDataError: none is.
    """
    if known:
        return
    if not labelled:
        raise TrainingDataError("no transaction is labelled: fill the column fraud with true and false")
    raise TrainingDataError(
        f"no label was known by {format_time(last_ms)}, the file's last transaction (without labelled_at a "
        "label counts as known 7 days after its transaction): add more days, or the column labelled_at"
    )


def _check_parts(table: Table, parts: Mapping[str, Ints], note: str) -> None:
    problems = []
    for name, rows in parts.items():
        frauds = int(table.fraud[rows].sum())
        if frauds < FEWEST_FRAUDS or frauds == len(rows):
            problems.append(f"the {name} part has {frauds} frauds in {len(rows)} transactions")
    if problems:
        days = (table.last_ms - int(table.occurred_ms[0])) // DAY_MS
        raise TrainingDataError(
            f"{'; '.join(problems)}: each part needs at least {FEWEST_FRAUDS} frauds and some genuine ones. The file "
            f"spans {days} days, and only labels known by the end of a part count{note}: add more days or more labels"
        )


def calibrate(margins: Floats, frauds: NDArray[np.int8]) -> Calibration:
    """Fit Platt's sigmoid to margins of shape (n,), and tabulate it; the table extends half their range on each side.

    Raises:
        UnusableModelError: the probability of fraud does not rise with the margin.
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - of the extra `train`
    except ImportError as error:
        raise MissingExtraError("training", "scikit-learn", "train") from error
    platt = LogisticRegression(C=1e6).fit(margins[:, np.newaxis], frauds)
    slope, intercept = float(platt.coef_[0, 0]), float(platt.intercept_[0])
    if slope <= 0:
        raise UnusableModelError("fraud does not rise with the model's margin: the features do not predict the labels")
    low, high = (float(slope * margin + intercept) for margin in (margins.min(), margins.max()))
    beyond = max((high - low) / 2, 1.0)
    logits = np.linspace(max(low - beyond, -WIDEST_LOGIT), min(high + beyond, WIDEST_LOGIT), KNOTS)
    probabilities = 1.0 / (1.0 + np.exp(-logits))
    return Calibration(tuple(((logits - intercept) / slope).tolist()), tuple(probabilities.tolist()))


def choose_policy(scores: Floats, review_share: float, decline_share: float) -> Policy:
    """Set the thresholds so that these shares of `scores` are at least reviewed, and at least declined."""
    review, decline = (
        float(np.quantile(scores, 1 - share, method="higher")) for share in (review_share, decline_share)
    )
    return Policy(review, decline)


def measure(table: Table, rows: Ints, scores: Floats, policy: Policy) -> dict[str, float]:
    """Measure scores of `rows`, all of them labelled, with at least one fraud and one genuine row.

    `auc`, `average_precision` and `card_precision_at_100` leave out transactions of blocked cards. All other measures
    are over all rows.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    frauds, blocked = table.fraud[rows], _blocked(table, rows)
    reviewed = AlertCounts.of(frauds, scores >= policy.review_at)
    free = rows[~blocked]
    investigated = ScoredRows(table.occurred_ms[free] // DAY_MS, table.card[free], scores[~blocked], table.fraud[free])
    return _ranking(frauds, scores, blocked) | {
        "card_precision_at_100": card_precision(investigated, ALERTS_A_DAY, BLOCKED_DAYS).mean or 0.0,
        "alert_rate": reviewed.alert_rate or 0.0,
        "decline_rate": float((scores >= policy.decline_at).mean()),
        "fraud_rate": reviewed.fraud_rate or 0.0,
        "recall_at_review": reviewed.recall or 0.0,
        "precision_at_review": reviewed.precision or 0.0,
        "brier": brier_score(frauds, scores) or 0.0,
    }


def _ranking(frauds: NDArray[np.int8], scores: Floats, blocked: NDArray[np.bool_]) -> dict[str, float]:
    """Measure the ranking without the blocked cards' rows, or with them if the others are all fraud or all genuine."""
    measures = {"auc": roc_auc, "average_precision": average_precision}
    try:
        found = {name: measure(frauds, scores, blocked) for name, measure in measures.items()}
        if None in found.values():
            found = {name: measure(frauds, scores) for name, measure in measures.items()}
    except MissingLibraryError as error:
        raise MissingExtraError("training", error.library, error.extra) from error
    return {name: one for name, one in found.items() if one is not None}


def _blocked(table: Table, rows: Ints) -> NDArray[np.bool_]:
    """Tell which rows are of a card with a fraud that became known in the two weeks before the row's UTC day."""
    frauds = np.flatnonzero((table.fraud == 1) & table.decided)
    known = KnownFrauds(table.card[frauds], table.labelled_ms[frauds])
    return known_compromised(table.card[rows], table.occurred_ms[rows], known, BLOCKED_DAYS)
