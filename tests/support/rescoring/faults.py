"""What goes wrong with a world's histories: Redis away, emptied, repaired; and streams in which all that happens."""

from dataclasses import replace
from typing import Any, NamedTuple

from hypothesis import strategies as st

from features.history.displaced import Displaced
from features.history.records import source
from features.history.store import Label, LabelResult, Observed, Transactions
from features.memory_store import MemoryStore
from features.redis.progress import NO_END
from features.vector.sets import FeatureSets
from stream.contract.label import read_label
from stream.scoring.decode import decode
from support.rescoring.world import PARTITIONS, World

DAY_MS = 86_400_000
SKEW_MS = 300_000
MOST_WAITING_MS = 40 * DAY_MS
"""Keys on a server would expire before a decision that waits for longer, and its record be gone from the topic."""


class Stopgap:
    """Decides without Redis, as `stream.recovery.outage` does, and keeps what is to be applied."""

    def __init__(self, sets: FeatureSets) -> None:
        self._inner = MemoryStore(sets)
        self.pending: list[Transactions] = []

    async def observe(self, transactions: Transactions) -> Observed:
        self.pending.append(transactions)
        return replace(self._inner.observe_now(transactions), incomplete=True)

    async def label(self, labels: list[Label]) -> list[LabelResult]:
        raise NotImplementedError

    async def compact(self) -> None:
        pass


def lose(world: World) -> None:
    """Empty Redis: the epoch rises, and decisions say that they lack their histories."""
    world.histories.inner = MemoryStore(world.sets)
    world.histories.epoch += 1000
    world.histories.incomplete = True


def repair(world: World, order: list[int], *, degrades: bool = False) -> None:
    """Apply all that was handed out anew, partition by partition, labels first, as `stream.recovery.repairer` does.

    What lies below where the log ends now may be displaced; in a deployment that degrades, anything may.
    """
    histories, below = world.histories, {}
    histories.inner = MemoryStore(world.sets)
    for number in order:
        for record in world.topics["labels"][number]:
            told = read_label(record.value, record.key, (record.partition, record.offset))
            histories.inner.label_now([told.label])  # type: ignore[union-attr]
        log = world.topics["transactions"][number]
        below[source(number, of_labels=False)] = NO_END if degrades else len(log)
        below[source(number, of_labels=True)] = NO_END if degrades else len(world.topics["labels"][number])
    for number in order:
        handed_out = max(world.undecided[number], world.observed[number])
        histories.inner.observe_now(decode(world.topics["transactions"][number][:handed_out], SKEW_MS).columns)
    histories.inner._displaced = Displaced(below)
    histories.incomplete = False


class Act(NamedTuple):
    """One thing that happens; what an act has no use for is ignored."""

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
    """Lets a stream of acts happen to a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.paid: list[dict[str, Any]] = []
        self.stopgap: Stopgap | None = None
        self.held: set[int] = set()
        self.decided = 0

    def run(self, stream: list[Act]) -> int:
        """Let all happen, decide what is left, and return how many decisions there are.

        There is a first one in any case: else nobody could know that a later history epoch is not the first.
        """
        self._pay(stream[0])
        self.decided += self.world.decide()
        for act in stream:
            if self._waiting_ms() + act.pause_ms < MOST_WAITING_MS:
                self.world.now_ms += act.pause_ms
            getattr(self, "_" + act.what.replace(" ", "_"))(act)
        self._back(stream[-1])
        self.decided += self.world.decide()
        return self.decided

    def _waiting_ms(self) -> int:
        """Return for how long the oldest payment has waited for its decision."""
        logs = self.world.topics["transactions"]
        waiting = [
            one.timestamp for number in range(PARTITIONS) for one in logs[number][self.world.undecided[number] :]
        ]
        return self.world.now_ms - min(waiting, default=self.world.now_ms)

    def _pay(self, act: Act) -> None:
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
        self.world.publish(one)

    def _again(self, act: Act) -> None:
        if act.back < len(self.paid):
            self.world.publish(self.paid[-1 - act.back])

    def _conflict(self, act: Act) -> None:
        if act.back < len(self.paid):
            self.world.publish(self.paid[-1 - act.back] | {"amount_minor": 77})

    def _decide(self, act: Act) -> None:
        partitions = sorted(act.partitions[: 1 + act.back % PARTITIONS])
        if self.stopgap:
            self.held.update(partitions)
        self.decided += self.world.decide(partitions, self.stopgap)

    def _decide_elsewhere(self, act: Act) -> None:
        """Let another worker, which still reaches Redis, decide in partitions of its own."""
        self.decided += self.world.decide([one for one in act.partitions[:1] if one not in self.held])

    def _label(self, act: Act) -> None:
        if act.back < len(self.paid):
            self._tell(act, self.paid[-1 - act.back])

    def _early_label(self, act: Act) -> None:
        self._tell(act, {"transaction_id": f"t-{len(self.paid) + act.back}", "card_id": f"card-{act.card}"})

    def _tell(self, act: Act, of: dict[str, Any]) -> None:
        said = {"transaction_id": of["transaction_id"], "card_id": of["card_id"], "fraud": act.fraud}
        self.world.tell(said | {"labelled_at": self.world.now_ms - act.late_ms // 30, "reported_by": "analyst"})

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
        """Let a worker die between the histories and its decisions."""
        if not self.stopgap:
            self.world.observe(act.partitions[: 1 + act.back % PARTITIONS])
