"""The thread of the consumer wakes those that wait for records, and reports its end however its consumer stops."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, KafkaConnectionError
from faust.types import TP

from stream.engine import fetch_thread
from stream.engine.fetch_thread import Arrivals, Fetched, FetchThread, Wanted
from stream.settings import Settings

HERE, ELSEWHERE = TopicPartition("transactions", 0), TopicPartition("labels", 0)
NOTHING = Fetched({}, {})
RECORDS: Any = Fetched({HERE: ["record"]}, {})


class StoppingThread(FetchThread):
    """A thread whose consumer raises while it stops; it does not run."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.reported = 0

    async def on_thread_stop(self) -> None:
        raise self.error

    def set_shutdown(self) -> None:
        self.reported += 1


async def test_a_stop_interrupted_by_a_cancelled_fetch_is_reported_to_the_main_loop() -> None:
    thread = StoppingThread(asyncio.CancelledError())
    await thread._shutdown_thread()
    assert thread.reported == 1


async def test_an_error_while_the_consumer_stops_is_raised_and_reported_to_the_main_loop() -> None:
    thread = StoppingThread(OSError("closed"))
    with pytest.raises(OSError, match="closed"):
        await thread._shutdown_thread()
    assert thread.reported == 1


async def test_what_is_asked_of_a_consumer_that_has_stopped_is_an_error_of_kafka() -> None:
    thread = StoppingThread(OSError())
    thread.thread_loop = asyncio.new_event_loop()
    thread.thread_loop.close()
    with pytest.raises(KafkaConnectionError, match="the consumer has stopped"):
        await thread.run_on_loop(thread.on_thread_stop())


# --- waiting for records


class QuietConsumer:
    """A consumer that polls nothing; `error` is what its coordinator has to tell."""

    error: Exception | None = None

    @contextmanager
    def polling(self) -> Iterator[None]:
        yield

    @property
    def has_failed(self) -> bool:
        return self.error is not None

    def check_errors(self) -> None:
        if self.error is not None:
            raise self.error


class QueuedThread(FetchThread):
    """A thread that does not run; `look` says what is queued at each look."""

    def __init__(self, look: Callable[[], Fetched]) -> None:
        self._look = look
        self._quiet: Any = QuietConsumer()
        self._arrivals = Arrivals(asyncio.get_running_loop())

    @property
    def log_consumer(self) -> Any:
        return self._quiet

    def run_on_loop(self, coroutine: Any) -> Any:
        return asyncio.get_running_loop().create_task(coroutine)

    def _taken(self, wanted: Wanted) -> Fetched:  # noqa: ARG002 - as it is called
        return self._look()

    def arrive(self, *partitions: TopicPartition) -> None:
        """Tell of an arrival from another thread, as the fetcher does, and wait for that thread."""
        thread = Thread(target=self._arrivals.note, args=(partitions,))
        thread.start()
        thread.join()


def wanted(*partitions: TopicPartition, may_take: Callable[[], bool] = lambda: True) -> Wanted:
    return Wanted(partitions, 10, 10, {}, may_take)


async def test_records_that_arrive_while_they_are_looked_for_are_not_waited_for() -> None:
    looks: list[int] = []

    def look() -> Fetched:
        looks.append(1)
        if len(looks) == 1:
            thread.arrive(HERE)  # too late for this look
            return NOTHING
        return RECORDS

    thread = QueuedThread(look)
    assert await asyncio.wait_for(thread.fetch(wanted(HERE)), 0.5) is RECORDS


async def test_only_those_wake_that_wait_for_a_partition_that_has_arrived() -> None:
    queued: dict[str, Fetched] = {}
    here = QueuedThread(lambda: queued.get("here", NOTHING))
    looks: list[int] = []

    def look_elsewhere() -> Fetched:
        looks.append(1)
        return NOTHING

    elsewhere = QueuedThread(look_elsewhere)
    elsewhere._arrivals = here._arrivals
    fetching = [asyncio.create_task(here.fetch(wanted(HERE))), asyncio.create_task(elsewhere.fetch(wanted(ELSEWHERE)))]
    await asyncio.sleep(0)
    queued["here"] = RECORDS
    here.arrive(HERE)
    done, _ = await asyncio.wait(fetching, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
    assert [one.result() for one in done] == [RECORDS]
    assert len(looks) == 1
    fetching[1].cancel()


async def test_a_fetch_that_may_not_take_any_more_ends_at_once_and_takes_nothing() -> None:
    allowed = [True]
    thread = QueuedThread(lambda: NOTHING if allowed[0] else RECORDS)
    fetching = asyncio.create_task(thread.fetch(wanted(HERE, may_take=lambda: allowed[0])))
    await asyncio.sleep(0)
    allowed[0] = False
    thread.interrupt()
    assert await asyncio.wait_for(fetching, 0.5) == NOTHING


async def test_the_coordinators_error_ends_a_fetch() -> None:
    thread = QueuedThread(lambda: NOTHING)
    thread._quiet.error = GroupAuthorizationFailedError("group")
    with pytest.raises(GroupAuthorizationFailedError):
        await thread.fetch(wanted(HERE))


# --- the group


class GroupConsumer:
    """A consumer of three partitions, two of which have a commit; `error` is what the coordinator raises."""

    has_started = True
    error: Exception | None = None

    def __init__(self) -> None:
        self.asked = 0
        self.sought: dict[TopicPartition, int] = {}
        self.left = asyncio.Event()

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition("transactions", number) for number in range(3)}

    async def commits(self) -> dict[TopicPartition, int]:
        self.asked += 1
        return {TopicPartition("transactions", number): 40 * number for number in range(2)}

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.sought[tp] = offset

    async def leave_group(self) -> None:
        if self.error is not None:
            raise self.error
        await self.left.wait()


class MemberThread(QueuedThread):
    """A thread that does not run, with a consumer in a group."""

    _has_started = True

    def __init__(self, consumer: GroupConsumer) -> None:
        super().__init__(lambda: NOTHING)
        self._quiet = consumer


async def test_the_commits_of_an_assignment_are_asked_for_by_one_request() -> None:
    consumer = GroupConsumer()
    found = await MemberThread(consumer).seek_to_committed()
    assert found == {TP("transactions", 0): 0, TP("transactions", 1): 40, TP("transactions", 2): None}
    assert (consumer.asked, consumer.sought) == (1, {TopicPartition("transactions", 1): 40})


@pytest.mark.parametrize("error", [None, KafkaConnectionError(), asyncio.CancelledError()], ids=repr)
async def test_a_coordinator_that_does_not_answer_delays_the_end_of_a_worker_by_a_moment(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    monkeypatch.setattr(fetch_thread, "_LEAVE_SECONDS", 0.01)
    consumer = GroupConsumer()
    consumer.error = error
    await asyncio.wait_for(MemberThread(consumer).leave_group(), 5)


@pytest.mark.parametrize(("instance", "interval"), [("", 150), ("worker-1", 3_333)], ids=["ordinary", "static"])
def test_only_a_member_whose_partitions_move_when_it_leaves_sends_heartbeats_often(
    instance: str, interval: int
) -> None:
    assert fetch_thread._heartbeat_ms(Settings(group_instance=instance), 3_333) == interval
    assert fetch_thread._heartbeat_ms(Settings(group_instance=instance), 100) == 100
