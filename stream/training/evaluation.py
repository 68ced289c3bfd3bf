"""Splits the rows into train, calibrate and validate parts, and calibrates and measures a model on them.

The split is by time and by when labels were known: every label used to train or calibrate was known when validation
begins, as if the model had been trained on that day and used from then on.

Card precision follows Le Borgne et al., Reproducible Machine Learning for Credit Card Fraud Detection (2022), chapter
4.3: the share of cards with a fraud on a day among the 100 cards with the highest scores of that day. A card that
became known, or was found, to be compromised in the two weeks before is blocked and left out (in the book: since the
training week began); after that it counts as replaced.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.declaration import DAY_MS
from features.history.store import Ints
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
ALERTS_A_DAY = 100
"""Cards that are investigated each day."""
BLOCKED_DAYS = 14
"""How long a card stays blocked after it became known to be compromised."""


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
    platt = _sklearn("linear_model").LogisticRegression(C=1e6).fit(margins[:, np.newaxis], frauds)
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
    """Measure scores of `rows`, all of them labelled.

    `auc`, `average_precision` and `card_precision_at_100` leave out transactions of blocked cards. All other measures
    are over all rows.
    """
    frauds = table.fraud[rows]
    unblocked = ~_blocked(table, rows)
    metrics = _sklearn("metrics")
    measured = unblocked if 0 < frauds[unblocked].sum() < unblocked.sum() else np.ones_like(unblocked)
    reviewed, declined = scores >= policy.review_at, scores >= policy.decline_at
    return {
        "auc": float(metrics.roc_auc_score(frauds[measured], scores[measured])),
        "average_precision": float(metrics.average_precision_score(frauds[measured], scores[measured])),
        "card_precision_at_100": _card_precision(table, rows[unblocked], scores[unblocked]),
        "alert_rate": float(reviewed.mean()),
        "decline_rate": float(declined.mean()),
        "fraud_rate": float(frauds.mean()),
        "recall_at_review": float(frauds[reviewed].sum() / frauds.sum()),
        "precision_at_review": float(frauds[reviewed].mean()) if reviewed.any() else 0.0,
        "brier": float(np.mean((scores - frauds) ** 2)),
    }


def _blocked(table: Table, rows: Ints) -> NDArray[np.bool_]:
    """Tell which rows are of a card with a fraud that became known in the two weeks before the row's UTC day."""
    frauds = np.flatnonzero((table.fraud == 1) & table.decided)
    cards, days = (
        table.card[frauds],
        -(-table.labelled_ms[frauds] // DAY_MS),
    )  # the first day at whose start it is known
    span = BLOCKED_DAYS + int(max(days.max(), table.occurred_ms[rows].max() // DAY_MS)) + 1
    blocked = np.unique((cards * span + days)[:, np.newaxis] + np.arange(BLOCKED_DAYS))
    result: NDArray[np.bool_] = np.isin(table.card[rows] * span + table.occurred_ms[rows] // DAY_MS, blocked)
    return result


def _card_precision(table: Table, rows: Ints, scores: Floats) -> float:
    """Return the mean over days of the share of defrauded cards among the 100 with the highest scores."""
    days = table.occurred_ms[rows] // DAY_MS
    detected_day: dict[int, int] = {}
    precisions = []
    for day in np.unique(days).tolist():
        today = days == day
        cards, index = np.unique(table.card[rows[today]], return_inverse=True)
        highest, defrauded = np.full(len(cards), -1.0), np.zeros(len(cards), np.int8)
        np.maximum.at(highest, index, scores[today])
        np.maximum.at(defrauded, index, table.fraud[rows[today]])
        is_free = np.array(
            [day - detected_day.get(card, day - BLOCKED_DAYS) >= BLOCKED_DAYS for card in cards.tolist()]
        )
        order = np.argsort(-np.where(is_free, highest, -1.0), kind="stable")[: min(ALERTS_A_DAY, int(is_free.sum()))]
        detected = cards[order[defrauded[order] == 1]].tolist()
        detected_day.update(dict.fromkeys(detected, day))
        precisions.append(len(detected) / ALERTS_A_DAY)
    return float(np.mean(precisions)) if precisions else 0.0


def _sklearn(module: str) -> Any:  # noqa: ANN401 - a module, which may not be there
    try:
        import sklearn.linear_model  # noqa: PLC0415 - of the extra `train`; a worker runs without it
        import sklearn.metrics  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("training", "scikit-learn", "train") from error
    return getattr(sklearn, module)
