"""An audit of a part of a topic knows what was filled in before it: that has no score, and may come again inside."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from fraudstream.cli.topics_audit import _audit_lines
from fraudstream.ops.repair import audit
from models.commands import CommandKind, Event, EventKind
from models.logs import Logs, follow_logs
from stream.contract.transaction import BACKFILL_HEADER
from stream.engine.unpacking import FetchedRecord, Headers
from stream.positions.letters import LETTERS_READ, SCORES_LOST, LetterColumns
from stream.positions.refused import refused_by
from stream.settings import Settings
from support.fleet.payments import payment
from support.known_letters import refusal


def record(offset: int, number: int, *, filled_in: bool) -> FetchedRecord:
    headers = ((BACKFILL_HEADER, f"{'c' * 16}:{number}".encode()),) if filled_in else ()
    value = payment(number)
    key, body = value["card_id"].encode(), msgspec.json.encode(value)
    return FetchedRecord("transactions", 0, offset, 0, 0, key, body, headers)


class Scan:
    """Stands in for a topic of one partition; it tells up to where it was read."""

    until: Mapping[int, int] | None = None
    records = (record(3, 1, filled_in=True), record(4, 2, filled_in=False), record(5, 1, filled_in=True))

    async def read(self, until: Mapping[int, int]) -> AsyncIterator[tuple[list[FetchedRecord], float]]:
        Scan.until = until
        yield [one for one in self.records if one.offset < until[one.partition]], 1.0


@pytest.mark.parametrize(("header", "lost"), [(b"5", 5), (b"-5", 0), (b"", 0)])
def test_an_audit_is_not_clean_where_a_score_says_that_others_were_lost(header: bytes, lost: int) -> None:
    scored = audit.ScoredPartition(0)
    for offset, headers in enumerate(((), ((SCORES_LOST, header),), ((LETTERS_READ, b"9"),))):
        scored.add(score_of(offset, offset, headers=headers))
    report = report_on(scored)
    assert (report.lost_scores, report.clean) == (lost, not lost)
    lines = list(_audit_lines(report))
    told = "Kafka lost up to 5 acknowledged scores that a worker or a commit had noted, and perhaps later ones"
    assert any(told in line for line in lines) is bool(lost)
    assert lines[-1] == "each offset has one verdict"


def test_what_void_scores_and_other_records_say_of_a_loss_does_not_count() -> None:
    scored, lost = audit.ScoredPartition(0), ((SCORES_LOST, b"5"),)
    scored.add(score_of(3, 3, headers=lost))
    scored.add(score_of(3, 3, headers=lost))  # a write that was given up, and landed all the same
    scored.add(FetchedRecord("scores", 0, 0, 0, 0, b"", b"", lost))
    assert report_on(scored).lost_scores == 5


@pytest.mark.parametrize(("times_ms", "lost"), [(range(7), 0), (range(7, 8), 5), (range(7, 90), 5), (range(8, 90), 0)])
def test_a_loss_counts_while_the_score_that_tells_of_it_is_in_the_range(times_ms: range, lost: int) -> None:
    scored = audit.ScoredPartition(0, times_ms)
    scored.add(score_of(3, 3, headers=((SCORES_LOST, b"5"),), at_ms=7))
    report = report_on(scored)
    assert (report.lost_scores, report.clean) == (lost, not lost)
    assert list(scored.offsets) == [3], "the decision counts all the same"


async def test_what_was_filled_in_before_the_range_is_found_at_its_first_place(monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def scan_topic(_settings: Settings, _topic: str, since_ms: int) -> AsyncIterator[Any]:
        assert since_ms == 0
        yield Scan()

    monkeypatch.setattr(audit, "scan_topic", scan_topic)
    filled, decided, other = (audit._identity(record(9, number, filled_in=False)) for number in (1, 2, 3))
    found = await audit._filled_in_before(Settings(), "transactions", {0: 6}, {filled, decided, other})
    assert (found, Scan.until) == ({filled: "0:3"}, {0: 6})
    assert await audit._filled_in_before(Settings(), "transactions", {0: 3}, {filled}) == {}


def report_on(scored: audit.ScoredPartition) -> audit.AuditReport:
    verdicts: Any = SimpleNamespace(scored={0: scored}, refused=SimpleNamespace(late=0))
    return audit._report("transactions", 0, verdicts, {}, {})


def score_of(offset: int, number: int, log: int = 0, headers: Headers = (), at_ms: int = 0) -> FetchedRecord:
    """Return the score at the offset of a payment, of which it may not be."""
    value = payment(number)
    ids = {name: value[name] for name in ("card_id", "transaction_id")}
    body = msgspec.json.encode(ids | {"epoch": 1, "revision": 1, "source": {"offset": offset, "log": log}})
    return FetchedRecord("scores", 0, offset, at_ms, 0, b"", body, headers)


def test_an_offset_whose_score_is_of_another_payment_is_a_fault() -> None:
    scored = audit.ScoredPartition(0)
    for offset, number in enumerate((1, 2, 3)):
        scored.add(score_of(offset, number))
    made = audit.PartitionAudit(0, scored, np.empty(0, np.int64), frozenset(), ())
    made.begin(0)
    made.add([record(offset, number, filled_in=False) for offset, number in enumerate((1, 9, 3))])
    assert made.counts == {audit.Kind.DECIDED: 2}
    assert made.faults == {audit.Fault.DECIDED_ANOTHER: [1]}


def accepted(partition: int, log: int) -> Event:
    return Event(
        event_id="e",
        deployment="default",
        kind=EventKind.ACCEPTED,
        revision=1,
        worker="w",
        at="2026-01-01T00:00:00.000Z",
        command=CommandKind.ACCEPT_LOSS,
        topic="transactions",
        partition=partition,
        log=log,
        up_to=0,
        topic_id="id",
    )


def test_a_partition_is_in_the_log_that_was_accepted_for_it_or_that_its_last_score_names() -> None:
    logs = follow_logs(Logs(), accepted(partition=1, log=1))
    assert [audit._own_log(logs, "transactions", partition, 1) for partition in (0, 1)] == [0, 1]
    assert audit._own_log(logs, "transactions", 0, 2) == 2, "a topic that was made anew, and not accepted yet"
    scored = audit.ScoredPartition(0)
    for offset, log in ((7, 0), (2, 1), (3, 1)):
        scored.add(score_of(offset, offset, log))
    assert (scored.log, list(scored.offsets), scored.earlier, scored.last) == (1, [2, 3], 1, 3)
    assert len(scored.decided) == 2


def test_a_partition_without_an_accepted_loss_is_in_the_log_of_its_dead_letters() -> None:
    scored = {partition: audit.ScoredPartition(0) for partition in (0, 1, 2)}
    scored[1].add(score_of(7, 7))
    scored[2].add(score_of(2, 2, log=2))
    sources = [("transactions", partition, log) for partition, log in ((0, 1), (0, 0), (1, 1), (2, 1), (3, 1))]
    audit._begin_logs_of_letters(scored, sources)
    assert [one.log for one in scored.values()] == [1, 1, 2]
    assert ([one.earlier for one in scored.values()], list(scored[2].offsets)) == ([0, 1, 0], [2])
    letters = {("transactions", 0, 1): LetterColumns()}
    letters["transactions", 0, 1].add(refusal(0, 4, 1, log=1))
    verdicts = audit._Verdicts(scored, refused_by(letters, {}, "transactions"), Logs())
    made = audit._partition(verdicts, "transactions", 1, 0)
    made.begin(4)
    made.add([record(4, 4, filled_in=False)])
    assert made.counts == {audit.Kind.REFUSED: 1}
