"""A small deployment without Kafka: a pipeline over histories in memory, and its topics as lists.

Everything is written by the product's own encoders; positions and epochs are the store's.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import msgspec
import numpy as np

from features.history.predictions import is_late
from features.history.store import (
    HistoryStore,
    Label,
    LabelResult,
    Observed,
    Prediction,
    PredictionResult,
    Transactions,
)
from features.memory_store import MemoryStore
from features.vector.sets import FeatureSets
from fraudstream.lab.rescoring import topic_run
from fraudstream.lab.rescoring.topic_reader import Offsets, Records, TopicPart
from fraudstream_client.outputs import PredictionStatus, Score
from models.loading import Model
from models.logs import Logs, TopicLogs
from models.policy import bands
from models.signing import KEY_HEADER
from models.terms import Term
from stream.contract.label import read_label
from stream.contract.prediction import ParsedPrediction
from stream.contract.transaction import BackfillMark
from stream.control.model_cache import ServingModels
from stream.pipeline import DecisionTerms, Pipeline
from stream.positions.letters import OffsetSet
from stream.positions.refused import RefusedOffsets
from stream.recovery.replayed_input import ReplayedInput
from stream.scoring.decode import decode, read_prediction_record
from stream.scoring.tracing import NoTracing
from stream.settings import Settings
from stream.worker.isolation import ValidPrediction
from stream.worker.labeller import _encode, _outcome
from stream.worker.prediction_applier import _outcome as prediction_outcome
from support.fleet.payments import partition_of

PARTITIONS = 3
FIRST_EPOCH = 1_700_000_000
Result = TypeVar("Result")


def completed(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end and return its result.

    `asyncio.run` would install a handler for SIGINT each time and format the whole result, which took as long as
    deciding the batch.
    """
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


