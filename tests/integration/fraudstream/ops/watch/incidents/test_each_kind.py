"""An incident of each kind on a fleet: who is told, and payments, money and times as the topics give them.

The tests but the first wait for minutes, until an incident is over; they are run by `make acceptance`.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from fraudstream.ops.watch.incidents.texts import money_text
from fraudstream_client.incidents import Incident, IncidentKind, IncidentRule, Severity
from models.policy import Policy
from models.times import stated_ms
from support.fleet.fleet import Fleet, until
from support.fleet.incidents import (
    Fields,
    ReceiverThread,
    await_incident,
    guard_of,
    of_rule,
    recounted,
    report_of,
    running_receiver,
    stated,
    told,
)
from support.fleet.load import Load
from support.fleet.odd_amount_worker import COMMAND as FAILING
from support.fleet.odd_amount_worker import FAILING_SEED, ODD_MINOR
from support.fleet.payments import partition_of, payment, put_model
from support.fleet.workers import GUARD_COMMAND
from support.kafka.admin import remove_before
from support.kafka.cluster import Cluster
from support.kafka.operations import delete_topic
from support.redis.own import OwnRedis

OPENED, CHANGED, CLOSED = IncidentKind.OPENED, IncidentKind.CHANGED, IncidentKind.CLOSED
SECRET = "whsec_" + "A" * 43 + "="
CURRENCIES = ("EUR", "JPY", "USD")
DECLINES_ALL = Policy(review_at=1e-9, decline_at=2e-9)
KEY = next(f"card-{at}" for at in range(50) if partition_of(f"card-{at}") == 0)


@pytest.fixture
def receiver() -> Iterator[ReceiverThread]:
    with running_receiver() as running:
        yield running


def stood_in(one: Fields) -> bool:
    return "live_model_failed" in one["degraded"]


def waited(one: Fields) -> bool:
    return bool(one["latency_ms"] > 60_000)


class Stream:
    """Payments of several currencies; of some the model of `FAILING_SEED` gives no score."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self.count = fleet, 0

    def publish(self, count: int, *, failing: int = 0) -> None:
        numbers = range(self.count, self.count + count)
        self._fleet.publish(self._payment(number, fails=at < failing) for at, number in enumerate(numbers))
        self.count += count

    def decide(self, count: int, *, failing: int = 0) -> None:
        """Publish payments, and wait until they are decided."""
        self.publish(count, failing=failing)
        self._fleet.await_scores(self.count)

    @staticmethod
    def _payment(number: int, *, fails: bool) -> Fields:
        amount = {"amount_minor": ODD_MINOR} if fails else {}
        return payment(number, currency="EUR" if fails else CURRENCIES[number % 3], **amount)


def test_stand_ins_are_told_of_once_by_two_guards_posted_listed_and_reported(
    fleet: Fleet, receiver: ReceiverThread
) -> None:
    fleet.go_live(seed=FAILING_SEED, command=FAILING)
    posting = {"INCIDENT_WEBHOOK": receiver.receiver.url, "INCIDENT_SECRET": SECRET}
    guards = [guard_of(fleet, **posting) for _ in range(2)]
    stream = Stream(fleet)
    stream.decide(40, failing=7)
    opened = await_incident(fleet, IncidentRule.STAND_INS, OPENED)
    assert_as_recounted(fleet, opened)
    until(lambda: len(receiver.ids) == 1, "it is posted")
    posted = receiver.receiver.accepted[0]
    assert posted.event["data"] == json.loads(next(one.value for one in fleet.read("incidents")))
    assert posted.headers["webhook-signature"].startswith("v1,")
    assert_listed(fleet, opened)
    assert [guard.terminate() for guard in guards] == [0, 0]
    assert [one.kind for one in of_rule(fleet, IncidentRule.STAND_INS)] == [OPENED]
    assert SECRET not in "".join(guard.log() for guard in guards)
    assert "/hook" not in "".join(guard.log() for guard in guards)


