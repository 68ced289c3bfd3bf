"""A full batch of payments at merchants with long histories stays within the memory that the documentation states."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import redis

from support.limited_decisions import PARTS_OF_A_BATCH, write_merchants
from support.paths import HOUSE
from support.redis.server import redis_server

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits private memory"),
]

CACHE_MB, BATCH_MB, UNLIMITED_MB = 32, 16, 1_000_000
HOT = {"hot": 147_000}
"""Seven MB: a batch of 512 sees 3.6 GB of it, in rows that its payments share."""
MANY = {f"large-{number}": 20_000 for number in range(256)}
"""One MB each."""


@pytest.fixture
def server() -> Iterator[str]:
    with redis_server() as url:
        yield url


def run(url: str, batch_mb: int, merchants: dict[str, int]) -> subprocess.CompletedProcess[str]:
    with redis.Redis.from_url(url) as client:
        write_merchants(client, merchants)
    limit_mb = CACHE_MB + PARTS_OF_A_BATCH * BATCH_MB
    numbers = (CACHE_MB, batch_mb, limit_mb)
    command = (sys.executable, "-m", "support.limited_decisions", url, *map(str, numbers), *merchants)
    environment = {**os.environ, "PYTHONPATH": str(HOUSE / "tests")}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)


@pytest.mark.parametrize("merchants", [HOT, MANY], ids=["one hot merchant", "many large ones"])
def test_batches_and_labels_of_long_histories_stay_within_the_stated_memory(
    server: str, merchants: dict[str, int]
) -> None:
    done = run(server, BATCH_MB, merchants)
    assert done.returncode == 0, done.stderr
    assert "decided and labelled" in done.stdout


def test_payments_of_one_batch_at_a_hot_merchant_share_its_rows(server: str) -> None:
    done = run(server, UNLIMITED_MB, HOT)
    assert done.returncode == 0, done.stderr


def test_without_the_limit_of_a_batch_payments_at_many_large_merchants_need_more(server: str) -> None:
    """The allocation that fails is numpy's or that of Redis' reader, which says so in its own words."""
    done = run(server, UNLIMITED_MB, MANY)
    assert done.returncode != 0
    assert "MemoryError" in done.stderr or "Out of memory" in done.stderr, done.stderr
