"""The act of the bad canary: what is shown of it, and that the checks find whatever went wrong in it."""

from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fraudstream.demo.canary import BAD, ArmedDecision, CanaryFacts, arm_of, bad_threshold, canary_facts
from fraudstream.demo.checks import canary_not_ended
from fraudstream.demo.commands import CommandLog
from fraudstream.demo.comparisons import RevisionComparison
from fraudstream.demo.panel import line, panel, role
from fraudstream.demo.report import report
from fraudstream.demo.scoreboard import Place
from fraudstream.demo.shell import CommandRun
from fraudstream.demo.summary import problems_of, summarise
from fraudstream.demo.timeline import news
from fraudstream.demo.view import View
from fraudstream_client.outputs import Decision
from guards.evidence import log_more_evidence_of
from guards.report import breached_kinds
from models.arms import Canary
from models.commands import CommandKind, EventKind
from models.policy import Policy
from models.repository import Repository
from models.training_reference import ReferenceRows, build_reference
from support.demo_scores import command, comparison, drawn, event, run_of, score, sent, sound_board, view_of
from support.fleet.payments import FEATURES, put_model

SALT, SHARE_BP, REVISION = "salt", 1_000, 5
WORSE = "c" * 64
CARDS = [f"card-{number}" for number in range(400)]
EVIDENCE = {"guards": {"declined": {"breached": True}, "reviewed": {"breached": False}}}


def log_of(evidence: dict[str, Any] | None, ended_at: int = REVISION + 1) -> CommandLog:
    """Make the log of a rollout, and of its end, if there is evidence."""
    log = CommandLog()
    log.command(command("five", CommandKind.ROLLOUT, WORSE))
    started = {"share_bp": SHARE_BP, "salt": SALT, "guards": {"declined": {"alpha": 0.01, "action": "roll_back"}}}
    entry = {"command_id": "five", "command": CommandKind.ROLLOUT, "model": WORSE}
    log.event(event(EventKind.ACCEPTED, REVISION, **entry, **started))
    if evidence is not None:
        log.command(command("six", CommandKind.END_CANARY))
        entry = {"command_id": "six", "command": CommandKind.END_CANARY, "model": WORSE}
        log.event(event(EventKind.ACCEPTED, ended_at, **entry, evidence=evidence))
    return log


def decisions() -> list[ArmedDecision]:
    """Make a decision for each card, a millisecond apart: the canary declines all, the live model none."""
    arms = [arm_of(card, SALT, SHARE_BP) for card in CARDS]
    return [
        ArmedDecision(f"t-{at}", CARDS[at], REVISION, arm, arm == "canary", 2_000 + at) for at, arm in enumerate(arms)
    ]


def least_declines() -> int:
    """Return how many first declines of the canary, and none of the live model, breach the guard."""
    return next(count for count in range(1, 20) if log_more_evidence_of({(0, SHARE_BP): (count, 0)}) >= log(200))


def facts_of(evidence: dict[str, Any] | None = EVIDENCE) -> CanaryFacts:
    found = canary_facts(decisions(), log_of(evidence))
    assert found is not None
    return found


def test_the_threshold_of_the_bad_model_declines_a_quarter_or_more_of_the_payments_of_the_reference(
    tmp_path: Path,
) -> None:
    repository = Repository(str(tmp_path))
    scores, at = np.random.default_rng(0).random(1_000) ** 2, np.arange(1_000)
    rows = ReferenceRows(np.zeros((1_000, len(FEATURES))), at, scores, at, at * 60_000)
    good = put_model(str(tmp_path), reference=build_reference(rows, Policy(0.5, 0.8)))
    threshold = bad_threshold(repository, good)
    assert 250 <= Policy(threshold, threshold).decide(scores).count(Decision.DECLINE) <= 350


@pytest.mark.parametrize(
    ("replay", "problem"),
    [
        ({"equal": False, "differences": ["declined: 3 of 4"]}, "declined: 3 of 4"),
        ({}, "there is no such command"),
    ],
)
def test_evidence_that_the_topics_do_not_bear_out_is_reported(replay: dict[str, Any], problem: str) -> None:
    view = replace(view_of(sound_board()), has_canary=True, canary=facts_of())
    run = CommandRun(("guard", "replay", "six"), 0, 1, 1, replay, "there is no such command")
    summary = summarise(run_of(view, replay=run))
    assert f"`fraudstream guard replay six`: {problem}" in summary.problems
    assert summary.evidence_equal is replay.get("equal")
    sound = run_of(view, replay=replace(run, exit_code=0, facts={"equal": True}))
    assert (problems_of(sound), summarise(sound).evidence_equal) == ((), True)
    uncounted = run_of(view, replay=replace(run, facts={}, error="the evidence cannot be counted again: it ends at 3"))
    assert problems_of(uncounted) == ()
    assert "states too early an end" in drawn(report(uncounted, summarise(uncounted)))


