"""The processing of a batch of transactions: decode, observe, vectorise, score, decide, encode.

Read this module first. It works on batches, with ports and values; it does not depend on Faust or a Kafka client.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.errors import HistoryDamagedError
from features.history.store import Fate, HistoryStore, Observed
from features.vector.sets import FeatureSets, Vectors
from stream.clock import Stage, Stopwatch
from stream.contract.codes import DeadLetterCode
from stream.control.model_cache import ServingModels
from stream.kafka.batches import Record, in_thread_if_large, size_of
from stream.kafka.dead_letters import DeadLetter
from stream.kafka.publisher import Headers
from stream.scoring.decode import Decoded, decode
from stream.scoring.encode import Judgement, Scored, ScoreFrame, encode
from stream.scoring.score import judge_undecidable, score
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


class DecisionTerms(NamedTuple):
    """The context of a batch: the models that score, the epoch of each partition, the log, and each score's headers."""

    serving: ServingModels
    epochs: Mapping[int, int]
    headers: Callable[[Record], Headers]
    log: int = 0


class _Batch(NamedTuple):
    """A batch of `size` bytes in the histories; `due` marks the transactions that get a decision."""

    size: int
    decoded: Decoded
    observed: Observed
    due: NDArray[np.bool_]
    watch: Stopwatch


class Pipeline:
    """Decides batches of transactions."""

    def __init__(self, settings: Settings, feature_sets: FeatureSets, store: HistoryStore) -> None:
        self._settings = settings
        self._features = feature_sets
        self._store = store

    async def decide(self, records: Sequence[Record], terms: DecisionTerms, clock: Callable[[], int]) -> Outputs:
        """Decide a batch of records; `clock` is read before decoding, and after scoring.

        Raises:
            StoreUnavailableError: the histories are unavailable; nothing was decided, retry.
            HistoryDamagedError: some records need histories that lack records, see `places`; decide the others.
        """
        batch = await self._observe(records, (terms.log, clock()))
        _require_whole(records, batch.decoded, batch.observed)
        vectors, live = self._vectors(batch), terms.serving.live.fingerprint
        computed = vectors.all() if terms.serving.challenger else {live: vectors.of(live)}
        batch.watch.lap("vectorise")
        judgements = await self._score(terms.serving, vectors, int(batch.due.sum()))
        batch.watch.lap("score")
        return await self._encode(batch, self._frame(terms, vectors.names(live), clock()), computed, judgements)

    async def decide_by_rules(
        self, records: Sequence[Record], terms: DecisionTerms, clock: Callable[[], int], *, features: bool
    ) -> Outputs:
        """Decide records by rules, since `decide` has raised: from the features that are no formulas, or from none.

        Records that are due no decision have the same result as in `decide`.

        Raises:
            StoreUnavailableError: the histories are unavailable; nothing was decided, retry.
        """
        batch = await self._observe(records, (terms.log, clock()))
        vectors, live = self._vectors(batch), terms.serving.live.fingerprint
        names = self._features.by_fingerprint if terms.serving.challenger else [live]
        computed = {name: vectors.undefined(name) for name in names}
        if features:
            computed[live] = vectors.without_formulas(live)
        batch.watch.lap("vectorise")
        judgements = judge_undecidable(vectors.names(live), computed[live])
        batch.watch.lap("score")
        return await self._encode(batch, self._frame(terms, vectors.names(live), clock()), computed, judgements)

    async def apply(self, records: Sequence[Record], log: int) -> None:
        """Append records of a log to the histories without deciding them: they are decided, but may be missing there.

        Raises:
            StoreUnavailableError: the histories are unavailable; retry.
        """
        await self._store.observe((await self._decode(records, size_of(*records), (log, None))).columns)

    async def _observe(self, records: Sequence[Record], context: tuple[int, int | None]) -> _Batch:
        """Decode records and append them to the histories."""
        watch, size = Stopwatch(), size_of(*records)
        decoded = await self._decode(records, size, context)
        watch.lap("decode")
        observed = await self._store.observe(decoded.columns)
        watch.lap("observe")
        return _Batch(size, decoded, observed, np.array([fate is Fate.DECIDE for fate in observed.fates], bool), watch)

    def _vectors(self, batch: _Batch) -> Vectors:
        return Vectors(self._features, batch.decoded.columns, batch.observed, batch.due)

    async def _encode(
        self,
        batch: _Batch,
        frame: ScoreFrame,
        vectors: Mapping[str, NDArray[np.float64]],
        judgements: Sequence[Judgement],
    ) -> Outputs:
        """Encode the decisions of a batch, and return them with everything else that became of it."""
        decoded, observed = batch.decoded, batch.observed
        judged = (np.flatnonzero(batch.due), vectors, judgements)
        scored = await in_thread_if_large(batch.size, encode, frame, decoded, observed, judged)
        batch.watch.lap("encode")
        return Outputs(
            scored,
            [*decoded.dead, *_refusals(decoded, observed)],
            sum(fate is Fate.REPEATED for fate in observed.fates),
            sum(one.unknown for one in decoded.accepted),
            batch.watch.stages,
            observed.stopgap,
        )

    async def _decode(self, records: Sequence[Record], size: int, context: tuple[int, int | None]) -> Decoded:
        return await in_thread_if_large(size, decode, records, round(self._settings.future_skew * 1000), *context)

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
            log=terms.log,
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
