"""The processing of a batch of transactions: decode, observe, vectorise, score, decide, encode.

Read this module first. It works on batches, with ports and values; it does not depend on Faust or a Kafka client.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import NamedTuple

import numpy as np

from features.errors import HistoryDamagedError
from features.history.store import Fate, HistoryStore, Observed, observe_all
from features.vector.sets import FeatureSets, Vectors
from stream.clock import Stage, Stopwatch
from stream.contract.codes import DeadLetterCode
from stream.control.model_cache import ServingModels
from stream.kafka.batches import Record
from stream.kafka.dead_letters import DeadLetter
from stream.kafka.publisher import Headers
from stream.scoring.decode import Decoded, decode
from stream.scoring.encode import Judgement, Scored, ScoreFrame, encode
from stream.scoring.score import score
from stream.settings import Settings

CODE_VERSION = version("fraudstream")

_MIN_ROWS_FOR_THREAD = 64

_REFUSALS = {
    Fate.CONFLICT: (
        DeadLetterCode.TRANSACTION_CONFLICT,
        "transaction_id: this card's history contains a transaction with the same id and other content",
    ),
    Fate.TOO_LATE: (
        DeadLetterCode.TOO_LATE,
        "occurred_at: older than this card's newest transaction by more than its horizon",
    ),
}


@dataclass(frozen=True, slots=True)
class Outputs:
    """The result of a batch: decisions, dead letters, counts, and the time of each stage.

    With `stopgap`, histories came from memory because Redis was unavailable.
    """

    scored: Scored = field(default_factory=Scored.empty)
    dead: list[DeadLetter] = field(default_factory=list)
    repeated: int = 0
    unknown_fields: int = 0
    stages: list[Stage] = field(default_factory=list)
    stopgap: bool = False

    @classmethod
    def concat(cls, parts: Sequence["Outputs"]) -> "Outputs":
        """Concatenate the outputs of several parts of a batch, in their order."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            Scored.concat(part.scored for part in parts),
            [letter for part in parts for letter in part.dead],
            sum(part.repeated for part in parts),
            sum(part.unknown_fields for part in parts),
            [stage for part in parts for stage in part.stages],
            any(part.stopgap for part in parts),
        )


class DecisionTerms(NamedTuple):
    """The context of a batch: the models that score, the epoch of each partition, and the headers of each score."""

    serving: ServingModels
    epochs: Mapping[int, int]
    headers: Callable[[Record], Headers]


class Pipeline:
    """Decides batches of transactions."""

    def __init__(self, settings: Settings, feature_sets: FeatureSets, store: HistoryStore) -> None:
        self._settings = settings
        self._features = feature_sets
        self._store = store

    async def decide(self, records: Sequence[Record], terms: DecisionTerms, clock: Callable[[], int]) -> Outputs:
        """Decide a batch of records; `clock` is read after scoring and before encoding.

        A batch that sees more than the store's limit is decided in parts, one after the other.

        Raises:
            StoreUnavailableError: the histories are unavailable; nothing was decided, retry.
            HistoryDamagedError: some records need histories that lack records, see `places`; decide the others.
        """
        watch = Stopwatch()
        decoded = self._decode(records)
        watch.lap("decode")
        parts: list[Outputs] = []
        at = 0
        async for _, observed in observe_all(self._store, decoded.columns):
            watch.lap("observe")
            part = decoded.part(at, at + len(observed.fates))
            at += len(observed.fates)
            _require_whole(records, part, observed)
            parts.append(await self._decide_part(part, observed, terms, (watch, clock)))
            del observed  # the next part needs the memory
        outputs = Outputs.concat(parts)
        outputs.dead.extend(decoded.dead)
        unknown = sum(one.unknown for one in decoded.accepted)
        return replace(outputs, unknown_fields=unknown, stages=watch.stages)

    async def _decide_part(
        self, decoded: Decoded, observed: Observed, terms: DecisionTerms, time: tuple[Stopwatch, Callable[[], int]]
    ) -> Outputs:
        """Decide the records that were observed together."""
        watch, clock = time
        due, live = np.array([fate is Fate.DECIDE for fate in observed.fates], bool), terms.serving.live.fingerprint
        vectors = Vectors(self._features, decoded.columns, observed, due)
        computed = vectors.all() if terms.serving.challenger else {live: vectors.of(live)}
        watch.lap("vectorise")
        judgements = await self._score(terms.serving, vectors, int(due.sum()))
        watch.lap("score")
        frame = self._frame(terms, vectors.names(live), clock())
        scored = encode(frame, decoded, observed, (np.flatnonzero(due), computed, judgements))
        watch.lap("encode")
        return Outputs(
            scored,
            _refusals(decoded, observed),
            sum(fate is Fate.REPEATED for fate in observed.fates),
            stopgap=observed.stopgap,
        )

    async def apply(self, records: Sequence[Record]) -> None:
        """Append records to the histories without deciding them: they are decided, but may be missing there.

        Raises:
            StoreUnavailableError: the histories are unavailable; retry.
        """
        async for _ in observe_all(self._store, self._decode(records).columns):
            pass

    def _decode(self, records: Sequence[Record]) -> Decoded:
        return decode(records, round(self._settings.future_skew * 1000))

    async def _score(self, serving: ServingModels, vectors: Vectors, count: int) -> list[Judgement]:
        """Score here, or in another thread if it takes long: LightGBM releases the GIL."""
        if count < _MIN_ROWS_FOR_THREAD:
            return score(serving, vectors)
        return await asyncio.to_thread(score, serving, vectors)

    def _frame(self, terms: DecisionTerms, names: Sequence[str], now_ms: int) -> ScoreFrame:
        return ScoreFrame(
            settings=self._settings,
            names=names,
            fingerprint=terms.serving.live.fingerprint,
            code_version=CODE_VERSION,
            revision=terms.serving.revision,
            epochs=terms.epochs,
            now_ms=now_ms,
            headers=terms.headers,
        )


def _require_whole(records: Sequence[Record], decoded: Decoded, observed: Observed) -> None:
    """Refuse records that are due a decision, and of whose histories one lacks records.

    Raises:
        HistoryDamagedError: there are any; they are appended all the same.
    """
    damaged = {at: key for at, key in observed.damaged.items() if observed.fates[at] is Fate.DECIDE}
    if damaged:
        sources = {(decoded.records[at].partition, decoded.records[at].offset) for at in damaged}
        places = [place for place, one in enumerate(records) if (one.partition, one.offset) in sources]
        raise HistoryDamagedError(frozenset(damaged.values()), places)


def _refusals(decoded: Decoded, observed: Observed) -> list[DeadLetter]:
    return [
        DeadLetter(record, *_REFUSALS[fate])
        for record, fate in zip(decoded.records, observed.fates, strict=True)
        if fate in _REFUSALS
    ]
