"""What the consumer says of partitions that are read again, and leaves unsaid of those that are well."""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from aiokafka import TopicPartition
from faust.types import TP
from numpy.random import default_rng

from stream.engine import transport
from stream.engine.batches import Batch, Commit, CommitLedger
from stream.engine.budgets import Budgets
from stream.engine.fetch_thread import Fetched
from stream.engine.lanes import AsidePartitions, Lane, LaneKind
from stream.engine.transport import BatchConsumer

HERE, ELSEWHERE = TopicPartition("transactions", 0), TopicPartition("transactions", 1)


def consumer(committed: dict[TopicPartition, int]) -> tuple[BatchConsumer, list[tuple[TopicPartition, int]]]:
    """Return a consumer of partitions with these commits, without a broker, and the offsets that it seeks."""
    sought: list[tuple[TopicPartition, int]] = []

    def run_on_loop(coroutine: Coroutine[Any, Any, object]) -> "asyncio.Task[object]":
        return asyncio.get_running_loop().create_task(coroutine)

    made: Any = BatchConsumer.__new__(BatchConsumer)
    made.app = SimpleNamespace(consumer_generation_id=1)
    made.can_resume_flow = asyncio.Event()
    made.can_resume_flow.set()
    made.lanes = ()
    made.ledger = CommitLedger()
    made._thread = SimpleNamespace(
        log_consumer=SimpleNamespace(seek=lambda *at: sought.append(at)), run_on_loop=run_on_loop
    )
    made._active_partitions = {TP(*tp) for tp in committed}
    made._committed_offset = defaultdict(lambda: None, {TP(*tp): offset for tp, offset in committed.items()})
    made._read_offset = {}
    return made, sought


async def test_after_a_rewind_into_a_new_log_the_old_ones_commit_is_not_what_is_finished() -> None:
    made, sought = consumer({HERE: 5_000, ELSEWHERE: 70})
    assert made.finished_offsets("transactions") == {0: 5_000, 1: 70}
    await made.rewind(HERE, 0)
    assert sought == [(HERE, 0)]
    assert made.finished_offsets("transactions") == {0: 0, 1: 70}


async def test_a_repair_leaves_what_has_no_verdict_yet_to_its_own_batch() -> None:
    made, _ = consumer({HERE: 50, ELSEWHERE: 7})
    for last in (59, 69):
        made.ledger.track(HERE, 1, last)
    assert await made.offsets_to_repair("transactions") == {0: 50, 1: 7}
    made.ledger.acknowledge(HERE, 1, 59)
    assert await made.offsets_to_repair("transactions") == {0: 60, 1: 7}


async def test_what_is_read_again_from_before_the_commit_is_finished_and_commits_nothing_below_it() -> None:
    made, _ = consumer({HERE: 50})
    await made.rewind(HERE, 10, committed=50)
    for last in (19, 48, 49, 60):
        made.ledger.track(HERE, 1, last)
    found = []
    for last in (19, 48, 49, 60):
        made.ledger.acknowledge(HERE, 1, last)
        found.append((made.finished_offsets("transactions")[0], made.ledger.committable().get(HERE)))
    assert found == [(20, None), (49, None), (50, Commit(50, "")), (61, Commit(61, ""))]
    await made.rewind(HERE, 0)
    made.ledger.track(HERE, 1, 4)
    made.ledger.acknowledge(HERE, 1, 4)
    assert made.ledger.committable() == {HERE: Commit(5, "")}, "of another log, so the earlier commit says nothing"


async def test_the_watchdog_sees_a_lane_from_its_first_poll_on_and_so_none_while_no_broker_responds() -> None:
    made: Any = consumer({HERE: 0})[0]
    made.flow_active = False
    made.lanes = (Lane("transactions", LaneKind.SHARED), Lane("transactions", LaneKind.RETRIES))
    assert made.pulses() == {}
    made.lanes[0].count_poll()
    assert made.pulses() == {"the consumer of transactions": 1}


