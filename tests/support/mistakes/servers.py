"""The servers for mistakes: topics, models, a worker and a Redis that evicts keys, started when a stage needs them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

from support.fleet.fleet import Fleet, new_fleet
from support.fleet.payments import put_model
from support.fleet.workers import COMMAND, Worker
from support.kafka.cluster import Cluster
from support.mistakes.mistake import ADDRESS, DIGEST, Place, Stage
from support.mistakes.with_servers import EVICTING
from support.redis.server import redis_server

PREFIX = "shop-"
"""Stands for the prefix of the topics."""


class Servers:
    """Places with servers, one for each stage; what they share is started once."""

    def __init__(self, kafka: Cluster, redis_url: str, prefix: str, folder: Path, stack: ExitStack) -> None:
        self._kafka, self._redis_url, self._prefix = kafka, redis_url, prefix
        self._folder, self._stack = folder, stack
        self._digests: dict[str, str] = {}

    def place(self, stage: Stage, folder: Path) -> Place:
        """Return the place for a mistake of this stage, which works in `folder`."""
        fleet = self._deciding if stage is Stage.DECIDING else self._idle
        settings = fleet.environment | {"WORKER_ID": "worker-2", "ACTOR": "ada"}
        words = {
            "127.0.0.1:9092": self._kafka.brokers,
            EVICTING: self._evicting,
            DIGEST: self._digests[fleet.prefix],
            "models": fleet.models,
        }
        if stage is Stage.DECIDING:
            words[ADDRESS] = fleet.environment["TAKEN"]
        if stage is Stage.NO_TOPICS:
            settings["TOPIC_PREFIX"] = f"{self._prefix}none-"
        return Place(folder, settings, words | {PREFIX: settings["TOPIC_PREFIX"]})

    @cached_property
    def _evicting(self) -> str:
        """The address of a Redis that evicts keys; the last of two settings holds."""
        url = self._stack.enter_context(redis_server("--maxmemory-policy", "allkeys-lru"))
        return url.removeprefix("redis://").partition("/")[0]

    @cached_property
    def _idle(self) -> Fleet:
        """Topics and a model, without a worker."""
        fleet, _ = self._new("idle-")
        return fleet

    @cached_property
    def _deciding(self) -> Fleet:
        """Topics, and a worker with a live model."""
        fleet, digest = self._new("deciding-")
        worker = fleet.worker(WORKER_ID="worker-1")
        fleet.environment["TAKEN"] = worker.address
        fleet.promote(digest)
        worker.await_ready()
        return fleet

    def _new(self, name: str) -> tuple[Fleet, str]:
        folder = self._folder / name
        folder.mkdir()
        fleet = new_fleet(self._kafka, self._redis_url, f"{self._prefix}{name}", folder, self._start)
        self._digests[fleet.prefix] = put_model(fleet.models)
        return fleet, self._digests[fleet.prefix]

    def _start(self, settings: Mapping[str, str], command: Sequence[str] = COMMAND) -> Worker:
        named = {name: value for name, value in settings.items() if name != "TAKEN"}
        worker = Worker(named, self._folder / "worker.log", command)
        self._stack.callback(worker.kill)
        worker.start()
        return worker


@contextmanager
def servers(kafka: Cluster, redis_url: str, prefix: str, folder: Path) -> Iterator[Servers]:
    """Yield the places, and end what was started for them."""
    with ExitStack() as stack:
        yield Servers(kafka, redis_url, prefix, folder, stack)
