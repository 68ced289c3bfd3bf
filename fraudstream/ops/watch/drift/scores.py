"""A `score/1`, as far as drift is told by it; as strict as the rule of validity needs it."""

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from models.policy import Decision
from models.times import stated_ms
from stream.consumer import Standing, place_of
from stream.contract.outputs import Count, DecidedBy, Overruled
from stream.engine.unpacking import FetchedRecord
from stream.positions.offsets import SourcePlace
from stream.scoring.encode import HISTORY_INCOMPLETE

_UNDEFINED = float("nan")


class _WatchedModel(msgspec.Struct, frozen=True):
    digest: str


class WatchedScore(msgspec.Struct, frozen=True):
    """A decision, as the watch reads it."""

    transaction_id: str
    card_id: str
    occurred_at: str
    decision: Decision
    decided_by: DecidedBy
    epoch: Count
    source: SourcePlace
    score: float | None = None
    model: _WatchedModel | None = None
    deployment: str = ""
    arm: str | None = None
    overruled: Overruled | None = None
    features: dict[str, float | None] | None = None
    degraded: tuple[str, ...] = ()
    schema: Literal["score/1"] = "score/1"

    @property
    def is_watched(self) -> bool:
        """Whether a model decided it that saw the whole history: else its features are known to be wrong."""
        by_model = self.decided_by is DecidedBy.MODEL and self.model is not None and self.score is not None
        return by_model and HISTORY_INCOMPLETE not in self.degraded

    @property
    def digest(self) -> str:
        """The model; empty if none decided."""
        return "" if self.model is None else self.model.digest

    @property
    def probability(self) -> float:
        """The calibrated score."""
        return 0.0 if self.score is None else self.score

    @property
    def occurred_ms(self) -> int:
        """When the payment occurred."""
        return stated_ms(self.occurred_at)

    @property
    def ruled(self) -> Decision:
        """What the artifact decided: its model, and the rules beside it, before limits overruled that."""
        return self.decision if self.overruled is None else self.overruled.after_rules(self.decision)

    def vector(self, names: tuple[str, ...]) -> list[float] | None:
        """Return the features in an order; None if it does not carry them."""
        if self.features is None:
            return None
        found = [self.features.get(name) for name in names]
        return [_UNDEFINED if value is None else value for value in found]


_decode = msgspec.json.Decoder(WatchedScore).decode


class ScoreFilter:
    """Tells which records of `scores` count: valid ones of a deployment that a model decided.

    Attributes:
        standings: of each partition, to go on from.
        void: scores that are not valid.
        unreadable: records that are no score.
        left_out: valid ones of the deployment that rules decided, or another model, or without complete histories.
    """

    def __init__(self, deployment: str, standings: dict[int, Standing] | None = None) -> None:
        self.standings: dict[int, Standing] = {} if standings is None else standings
        self.void = 0
        self.unreadable = 0
        self.left_out = 0
        self._deployment = deployment

    def of(self, records: Iterable[FetchedRecord]) -> Iterator[tuple[int, WatchedScore]]:
        """Yield the scores among the next records of a partition, each with its record's timestamp."""
        for record in records:
            try:
                score = _decode(record.value or b"")
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self.unreadable += 1
                continue
            if not self._is_valid(record.partition, score):
                self.void += 1
            elif score.deployment in (self._deployment, ""):
                if score.is_watched:
                    yield record.timestamp, score
                else:
                    self.left_out += 1

    def _is_valid(self, partition: int, score: WatchedScore) -> bool:
        standing, place = self.standings.get(partition, Standing()), place_of(score.source.log, score.source.offset)
        self.standings[partition] = standing.after(score.epoch, place)
        return standing.is_valid(score.epoch, place)
