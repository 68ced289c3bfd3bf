"""Whether the scores of a model are probabilities: reliability and the expected calibration error, also among alerts.

Fraud is rare, so nearly all payments have a score near 0, and an error among those with a high score hardly shows in a
mean over all. So alerts have bins of their own: there a team works by the score.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from fraudstream.lab.evaluation.draws import CardDraws, DrawnFigure, SumDraws
from fraudstream.lab.evaluation.figures import Figures, ScoredBy
from fraudstream.lab.evaluation.payments import EvaluatedPayments
from fraudstream.lab.evaluation.report import EvaluatedBin
from metrics.bootstrap import BootstrapPlan
from metrics.calibration import calibration_error, equal_counts, reliability
from metrics.columns import Bools, Floats, ratios

BINS, ALERT_BINS = 20, 10
"""Bins of equal count over all payments, and over alerts; as many as there are different scores, at most."""
CHANCE_DRAWS = 200


class BinnedScores(NamedTuple):
    """The payments of each bin between `edges`: numbers, scores and frauds beside each other, b columns of each."""

    edges: Floats
    sums: SumDraws

    @property
    def bins(self) -> int:
        """How many bins there are."""
        return len(self.edges) - 1


def binned(payments: EvaluatedPayments, scores: Floats, which: Bools, draws: CardDraws, bins: int) -> BinnedScores:
    """Put some of the payments into bins of about equal count."""
    edges = equal_counts(scores[which], bins)
    place = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, len(edges) - 2)
    groups = np.where(which, place, -1)
    return BinnedScores(edges, draws.grouped(groups, len(edges) - 1, np.ones(len(scores)), scores, payments.fraud))


def calibration_figures(
    payments: EvaluatedPayments, scored: Sequence[ScoredBy], draws: CardDraws
) -> tuple[list[Figures], list[tuple[BinnedScores, BinnedScores]]]:
    """Return `ece`, `ece_alerts` and `ece_alerts_by_chance` of each model, and the bins of the first two."""
    every = np.ones(len(payments.fraud), np.bool_)
    bins = [
        (
            binned(payments, one.scores, every, draws, BINS),
            binned(payments, one.scores, one.alerted, draws, ALERT_BINS),
        )
        for one in scored
    ]
    figures: list[Figures] = []
    for said, (whole, alerts) in zip(scored, bins, strict=True):
        found = {}
        for name, one in (("ece", whole), ("ece_alerts", alerts)):
            found[name] = one.sums.figure(partial(_error, one.bins), 0)._replace(cards=_cards(one))
        chance = error_by_chance(said.scores[said.alerted], ALERT_BINS, draws.plan.seed)
        found["ece_alerts_by_chance"] = DrawnFigure(np.nan if chance is None else chance, np.empty(0), 0)
        figures.append(found)
    return figures, bins


def alert_error(fraud: Bools, scores: Floats, bins: int) -> float | None:
    """Return the expected calibration error of alerts of shape (n,) in bins of equal count; None without alerts."""
    return calibration_error(reliability(fraud, scores, equal_counts(scores, bins))) if len(scores) else None


def error_by_chance(scores: Floats, bins: int, seed: int) -> float | None:
    """Return the mean calibration error of outcomes drawn by the scores themselves: what a perfect calibration shows.

    Few alerts in a bin have a share of frauds that differs from their mean score by chance. Payments are drawn each for
    itself; frauds of one card come together, so chance makes somewhat more of it. None without alerts.
    """
    rng = np.random.default_rng(seed)
    if not len(scores):
        return None
    found = [alert_error(rng.random(len(scores)) < scores, scores, bins) for _ in range(CHANCE_DRAWS)]
    return float(np.mean([one for one in found if one is not None]))


def _error(bins: int, sums: Floats) -> Floats:
    """Return the expected calibration error of Naeini, Cooper and Hauskrecht (2015): see `metrics.calibration`."""
    payments, scores, frauds = (sums[..., part * bins : (part + 1) * bins] for part in range(3))
    return ratios(np.abs(scores - frauds).sum(axis=-1), payments.sum(axis=-1))


def _cards(one: BinnedScores) -> int:
    return int((one.sums.by_card[:, : one.bins].sum(axis=1) > 0).sum())


def reliability_bins(one: BinnedScores, plan: BootstrapPlan) -> tuple[EvaluatedBin, ...]:
    """Return the bins that have payments, by rising score."""
    bins, totals = one.bins, one.sums.by_card.sum(axis=0)
    found = []
    for place in range(bins):
        payments, scores, frauds = place, bins + place, 2 * bins + place
        if not totals[payments]:
            continue
        share = one.sums.figure(partial(_share, frauds, payments), payments)
        found.append(
            EvaluatedBin(
                low=float(one.edges[place]),
                high=float(one.edges[place + 1]),
                payments=int(totals[payments]),
                mean_score=float(totals[scores] / totals[payments]),
                fraud_share=share.figure(plan),
            )
        )
    return tuple(found)


def _share(frauds: int, payments: int, sums: Floats) -> Floats:
    return ratios(sums[..., frauds], sums[..., payments])