@pytest.mark.parametrize("during", ["the fetch", "a search for what is wrong with another partition"])
@pytest.mark.parametrize("what", ["a rebalance has begun", "a rebalance is over"])
async def test_records_that_a_rebalance_overtakes_are_not_delivered_where_nobody_would_finish_them(
    during: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Any = consumer({HERE: 0})[0]
    made.flow_active, delivered = True, list[Batch]()
    troubles = {ELSEWHERE: SimpleNamespace()} if "another" in during else {}

    async def rebalance(*_: object) -> str:
        if what == "a rebalance is over":
            made.app.consumer_generation_id += 1
        else:
            made.flow_active = False
        return "it is looked for"

    async def fetch(*_: object) -> Fetched:
        if not troubles:
            await rebalance()
        return Fetched({HERE: [SimpleNamespace(offset=0)]}, troubles)  # type: ignore[list-item, dict-item]

    async def deliver(batch: Batch) -> None:
        delivered.append(batch)

    made.transport = SimpleNamespace(options=SimpleNamespace(examine=rebalance))
    made._fetch, made._deliver, made.draining = fetch, deliver, asyncio.Event()
    made._read_offset = {TP(*HERE): None}
    monkeypatch.setattr(BatchConsumer, "options", property(lambda self: self.transport.options))
    await asyncio.wait_for(made._poll_once(Lane("transactions", LaneKind.SHARED), [HERE]), 5)
    assert delivered == []


class Leaving(NamedTuple):
    """A consumer that is about to leave its group, the batch that it works on, and what it has done so far."""

    consumer: Any
    batch: Batch
    done: list[object]


@pytest.fixture
def leaving(monkeypatch: pytest.MonkeyPatch) -> Leaving:
    made: Any = consumer({HERE: 0})[0]
    done: list[object] = []

    async def commit_offsets(commits: dict[TopicPartition, Commit]) -> bool:
        done.append({tp: commit.offset for tp, commit in commits.items()})
        return True

    async def leave_group() -> None:
        done.append("left")

    made.draining, made._left, made.uncopied, made.stop_flow = asyncio.Event(), False, {}, made.can_resume_flow.clear
    settings = SimpleNamespace(drain_seconds=5)
    options = SimpleNamespace(settings=settings, topics=("transactions",), withheld=lambda _topic: False)
    monkeypatch.setattr(BatchConsumer, "options", options)
    made.commit = made.force_commit
    for name, value in (("interrupt", lambda: None), ("commit_offsets", commit_offsets), ("leave_group", leave_group)):
        setattr(made._thread, name, value)
    batch = Batch("transactions", 1, {0: [SimpleNamespace(offset=7)]}, made.ledger, made.draining)  # type: ignore[list-item]
    made.ledger.track(HERE, 1, 7)
    made._outstanding = {batch}
    assert batch.start()
    return Leaving(made, batch, done)


async def test_a_worker_that_is_stopped_commits_what_had_begun_then_leaves_its_group_and_commits_nothing_more(
    leaving: Leaving,
) -> None:
    made, batch, done = leaving
    handing_over = asyncio.create_task(made.hand_over())
    await asyncio.sleep(0)
    assert (batch.may_start(), done) == (False, []), "nothing begins any more, and what has begun is waited for"
    batch.acknowledge(0)
    batch.finish()
    await asyncio.wait_for(handing_over, 5)
    assert done == [{HERE: 8}, "left"]
    assert not await made.commit_now(HERE, Commit(9, ""))
    assert len(done) == 2


@pytest.mark.parametrize("error", [RuntimeError("the consumer has crashed"), asyncio.CancelledError()])
@pytest.mark.parametrize("step", ["_finish_started", "maybe_wait_for_commit_to_finish", "commit", "leave_group"])
async def test_whatever_fails_while_a_worker_ends_it_takes_all_other_steps_and_leaves_its_group(
    step: str, error: BaseException, leaving: Leaving, caplog: pytest.LogCaptureFixture
) -> None:
    made, batch, done = leaving
    batch.acknowledge(0)
    batch.finish()

    async def fail() -> None:
        raise error

    setattr(made._thread if step == "leave_group" else made, step, fail)
    await asyncio.wait_for(made.hand_over(), 5)
    skipped = {"commit": {HERE: 8}, "leave_group": "left"}.get(step)
    assert done == [one for one in ({HERE: 8}, "left") if one != skipped]
    assert not await made.commit_now(HERE, Commit(9, "")), "without a group the coordinator would take it"
    assert "a step of this worker's end failed, the others follow" in caplog.text


class CountedLane(Lane):
    """A lane that tells when it has polled ten times."""

    ten = asyncio.Event()

    def count_poll(self) -> None:
        super().count_poll()
        if self.polls == 10:
            self.ten.set()


async def test_a_lane_whose_flow_is_stopped_leaves_no_task_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    made: Any = consumer({HERE: 0})[0]
    monkeypatch.setattr(transport, "CALM_SECONDS", 0.001)
    made.flow_active, made.can_resume_flow = False, asyncio.Event()
    monkeypatch.setattr(BatchConsumer, "should_stop", False)
    made.app.should_stop = False
    lane, fetcher = CountedLane("transactions", LaneKind.SHARED), SimpleNamespace(should_stop=False)
    polling, before = asyncio.create_task(made._poll(lane, fetcher)), len(asyncio.all_tasks())
    await asyncio.wait_for(lane.ten.wait(), 5)
    assert len(asyncio.all_tasks()) <= before
    assert len(made.can_resume_flow._waiters) <= 1
    fetcher.should_stop = True
    made.can_resume_flow.set()  # ends the wait at once
    await asyncio.wait_for(polling, 5)


@pytest.mark.parametrize("kind", [LaneKind.SHARED, LaneKind.APART])
async def test_a_partition_changes_its_lane_only_after_it_is_set_aside_and_will_be_read_again(
    kind: LaneKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its later records would be decided by the other lane, and the commit would pass over these."""
    made: Any = consumer({HERE: 0})[0]
    made.flow_active, made.aside = True, AsidePartitions(asyncio.get_running_loop().time, default_rng())
    made.budgets, changed = Budgets(lambda: 0.0), list[bool]()
    lane = Lane("transactions", kind)

    async def fetch(*_: object) -> Fetched:
        records = [SimpleNamespace(offset=at, key=b"c", value=b"v", headers=()) for at in range(64)]
        return Fetched({HERE: records}, {})  # type: ignore[dict-item]

    async def fail(batch: Batch) -> None:
        batch.cost_seconds = 1.0 if kind is LaneKind.SHARED else 0.0
        batch.set_aside(0, "its scores are not acknowledged")

    async def seek(*_: object) -> None:
        changed.append((HERE in made.budgets) is (kind is LaneKind.SHARED))
        await asyncio.sleep(0)
        changed.append((HERE in made.budgets) is (kind is LaneKind.SHARED))

    if kind is LaneKind.APART:
        made.budgets.judge("transactions", {0: (await fetch()).records[HERE]}, 1.0, 2)
        made.budgets.clock = lambda: 60.0
        made.budgets._apart[HERE].piece = 512
    made._fetch, made._deliver, made._seek, made.draining = fetch, fail, seek, asyncio.Event()
    made._read_offset = {TP(*HERE): None}
    monkeypatch.setattr(BatchConsumer, "owned", {"transactions": 2})
    await asyncio.wait_for(made._poll_once(lane, [HERE]), 5)
    assert changed == [False, False], "not while it is sought"
    assert HERE in made.aside
    assert (HERE in made.budgets) is (kind is LaneKind.SHARED), "afterwards"
