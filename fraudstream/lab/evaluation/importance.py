"""What each feature means to a model: average precision that is lost if its values are those of other payments.

Breiman, Random Forests (2001), section 10. The model is not trained again, so features that say nearly the same share
their importance, and each of them may look dispensable. The gain of splits is of the training, and favours features
with many values; both are shown.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fraudstream.lab.evaluation.draws import DrawnFigure
from metrics.bootstrap import BootstrapPlan, drawn_times
from metrics.columns import Bools, Floats, Ints
from metrics.weighted_ranking import WeightedRanking

SAMPLE_ROWS = 20_000
SAMPLE_FRAUDS = 4_000


class ImportanceSample(NamedTuple):
    """Payments on which features are permuted: vectors, outcomes, cards, and how many payments each stands for."""

    matrix: Floats
    fraud: Bools
    card: Ints
    weights: Floats


def sample_rows(fraud: Bools, seed: int) -> tuple[Ints, Floats]:
    """Choose frauds, at most 4,000, and genuine payments, 20,000 in all, with how many payments each stands for."""
    rng = np.random.default_rng(seed)
    frauds, genuine = np.flatnonzero(fraud), np.flatnonzero(~fraud)
    some = rng.permutation(frauds)[:SAMPLE_FRAUDS]
    others = rng.permutation(genuine)[: SAMPLE_ROWS - len(some)]
    rows = np.sort(np.concatenate((some, others)))
    weights = np.where(fraud[rows], len(frauds) / len(some), len(genuine) / len(others))
    return rows, weights


def permuted_losses(
    sample: ImportanceSample, score: Callable[[Floats], Floats], plan: BootstrapPlan, on_feature: Callable[[int], None]
) -> list[DrawnFigure]:
    """Return the loss of average precision for each feature, paired with the model's own by the draws of cards.

    A value is replaced by that of a payment drawn with the probability that its weight says.
    """
    rng = np.random.default_rng(plan.seed)
    found, index = np.unique(sample.card, return_inverse=True)
    times = np.array([one[index] for one in drawn_times(len(found), plan)], np.float64) * sample.weights
    cards = len(np.unique(index[sample.fraud]))
    own, own_drawn = _precisions(sample, score(sample.matrix), times)
    shares = sample.weights / sample.weights.sum()
    losses = []
    for column in range(sample.matrix.shape[1]):
        changed = sample.matrix.copy()
        changed[:, column] = sample.matrix[rng.choice(len(shares), size=len(shares), p=shares), column]
        value, drawn = _precisions(sample, score(changed), times)
        losses.append(DrawnFigure(own - value, own_drawn - drawn, cards))
        on_feature(column + 1)
    return losses


def _precisions(sample: ImportanceSample, scores: Floats, times: Floats) -> tuple[float, Floats]:
    ranking = WeightedRanking(sample.fraud, scores)
    drawn = np.array([ranking.measure(weights)[1] for weights in times])
    return ranking.measure(sample.weights)[1], drawn
