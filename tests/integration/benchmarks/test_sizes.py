"""The benchmarks `sizes` and `compression` measure what is on a broker's disk, and leave no topic or key."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from redis import Redis

from benchmarks.__main__ import main
from support.fleet.payments import put_model
from support.kafka.cluster import Cluster
from support.kafka.operations import topic_names

pytestmark = pytest.mark.integration

PAYMENTS = 400


@pytest.fixture
def model(kafka: Cluster, redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The digest of a model in the repository of the settings, which name this Kafka and Redis."""
    if kafka.kind == "embedded":
        pytest.skip("the embedded broker keeps nothing on a disk")
    digest = put_model(str(tmp_path / "models"))
    for name, value in {"BROKERS": kafka.brokers, "REDIS_URL": redis_url, "MODELS": str(tmp_path / "models")}.items():
        monkeypatch.setenv(f"FRAUDSTREAM_{name}", value)
    yield digest
    with Redis.from_url(redis_url) as client:
        for key in client.scan_iter("fraudstream:bench-*"):
            client.delete(key)


def measured(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(main, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_bytes_of_every_topic_and_history_are_measured_and_nothing_is_left(
    kafka: Cluster, redis_url: str, model: str
) -> None:
    found = measured("sizes", "--model", model, "--payments", str(PAYMENTS))
    topics = {one["topic"]: one for one in found["topics"]}
    counts = {name: one["records"] for name, one in topics.items()}
    refused = PAYMENTS // 50
    assert counts.pop("model-events") > 1
    assert counts == {
        "transactions": PAYMENTS + refused,
        "labels": PAYMENTS,
        "scores": PAYMENTS,
        "outcomes": PAYMENTS,
        "model-control": 1,
        "dead-letters": refused,
    }
    assert found["compression"] == "zstd"
    assert 100 < topics["scores"]["bytes_each"] < 1_500, "a score is 2 kB without compression"
    expected = topics["scores"]["bytes_each"] * 400 * 86_400 / 1e9
    assert topics["scores"]["gb_each_second"] == pytest.approx(expected)
    assert topics["model-control"]["kept_days"] is None
    histories = {one["kind"]: one for one in found["histories"]}
    assert {"card", "merchant"} <= histories.keys()
    for one in histories.values():
        assert one["bytes_each"] > 80 + 24 * one["payments_each"], "half of them are visible, with 48 bytes at least"
    assert [name for name in topic_names(kafka.brokers) if name.startswith("bench-")] == []
    with Redis.from_url(redis_url) as client:
        assert list(client.scan_iter("fraudstream:bench-*")) == []


@pytest.mark.acceptance
def test_workers_that_compress_write_fewer_bytes_than_one_that_does_not(kafka: Cluster, model: str) -> None:
    codecs = [option for codec in ("none", "zstd", "gzip") for option in ("--codec", codec)]
    effort = ("--rounds", "1", "--backlog", "1000", "--rate", "100", "--seconds", "2")
    medians = measured("compression", "--model", model, *codecs, *effort)["medians"]
    assert list(medians) == ["none", "zstd", "gzip"]
    for phase in ("backlog", "paced"):
        none, *others = (one[f"bytes a score, {phase}"] for one in medians.values())
        assert none > 1_500
        assert all(each < none for each in others)
    assert medians["zstd"]["bytes a score, backlog to the first"] < 0.5
    assert all(one["CPU µs, paced"] > one["CPU µs, backlog"] > 0 for one in medians.values())
    assert [name for name in topic_names(kafka.brokers) if name.startswith("bench-")] == []
