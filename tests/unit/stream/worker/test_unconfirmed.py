"""A decision whose score was acknowledged too late is counted once: when a look at the scores finds that it is ours."""

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition

from features.errors import StoreUnavailableError
from features.history.store import Observed, Transactions
from features.memory_store import MemoryStore
from features.vector.sets import load_sets
from fraudstream_client.validity import Standing
from models.loading import Model, RowTimes
from models.logs import Logs
from models.terms import Term
from stream.control.model_cache import ServingModels
from stream.engine.batches import Batch, CommitLedger
from stream.engine.publisher import Destination, Outgoing, Published
from stream.pipeline import Pipeline
from stream.positions.offsets import Position
from stream.recovery.outage import BackfilledShare
from stream.scoring.facts import Decided, Fact
from stream.scoring.tracing import NoTracing
from stream.settings import Settings
from stream.worker.decider import Decider
from stream.worker.outputs import ScoresToWrite
from stream.worker.refusals import SettledOffsets
from stream.worker.role import Role
from support.bare_model import BareModel
from support.stream_records import LATEST_MS, Told, text

FEATURES = load_sets("")
EPOCH, COUNT = 5, 30
AT_MS = LATEST_MS - 400 * 86_400_000


class EvenModel(BareModel):
    """A live model that gives everything the same score."""

    fingerprint, name, version, digest = FEATURES.newest.fingerprint, "even", "1", "d" * 64
    row_times = RowTimes()

    def score(self, matrix: Any) -> Any:
        return matrix[:, 0] * 0


class Positions:
    """The position of partition 0, as it is set; its scores end behind what was written before."""

    def __init__(self) -> None:
        self.role, self.log, self.epochs = Role(Term(), True, "scores"), 0, {0: EPOCH}  # noqa: FBT003 - a term's role
        self.known: dict[int, Position] = {0: Position(Standing(EPOCH, -1))}
        self.refusals = SimpleNamespace(written=int)

    def __getitem__(self, partition: int) -> Position:
        return self.known[partition]

    def get(self, partition: int) -> Position | None:
        return self.known.get(partition)

    def note(self, partition: int, _behind: int) -> str:
        return self.known[partition].to_metadata()

    def settled(self, _partition: int) -> SettledOffsets:
        return SettledOffsets(0, (), ())

    def claim_headers(self, _partition: int) -> list[tuple[str, bytes]]:
        return []

    def why(self, _partition: int) -> str:
        return "its last decisions are being read"

    def committed(self, _partition: int) -> int:
        return 0

    def is_accepted(self, partition: int, offset: int) -> bool:
        return offset <= self.known[partition].standing.last_place

    def read_again(self, partition: int, _after: object = None, *, given_up: bool = False) -> None:  # noqa: ARG002
        del self.known[partition]

    def advance(self, partition: int, _revision: int, scores: ScoresToWrite, _end: int) -> bool:
        self.known[partition] = Position(Standing(EPOCH, scores.records[-1].source_offset))
        return True


class Broker:
    """Acknowledges scores, or is still writing them."""

    def __init__(self) -> None:
        self.acknowledges = False

    async def publish_each(self, outputs: Mapping[Destination, Sequence[Outgoing]]) -> Published:
        some = {where: len(records) for where, records in outputs.items() if records}
        if self.acknowledges:
            return Published(some, {}, {})
        return Published({}, {}, {where: asyncio.create_task(asyncio.sleep(0, 1)) for where in some})


class FailingOnce(MemoryStore):
    """Histories that do not answer once, when asked to."""

    fails = False

    async def observe(self, transactions: Transactions) -> Observed:
        if self.fails:
            self.fails = False
            raise StoreUnavailableError("away for a moment")
        return await super().observe(transactions)


class Worker:
    """Decides the same records again and again, as they are delivered."""

    def __init__(self) -> None:
        self.positions, self.broker, self.facts = Positions(), Broker(), list[Fact]()
        store = FailingOnce(FEATURES)
        serving = ServingModels(1, cast("Model", EvenModel()), None)
        anything: Any = SimpleNamespace(
            serving=lambda: serving,
            lineup=SimpleNamespace(revision=1),
            logs=Logs(),
            offer=lambda *_: None,
            begin=NoTracing().begin,
        )
        fakes: Any = {"positions": self.positions, "publisher": self.broker}
        self._decider = Decider(
            settings=Settings(),
            pipeline=Pipeline(Settings(), FEATURES, store),
            models=anything,
            follower=anything,
            may_decide=lambda: True,
            emit=self.facts.append,
            tracing=anything,
            backfilled=BackfilledShare(lambda: False),
            shadow=anything,
            **fakes,
        )
        self._records = [
            Told(text(transaction_id=f"t-{number}", occurred_at=AT_MS + number), offset=number)
            for number in range(COUNT)
        ]
        self.store = store

    def spoil(self, offset: int) -> None:
        """Make a record one that becomes a dead letter."""
        self._records[offset] = Told(b"no payment", offset=offset)

    async def deliver(self) -> None:
        ledger = CommitLedger()
        ledger.track(TopicPartition("transactions", 0), 1, COUNT - 1)
        await self._decider.decide_batch(Batch("transactions", 1, {0: self._records}, ledger, asyncio.Event()))

    def counted(self) -> tuple[int, int]:
        """Return how many decisions were told of, and how many records that had one before."""
        decided = [fact for fact in self.facts if isinstance(fact, Decided)]
        return sum(len(fact.scored) for fact in decided), sum(fact.already_decided for fact in decided)


@pytest.mark.parametrize(
    ("found", "counts"),
    [
        (Position(Standing(EPOCH, COUNT - 1)), (COUNT, 0)),
        (Position(Standing(EPOCH, 9)), (COUNT, 0)),  # the others are decided again
        (Position(Standing(EPOCH, -1)), (COUNT, 0)),
        (Position(Standing(EPOCH + 1, COUNT - 1)), (0, COUNT)),  # another worker's
        (Position(Standing(EPOCH, COUNT - 1), void=1), (0, COUNT)),  # maybe
    ],
)
async def test_scores_that_were_acknowledged_too_late_are_counted_once_if_they_are_found_to_be_ours(
    found: Position, counts: tuple[int, int]
) -> None:
    worker = Worker()
    await worker.deliver()
    assert worker.counted() == (0, 0)
    worker.positions.known[0], worker.broker.acknowledges = found, True
    await worker.deliver()
    assert worker.counted() == counts
    await worker.deliver()
    assert worker.counted() == (counts[0], counts[1] + COUNT), "delivered once more, they are decided already"


async def test_what_was_found_is_counted_once_though_the_attempt_that_found_it_fails() -> None:
    worker = Worker()
    await worker.deliver()
    worker.positions.known[0], worker.broker.acknowledges = Position(Standing(EPOCH, COUNT - 1)), True
    worker.store.fails = True
    await worker.deliver()
    assert worker.counted() == (COUNT, 0)
    await worker.deliver()
    assert worker.counted() == (COUNT, COUNT)


async def test_a_dead_letter_beside_scores_that_were_acknowledged_too_late_is_counted() -> None:
    worker = Worker()
    worker.spoil(3)
    await worker.deliver()
    worker.positions.known[0], worker.broker.acknowledges = Position(Standing(EPOCH, COUNT - 1)), True
    await worker.deliver()
    assert [len(fact.dead) for fact in worker.facts if isinstance(fact, Decided) and len(fact.scored)] == [1]
    assert worker.counted() == (COUNT - 1, 1)
