"""Readers of `scores` that read along, and what they saw as a history of registers, one for each payment.

A payment's decision is written once, between its publication and the first read that returns it; every later read
returns it, too. A decision that is marked as incomplete has a register of its own, since a repeat may be decided then:
whether it may be there is another check's question. One reader follows the other: each begins at the first score again,
as a consumer does that is new, and every second one is the product's own. `tests/support/porcupine` judges the history,
with nothing of ours in between.
"""

import json
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from campaigns.facts import INCOMPLETE, Record, scores_of
from campaigns.oracle import Reading
from campaigns.traffic import QUIET, Payment
from fraudstream_client.validity import ValidScores
from support.paths import HOUSE, SUPPORT

POLL_SECONDS = 0.5
READER_SECONDS = 15.0
"""For so long at least a reader reads on before the next one begins."""
LAST_SECONDS = 60.0
LOOK_UP_SECONDS = 5.0
BUILD_SECONDS = 300.0
JUDGE_SECONDS = 120.0
PORCUPINE = SUPPORT / "porcupine"
NOTHING = ""
"""What a read of a payment without a decision returns."""

_GONE = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}


class NoGoError(Exception):
    """porcupine cannot be built here."""


class Seen(NamedTuple):
    """A valid score that a reader saw: its place on `scores`, what it says, and whether it is marked as incomplete."""

    payment: Payment
    place: tuple[int, int]
    value: str
    is_incomplete: bool = False

    @property
    def register(self) -> "Register":
        place = "{}:{}".format(*self.place) if self.is_incomplete else ""
        return Register(self.payment, place)


class Register(NamedTuple):
    """What a decision is written to: of a payment, or, marked as incomplete, of one place on `scores`."""

    payment: Payment
    place: str = ""


class Operation(NamedTuple):
    """An operation on a register, in nanoseconds of one clock."""

    client: str
    register: Register
    kind: str
    value: str
    call: int
    end: int


class History:
    """What readers saw, in the order in which they saw it."""

    def __init__(self) -> None:
        self._operations: list[Operation] = []
        self._written: dict[tuple[Register, tuple[int, int]], int] = {}

    def see(self, reader: str, began: int, seen: Seen, now: int) -> None:
        """Note a valid score: the first time at its place, it was written until now; after that, it was read."""
        kind = "read" if (seen.register, seen.place) in self._written else "write"
        self._written.setdefault((seen.register, seen.place), now)
        self._operations.append(Operation(reader, seen.register, kind, seen.value, began, now))

    def miss(self, reader: str, began: int, saw: Iterable[Register], now: int) -> None:
        """Note that a reader read all that there was and saw no decision of payments that others had seen before."""
        earlier = {register for (register, _), at in self._written.items() if at < began}
        self._operations += [
            Operation(reader, register, "read", NOTHING, began, now) for register in earlier.difference(saw)
        ]

    def lines(self, published: Mapping[Payment, int]) -> Iterator[str]:
        """Yield the operations as lines of JSON; a write began when its payment was first published."""
        for one in self._operations:
            call = published.get(one.register.payment, 0) if one.kind == "write" else one.call
            payment = "/".join(filter(None, (*one.register.payment, one.register.place)))
            fields = {name: value for name, value in one._asdict().items() if name != "register"}
            yield json.dumps(fields | {"payment": payment, "call": call}) + "\n"


def opened_at(brokers: str, topic: str, positions: Mapping[int, int]) -> tuple[Consumer, dict[int, int]]:
    """Return a consumer of a topic from some positions on, or the beginning, and where each partition ends now.

    Raises:
        KafkaException: the brokers do not answer in time.
    """
    options = {"bootstrap.servers": brokers, "group.id": "witness", "enable.auto.commit": False}
    quiet = {"log_level": 0, "isolation.level": "read_committed", "reconnect.backoff.max.ms": 500}
    consumer = Consumer({**options, **quiet, "auto.offset.reset": "error"}, logger=QUIET)
    try:
        numbers = consumer.list_topics(topic, timeout=LOOK_UP_SECONDS).topics[topic].partitions
        wanted = [TopicPartition(topic, number, positions.get(number, 0)) for number in numbers]
        bounds = [consumer.get_watermark_offsets(place, timeout=LOOK_UP_SECONDS) for place in wanted]
        consumer.assign(wanted)
    except KafkaException:
        consumer.close()
        raise
    return consumer, {place.partition: bound[1] for place, bound in zip(wanted, bounds, strict=True)}


