"""The report of an experiment on a fleet, counted again from the topics in plain Python, to the cent."""

import json
from typing import Any

import pytest

from fraudstream_client.validity import ValidScores
from models.policy import Policy
from models.times import format_time
from support.experiment_recount import DECISIONS, Recount, RecountTerms, ms, payments_of
from support.fleet.arms import Rollout
from support.fleet.fleet import Fleet
from support.fleet.payments import START_MS, payment, put_model

PAYMENTS, CARDS = 1_500, 150
EXCLUDED = ("card-3", "card-77")
DECLINES_MANY, REVIEWS_MANY = Policy(review_at=0.02, decline_at=0.04), Policy(review_at=0.02, decline_at=0.99)
TERMS = RecountTerms(card_days=0.004, maturity_days=0.008, cap_minor=20_000)
OPTIONS = ("--card-days", "0.004", "--maturity-days", "0.008", "--cap", "EUR 200", "--alpha", "0.1")


def label(number: int, *, fraud: bool, after_s: int) -> tuple[str, bytes]:
    """Return a label of payment `number`, some seconds after it."""
    one = payment(number, cards=CARDS)
    value = {
        "transaction_id": one["transaction_id"],
        "card_id": one["card_id"],
        "fraud": fraud,
        "labelled_at": format_time(START_MS + number * 1_000 + after_s * 1_000),
        "reported_by": "analyst",
    }
    return one["card_id"], json.dumps(value).encode()


def labels() -> list[tuple[str, bytes]]:
    """Return labels of most payments; some are corrected later."""
    found = [label(number, fraud=number % 4 == 0, after_s=100) for number in range(PAYMENTS) if number % 10 < 8]
    return found + [label(number, fraud=number % 3 == 0, after_s=150) for number in range(0, PAYMENTS, 20)]


