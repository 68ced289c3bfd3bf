"""What runs in the background of a worker goes on after a request was given up, or ends the worker with a reason."""

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from mode import Service

from features.errors import StoreRefusedError, StoreUnavailableError
from features.redis.retention import NO_COVERAGE, EpochCoverage
from models.terms import Term
from models.worker_records import WorkerRecords
from stream import watchdog
from stream.kafka import topic_settings
from stream.kafka.topic_settings import TopicWatch
from stream.recovery import reapply, repairer
from stream.recovery.repairer import Repairer, RepairProgress
from stream.settings import Settings
from stream.worker import app as agents
from stream.worker import gauges, group, losses, main, role, startup
from stream.worker.fact_log import FactLog
from stream.worker.gauges import Lag
from stream.worker.group import GroupCheck
from stream.worker.lifecycle import LifecycleLog
from stream.worker.losses import InputLosses
from stream.worker.role import PublishedScores
from stream.worker.startup import Startup
from support.given_up import GivenUpOnce, assert_asks_again, give_up
from support.input_losses import losses_of

LABELS = TopicPartition("labels", 0)
SETTINGS = Settings()


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the reasons with which the process would have been ended."""
    reasons: list[str] = []
    monkeypatch.setattr(watchdog, "end_process", reasons.append)
    return reasons


async def wait_for_change(_seconds: float) -> None:
    await asyncio.sleep(0)


async def stop(*_: object, **__: object) -> None: ...


def inputs() -> InputLosses:
    deps: Any = SimpleNamespace(wait_for_change=wait_for_change)
    return losses_of(deps, deps, admin=deps, positions=deps, copies=deps)


# --- loops that ask again


async def test_the_published_scores_are_followed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    requests, follower = GivenUpOnce(), SimpleNamespace(term=Term(1, "blue"), workers=WorkerRecords())
    monkeypatch.setattr(role, "_RETRY_SECONDS", 0.001)
    monkeypatch.setattr(role, "_POLL_SECONDS", 0.001)
    monkeypatch.setattr(role, "open_consumer", lambda *_, **__: SimpleNamespace(start=requests, stop=stop))
    published = PublishedScores(Settings(deployment="green"), follower, None)  # type: ignore[arg-type]
    published.assigned([0])
    await assert_asks_again(published.run(), requests)


async def test_the_ids_of_the_topics_are_compared_again(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = GivenUpOnce()
    monkeypatch.setattr(losses, "_WATCH_SECONDS", 0.001)
    monkeypatch.setattr(losses, "topic_states", requests)
    await assert_asks_again(inputs().watch(), requests)


async def test_a_partition_of_labels_is_checked_again(monkeypatch: pytest.MonkeyPatch, ended: list[str]) -> None:
    requests = GivenUpOnce()
    monkeypatch.setattr(losses, "committed_offsets", requests)
    checked = inputs()
    checked._check_displaced(LABELS)
    await asyncio.wait_for(requests.again.wait(), 5)
    assert checked.reasons() == [
        "labels partition 0: it cannot be checked for losses: KafkaConnectionError: the client has given up a request"
    ]
    (task,) = checked._tasks
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert ended == []


async def test_commands_that_are_gone_are_looked_for_again_by_the_next_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "input_states", give_up)
    assert "given up" in str(await inputs().examine(TopicPartition("model-control", 0), 5))


async def test_the_lag_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = GivenUpOnce()
    consumer: Any = SimpleNamespace(backlog=requests)
    monkeypatch.setattr(gauges, "_QUERY_SECONDS", 0.001)
    await assert_asks_again(Lag(lambda: consumer)._run(), requests)


async def test_the_members_of_the_group_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = GivenUpOnce()
    monkeypatch.setattr(group, "_WATCH_SECONDS", 0.001)
    monkeypatch.setattr(group, "members_of", requests)
    await assert_asks_again(GroupCheck(SETTINGS, None).watch(), requests)  # type: ignore[arg-type]


async def test_the_settings_of_the_topics_are_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = GivenUpOnce()
    monkeypatch.setattr(topic_settings, "_CHECK_SECONDS", 0.001)
    monkeypatch.setattr(topic_settings, "deviations", requests)
    await assert_asks_again(TopicWatch(SETTINGS, None).run(), requests)  # type: ignore[arg-type]


async def lose_connection() -> None:
    raise StoreUnavailableError("the server has closed the connection")


async def test_redis_is_looked_at_at_once_where_a_connection_is_lost_and_soon_again_where_that_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks, answered, starting = 0, asyncio.Event(), CrashedStartup()

    async def refresh() -> None:
        nonlocal looks
        looks += 1
        if looks < 4:
            raise (StoreRefusedError if looks == 2 else StoreUnavailableError)("away")
        answered.set()

    monkeypatch.setattr(startup, "_CHECK_SECONDS", 3600.0)
    starting._store = SimpleNamespace(refresh=refresh, watch=lose_connection)  # type: ignore[assignment]
    work = [asyncio.create_task(one) for one in (starting._check_redis(), starting._watch_deletions())]
    await asyncio.wait_for(answered.wait(), 5)
    await asyncio.sleep(0)
    assert starting._redis_trouble is None
    for task in work:
        task.cancel()
    await asyncio.gather(*work, return_exceptions=True)


async def test_a_subscription_that_redis_refuses_is_tried_again_and_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried, again, starting = 0, asyncio.Event(), CrashedStartup()

    async def watch() -> None:
        nonlocal tried
        tried += 1
        if tried < 4:
            raise StoreRefusedError("not allowed")
        again.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(startup, "_SUBSCRIBE_SECONDS", 0.001)
    starting._store = SimpleNamespace(watch=watch)  # type: ignore[assignment]
    watching = asyncio.create_task(starting._watch_deletions())
    await asyncio.wait_for(again.wait(), 5)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert caplog.text.count("may go undetected: not allowed") == 1


async def test_histories_are_trimmed_and_checkpoints_noted_again_after_redis_refused_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused, starting = RefusedOnce(), CrashedStartup()
    monkeypatch.setattr(startup, "_TRIM_SECONDS", 0.001)
    store = SimpleNamespace(incomplete=False, state=SimpleNamespace(pending_repair=None), compact=refused)
    histories = SimpleNamespace(catch_up=stop)
    starting._store, starting._histories = store, histories  # type: ignore[assignment]
    trimming = asyncio.create_task(starting._trim())
    await asyncio.wait_for(refused.again.wait(), 5)
    trimming.cancel()
    await asyncio.gather(trimming, return_exceptions=True)
    consumer: Any = SimpleNamespace(finished_offsets=lambda _topic: {0: 5})
    made = repairer_of(
        store=SimpleNamespace(checkpoint=RefusedOnce()),
        consumer=lambda: consumer,
        withheld=lambda _topic: False,
        log=lambda _topic: 0,
    )
    made.assigned()
    await made._checkpoint()  # raises nothing


def repairer_of(**parts: Any) -> Repairer:
    names = ("policy", "store", "consumer", "read_to", "begun_are_done", "withheld", "emit", "progress", "log")
    return Repairer(settings=SETTINGS, **dict.fromkeys(names) | parts)


class RefusedOnce:
    """A call that Redis refuses at first."""

    def __init__(self) -> None:
        self.again = asyncio.Event()
        self._refused = False

    async def __call__(self, *_: object) -> None:
        if not self._refused:
            self._refused = True
            raise StoreRefusedError("may evict")
        self.again.set()


async def test_histories_are_repaired_again(monkeypatch: pytest.MonkeyPatch) -> None:
    requests, missing = GivenUpOnce(), EpochCoverage(2, NO_COVERAGE.cover)
    state = SimpleNamespace(pending_repair=missing, complete=NO_COVERAGE, target=missing)
    store: Any = SimpleNamespace(state=state, incomplete=True, lock=asyncio.Lock(), connect=stop, close=stop)
    monkeypatch.setattr(repairer, "_RETRY_SECONDS", 0.001)
    monkeypatch.setattr(reapply, "RedisStore", lambda *_: store)
    monkeypatch.setattr(reapply, "open_consumer", lambda *_, **__: SimpleNamespace(start=requests, stop=stop))
    made = repairer_of(store=store, progress=RepairProgress())
    made.assigned()
    await assert_asks_again(made._repair_lost(), requests)


# --- what ends the worker


class CrashedStartup(Startup):
    """The start-up of a worker without parts, which collects why it crashed."""

    def __init__(self) -> None:
        parts: Any = dict.fromkeys(inspect.signature(Startup).parameters)
        super().__init__(**parts | {"settings": SETTINGS})
        self.crashes: list[BaseException] = []

    async def crash(self, reason: BaseException) -> None:
        self.crashes.append(reason)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_background_work_that_ends_as_cancelled_on_its_own_crashes_the_worker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    starting = CrashedStartup()
    starting._begin(give_up)
    await settle()
    (why,) = starting.crashes
    assert "give_up" in str(why)
    assert "background work failed" in caplog.text


async def test_a_step_of_start_up_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def explain(_settings: Settings, error: object) -> str:
        return str(error)

    requests, starting = GivenUpOnce(), CrashedStartup()
    monkeypatch.setattr(startup, "_RETRY_SECONDS", 0.001)
    monkeypatch.setattr(startup, "explain_error", explain)
    await assert_asks_again(starting._until("Kafka", requests), requests)
    assert "the client has given up a request" in str(starting._waiting_for)


def test_a_worker_that_cannot_log_in_any_more_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    starting = CrashedStartup()
    starting._waiting_for, starting._follower = None, SimpleNamespace(caught_up=True, loss=None)  # type: ignore[assignment]
    assert starting.reasons() == []
    monkeypatch.setattr(startup, "login_trouble", lambda _: "cannot log in to Kafka: it is away")
    assert starting.reasons() == ["cannot log in to Kafka: it is away"]


async def test_a_batch_that_ends_as_cancelled_on_its_own_ends_the_process(ended: list[str]) -> None:
    async def batches() -> AsyncIterator[Any]:
        yield SimpleNamespace(value=SimpleNamespace(topic="transactions", cost_seconds=0.0))

    await agents.batch_agent(give_up)(SimpleNamespace(channel=batches()))
    await settle()
    (why,) = ended
    assert "ended as cancelled" in why


async def test_a_start_that_ends_as_cancelled_on_its_own_ends_the_worker_with_70(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Unstartable(Service):
        settings = SETTINGS

        def __init__(self, *_: object) -> None:
            super().__init__()
            self.lag = Lag(lambda: None)
            self.facts = FactLog(lambda _: None)
            self.lifecycle = LifecycleLog(lambda: ["starting"], SimpleNamespace(), SimpleNamespace(), self.facts)

        async def on_start(self) -> None:
            await give_up()

        def pulses(self) -> dict[str, int]:
            return {}

    monkeypatch.setattr(main, "WorkerApp", Unstartable)
    monkeypatch.setattr(main, "add_health", lambda _: None)
    monkeypatch.setattr(main.Watchdog, "start", lambda _: None)  # it would end the tests' own process a minute later
    telemetry: Any = None
    assert await asyncio.wait_for(main._main(SETTINGS, telemetry, None), 5) == 70
    assert "the worker could not start" in caplog.text
    assert [one.levelno for one in caplog.records if "could not start" in one.message] == [logging.CRITICAL]


async def test_a_worker_goes_on_without_its_log_of_changes_if_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    broken: Any = SimpleNamespace()
    task = LifecycleLog(list, broken, broken, FactLog(lambda _: None)).start()
    await settle()
    assert task.done()
    assert "changes of this worker's state are no longer logged" in caplog.text
