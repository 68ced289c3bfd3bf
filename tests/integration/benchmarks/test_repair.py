"""`python -m benchmarks repair` measures one worker and two, and leaves no topic or key behind."""

import json

import pytest
from click.testing import CliRunner
from redis import Redis

from benchmarks.__main__ import main
from support.kafka.cluster import Cluster
from support.kafka.operations import topic_names

PAYMENTS = 2_000


@pytest.mark.integration
def test_one_and_two_workers_are_measured_and_no_topic_or_key_is_left(
    kafka: Cluster, redis_url: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"BROKERS": kafka.brokers, "REDIS_URL": redis_url, "TOPIC_PREFIX": topic_prefix}
    settings |= {"KAFKA_IDEMPOTENCE": "false"} if kafka.kind == "embedded" else {}
    for name, value in settings.items():
        monkeypatch.setenv(f"FRAUDSTREAM_{name}", value)
    done = CliRunner().invoke(main, ["repair", "--payments", str(PAYMENTS), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [one["workers"] for one in found["speeds"]] == [1, 2]
    assert all(0 < one["transactions_per_second"] < 10**6 for one in found["speeds"])
    assert all(PAYMENTS / one["labels_per_second"] < one["seconds"] for one in found["speeds"])
    with Redis.from_url(redis_url) as client:
        assert list(client.scan_iter("fraudstream:bench-*")) == []
    assert [name for name in topic_names(kafka.brokers) if name.startswith("bench-")] == []