class _Reader:
    """One reader of all scores from the first on; it has caught up when it has read what there was when it began."""

    def __init__(self, name: str, brokers: str, topic: str, *, ours: bool) -> None:
        self.name, self.began = name, time.monotonic_ns()
        self.saw: set[Register] = set()
        self._valid: ValidScores[Message] | None = ValidScores() if ours else None
        self._reading = Reading()
        self._consumer, self._ends = opened_at(brokers, topic, {})
        self._wanted = [TopicPartition(topic, number) for number in self._ends]

    def poll(self) -> list[Seen]:
        """Read some.

        Raises:
            KafkaException: the topic no longer has what this reader has read.
        """
        messages = self._consumer.consume(2_000, POLL_SECONDS)
        errors = [error for message in messages if (error := message.error()) is not None]
        if gone := [error for error in errors if error.code() in _GONE]:
            raise KafkaException(gone[0])
        seen = list(self._valid_of([message for message in messages if message.error() is None]))
        self.saw.update(one.register for one in seen)
        return seen

    def _valid_of(self, messages: Sequence[Message]) -> Iterator[Seen]:
        if self._valid is not None:
            for message, score in self._valid.of(messages):
                incomplete = INCOMPLETE in score.degraded
                yield _seen((score.card_id, score.transaction_id), message, score.decision, incomplete=incomplete)
            return
        for message in messages:
            headers = {name: value or b"" for name, value in message.headers() or ()}
            place = message.partition() or 0, message.offset() or 0
            (score,) = scores_of([Record(0, *place, 0, message.key(), message.value(), headers)])
            if self._reading.next(score).is_valid:
                decision = json.loads(message.value() or b"")["decision"]
                yield _seen(score.payment, message, decision, incomplete=score.is_incomplete)

    @property
    def has_caught_up(self) -> bool:
        positions = self._consumer.position(self._wanted)
        return all(self._ends[one.partition] <= max(one.offset, 0) for one in positions)

    def close(self) -> None:
        self._consumer.close()


def _seen(payment: Payment, message: Message, decision: str, *, incomplete: bool) -> Seen:
    place = message.partition() or 0, message.offset() or 0
    digest = blake2b(message.value() or b"", digest_size=4).hexdigest()
    return Seen(payment, place, f"{decision} {digest} at {place[0]}:{place[1]}", incomplete)


class Witness:
    """Reads along until it is told to finish; `brokers` tells where they are now."""

    def __init__(self, brokers: Callable[[], str], topic: str) -> None:
        self.history = History()
        self._brokers, self._topic, self._count = brokers, topic, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="witness", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def finish(self) -> None:
        """Stop, and read all once more."""
        self.stop()
        for ours in (False, True):
            reader = self._open(ours=ours)
            deadline = time.monotonic() + LAST_SECONDS
            while not reader.has_caught_up and time.monotonic() < deadline:
                self._read(reader)
            assert reader.has_caught_up, f"{self._topic} cannot be read to its end"
            self._end(reader)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._follow(self._open(ours=self._count % 2 == 1))
            except KafkaException:  # brokers are away, or the topic is shorter than it was: the next reader sees that
                self._over.wait(POLL_SECONDS)

    def _open(self, *, ours: bool) -> _Reader:
        self._count += 1
        return _Reader(f"reader {self._count}", self._brokers(), self._topic, ours=ours)

    def _follow(self, reader: _Reader) -> None:
        until = time.monotonic() + READER_SECONDS
        try:
            while not self._over.is_set() and (time.monotonic() < until or not reader.has_caught_up):
                self._read(reader)
        except KafkaException:
            reader.close()
            raise
        self._end(reader)

    def _read(self, reader: _Reader) -> None:
        for seen in reader.poll():
            self.history.see(reader.name, reader.began, seen, time.monotonic_ns())

    def _end(self, reader: _Reader) -> None:
        if reader.has_caught_up:
            self.history.miss(reader.name, reader.began, reader.saw, time.monotonic_ns())
        reader.close()


# --- the judge of histories


def built_judge() -> Path:
    """Return the program that judges histories, built once for each state of its sources.

    Raises:
        NoGoError: it cannot be built here.
    """
    if shutil.which("go") is None:
        raise NoGoError("no go on PATH")
    sources = b"".join((PORCUPINE / name).read_bytes() for name in ("go.mod", "go.sum", "main.go"))
    program = HOUSE / ".cache" / f"porcupine-{blake2b(sources, digest_size=6).hexdigest()}"
    if not program.exists():
        program.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=program.parent) as folder:
            target = Path(folder) / "porcupine"
            command = ["go", "build", "-C", str(PORCUPINE), "-o", str(target), "."]
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=BUILD_SECONDS)
            if done.returncode != 0:
                raise NoGoError(f"go build: {done.stderr[-500:]}")
            target.rename(program)
    return program


def judged(judge: Path, history: Path) -> list[str]:
    """Return what is wrong with a history, a line for each payment; empty if nothing is.

    Raises:
        ValueError: it cannot be read.
    """
    with history.open() as lines:
        done = subprocess.run([judge], check=False, stdin=lines, capture_output=True, text=True, timeout=JUDGE_SECONDS)
    if done.returncode not in {0, 1}:
        raise ValueError(done.stderr)
    return done.stdout.splitlines()
