"""Which reasons are shown: by code, strongest first, at most four; rules and caps by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.reasons import ReasonTable
from fraudstream.ops.watch.explanations.reasons import ChosenReasons, ModelPart, chosen_reasons
from fraudstream_client.outputs import Decision, Overruled, Score
from support.explanations.alerts import scored

TABLE = ReasonTable()
NAMES = (
    "card_count_10m",
    "card_count_1h",
    "card_amount_sum_1d",
    "is_night",
    "merchant_fraud_share_delayed_30d",
    "card_merchants_1h",
    "card_countries_7d",
    "mine",
    "yours",
)
VALUES = dict(zip(NAMES, (7.0, 8.0, 120.5, 1.0, 0.25, 3.0, 2.0, None, 4.0), strict=True))


def alert(**changes: object) -> Score:
    return scored(None, 1, **({"decided_by": "model", "score": 0.9, "features": VALUES} | changes))


def chosen(*contributions: float, base: float = -5.0, **changes: object) -> ChosenReasons:
    padded = (*contributions, *[0.0] * (len(NAMES) - len(contributions)))
    return chosen_reasons(TABLE, alert(**changes), ModelPart(base + sum(padded), base, NAMES, padded))


def test_the_contributions_of_one_code_are_summed_and_the_strongest_feature_is_named() -> None:
    first, second = chosen(1.0, 2.0, 2.5).reasons
    assert (first.code, first.feature, first.value, first.contribution) == ("card_velocity", "card_count_1h", 8.0, 3.0)
    assert first.text == "Payments with this card within 1 h, this one included: 8"
    assert (second.code, second.contribution) == ("card_spending", 2.5)


def test_features_of_one_code_that_cancel_each_other_are_no_reason() -> None:
    found = chosen(3.0, -3.5, 1.0)
    assert [one.code for one in found.reasons] == ["card_spending"]
    assert found.rest == -0.5


def test_at_most_four_are_shown_and_the_rest_is_a_number() -> None:
    found = chosen(0.1, 0.0, 0.2, 0.3, 0.4, 0.5, 0.6)
    assert [one.code for one in found.reasons] == [
        "card_location",
        "card_merchants",
        "merchant_risk",
        "time_of_payment",
    ]
    assert found.rest == pytest.approx(0.3)


def test_features_without_a_code_share_one() -> None:
    (found,) = chosen(*[0.0] * 7, 1.0, 2.0).reasons
    assert (found.code, found.feature, found.value, found.contribution) == ("other", "yours", 4.0, 3.0)


def test_equal_contributions_come_in_the_order_of_the_table() -> None:
    assert [one.code for one in chosen(0.0, 1.0, 1.0, 1.0).reasons] == [
        "card_velocity",
        "card_spending",
        "time_of_payment",
    ]


@given(st.lists(st.floats(-10, 10), min_size=len(NAMES), max_size=len(NAMES)), st.floats(-10, 10))
def test_base_reasons_and_rest_sum_to_the_raw_score(contributions: list[float], base: float) -> None:
    part = ModelPart(base + sum(contributions), base, NAMES, contributions)
    found = chosen_reasons(TABLE, alert(), part)
    shown = [one.contribution or 0.0 for one in found.reasons]
    assert base + sum(shown) + (found.rest or 0.0) == pytest.approx(part.margin, abs=1e-9)
    assert len(shown) <= 4
    assert shown == sorted(shown, reverse=True)
    assert all(one > 0 for one in shown)
    assert len({one.code for one in found.reasons}) == len(shown)


def test_a_rule_that_overruled_a_review_comes_first_and_three_of_the_models_follow() -> None:
    overruled = Overruled("rule:block-list", Decision.REVIEW)
    found = chosen(0.1, 0.0, 0.2, 0.3, 0.4, decision=Decision.DECLINE, overruled=overruled)
    first, *others = found.reasons
    assert (first.code, first.feature, first.value, first.contribution) == ("rule:block-list", None, None, None)
    assert first.text == "Rule block-list changed the decision from review to decline"
    assert [one.code for one in others] == ["merchant_risk", "time_of_payment", "card_spending"]
    assert found.rest == pytest.approx(0.1)


def test_a_rule_that_overruled_an_approval_is_the_only_reason() -> None:
    overruled = Overruled("rule:amount", Decision.APPROVE)
    found = chosen(1.0, 2.0, decision=Decision.REVIEW, overruled=overruled)
    assert [one.code for one in found.reasons] == ["rule:amount"]
    assert (found.base, found.rest) == (-5.0, 3.0)


def test_the_cap_on_declines_is_named() -> None:
    overruled = Overruled("decline_cap", Decision.DECLINE)
    first, second = chosen(1.0, decision=Decision.REVIEW, overruled=overruled).reasons
    assert (first.code, first.text) == (
        "decline_cap",
        "The cap on declines changed the decision from decline to review",
    )
    assert second.code == "card_velocity"


def test_a_decision_by_rules_names_each_rule_that_holds_with_the_value() -> None:
    values = {"card_count_10m": 6.0, "card_amount_to_mean_30d": None, "card_count_1h": 15.0}
    found = chosen_reasons(TABLE, scored(None, 1, features=values, degraded=("no_model",)), None)
    (reason,) = found.reasons
    assert (reason.code, reason.feature, reason.value, reason.contribution) == (
        "rules:card_count_10m",
        "card_count_10m",
        6.0,
        None,
    )
    assert reason.text == "Decided by rules, since no model could: card_count_10m is 6, above 5"
    assert (found.base, found.rest) == (None, None)


def test_a_decision_by_rules_without_features_says_why_no_model_decided() -> None:
    (reason,) = chosen_reasons(TABLE, scored(None, 1, degraded=("undecidable",)), None).reasons
    assert reason.code == "rules"
    assert reason.text == "Decided by rules, since no model could (undecidable)"
