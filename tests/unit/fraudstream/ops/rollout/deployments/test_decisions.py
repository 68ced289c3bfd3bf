"""The decisions of a topic of scores: which are valid, what is a fault, and up to which payment they reach."""

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from fraudstream.ops.rollout.deployments.decision_columns import DECISIONS, DecisionCollector, newest
from fraudstream.ops.rollout.deployments.recent import DeadLetterPlaces, RecentDecisions
from fraudstream_client.outputs import DecidedBy, Decision, Overruled, Score, Source
from fraudstream_client.validity import place_of
from stream.contract.codes import DeadLetterCode
from stream.positions.dead_letters import DeadLetter, LetterOrigin
from stream.readers import ValidViews, read_scores
from support.demo_scores import Place, score
from support.stream_records import Told


def told(scores: Sequence[Score], first: int = 0, timestamp: int = 1_000) -> list[Told]:
    return [
        Told(msgspec.json.encode(one), offset=at, partition=one.source.partition, timestamp=timestamp)
        for at, one in enumerate(scores, start=first)
    ]


def decided(offset: int, **changes: object) -> Score:
    return score(f"t-{offset}", Place(0, offset), **{"deployment": "green"} | changes)


def test_a_stale_owners_decisions_are_void_and_counted_and_the_last_place_is_the_last_valid_one() -> None:
    valid = ValidViews()
    records = told([decided(0), decided(1, epoch=3), decided(2), decided(1, epoch=3), decided(2, epoch=3)])
    assert [(one.source.offset, one.epoch) for _, one in valid.of(read_scores(records))] == [(0, 1), (1, 3), (2, 3)]
    assert (valid.void, valid.last_place(0), valid.last_place(1)) == ({0: 2}, 2, -1)


def test_what_is_no_score_is_passed_over() -> None:
    records = [Told(value, offset=at) for at, value in enumerate([b"", b"{}", b"\xff", b'{"epoch":1}'])]
    valid = ValidViews()
    assert list(valid.of(read_scores(records))) == []
    assert valid.unreadable == len(records)


def test_a_decision_without_its_model_or_its_history_is_a_fault_and_a_young_history_is_none() -> None:
    recent = RecentDecisions("green", 500)
    recent.add(
        told(
            [
                decided(0),
                decided(1, degraded=("history_young",)),
                decided(2, degraded=("history_incomplete",)),
                decided(3, decided_by=DecidedBy.RULES, degraded=("live_model_failed", "no_model"), code_version="2"),
            ]
        )
    )
    faults = recent.faults(DeadLetterPlaces(), "blue")
    assert (faults.decisions, faults.faulty, faults.total) == (4, 2, 2)
    assert faults.kinds == {
        "history_incomplete": 1, "live_model_failed": 1, "no_model": 1, "decided by rules": 1,
    }  # fmt: skip
    assert recent.versions == {"0": 3, "2": 1}


def test_earlier_decisions_and_those_of_another_deployment_are_no_faults_of_the_stretch() -> None:
    recent = RecentDecisions("green", 2_000)
    recent.add(told([decided(0, degraded=("history_incomplete",))], timestamp=1_999))
    recent.add(told([decided(1, deployment="blue", decided_by=DecidedBy.RULES)], 1, 2_000))
    faults = recent.faults(DeadLetterPlaces(), "blue")
    assert (faults.decisions, faults.faulty, recent.versions) == (0, 0, {"0": 1})
    assert recent.valid.last_place(0) == 1


def letters(*refused: tuple[str, int, DeadLetterCode], written_ms: int = 1_000) -> DeadLetterPlaces:
    places = DeadLetterPlaces()
    for at, (name, offset, code) in enumerate(refused):
        outgoing = DeadLetter(Told(b"{}", offset=offset), code, "because").to_record(LetterOrigin(name))
        places.add([Told(outgoing.value, headers=tuple(outgoing.headers), timestamp=written_ms + at)])
    return places


def test_a_record_that_the_publishing_deployment_refuses_too_is_no_fault_but_an_error_of_ours_is() -> None:
    found = letters(
        ("blue", 1, DeadLetterCode.NOT_JSON),
        ("green", 1, DeadLetterCode.NOT_JSON),
        ("green", 2, DeadLetterCode.INVALID_FIELD),
        ("blue", 3, DeadLetterCode.UNDECIDABLE),
        ("green", 3, DeadLetterCode.UNDECIDABLE),
    )
    green = RecentDecisions("green", 0).faults(found, "blue")
    assert (green.letters, green.own_letters, green.total) == (3, 2, 2)
    blue = RecentDecisions("blue", 0).faults(found, "blue")
    assert (blue.letters, blue.own_letters) == (2, 1)


def test_a_refusal_before_the_stretch_is_shared_and_an_own_one_does_not_count() -> None:
    code = DeadLetterCode.NOT_JSON
    found = letters(("green", 1, code), ("blue", 2, code), ("green", 2, code), ("green", 3, code))
    green = RecentDecisions("green", 1_002).faults(found, "blue")
    assert (green.letters, green.own_letters) == (2, 1)


def test_columns_hold_one_row_a_decision_in_the_order_of_places() -> None:
    currencies = ["EUR"]
    found = DecisionCollector("green", currencies)
    second_log = Source("transactions", 0, 0, 1)
    found.add(
        told(
            [
                decided(7, score=None, amount_minor=3),
                decided(9, decision=Decision.DECLINE, currency="USD", latency_ms=9),
                decided(0, source=second_log),
            ],
            first=5,
        ),
        first=6,
    )
    found.add(told([score("t", Place(1, 4), deployment="green")]), first=0)
    rows = found.rows()
    assert rows["partition"].tolist() == [0, 0, 1]
    assert rows["place"].tolist() == [9, place_of(1, 0), 4]
    assert rows["latency_ms"].tolist() == [9, 5, 5]
    assert [currencies[code] for code in rows["currency"]] == ["USD", "EUR", "EUR"]


def test_what_a_lot_let_through_is_compared_as_the_model_said_and_what_was_capped_as_it_was_published() -> None:
    found, declined = DecisionCollector("blue", []), Decision.DECLINE
    passed = score("t-0", Place(0, 0), deployment="blue", overruled=Overruled("let_through", declined))
    capped = score(
        "t-1", Place(0, 1), deployment="blue", decision=Decision.REVIEW, overruled=Overruled("decline_cap", declined)
    )
    found.add(told([passed, capped]), first=0)
    assert [DECISIONS[code] for code in found.rows()["decision"]] == ["decline", "review"]


def test_a_score_that_is_null_is_not_a_number() -> None:
    found = DecisionCollector("green", [])
    found.add(told([decided(0, score=None), decided(1, score=0.5)]), first=0)
    assert np.array_equal(found.rows()["score"], [np.nan, 0.5], equal_nan=True)


@pytest.mark.parametrize(("most", "firsts"), [(100, {0: 3, 1: 8}), (6, {0: 7, 1: 8}), (0, {0: 10, 1: 9})])
def test_of_more_decisions_than_can_be_held_the_newest_of_each_partition_are_read(
    most: int, firsts: dict[int, int]
) -> None:
    assert newest({0: 3, 1: 8}, {0: 10, 1: 9}, most) == firsts