def test_an_arm_is_that_of_the_worker() -> None:
    arms = [arm_of(card, SALT, SHARE_BP) for card in CARDS]
    assert [*arms] == Canary(WORSE, SHARE_BP, SALT).split.arms_of(CARDS)
    assert set(arms) == {"canary", "live"}


def test_the_facts_count_the_arms_and_find_the_breach() -> None:
    found, own = facts_of(), [one for one in decisions() if one.arm == "canary"]
    assert (found.decided, found.declined, found.first_declines) == (len(own), len(own), (len(own), 0))
    assert found.evidence >= found.bound == 200
    assert found.breached_ms == own[least_declines() - 1].scored_ms
    assert found.last_ms == own[-1].scored_ms
    assert found.after_breach_ms == own[-1].scored_ms - (found.breached_ms or 0)
    assert found.wrong_arms == ()
    assert canary_not_ended(found) == ()


def test_a_second_decline_of_a_card_is_not_counted() -> None:
    again = [one._replace(transaction_id=f"{one.transaction_id}-again", scored_ms=9_000) for one in decisions()]
    found = canary_facts([*decisions(), *again], log_of(EVIDENCE))
    assert found is not None
    assert found.first_declines == facts_of().first_declines
    assert found.declined == 2 * facts_of().declined


def test_nothing_is_known_before_the_rollout_is_accepted() -> None:
    assert canary_facts(decisions(), CommandLog()) is None
    assert facts_of(None).after_breach_ms is None
    assert breached_kinds(None) == ()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda _: None, "the canary of the bad model did not begin"),
        (lambda _: facts_of(None), "no guard ended the canary of the bad model"),
        (lambda _: facts_of({}), "the canary of the bad model was ended without evidence of a breach"),
        (lambda one: replace(one, decided=0), "the canary of the bad model decided nothing"),
        (lambda one: replace(one, wrong_arms=("t-7",)), "1 transactions decided by the arm of another card: t-7"),
    ],
)
def test_each_planted_fault_is_reported(change: Any, problem: str) -> None:
    view = replace(view_of(sound_board()), has_canary=True, canary=change(facts_of()))
    assert problem in problems_of(run_of(view))


def test_a_card_that_changed_sides_is_found_under_the_canary_and_under_other_revisions() -> None:
    swapped, *others = decisions()
    swapped = swapped._replace(arm="live" if swapped.arm == "canary" else "canary")
    after = next(one for one in decisions() if one.arm == "canary")._replace(transaction_id="later", revision=6)
    found = canary_facts([swapped, *others, after], log_of(EVIDENCE))
    assert found is not None
    assert found.wrong_arms == (swapped.transaction_id, "later")


def test_what_a_canary_decides_after_a_pause_is_its_own() -> None:
    half = len(CARDS) // 2
    paused = [one._replace(revision=REVISION + (at >= half)) for at, one in enumerate(decisions())]
    found = canary_facts(paused, log_of(EVIDENCE, ended_at=REVISION + 2))
    assert found is not None
    assert (found.declined, found.wrong_arms) == (facts_of().declined, ())
    assert facts_of().first_declines == found.first_declines


def shown() -> View:
    view = view_of(sound_board(), canary=facts_of(), has_canary=True)
    return replace(view, commands=log_of(EVIDENCE), models={**view.models, WORSE: BAD})


def test_panel_line_news_and_report_show_the_canary() -> None:
    view, own = shown(), facts_of().first_declines[0]
    assert "guard on declines" in drawn(panel(replace(view, canary=facts_of(None))))
    text = drawn(panel(view))
    assert "guard on declines" not in text
    assert f"{own} of {own} first declines by 10% of the cards" in " ".join(text.split())
    assert "bad gets some cards" in text
    assert "the guard ends it" in text
    assert "as likely if it does harm" in line(view)
    assert role(view, RevisionComparison(REVISION, None, None)) == "canary"
    ended = view_of(sound_board(), canary=facts_of(), partitions=0, commands=log_of(EVIDENCE), models=view.models)
    (_, end) = news(ended)
    assert end.startswith("the guard ends it: revision 6 accepted")
    assert "it decided last" in end
    run = run_of(view)
    assert "breached (declined)" in " ".join(drawn(report(run, summarise(run))).split())


def test_the_report_says_why_few_of_the_canarys_decisions_were_compared() -> None:
    board = sound_board()
    for number in range(2):
        place = sent(board, f"c{number}", Place(number, 6))
        board.decide(score(f"c{number}", place, revision=REVISION), 1_010)
    view = view_of(board, canary=facts_of(), has_canary=True)
    pair = (Decision.APPROVE, Decision.DECLINE)
    view.comparisons.compare([comparison("c0", Place(0, 6), pair, revision=REVISION)])
    text = " ".join(drawn(report(run_of(view), summarise(run_of(view)))).split())
    assert "canary better beside plain: 50% of 2 compared (since the challenger's process runs), 0.0% agreed" in text
