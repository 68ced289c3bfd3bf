"""The report of an experiment: which decisions it takes, what it says, and how it is shown."""

import json
import re

import numpy as np
import pytest
from rich.console import Console

from fraudstream.ops.report.terminal import on_terminal
from fraudstream.ops.rollout.experiments import report as report_module
from fraudstream.ops.rollout.experiments.facts import facts
from fraudstream.ops.rollout.experiments.page import state_split
from fraudstream.ops.rollout.experiments.report import (
    ArmSieve,
    ExperimentChoice,
    ExperimentReport,
    ReadingPlan,
    placed,
    report_of,
)
from fraudstream.ops.rollout.experiments.words import headline_words, missing_lines, promises, remarks, verdict_line
from fraudstream.ops.rollout.outcomes.columns import ValidPayment
from fraudstream_client.arms import bucket
from guards.errors import OtherHashKeyError
from metrics.bootstrap import BootstrapPlan
from models.commands import AcceptedArm, Event
from stream.readers import read_view
from stream.settings import Settings
from support.control_events import accepted
from support.experiment_cases import ARMS, EXPERIMENT, SPLIT, ArmPayment, drawn_payments, rows_of, terms
from support.hashed_cards import exclusion_key, hashed
from support.outcome_cases import Payment, at_ms, score_value
from support.parsed_page import parsed

PLAN = BootstrapPlan(draws=50, least_cards=5)
CURRENCIES = ("EUR", "JPY")


@pytest.fixture(scope="module")
def report() -> ExperimentReport:
    """Return a report of drawn payments, in which no arm wins."""
    return report_of(rows_of(drawn_payments(1, cards=200)), EXPERIMENT, terms(70.0), CURRENCIES, PLAN)


@pytest.fixture(scope="module")
def decided() -> ExperimentReport:
    """Return a report in which `new` wins: other arms approve frauds."""
    payments = []
    for number in range(3_000):
        arm, fraud = ARMS[(0, 0, 0, 1, 1, 2, 2, 2, 2, 2)[number % 10]].name, number % 7 == 0
        said = "decline" if fraud and arm == "new" else "approve"
        decision = "approve" if number % 3 == 0 else said
        payments.append(ArmPayment(arm, Payment(f"card-{number}", number / 100, said, decision, fraud, number / 100)))
    return report_of(rows_of(payments), EXPERIMENT, terms(90.0, cap_minor=1_000), ("EUR",), PLAN)


def score(**changes: object) -> ValidPayment:
    return ValidPayment(read_view(score_value(**changes)), 0, 0, 0)


def arm_of(card: str) -> str:
    """Return the arm of a card by the contract's text."""
    return ("new", "other", "live")[np.searchsorted([3_000, 5_000], bucket("salt", card), side="right")]


def test_a_report_takes_decisions_of_its_revisions_about_cards_that_are_not_excluded() -> None:
    experiment = EXPERIMENT._replace(until=4)
    sieve = ArmSieve(experiment)
    cards = [f"card-{number}" for number in range(100)]
    taken = [card for card in cards if sieve.takes(score(card_id=card, arm=arm_of(card), revision=3))]
    assert taken == cards
    assert not any(sieve.takes(score(card_id=cards[0], arm=arm_of(cards[0]), revision=at)) for at in (1, 4, 5))
    assert not sieve.takes(score(card_id="card-x", arm="live", revision=2))
    assert (sieve.excluded, sieve.misassigned) == (1, 0)
    assert not sieve.takes(score(card_id=cards[0], arm="nobody", revision=2))
    assert sieve.misassigned == 1


def test_cards_that_are_excluded_by_hashes_are_in_no_figure_either() -> None:
    sieve = ArmSieve(EXPERIMENT._replace(split=SPLIT._replace(exclude=hashed("card-x"))))
    with exclusion_key():
        assert not sieve.takes(score(card_id="card-x", arm="live", revision=2))
        assert sieve.takes(score(card_id="card-1", arm=arm_of("card-1"), revision=2))
    assert (sieve.excluded, sieve.misassigned) == (1, 0)


async def test_an_experiment_whose_excluded_cards_are_not_known_is_not_reported_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cards = hashed("card-x")
    hidden = {"exclude": cards.entries, "exclude_key_check": cards.key_check}
    arms = {arm.name: AcceptedArm(arm.model, arm.share_bp) for arm in SPLIT.arms}

    async def events(_settings: Settings) -> list[Event]:
        return [accepted(1), accepted(2, "split", arms=arms, salt="salt", **hidden)]

    monkeypatch.setattr(report_module, "read_events", events)
    plan = ReadingPlan(lambda _read: terms(70.0), 20.0)
    with pytest.raises(OtherHashKeyError, match="set FRAUDSTREAM_HASH_KEY_FILE"):
        await report_module.read_report(Settings(), ExperimentChoice(), plan, lambda _topic, _share: None)


def test_arms_are_placed_by_the_experiment_and_not_by_how_they_came() -> None:
    rows = rows_of([ArmPayment("new", Payment("a", 0.0)), ArmPayment("live", Payment("b", 0.0))])
    rows["arm"] = [1, 0]
    found = placed(rows, ["live", "new", "past"], EXPERIMENT)
    assert found["arm"].tolist() == [0, 2]


