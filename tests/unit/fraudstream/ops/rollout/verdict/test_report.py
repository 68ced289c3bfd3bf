"""The whole verdict: figures against a recount in plain Python, the gates in their order, and what decides."""

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given

from fraudstream.ops.rollout.outcomes.labels import payment_hash
from fraudstream.ops.rollout.verdict.estimate import EstimateBasis
from fraudstream.ops.rollout.verdict.gates import GateName, VerdictWord, decide
from fraudstream.ops.rollout.verdict.report import VerdictReport, judge_challenger
from fraudstream.ops.rollout.verdict.swaps import RowTimeReport
from fraudstream.ops.rollout.verdict.terms import VerdictOptions
from fraudstream_client.outputs import Decision
from support.outcome_cases import LIVE_DIGEST, Payment
from support.verdict_cases import OPTIONS, Compared, compared_payments, decision_cost, read_of, saved, used


def judged(compared: list[Compared], options: VerdictOptions = OPTIONS, **changes: Any) -> VerdictReport:
    return judge_challenger(read_of(compared, **changes), options)


@given(compared_payments())
def test_the_figures_of_both_models_are_those_of_a_plain_recount(compared: list[Compared]) -> None:
    report = judged(compared)
    found, known = report.matured, used(compared)
    frauds = [one for one in known if one.payment.fraud]
    assert (found.payments, found.frauds) == (len(known), len(frauds))
    assert found.fraud_minor == sum(one.payment.amount_minor for one in frauds)
    for name, figures in (("live", found.live), ("challenger", found.challenger)):
        said = [(getattr(one, name), one.payment) for one in known]
        alerts = [one for decision, one in said if decision != "approve"]
        caught = [one for one in alerts if one.fraud]
        loss = sum(decision_cost(decision, one.amount_minor, fraud=one.fraud is True) for decision, one in said)
        assert (figures.alerts, figures.frauds_caught, figures.loss_minor) == (len(alerts), len(caught), loss)
        assert figures.precision.value == (pytest.approx(len(caught) / len(alerts)) if alerts else None)
        assert figures.recall.value == (pytest.approx(len(caught) / len(frauds)) if frauds else None)
        assert figures.fraud_stopped_minor == sum(one.amount_minor for one in caught)
        assert figures.fraud_lost_minor == found.fraud_minor - figures.fraud_stopped_minor
        trivial = min(
            sum(decision_cost(decision, one.payment.amount_minor, fraud=one.payment.fraud is True) for one in known)
            for decision in ("approve", "review", "decline")
        )
        assert figures.savings.value == (pytest.approx(1 - loss / trivial) if trivial else None)
    again = msgspec.json.decode(msgspec.json.encode(report.facts()))
    assert (again["verdict"], again["gate"]) == (report.verdict.value, report.gate.value)


@given(compared_payments())
def test_swaps_and_declines_are_counted_by_pair(compared: list[Compared]) -> None:
    found = judged(compared)
    differ = [one for one in compared if one.live != one.challenger]
    events = Counter((one.live, one.challenger) for one in differ)
    assert {(one.live.value, one.challenger.value): one.events for one in found.swaps} == events
    for swap in found.swaps:
        own = [one for one in differ if (one.live, one.challenger) == (swap.live, swap.challenger)]
        assert swap.cards == len({one.payment.card for one in own})
        assert swap.amount_minor == {"EUR": sum(one.payment.amount_minor for one in own)}
        assert swap.frauds == sum(one.payment.fraud is True for one in own)
        assert swap.genuine == sum(one.has_matured and not one.payment.fraud for one in own)
        assert swap.unobserved == sum(one.is_unobserved for one in own)
    expected = sorted((one.payment.amount_minor for one in differ), reverse=True)[:10]
    assert [one.amount_minor for one in found.largest] == expected
    otherwise = [one for one in differ if one.is_unobserved and one.live == "decline"]
    facts = found.declined.otherwise
    assert (facts.events, facts.amount_minor) == (len(otherwise), sum(one.payment.amount_minor for one in otherwise))
    assert facts.saved_if_fraud_minor == sum(saved(one, fraud=True) for one in otherwise)
    assert facts.saved_if_genuine_minor == sum(saved(one, fraud=False) for one in otherwise)
    assert found.declined.events == sum(one.is_unobserved for one in compared)


def world(cards: int = 1_200, *, fraud_each: int = 20, better: bool = True, score: float = 0.05) -> list[Compared]:
    """Return a payment of each card; live approves all, the challenger reviews frauds, or else what is none."""
    compared = []
    for at in range(cards):
        fraud = at % fraud_each == 0
        stops = fraud if better else at % fraud_each == 1
        payment = Payment(
            f"card-{at}", at / 100, "approve", "approve", True if fraud else None, at / 100 + 5, 40_000, score
        )
        compared.append(Compared(payment, "review" if stops else "approve"))
    return compared


LENIENT = VerdictOptions("EUR", others=dict(OPTIONS.others) | {"alerts_per_day": 10.0})


def test_a_challenger_that_is_proved_to_lose_less_is_promoted() -> None:
    found = judged(world(), LENIENT)
    assert [one.gate for one in found.gates] == list(GateName)
    assert (found.verdict, found.gate, [one.gate for one in found.gates if not one.passed]) == (
        VerdictWord.PROMOTE,
        GateName.LOSS,
        [],
    )
    assert found.loss.low_minor > 0
    assert found.matured.challenger.recall.value == 1
    assert found.live == {LIVE_DIGEST: 1_200}