def assert_as_recounted(fleet: Fleet, opened: Incident) -> None:
    """Assert that what is stated of stand-ins is what the scores say up to that second."""
    found = recounted(fleet, stood_in, stated_ms(opened.at) // 1000)
    assert stated(opened) == found
    assert 0 < found.events <= 7
    assert opened.text.startswith(f"{found.events} payment")
    assert money_text("EUR", ODD_MINOR * found.events) in opened.text


def assert_listed(fleet: Fleet, opened: Incident) -> None:
    done = fleet.cli("incident", "list", "--open", "--json")
    (listed,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (listed["incident_id"], listed["rule"], listed["open"]) == (opened.incident_id, "stand_ins", True)
    report = report_of(fleet, opened)["report"]
    assert report.startswith("Payments were decided without the current model: ")
    assert f"Reference {opened.incident_id}" in report
    assert fleet.prefix not in report


@pytest.mark.acceptance
def test_a_receiver_that_is_down_for_a_minute_and_a_guard_that_is_killed_lose_nothing_and_tell_nothing_twice(
    fleet: Fleet, receiver: ReceiverThread
) -> None:
    fleet.go_live(seed=FAILING_SEED, command=FAILING)
    posting = {"INCIDENT_WEBHOOK": receiver.receiver.url, "INCIDENT_SECRET": SECRET}
    kept = ("--checkpoint", str(fleet.folder / "guard.json.gz"))
    first, second = guard_of(fleet, *kept, **posting), guard_of(fleet, **posting)
    stream = Stream(fleet)
    stream.decide(60, failing=9)
    until(lambda: len(receiver.ids) == 1, "the first one is posted")
    receiver.stop()
    stopped = time.monotonic()
    fleet.publish([(KEY, b"broken")] * 20)  # a burst of dead letters: another incident
    await_incident(fleet, IncidentRule.DEAD_LETTERS, OPENED)
    stream.decide(50, failing=12)
    first.kill()
    stream.decide(50, failing=5)
    time.sleep(max(0.0, 60 - (time.monotonic() - stopped)))
    receiver.start()
    first = guard_of(fleet, *kept, **posting)
    closed = await_incident(fleet, IncidentRule.STAND_INS, CLOSED, 240)
    assert stated(closed) == recounted(fleet, stood_in)
    expected = [f"{one.incident_id}.{one.sequence}.{one.kind}" for one in told(fleet)]
    until(lambda: len(set(receiver.ids)) >= len(expected), "everything is posted", 90)
    assert Counter(dict.fromkeys(receiver.ids, 1)) == Counter(expected)
    assert list(dict.fromkeys(receiver.ids)) == expected, "in the order of the topic"
    assert [one.sequence for one in of_rule(fleet, IncidentRule.STAND_INS)] == list(
        range(len(of_rule(fleet, IncidentRule.STAND_INS)))
    )
    assert [guard.terminate() for guard in (first, second)] == [0, 0]


@pytest.mark.acceptance
def test_payments_that_wait_for_no_worker_are_told_of_while_they_wait_and_once_it_is_over(fleet: Fleet) -> None:
    (worker,) = fleet.go_live()
    guard, stream = guard_of(fleet), Stream(fleet)
    stream.decide(30)
    worker.kill()
    stream.publish(60)
    opened = await_incident(fleet, IncidentRule.NO_WORKER, OPENED, 120)
    assert (opened.severity, opened.partition) == (Severity.PAGE, None)
    assert opened.decided == {}
    assert 0 < opened.events <= 60
    worker = fleet.worker()
    fleet.await_scores(stream.count)
    closed = await_incident(fleet, IncidentRule.NO_WORKER, CLOSED, 180)
    found = recounted(fleet, waited)
    assert (
        (closed.events, closed.amounts, closed.decided) == (found.events, found.amounts, found.decided) != (0, {}, {})
    )
    assert stated_ms(closed.until) == found.until_ms
    since = min(record.timestamp for record in fleet.read("transactions") if record.offset >= 0)
    assert since <= stated_ms(closed.since) <= (found.since_ms or 0)
    assert closed.opening == opened.opening
    assert [worker.terminate(), guard.terminate()] == [0, 0]


@pytest.mark.acceptance
def test_late_decisions_are_told_of_once_they_last(fleet: Fleet) -> None:
    fleet.go_live(DEADLINE_MS="1")
    guard = guard_of(fleet, DEADLINE_MS="1")
    with Load(fleet, 20):
        opened = await_incident(fleet, IncidentRule.DEADLINES_MISSED, OPENED, 200)
    assert opened.severity is Severity.PAGE
    found = recounted(fleet, lambda one: bool(one["latency_ms"] > 1), stated_ms(opened.at) // 1000)
    assert stated(opened)[:3] == found[:3]
    assert guard.terminate() == 0


@pytest.mark.acceptance
def test_a_burst_of_dead_letters_and_the_partition_that_it_halts_are_told_of(fleet: Fleet) -> None:
    (worker,) = fleet.go_live()
    guard = guard_of(fleet)
    fleet.publish([(KEY, json.dumps({"amount_minor": 250, "currency": "EUR"}).encode())] * 1_000)
    letters = await_incident(fleet, IncidentRule.DEAD_LETTERS, OPENED)
    halted = await_incident(fleet, IncidentRule.PARTITION_HALTED, OPENED)
    assert (halted.partition, halted.opening and halted.opening.offset) == (0, 999)
    fleet.publish(payment(number, card_id=KEY) for number in range(8))
    time.sleep(70)
    assert worker.terminate() == 0
    worker = fleet.worker()
    fleet.await_scores(8)
    closed = await_incident(fleet, IncidentRule.PARTITION_HALTED, CLOSED, 180)
    found = recounted(fleet, waited)
    assert (closed.events, closed.amounts) == (found.events, found.amounts) == (8, found.amounts)
    changed = of_rule(fleet, IncidentRule.DEAD_LETTERS)[-1]
    assert changed.incident_id == letters.incident_id
    if changed.kind is CHANGED:
        assert (changed.events, changed.amounts) == (1_000, {"EUR": 250_000})
    code = dict(fleet.dead_letters()[0].headers)["error.code"].decode()
    assert changed.reasons == {code: changed.events}
    assert of_rule(fleet, IncidentRule.NO_WORKER) == []
    assert [worker.terminate(), guard.terminate()] == [0, 0]


@pytest.mark.acceptance
def test_the_breach_of_a_guard_is_told_of_with_all_that_the_new_model_decided(fleet: Fleet) -> None:
    fleet.go_live()
    bad = put_model(fleet.models, seed=1, policy=DECLINES_ALL)
    guard = guard_of(fleet, "--cool-down", "0", "--least-decisions", "20")
    with Load(fleet, 200):
        assert fleet.cli("model", "canary", bad, "--share", "20%", "--reason", "test").returncode == 0
        opened = await_incident(fleet, IncidentRule.GUARD_BREACH, OPENED, 120)
        time.sleep(5)
    closed = await_incident(fleet, IncidentRule.GUARD_BREACH, CLOSED, 150)
    found = recounted(fleet, lambda one: one["arm"] == "canary" and one["decided_by"] == "model")
    assert stated(closed) == found
    assert found.events > 5, "a guard ends it within a tenth of a second or two of its first declines"
    assert {one.command for one in opened.actions} >= {"end_canary"}
    assert "The new model was withdrawn" in report_of(fleet, closed)["report"]
    assert guard.terminate() == 0


@pytest.mark.acceptance
def test_a_cap_that_overrules_for_a_minute_is_told_of(fleet: Fleet) -> None:
    fleet.go_live()
    wild = put_model(fleet.models, seed=1, policy=DECLINES_ALL)
    guard = guard_of(fleet, "--cool-down", "3600")
    for words in (("limits", "set", "--decline-cap", "1%"), ("model", "canary", wild, "--share", "50%")):
        assert fleet.cli(*words, "--reason", "test").returncode == 0
    assert fleet.cli("model", "freeze", "--hands-off", "--reason", "test").returncode == 0
    with Load(fleet, 40):
        opened = await_incident(fleet, IncidentRule.CAP_REACHED, OPENED, 180)
    found = recounted(fleet, lambda one: one["overruled"] is not None, stated_ms(opened.at) // 1000)
    assert stated(opened) == found
    assert set(found.decided["model"]) == {"review"}
    assert guard.terminate() == 0


@pytest.mark.acceptance
@pytest.mark.parametrize("redis_down", ["wait", "degrade"])
def test_lost_histories_are_told_of_whether_or_not_payments_wait_for_them(
    apart: Fleet, own_redis: OwnRedis, redis_down: str
) -> None:
    apart.go_live(REDIS_DOWN=redis_down)
    guard = guard_of(apart)
    with Load(apart, 100):
        time.sleep(8)
        asyncio.run(own_redis.empty())
        opened = await_incident(apart, IncidentRule.HISTORY_INCOMPLETE, OPENED)
        time.sleep(5)
    closed = await_incident(apart, IncidentRule.HISTORY_INCOMPLETE, CLOSED, 240)
    found = recounted(apart, lambda one: "history_incomplete" in one["degraded"])
    assert (closed.events, closed.amounts, closed.decided) == (found.events, found.amounts, found.decided)
    if redis_down == "wait":
        assert (found.events, closed.text[:37]) == (0, "No payment was decided without comple")
    assert closed.incident_id == opened.incident_id
    assert guard.terminate() == 0


@pytest.mark.acceptance
def test_an_accepted_loss_is_told_of_with_the_number_that_the_operator_saw(fleet: Fleet, kafka: Cluster) -> None:
    if kafka.kind == "embedded":
        pytest.skip("the embedded broker removes no records")
    (worker,) = fleet.go_live()
    stream = Stream(fleet)
    stream.decide(40)
    assert worker.terminate() == 0
    before = fleet.ends("transactions")
    stream.publish(40)
    ends = fleet.ends("transactions")
    remove_before(fleet.brokers, f"{fleet.prefix}transactions", {1: ends[1]})
    worker, guard = fleet.worker(), guard_of(fleet)
    until(lambda: any("accept-loss" in one or "removed" in one for one in worker.readiness()[1]), "the loss is seen")
    assert fleet.cli("topics", "accept-loss", "--reason", "a test removed them").returncode == 0
    closed = await_incident(fleet, IncidentRule.LOSS_ACCEPTED, CLOSED, 60)
    assert (closed.events, closed.amounts, closed.partition) == (ends[1] - before[1], {}, 1)
    assert [one.reason for one in closed.actions] == ["a test removed them"]
    assert f"at most {closed.events} messages" in report_of(fleet, closed)["report"]
    assert [worker.terminate(), guard.terminate()] == [0, 0]


@pytest.mark.acceptance
def test_a_guard_without_the_topic_goes_on_and_warns(fleet: Fleet) -> None:
    fleet.go_live()
    delete_topic(fleet.brokers, f"{fleet.prefix}incidents")
    guard = fleet.worker(GUARD_COMMAND)
    guard.await_ready()
    until(lambda: "incidents are not told of" in guard.get("/health/ready")[1], "it warns")
    assert json.loads(guard.get("/health/ready")[1])["ready"]
    assert fleet.cli("incident", "list").returncode == 1
    assert guard.terminate() == 0