@dataclass
class Record:
    """A record as a consumer returns it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    timestamp_type: int = 0
    left_out: Sequence[str] = ()
    left_out_more: int = 0
    damage: str = ""
    headers: Sequence[tuple[str, bytes | None]] = ()


class Histories:
    """The store of a worker: histories in memory under an epoch that rises when they are lost."""

    def __init__(self, sets: FeatureSets) -> None:
        self.sets = sets
        self.inner = MemoryStore(sets)
        self.epoch = FIRST_EPOCH
        self.incomplete = False

    async def observe(self, transactions: Transactions) -> Observed:
        observed = self.inner.observe_now(transactions)
        return replace(observed, history_epoch=self.epoch, incomplete=self.incomplete)

    async def holds(self, transactions: Transactions) -> Sequence[bool]:
        return await self.inner.holds(transactions)

    async def label(self, labels: Sequence[Label]) -> Sequence[LabelResult]:
        return [one._replace(history_epoch=self.epoch) for one in self.inner.label_now(labels)]

    async def predict(self, predictions: Sequence[Prediction]) -> Sequence[PredictionResult]:
        return [one._replace(history_epoch=self.epoch) for one in self.inner.predict_now(predictions)]

    async def compact(self) -> None:
        await self.inner.compact()


@dataclass
class World:
    """Topics and a worker; time advances by a second with each batch."""

    settings: Settings
    model: Model
    sets: FeatureSets
    now_ms: int
    topics: dict[str, dict[int, list[Record]]] = field(default_factory=dict)
    refused: set[tuple[str, int, int]] = field(default_factory=set)
    """The records that were ahead of the worker's clock, as their dead letters say."""
    divides: bool = False
    """Whether producers put each card's payments on all partitions in turn."""
    silent: bool = False
    """Whether another deployment publishes, so that decisions go to the worker's own topic."""
    term: int = 0
    """The term in which it decides; epochs of a later one are higher."""
    log: int = 0
    """How often the topic of transactions was made anew."""

    def __post_init__(self) -> None:
        names = ("transactions", "labels", "predictions", "scores", "outcomes")
        self.topics = {name: {number: [] for number in range(PARTITIONS)} for name in names}
        self.histories = Histories(self.sets)
        self.undecided: dict[int, int] = defaultdict(int)
        self.observed: dict[int, int] = defaultdict(int)

    def beside(self, other: "World") -> None:
        """Put this deployment on the topics of another one, whose decisions are published until `take_over`."""
        own = f"scores-{self.settings.deployment}"
        other.topics.setdefault(own, {number: [] for number in range(PARTITIONS)})
        self.topics, self.silent, self.now_ms = other.topics, True, other.now_ms

    def take_over(self, other: "World") -> None:
        """Publish from now on, in the next term; the other deployment goes on silently."""
        other.topics.setdefault(f"scores-{other.settings.deployment}", {number: [] for number in range(PARTITIONS)})
        self.silent, other.silent, self.term = False, True, max(self.term, other.term) + 1

    def catch_up(self) -> None:
        """Apply records without decisions, as a deployment does with those that another one has published."""
        self.observe(range(PARTITIONS))
        self.undecided = defaultdict(int, {number: len(log) for number, log in self.topics["transactions"].items()})

    def publish(self, *payments: Mapping[str, Any], topic: str = "transactions") -> list[Record]:
        """Append payments, or labels, to their partitions."""
        return [self.append(topic, self._partition(topic, str(one["card_id"])), one) for one in payments]

    def _partition(self, topic: str, card_id: str) -> int:
        if self.divides and topic == "transactions":
            return sum(map(len, self.topics[topic].values())) % PARTITIONS
        return partition_of(card_id, PARTITIONS)

    def backfill(self, *payments: Mapping[str, Any]) -> None:
        """Append payments that only fill the histories."""
        for record in self.publish(*payments):
            record.headers = [BackfillMark("0" * 16, record.offset).header()]

    def erase(self, card_id: str, erased_ms: int) -> None:
        """Append the erasure of a card up to a time, as signed."""
        asked = {"kind": "erasure", "request_id": f"r-{self.now_ms}", "card_id": card_id, "occurred_at": erased_ms}
        for record in self.publish(asked):
            record.headers = [(KEY_HEADER, b"")]

    def append(self, topic: str, partition: int, value: Any, at_ms: int | None = None) -> Record:
        """Append one record to a partition."""
        key = None if not isinstance(value, Mapping) else str(value["card_id"]).encode()
        encoded = value if isinstance(value, bytes) else msgspec.json.encode(value)
        log = self.topics[topic][partition]
        offset = log[-1].offset + 1 if log else 0
        log.append(Record(topic, partition, offset, self.now_ms if at_ms is None else at_ms, key, encoded))
        return log[-1]

    def decide(
        self, partitions: Iterable[int] = range(PARTITIONS), store: HistoryStore | None = None, **terms: Any
    ) -> int:
        """Decide the undecided records of some partitions as one batch, and return the number of decisions."""
        chosen = list(partitions)
        waiting = [one for number in chosen for one in self.topics["transactions"][number][self.undecided[number] :]]
        self.now_ms += 1000
        pipeline = Pipeline(self.settings, self.sets, store or self.histories, lambda _record: "")
        serving = terms.get("serving", ServingModels(1, self.model, None))
        epochs = dict.fromkeys(chosen, Term(self.term).epoch(1, -1))
        outputs = completed(
            pipeline.decide(waiting, DecisionTerms(serving, epochs, NoTracing().headers, self.log), lambda: self.now_ms)
        )
        topic = f"scores-{self.settings.deployment}" if self.silent else "scores"
        for partition, lot in outputs.scored.by_partition().items():
            for one in lot:
                self.append(topic, partition, one.value)
        for number in chosen:
            self.undecided[number] = len(self.topics["transactions"][number])
        return len(outputs.scored)

    def observe(self, partitions: Iterable[int]) -> None:
        """Append undecided records to the histories, without deciding them."""
        for number in partitions:
            waiting = self.topics["transactions"][number][self.undecided[number] :]
            columns = decode(waiting, round(self.settings.future_skew * 1000), seal_problem=lambda _: "").columns
            completed(self.histories.observe(columns))
            self.observed[number] = self.undecided[number] + len(waiting)

    def tell(self, *labels: Mapping[str, Any]) -> None:
        """Publish labels and apply them."""
        for record in self.publish(*labels, topic="labels"):
            self.answer(record)

    def answer(self, label: Record) -> None:
        """Apply a published label, and write its outcome."""
        self.now_ms += 1
        done = self.apply(label)
        parsed = read_label(label.value, label.key, (label.partition, label.offset))
        outcome = _outcome(label, parsed, done, (self.settings.deployment, 0))  # type: ignore[arg-type]
        self.append("outcomes", label.partition, _encode(outcome))

    def apply(self, label: Record) -> LabelResult:
        """Apply a published label, as a worker does that ends, or loses its histories, before it writes the outcome."""
        parsed = read_label(label.value, label.key, (label.partition, label.offset))
        (done,) = completed(self.histories.label([parsed.label]))  # type: ignore[union-attr]
        return done

    def forecast(self, *predictions: Mapping[str, Any]) -> None:
        """Publish predictions from storage and apply them."""
        for record in self.publish(*predictions, topic="predictions"):
            self.answer_prediction(record)

    def answer_prediction(self, record: Record) -> None:
        """Apply a published prediction, and write its outcome."""
        self.now_ms += 1
        parsed, done = self.apply_prediction(record)
        if is_late(parsed.prediction, self.sets.prediction_delays_ms):
            done = done._replace(status=PredictionStatus.LATE)
        one = ValidPrediction(record, parsed, ())
        self.append("outcomes", record.partition, _encode(prediction_outcome(self.settings.deployment, one, done)))

    def apply_prediction(self, record: Record) -> tuple[ParsedPrediction, PredictionResult]:
        """Apply a published prediction without its outcome."""
        parsed = read_prediction_record(record, round(self.settings.future_skew * 1000))
        assert isinstance(parsed, ParsedPrediction)
        (done,) = completed(self.histories.predict([parsed.prediction]))
        return parsed, done

    def compact(self) -> None:
        """Trim or compact every history, as a worker does when it has time."""
        completed(self.histories.compact())

    def pay(self, number: int, **changes: Any) -> dict[str, Any]:
        """Make a payment that occurs now."""
        made = {"transaction_id": f"t-{number}", "card_id": "card-0", "merchant_id": "shop-0", "amount_minor": 1000}
        return made | {"currency": "EUR", "occurred_at": self.now_ms} | changes

    def pay_in_turn(self, number: int, *, cards: int = 10, devices: int = 0, **changes: Any) -> dict[str, Any]:
        """Make a payment now at one of two shops: cards, shops and devices take turns."""
        named = {"card_id": f"card-{number % cards}", "merchant_id": f"shop-{number % 2}"}
        device = {"device_id": f"phone-{number % devices}"} if devices else {}
        return self.pay(number, **(named | device | changes))

    def label(self, number: int, card_id: str, *, fraud: bool = True, before_ms: int = 0) -> dict[str, Any]:
        """Make a label about a payment of a card, given so long before now."""
        about = {"transaction_id": f"t-{number}", "card_id": card_id, "fraud": fraud, "reported_by": "rule"}
        return about | {"labelled_at": self.now_ms - before_ms}

    def label_in_turn(self, number: int, *, cards: int = 10) -> dict[str, Any]:
        """Make a label about a payment of `pay_in_turn` now: every second one is a fraud."""
        return self.label(number, f"card-{number % cards}", fraud=number % 2 == 0)

    def rescored(self, score: Score) -> Score:
        """Return a decision with score, band and decision recomputed from its features."""
        vector = np.array([[score.features[name] for name in self.sets.newest.names]], np.float64)  # type: ignore[index]
        value = self.model.score(vector)
        made = {"score": float(value[0]), "band": int(bands(value)[0]), "decision": self.model.policy.decide(value)[0]}
        return msgspec.structs.replace(score, **made)

    @asynccontextmanager
    async def reading(self, _settings: Settings) -> AsyncIterator["ListedTopics"]:
        """Open a reader of this world's topics."""
        yield ListedTopics(self.topics, {name: dict.fromkeys(range(PARTITIONS), 0) for name in self.topics})

    async def read_input(self, settings: Settings) -> ReplayedInput:
        """Read the verdicts of this world: all that has no dead letter was accepted."""
        offsets: dict[tuple[str, int, int], list[int]] = {}
        for topic, partition, offset in self.refused:
            offsets.setdefault((topic, partition, 0), []).append(offset)
        refused = RefusedOffsets({source: OffsetSet(some) for source, some in offsets.items()})
        logs = Logs({"transactions": TopicLogs(last=self.log)})
        return ReplayedInput(settings, logs, refused)

    def make_anew(self) -> None:
        """Delete the topic of transactions and make it anew; histories and scores stay."""
        self.topics["transactions"] = {number: [] for number in range(PARTITIONS)}
        self.log, self.undecided = self.log + 1, defaultdict(int)

    def drop(self, topic: str, before: Mapping[int, int]) -> None:
        """Delete the beginning of a topic, as retention does."""
        for number, offset in before.items():
            self.topics[topic][number] = [one for one in self.topics[topic][number] if one.offset >= offset]


