"""Topics are created once and never changed; missing topics and risky settings are reported."""

import asyncio

from aiokafka.admin import AIOKafkaAdminClient

from stream.kafka.topics import LAYOUTS, risks
from stream.settings import Settings
from support.fleet.fleet import Fleet
from support.kafka.cluster import Cluster


def test_topics_are_created_once_and_another_partition_count_is_refused(fleet: Fleet) -> None:
    again = fleet.cli("topics", "apply", "--partitions", "4", "--json")
    assert (again.returncode, '"created":[]' in again.stdout) == (0, True)
    other = fleet.cli("topics", "apply", "--partitions", "8")
    assert other.returncode == 1
    assert f"{fleet.prefix}transactions has 4 partitions, but must have 8" in other.stderr


def test_a_worker_reports_missing_topics_and_continues_once_they_are_created(fleet: Fleet) -> None:
    fleet.environment["TOPIC_PREFIX"] = fleet.prefix = f"later-{fleet.prefix}"
    worker = fleet.worker()
    reasons = str(worker.await_not_ready())
    while "missing" not in reasons:
        reasons = str(worker.await_not_ready())
    assert all(f"{fleet.prefix}{layout.name}" in reasons for layout in LAYOUTS if layout.of_workers)
    assert fleet.cli("topics", "apply", "--partitions", "4").returncode == 0
    while "no model is live" not in reasons:
        reasons = str(worker.await_not_ready())
    assert worker.terminate() == 0


def test_topics_apply_without_a_broker_exits_with_1_and_names_the_address(fleet: Fleet) -> None:
    refused = fleet.cli("topics", "apply", "--partitions", "4", BROKERS="127.0.0.1:1")
    assert refused.returncode == 1
    assert "127.0.0.1:1" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_too_few_replicas_and_too_few_in_sync_replicas_are_reported_as_risks(fleet: Fleet, kafka: Cluster) -> None:
    settings = Settings(brokers=kafka.brokers, topic_prefix=fleet.prefix)

    async def ask() -> tuple[str, ...]:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.brokers)
        await admin.start()
        try:
            return await risks(settings, admin)
        finally:
            await admin.close()

    few, unsafe = asyncio.run(ask())
    assert "1 replicas" in few
    assert "min.insync.replicas below 2" in unsafe
