"""A worker's decider on brokers in memory, for tests of what overrules decisions: writes fail, workers are killed."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import msgspec

from features.memory_store import MemoryStore
from features.vector.sets import load_sets
from fraudstream_client.outputs import Score
from models.arms import Canary, Split
from models.decline_cap import DeclineCap, DeclineWindow
from models.let_through import LetThrough
from models.limits import Limits
from models.lineup import Lineup
from models.loading import Model, RowTimes
from models.logs import Logs
from models.policy import Policy
from models.terms import Term
from stream.control.model_cache import ArmModels, ServingModels
from stream.engine.batches import Commit, CommitLedger
from stream.engine.publisher import Destination, Outgoing, Published
from stream.engine.unpacking import FetchedRecord
from stream.pipeline import Pipeline
from stream.positions.offsets import Position, folded, parse_metadata
from stream.recovery.outage import BackfilledShare
from stream.scoring.facts import ignore_fact
from stream.scoring.tracing import NoTracing
from stream.settings import Settings
from stream.worker.decider import Decider
from stream.worker.positions import DecisionPositions
from stream.worker.refusals import PartitionRefusals
from stream.worker.role import Role
from support.bare_model import BareModel
from support.delivered import deliver
from support.stream_records import Told, text

FEATURES = load_sets("")
AMOUNT = FEATURES.newest.names.index("card_amount_max_10m")
PARTITIONS, POLL = 2, 5
WRITTEN, LOST, HALF, LATE = "written", "lost", "half of it", "written, but told too late"
read_score = msgspec.json.Decoder(Score).decode


class Price(NamedTuple):
    """What a payment costs, in minor units; what costs 100 or more is declined."""

    amount_minor: int
    currency: str = "EUR"


GOOD, BAD = Price(500), Price(50_000)


class AmountModel(BareModel):
    """Declines what costs 100 or more; each of the cards pays once."""

    fingerprint, name, version = FEATURES.newest.fingerprint, "amount", "1"
    policy = Policy(review_at=0.5, decline_at=0.6)
    row_times = RowTimes()

    def __init__(self, digest: str) -> None:
        self.digest = digest

    def score(self, matrix: Any) -> Any:
        return (matrix[:, AMOUNT] >= 100).astype(float)


class Brokers:
    """What outlives a worker: payments, scores, the commits, and Redis; `fates` says what becomes of each write."""

    def __init__(self, prices: Sequence[Sequence[Price]], declines: Mapping[str, DeclineWindow] | None = None) -> None:
        self.payments = [list(_payments(partition, some)) for partition, some in enumerate(prices)]
        self.scores: dict[int, list[FetchedRecord]] = {partition: [] for partition in range(PARTITIONS)}
        begin = Position(revision=1, declines=declines or {})
        self.commits = dict.fromkeys(range(PARTITIONS), Commit(0, begin.to_metadata(with_declines=True)))
        self.redis = MemoryStore(FEATURES)
        self.fates: Iterator[str] = iter(())

    async def publish_each(self, outputs: Mapping[Destination, Sequence[Outgoing]]) -> Published:
        ends, failures = {}, {}
        for (topic, partition), some in outputs.items():
            if topic != "scores" or not some:
                continue
            log, fate = self.scores[partition], next(self.fates, WRITTEN)
            for one in some[: {LOST: 0, HALF: len(some) // 2}.get(fate, len(some))]:
                log.append(FetchedRecord("scores", partition, len(log), 0, 0, one.key, one.value, ()))
            if fate == WRITTEN:
                ends[topic, partition] = len(log)
            else:
                failures[topic, partition] = "no broker answers"
        return Published(ends, failures, {})

    def position(self, partition: int) -> Position:
        """Return what a worker restores: the commit's note, and the scores behind it."""
        position = parse_metadata(self.commits[partition].metadata)
        for record in self.scores[partition][position.scores_offset :]:
            position = folded(position, record)
        return position

    def decided(self) -> list[Score]:
        return [read_score(one.value or b"") for log in self.scores.values() for one in log]