class ListedTopics:
    """Topics of a world, read as `fraudstream.lab.rescoring.topic_reader.TopicReader` reads them."""

    def __init__(self, topics: Mapping[str, Mapping[int, Sequence[Record]]], ends: Mapping[str, Offsets]) -> None:
        self._topics = topics
        self._ends = ends

    async def whole(self, topic: str) -> TopicPart:
        logs = self._topics[topic]
        ends = {number: log[-1].offset + 1 if log else self._ends[topic][number] for number, log in logs.items()}
        return TopicPart(topic, {number: log[0].offset if log else ends[number] for number, log in logs.items()}, ends)

    async def existing(self, topic: str) -> TopicPart | None:
        return await self.whole(topic) if topic in self._topics else None

    async def since(self, whole: TopicPart, moment_ms: int | None) -> Offsets:
        if moment_ms is None:
            return whole.starts
        logs = self._topics[whole.topic]
        return {
            number: next((one.offset for one in logs[number] if one.timestamp >= moment_ms), whole.ends[number])
            for number in whole.starts
        }

    async def until(self, whole: TopicPart, moment_ms: int | None) -> Offsets:
        return whole.ends if moment_ms is None else await self.since(whole, moment_ms)

    async def read(self, part: TopicPart) -> AsyncIterator[Records]:
        for number, start in part.starts.items():
            found = [one for one in self._topics[part.topic][number] if start <= one.offset < part.ends[number]]
            for at in range(0, len(found), 7):
                yield found[at : at + 7]

    async def first_ms(self, whole: TopicPart) -> Mapping[int, int]:
        found = {}
        for number, start in whole.starts.items():
            records = [one for one in self._topics[whole.topic][number] if start <= one.offset < whole.ends[number]]
            if records:
                found[number] = records[0].timestamp
        return found


def opened(world: World, monkeypatch: Any) -> None:
    """Make rescoring read this world instead of a broker."""
    monkeypatch.setattr(topic_run, "open_reader", world.reading)
    monkeypatch.setattr(topic_run, "read_input_from_outside", world.read_input)
