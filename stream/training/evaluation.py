"""How good a model is, in the measures of this field, and the scikit-learn that computes two of them.

Card precision follows Le Borgne et al., Reproducible Machine Learning for Credit Card Fraud Detection (2022), chapter
4.3: each day the 100 cards with the highest scores are looked at; how many of them are defrauded that day? Cards that
became known to be compromised, or were found so, in the two weeks before are blocked and leave the measure (in the
book: since the training week began); later they count as replaced. Nothing here trains.

Which rows a model is fitted to, calibrated on and judged by: apart in time, and by what was known when.

Everything that a model is made of has a label that was known when its validation begins, as if it had been trained on
that day and used from then on. Nothing here looks at a vector.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.history.store import Ints
from models.calibration import Calibration
from models.policy import Floats, Policy
from models.times import format_time
from stream.dataset.errors import MissingExtraError
from stream.dataset.file import DAY_MS
from stream.training.request import TrainingDataError, UnusableModelError
from stream.training.vectors import Table

VALIDATE_SHARE = 0.3
CALIBRATE_SHARE = 0.2
FEWEST_FRAUDS = 10
"""In each part: with fewer, neither a tree nor a threshold means anything."""
KNOTS = 128
WIDEST_LOGIT = 30.0
"""Beyond it neighbouring probabilities are the same number."""
ALERTS_A_DAY = 100
BLOCKED_DAYS = 14


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers of the three parts, each by time."""

    train: Ints
    calibrate: Ints
    validate: Ints