def _payments(partition: int, prices: Sequence[Price]) -> Iterator[Told]:
    for number, price in enumerate(prices):
        card = f"card-{partition}-{number}"
        value = text(transaction_id=f"t-{partition}-{number}", card_id=card, **price._asdict())
        yield Told(value, card.encode(), partition, number)


CANARY = Canary("b" * 64, 3_000, "s").split


class Worker:
    """Decides the payments behind the commits under some limits, until it is killed."""

    def __init__(
        self,
        brokers: Brokers,
        cap: DeclineCap | None = None,
        let_through: LetThrough | None = None,
        *,
        publishes: bool = True,
        split: Split = CANARY,
    ) -> None:
        self.brokers, self.facts, self._ledger = brokers, list[object](), CommitLedger()
        self.at = {partition: commit.offset for partition, commit in brokers.commits.items()}
        live, other = (cast("Model", AmountModel(letter * 64)) for letter in "ab")
        arms = ArmModels({arm.name: other for arm in split.arms}, split)
        serving = ServingModels(1, live, None, arms=arms, decline_cap=cap, let_through=let_through)
        lineup = Lineup("default", 1, limits=Limits(None if cap is None else cap.share, let_through))
        self.positions = positions_on(brokers, lineup, publishes=publishes)
        deps: Any = {
            "settings": Settings(),
            "pipeline": Pipeline(Settings(), FEATURES, brokers.redis),
            "models": SimpleNamespace(serving=lambda: serving),
            "follower": SimpleNamespace(wait_for_change=asyncio.sleep, lineup=lineup, logs=Logs()),
            "publisher": brokers,
            "positions": self.positions,
            "may_decide": lambda: True,
            "emit": self.facts.append,
            "tracing": NoTracing(),
            "shadow": SimpleNamespace(offer=lambda *_: None),
            "backfilled": BackfilledShare(lambda: False),
        }
        self._decider = Decider(**deps)

    async def decide(self, most: int, *, commits: bool) -> None:
        """Decide the next payments of each partition as one batch; what was not written is delivered again later."""
        records = {one: log[self.at[one] :][:most] for one, log in enumerate(self.brokers.payments)}
        records = {partition: some for partition, some in records.items() if some}
        if not records:
            return
        await deliver(self._decider, self._ledger, self.at, records)
        for tp, commit in self._ledger.committable().items() if commits else ():
            self.brokers.commits[tp.partition] = commit


def positions_on(brokers: Brokers, lineup: Lineup, *, publishes: bool = True) -> DecisionPositions:
    """Return positions that are read from the brokers at once."""
    made: Any = DecisionPositions.__new__(DecisionPositions)
    follower: Any = SimpleNamespace(lineup=lineup, logs=Logs())
    published = SimpleNamespace(noted=lambda *_: None, refused=lambda *_: frozenset())
    made._follower, made._published, made._members = follower, published, SimpleNamespace(is_mixed=False)
    made.refusals = PartitionRefusals(follower, "transactions", ignore_fact)
    made._known = {one: brokers.position(one) for one in range(PARTITIONS)}
    made._committed, made._handled, made.log = {}, {}, 0
    made._starts = SimpleNamespace(losses={})
    made.epochs = dict.fromkeys(range(PARTITIONS), 1)
    made.generation, made.partitions = 1, frozenset(range(PARTITIONS))
    made.role = Role(Term(0, "default"), publishes=publishes, scores="scores")
    made.read_again = lambda partition, _after=None, **_: made._known.update({partition: brokers.position(partition)})
    return cast("DecisionPositions", made)


async def decide_all(brokers: Brokers, start: Callable[[], Worker], steps: Iterable[Any]) -> None:
    """Work in steps of (most, commits, what becomes of the writes); None is a crash. At last everything is decided."""
    worker = start()
    for one in steps:
        if one is None:
            worker = start()
            continue
        most, commits, fates = one
        brokers.fates = iter(fates)
        await worker.decide(most, commits=commits)
    brokers.fates = iter(())
    while any(worker.at[one] < len(log) for one, log in enumerate(brokers.payments)):
        await worker.decide(POLL, commits=True)
