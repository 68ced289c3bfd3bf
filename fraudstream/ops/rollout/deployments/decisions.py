"""The decisions of a topic of scores by the rule of validity, decoded as far as a status or a comparison needs them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from models.let_through import LET_THROUGH
from models.times import stated_ms
from stream.consumer import Standing, place_of
from stream.contract.outputs import Count, DecidedBy, Overruled
from stream.engine.unpacking import FetchedRecord
from stream.positions.offsets import SourcePlace
from stream.scoring.encode import HISTORY_YOUNG


class DecisionRecord(msgspec.Struct, frozen=True):
    """The fields of a score that are read here."""

    epoch: Count
    source: SourcePlace
    decision: str
    decided_by: str
    amount_minor: int
    currency: str
    deployment: str = ""
    score: float | None = None
    code_version: str = ""
    degraded: tuple[str, ...] = ()
    scored_at: str = ""
    latency_ms: int = 0
    overruled: Overruled | None = None

    @property
    def compared(self) -> str:
        """The decision before a lot let the payment through: a silent deployment draws no lots."""
        if self.overruled is not None and self.overruled.by == LET_THROUGH:
            return self.overruled.decision
        return self.decision

    @property
    def place(self) -> int:
        """The place of its transaction."""
        return place_of(self.source.log, self.source.offset)

    def is_of(self, deployment: str) -> bool:
        """Tell whether a deployment made it; versions before deployments were told apart wrote none."""
        return self.deployment in (deployment, "")

    @property
    def scored_ms(self) -> int:
        """When it was made, in epoch milliseconds."""
        return stated_ms(self.scored_at)

    @property
    def faults(self) -> tuple[str, ...]:
        """What was missing for the decision; a history that is young as the deployment is lacks nothing."""
        stood_in = () if self.decided_by == DecidedBy.MODEL else (f"decided by {self.decided_by}",)
        return (*(entry for entry in self.degraded if entry != HISTORY_YOUNG), *stood_in)


_decode = msgspec.json.Decoder(DecisionRecord).decode


@dataclass(slots=True)
class ValidDecisions:
    """Filters valid decisions, each partition in order, and counts void ones by partition."""

    standings: dict[int, Standing] = field(default_factory=dict)
    void: dict[int, int] = field(default_factory=dict)

    def of(self, records: Iterable[FetchedRecord]) -> Iterator[tuple[FetchedRecord, DecisionRecord]]:
        """Yield each record that holds a valid decision, with the decision."""
        for record in records:
            try:
                decision = _decode(record.value or b"")
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            standing, place = self.standings.get(record.partition, Standing()), decision.place
            self.standings[record.partition] = standing.after(decision.epoch, place)
            if standing.is_valid(decision.epoch, place):
                yield record, decision
            else:
                self.void[record.partition] = self.void.get(record.partition, 0) + 1

    def last_place(self, partition: int) -> int:
        """Return the place of the last valid decision of a partition; -1 if there was none."""
        return self.standings.get(partition, Standing()).last_place
