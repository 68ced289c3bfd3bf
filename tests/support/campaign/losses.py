"""The last faults of a campaign: Kafka loses payments that nobody has read, and an operator accepts that.

Each begins with the first payments of a week, some of which are lost while no worker runs. They come last, since
histories that Redis loses later could not be restored from what Kafka has left.
"""

from collections.abc import Callable, Mapping

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from support.campaign.faults import ORDERLY, WORKERS, Whole
from support.campaign.traffic import Rows, Traffic
from support.fleet.fleet import until
from support.fleet.payments import PARTITIONS, partition_of

UNREAD = 24
SECONDS = 90.0
REASON = ("--reason", "a campaign")


def pass_retention(whole: Whole, traffic: Traffic, rows: Rows) -> Rows:
    """Remove the unread payments of one partition, and return the payments of the week that are not lost."""
    lost_at = int(whole.draw.integers(PARTITIONS))
    unread, later = rows[:UNREAD], rows[UNREAD:]
    stop_all(whole)
    traffic.send(unread)
    topic = f"{whole.fleet.prefix}transactions"
    end = whole.fleet.ends("transactions")[lost_at]
    admin = AdminClient({"bootstrap.servers": whole.cluster.brokers})
    for done in admin.delete_records([TopicPartition(topic, lost_at, end)]).values():
        done.result(SECONDS)
    start_and_accept(whole, [lost_at])
    kept = [row for row in unread if partition_of(row["card_id"]) != lost_at]
    traffic.send(later)
    return [*kept, *later]


def make_anew(whole: Whole, traffic: Traffic, rows: Rows) -> Rows:
    """Delete the topic with unread payments, make it anew, and return the payments of the week that are not lost."""
    topic = f"{whole.fleet.prefix}transactions"
    stop_all(whole)
    traffic.send(rows[:UNREAD])
    admin = AdminClient({"bootstrap.servers": whole.cluster.brokers})
    for done in admin.delete_topics([topic]).values():
        done.result(SECONDS)
    replication = str(whole.cluster.replication)
    apply = ("topics", "apply", "--partitions", str(PARTITIONS), "--replication", replication)
    until(lambda: whole.fleet.cli(*apply).returncode == 0, "the topic is made anew", SECONDS)
    traffic.reconnect()
    start_and_accept(whole, range(PARTITIONS))
    traffic.send(rows[UNREAD:])
    return rows[UNREAD:]


def stop_all(whole: Whole) -> None:
    for worker in whole.workers:
        assert worker.terminate() in ORDERLY, worker.log()
    whole.workers.clear()


def start_and_accept(whole: Whole, partitions: "list[int] | range") -> None:
    """Start the workers again, wait until they tell what is lost where, and accept it."""
    whole.workers = [whole.fleet.worker() for _ in range(WORKERS)]
    until(lambda: all(told(whole, partition) for partition in partitions), f"the loss in {partitions} is told", SECONDS)
    done = whole.fleet.cli("topics", "accept-loss", *REASON)
    assert done.returncode == 0, done.stdout + done.stderr
    for worker in whole.workers:
        worker.await_ready(SECONDS)


def told(whole: Whole, partition: int) -> bool:
    """Tell whether a worker is not ready because of what Kafka lost in a partition of transactions."""
    reasons = [reason for worker in whole.workers for reason in worker.readiness()[1]]
    return any(f"transactions partition {partition}:" in reason for reason in reasons)


LOSSES: Mapping[str, Callable[[Whole, Traffic, Rows], Rows]] = {
    "pass_retention": pass_retention,
    "make_anew": make_anew,
}
