"""A backfill that runs while Redis is away: ordinary payments of other partitions are decided, and nothing is lost."""

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import StoreUnavailableError
from features.history.store import Entity, Observed, Transactions
from features.memory_store import MemoryStore
from features.vector.sets import load_sets
from models.lineup import Lineup
from models.loading import Model
from models.logs import Logs
from models.terms import Term
from stream.contract.transaction import BackfillMark
from stream.control.model_cache import ServingModels
from stream.engine.batches import CommitLedger
from stream.engine.publisher import Destination, Outgoing, Published
from stream.pipeline import Pipeline
from stream.positions.offsets import Position
from stream.recovery import outage
from stream.recovery.outage import BackfilledShare, DegradingStore
from stream.scoring.facts import Retried, ignore_fact
from stream.scoring.tracing import NoTracing
from stream.settings import Settings
from stream.worker.decider import Decider
from stream.worker.positions import DecisionPositions
from stream.worker.refusals import PartitionRefusals
from stream.worker.role import Role
from support.bare_model import CountingModel
from support.delivered import deliver
from support.examples import examples
from support.stream_records import Told, text

FEATURES = load_sets("")
SHARE, MOST_KEPT, POLL = 10, 60, 4
PAYMENT, FILLED = False, True


class Redis(MemoryStore):
    """A store that may be away."""

    away = False

    async def observe(self, transactions: Transactions) -> Observed:
        if self.away:
            raise StoreUnavailableError("away")
        return await super().observe(transactions)


class Scores:
    """A publisher that keeps the source offsets of what is decided, by partition."""

    def __init__(self) -> None:
        self.offsets: dict[int, list[int]] = {}

    async def publish_each(self, outputs: Mapping[Destination, Sequence[Outgoing]]) -> Published:
        ends = {}
        for (topic, partition), some in outputs.items():
            if topic == "scores" and some:
                log = self.offsets.setdefault(partition, [])
                log += [one.source_offset for one in some]
                ends[topic, partition] = len(log)
        return Published(ends, {}, {})


def known_positions(partitions: Sequence[int]) -> DecisionPositions:
    """Return the positions of partitions of which nothing is decided yet."""
    made: Any = DecisionPositions.__new__(DecisionPositions)
    follower: Any = SimpleNamespace(lineup=Lineup("default"), logs=Logs())
    made._follower, made._members = follower, SimpleNamespace(is_mixed=False)
    made.refusals = PartitionRefusals(follower, "transactions", ignore_fact)
    made._known = {one: Position(revision=1) for one in partitions}
    made._committed, made._handled, made.log = {}, {}, 0
    made._starts = SimpleNamespace(losses={})
    made.epochs = dict.fromkeys(partitions, 1)
    made.generation, made.partitions = 1, frozenset(partitions)
    made.role = Role(Term(0, "default"), publishes=True, scores="scores")
    return cast("DecisionPositions", made)


class Worker:
    """Decides with Redis or without, and delivers the records of partitions to itself as the transport does."""

    def __init__(self, *logs: Sequence[bool]) -> None:
        """Make a partition for each log; its payments only fill histories where it says so."""
        self.logs: list[list[Told]] = [[] for _ in logs]
        for partition, marks in enumerate(logs):
            self.send(partition, marks)
        self.redis, self.scores, self.facts = Redis(FEATURES), Scores(), list[object]()
        self.store = DegradingStore(self.redis, lambda: MemoryStore(FEATURES))
        self.at = [0] * len(logs)
        self.aside: dict[int, str] = {}
        self._ledger = CommitLedger()
        serving = ServingModels(1, cast("Model", CountingModel()), None)
        deps: Any = {
            "settings": Settings(),
            "pipeline": Pipeline(Settings(), FEATURES, self.store),
            "models": SimpleNamespace(serving=lambda: serving),
            "follower": SimpleNamespace(wait_for_change=asyncio.sleep, lineup=SimpleNamespace(revision=1), logs=Logs()),
            "publisher": self.scores,
            "positions": known_positions(range(len(logs))),
            "may_decide": lambda: True,
            "emit": self.facts.append,
            "tracing": NoTracing(),
            "shadow": SimpleNamespace(offer=lambda *_: None),
            "backfilled": BackfilledShare(lambda: self.store.degraded),
        }
        self._decider = Decider(**deps)

    def send(self, partition: int, marks: Sequence[bool]) -> None:
        """Append payments of the partition's card, a second apart."""
        log = self.logs[partition]
        for mark in marks:
            card, number = f"card-{partition}", len(log)
            value = text(
                transaction_id=f"t-{partition}-{number}", card_id=card, occurred_at=1_700_000_000_000 + 1000 * number
            )
            headers = [BackfillMark("0" * 16, number).header()] if mark else []
            log.append(Told(value, card.encode(), partition, number, headers))

    async def work(self) -> None:
        """Deliver everything, in both lanes, until nothing goes on."""
        before = None
        while before != self.at:
            before = list(self.at)
            for lane in (self.aside.keys() ^ set(range(len(self.logs))), set(self.aside)):
                records = {one: self.logs[one][self.at[one] :][:POLL] for one in sorted(lane)}
                await self._deliver({partition: some for partition, some in records.items() if some})

    async def _deliver(self, records: Mapping[int, Sequence[Told]]) -> None:
        if not records:
            return
        batch = await deliver(self._decider, self._ledger, self.at, records)
        for partition in records:
            if partition in batch.acknowledged:
                self.aside.pop(partition, None)
            else:
                self.aside[partition] = batch.aside[partition]

    def due(self, partition: int) -> list[int]:
        """Return the offsets of a partition's payments that are to be decided."""
        return [one.offset for one in self.logs[partition] if not one.headers]

    def cards(self) -> list[int]:
        """Return how many payments of each partition's card Redis has."""
        histories = self.redis._histories[Entity.CARD].values()
        lengths = {one.entity_id: one.base + one.length for one in histories}
        return [lengths.get(f"card-{partition}", 0) for partition in range(len(self.logs))]


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "_MAX_PENDING", MOST_KEPT)
    monkeypatch.setattr(outage, "MOST_WITHOUT_REDIS", SHARE)


