"""Two deployments on the same topics: `fleet`, and `green` beside it."""

from collections.abc import Callable

import pytest

from support.fleet.deployments import other_deployment
from support.fleet.fleet import Fleet
from support.fleet.payments import PARTITIONS
from support.fleet.workers import Worker


@pytest.fixture
def green(fleet: Fleet, start_worker: Callable[..., Worker]) -> Fleet:
    """Another deployment on the topics of `fleet`, without workers yet."""
    other = other_deployment(fleet, start_worker)
    assert other.cli("topics", "apply", "--partitions", str(PARTITIONS)).returncode == 0
    return other
