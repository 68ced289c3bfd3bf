"""Faults of a world's histories (Redis away, emptied, repaired), and streams of acts with such faults."""

from dataclasses import replace
from typing import Any, NamedTuple

from hypothesis import strategies as st

from features.history.displaced import Displaced
from features.history.records import source
from features.history.store import Label, LabelResult, Observed, Prediction, PredictionResult, Transactions
from features.memory_store import MemoryStore
from features.redis.progress import NO_END
from features.vector.sets import FeatureSets
from stream.contract.label import read_label
from stream.scoring.decode import decode
from support.rescoring.world import PARTITIONS, Record, World

DAY_MS = 86_400_000
SKEW_MS = 300_000
MOST_WAITING_MS = 40 * DAY_MS
"""If a decision or an outcome waited longer, keys on a server would expire before it, and its record be deleted from
the topic."""


class Stopgap:
    """A store that decides without Redis, as `stream.recovery.outage` does, and keeps transactions to apply later."""

    def __init__(self, sets: FeatureSets) -> None:
        self._inner = MemoryStore(sets)
        self.pending: list[Transactions] = []

    async def observe(self, transactions: Transactions) -> Observed:
        self.pending.append(transactions)
        return replace(self._inner.observe_now(transactions), incomplete=True)

    async def label(self, labels: list[Label]) -> list[LabelResult]:
        raise NotImplementedError

    async def predict(self, predictions: list[Prediction]) -> list[PredictionResult]:
        raise NotImplementedError

    async def compact(self) -> None:
        pass


def lose(world: World) -> None:
    """Empty Redis: the epoch rises, and decisions are marked incomplete."""
    world.histories.inner = MemoryStore(world.sets)
    world.histories.epoch += 1000
    world.histories.incomplete = True


def repair(world: World, order: list[int], *, degrades: bool = False) -> None:
    """Apply all consumed records again, partition by partition, labels first, as `stream.recovery.repairer` does.

    Records below the current end of the log may be displaced; in a deployment that degrades, any record may.
    """
    histories, below = world.histories, {}
    histories.inner = MemoryStore(world.sets)
    for number in order:
        for record in world.topics["labels"][number]:
            parsed = read_label(record.value, record.key, (record.partition, record.offset))
            histories.inner.label_now([parsed.label])  # type: ignore[union-attr]
        for record in world.topics["predictions"][number] if world.sets.has_predictions else ():
            world.apply_prediction(record)
        log = world.topics["transactions"][number]
        below[source(number, of_labels=False)] = NO_END if degrades else len(log)
        below[source(number, of_labels=True)] = NO_END if degrades else len(world.topics["labels"][number])
    for number in order:
        consumed = max(world.undecided[number], world.observed[number])
        histories.inner.observe_now(decode(world.topics["transactions"][number][:consumed], SKEW_MS).columns)
    histories.inner._displaced = Displaced(below)
    histories.incomplete = False


class Act(NamedTuple):
    """One act of a stream; fields that the act does not use are ignored."""

    what: str
    card: int
    merchant: int
    device: int | None
    pause_ms: int
    late_ms: int
    back: int
    fraud: bool
    partitions: tuple[int, ...]


def acts(*what: str) -> st.SearchStrategy[list[Act]]:
    """Make streams of these acts."""
    return st.lists(
        st.builds(
            Act,
            what=st.sampled_from((*("pay",) * (1 + len(what)), "decide", "decide", *what)),
            card=st.integers(0, 3),
            merchant=st.integers(0, 1),
            device=st.sampled_from((None, 0, 1)),
            pause_ms=st.sampled_from((0, 1, 60_000, DAY_MS, 7 * DAY_MS, 20 * DAY_MS)),
            late_ms=st.sampled_from((0, 0, 0, 1, DAY_MS, 38 * DAY_MS)),
            back=st.integers(0, 4),
            fraud=st.booleans(),
            partitions=st.permutations(range(PARTITIONS)).map(tuple),
        ),
        min_size=12,
        max_size=50,
    )


