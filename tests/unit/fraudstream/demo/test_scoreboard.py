"""The scoreboard counts decisions against the truth, and keeps the state of each partition."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.demo.scoreboard import Percentiles, Place, Scoreboard, Takeover, TruthTally, percentiles
from fraudstream.demo.world.rows import Pattern
from fraudstream_client.outputs import DecidedBy, Decision
from support.demo_scores import NEW, OLD, in_first_term, score, sent, sound_board

CASES = st.lists(st.tuples(st.sampled_from(list(Decision)), st.booleans()), max_size=60)


@given(CASES)
def test_a_tally_counts_alerts_and_frauds(cases: Sequence[tuple[Decision, bool]]) -> None:
    tally = TruthTally()
    for decision, fraud in cases:
        tally = tally.plus(decision, fraud=fraud)
    alerts = [fraud for decision, fraud in cases if decision is not Decision.APPROVE]
    frauds = [decision for decision, fraud in cases if fraud]
    assert (tally.decided, tally.alerts, tally.frauds) == (len(cases), len(alerts), len(frauds))
    assert tally.precision == (sum(alerts) / len(alerts) if alerts else None)
    assert tally.recall == (sum(alerts) / len(frauds) if frauds else None)


def test_precision_is_computed_by_revision_and_in_total() -> None:
    board = Scoreboard()
    for number, (revision, pattern, decision) in enumerate(
        [
            (2, Pattern.STOLEN, Decision.APPROVE),
            (2, Pattern.GENUINE, Decision.REVIEW),
            (3, Pattern.STOLEN, Decision.DECLINE),
            (3, Pattern.TESTING, Decision.REVIEW),
        ]
    ):
        place = sent(board, f"t{number}", Place(0, number), pattern)
        board.decide(score(f"t{number}", place, revision=revision, decision=decision), 1_010)
    assert [board.tallies[in_first_term(one)].precision for one in (2, 3)] == [0.0, 1.0]
    assert (board.total.precision, board.total.recall) == (2 / 3, 2 / 3)
    assert board.digests == {in_first_term(2): OLD, in_first_term(3): NEW}


def test_warm_up_transactions_are_checked_but_not_counted() -> None:
    board = Scoreboard()
    place = sent(board, "old", Place(0, 0), Pattern.STOLEN, live=False)
    board.decide(score("old", place, decision=Decision.DECLINE), 9_000)
    assert board.total == TruthTally()
    assert board.delays == []
    assert board.last_offsets == {0: 0}
    assert board.in_flight == 0


def test_the_first_offset_of_each_revision_is_kept_by_partition() -> None:
    board = sound_board(count=12, partitions=2)
    firsts = {in_first_term(2): 0, in_first_term(3): 2, in_first_term(4): 4}
    assert board.first_offsets == {0: firsts, 1: firsts}
    assert board.newest == in_first_term(4)
    assert board.went_back == []


def test_a_higher_epoch_is_a_takeover_and_the_first_epoch_is_not() -> None:
    board = Scoreboard()
    for offset, (partition, epoch) in enumerate([(0, 3), (1, 3), (0, 3), (0, 4), (0, 4), (1, 6)]):
        place = sent(board, f"t{offset}", Place(partition, offset))
        board.decide(score(f"t{offset}", place, epoch=epoch), 1_000 + offset)
    assert board.takeovers == [Takeover(1_003, 0), Takeover(1_005, 1)]


def test_a_decision_by_an_older_revision_than_the_one_before_is_recorded() -> None:
    board = Scoreboard()
    for offset, revision in enumerate((1, 2, 1, 2)):
        place = sent(board, f"t{offset}", Place(0, offset))
        board.decide(score(f"t{offset}", place, revision=revision), 1_010)
    assert board.went_back == [Place(0, 2)]


def test_latency_is_taken_from_the_score_and_the_round_trip_starts_at_the_due_time() -> None:
    board = Scoreboard()
    place = sent(board, "t", Place(0, 0))
    board.decide(score("t", place, latency_ms=7), 1_030)
    assert board.recent_decision(1_030) == Percentiles(7, 7)
    assert board.recent_round_trip(1_030) == Percentiles(30, 30)


def test_rate_and_percentiles_cover_the_last_ten_seconds() -> None:
    board = Scoreboard()
    for number in range(300):
        place = sent(board, f"t{number}", Place(0, number))
        board.decide(score(f"t{number}", place, latency_ms=1000 if number < 100 else 5), 1_000 + number * 100)
    assert board.rate(31_000) == pytest.approx(10, rel=0.02)
    assert board.recent_decision(31_000) == Percentiles(5, 5)
    assert (board.rate(60_000), board.recent_decision(60_000)) == (0, None)


def test_a_decision_by_the_fallback_model_is_counted() -> None:
    board = Scoreboard()
    place = sent(board, "t", Place(0, 0))
    board.decide(score("t", place, decided_by=DecidedBy.FALLBACK), 1_010)
    assert board.fallbacks == 1


def test_an_empty_list_has_no_percentiles() -> None:
    assert percentiles([]) is None