def split(table: Table, reach_ms: int) -> Split:
    """Split the rows whose labels are known.

    The first rows are left out while histories grow: `reach_ms`, how far the features look back, or a quarter of the
    time if the file is short. The last 30 % of the time is for validation; of the rows before whose labels were known
    by its beginning, the last 20 % are for calibration.

    Raises:
        TrainingDataError: a part holds too few frauds, or nothing but frauds.
    """
    known = np.flatnonzero(table.known)
    _check_labels(table, known)
    begin_ms, end_ms = int(table.occurred_ms[0]), int(table.occurred_ms[known[-1]])
    grown_ms = begin_ms + min(reach_ms, (end_ms - begin_ms) // 4)
    validate_ms = end_ms - int((end_ms - grown_ms) * VALIDATE_SHARE)
    occurred, grown = table.occurred_ms[known], known[table.occurred_ms[known] >= grown_ms]
    before = grown[(table.labelled_ms[grown] <= validate_ms) & (table.occurred_ms[grown] < validate_ms)]
    cut = len(before) - int(len(before) * CALIBRATE_SHARE)
    parts = Split(before[:cut], before[cut:], known[occurred >= validate_ms])
    _check_parts(table, parts)
    return parts


def _check_labels(table: Table, known: Ints) -> None:
    if len(known):
        return
    if not (table.fraud >= 0).any():
        raise TrainingDataError("no transaction is labelled: fill the column fraud with true and false")
    raise TrainingDataError(
        f"no label was known by {format_time(table.last_ms)}, the file's last transaction (without labelled_at a "
        "label counts as known 7 days after its transaction): bring more days, or labelled_at"
    )


def _check_parts(table: Table, parts: Split) -> None:
    problems = []
    for name, rows in (("train", parts.train), ("calibrate", parts.calibrate), ("validate", parts.validate)):
        frauds = int(table.fraud[rows].sum())
        if frauds < FEWEST_FRAUDS or frauds == len(rows):
            problems.append(f"the part to {name} on has {frauds} frauds in {len(rows)} transactions")
    if problems:
        days = (table.last_ms - int(table.occurred_ms[0])) // DAY_MS
        raise TrainingDataError(
            f"{'; '.join(problems)}: each part needs at least {FEWEST_FRAUDS} frauds and some genuine ones. The file "
            f"spans {days} days, and only labels known by the end of a part count: bring more days or more labels"
        )


def calibrate(margins: Floats, frauds: NDArray[np.int8]) -> Calibration:
    """Fit Platt's sigmoid to margins of shape (n,), and tabulate it half as far again as they go on either side.

    Raises:
        UnusableModelError: higher margins do not mean more fraud.
        MissingExtraError: scikit-learn is not installed.
    """
    platt = _sklearn("linear_model").LogisticRegression(C=1e6).fit(margins[:, np.newaxis], frauds)
    slope, intercept = float(platt.coef_[0, 0]), float(platt.intercept_[0])
    if slope <= 0:
        raise UnusableModelError("a higher margin does not mean more fraud: the features tell nothing about the labels")
    low, high = (float(slope * margin + intercept) for margin in (margins.min(), margins.max()))
    beyond = max((high - low) / 2, 1.0)
    logits = np.linspace(max(low - beyond, -WIDEST_LOGIT), min(high + beyond, WIDEST_LOGIT), KNOTS)
    probabilities = 1.0 / (1.0 + np.exp(-logits))
    return Calibration(tuple(((logits - intercept) / slope).tolist()), tuple(probabilities.tolist()))


def choose_policy(scores: Floats, review_share: float, decline_share: float) -> Policy:
    """Set the thresholds so that these shares of `scores` are at least reviewed, and declined."""
    review, decline = (
        float(np.quantile(scores, 1 - share, method="higher")) for share in (review_share, decline_share)
    )
    return Policy(review, decline)


def measure(table: Table, rows: Ints, scores: Floats, policy: Policy) -> dict[str, float]:
    """Measure scores of `rows`, all of them labelled.

    `auc`, `average_precision` and `card_precision_at_100` leave out transactions of cards that are blocked. The rates
    are of all rows.
    """
    frauds = table.fraud[rows]
    fresh = ~_known_compromised(table, rows)
    metrics = _sklearn("metrics")
    both = fresh if 0 < frauds[fresh].sum() < fresh.sum() else np.ones_like(fresh)
    reviewed, declined = scores >= policy.review_at, scores >= policy.decline_at
    return {
        "auc": float(metrics.roc_auc_score(frauds[both], scores[both])),
        "average_precision": float(metrics.average_precision_score(frauds[both], scores[both])),
        "card_precision_at_100": _card_precision(table, rows[fresh], scores[fresh]),
        "alert_rate": float(reviewed.mean()),
        "decline_rate": float(declined.mean()),
        "fraud_rate": float(frauds.mean()),
        "recall_at_review": float(frauds[reviewed].sum() / frauds.sum()),
        "precision_at_review": float(frauds[reviewed].mean()) if reviewed.any() else 0.0,
        "brier": float(np.mean((scores - frauds) ** 2)),
    }


def _known_compromised(table: Table, rows: Ints) -> NDArray[np.bool_]:
    """Tell which rows' cards have a fraud that became known in the two weeks before the row's day (UTC) began."""
    frauds = np.flatnonzero((table.fraud == 1) & table.decided)
    cards, days = table.card[frauds], -(-table.labelled_ms[frauds] // DAY_MS)  # the first day that begins knowing it
    span = BLOCKED_DAYS + int(max(days.max(), table.occurred_ms[rows].max() // DAY_MS)) + 1
    blocked = np.unique((cards * span + days)[:, np.newaxis] + np.arange(BLOCKED_DAYS))
    result: NDArray[np.bool_] = np.isin(table.card[rows] * span + table.occurred_ms[rows] // DAY_MS, blocked)
    return result


def _card_precision(table: Table, rows: Ints, scores: Floats) -> float:
    """Return the mean over days of the share of truly defrauded cards among the 100 most suspected."""
    days = table.occurred_ms[rows] // DAY_MS
    found: dict[int, int] = {}
    precisions = []
    for day in np.unique(days).tolist():
        today = days == day
        cards, place = np.unique(table.card[rows[today]], return_inverse=True)
        highest, defrauded = np.full(len(cards), -1.0), np.zeros(len(cards), np.int8)
        np.maximum.at(highest, place, scores[today])
        np.maximum.at(defrauded, place, table.fraud[rows[today]])
        free = np.array([day - found.get(card, day - BLOCKED_DAYS) >= BLOCKED_DAYS for card in cards.tolist()])
        order = np.argsort(-np.where(free, highest, -1.0), kind="stable")[: min(ALERTS_A_DAY, int(free.sum()))]
        caught = cards[order[defrauded[order] == 1]].tolist()
        found.update(dict.fromkeys(caught, day))
        precisions.append(len(caught) / ALERTS_A_DAY)
    return float(np.mean(precisions)) if precisions else 0.0


def _sklearn(module: str) -> Any:  # noqa: ANN401 - a module, which may not be there
    try:
        import sklearn.linear_model  # noqa: PLC0415 - of the extra `train`; a worker runs without it
        import sklearn.metrics  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("training needs scikit-learn: install the extra, pip install '.[train]'") from error
    return getattr(sklearn, module)
