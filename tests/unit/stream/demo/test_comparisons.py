"""Comparisons are counted by revision, each once, and split by what only the simulator knows."""

import pytest

from models.policy import Decision
from stream.demo.comparisons import Amount, RevisionComparisons
from stream.demo.scoreboard import Place, Scoreboard
from stream.demo.world.rows import Pattern
from support.demo_scores import NEW, OLD, PROMOTED, comparison, score, sent, sound_board, view_of

APPROVE, REVIEW, DECLINE = Decision


def compared_with(*cases: tuple[Pattern, Decision, Decision]) -> RevisionComparisons:
    board = Scoreboard()
    compared = RevisionComparisons(board.truths)
    for number, (pattern, live, challenger) in enumerate(cases):
        place = sent(board, f"t{number}", Place(0, number), pattern)
        compared.compare([comparison(f"t{number}", place, (live, challenger))])
    return compared


def test_the_truth_says_which_alerts_of_one_side_were_right() -> None:
    lane = compared_with(
        (Pattern.STOLEN, APPROVE, DECLINE),
        (Pattern.TESTING, APPROVE, REVIEW),
        (Pattern.GENUINE, APPROVE, REVIEW),
        (Pattern.SKIMMED, REVIEW, APPROVE),
        (Pattern.GENUINE, DECLINE, APPROVE),
        (Pattern.TAKEOVER, REVIEW, DECLINE),
    ).newest
    assert lane is not None
    assert lane.only_challenger(fraud=True) == Amount(2, 25.0)
    assert lane.only_challenger(fraud=False) == lane.only_live(fraud=True) == lane.only_live(fraud=False) == (1, 12.5)
    assert (lane.tally.compared, lane.tally.changed, lane.agreement) == (6, 6, 0.0)
    assert (lane.live, lane.challenger) == (OLD, NEW)


def test_money_is_in_euro_whatever_the_card_is_billed_in() -> None:
    board = Scoreboard()
    compared = RevisionComparisons(board.truths)
    for number, currency in enumerate(("EUR", "GBP")):
        place = sent(board, f"t{number}", Place(0, number), Pattern.STOLEN)
        told = comparison(f"t{number}", place, (APPROVE, REVIEW), amount_minor=8600, currency=currency)
        compared.compare([told])
    lane = compared.newest
    assert lane is not None
    assert lane.only_challenger(fraud=True).euro == pytest.approx(186.0)


def test_each_revision_has_its_own_lane_and_a_comparison_that_comes_twice_counts_once() -> None:
    board = Scoreboard()
    compared = RevisionComparisons(board.truths)
    told = [
        comparison("a", sent(board, "a", Place(0, 0)), (APPROVE, APPROVE)),
        comparison("b", sent(board, "b", Place(0, 1)), (APPROVE, APPROVE), revision=PROMOTED),
    ]
    compared.compare([*told, told[0]])
    compared.compare(told)
    assert {revision: lane.tally.compared for revision, lane in compared.by_revision.items()} == {2: 1, 3: 1}
    assert compared.newest is compared.by_revision[PROMOTED]
    assert (compared.by_revision[PROMOTED].live, compared.by_revision[PROMOTED].challenger) == (NEW, OLD)


def test_what_filled_the_histories_or_came_from_others_is_not_counted() -> None:
    board = Scoreboard()
    compared = RevisionComparisons(board.truths)
    old = sent(board, "old", Place(0, 0), live=False)
    compared.compare([comparison("old", old, (APPROVE, REVIEW)), comparison("alien", Place(0, 1), (APPROVE, REVIEW))])
    assert compared.newest is None


def test_coverage_is_of_what_that_revision_decided() -> None:
    board = sound_board(count=12)
    view = view_of(board)
    place = sent(board, "more", Place(0, 9))
    board.decide(score("more", place, revision=2), 1_020)
    assert view.coverage(view.comparisons.by_revision[2]) == 4 / 5
    assert view.coverage(view.comparisons.by_revision[3]) == 1.0


def test_nothing_agrees_with_nothing() -> None:
    lane = compared_with((Pattern.GENUINE, APPROVE, APPROVE)).newest
    assert lane is not None
    assert lane.agreement == 1.0
    assert lane.shift.band_quantiles == (50, 50, 50)
    assert compared_with().newest is None
