"""The cap on declines in a worker: what it overrules follows from the scores alone, through retries and crashes."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from features.memory_store import MemoryStore
from features.vector.sets import load_sets
from models.arms import Arm, Canary, Split
from models.decline_cap import DeclineCap, DeclineWindow, Limits
from models.lineup import Lineup
from models.loading import Model
from models.policy import Decision, Policy
from models.row_times import RowTimes
from models.terms import Term
from stream.contract.outputs import Score
from stream.control.model_cache import ArmModels, ServingModels
from stream.kafka.batches import Commit, CommitLedger
from stream.kafka.offsets import Position, folded, parse_metadata
from stream.kafka.publisher import Destination, Outgoing, Published
from stream.kafka.unpacking import FetchedRecord
from stream.pipeline import Pipeline
from stream.scoring.facts import Decided
from stream.scoring.tracing import NoTracing
from stream.settings import Settings
from stream.worker.backfilled import BackfilledShare
from stream.worker.decider import Decider, DeciderDeps
from stream.worker.positions import DecisionPositions
from stream.worker.role import Role
from support.decline_cap import CAPPED, should_be_overruled
from support.delivered import deliver
from support.examples import examples
from support.stream_records import Told, text

FEATURES = load_sets("")
AMOUNT = FEATURES.newest.names.index("card_amount_max_10m")
PARTITIONS, POLL = 2, 5
CAP = DeclineCap(0.002)
"""Four declines in a window do not reach it."""
OLD = DeclineWindow(0b111 << 1990)
"""A window whose three declines are about to leave it."""
OLD_DECISIONS = [bool(OLD.bits >> at & 1) for at in reversed(range(2_000))]
WRITTEN, LOST, HALF, LATE = "written", "lost", "half of it", "written, but told too late"
read_score = msgspec.json.Decoder(Score).decode


class AmountModel:
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

    def __init__(self, declines: Sequence[Sequence[bool]]) -> None:
        self.payments = [list(_payments(partition, some)) for partition, some in enumerate(declines)]
        self.scores: dict[int, list[FetchedRecord]] = {partition: [] for partition in range(PARTITIONS)}
        begin = Position(revision=1, declines={"live": OLD})
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


def _payments(partition: int, declines: Sequence[bool]) -> Iterator[Told]:
    for number, declined in enumerate(declines):
        card = f"card-{partition}-{number}"
        amount = 50_000 if declined else 500
        value = text(transaction_id=f"t-{partition}-{number}", card_id=card, amount_minor=amount)
        yield Told(value, card.encode(), partition, number)


CANARY = Canary("b" * 64, 3_000, "s").split
SPLIT = Split((Arm("a", "b" * 64, 2_500), Arm("b", "b" * 64, 2_500)), "s", frozenset({"card-0-1", "card-1-2"}))


class Worker:
    """Decides the payments behind the commits, until it is killed."""

    def __init__(self, brokers: Brokers, cap: DeclineCap | None = CAP, split: Split = CANARY) -> None:
        self.brokers, self.facts, self._ledger = brokers, list[object](), CommitLedger()
        self.at = {partition: commit.offset for partition, commit in brokers.commits.items()}
        live, other = (cast("Model", AmountModel(letter * 64)) for letter in "ab")
        arms = ArmModels({arm.name: other for arm in split.arms}, split)
        serving = ServingModels(1, live, None, arms=arms, decline_cap=cap)
        deps: Any = {
            "settings": Settings(),
            "pipeline": Pipeline(Settings(), FEATURES, brokers.redis),
            "models": SimpleNamespace(serving=lambda: serving),
            "follower": SimpleNamespace(wait_for_change=asyncio.sleep, lineup=Lineup("default", 1)),
            "publisher": brokers,
            "positions": _positions(brokers),
            "consumer": lambda: None,
            "may_decide": lambda: True,
            "emit": self.facts.append,
            "tracing": NoTracing(),
            "shadow": SimpleNamespace(offer=lambda *_: None),
            "backfilled": BackfilledShare(lambda: False),
        }
        self._decider = Decider(DeciderDeps(**deps))

    async def decide(self, most: int, *, commits: bool) -> None:
        """Decide the next payments of each partition as one batch; what was not written is delivered again later."""
        records = {one: log[self.at[one] :][:most] for one, log in enumerate(self.brokers.payments)}
        records = {partition: some for partition, some in records.items() if some}
        if not records:
            return
        await deliver(self._decider, self._ledger, self.at, records)
        for tp, commit in self._ledger.committable().items() if commits else ():
            self.brokers.commits[tp.partition] = commit


def _positions(brokers: Brokers) -> DecisionPositions:
    """Return positions that are read from the brokers at once."""
    made: Any = DecisionPositions.__new__(DecisionPositions)
    made._deps = SimpleNamespace(follower=SimpleNamespace(lineup=Lineup("default", 1, limits=Limits(CAP.share))))
    made._known = {one: brokers.position(one) for one in range(PARTITIONS)}
    made._committed, made._losses, made.log = {}, {}, 0
    made.epochs = dict.fromkeys(range(PARTITIONS), 1)
    made.generation, made.partitions = 1, frozenset(range(PARTITIONS))
    made.role = Role(Term(0, "default"), publishes=True, scores="scores")
    made.read_again = lambda partition, _after=None: made._known.update({partition: brokers.position(partition)})
    return cast("DecisionPositions", made)


step = st.tuples(
    st.integers(1, POLL), st.booleans(), st.lists(st.sampled_from([WRITTEN, LOST, HALF, LATE]), max_size=3)
)
often = st.lists(st.sampled_from([True, True, True, False]), min_size=10, max_size=30)


@given(
    st.lists(often, min_size=PARTITIONS, max_size=PARTITIONS),
    st.lists(step | st.none(), max_size=12),
    st.sampled_from([CANARY, SPLIT]),
)
@settings(max_examples=examples(60))
def test_what_is_overruled_follows_from_the_scores_whatever_is_lost_tried_again_or_killed(
    declines: list[list[bool]], steps: list[Any], split: Split
) -> None:
    brokers = Brokers(declines)
    asyncio.run(_run(brokers, steps, split))
    scores = brokers.decided()
    assert [one.arm for one in scores] == split.arms_of([one.card_id for one in scores])
    assert len({one.transaction_id for one in scores}) == len(scores) == sum(map(len, declines))
    for partition in range(PARTITIONS):
        own = [one for one in scores if one.source.partition == partition]
        overruled = should_be_overruled(own, CAP.most, {"live": OLD_DECISIONS})
        assert [one.overruled for one in own] == [CAPPED if one else None for one in overruled]
        said = [Decision.DECLINE if declined else Decision.APPROVE for declined in declines[partition]]
        assert [one.said for one in own] == said
        assert [one.decision for one in own] == [
            Decision.REVIEW if capped else one for one, capped in zip(said, overruled, strict=True)
        ]


async def _run(brokers: Brokers, steps: Sequence[Any], split: Split) -> None:
    """Work in steps, with what becomes of their writes; None is a crash. At last everything is decided."""
    worker = Worker(brokers, split=split)
    for one in steps:
        if one is None:
            worker = Worker(brokers, split=split)
            continue
        most, commits, fates = one
        brokers.fates = iter(fates)
        await worker.decide(most, commits=commits)
    brokers.fates = iter(())
    while any(worker.at[one] < len(log) for one, log in enumerate(brokers.payments)):
        await worker.decide(POLL, commits=True)


async def test_a_score_that_is_overruled_differs_in_nothing_but_its_decision() -> None:
    capped, free = Brokers([[True] * 12, []]), Brokers([[True] * 12, []])
    worker = Worker(capped)
    await worker.decide(12, commits=True)
    await Worker(free, cap=None).decide(12, commits=True)
    (fact,) = [one for one in worker.facts if isinstance(one, Decided)]
    assert [one.overruled for one in fact.scored.judgements] == [one.overruled for one in capped.decided()]
    assert CAPPED in [one.overruled for one in capped.decided()]
    assert [_positions(brokers).capped()["live"] for brokers in (capped, free)] == [1, 0]
    for one, other in zip(capped.decided(), free.decided(), strict=True):
        now = {"scored_at": other.scored_at, "latency_ms": other.latency_ms}
        assert msgspec.structs.replace(one, decision=Decision.DECLINE, overruled=None, **now) == other