def test_one_that_is_proved_to_lose_more_is_rejected() -> None:
    better = world()
    worse = [
        Compared(one.payment._replace(said=one.challenger, decided=one.challenger), one.payment.said) for one in better
    ]
    found = judged(worse, LENIENT)
    assert (found.verdict, found.gate) == (VerdictWord.REJECT, GateName.LOSS)
    assert found.loss.high_minor < 0


def test_a_reject_needs_coverage_the_same_opponent_and_labels_and_no_other_gate() -> None:
    worse = [
        Compared(one.payment._replace(said=one.challenger, decided=one.challenger), one.payment.said) for one in world()
    ]
    found = judged(worse, LENIENT)
    words = {
        name: decide(
            tuple(msgspec.structs.replace(one, passed=one.gate is not name) for one in found.gates), found.loss
        )
        for name in GateName
    }
    doubtful = (GateName.COVERAGE, GateName.OPPONENT, GateName.LABELS)
    assert {name for name, (word, _) in words.items() if word is VerdictWord.HOLD} == set(doubtful)
    assert [words[name] for name in doubtful] == [(VerdictWord.HOLD, name) for name in doubtful]
    assert {words[name] for name in GateName if name not in doubtful} == {(VerdictWord.REJECT, GateName.LOSS)}


@pytest.mark.parametrize(
    ("gate", "others", "changes"),
    [
        (GateName.COVERAGE, {}, {"eligible": 1_300}),
        (GateName.OPPONENT, {}, {"subject": "e" * 64}),
        (GateName.LATENCY, {"row_us": 20.0}, {}),
        (GateName.LATENCY, {"row_us": 20.0}, {"row_times": (RowTimeReport(21.0, "w"), RowTimeReport(2.0, "v"))}),
        (GateName.ALERTS, {"alerts_per_day": 1.0}, {}),
        (GateName.LABELS, {}, {"score": 0.5}),
    ],
)
def test_each_gate_holds_what_would_be_promoted(gate: GateName, others: Any, changes: Any) -> None:
    options = VerdictOptions("EUR", others=dict(LENIENT.others) | others)
    compared = world(score=changes.pop("score", 0.05))
    if "subject" in changes:
        changes["subject"] = read_of(compared).subject._replace(live_now=changes["subject"])
    found = judged(compared, options, **changes)
    assert (found.verdict, found.gate) == (VerdictWord.HOLD, gate)
    failed = next(one for one in found.gates if one.gate is gate)
    assert failed.advice
    assert not failed.passed


def test_without_labels_and_age_nothing_is_promoted_and_the_estimate_says_what_it_rests_on() -> None:
    young = [
        one._replace(payment=one.payment._replace(day=99 - one.payment.day, fraud=None)) for one in world(cards=900)
    ]
    found = judged(young, LENIENT)
    assert (found.verdict, found.gate) == (VerdictWord.HOLD, GateName.LABELS)
    assert (found.matured.payments, found.loss.final) == (0, 0)
    assert found.estimate.basis is EstimateBasis.PROBABILITIES
    assert found.estimate.payments == 900


def test_differences_beyond_the_cap_that_turn_the_sum_hold() -> None:
    """The challenger stops many small frauds, and approves a few very large ones that live reviews."""
    compared = world(cards=4_000, fraud_each=10)
    for at in (11, 512, 1_013, 1_514):
        payment = compared[at].payment._replace(said="review", decided="review", fraud=True, amount_minor=10**8)
        compared[at] = Compared(payment._replace(labelled_day=payment.day + 5), "approve")
    found = judged(compared, VerdictOptions("EUR", others=dict(LENIENT.others) | {"alerts_per_day": 100.0}))
    assert (found.verdict, found.gate) == (VerdictWord.HOLD, GateName.CAP)
    assert found.loss.low_minor > 0 > found.loss.total_worst_minor
    assert found.loss.capped == 4


def test_the_currency_is_the_most_frequent_one_and_costs_must_be_stated_for_it() -> None:
    read = read_of(world(cards=30))
    names = read.names
    names.currencies.append("JPY")
    read.pairs.rows["currency"][:10] = 1
    found = judge_challenger(read, VerdictOptions(others=OPTIONS.others))
    assert found.terms.currency == "EUR"
    assert found.loss.cards == 20
    assert judge_challenger(read, VerdictOptions("JPY", others=OPTIONS.others)).loss.cards == 10
    with pytest.raises(ValueError, match="the verdict is in EUR, but the cap is stated for JPY"):
        judge_challenger(read, VerdictOptions(caps={"JPY": 100}))


def test_the_largest_swaps_say_who_they_are_and_what_is_known() -> None:
    compared = [
        Compared(Payment("a", 1.0, amount_minor=9, fraud=True, name="one"), "decline"),
        Compared(Payment("b", 1.0, amount_minor=8, name="two"), "review"),
        Compared(Payment("c", 1.0, "decline", "decline", amount_minor=7, name="three"), "review"),
        Compared(Payment("d", 99.0, amount_minor=6, name="four"), "review"),
        Compared(Payment("e", 99.0, amount_minor=10, name="five"), "approve"),
    ]
    found = judged(compared)
    assert [(one.transaction_id, one.card_id, one.outcome) for one in found.largest] == [
        ("one", "a", "fraud"),
        ("two", "b", "genuine"),
        ("three", "c", "declined"),
        ("four", "d", "not known yet"),
    ]
    assert found.largest[0].challenger is Decision.DECLINE
    assert payment_hash("a", "one") in read_of(compared).ids["EUR"]