def reported(fleet: Fleet, *arguments: str) -> dict[str, Any]:
    done = fleet.cli("split", "report", "--json", *OPTIONS, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def run(fleet: Fleet, *arguments: str) -> str:
    done = fleet.cli("model", *arguments, "--reason", "test")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def test_the_report_of_an_experiment_is_that_of_a_recount_from_the_topics(fleet: Fleet) -> None:
    fleet.go_live(2)
    new, other = (
        put_model(fleet.models, seed=seed, policy=policy) for seed, policy in ((1, DECLINES_MANY), (2, REVIEWS_MANY))
    )
    lots = ("--let-through", "30%", "--let-through-cap", "EUR 900000 a day", "--reason", "test")
    assert fleet.cli("limits", "set", *lots).returncode == 0
    before = [payment(number, cards=CARDS) for number in range(PAYMENTS, PAYMENTS + 50)]
    fleet.publish(before)
    fleet.await_scores(len(before))
    arms = ("--arm", f"new={new[:12]}:30%", "--arm", f"other={other}:20%")
    excluded = (part for card in EXCLUDED for part in ("--exclude", card))
    run(fleet, "split", *arms, *excluded, "--salt", "s")
    fleet.publish(payment(number, cards=CARDS) for number in range(PAYMENTS))
    fleet.await_scores(PAYMENTS + len(before))
    fleet.publish(labels(), "labels")
    fleet.await_outcomes(len(labels()))
    found = reported(fleet)
    recount = recounted(fleet, found)
    assert_same(found, recount)
    assert recount.counts("new")["passed"] > 0, "lots let some declines through"
    assert recount.counts("new")["unobserved"] > 0
    assert recount.counts("other")["alerts"] > 0
    shown = run(fleet, "end-split", "--winner", "new")
    assert "the report names" in shown
    (ended,) = [event for event in fleet.events("accepted") if event["command"] == "end_split"]
    assert ended["evidence"]["report"]["experiment"] == found["experiment"]
    assert_over(fleet, found)


def recounted(fleet: Fleet, found: dict[str, Any]) -> Recount:
    """Count the payments of the experiment from the topics."""
    revision, divided = found["experiment"], division(fleet)
    valid = [record for record, _ in ValidScores[Any]().of(fleet.read("scores"))]
    scores = [score for score in (json.loads(one.value) for one in valid) if score["revision"] == revision]
    assert len(scores) == PAYMENTS
    assert all(score["arm"] == divided.arm(score["card_id"]) for score in scores)
    outcomes = [json.loads(record.value) for record in fleet.read("outcomes")]
    payments = payments_of(scores, outcomes, EXCLUDED)
    assert found["excluded_decisions"] == len(scores) - len(payments) > 0
    every = [json.loads(one.value) for one in valid]
    as_of_ms = max([ms(one["occurred_at"]) for one in every] + [ms(one["labelled_at"]) for one in outcomes])
    assert ms(found["as_of"]) == as_of_ms
    return Recount(payments, as_of_ms, TERMS)


def division(fleet: Fleet) -> Rollout:
    """Return who decides in the experiment, by the contract's text."""
    (event,) = [one for one in fleet.events("accepted") if one["command"] == "split"]
    return Rollout("", None, 0, event["salt"], event["arms"], frozenset(event["exclude"]))


def assert_same(found: dict[str, Any], recount: Recount) -> None:
    """Assert that all figures by arm, and the losses of final cards, are those of the recount."""
    assert [one["arm"] for one in found["figures"]] == ["new", "other", "live"]
    for one in found["figures"]:
        counts, money = recount.counts(one["arm"]), one["money"]["EUR"]
        for name in ("cards", "decisions", "labelled", "used", "unobserved", "alerts", "frauds", "caught"):
            assert one[name] == counts[name], (one["arm"], name)
        assert one["unobserved_minor"].get("EUR", 0) == counts["unobserved_minor"]
        assert one["precision"]["value"] == ratio(counts["caught"], counts["alerts"])
        assert one["recall"]["value"] == ratio(counts["caught"], counts["frauds"])
        assert (one["let_through"]["declines"], one["let_through"]["passed"]) == (counts["declines"], counts["passed"])
        for side in ("said", "decided"):
            mix = [one[side][each] for each in ("approved", "reviewed", "declined")]
            assert dict(zip(DECISIONS, mix, strict=True)) == dict(zip(DECISIONS, counts[side], strict=True))
            assert money[side]["stopped_minor"] == counts["stopped_minor"][side]
            assert money[side]["lost_minor"] == counts["lost_minor"][side]
        assert (money["fraud_minor"], money["said"]["loss_minor"]) == (counts["fraud_minor"], counts["loss_minor"])
        assert found["sample_ratio"]["cards"][one["arm"]] == counts["cards"]
    cards = recount.final_cards()
    assert found["cards"]["final"] == len(cards) > 20
    for name, loss in found["standings"]["loss_per_card"].items():
        own = [(min(low, TERMS.cap_minor), min(high, TERMS.cap_minor)) for arm, low, high in cards if arm == name]
        assert loss["cards"] == len(own)
        assert loss["low"] == pytest.approx(sum(low for low, _ in own) / len(own), abs=1e-6)
        assert loss["high"] == pytest.approx(sum(high for _, high in own) / len(own), abs=1e-6)


def ratio(part: int, whole: int) -> Any:
    """Return a ratio; None where it is undefined."""
    return pytest.approx(part / whole) if whole else None


def assert_over(fleet: Fleet, before: dict[str, Any]) -> None:
    """Assert that the report of an experiment that is over says so, and has the same payments."""
    after = reported(fleet, "--experiment", str(before["experiment"]))
    assert (after["ended_by"], after["ended_for"]) == ("end_split", "new")
    assert after["cards"]["cut_off"] is not None
    assert [one["money"] for one in after["figures"]] == [one["money"] for one in before["figures"]]
    done = fleet.cli("split", "report", "--experiment", "1")
    assert (done.returncode, "no experiment began with revision 1" in done.stderr) == (1, True)
    page = fleet.folder / "report.html"
    assert fleet.cli("split", "report", *OPTIONS, "--report", str(page)).returncode == 0
    assert page.read_text().startswith("<!DOCTYPE html>")
