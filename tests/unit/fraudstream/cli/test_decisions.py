"""What `fraudstream decisions` shows: valid scores alone, a line each, or as they stand."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import msgspec

from fraudstream.cli import decisions
from fraudstream.cli.decisions import DecisionTail, decision_line, valid_decisions
from fraudstream_client.outputs import DecidedBy, Decision, Overruled, Score
from stream.readers import ValidViews, read_view
from stream.scan import TopicScan
from support.demo_scores import OLD, Place, score
from support.stream_records import Told


def record(at: int, made: Score, partition: int = 0) -> Told:
    return Told(msgspec.json.encode(made), None, partition, at, timestamp=at)


class Log:
    """A scan of one topic in memory: `start_at` and `read` as those of a `TopicScan`."""

    def __init__(self, **partitions: list[Told]) -> None:
        self.records = {int(name[1:]): found for name, found in partitions.items()}
        self.first = dict.fromkeys(self.records, 0)
        self.starts: Mapping[int, int] = {}

    async def ends(self) -> dict[int, int]:
        return {partition: len(found) for partition, found in self.records.items()}

    def start_at(self, firsts: Mapping[int, int]) -> None:
        self.starts = dict(firsts)

    async def read(self) -> AsyncIterator[tuple[list[Told], float]]:
        for partition, found in self.records.items():
            if new := found[self.starts[partition] :]:
                yield new, 1.0


def reader_of(log: Log) -> DecisionTail:
    return DecisionTail(cast("TopicScan", log))


def test_a_line_says_what_was_decided_of_which_payment_by_what() -> None:
    made = score(
        "pay-1", Place(0, 7), decision=Decision.DECLINE, score=0.97312, overruled=Overruled("cap", Decision.APPROVE)
    )
    line = decision_line(read_view(msgspec.json.encode(made)))
    assert line == (
        f"{made.scored_at}  decline    0.9731  pay-1  card-1  EUR 12.50  model {OLD[:12]}, overruled by cap  5 ms"
    )
    by_rules = score("pay-2", Place(0, 8), decided_by=DecidedBy.RULES, model=None, score=None)
    assert "  no score  pay-2  " in decision_line(read_view(msgspec.json.encode(by_rules)))


def test_what_is_void_or_no_score_is_left_out() -> None:
    records = [
        record(0, score("t-0", Place(0, 0), epoch=2)),
        record(1, score("t-1", Place(0, 1), epoch=1)),
        record(2, score("t-0", Place(0, 0), epoch=3)),
        Told(b"no score", None, 0, 3),
        record(4, score("t-1", Place(0, 1), epoch=3)),
    ]
    found = [*valid_decisions(ValidViews(), cast("Any", records))]
    assert [(one.view.transaction_id, one.offset) for one in found] == [("t-0", 0), ("t-1", 4)]
    assert json.loads(found[1].value)["transaction_id"] == "t-1"


async def test_the_newest_come_first_and_then_what_is_new_in_the_order_of_writing() -> None:
    first = [record(at, score(f"a-{at}", Place(0, at))) for at in range(3_000)]
    second = [record(at, score(f"b-{at}", Place(1, at)), 1) for at in range(5)]
    log = Log(p0=first, p1=second)
    reader = reader_of(log)
    assert [one.view.transaction_id for one in await reader.read_last(2)] == ["a-2998", "a-2999"]
    assert log.starts == {0: 3_000 - 2 - decisions.EARLIER_SCORES, 1: 0}
    assert await reader.read_new() == []
    log.records[1].append(record(5, score("b-5", Place(1, 5)), 1))
    assert [one.view.transaction_id for one in await reader.read_new()] == ["b-5"]


async def test_none_of_the_past_is_asked_for_by_zero() -> None:
    log = Log(p0=[record(0, score("t-0", Place(0, 0)))])
    reader = reader_of(log)
    assert await reader.read_last(0) == []
    assert await reader.read_new() == []
