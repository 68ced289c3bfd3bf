"""The report of an experiment as one JSON object; money is in minor units of the currency that is named beside it."""

from typing import Any

from fraudstream.ops.rollout.experiments.comparison import ArmDifference, Standings, arm_losses
from fraudstream.ops.rollout.experiments.figures import ArmFigures, ArmMoney, BoundedFigure, DecisionMix
from fraudstream.ops.rollout.experiments.report import ExperimentReport
from metrics.intervals import Interval
from metrics.money import MoneySums
from metrics.propensity import WeightedRatio
from models.times import format_time


def facts(report: ExperimentReport) -> dict[str, Any]:
    """Return a report as plain JSON."""
    experiment, terms, losses = report.experiment, report.terms, report.losses
    return {
        "experiment": experiment.first,
        "arms": {arm.name: {"model": experiment.models[arm.name], "share_bp": arm.share_bp} for arm in experiment.arms},
        "salt": experiment.split.salt,
        "excluded_cards": len(experiment.split.exclude),
        "since": format_time(experiment.since_ms),
        "until": None if experiment.until_ms is None else format_time(experiment.until_ms),
        "ended_by": experiment.ended_by and str(experiment.ended_by),
        "ended_for": experiment.winner,
        "as_of": format_time(terms.maturity.as_of_ms),
        "winner": report.winner,
        "currency": report.currency,
        "terms": {
            "alpha": terms.alpha,
            "alpha_each": report.standings.alpha_each,
            "card_days": terms.card_days,
            "maturity_days": terms.maturity.maturity_days,
            "cap_minor": terms.cap_minor,
            "alerts_a_day": terms.alerts_a_day,
            "label_share": terms.label_share,
            "costs": {name: getattr(terms.costs, name) for name in terms.costs.__slots__},
            "cards_bp": report.cards_bp,
        },
        "sample_ratio": {
            "cards": report.ratio.cards,
            "expected": report.ratio.expected,
            "e": report.ratio.e,
            "alpha": report.ratio.alpha,
            "breached": report.ratio.breached,
        },
        "excluded_decisions": report.excluded,
        "misassigned_decisions": report.misassigned,
        "cards": {"final": len(losses.arms), "waiting": len(losses.waiting_ms), "cut_off": losses.cut_off},
        "cohorts": [
            {
                "begin": format_time(begin_ms),
                "cards": len(own.arms),
                "loss_per_card": {
                    name: [loss.low, loss.high]
                    for name, loss in arm_losses(own, experiment.arms, terms.cap_minor).items()
                },
            }
            for begin_ms, own in losses.cohorts(terms)
        ],
        "figures": [_arm(one, report) for one in report.figures],
        "standings": _standings(report.standings),
    }


def _arm(one: ArmFigures, report: ExperimentReport) -> dict[str, Any]:
    declines = one.declines
    return {
        "arm": one.name,
        "share_bp": one.share_bp,
        "cards": one.cards,
        "decisions": one.said.total,
        "said": _mix(one.said),
        "decided": _mix(one.decided),
        "stood_in": one.stood_in,
        "labelled": one.coverage.labelled,
        "used": one.coverage.used,
        "young": one.coverage.young,
        "unobserved": one.coverage.unobserved,
        "unobserved_minor": {report.currencies[code]: sum_ for code, sum_ in one.coverage.unobserved_minor.items()},
        "alerts": one.alerts.alerts,
        "frauds": one.alerts.frauds,
        "caught": one.alerts.caught,
        "precision": _bounded(one.precision),
        "recall": _bounded(one.recall),
        "card_precision": {"value": one.card_precision, "cards_a_day": one.card_budget},
        "let_through": {
            "declines": declines.coverage.events,
            "covered": declines.coverage.covered,
            "declined_minor": declines.coverage.amount_minor,
            "covered_minor": declines.coverage.covered_minor,
            "passed": declines.let_through,
            "precision_of_declines": _weighted(declines.precision),
            "recall": _weighted(declines.recall),
        },
        "money": {report.currencies[code]: _money(money) for code, money in one.money.items()},
    }


def _mix(mix: DecisionMix) -> dict[str, Any]:
    return {**mix._asdict(), "alert_rate": mix.alert_rate, "decline_rate": mix.decline_rate}


def _money(money: ArmMoney) -> dict[str, Any]:
    return {
        "fraud_minor": money.said.fraud_minor,
        "said": _sums(money.said),
        "decided": _sums(money.decided),
        "savings": None if money.savings is None else _bounded(money.savings),
        "loss_per_card_minor": money.loss_per_card_minor,
        "value_detection_rate": _bounded(money.value_detection_rate),
    }


def _sums(sums: MoneySums) -> dict[str, int]:
    return {"lost_minor": sums.lost_minor, "stopped_minor": sums.stopped_minor, "loss_minor": sums.loss_minor}


def _bounded(figure: BoundedFigure) -> dict[str, Any]:
    return {"value": figure.value, "interval": _ends(figure.interval), "bounds": _ends(figure.bounds)}


def _weighted(ratio: WeightedRatio) -> dict[str, Any]:
    return {"value": ratio.value, "interval": _ends(ratio.interval)}


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)


def _standings(standings: Standings) -> dict[str, Any]:
    return {
        "loss_per_card": {name: loss._asdict() for name, loss in standings.arms.items()},
        "differences": [_difference(one) for one in standings.differences],
        "missing": [one._asdict() for one in standings.missing],
    }


def _difference(one: ArmDifference) -> dict[str, Any]:
    return {"first": one.first, "second": one.second, "interval_minor": _ends(one.interval), "lower": one.lower}
