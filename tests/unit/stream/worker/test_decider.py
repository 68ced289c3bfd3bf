"""A partition whose position is read again while its outputs are written is delivered again, and ends no worker."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from models.limits import LimitState
from models.logs import Logs, LostRange, SkippedRange
from stream.contract.codes import DeadLetterCode
from stream.control.follower import Follower
from stream.engine.batches import Batch, CommitLedger
from stream.engine.publisher import Outgoing
from stream.engine.unpacking import FetchedRecord
from stream.errors import StaleBatchError
from stream.pipeline import DecisionTerms, Outputs
from stream.positions.dead_letters import DeadLetterRuns, Halt
from stream.settings import Settings
from stream.worker import decider as module
from stream.worker.decider import Decider
from stream.worker.outputs import TopicOutputs, Written
from stream.worker.refusals import SettledOffsets

READING, KNOWN = 0, 1


class Positions:
    """The positions of two partitions; that of `READING` is being read again."""

    refusals = SimpleNamespace(written=int)

    def __init__(self) -> None:
        self.known = {KNOWN: "known"}
        self.advanced: list[int] = []

    def get(self, partition: int) -> str | None:
        return self.known.get(partition)

    def why(self, _partition: int) -> str:
        return "its last decisions are being read"

    def advance(self, partition: int, *_: object) -> bool:
        self.advanced.append(len(self.known[partition]))
        return True


def batch_of(ledger: CommitLedger) -> Batch:
    records = {one: [FetchedRecord("transactions", one, 0, 0, 0, b"c", b"{}", ())] for one in (READING, KNOWN)}
    for one in records:
        ledger.track(TopicPartition("transactions", one), 1, records[one][-1].offset)
    return Batch("transactions", 1, records, ledger, asyncio.Event())


async def test_a_partition_that_is_read_again_during_its_write_is_set_aside_and_the_others_advance() -> None:
    ledger, positions = CommitLedger(), Positions()
    batch = batch_of(ledger)
    records = batch.records

    async def write(*_: object) -> Written:
        return Written(ends={READING: 5, KNOWN: 7})

    decider: Any = Decider.__new__(Decider)
    decider._positions, decider._writer, decider._settings = positions, SimpleNamespace(write=write), Settings()
    scores = TopicOutputs("scores", {one: [Outgoing(0, b"c", b"{}", ())] for one in records})
    limits = {one: LimitState() for one in records}
    terms = SimpleNamespace(serving=SimpleNamespace(revision=1), limit_states=limits, log=0, epochs={})
    await decider._write(batch, terms, scores, [])
    assert batch.aside == {READING: "its last decisions are being read"}
    assert (batch.current(), len(positions.advanced)) == ([KNOWN], 1)


async def test_a_partition_that_is_read_again_while_it_is_decided_is_set_aside_before_it_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch, written = batch_of(CommitLedger()), list[int]()

    class Writer:
        """Notes for which partitions something is written."""

        async def write(self, scores: TopicOutputs, *_: object) -> Written:
            written.extend(scores.records)
            return Written()

    class Known(Positions):
        """What is asked of known positions alone."""

        role = SimpleNamespace(publishes=True, scores="scores")
        log = 0

        def __getitem__(self, partition: int) -> str:
            return self.known[partition]

        def claim_headers(self, partition: int) -> list[tuple[str, bytes]]:
            assert self.known[partition]
            return []

        def note(self, partition: int, _behind: int) -> str:
            return self.known[partition]

    decider: Any = Decider.__new__(Decider)
    decider._positions, decider._writer, decider._topic = Known(), Writer(), "transactions"
    decider._settings, decider._score_events = Settings(), None
    decider._runs, decider._runs_of = DeadLetterRuns(), {}
    decider._unwritten, decider._cap_log = lambda *_: [], SimpleNamespace(look=lambda *_: None)
    decider._unconfirmed = SimpleNamespace(keep=lambda *_: None)
    limits = {one: LimitState() for one in batch.records}
    serving = SimpleNamespace(revision=1, decline_cap=None, let_through=None, live=SimpleNamespace(digest="d"))
    terms = DecisionTerms(serving, {}, (), 0, limits)  # type: ignore[arg-type]
    monkeypatch.setattr(module, "_overruled", lambda _role, terms, outputs: (outputs.scored, terms.limit_states))
    outgoing = {one: [Outgoing(0, b"c", b"{}", ())] for one in batch.records}
    scored: Any = SimpleNamespace(by_partition=lambda: outgoing, of=lambda partitions: partitions)
    decided = Outputs(scored)
    await decider._publish(batch, Known.role, terms, decided)
    assert written == [KNOWN]
    assert batch.aside == {READING: "its last decisions are being read"}
    for partition in batch.current():
        batch.set_aside(partition, "it has moved")
    with pytest.raises(StaleBatchError, match="before anything was written"):
        await decider._publish(batch, Known.role, terms, decided)


class LateFollower(Follower):
    """A follower of which others wait for a change; it tells when somebody does."""

    def __init__(self) -> None:
        super().__init__(Settings())
        self.awaited = asyncio.Event()

    async def wait_for_change(self, timeout: float) -> None:  # noqa: ASYNC109 - as it is called
        self.awaited.set()
        await super().wait_for_change(timeout)


@pytest.mark.parametrize("found", [True, False], ids=["it is found", "it is not"])
async def test_a_batch_goes_on_as_soon_as_a_position_is_found_and_after_a_while_without_it(
    monkeypatch: pytest.MonkeyPatch, *, found: bool
) -> None:
    monkeypatch.setattr(module, "_POLL_SECONDS", 60 if found else 0.001)
    monkeypatch.setattr(module, "_POSITION_SECONDS", 60 if found else 0.01)
    ledger, positions, follower = CommitLedger(), Positions(), LateFollower()
    at = SimpleNamespace(revision_in=lambda _term: 0)
    positions.known = {KNOWN: at}  # type: ignore[dict-item]
    batch = batch_of(ledger)
    decider: Any = Decider.__new__(Decider)
    decider._positions, serving = positions, SimpleNamespace(revision=1)
    positions.role = SimpleNamespace(term=SimpleNamespace(number=0))  # type: ignore[attr-defined]
    models = SimpleNamespace(serving=lambda: serving)
    decider._models, decider._may_decide, decider._follower = models, lambda: True, follower
    waiting = asyncio.create_task(decider._await_serving(batch))
    await asyncio.wait_for(follower.awaited.wait(), 5)
    if found:
        positions.known[READING] = at  # type: ignore[assignment]
        await follower.wake()
    assert await asyncio.wait_for(waiting, 5) is serving
    assert batch.current() == ([READING, KNOWN] if found else [KNOWN])


async def test_what_was_accepted_as_lost_is_neither_decided_nor_applied_in_the_log_in_which_it_was_accepted() -> None:
    lost = {("default", "transactions", 0): (LostRange(0, 2, 4), LostRange(1, 0, 9), LostRange(0, None, 9))}
    records = [FetchedRecord("transactions", 0, offset, 0, 0, b"c", b"{}", ()) for offset in range(6)]
    ledger = CommitLedger()
    ledger.track(TopicPartition("transactions", 0), 1, 5)
    batch = Batch("transactions", 1, {0: records}, ledger, asyncio.Event())
    decider: Any = Decider.__new__(Decider)
    decider._settings, decider._follower = Settings(), SimpleNamespace(logs=Logs(lost=lost))
    decider._runs, decider._topic = DeadLetterRuns(), "transactions"
    decider._positions = SimpleNamespace(
        log=0,
        is_accepted=lambda _partition, offset: offset < 3,
        settled=lambda _partition: SettledOffsets(0, {5}, ()),
    )
    parted = decider._part(batch)
    assert ([one.offset for one in parted.decided], [one.offset for one in parted.undecided]) == ([0, 1], [4])
    assert parted.settled == 3
    decider._positions.log = 2
    parted = decider._part(batch)
    assert (len(parted.decided), len(parted.undecided), parted.settled) == (3, 2, 1)
    decider._positions.settled = lambda _partition: SettledOffsets(2, {5}, ())
    parted = decider._part(batch)
    kept = [one.offset for one in parted.decided], [one.offset for one in parted.undecided]
    assert (*kept, parted.settled) == ([2], [3, 4], 1), "a batch kept from an earlier reading begins before this one"


def test_a_halted_partition_is_held_until_its_end_is_skipped_in_its_log_or_another_worker_has_read_on() -> None:
    decider: Any = Decider.__new__(Decider)
    decider._topic, decider._runs = "transactions", DeadLetterRuns()
    committed = {0: 1_004, 1: 2_004, 2: 0}
    decider._positions = SimpleNamespace(log=3, partitions={0, 1}, committed=committed.__getitem__)
    for partition, offset in ((0, 999), (1, 1_999), (2, 999)):
        decider._runs.reached[partition] = Halt("transactions", partition, offset, DeadLetterCode.NOT_JSON)
        assert TopicPartition("transactions", partition) not in (held := held_by(decider)), held
        decider._runs.written(partition, 3, offset + 5)
    of_others = {("d", "transactions", 0): {SkippedRange(2, 999), SkippedRange(3, 998)}}
    decider._follower.logs = Logs(skipped=of_others)
    assert held_by(decider) == {TopicPartition("transactions", one) for one in (0, 1, 2)}
    assert decider.halted == 2, "of its own partitions"
    decider._follower.logs = Logs(skipped=of_others | {("d", "transactions", 1): {SkippedRange(3, 1_999)}})
    assert held_by(decider) == {TopicPartition("transactions", one) for one in (0, 2)}
    committed[0] = 1_005
    assert held_by(decider) == {TopicPartition("transactions", 2)}, "another worker owned it and went on"
    decider._positions.log = 4
    assert held_by(decider) == set(), "in the next log that offset is another record"
    assert decider.halted == 0


def held_by(decider: Any) -> Any:
    if not hasattr(decider, "_follower"):
        decider._follower = SimpleNamespace(logs=Logs())
    return decider.held()
