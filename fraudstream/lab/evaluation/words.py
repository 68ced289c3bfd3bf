"""The names of an evaluation's figures for people, and how each is written: as a share, as a number, or as money."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from fraudstream.ops.report.quantities import Measure, Numeric, Percentage, Quantity, WithInterval
from fraudstream.ops.rollout.verdict.figures import Figure
from metrics.intervals import Interval


class FigureWords(NamedTuple):
    """How one figure is called and written, and whether more of it is better; None where neither is."""

    name: str
    is_share: bool
    more_is_better: bool | None


WORDS: Mapping[str, FigureWords] = MappingProxyType(
    {
        "auc": FigureWords("ROC AUC", is_share=False, more_is_better=True),
        "average_precision": FigureWords("Average precision", is_share=False, more_is_better=True),
        "card_precision": FigureWords("Card precision", is_share=False, more_is_better=True),
        "precision": FigureWords("Precision of alerts", is_share=True, more_is_better=True),
        "recall": FigureWords("Recall of frauds", is_share=True, more_is_better=True),
        "first_hit_recall": FigureWords("First-hit recall", is_share=True, more_is_better=True),
        "alert_share": FigureWords("Alerts among payments", is_share=True, more_is_better=None),
        "savings": FigureWords("Savings", is_share=True, more_is_better=True),
        "value_detection_rate": FigureWords("Fraud money alerted", is_share=True, more_is_better=True),
        "log_loss": FigureWords("Log loss", is_share=False, more_is_better=False),
        "log_loss_below_constant": FigureWords("Log loss below the constant's", is_share=False, more_is_better=True),
        "brier": FigureWords("Brier score", is_share=False, more_is_better=False),
        "ece": FigureWords("Calibration error", is_share=False, more_is_better=False),
        "ece_alerts": FigureWords("Calibration error among alerts", is_share=False, more_is_better=False),
        "ece_alerts_by_chance": FigureWords("The same by chance alone", is_share=False, more_is_better=None),
        "expected_to_observed": FigureWords("Frauds expected for each observed", is_share=False, more_is_better=None),
        "score_stability": FigureWords("Stability index of the score", is_share=False, more_is_better=False),
    }
)
"""By the name of a figure before `@` and `.`; docs/reference/evaluation.md defines each."""
NOT_TOLD_APART, NO_INTERVAL = "not told apart", "no interval"
"""What is said of a difference whose interval has 0 in it, and of one that too few cards bear on."""
_DECIMALS = MappingProxyType({"brier": 5, "log_loss": 5, "log_loss_below_constant": 5, "ece": 5})
_DEFAULT_DECIMALS = 3


def words_of(key: str) -> FigureWords:
    """Return the words of a figure, with its budget of alerts a day and its currency, as "Recall of frauds @100"."""
    head, _, currency = key.partition(".")
    base, _, budget = head.partition("@")
    known = WORDS[base]
    name = known.name + (f" @{budget}" if budget else "") + (f", {currency}" if currency else "")
    return known._replace(name=name)


def quantity(key: str, value: float | None) -> Numeric | None:
    """Return a value of a figure with its unit and decimals; None where it is undefined."""
    if value is None:
        return None
    base = key.partition(".")[0].partition("@")[0]
    if WORDS[base].is_share:
        return Percentage(value, 1)
    return Measure(value, _DECIMALS.get(base, _DEFAULT_DECIMALS))


def with_interval(key: str, figure: Figure) -> Quantity | None:
    """Return a figure with its interval as a quantity."""
    if figure.interval is None:
        return quantity(key, figure.value)
    low, high = (quantity(key, end) for end in figure.interval)
    return WithInterval(quantity(key, figure.value), low, high)


def verdict_of_difference(key: str, interval: Interval | None) -> str:
    """Return "better" or "worse" where 0 is outside of the interval of a difference, else why neither is said."""
    if interval is None:
        return NO_INTERVAL
    better = words_of(key).more_is_better
    if better is None or interval.low <= 0 <= interval.high:
        return NOT_TOLD_APART
    return "better" if (interval.low > 0) is better else "worse"
