"""Fixtures of the integration tests: one Kafka, one Redis, and workers for each test; and the Hypothesis profiles."""

import os
import sys
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.control import trial
from support import json_shapes, report_lines
from support.examples import register_profiles
from support.fleet.workers import Worker, starting
from support.kafka.cluster import Cluster, revive, running_cluster, separate_topics
from support.redis.server import redis_server
from support.report_lines import CLUSTERS, FIGURES, lines_of

register_profiles()

SERVICES = {"kafka", "kafka_outage", "redis_url"}


@pytest.fixture(autouse=True)
def _artifacts_without_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load artifacts at once: a child for each, which takes a second, is tested by `test_trial` and by whole fleets."""
    monkeypatch.setattr(trial, "trial_of", lambda _features: lambda _digest, _contents: None)


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The session's broker; a test that stops or pauses it takes `kafka_outage` instead."""
    with running_cluster() as (cluster, line):
        lines_of(request.config, CLUSTERS).append(line)
        yield cluster


@pytest.fixture
def kafka_outage(kafka: Cluster) -> Iterator[Cluster]:
    """The session's broker, for tests that stop, kill or pause it; it is in service again afterwards."""
    try:
        yield kafka
    finally:
        revive(kafka)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The session's Redis; key prefixes separate the tests, as `topic_prefix` separates their topics."""
    with redis_server() as url:
        yield url


@pytest.fixture
def topic_prefix(request: pytest.FixtureRequest) -> Iterator[str]:
    """A prefix that no other test's topics have."""
    with separate_topics(request.getfixturevalue("kafka") if "kafka" in request.fixturenames else None) as prefix:
        yield prefix


@pytest.fixture(scope="session", autouse=True)
def _connections_left_open(request: pytest.FixtureRequest) -> Iterator[None]:
    """Name each test whose event loop ends while a connection is open; the collector would blame a later test."""
    close = BaseSelectorEventLoop.close

    def told(loop: Any) -> None:
        for one in [] if loop.is_closed() else list(loop._transports.values()):
            if not one.is_closing():
                test, protocol = os.environ.get("PYTEST_CURRENT_TEST"), type(one.get_protocol())
                where = f"{protocol.__module__}.{protocol.__qualname__}, {one.get_extra_info('peername')}"
                lines_of(request.config, FIGURES).append(f"{test}: a connection is left open: {where}")
        close(loop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseSelectorEventLoop, "close", told)
        yield


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """A function that records a line of the test's figures (kills, cuts, rows compared), all printed at the end."""
    return lambda line: lines_of(request.config, FIGURES).append(f"{request.node.name}: {line}")


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """A function that starts a worker with these settings; the test's workers are killed at its end."""
    with starting(tmp_path) as start:
        yield start


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin that collects reported lines, from several processes too."""
    config.pluginmanager.register(report_lines)
    if json_shapes.FOLDER in os.environ:
        json_shapes.record_invocations()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that use Kafka or Redis as `integration`, Hypothesis tests as `property`; campaigns come first.

    Each of pytest's processes begins with a contiguous part, and others take from its end: the campaigns, at the head
    of the first, run one after the other as long as there is other work.
    """
    items.sort(key=lambda item: "test_a_seed_of_a_campaign" not in item.name)
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker(pytest.mark.property)
        if isinstance(item, pytest.Function) and SERVICES & set(item.fixturenames):
            item.add_marker(pytest.mark.integration)


def pytest_report_header() -> str:
    """Name the interpreter, since the tests start the product with it."""
    return f"workers are started with {sys.executable}"
