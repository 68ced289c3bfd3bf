"""What the steps of a plan do to a seed's fleet, its brokers, its Redis and its operators' settings.

What lasts (a command that waits for its verdict, a worker that is stopped for some seconds) runs beside the later
steps, and `Actions.finish` waits for it.
"""

import asyncio
import json
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from aiokafka.errors import KafkaError
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from campaigns.broker_actions import BROKER_ACTIONS, BrokerActions
from campaigns.facts import scores_of
from campaigns.host_actions import HOST_ACTIONS, HostActions
from campaigns.plan import Step
from campaigns.service_actions import SERVICE_ACTIONS, ServiceActions
from campaigns.world import ADMIN_SECONDS, NotWellError, World, bounds_of
from models.commands import CommandKind
from stream.control.client import CommandRequest, send_command
from stream.engine.tracing import NoOperationTracing
from stream.errors import StreamError
from stream.settings import Settings
from support.fleet.fleet import until
from support.kafka.admin import set_on_topic
from support.kafka.three_brokers import IDS

COMMAND_SECONDS = 12.0
WELL_SECONDS = 90.0
NOTICED_SECONDS = 2.0
"""Within which workers notice that Redis is empty; until then they are ready."""
SETTING_SECONDS = (10.0, 10.0, 30.0)
LEAST_IN_SYNC, ALL_IN_SYNC = "2", "3"
CONNECTING = ("BROKERS", "TOPIC_PREFIX", "DEPLOYMENT", "GROUP")


