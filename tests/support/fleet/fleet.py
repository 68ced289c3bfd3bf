"""A fleet for integration tests: topics, a model repository, and workers on a real broker and a real Redis."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiokafka import ConsumerRecord

from fraudstream_client.outputs import Score
from fraudstream_client.validity import ValidScores
from support.fleet.payments import PARTITIONS, ends, payment, publish, put_model, read_topic
from support.fleet.preloaded import run
from support.fleet.workers import Worker, patient, starting
from support.kafka.cluster import Cluster, separate_topics

IDENTITY = ("deployment", "source.topic", "source.partition", "source.offset")
"""The headers of a dead letter that tell it from others; after a crash the same one may come again."""


class Fleet:
    """Workers that share topics, Redis keys and a repository, separate from those of every other test.

    `python` is the command before `-m`: by default this interpreter, with the code of this checkout.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        folder: Path,
        start: Callable[..., Worker],
        python: Sequence[str] = (sys.executable,),
    ) -> None:
        self.environment = dict(environment)
        self.python = tuple(python)
        self.folder = folder
        self.prefix = environment["TOPIC_PREFIX"]
        self.workers: list[Worker] = []
        self._start = start

    @property
    def brokers(self) -> str:
        return self.environment["BROKERS"]

    @property
    def models(self) -> str:
        return self.environment["MODELS"]

    @property
    def command_line(self) -> tuple[str, ...]:
        """The command line, with this fleet's code."""
        return (*self.python, "-m", "fraudstream.cli")

    def cli(
        self, *arguments: str, seconds: float = 120.0, command: Sequence[str] = (), **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line, or another command in its place, with this fleet's settings."""
        named = {f"FRAUDSTREAM_{name}": value for name, value in (self.environment | settings).items()}
        return run([*(command or self.command_line), *arguments], os.environ | named, patient(seconds))

    def command(self, *arguments: str, refused: bool = False) -> dict[str, Any]:
        """Send a command to the judge, and return its verdict, which is an acceptance unless it is to be `refused`."""
        done = self.cli(*arguments, "--reason", "test", "--json")
        assert done.returncode == refused, done.stdout + done.stderr
        verdict: dict[str, Any] = json.loads(done.stdout)
        return verdict

    def worker(self, command: Sequence[str] = (), **settings: str) -> Worker:
        """Start a worker, without waiting until it is ready."""
        self.workers.append(self._start(self.environment | settings, command or (*self.command_line, "worker")))
        return self.workers[-1]

    def promote(self, digest: str, *arguments: str) -> dict[str, Any]:
        """Promote a model and return the verdict."""
        done = self.cli("model", "promote", digest, "--reason", "test", "--json", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        verdict: dict[str, Any] = json.loads(done.stdout)
        return verdict

    def go_live(self, workers: int = 1, seed: int = 0, **settings: str) -> list[Worker]:
        """Start workers and make a first model live."""
        digest = put_model(self.models, seed=seed)
        started = [self.worker(**settings) for _ in range(workers)]
        until(lambda: all(worker.has_joined for worker in started), "the group is joined")
        self.promote(digest)
        for worker in started:
            worker.await_ready()
        return started

    def publish(self, records: Iterable[Any], topic: str = "transactions") -> None:
        """Publish payments or (key, value) pairs, in order."""
        asyncio.run(publish(self.brokers, self.prefix + topic, records))

    def read(self, topic: str) -> list[ConsumerRecord[bytes, bytes]]:
        """Read a whole topic."""
        return asyncio.run(read_topic(self.brokers, self.prefix + topic))

    def scores(self) -> tuple[list[Score], ValidScores[Any]]:
        """Return the valid scores, and the reader that counted the others."""
        reader: ValidScores[Any] = ValidScores()
        return [score for _, score in reader.of(self.read("scores"))], reader

    def await_scores(self, count: int, seconds: float = 60.0) -> list[Score]:
        """Wait until so many scores are valid."""
        self.await_records("scores", count, seconds)
        until(lambda: len(self.scores()[0]) >= count, f"{count} valid scores", seconds)
        return self.scores()[0]

    def await_decisions(self, transactions: Iterable[str], seconds: float = 60.0) -> dict[str, Score]:
        """Wait until each of these transactions has a valid score, and return them by id, whatever else was decided."""
        wanted, found = set(transactions), dict[str, Score]()

        def are_decided() -> bool:
            found.update((one.transaction_id, one) for one in self.scores()[0] if one.transaction_id in wanted)
            return found.keys() == wanted

        until(are_decided, f"scores of {len(wanted)} transactions", seconds)
        return found

    def await_records(self, topic: str, count: int, seconds: float = 60.0) -> list[ConsumerRecord[bytes, bytes]]:
        """Wait until a topic has so many records."""
        until(lambda: sum(self.ends(topic).values()) >= count, f"{count} records in {topic}", seconds)
        return self.read(topic)

    def await_dead_letters(
        self, count: int, seconds: float = 60.0, known: Collection[ConsumerRecord[bytes, bytes]] = ()
    ) -> list[ConsumerRecord[bytes, bytes]]:
        """Wait until so many records have a dead letter, and return the first of each: they come at least once.

        What is `known` from before does not count.
        """
        until(lambda: sum(self.ends("dead-letters").values()) >= count, f"{count} dead letters", seconds)
        until(lambda: len(self.dead_letters(known)) >= count, f"{count} records with dead letters", seconds)
        return self.dead_letters(known)

    def dead_letters(self, known: Collection[ConsumerRecord[bytes, bytes]] = ()) -> list[ConsumerRecord[bytes, bytes]]:
        """Return each deployment's first dead letter of each record that has one, without those known from before."""
        before = {(letter.partition, letter.offset) for letter in known}
        first: dict[tuple[bytes | None, ...], ConsumerRecord[bytes, bytes]] = {}
        for letter in self.read("dead-letters"):
            headers = dict(letter.headers)
            first.setdefault(tuple(headers[name] for name in IDENTITY), letter)
        return [letter for letter in first.values() if (letter.partition, letter.offset) not in before]

    def await_outcomes(self, count: int, seconds: float = 60.0) -> None:
        """Wait until so many labels have an outcome; a second outcome of the same label is not counted."""
        until(
            lambda: sum(self.ends("outcomes").values()) >= count and self._answered_labels() >= count,
            f"{count} labels with outcomes",
            seconds,
        )

    def _answered_labels(self) -> int:
        found = (json.loads(record.value)["source"] for record in self.read("outcomes"))
        return len({(source["partition"], source["offset"]) for source in found})

    def ends(self, topic: str) -> dict[int, int]:
        """Return how many records each partition of a topic has: quicker than reading it."""
        return asyncio.run(ends(self.brokers, self.prefix + topic))

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of one kind."""
        events = [json.loads(record.value) for record in self.read("model-events")]
        return [event for event in events if event["kind"] == kind]


def until(holds: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Wait until a condition holds; fail with `what` if it does not in time."""
    seconds = patient(seconds)
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.2)


def new_fleet(kafka: Cluster, redis_url: str, prefix: str, folder: Path, start: Callable[..., Worker]) -> Fleet:
    """Create the topics, and return a fleet with an empty repository.

    The embedded broker does not support idempotent producers.
    """
    environment = {
        "BROKERS": kafka.brokers,
        "REDIS_URL": redis_url,
        "TOPIC_PREFIX": prefix,
        "GROUP": f"{prefix}group",
        "DEPLOYMENT": f"{prefix}deployment",
        "MODELS": str(folder / "models"),
        "SESSION_TIMEOUT": "3",
        **({"KAFKA_IDEMPOTENCE": "false"} if kafka.kind == "embedded" else {}),
    }
    fleet = Fleet(environment, folder, start)
    done = fleet.cli("topics", "apply", "--partitions", str(PARTITIONS), "--replication", str(kafka.replication))
    assert done.returncode == 0, done.stderr
    return fleet


@contextmanager
def standing_fleet(kafka: Cluster, redis_url: str, folder: Path, **settings: str) -> Iterator[Fleet]:
    """A fleet of one worker with a live model for several tests, of which none ends or kills it; it drains at the end.

    Each test uses ids and cards of its own, and waits for these.
    """
    with separate_topics(kafka) as prefix, starting(folder) as start:
        fleet = new_fleet(kafka, redis_url, prefix, folder, start)
        (worker,) = fleet.go_live(**settings)
        yield fleet
        assert worker.terminate() == 0


def sources(scores: list[Score]) -> Counter[tuple[int, int]]:
    return Counter((score.source.partition, score.source.offset) for score in scores)


def feed(fleet: Fleet, second: int, rate: int) -> None:
    """Publish one second's payments, and take about a second for it."""
    started = time.monotonic()
    fleet.publish(payment(number, cards=400, merchants=100) for number in range(second * rate, (second + 1) * rate))
    time.sleep(max(0.0, 1.0 - (time.monotonic() - started)))
