"""`bench load` and `scaling`, and the benchmark `pauses`, on real workers: small, but with all that they do."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from redis import Redis

from benchmarks.__main__ import main as benchmarks
from fraudstream.cli.bench import bench
from support.fleet.payments import put_model
from support.fleet.workers import COMMAND
from support.kafka.cluster import Cluster
from support.kafka.operations import topic_names

pytestmark = [pytest.mark.integration, pytest.mark.acceptance]


@pytest.fixture
def model(kafka: Cluster, redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The digest of a model in the repository of the settings, which name this Kafka and Redis."""
    digest = put_model(str(tmp_path / "models"))
    for name, value in {"BROKERS": kafka.brokers, "REDIS_URL": redis_url, "MODELS": str(tmp_path / "models")}.items():
        monkeypatch.setenv(f"FRAUDSTREAM_{name}", value)
    yield digest
    assert [topic for topic in topic_names(kafka.brokers) if topic.startswith("bench-")] == []
    with Redis.from_url(redis_url) as client:
        assert list(client.scan_iter("fraudstream:bench-*")) == []


def measured(*arguments: str, program: click.Group = bench) -> dict[str, Any]:
    done = CliRunner().invoke(program, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_each_rate_is_offered_in_an_open_loop_and_everything_is_decided(model: str) -> None:
    found = measured("load", "--model", model, "--rate", "20,200", "--seconds", "5", "--workers", "2")["rates"]
    assert [(one["rate"], one["payments"]) for one in found] == [(20, 100), (200, 1000)]
    for one in found:
        assert one["offered"] == pytest.approx(one["rate"], rel=0.2)
        assert 0 < one["p50_ms"] <= one["p99_ms"] <= one["p999_ms"] <= one["worst_ms"]
        assert one["by_rules"] == 0
        assert one["cores"] > 0


def test_workers_join_and_leave_in_turns_and_nothing_is_lost_or_decided_twice(model: str) -> None:
    found = measured(
        "pauses", "--model", model, "--moves", "2", "--rate", "100", "--partitions", "6", program=benchmarks
    )
    assert (found["lost"], found["twice"]) == (0, 0)
    assert [one["kind"] for one in found["moves"]] == ["none", "join", "leave", "join", "leave"]
    assert {len(one["pauses_ms"]) for one in found["moves"]} == {6}
    assert [(one["kind"], one["moves"]) for one in found["summaries"]] == [("none", 1), ("join", 2), ("leave", 2)]
    for one in found["summaries"]:
        assert 0 < one["median_ms"] <= one["worst_ms"] < 10_000


def test_a_small_day_loses_nothing_and_decides_nothing_twice(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAUDSTREAM_POLL_RECORDS", "2")  # so that one worker is not enough
    page = tmp_path / "day.html"
    found = measured(
        *("scaling", "--model", model, "--low", "5", "--high", "150", "--day", "30 s", "--max-workers", "3"),
        *("--lag-per-worker", "30", "--down-after", "5 s", "--down-every", "2 s", "--partitions", "6"),
        *("--roll", "50", "--previous", shlex.join(COMMAND), "--redis-delay", "5 ms"),
        *("--report", str(page), "--plot", str(tmp_path / "day.svg")),
    )
    day, *others = found["phases"]
    assert day["payments"] == pytest.approx(30 * (5 + 150) / 2, rel=0.01)
    assert day["changes"] >= 2, "no worker was started or drained"
    assert len(day["pauses_ms"]) == 6
    assert max(one["workers"] for one in found["samples"]) > 1
    assert [one["name"].split(" ")[1] for one in others] == ["rolling", "downgrade", "upgrade"]
    for one in found["phases"]:
        assert (one["lost"], one["twice"]) == (0, 0), one["name"]
        assert one["worker_seconds"] > 0
    assert [one["changes"] for one in others] == [4, 4, 4]
    assert "What waits" in page.read_text()
    assert "What waits" in (tmp_path / "day.svg").read_text()