class Actions:
    """Does the steps of a plan."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._pool = ThreadPoolExecutor(16, "action")
        self._running: list[Future[None]] = []
        self._brokers = BrokerActions(world, self._beside)
        self._services = ServiceActions(world, self._beside)
        self._hosts = HostActions(world, self._beside)

    def do(self, step: Step) -> None:
        """Do a step; what lasts goes on beside."""
        if step.action in BROKER_ACTIONS:
            BROKER_ACTIONS[step.action](self._brokers, **step.arguments)
        elif step.action in SERVICE_ACTIONS:
            SERVICE_ACTIONS[step.action](self._services, **step.arguments)
        elif step.action in HOST_ACTIONS:
            HOST_ACTIONS[step.action](self._hosts, **step.arguments)
        else:
            ACTIONS[step.action](self, **step.arguments)

    def finish(self) -> list[str]:
        """Wait for all that goes on beside, and return where the fleet was not well; raises what else went wrong."""
        unwell: list[str] = []
        for future in self._running:
            try:
                future.result()
            except NotWellError as error:
                unwell.append(f"beside the plan, {error}")
        self._running.clear()
        return unwell

    def _beside(self, work: Callable[[], None]) -> None:
        self._running.append(self._pool.submit(work))

    # --- outages

    def begin_outage(self, kind: str, node: int) -> None:
        """Take `scores` away: they refuse writes, or their brokers are killed, or the one that has some hangs."""
        world = self.world
        match kind:
            case "too_few_replicas":
                world.cluster.nodes[node].kill()  # the least is never above the replicas there are, whatever is set
                self._in_sync(ALL_IN_SYNC)
            case "two_brokers_killed":
                for other in (other for other in IDS if other != node):
                    world.cluster.nodes[other].kill()
            case "leader_hangs":
                world.cluster.nodes[node].pause()

    def end_outage(self, kind: str, node: int) -> None:
        match kind:
            case "too_few_replicas":
                self._in_sync(LEAST_IN_SYNC)
                self.world.cluster.start()
            case "two_brokers_killed":
                self.world.cluster.start()
            case "leader_hangs":
                self.world.cluster.nodes[node].resume()

    def _in_sync(self, least: str) -> None:
        """Set how many replicas take a write; a client may go on asking a broker that has just been killed."""
        for seconds in SETTING_SECONDS:
            with suppress(TimeoutError):
                set_on_topic(self.world.cluster.brokers, self.world.topic("scores"), seconds, min_insync_replicas=least)
                return
        raise NotWellError(f"brokers did not take a setting within {sum(SETTING_SECONDS):g} s")

    def command(self, kind: str, model: int | None = None) -> None:
        """Send a command as an operator does, and note its verdict; it may be refused, or nobody may judge it."""
        digest = None if model is None else self.world.servers.models[model]
        self._beside(lambda: self.world.notes.append(f"{kind}: {self.send(CommandKind(kind), digest)}"))

    def send(self, kind: CommandKind, model: str | None = None, wait: float = COMMAND_SECONDS) -> str:
        """Send a command and tell its verdict in a word or two."""
        named = {name.lower(): self.world.fleet.environment[name] for name in CONNECTING}
        request = CommandRequest(kind, "ann", "a campaign", wait, model=model)
        try:
            _, event = asyncio.run(
                asyncio.wait_for(send_command(Settings(**named), request, NoOperationTracing()), 2 * wait + 20)
            )
        except (KafkaError, StreamError, TimeoutError) as error:
            return type(error).__name__
        if event is None:
            return "no verdict"
        return event.kind.value + "".join(f" {problem.code.value}" for problem in event.problems)

    # --- rebalances

    def kill_worker(self, worker: int) -> None:
        self.world.replace_worker(worker)

    def add_worker(self) -> None:
        self.world.workers.append(self.world.new_worker(len(self.world.workers)))

    def stop_worker(self, worker: int, seconds: float) -> None:
        """Stop a worker until its partitions have moved; it comes back as a zombie."""
        stopped = self.world.workers[worker]
        stopped.signal(signal.SIGSTOP)
        self._continue_after(worker, seconds)

    def _continue_after(self, worker: int, seconds: float) -> None:
        stopped = self.world.workers[worker]

        def go_on() -> None:
            time.sleep(seconds)
            stopped.signal(signal.SIGCONT)

        self._beside(go_on)

    # --- clocks

    def set_clock(self, offset_s: int) -> None:
        """Move the clock of the worker whose clock can be moved; it reads the file at each look at its clock."""
        self.world.set_clock(offset_s)

    def burst(self, count: int) -> None:
        self.world.traffic.burst(count)

    def stop_before_letters(self, worker: int, seconds: float) -> None:
        """Have a worker stop itself before it writes its next dead letters, until its partitions have moved."""
        flag = self.world.stop_flag(worker)
        flag.touch()
        stopped = self.world.workers[worker]

        def go_on() -> None:
            deadline = time.monotonic() + seconds
            while flag.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            if flag.exists():
                flag.unlink(missing_ok=True)
            else:
                self.world.notes.append(f"worker {worker} stopped before its letters")
                time.sleep(seconds)
            stopped.signal(signal.SIGCONT)

        self._beside(go_on)

    def empty_redis(self) -> None:
        """Lose all histories; what only a topic had that was made anew since cannot be restored."""
        self.world.traffic.forget_earlier_logs()
        self.world.redis.flushall()

    def send_again(self, count: int) -> None:
        """Send payments again, as a producer does that was restored from yesterday's state."""
        self.world.traffic.send(*self.world.traffic.again(count))

    # --- operators

    def empty_redis_and_send_again(self, count: int, at_once: bool) -> None:  # noqa: FBT001 - named by the plan
        """Lose all histories, and send payments again at once, or when workers had time to notice and to restore them.

        At once, they are in the batch that notices the loss: it must append nothing before what was there is restored.
        """
        self.world.await_committed()
        self.empty_redis()
        if not at_once:
            time.sleep(NOTICED_SECONDS)
            self._await_well()
        self.send_again(count)

    def restart_workers(self, skew_s: int) -> None:
        """Restart the workers one by one, with another allowed skew."""
        self.world.settings["FUTURE_SKEW"] = str(skew_s)
        for at in range(len(self.world.workers)):
            self.world.restart_worker(at)
        self._await_well()

    def redrive(self) -> None:
        """Send the originals of some dead letters again."""
        codes = [part for code in ("in_the_future", "ahead_of_clock") for part in ("--code", code)]
        done = self.world.fleet.cli("dead-letters", "redrive", *codes, "--yes", "--json")
        self.world.notes.append(f"redrive: {done.returncode} {done.stdout.strip()[-200:]}")

    def move_offsets(self, topics: str, how: str, by: int, unread: int) -> None:
        """Stop the group, let payments come, move its offsets as `kafka-consumer-groups` does, and start it."""
        world = self.world
        self._await_well()
        world.end_workers()
        world.traffic.send_some(unread)
        with world.traffic:
            names = ("transactions", "labels") if topics == "both" else (topics,)
            wanted = [
                TopicPartition(world.topic(name), number)
                for name in names
                for number in range(self.world.plan.partitions)
            ]
            group = world.fleet.environment["GROUP"]
            moved = self._moved(group, wanted, how, by)
            admin = AdminClient({"bootstrap.servers": world.cluster.brokers, "log_level": 0})
            request = ConsumerGroupTopicPartitions(group, moved)
            for done in admin.alter_consumer_group_offsets([request], request_timeout=ADMIN_SECONDS).values():
                done.result(ADMIN_SECONDS)
        world.start_workers()
        self._await_well()

    def _moved(self, group: str, wanted: list[TopicPartition], how: str, by: int) -> list[TopicPartition]:
        reading = {"bootstrap.servers": self.world.cluster.brokers, "group.id": group, "log_level": 0}
        consumer = Consumer(reading)
        try:
            moved = []
            for one in consumer.committed(wanted, timeout=ADMIN_SECONDS):
                first, end = bounds_of(consumer, one)
                shift = {"forward": by, "backward": -by}.get(how, 0)
                offset = {"to_latest": end, "to_earliest": first}.get(how, max(one.offset, first) + shift)
                moved.append(TopicPartition(one.topic, one.partition, min(max(offset, first), end)))
            return moved
        finally:
            consumer.close()

    def make_anew(self, topics: str, running: bool, unread: int, again: int) -> None:  # noqa: FBT001 - named by the plan
        """Delete topics with unread payments and make them anew, with the workers running or stopped."""
        world = self.world
        self._await_well()
        if not running:
            world.end_workers()
            world.traffic.send_some(unread)
        names = ("transactions", "labels") if topics == "both" else (topics,)
        with world.traffic:
            for name in names:
                world.history[name] = world.records(name)
                world.logs[name] += 1
            last, read = self._last_decided(), world.partitions_read()
            admin = AdminClient({"bootstrap.servers": world.cluster.brokers, "log_level": 0})
            for done in admin.delete_topics([world.topic(name) for name in names]).values():
                done.result(ADMIN_SECONDS)
            until(self._are_made, "the topics are made anew")
            world.traffic.reconnect()
            world.traffic.send(*world.traffic.again(again, without=last))
        if not running:
            world.start_workers()
        self.accept_losses(names, read)
        self._await_well()

    def _last_decided(self) -> set[bytes]:
        """Return the payments that were decided last on each partition.

        Where one comes to lie at its own offset again, a worker takes the topic for a mirror, and tells of no loss.
        """
        ids = {score.partition: score.transaction_id for score in scores_of(self.world.read("scores"))}
        values = [record.value or b"" for record in self.world.history["transactions"]]
        return {value for value in values if any(f'"{name}"'.encode() in value for name in ids.values())}

    def _are_made(self) -> bool:
        try:
            self.world.apply_topics()
        except AssertionError:
            return False
        return True

    def accept_losses(self, names: tuple[str, ...], read: set[str]) -> None:
        """Accept the losses of topics once workers tell of all of them: of each partition that was `read`."""
        places = [(self.world.topic(name), number) for name in names for number in range(self.world.plan.partitions)]
        wanted = [f"{topic} partition {number}:" for topic, number in places if f"{topic} {number}" in read]

        def told() -> bool:
            self.world.revive()
            reasons = str(self.world.reasons())
            return all(one in reasons for one in wanted)

        until(told, f"workers tell what is lost of {names}", WELL_SECONDS)
        self.accept()

    def accept(self) -> None:
        """Accept what workers say is lost."""
        done = self.world.fleet.cli("topics", "accept-loss", "--reason", "a campaign", "--json")
        told = f"{len(done.stdout.splitlines())} lines" if done.returncode == 0 else (done.stdout + done.stderr)[-800:]
        self.world.notes.append(f"accept-loss: {done.returncode}, {told}")

    def _await_well(self) -> None:
        self.world.await_well(self.accept)
        self.world.measure_workers()


ACTIONS: Mapping[str, Callable[..., None]] = {
    one.__name__: one
    for one in (
        Actions.begin_outage,
        Actions.end_outage,
        Actions.command,
        Actions.kill_worker,
        Actions.add_worker,
        Actions.stop_worker,
        Actions.set_clock,
        Actions.burst,
        Actions.stop_before_letters,
        Actions.empty_redis,
        Actions.send_again,
        Actions.empty_redis_and_send_again,
        Actions.restart_workers,
        Actions.redrive,
        Actions.move_offsets,
        Actions.make_anew,
    )
}


def summary_of(report: str) -> Mapping[str, Any]:
    """Return the JSON object that a command printed; with `error` in its place if it printed none."""
    try:
        found: Mapping[str, Any] = json.loads(report)
    except ValueError:
        return {"error": report[-1_000:]}
    return found
