"""What speaks against a training: its ranking may be chance, it alerts far more than was asked, or trees found nothing.

Such a model is refused unless the request accepts it; its manifest then says what is weak, and the judge asks whoever
lets it decide. Figures are those of the test part, blocked cards left out as in the metrics.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from features.declaration import DAY_MS
from features.history.store import Ints
from fraudstream.lab.training.evaluation import blocked
from fraudstream.lab.training.request import ArtifactTerms, WeakModelError
from fraudstream.lab.training.trees import FEWEST_TREES
from fraudstream.lab.training.vectors import Table
from metrics.bootstrap import BootstrapPlan, drawn_times
from metrics.columns import Flags
from metrics.weighted_ranking import WeightedRanking
from models.policy import Floats
from models.times import stated_ms
from models.volume import ExpectedVolume

MOST_ALERTS = 3.0
"""Times as many as were asked for."""
_FEWEST_ASKED = 10.0
"""With fewer, three times as many may be the payments of one card, or equal scores."""
_DRAWS = BootstrapPlan(draws=300, least_cards=1)
_CHANCE = 0.5


def weaknesses(
    table: Table, test: Ints, margins: Floats, volume: ExpectedVolume, terms: ArtifactTerms
) -> Iterator[str]:
    """Yield what is weak about a model by its test part.

    Args:
        table: all payments.
        test: the labelled rows of the test part.
        margins: the model's margins of these, in the same order.
        volume: what it alerts there.
        terms: what was asked for.
    """
    yield from ranks_by_chance(table, test, margins)
    yield from _beyond_asked(volume, terms)


def few_trees(trees: int, most: int) -> Iterator[str]:
    """Yield that a training has found hardly any trees worth keeping, of the most that it was to grow."""
    if trees < min(FEWEST_TREES, most):
        yield (
            f"{trees} {'tree' if trees == 1 else 'trees'}: more did not rank the frauds of later payments better, so "
            "the features say little about the labels, or frauds are too few"
        )


def refuse_weak(found: Iterable[str], *, accepted: bool) -> tuple[str, ...]:
    """Return what is weak, for the manifest.

    Raises:
        WeakModelError: something is, and it is not accepted.
    """
    texts = tuple(found)
    if texts and not accepted:
        advice = "nothing was stored: train on more frauds or other features, or store it as weak (--accept-weak)"
        raise WeakModelError("\n".join((*texts, advice)))
    return texts


def ranks_by_chance(table: Table, test: Ints, margins: Floats) -> Iterator[str]:
    """Yield that a model's ranking of the test part may be chance: its area's interval, by card, reaches 0.5."""
    free = ~blocked(table, test)
    if not 0 < int(table.fraud[test[free]].sum()) < int(free.sum()):
        free = np.ones(len(test), np.bool_)
    rows = test[free]
    area, low, high = _area(table.fraud[rows], margins[free], table.card[rows])
    if not low > _CHANCE:
        yield (
            f"its ranking of the test part is not above chance: AUC {area:.2f}, with {int(table.fraud[rows].sum()):,} "
            f"frauds from {low:.2f} to {high:.2f} (95 %, by card)"
        )


def _area(fraud: Flags, scores: Floats, cards: Ints) -> tuple[float, float, float]:
    """Return ROC AUC with its interval by card; draws without a fraud, which say nothing, are left out."""
    ranking, (found, index) = WeightedRanking(fraud, scores), np.unique(cards, return_inverse=True)
    drawn = [ranking.measure(times[index].astype(np.float64))[0] for times in drawn_times(len(found), _DRAWS)]
    low, high = np.nanquantile(drawn, (0.025, 0.975)).tolist()
    return ranking.measure(np.ones(len(fraud)))[0], low, high


def declines_beyond_asked(volume: ExpectedVolume, terms: ArtifactTerms) -> Iterator[str]:
    """Yield that a model declines far more than was asked for by a share; it may alert as many as it was to."""
    policy = terms.policy
    if policy.thresholds is not None or policy.costs is not None or policy.budget is not None:
        return
    declines, asked = volume.decline_share * volume.payments, terms.shares.decline * volume.payments
    if declines > max(MOST_ALERTS * asked, _FEWEST_ASKED):
        all_alerts = "" if volume.review_share else ": every alert is a decline, and none is left to review"
        times = f"{declines / max(asked, 1):.1f} times the {asked:,.0f} that were asked for"
        yield (
            f"it declines {declines:,.0f} of {volume.payments:,} payments of the test part, {times}{all_alerts}. "
            "`fraudstream model policy` sets other thresholds"
        )


def _beyond_asked(volume: ExpectedVolume, terms: ArtifactTerms) -> Iterator[str]:
    policy = terms.policy
    if policy.thresholds is not None or policy.costs is not None:
        return
    alerts = volume.alert_share * volume.payments
    asked = terms.shares.review * volume.payments
    if policy.budget is not None:
        days = (stated_ms(volume.until) - stated_ms(volume.since) + 1) / DAY_MS
        asked = float(policy.budget.alerts.most(volume.payments, max(days, 1.0)))
    if alerts > MOST_ALERTS * max(asked, _FEWEST_ASKED):
        yield (
            f"it alerts {alerts:,.0f} of {volume.payments:,} payments of the test part, {alerts / max(asked, 1):.1f} "
            f"times the {asked:,.0f} that were asked for: thresholds of earlier payments do not hold on later ones"
        )
