"""A hand-over on `scores`: the pause of each partition, its first offset, and what is void or undecided."""

import msgspec

from fraudstream.ops.rollout.deployments.handover import HandoverFold, HandoverReport, PartitionHandover, announced_in
from fraudstream_client.outputs import Score
from models.commands import Event
from models.times import format_time
from support.control_events import event
from support.demo_scores import Place, score
from support.stream_records import Told

TERM = 2**32


def decided(offset: int, term: int, at_ms: int, number: int = 5) -> Score:
    changes = {"epoch": term * TERM + number, "scored_at": format_time(at_ms), "latency_ms": 40}
    return score(f"t-{offset}", Place(0, offset), **changes)


def told(*scores: Score, first: int = 0) -> list[Told]:
    return [Told(msgspec.json.encode(one), offset=at) for at, one in enumerate(scores, start=first)]


def test_the_pause_is_from_the_last_decision_of_the_old_term_to_the_first_of_the_new_one() -> None:
    fold = HandoverFold(3)
    fold.add(told(decided(8, 2, 1_000), decided(9, 2, 2_000)), 0)
    assert not fold.has_begun(0)
    fold.add(told(decided(10, 3, 2_400), decided(11, 3, 2_500), first=2), 0)
    assert fold.has_begun(0)
    assert fold.result(0, 10, 0) == PartitionHandover(
        partition=0, first_offset=10, announced=10, pause_ms=400, first_latency_ms=40, decisions=2
    )


def test_what_the_replaced_fleet_still_writes_is_void_and_counts_from_the_hand_over_on() -> None:
    fold = HandoverFold(3)
    fold.add(told(decided(8, 2, 1_000), decided(8, 2, 1_000), decided(10, 3, 2_000), decided(9, 2, 2_100)), 2)
    one = fold.result(0, None, 0)
    assert (one.first_offset, one.pause_ms, one.void, one.decisions) == (10, 1_000, 1, 1)


def test_an_offset_that_the_old_term_decided_is_not_the_first_of_the_new_one() -> None:
    fold = HandoverFold(3)
    fold.add(told(decided(8, 2, 1_000), decided(8, 3, 2_000), decided(9, 3, 2_100)), 0)
    assert (fold.result(0, None, 0).first_offset, fold.result(0, None, 0).void) == (9, 1)


def test_clocks_that_differ_make_no_negative_pause() -> None:
    fold = HandoverFold(1)
    fold.add(told(decided(8, 0, 2_000), decided(9, 1, 1_000)), 0)
    assert fold.result(0, None, 0).pause_ms == 0


def test_a_later_term_is_told() -> None:
    fold = HandoverFold(1)
    fold.add(told(decided(8, 1, 2_000), decided(9, 3, 3_000)), 0)
    assert fold.later_term == 3


def test_a_partition_without_a_decision_of_the_term_says_how_many_payments_wait() -> None:
    fold = HandoverFold(1)
    assert fold.result(4, None, 12) == PartitionHandover(partition=4, undecided=12)


def announcement(offset: int, term: int, name: str, partition: int = 0) -> Event:
    return event("handover", 1, name, partition=partition, offset=offset, term=term)


def test_the_announced_offset_is_the_lowest_of_the_term() -> None:
    events = [announcement(9, 1, "a"), announcement(7, 1, "b"), announcement(3, 2, "c"), announcement(5, 1, "d", 1)]
    assert announced_in([*events, event("cutover", 1, "e", partition=2, offset=1)], 1) == {0: 7, 1: 5}


def report(*partitions: PartitionHandover) -> HandoverReport:
    return HandoverReport(term=1, deployment="green", before="blue", accepted_at=format_time(0), partitions=partitions)


def test_a_hand_over_is_done_where_payments_came_and_waits_for_none_elsewhere() -> None:
    done = PartitionHandover(partition=0, first_offset=9, pause_ms=400, decisions=1)
    quiet, waiting = PartitionHandover(partition=1), PartitionHandover(partition=2, undecided=3)
    assert report(done, quiet).done
    assert not report(done, quiet, waiting).done
    assert (report(done, quiet).longest_pause_ms, report(quiet).longest_pause_ms) == (400, None)
