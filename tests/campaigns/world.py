"""What a campaign runs on: three brokers and a Redis for all seeds, and for each seed a fleet of three workers.

A worker that ends by itself is counted, and replaced as a supervisor does.
"""

import os
import resource
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from redis import Redis

from campaigns.facts import Record, Use, scores_of
from campaigns.late_reader import LateReader
from campaigns.oracle import valid_scores
from campaigns.plan import LIVE_FIRST, MODELS, OTHER_MODEL, SAME_MODEL, Plan, Services
from campaigns.standby import Standby, redis_with_standby
from campaigns.traffic import Traffic
from campaigns.witness import Witness
from models.repository import Repository
from support.fleet.fleet import Fleet, until
from support.fleet.payments import model_for_tests
from support.fleet.workers import COMMAND, Worker
from support.kafka.admin import set_on_topic
from support.kafka.jars import OLD_VERSIONS, VERSION, NoJars
from support.kafka.three_brokers import IDS, ThreeBrokers, require_jars, three_brokers
from support.redis.server import redis_server

FAKETIME = Path("/usr/lib") / f"{os.uname().machine}-linux-gnu" / "faketime" / "libfaketimeMT.so.1"
"""Where Debian's package `libfaketime` puts the library for programs with threads."""
NEED_FAKETIME = {"clocks", "idle_night"}
NEED_ROOT = {"full_disk"}
LONG_MAX = str(2**63 - 1)
ADMIN_SECONDS = 30.0
_AGAIN_SECONDS = 0.2
_LEADER_MOVES = {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError._TRANSPORT}


def missing(campaign: str) -> str:
    """Return what this machine lacks for a campaign, and how to get it; empty if nothing."""
    if campaign in NEED_FAKETIME and not FAKETIME.exists():
        return f"the campaign {campaign} needs {FAKETIME}: apt-get install libfaketime"
    if campaign in NEED_ROOT and os.geteuid() != 0:
        return f"the campaign {campaign} mounts a small disk, for which it has to run as root"
    try:
        for version in OLD_VERSIONS if campaign == "old_brokers" else (VERSION,):
            require_jars(version)
    except NoJars as reason:
        return f"a campaign needs three brokers of Apache Kafka: {reason}"
    return ""


class Servers(NamedTuple):
    """The servers of a seed; `models` are the digests of models that `repository` has."""

    cluster: ThreeBrokers
    redis_url: str
    repository: Path
    models: tuple[str, ...]
    standby: Standby | None = None


@contextmanager
def servers(folder: Path, services: Services) -> Iterator[Servers]:
    """Yield three brokers and a Redis in service, and models to promote.

    Raises:
        NoJars: there are no three brokers.
    """
    with ExitStack() as stack:
        disk = folder / "disk"
        disk.mkdir()
        if services.disk_mb:
            stack.enter_context(_small_disk(disk, services.disk_mb))
        repository = disk / "models"
        models = {seed: model_for_tests(seed=seed) for seed in range(MODELS)}
        models[SAME_MODEL] = model_for_tests(seed=LIVE_FIRST - 1, version="same")
        models[OTHER_MODEL] = model_for_tests(seed=OTHER_MODEL)
        digests = tuple(Repository(str(repository)).put(models[at]) for at in sorted(models))
        cluster = stack.enter_context(three_brokers(services.kafka, services.idle_ms))
        if services.has_standby:
            standby = stack.enter_context(redis_with_standby(services.redis))
            yield Servers(cluster, standby.url, repository, digests, standby)
        else:
            yield Servers(cluster, stack.enter_context(redis_server(*services.redis)), repository, digests)


@contextmanager
def _small_disk(folder: Path, size_mb: int) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "campaign", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class NotWellError(Exception):
    """The fleet was not well again in time, whatever an operator did: a finding, and no fault of the campaign."""


