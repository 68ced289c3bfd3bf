"""The wiring of a worker: its parts get their dependencies when constructed, and no other object sets them later."""

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import faust
import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer

from features.declaration import DAY_MS
from features.history.store import Fate
from features.redis.age import HistoryAge
from features.redis.keys import KeyLayout
from stream.errors import SettingsError
from stream.recovery.outage import DegradingStore
from stream.settings import Settings
from stream.telemetry.setup import Telemetry
from stream.worker.app import WorkerApp
from stream.worker.main import add_health
from support.features.stored_hashes import HashConnection
from support.paths import HOUSE

WIRED = ("worker", "control", "recovery", "kafka")
REPLACED = {"aiokafka_client.create_conn"}
"""Of a library that has no way to pass it (decision 89)."""


def assigned_from_outside(source: str) -> list[str]:
    """Return the assignments to attributes of anything but `self`."""
    targets = [
        target
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    ]
    return [ast.unparse(one) for one in targets if isinstance(one, ast.Attribute) and not is_own(one)]


def is_own(target: ast.Attribute) -> bool:
    return isinstance(target.value, ast.Name) and target.value.id == "self"


@pytest.mark.parametrize("folder", WIRED)
def test_no_module_assigns_to_an_attribute_of_another_object(folder: str) -> None:
    sources = sorted(Path(HOUSE / "stream" / folder).glob("*.py"))
    assert len(sources) > 3
    found = {path.name: assigned_from_outside(path.read_text()) for path in sources}
    assert {name: sorted({*some} - REPLACED) for name, some in found.items() if {*some} - REPLACED} == {}


def worker(redis_down: str) -> WorkerApp:
    return WorkerApp(Settings(redis_down=redis_down, worker_id="w-1"), Telemetry())


async def test_the_setting_redis_down_selects_the_store_of_decisions() -> None:
    histories = worker("degrade").parts.histories.decided
    assert isinstance(histories, DegradingStore)
    assert (histories.degraded, histories.has_pending) == (False, False)


async def test_a_redis_url_with_another_scheme_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match="FRAUDSTREAM_REDIS_URL"):
        WorkerApp(Settings(redis_url="http://localhost", worker_id="w-1"), Telemetry())


async def test_a_worker_serves_its_three_pages_and_none_of_fausts() -> None:
    app = worker("wait")
    add_health(app)
    async with TestClient(TestServer(await app.web.wsgi())) as client:
        found = {
            path: (await client.get(path)).status
            for path in (
                *("/health/live", "/health/ready", "/metrics"),
                *("/", "/health", "/router/", "/router/transactions/", "/router/transactions/key/", "/table/"),
                *("/table/transactions/", "/table/transactions/key/", "/graph/", "/performance/", "/stats/", "/../"),
            )
        }
    assert {path: status for path, status in found.items() if status != 404} == {
        "/health/live": 200,
        "/health/ready": 503,
        "/metrics": 200,
    }


async def test_readiness_warns_while_histories_go_back_less_far_than_features_look() -> None:
    app, connection = worker("wait"), HashConnection()
    add_health(app)
    app.parts.histories.store.age = HistoryAge(cast("Any", connection), KeyLayout("", "default", 1), lambda: 0)
    gauge = app._gauge_sources().gauges()["fraudstream.history.missing"]
    async with TestClient(TestServer(await app.web.wsgi())) as client:

        async def answered() -> tuple[int, list[str], float]:
            answer = await client.get("/health/ready")
            return answer.status, (await answer.json())["warnings"], gauge()[()]

        assert await answered() == (503, [], 0)  # the age is not known before Redis was read
        await app.parts.histories.store.age.sync(1)
        status, warnings, missing = await answered()
        assert (status, len(warnings), missing) == (503, 1, 37)
        assert "histories go back 0 days, but features look back 37" in warnings[0]
        for days, left in ((37, 1), (38, 0)):
            app.parts.histories.store.age.note(np.arange(days) * DAY_MS, [Fate.DECIDE] * days)
            _, warnings, missing = await answered()
            assert (len(warnings), missing) == (bool(left), left)


async def test_a_rebalance_during_a_drain_closes_nothing_and_the_group_is_left_before_the_rest_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app, done = worker("wait"), list[str]()

    async def hand_over() -> None:
        done.append("handed over")

    async def stop_consumer(_: object) -> None:
        done.append("stopped")

    consumer: Any = SimpleNamespace(hand_over=hand_over, close=lambda: done.append("closed"))
    monkeypatch.setattr(app, "current_consumer", lambda: consumer)
    monkeypatch.setattr(faust.App, "_stop_consumer", stop_consumer)
    app._on_rebalance_when_stopped()
    await app._stop_consumer()
    assert done == ["handed over", "stopped"]
