"""What Kafka and Redis say of two deployments, and a hand-over that is followed, over topics that are made by hand."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer

from features.redis.store import RedisStore
from features.redis.wholeness import read_wholeness
from features.vector.sets import load_sets
from fraudstream.ops.rollout.deployments.handover import Begun, HandoverReport, watch_handover
from fraudstream.ops.rollout.deployments.survey import Survey, SurveyRequest, survey
from models.commands import Event, encode
from models.times import format_time
from stream.clock import now_ms
from stream.errors import DeploymentError
from stream.kafka.topics import apply
from stream.settings import Settings
from support.control_events import MODELS, accepted
from support.fleet.payments import PARTITIONS
from support.handmade_scores import score
from support.kafka.cluster import Cluster

TERM = 2**32
PAYMENTS = 10


class HandmadeDeployments:
    """Blue and green on the same topics, without a worker: all records are a test's own."""

    def __init__(self, brokers: str, redis_url: str, prefix: str) -> None:
        self.names = f"{prefix}blue", f"{prefix}green"
        common = {"brokers": brokers, "redis_url": redis_url, "topic_prefix": prefix}
        self.blue, self.green = (Settings(**common, deployment=name) for name in self.names)

    def send(self, topic: str, records: Sequence[tuple[int, bytes]]) -> None:
        producer = Producer({"bootstrap.servers": self.blue.brokers})
        for partition, value in records:
            producer.produce(self.blue.topic(topic), value, partition=partition)
        assert producer.flush(30) == 0

    def events(self, *events: Event) -> None:
        self.send("model-events", [(0, encode(event)) for event in events])

    def pay(self, offsets: range, partitions: Sequence[int] = range(PARTITIONS)) -> None:
        self.send("transactions", [(partition, b"{}") for partition in partitions for _ in offsets])

    def decide(self, topic: str, name: str, offsets: range, partitions: Sequence[int], **changes: Any) -> None:
        now = {"scored_at": format_time(now_ms()), "deployment": name}
        self.send(
            topic,
            [
                (partition, msgspec.json.encode(msgspec.json.decode(score(partition, 1, 0, at)) | now | changes))
                for partition in partitions
                for at in offsets
            ],
        )

    async def survey(self, settings: Settings, name: str | None) -> Survey:
        return await survey(SurveyRequest(settings, name, {}, 60.0, None, 10.0), always_compare=True)

    async def watch(self, deadline_s: float) -> HandoverReport:
        begun = Begun(1, format_time(now_ms()), self.names[0])
        return await watch_handover(self.green, begun, deadline_s, lambda _done, _total: None)


@pytest.fixture
async def made(kafka: Cluster, redis_url: str, topic_prefix: str) -> HandmadeDeployments:
    """Both deployments have a live model; blue has decided all payments, green all but two of each partition."""
    found = HandmadeDeployments(kafka.brokers, redis_url, topic_prefix)
    for settings in (found.blue, found.green):
        await apply(settings, PARTITIONS, 1)
    blue, green = found.names
    at = format_time(now_ms())
    found.events(*(accepted(1, "promote", MODELS[0], deployment=name, at=at) for name in found.names))
    every = range(PARTITIONS)
    found.pay(range(PAYMENTS))
    found.decide("scores", blue, range(PAYMENTS), every, code_version="1")
    found.decide(f"scores-{green}", green, range(PAYMENTS - 3), every, code_version="2")
    changes = {"decision": "approve", "degraded": ["history_incomplete"], "code_version": "2"}
    found.decide(f"scores-{green}", green, range(PAYMENTS - 3, PAYMENTS - 2), every, **changes)
    return found


async def test_a_survey_says_who_publishes_how_far_the_other_is_and_how_they_differ(made: HandmadeDeployments) -> None:
    found = await made.survey(made.green, made.names[1])
    blue, green = found.states
    assert (blue.publishes, blue.lag.behind, blue.versions) == (True, 0, {"1": PARTITIONS * PAYMENTS})
    assert (green.publishes, green.since_ms, green.workers) == (False, None, ())
    assert (green.lag.lag, green.lag.behind) == (PARTITIONS * PAYMENTS, PARTITIONS * 2)
    assert green.decided_to == dict.fromkeys(range(PARTITIONS), PAYMENTS - 2)
    assert (green.faults.faulty, green.faults.kinds) == (PARTITIONS, {"history_incomplete": PARTITIONS})
    assert green.live is not None
    assert green.live.digest == MODELS[0]
    assert (green.histories.whole, blue.histories.whole) == (False, None)
    assert found.comparison is not None
    assert found.comparison.compared == PARTITIONS * (PAYMENTS - 2)
    assert (found.comparison.only_published, found.comparison.only_silent) == (0, 0)
    assert found.comparison.changed == PARTITIONS * ((PAYMENTS - 3) % 3 != 0)


async def test_without_a_name_the_only_silent_deployment_is_compared(made: HandmadeDeployments) -> None:
    found = await made.survey(made.blue, None)
    assert [one.deployment for one in found.states] == list(made.names)
    assert found.target is not None
    assert (found.target.name, found.is_way_back) == (made.names[1], False)


async def test_a_deployment_without_a_topic_of_its_own_is_refused_with_what_to_do(made: HandmadeDeployments) -> None:
    name = f"{made.names[1]}-2"
    with pytest.raises(DeploymentError, match=f"FRAUDSTREAM_DEPLOYMENT={name}"):
        await made.survey(made.blue, name)


async def test_a_hand_over_is_followed_until_every_payment_has_its_decision(made: HandmadeDeployments) -> None:
    made.pay(range(1))
    first, *others = range(PARTITIONS)
    made.decide("scores", made.names[1], range(PAYMENTS, PAYMENTS + 1), others, epoch=TERM)
    stuck = await made.watch(1.5)
    assert not stuck.done
    assert [one.partition for one in stuck.partitions if one.undecided] == [first]
    assert (stuck.partitions[first].undecided, stuck.workers) == (1, 0)
    made.decide("scores", made.names[1], range(PAYMENTS, PAYMENTS + 1), [first], epoch=TERM)
    done = await made.watch(30.0)
    assert done.done
    assert {one.first_offset for one in done.partitions} == {PAYMENTS}
    assert all(one.pause_ms is not None and one.decisions == 1 for one in done.partitions)


async def test_where_no_payment_waits_a_hand_over_is_done_before_its_deadline(made: HandmadeDeployments) -> None:
    began = now_ms()
    report = await made.watch(60.0)
    assert report.done
    assert {(one.first_offset, one.undecided) for one in report.partitions} == {(None, 0)}
    assert now_ms() - began < 30_000


async def test_redis_says_whether_histories_are_whole_and_nothing_is_written(redis_url: str, topic_prefix: str) -> None:
    name = f"{topic_prefix}green"
    assert await read_wholeness(redis_url, name) is None
    store = RedisStore(redis_url, name, load_sets(""), now_ms)
    try:
        await store.connect()
        whole = await read_wholeness(redis_url, name)
        assert whole is not None
        assert (whole.whole, whole.epoch) == (True, store.history_epoch)
        await store.declare_loss("a test")
        lost = await read_wholeness(redis_url, name)
        assert lost is not None
        assert (lost.whole, lost.epoch) == (False, store.history_epoch)
    finally:
        await store.close()