class World:
    """A seed's fleet and traffic; `history` has the records of topics that were made anew since, by name.

    `notes` are what the actions have to tell, `exits` the workers that ended by themselves, `warnings` what an unsafe
    setting was warned of by, and how.
    """

    def __init__(self, whole: Servers, plan: Plan, folder: Path) -> None:
        self.servers, self.cluster, self.plan, self.folder = whole, whole.cluster, plan, folder
        self.notes: list[str] = []
        self.exits: list[str] = []
        self.warnings: dict[str, str] = {}
        self.settings = dict(plan.settings)
        self.history: dict[str, list[Record]] = {"transactions": [], "labels": []}
        self.logs = {"transactions": 0, "labels": 0}
        self.workers: list[Worker] = []
        self.guard: Worker | None = None
        self.other_fleet: Fleet | None = None
        self.other_workers: list[Worker] = []
        self._first_use: dict[int, Use] = {}
        self._started: list[Worker] = []
        self.prefix = f"{plan.campaign[:3]}{plan.seed}-{uuid.uuid4().hex[:6]}-"
        self.fleet = Fleet(self._environment(), folder, self.start)
        self.redis: Redis = Redis.from_url(whole.redis_url)
        self.clock = folder / "clock"
        self.set_clock(-plan.night_s)
        self._create_topics()
        self.traffic = Traffic(self.cluster.brokers, self.prefix, plan)
        self.witness = Witness(lambda: self.cluster.brokers, self.topic("scores"))
        self.late_reader = LateReader(lambda: self.cluster.brokers, self.topic("scores"), plan.seed)

    def _environment(self) -> dict[str, str]:
        return {
            "BROKERS": self.cluster.brokers,
            "REDIS_URL": self.servers.redis_url,
            "TOPIC_PREFIX": self.prefix,
            "GROUP": f"{self.prefix}group",
            "DEPLOYMENT": f"{self.prefix}deployment",
            "MODELS": str(self.servers.repository),
            "SESSION_TIMEOUT": "3",
        }

    def topic(self, name: str) -> str:
        return self.prefix + name

    def _create_topics(self) -> None:
        if (node := self.plan.alone) is not None:
            leaders = [node if number % 2 else IDS[number // 2 % len(IDS)] for number in range(self.plan.partitions)]
            self.cluster.create(self.topic("scores"), leaders)
            set_on_topic(self.cluster.brokers, self.topic("scores"), min_insync_replicas="1")
        self.apply_topics()
        if not self.plan.bounded and self.plan.services.kafka == VERSION:  # the oldest cannot refuse any
            for name in ("transactions", "labels"):
                settings = {"message_timestamp_after_max_ms": LONG_MAX}
                set_on_topic(self.cluster.brokers, self.topic(name), **settings)

    def tell(self, what: str, *command: str) -> None:
        """Send a command as an operator does, and note what came of it; it may be refused."""
        done = self.fleet.cli(*command, "--reason", "a campaign")
        self.notes.append(f"{what}: {done.returncode} {(done.stderr or done.stdout).strip()[-300:]}")

    def apply_topics(self) -> None:
        replication = str(self.cluster.replication)
        done = self.fleet.cli(
            "topics", "apply", "--partitions", str(self.plan.partitions), "--replication", replication
        )
        assert done.returncode == 0, done.stderr

    # --- workers

    def start(self, settings: Mapping[str, str], command: Sequence[str] = COMMAND) -> Worker:
        """Start a process of any fleet."""
        worker = Worker(settings, self.folder / f"worker-{len(self._started)}.log", command)
        self._started.append(worker)
        worker.start()
        return worker

    def stop_flag(self, at: int) -> Path:
        return self.folder / f"stop-{at}"

    def new_worker(self, at: int) -> Worker:
        """Start the worker of a place; some plans have places whose clock can be moved."""
        preload = [f"FRAUDSTREAM_TEST_STOP={self.stop_flag(at)}"]
        if at in self.plan.faked:
            preload += [
                f"LD_PRELOAD={FAKETIME}",
                f"FAKETIME_TIMESTAMP_FILE={self.clock}",
                *("FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"),
                # Its way of waiting for conditions by the monotonic clock keeps threads from the GIL for a second.
                "FAKETIME_FORCE_MONOTONIC_FIX=0",
            ]
        script = str(Path(__file__).with_name("faked_worker.py"))
        return self.fleet.worker(("env", *preload, sys.executable, script, "worker"), **self.settings)

    def start_workers(self) -> None:
        self.workers = [self.new_worker(at) for at in range(self.plan.workers)]
        until(lambda: all(worker.has_joined for worker in self.workers), "the group is joined", 90)

    def end_workers(self) -> None:
        """End all workers in order, as an operator does who stops the group."""
        for worker in self.workers:
            self._note_exit(worker)
            if (code := worker.terminate()) not in {0, -15}:
                self.exits.append(f"{worker.address} ended with {code} after SIGTERM: {_last_words(worker)}")
        self.workers.clear()

    def replace_worker(self, at: int) -> None:
        """Kill a worker and start another in its place."""
        self._note_exit(self.workers[at])
        self.workers[at].kill()
        self.workers[at] = self.new_worker(at)

    def restart_worker(self, at: int) -> None:
        """End a worker in order and start another in its place."""
        self._note_exit(self.workers[at])
        self.workers[at].terminate()
        self.workers[at] = self.new_worker(at)

    def revive(self) -> None:
        """Count workers that have ended by themselves, and replace them."""
        for at, worker in enumerate(self.workers):
            if worker.exit_code is not None:
                self._note_exit(worker)
                self.workers[at] = self.new_worker(at)
        if self.guard and self.guard.exit_code is not None:
            self._note_exit(self.guard)
            self.guard = None
        for worker in [one for one in self.other_workers if one.exit_code is not None and self.other_fleet]:
            self._note_exit(worker)
            self.other_workers.remove(worker)
            self.other_workers.append(self.other_fleet.worker())

    def _note_exit(self, worker: Worker) -> None:
        if worker.exit_code is not None:
            self.exits.append(f"a worker ended with {worker.exit_code}: {_last_words(worker)}")

    def reasons(self) -> list[str]:
        """Return why workers are not ready; empty if all are."""
        processes = [*self.workers, *self.other_workers, *([self.guard] if self.guard else [])]
        answers = [process.readiness() for process in processes]
        return [reason for ready, reasons in answers if not ready for reason in reasons or ["not ready"]]

    def await_well(self, accept: Callable[[], None], seconds: float = 90.0) -> None:
        """Wait until all workers are ready, and do meanwhile what the reasons ask an operator to do.

        A loss is accepted; a worker with a halted partition is restarted, once the cause is gone.
        """
        deadline = time.monotonic() + seconds
        while reasons := self._tended(accept):
            if time.monotonic() > deadline:
                raise NotWellError(f"not well within {seconds:g} s: {reasons}")
            time.sleep(0.3)

    def _tended(self, accept: Callable[[], None]) -> list[str]:
        self.revive()
        for at, worker in enumerate(self.workers):
            if any("halted" in reason for reason in worker.readiness()[1]):
                self.notes.append(f"worker {at} had halted partitions and was restarted")
                self.restart_worker(at)
        reasons = self.reasons()
        if any("accept-loss" in reason for reason in reasons):
            accept()
        return reasons

    def set_clock(self, offset_s: int) -> None:
        """Move the clock of the workers that have one of their own."""
        new = self.clock.with_suffix(".new")
        new.write_text(f"{offset_s:+d}")
        new.replace(self.clock)

    def measure_workers(self) -> None:
        """Remember what each worker's process uses; one that was measured before keeps its first measurement."""
        for worker in self.workers:
            if worker.exit_code is None and worker.pid not in self._first_use:
                self._first_use[worker.pid] = use_of(worker.pid)

    def use_now(self) -> dict[str, tuple[Use, Use]]:
        """Return what the workers used that are still there, and what they use."""
        pids = [worker.pid for worker in self.workers if worker.exit_code is None]
        return {f"process {pid}": (self._first_use[pid], use_of(pid)) for pid in pids if pid in self._first_use}

    # --- the end

    def close(self) -> None:
        """Kill the workers; what the seed made on its servers ends with them."""
        self.witness.stop()
        self.late_reader.stop()
        for worker in self._started:
            worker.kill()
        self.redis.close()

    def remove_folder(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- what is on the topics

    def read(self, name: str) -> list[Record]:
        """Read a topic as it is now."""
        return read_topic(self.cluster.brokers, self.topic(name), self.logs.get(name, 0))

    def records(self, name: str) -> list[Record]:
        """Return the records of all logs of an input topic."""
        return [*self.history[name], *self.read(name)]

    def await_committed(self, seconds: float = 60.0) -> None:
        """Wait until the group has committed all that is on the input topics now."""
        _, ends = self._progress()
        until(lambda: not _behind(self._progress()[0], ends), "what was sent is committed", seconds)

    def partitions_read(self) -> set[str]:
        """Return the partitions of the input topics of which the group has committed something."""
        return {name for name, offset in self._progress()[0].items() if offset}

    def uncommitted(self) -> dict[str, int]:
        """Return how many records the group has not committed, by topic and partition; only where there are some.

        Where another deployment publishes, what lies behind its last decision of a partition has none, and a silent
        fleet waits there for the next one.
        """
        behind = _behind(*self._progress())
        waiting = self._silent_waits_for() if behind else {}
        return {where: count for where, count in behind.items() if count > waiting.get(where, 0)}

    def _silent_waits_for(self) -> dict[str, int]:
        """Return how many records lie behind the last decision of each partition that another deployment decides."""
        scores, ends = self.read("scores"), self._progress()[1]
        last = {one.partition: one for one in valid_scores(scores_of(scores))}
        deciders = {(one.partition, one.offset): one.fields["deployment"] for one in scores}
        others = [
            one for one in last.values() if deciders[one.partition, one.at] != self.fleet.environment["DEPLOYMENT"]
        ]
        named = {f"{self.topic('transactions')} {one.partition}": one.offset + 1 for one in others}
        return {where: ends[where] - position for where, position in named.items()}

    def _progress(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return what the group has committed and where each partition of the input topics ends."""
        names, numbers = (self.topic("transactions"), self.topic("labels")), range(self.plan.partitions)
        wanted = [TopicPartition(name, number) for name in names for number in numbers]
        consumer = Consumer({**_reading(self.cluster.brokers), "group.id": self.fleet.environment["GROUP"]})
        try:
            committed = consumer.committed(wanted, timeout=ADMIN_SECONDS)
            ends = [bounds_of(consumer, one)[1] for one in wanted]
        finally:
            consumer.close()
        named = [f"{one.topic} {one.partition}" for one in wanted]
        read = [max(0, one.offset) for one in committed]
        return dict(zip(named, read, strict=True)), dict(zip(named, ends, strict=True))


def _behind(committed: Mapping[str, int], ends: Mapping[str, int]) -> dict[str, int]:
    return {where: end - committed[where] for where, end in ends.items() if committed[where] < end}


def bounds_of(consumer: Consumer, tp: TopicPartition) -> tuple[int, int]:
    """Return where a partition begins and ends; ask again while its leader moves, which librdkafka leaves to us."""
    deadline = time.monotonic() + ADMIN_SECONDS
    while True:
        try:
            begin, end = consumer.get_watermark_offsets(tp, timeout=ADMIN_SECONDS)
        except KafkaException as error:
            if error.args[0].code() not in _LEADER_MOVES or time.monotonic() > deadline:
                raise
            time.sleep(_AGAIN_SECONDS)
        else:
            return begin, end


def read_topic(brokers: str, topic: str, log: int = 0) -> list[Record]:
    """Return the records of a topic up to its present end, each partition in order; `log` is their log's number."""
    consumer = Consumer(_reading(brokers))
    try:
        numbers = consumer.list_topics(topic, timeout=ADMIN_SECONDS).topics[topic].partitions
        bounds = {number: bounds_of(consumer, TopicPartition(topic, number)) for number in numbers}
        return _read_partitions(consumer, topic, {at: pair for at, pair in bounds.items() if pair[0] < pair[1]}, log)
    finally:
        consumer.close()


def _read_partitions(consumer: Consumer, topic: str, bounds: Mapping[int, tuple[int, int]], log: int) -> list[Record]:
    """Read partitions to their ends; markers take offsets too, so the broker tells when an end is reached."""
    consumer.assign([TopicPartition(topic, number, begin) for number, (begin, _) in bounds.items()])
    read: dict[int, list[Record]] = {number: [] for number in bounds}
    ended: set[int] = set()
    deadline = time.monotonic() + ADMIN_SECONDS
    while len(ended) < len(bounds):
        assert time.monotonic() < deadline, f"{topic} cannot be read to its ends {bounds}: {sorted(ended)} are"
        message = consumer.poll(1.0)
        if message is None:
            continue
        number, at, error = message.partition(), message.offset(), message.error()
        if error is None:
            headers = {name: value or b"" for name, value in message.headers() or ()}
            record = Record(log, number, at, message.timestamp()[1], message.key(), message.value(), headers)
            read[number].append(record)
        elif error.code() == KafkaError._PARTITION_EOF and at >= bounds[number][1]:
            ended.add(number)
    return [record for records in read.values() for record in records]


def use_of(pid: int) -> Use:
    """Return how many descriptors a process has open, and its resident memory."""
    process = Path("/proc") / str(pid)
    resident_pages = int((process / "statm").read_text().split()[1])
    return Use(len(list((process / "fd").iterdir())), resident_pages * resource.getpagesize() // 2**20)


def _reading(brokers: str) -> dict[str, str | bool | int]:
    return {
        "bootstrap.servers": brokers,
        "group.id": "campaign",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 10,  # else all other requests to a broker wait behind a fetch at a partition's end
        "log_level": 0,
    }


def _last_words(worker: Worker) -> str:
    lines = [line for line in worker.log().splitlines() if " CRITICAL " in line or " ERROR " in line]
    return lines[-1][:500] if lines else worker.log()[-300:]
