"""How far a deployment is, and with which group and Redis it is looked at."""

import msgspec
import pytest
from aiokafka import TopicPartition

from features.errors import StoreUnavailableError
from features.redis.age import PaymentDays
from features.redis.wholeness import Wholeness
from fraudstream.ops.rollout.deployments import state
from fraudstream.ops.rollout.deployments.recent import RecentDecisions
from fraudstream.ops.rollout.deployments.state import DecisionLag, GroupSource, HistoriesFound, lag_of, target_of
from models.worker_records import WorkerRecord, WorkerRecords
from stream.settings import Settings
from support.control_events import event
from support.demo_scores import Place, score
from support.stream_records import Told

DAYS = PaymentDays()
ENDS = {TopicPartition("transactions", 0): 100, TopicPartition("transactions", 1): 50}


def decided(*places: tuple[int, int]) -> RecentDecisions:
    found = RecentDecisions("green", 0)
    for partition, offset in places:
        found.add([Told(msgspec.json.encode(score("t", Place(partition, offset))), partition=partition)])
    return found


def test_the_lag_of_a_group_is_what_it_has_not_committed() -> None:
    assert lag_of(ENDS, {0: 90, 1: -1}, None) == DecisionLag(10 + 50, 0, 2)
    assert lag_of(ENDS, {0: 101, 1: 50}, None) == DecisionLag(0, 0, 2)


def test_a_silent_deployment_is_behind_the_last_published_decision_and_not_behind_the_topic() -> None:
    published = decided((0, 79), (1, 9))
    assert lag_of(ENDS, {0: 60, 1: 0}, (decided((0, 69)), published)).behind == 10 + 10
    assert lag_of(ENDS, {0: 60, 1: 0}, (decided((0, 79), (1, 9)), published)).behind == 0


def test_what_it_has_committed_is_handled_though_it_has_no_decision() -> None:
    """The last records before the end were dead letters, which have no score."""
    assert lag_of(ENDS, {0: 80, 1: 10}, (decided((0, 69)), decided((0, 79), (1, 9)))).behind == 0


def test_a_deployment_has_the_group_that_is_named_or_else_that_of_its_workers_or_else_one_by_its_name() -> None:
    settings = Settings(deployment="green", group="cards-green")
    own, other = (target_of(settings, name, {}, WorkerRecords()) for name in ("green", "blue"))
    assert (own.settings.group, own.has_redis, own.name) == ("cards-green", True, "green")
    assert (other.settings.group, other.has_redis, other.settings.deployment) == ("fraudstream-blue", False, "blue")
    assert own.group_source is other.group_source is GroupSource.GUESS
    workers = WorkerRecords()
    for name in ("green", "blue"):
        said = WorkerRecord(f"fleet-{name}", "1", "0a1b2c3d")._asdict()
        workers.add(event("ready", 0, "e", deployment=name, **said))
    own, other = (target_of(settings, name, {}, workers) for name in ("green", "blue"))
    assert [one.settings.group for one in (own, other)] == ["fleet-green", "fleet-blue"]
    assert own.group_source is other.group_source is GroupSource.RECORD
    named = target_of(settings, "blue", {"blue": "cards-blue"}, workers)
    assert (named.settings.group, named.group_source) == ("cards-blue", GroupSource.ARGUMENT)


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (
            Wholeness(7, complete=True, damaged=0, days=DAYS),
            HistoriesFound(whole=True, found="whole, history epoch 7", days=DAYS),
        ),
        (
            Wholeness(7, complete=False, damaged=0, days=DAYS),
            HistoriesFound(whole=False, found="history epoch 7 is being repaired", days=DAYS),
        ),
        (
            Wholeness(7, complete=True, damaged=2, days=DAYS),
            HistoriesFound(whole=False, found="2 histories are damaged and wait for a repair", days=DAYS),
        ),
        (None, HistoriesFound(whole=False, found="Redis holds no histories of it", answers=False)),
    ],
)
async def test_histories_are_what_redis_says_of_them(
    monkeypatch: pytest.MonkeyPatch, read: Wholeness | None, expected: HistoriesFound
) -> None:
    async def answer(_url: str, _deployment: str) -> Wholeness | None:
        return read

    monkeypatch.setattr(state, "read_wholeness", answer)
    assert await state._histories(target_of(Settings(), "default", {}, WorkerRecords())) == expected


async def test_histories_are_not_whole_while_redis_is_away_and_unknown_where_it_is_not_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def answer(_url: str, _deployment: str) -> Wholeness | None:
        raise StoreUnavailableError("redis://r: no answer")

    monkeypatch.setattr(state, "read_wholeness", answer)
    away = await state._histories(target_of(Settings(), "default", {}, WorkerRecords()))
    assert away == HistoriesFound(whole=False, found="redis://r: no answer", answers=False)
    assert away.facts() == {"whole": False, "found": "redis://r: no answer"}
    assert (await state._histories(target_of(Settings(), "green", {}, WorkerRecords()))).whole is None