class Play:
    """Applies a stream of acts to a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.paid: list[dict[str, Any]] = []
        self.stopgap: Stopgap | None = None
        self.held: set[int] = set()
        self.unanswered: list[Record] = []
        self.decided = 0

    def run(self, stream: list[Act]) -> int:
        """Apply all acts, decide what is left, and return the number of decisions.

        A first payment is decided before all acts: without it, a later history epoch would pass for the first one.
        """
        self._pay(stream[0])
        self.decided += self.world.decide()
        for act in stream:
            if self._waiting_ms() + act.pause_ms < self._most_waiting_ms():
                self.world.now_ms += act.pause_ms
            getattr(self, "_" + act.what.replace(" ", "_"))(act)
        self._back(stream[-1])
        if stream[-1].fraud:
            self._answer()
        self.decided += self.world.decide()
        return self.decided

    def _most_waiting_ms(self) -> int:
        """Return how long a decision or an outcome may wait: less than any history is kept without a new record."""
        kept = (horizon_ms for one in self.world.sets.sets for horizon_ms in one.horizons_ms.values())
        return min(MOST_WAITING_MS, *kept)

    def _waiting_ms(self) -> int:
        """Return for how long the oldest payment has waited for its decision, or the oldest label for its outcome."""
        logs = self.world.topics["transactions"]
        undecided = (one for number in range(PARTITIONS) for one in logs[number][self.world.undecided[number] :])
        waiting = [one.timestamp for one in (*undecided, *self.unanswered)]
        return self.world.now_ms - min(waiting, default=self.world.now_ms)

    def _pay(self, act: Act) -> None:
        self.world.publish(self._made_payment(act))

    def _backfill(self, act: Act) -> None:
        self.world.backfill(self._made_payment(act))

    def _made_payment(self, act: Act) -> dict[str, Any]:
        number = len(self.paid)
        device = {} if act.device is None else {"device_id": f"phone-{act.device}"}
        one = self.world.pay(
            number,
            card_id=f"card-{act.card}",
            merchant_id=f"shop-{act.merchant}",
            occurred_at=self.world.now_ms - act.late_ms,
            **device,
        )
        self.paid.append(one)
        return one

    def _again(self, act: Act) -> None:
        if act.back < len(self.paid):
            self.world.publish(self.paid[-1 - act.back])

    def _conflict(self, act: Act) -> None:
        if act.back < len(self.paid):
            other = {"amount_minor": 77, "merchant_id": f"shop-{act.merchant}"}
            self.world.publish(self.paid[-1 - act.back] | other)

    def _decide(self, act: Act) -> None:
        partitions = sorted(act.partitions[: 1 + act.back % PARTITIONS])
        if self.stopgap:
            self.held.update(partitions)
        self.decided += self.world.decide(partitions, self.stopgap)

    def _decide_elsewhere(self, act: Act) -> None:
        """Have another worker, which still reaches Redis, decide in partitions of its own."""
        self.decided += self.world.decide([one for one in act.partitions[:1] if one not in self.held])

    def _label(self, act: Act) -> None:
        if act.back < len(self.paid):
            self._publish_label(act, self.paid[-1 - act.back])

    def _early_label(self, act: Act) -> None:
        self._publish_label(act, {"transaction_id": f"t-{len(self.paid) + act.back}", "card_id": f"card-{act.card}"})

    def _publish_label(self, act: Act, of: dict[str, Any]) -> None:
        self._answer()
        self.world.tell(self._made_label(act, of))

    def _made_label(self, act: Act, of: dict[str, Any]) -> dict[str, Any]:
        fields = {"transaction_id": of["transaction_id"], "card_id": of["card_id"], "fraud": act.fraud}
        return fields | {"labelled_at": self.world.now_ms - act.late_ms // 30, "reported_by": "analyst"}

    def _label_crash(self, act: Act) -> None:
        """Crash a worker after it applied a label and before its outcome, which another writes before the next one."""
        if act.back < len(self.paid):
            self._answer()
            (record,) = self.world.publish(self._made_label(act, self.paid[-1 - act.back]), topic="labels")
            self.world.apply(record)
            self.unanswered.append(record)

    def _answer(self) -> None:
        for record in self.unanswered:
            self.world.answer(record)
        self.unanswered.clear()

    def _away(self, _: Act) -> None:
        self.stopgap = self.stopgap or Stopgap(self.world.sets)

    def _back(self, _: Act) -> None:
        for transactions in self.stopgap.pending if self.stopgap else ():
            self.world.histories.inner.observe_now(transactions)
        self.stopgap = None
        self.held.clear()

    def _lose(self, _: Act) -> None:
        lose(self.world)

    def _repair(self, act: Act) -> None:
        if self.world.histories.incomplete:
            repair(self.world, list(act.partitions), degrades=act.fraud)

    def _crash(self, act: Act) -> None:
        """Crash a worker after it appended to histories and before it decided."""
        if not self.stopgap:
            self.world.observe(act.partitions[: 1 + act.back % PARTITIONS])