async def test_a_backfill_during_an_outage_leaves_room_for_the_payments_of_other_partitions() -> None:
    worker = Worker([PAYMENT], [FILLED] * 100)
    worker.redis.away = True
    await worker.work()
    worker.send(0, [PAYMENT] * 40)
    await worker.work()
    assert worker.scores.offsets == {0: list(range(41))}
    assert not [one for one in worker.facts if isinstance(one, Retried)]
    assert worker.at[1] <= SHARE + POLL
    assert worker.aside.keys() == {1}
    assert "backfilled payments wait to be applied" in worker.aside[1]


runs = st.integers(1, 30).map(lambda length: [FILLED] * length) | st.integers(1, 3).map(lambda some: [PAYMENT] * some)
mixed = st.lists(runs, max_size=4).map(lambda some: [mark for run in some for mark in run])


@given(
    logs=st.lists(mixed, min_size=1, max_size=3),
    before=st.integers(0, 24),
    later=st.integers(0, 12),
)
@settings(max_examples=examples(200), deadline=None)
def test_nothing_is_lost_reordered_or_decided_that_should_not_be(
    logs: list[list[bool]], before: int, later: int
) -> None:
    """The first records are applied with Redis, the others without it until nothing goes on, then Redis is back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outage, "_MAX_PENDING", 80)
        patch.setattr(outage, "MOST_WITHOUT_REDIS", SHARE)
        asyncio.run(through_an_outage(logs, before, later))


async def through_an_outage(logs: list[list[bool]], before: int, later: int) -> None:
    worker = Worker(*(log[:before] for log in logs), [])
    await worker.work()
    worker.redis.away = True
    for partition, log in enumerate(logs):
        worker.send(partition, log[before:])
    await worker.work()
    worker.send(len(logs), [PAYMENT] * later)
    await worker.work()
    assert worker.scores.offsets.get(len(logs), []) == list(range(later)), "a partition without a backfill waits"
    applied = sum(bool(one.headers) for log, at in zip(worker.logs, worker.at, strict=True) for one in log[before:at])
    assert applied <= SHARE + (POLL + 1) * len(logs)
    worker.redis.away = False
    await worker.store.catch_up()
    await worker.work()
    partitions = range(len(worker.logs))
    assert [worker.scores.offsets.get(one, []) for one in partitions] == [worker.due(one) for one in partitions]
    assert worker.cards() == [len(log) for log in worker.logs]


async def test_backfilled_payments_that_are_delivered_again_take_their_places_again() -> None:
    """During an outage nothing is committed, so each rebalance delivers them again, and they are kept again."""
    worker = Worker([PAYMENT], [FILLED] * 8)
    worker.redis.away = True
    for _ in range(10):
        worker.at = [0, 0]
        worker.aside.clear()
        await worker.work()
    assert worker.store._pending_count <= MOST_KEPT
    worker.send(0, [PAYMENT] * 20)
    await worker.work()
    assert worker.at[0] == len(worker.logs[0]), "the other partition goes on"
