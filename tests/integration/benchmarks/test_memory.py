"""The benchmarks `memory` and `batches` measure histories on a real Redis and leave no key behind."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import redis

from support.redis.server import redis_server

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with redis_server() as url:
        yield url


def test_a_paned_history_takes_less_memory_than_an_exact_one_and_no_key_is_left(server: str) -> None:
    command = (sys.executable, "-m", "benchmarks", "memory", "--records", "2000", "--json")
    environment = {**os.environ, "FRAUDSTREAM_REDIS_URL": server}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    lines = {(line["kind"], line["windows"]): line for line in json.loads(done.stdout)["lines"]}
    assert len(lines) == 5
    for kind in ("merchant", "device"):
        exact, paned = lines[kind, "exact"], lines[kind, "paned"]
        assert exact["fresh_bytes"] == pytest.approx(paned["fresh_bytes"], rel=0.1)  # Redis takes some in advance
        assert exact["fresh_bytes"] > 48 * 2000
        assert paned["tidy_bytes"] * 3 < exact["tidy_bytes"]
        assert paned["worker_bytes"] * 3 < exact["worker_bytes"]
    with redis.Redis.from_url(server) as client:
        assert client.keys("*") == []


def test_batches_at_one_merchant_take_less_memory_than_a_history_for_each_payment(server: str) -> None:
    command = (sys.executable, "-m", "benchmarks", "batches", "--visible", "20000", "--json")
    environment = {**os.environ, "FRAUDSTREAM_REDIS_URL": server}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    lines = {(line["payments_at"], line["batch"]): line for line in json.loads(done.stdout)["lines"]}
    assert len(lines) == 12
    assert lines["one merchant", 128]["peak_bytes"] < 20 * 20_000 * 48
    assert {line["parts"] for line in lines.values()} == {1}
    with redis.Redis.from_url(server) as client:
        assert client.keys("*") == []