def test_without_certainty_nobody_wins_and_what_is_missing_is_said(report: ExperimentReport) -> None:
    assert report.winner is None
    assert verdict_line(report).startswith("not yet")
    (line, *_) = missing_lines(report)
    assert " before " in line
    assert any("nobody knows what" in line for line in remarks(report))
    assert any("0.025" in line for line in promises(report))


def test_the_arm_that_loses_less_is_named(decided: ExperimentReport) -> None:
    assert decided.winner == "new"
    assert verdict_line(decided) == "new wins: it loses less per card than every arm of another model"
    assert list(missing_lines(decided)) == []


def test_cards_that_are_divided_otherwise_prevent_a_winner(decided: ExperimentReport) -> None:
    wrong = decided._replace(ratio=decided.ratio._replace(e=1e6))
    assert wrong.winner is None
    assert "not divided as the shares say" in verdict_line(wrong)
    assert decided._replace(misassigned=1).winner is None
    assert "1 decisions carry another arm" in verdict_line(decided._replace(misassigned=1))


def test_before_the_first_card_is_final_the_report_says_when_it_will_be() -> None:
    rows = rows_of([ArmPayment("new", Payment("a", 0.0)), ArmPayment("live", Payment("b", 3.0))])
    early = report_of(rows, EXPERIMENT, terms(4.0), ("EUR",), PLAN)
    (line,) = missing_lines(early)
    assert line.startswith("no card is final yet; the first is at the latest on 2026-02-10T")
    ended = report_of(rows, EXPERIMENT._replace(until=3, until_ms=at_ms(4.0)), terms(50.0), ("EUR",), PLAN)
    assert ended.losses.cut_off == 2
    assert any("appeared too late" in line for line in remarks(ended))


def test_an_experiment_of_equal_models_has_no_winner() -> None:
    models = tuple(arm._replace(model=EXPERIMENT.live) for arm in SPLIT.arms)
    equal = EXPERIMENT._replace(split=SPLIT._replace(arms=models))
    found = report_of(rows_of(drawn_payments(2, cards=200)), equal, terms(70.0), CURRENCIES, PLAN)
    assert (found.winner, found.standings.missing) == (None, ())
    assert list(missing_lines(found)) == [
        "all arms have the same model, so that none can win: such an experiment shows whether it is sound"
    ]


def test_the_facts_are_plain_json_and_sum_up_to_the_decisions(report: ExperimentReport) -> None:
    found = json.loads(json.dumps(facts(report), allow_nan=False))
    assert [one["arm"] for one in found["figures"]] == ["new", "other", "live"]
    for one in found["figures"]:
        decisions = sum(one["said"][each] for each in ("approved", "reviewed", "declined"))
        assert decisions == one["decisions"]
        for money in one["money"].values():
            for side in ("said", "decided"):
                assert money[side]["lost_minor"] + money[side]["stopped_minor"] == money["fraud_minor"]
    assert found["terms"]["costs"]["decline_share_bp"] == 500
    assert (found["excluded_cards"], "exclude" in found) == (1, False)
    assert len(found["standings"]["differences"]) == 3


def test_tables_and_page_show_every_arm_and_money_as_said_and_as_decided(
    report: ExperimentReport, decided: ExperimentReport
) -> None:
    for one in (report, decided):
        console = Console(width=200, highlight=False)
        with console.capture() as shown:
            console.print(on_terminal(state_split(one, at_ms(100.0), "1.2.3")))
        text = shown.get()
        assert verdict_line(one) in text
        assert all(arm.name in text for arm in one.experiment.arms)
        assert "Lost, as decided" in text
        tree = parsed(state_split(one, at_ms(100.0), "1.2.3").html())
        headings = [node.text for node in tree.all("h2")]
        assert "Whether the experiment is sound" in headings
        banner = "".join(node.text for node in tree.of_class("banner"))
        assert (one.winner or "not yet") in banner
        assert headline_words(one) in banner


def test_an_experiment_that_decided_little_says_when_to_ask_again_and_shows_nothing_empty() -> None:
    rows = rows_of([ArmPayment("new", Payment("a", 0.0))])
    early = report_of(rows, EXPERIMENT, terms(4.0), ("EUR", "JPY"), PLAN)
    stated = state_split(early, at_ms(5.0), "1")
    assert headline_words(early) == "Too early to say: 0 of 1 cards are mature; ask again on 10 February 2026"
    tree = parsed(stated.html())
    assert not tree.all("figure") + tree.of_class("key")
    assert not [section.title for section in stated.stated if "Money" in section.title]


def test_the_headline_says_by_how_much_an_arm_is_better(decided: ExperimentReport) -> None:
    assert re.fullmatch(
        r"Better: new loses EUR [\d.]+ to [\d.]+ less a card than (live|other)", headline_words(decided)
    )
    wrong = decided._replace(ratio=decided.ratio._replace(e=1e6))
    assert headline_words(wrong) == "Unsound: the arms cannot be compared"
