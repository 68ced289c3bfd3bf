"""Comparisons are counted by revision, each once, and split by the simulator's ground truth."""

import pytest

from fraudstream.demo.comparisons import Amount, RevisionComparisons
from fraudstream.demo.scoreboard import Place, Scoreboard
from fraudstream.demo.world.rows import Pattern
from fraudstream_client.outputs import Decision
from support.demo_scores import NEW, OLD, PROMOTED, comparison, score, sent, sound_board, view_of

APPROVE, REVIEW, DECLINE = Decision


def compared_with(*cases: tuple[Pattern, Decision, Decision]) -> RevisionComparisons:
    board = Scoreboard()
    compared = RevisionComparisons(board.truths)
    for number, (pattern, live, challenger) in enumerate(cases):
        place = sent(board, f"t{number}", Place(0, number), pattern)
        compared.compare([comparison(f"t{number}", place, (live, challenger))])
    return compared


def test_alerts_of_only_one_model_are_split_into_fraud_and_genuine() -> None:
    entry = compared_with(
        (Pattern.STOLEN, APPROVE, DECLINE),
        (Pattern.TESTING, APPROVE, REVIEW),
        (Pattern.GENUINE, APPROVE, REVIEW),
        (Pattern.SKIMMED, REVIEW, APPROVE),
        (Pattern.GENUINE, DECLINE, APPROVE),
        (Pattern.TAKEOVER, REVIEW, DECLINE),
    ).newest
    assert entry is not None
    assert entry.only_challenger(fraud=True) == Amount(2, 25.0)
    assert (
        entry.only_challenger(fraud=False) == entry.only_live(fraud=True) == entry.only_live(fraud=False) == (1, 12.5)
    )
    assert (entry.tally.compared, entry.tally.changed, entry.agreement) == (6, 6, 0.0)
    assert (entry.live, entry.challenger) == (OLD, NEW)


def test_amounts_are_converted_to_euro() -> None:
    board = Scoreboard()
    compared = RevisionComparisons(board.truths)
    for number, currency in enumerate(("EUR", "GBP")):
        place = sent(board, f"t{number}", Place(0, number), Pattern.STOLEN)
        told = comparison(f"t{number}", place, (APPROVE, REVIEW), amount_minor=8600, currency=currency)
        compared.compare([told])
    entry = compared.newest
    assert entry is not None
    assert entry.only_challenger(fraud=True).euro == pytest.approx(186.0)


def test_comparisons_are_counted_by_revision_and_repeated_ones_count_once() -> None:
    board = Scoreboard()
    compared = RevisionComparisons(board.truths)
    told = [
        comparison("a", sent(board, "a", Place(0, 0)), (APPROVE, APPROVE)),
        comparison("b", sent(board, "b", Place(0, 1)), (APPROVE, APPROVE), revision=PROMOTED),
    ]
    compared.compare([*told, told[0]])
    compared.compare(told)
    assert {revision: entry.tally.compared for revision, entry in compared.by_revision.items()} == {2: 1, 3: 1}
    assert compared.newest is compared.by_revision[PROMOTED]
    assert (compared.by_revision[PROMOTED].live, compared.by_revision[PROMOTED].challenger) == (NEW, OLD)


def test_comparisons_of_warm_up_and_unknown_transactions_are_not_counted() -> None:
    board = Scoreboard()
    compared = RevisionComparisons(board.truths)
    old = sent(board, "old", Place(0, 0), live=False)
    compared.compare([comparison("old", old, (APPROVE, REVIEW)), comparison("alien", Place(0, 1), (APPROVE, REVIEW))])
    assert compared.newest is None


def test_coverage_is_the_share_of_a_revisions_decisions_that_were_compared() -> None:
    board = sound_board(count=12)
    view = view_of(board)
    place = sent(board, "more", Place(0, 9))
    board.decide(score("more", place, revision=2), 1_020)
    assert view.coverage(view.comparisons.by_revision[2]) == 4 / 5
    assert view.coverage(view.comparisons.by_revision[3]) == 1.0


def test_equal_decisions_agree_fully_and_without_comparisons_there_is_no_newest_revision() -> None:
    entry = compared_with((Pattern.GENUINE, APPROVE, APPROVE)).newest
    assert entry is not None
    assert entry.agreement == 1.0
    assert entry.shift.band_quantiles == (50, 50, 50)
    assert compared_with().newest is None
