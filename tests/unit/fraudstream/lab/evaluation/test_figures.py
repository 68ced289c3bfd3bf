"""Every figure of an evaluation equals a recount in plain Python or scikit-learn's."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from fraudstream.lab.evaluation.calibration import calibration_figures, error_by_chance, reliability_bins
from fraudstream.lab.evaluation.draws import CardDraws
from fraudstream.lab.evaluation.figures import (
    BudgetAlerts,
    CurrencyRows,
    Figures,
    ScoredBy,
    budget_figures,
    card_figures,
    decision_figures,
    differences,
    money_figures,
    ranking_figures,
)
from fraudstream.lab.evaluation.request import EvaluationTerms, UnstatedCostsError
from fraudstream.lab.evaluation.whole import measure_whole
from fraudstream.ops.rollout.outcomes.costs import Cost, StatedCosts
from metrics.alerts import ScoredRows, first_hit_recall
from metrics.card_precision import card_precision
from metrics.money import DecisionCode
from support.evaluation_cases import CURRENCIES, DAY_MS, payments, said

TERMS = EvaluationTerms(budgets=(5, 40), cards_a_day=10, draws=30)
OF = payments()
SAID = (said(OF), said(OF, seed=2, skill=1.0))
DRAWS = CardDraws(OF.card, TERMS.plan)


def values(figures: Figures) -> dict[str, float]:
    return {name: one.value for name, one in figures.items()}


def test_ranking_is_scikit_learns_without_blocked_cards() -> None:
    kept = ~OF.blocked
    for found, one in zip(ranking_figures(OF, SAID, DRAWS), SAID, strict=True):
        assert values(found) == pytest.approx(
            {
                "auc": roc_auc_score(OF.fraud[kept], one.scores[kept]),
                "average_precision": average_precision_score(OF.fraud[kept], one.scores[kept]),
            }
        )


def test_ranking_counts_blocked_cards_where_the_others_have_no_fraud() -> None:
    of = OF._replace(blocked=OF.fraud | OF.blocked)
    (found,) = ranking_figures(of, SAID[:1], DRAWS)
    assert found["auc"].value == pytest.approx(roc_auc_score(OF.fraud, SAID[0].scores))


def test_card_precision_is_that_of_the_library_of_metrics() -> None:
    kept = ~OF.blocked
    days = OF.occurred_ms[kept] // DAY_MS
    for found, one in zip(card_figures(OF, SAID, TERMS), SAID, strict=True):
        rows = ScoredRows(days, OF.card[kept], one.scores[kept], OF.fraud[kept])
        assert found["card_precision"].value == card_precision(rows, 10).mean


def test_figures_of_decisions_are_recounted() -> None:
    for found, one in zip(decision_figures(OF, SAID, DRAWS), SAID, strict=True):
        alerts = [decision != DecisionCode.APPROVE for decision in one.decisions.tolist()]
        caught = sum(alert and fraud for alert, fraud in zip(alerts, OF.fraud.tolist(), strict=True))
        rate = OF.fraud.mean()
        loss = log_loss(OF.fraud, np.clip(one.scores, 1e-15, 1 - 1e-15))
        assert values(found) == pytest.approx(
            {
                "precision": caught / sum(alerts),
                "recall": caught / OF.fraud.sum(),
                "first_hit_recall": first_hit_recall(OF.first_fraud, np.array(alerts)),
                "alert_share": sum(alerts) / len(alerts),
                "log_loss": loss,
                "log_loss_below_constant": -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate)) - loss,
                "brier": brier_score_loss(OF.fraud, one.scores),
                "expected_to_observed": one.scores.sum() / OF.fraud.sum(),
            }
        )


def test_at_a_budget_the_highest_scores_of_each_day_are_alerts() -> None:
    alerts = [BudgetAlerts.of(OF, one.scores, TERMS.budgets) for one in SAID]
    for found, one in zip(budget_figures(OF, alerts, DRAWS), SAID, strict=True):
        for budget in TERMS.budgets:
            chosen: list[int] = []
            for day in np.unique(OF.occurred_ms // DAY_MS).tolist():
                rows = np.flatnonzero(OF.occurred_ms // DAY_MS == day).tolist()
                chosen += sorted(rows, key=lambda row: -one.scores[row])[:budget]
            caught = sum(bool(OF.fraud[row]) for row in chosen)
            assert found[f"precision@{budget}"].value == pytest.approx(caught / len(chosen))
            assert found[f"recall@{budget}"].value == pytest.approx(caught / OF.fraud.sum())
            hits = sum(bool(OF.first_fraud[row]) for row in chosen)
            assert found[f"first_hit_recall@{budget}"].value == pytest.approx(hits / OF.first_fraud.sum())


def test_money_is_recounted_payment_by_payment_in_each_currency() -> None:
    costs = StatedCosts({"EUR": Cost(300, 0), "JPY": Cost(50, 0)}, {"EUR": Cost(200, 500), "JPY": Cost(20, 100)})
    terms = EvaluationTerms(budgets=(5,), costs=costs, draws=20)
    alerts = [BudgetAlerts.of(OF, one.scores, terms.budgets) for one in SAID]
    rows = CurrencyRows.each(OF, CURRENCIES)
    assert [one.currency for one in rows] == ["EUR", "JPY"]
    for one in rows:
        review, decline = costs.review[one.currency], costs.decline[one.currency]
        for place, found in enumerate(money_figures(one, SAID, alerts, costs.of(one.currency)[0], terms.plan)):
            loss = fraud = stopped = at_budget = declined_all = 0
            for row in one.rows.tolist():
                amount, is_fraud = int(OF.amount_minor[row]), bool(OF.fraud[row])
                wrong = 0 if is_fraud else decline.fixed_minor + (amount * decline.share_bp + 5_000) // 10_000
                decision = SAID[place].decisions[row]
                loss += (amount * is_fraud, review.fixed_minor, wrong)[decision]
                fraud += amount * is_fraud
                stopped += amount * is_fraud * (decision != DecisionCode.APPROVE)
                at_budget += amount * is_fraud * bool(alerts[place].alerted[5][row])
                declined_all += wrong
            trivial = min(fraud, review.fixed_minor * len(one.rows), declined_all)
            assert values(found) == pytest.approx(
                {
                    f"savings.{one.currency}": 1 - loss / trivial,
                    f"value_detection_rate.{one.currency}": stopped / fraud,
                    f"value_detection_rate@5.{one.currency}": at_budget / fraud,
                }
            )


def test_the_error_of_calibration_is_recounted_over_all_payments_and_among_alerts() -> None:
    figures, bins = calibration_figures(OF, SAID, DRAWS)
    for found, (every, alerts), one in zip(figures, bins, SAID, strict=True):
        for name, binned, which in (("ece", every, np.ones(len(OF.fraud), bool)), ("ece_alerts", alerts, one.alerted)):
            total, scores, fraud = 0.0, one.scores[which], OF.fraud[which]
            for low, high in zip(binned.edges[:-1], binned.edges[1:], strict=True):
                inside = (scores >= low) & ((scores < high) | (high == 1))
                total += abs(fraud[inside].sum() - scores[inside].sum())
            assert found[name].value == pytest.approx(total / len(scores))
            rows = reliability_bins(binned, TERMS.plan)
            assert sum(row.payments for row in rows) == len(scores)
            expected = sum((row.fraud_share.value or 0) * row.payments for row in rows)
            assert expected == pytest.approx(fraud.sum())


def test_a_perfect_calibration_shows_the_error_that_chance_makes() -> None:
    random = np.random.default_rng(5)
    scores = random.random(400)
    errors = []
    for _ in range(60):
        of = payments(rows=400)._replace(fraud=random.random(400) < scores)
        one = SAID[0].where(np.arange(400))._replace(scores=scores, decisions=np.ones(400, np.int64))
        ((found,), _) = calibration_figures(of, [one], CardDraws(of.card, EvaluationTerms(draws=1).plan))
        errors.append(found["ece_alerts"].value)
    assert error_by_chance(scores, 10, 1) == pytest.approx(np.mean(errors), rel=0.1)
    assert error_by_chance(np.empty(0), 10, 1) is None


def test_differences_are_drawn_in_pairs_and_narrower_than_two_intervals() -> None:
    other = np.random.default_rng(0).random(len(OF.fraud)) < 0.1
    nearly = ScoredBy(*(np.where(other, two, one) for one, two in zip(*SAID, strict=True)))
    whole = measure_whole(OF, (SAID[0], nearly), CURRENCIES, EvaluationTerms(draws=60), lambda *_: None)
    first, second = whole.figures
    found = differences(whole.figures)
    assert set(found) == set(first) == set(second)
    for name, one in found.items():
        assert one.value == pytest.approx(first[name].value - second[name].value)
        assert one.draws == pytest.approx(first[name].draws - second[name].draws)
    for name in ("recall", "average_precision", "savings.EUR"):
        assert found[name].draws.std() < 0.7 * math.hypot(first[name].draws.std(), second[name].draws.std())
    assert found["average_precision"].figure(TERMS.plan).interval is not None


def test_the_curve_ends_at_a_recall_of_all_frauds() -> None:
    (curve,) = measure_whole(OF, SAID[:1], CURRENCIES, EvaluationTerms(draws=1), lambda *_: None).curves
    assert len(curve) <= 100
    assert curve[-1].recall == 1.0
    kept = ~OF.blocked
    for point in curve:
        alerts = SAID[0].scores[kept] >= point.score
        assert point.precision == pytest.approx(OF.fraud[kept][alerts].mean())
        assert point.recall == pytest.approx(OF.fraud[kept][alerts].sum() / OF.fraud[kept].sum())


def test_costs_that_are_stated_for_another_currency_are_refused() -> None:
    terms = EvaluationTerms(costs=StatedCosts({"EUR": Cost(300, 0)}), draws=1)
    with pytest.raises(UnstatedCostsError, match="JPY, but the review cost is stated for EUR"):
        measure_whole(OF, SAID, CURRENCIES, terms, lambda *_: None)


def test_invalid_terms_are_named_all_at_once() -> None:
    with pytest.raises(ValueError, match=r"budgets: .*; cards_a_day: .*; draws: "):
        EvaluationTerms(budgets=(0,), cards_a_day=0, draws=0)
