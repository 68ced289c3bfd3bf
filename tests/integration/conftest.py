"""Fixtures of the tests of the whole."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cluster import Cluster
from fleet import Fleet, new_fleet
from workers import Worker


@pytest.fixture
def fleet(
    kafka: Cluster, redis_url: str, topic_prefix: str, tmp_path: Path, start_worker: Callable[..., Worker]
) -> Fleet:
    """A fleet without workers yet."""
    made = new_fleet(kafka.brokers, redis_url, topic_prefix, tmp_path, start_worker)
    if kafka.kind == "embedded":
        made.environment["KAFKA_IDEMPOTENCE"] = "false"
    return made
