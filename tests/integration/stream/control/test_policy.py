"""Costs and rules on Kafka, replayed from records and logs, and promotions that keep or leave a budget of alerts."""

import json
from collections import Counter
from itertools import count, islice

import msgspec

from fraudstream_client.outputs import Score
from metrics.money import CostMatrix
from models.artifact import read_artifact, with_policy, write_artifact
from models.cost_policy import CostPolicy
from models.list_rules import FeatureBound, ListRule, RuleAction, RuleSet
from models.policy import Policy
from models.repository import Repository
from models.volume import ExpectedVolume
from support.fleet.fleet import Fleet, until
from support.fleet.payments import model_for_tests, payment, put_model

COSTS = CostPolicy({"EUR": CostMatrix(300, 0, 200, 500)})
RULES = RuleSet(
    (
        ListRule("stolen", RuleAction.BLOCK, cards=("card-1", "card-2")),
        ListRule("fast", RuleAction.REVIEW, features={"card_count_10m": FeatureBound(above=3.0)}),
        ListRule("far", RuleAction.REVIEW, countries=("NG",)),
        ListRule("known", RuleAction.ALLOW, cards=("card-3",)),
    )
)
CALM = Policy(review_at=0.5, decline_at=0.8)


def put(fleet: Fleet, seed: int, alerts: float, *, ruled: bool = False) -> str:
    """Store a model that expects this share of alerts, with costs and rules if asked for."""
    found = read_artifact(model_for_tests(seed=seed, policy=CALM))
    volume = ExpectedVolume(
        since="2026-01-01T00:00:00.000Z", until="2026-02-01T00:00:00.000Z", payments=40_000,
        review_share=alerts, decline_share=0.0, alerts_a_day=12.0, busiest_day=20,
    )  # fmt: skip
    costs, rules = (COSTS, RULES) if ruled else (None, None)
    manifest = with_policy(found.manifest, CALM, costs, rules, volume)
    return Repository(fleet.models).put(write_artifact(msgspec.structs.replace(found, manifest=manifest)))


def decided(fleet: Fleet, number: int) -> list[Score]:
    """Publish payments of a few cards, some of them abroad, and return their scores."""
    places = ("NG", "FR")
    numbers = islice(count(), number)
    fleet.publish(payment(at, cards=12, merchant_country=places[at % 5 > 0]) for at in numbers)
    return fleet.await_scores(number)


def test_rules_and_costs_decide_and_every_decision_comes_out_of_the_logs_again(standing: Fleet) -> None:
    standing.promote(put(standing, 0, 0.01, ruled=True))
    scores = decided(standing, 400)
    for one in scores:
        by = None if one.overruled is None else one.overruled.by
        assert one.merchant_country in {"NG", "FR"}
        if one.card_id in {"card-1", "card-2"}:
            assert (one.decision, by) == ("decline", "rule:stolen")
        elif by in {"rule:fast", "rule:far"}:
            assert (one.decision, one.said) == ("review", "approve")
        elif by == "rule:known":
            assert (one.card_id, one.decision) == ("card-3", "approve")
        assert one.decided_by == "model"
    found = Counter(one.overruled.by for one in scores if one.overruled)
    assert {"rule:stolen", "rule:fast"} <= set(found)
    metrics = standing.workers[0].get("/metrics")[1]
    assert f'fraudstream_overruled_total{{arm="live",by="rule:stolen"}} {found["rule:stolen"]}' in metrics
    diff = json.loads(standing.cli("score", "--topic", "--diff", "--json").stdout)
    assert (diff["compared"], diff["equal"], diff["unexplained"]) == (400, 400, 0), diff
    assert diff["overruled"] == dict(found)
    one = next(score for score in scores if score.overruled)
    again = json.loads(standing.cli("replay", one.transaction_id, "--json").stdout)
    assert again["equal"], again
    assert [step["step"] for step in again["from_record"]][-1] == "list rules"


def test_a_promotion_within_the_budget_is_accepted_and_one_beyond_it_refused(standing: Fleet) -> None:
    standing.promote(put(standing, 0, 0.005))
    near, far = put(standing, 1, 0.0055), put(standing, 2, 0.009)
    limits = standing.command("limits", "set", "--alert-budget", "1%", "--volume-change", "20%")["limits"]
    assert limits == {"volume_budget": {"alert_share": 0.01, "change": 0.2}}
    refused = standing.cli("model", "promote", far, "--reason", "test")
    assert refused.returncode == 1
    assert "alerts would move from 0.5 % to 0.9 % of 40,000 payments (manifest)" in refused.stderr
    accepted = standing.command("model", "promote", near)
    assert accepted["evidence"]["volume"]["alert_share"] == 0.0055
    until(lambda: standing.events("accepted")[-1]["model"] == near, "it is live")
    bare = put_model(standing.models, seed=9)
    unknown = standing.cli("model", "promote", bare, "--reason", "test")
    assert (unknown.returncode, "its manifest states none" in unknown.stderr) == (1, True)
    assert standing.command("model", "promote", bare, "--force")["kind"] == "accepted"
