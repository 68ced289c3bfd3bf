"""Precision before labels: what calibrated probabilities promise of alerts, and how far the outcome may lie from it.

The mean probability of the alerts is their expected precision if the model is calibrated (confidence-based performance
estimation: Guillory et al., Predicting with Confidence on Unseen Distributions, ICCV 2021). Nothing about calibration
is in the interval: compare what was promised with what came, where labels are known.
"""

from typing import NamedTuple

import numpy as np

from metrics.bootstrap import BootstrapPlan
from metrics.columns import Floats, Tokens, check_lengths, check_numbers
from metrics.intervals import Interval

_DRAWS_AT_ONCE = 4_000_000


class EstimatedPrecision(NamedTuple):
    """The expected precision of alerts, and in which interval their precision will lie; None without enough cards."""

    value: float | None
    interval: Interval | None


def estimated_precision(cards: Tokens, scores: Floats, plan: BootstrapPlan | None = None) -> EstimatedPrecision:
    """Estimate the precision of alerts from their probabilities.

    The interval is that of draws of the outcomes in which all alerts of one card are fraud together, as far as their
    probabilities allow, since they mostly are: that is the widest, whatever the alerts of a card have to do with each
    other.

    Args:
        cards: the card of each alert, of shape (n,).
        scores: the probabilities, of shape (n,).
        plan: how often to draw, and from how many cards on there is an interval.

    Raises:
        MeasureInputError: the columns differ in length, or a score is no probability.
    """
    check_lengths(cards=cards, scores=scores)
    check_numbers("scores", scores, 0, 1)
    chosen = plan or BootstrapPlan()
    if not len(scores):
        return EstimatedPrecision(None, None)
    value = float(np.mean(scores))
    found, card = np.unique(cards, return_inverse=True)
    if len(found) < chosen.least_cards:
        return EstimatedPrecision(value, None)
    random, figures = np.random.default_rng(chosen.seed), list[Floats]()
    at_once = max(1, _DRAWS_AT_ONCE // len(scores))
    for begin in range(0, chosen.draws, at_once):
        chance = random.random((min(at_once, chosen.draws - begin), len(found)))
        figures.append((chance[:, card] < scores).mean(axis=1))
    beyond = (1 - chosen.confidence) / 2
    low, high = np.quantile(np.concatenate(figures), (beyond, 1 - beyond)).tolist()
    return EstimatedPrecision(value, Interval(low, high))
