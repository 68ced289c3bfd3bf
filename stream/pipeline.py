"""The way of a transaction, as one line of verbs: decode, observe, vectorise, score, decide, encode.

Read this page first. Everything moves in batches; what is here knows ports and values, and nothing of Faust or Kafka.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import NamedTuple

import numpy as np

from features.history.store import Fate, HistoryStore, Observed
from features.vector.sets import FeatureSets, Vectors
from stream.clock import Stage, Stopwatch
from stream.contract.codes import DeadLetterCode
from stream.control.model_cache import ServingModels
from stream.kafka.batches import Record
from stream.kafka.dead_letters import DeadLetter
from stream.kafka.publisher import Headers
from stream.scoring.decode import Decoded, decode
from stream.scoring.encode import Scored, ScoreFrame, encode
from stream.scoring.score import Judgement, score
from stream.settings import Settings

CODE_VERSION = version("fraudstream")

_WORTH_A_THREAD = 64

_REFUSED = {
    Fate.CONFLICT: (
        DeadLetterCode.TRANSACTION_CONFLICT,
        "transaction_id: this card's history has a transaction of the same id with other content",
    ),
    Fate.TOO_LATE: (
        DeadLetterCode.TOO_LATE,
        "occurred_at: older than this card's newest transaction by more than its horizon",
    ),
}


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a batch came to: decisions, dead letters, what was only counted, and how long each verb took.

    `stopgap`: the histories were not asked, but what was seen since they went away.
    """

    scored: Scored = field(default_factory=Scored.empty)
    dead: list[DeadLetter] = field(default_factory=list)
    repeated: int = 0
    unknown_fields: int = 0
    stages: list[Stage] = field(default_factory=list)
    stopgap: bool = False


class DecisionTerms(NamedTuple):
    """Under what a batch is decided: who scores, the epoch of each of its partitions, and its scores' headers."""

    serving: ServingModels
    epochs: Mapping[int, int]
    headers: Callable[[Record], Headers]


class Pipeline:
    """Decides batches; it holds what does not change between them."""

    def __init__(self, settings: Settings, feature_sets: FeatureSets, store: HistoryStore) -> None:
        self._settings = settings
        self._features = feature_sets
        self._store = store

    async def decide(self, records: Sequence[Record], terms: DecisionTerms, clock: Callable[[], int]) -> Outputs:
        """Decide a batch of records; `clock` is asked once, when they are scored and about to be encoded.

        Raises:
            StoreUnavailableError: the histories cannot be asked; nothing was decided, ask again.
        """
        watch = Stopwatch()
        decoded = self._decode(records)
        watch.lap("decode")
        observed = await self._store.observe(decoded.columns)
        watch.lap("observe")
        owed, live = np.array([fate is Fate.DECIDE for fate in observed.fates], bool), terms.serving.live.fingerprint
        vectors = Vectors(self._features, decoded.columns, observed, owed)
        wanted = vectors.all() if terms.serving.challenger else {live: vectors.of(live)}
        watch.lap("vectorise")
        judgements = await self._score(terms.serving, vectors, int(owed.sum()))
        watch.lap("score")
        frame = self._frame(terms, vectors.names(live), clock())
        scored = encode(frame, decoded, observed, (np.flatnonzero(owed), wanted, judgements))
        watch.lap("encode")
        return Outputs(
            scored,
            [*decoded.dead, *_refused(decoded, observed)],
            sum(fate is Fate.REPEATED for fate in observed.fates),
            sum(one.unknown for one in decoded.accepted),
            watch.stages,
            observed.stopgap,
        )

    async def apply(self, records: Sequence[Record]) -> None:
        """Append records to the histories and decide nothing: they are decided, and perhaps not there yet.

        Raises:
            StoreUnavailableError: the histories cannot be asked; ask again.
        """
        await self._store.observe(self._decode(records).columns)

    def _decode(self, records: Sequence[Record]) -> Decoded:
        return decode(records, round(self._settings.future_skew * 1000))

    async def _score(self, serving: ServingModels, vectors: Vectors, count: int) -> list[Judgement]:
        """Score here, or on another thread where it takes long: LightGBM lets go of the interpreter's lock."""
        if count < _WORTH_A_THREAD:
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


def _refused(decoded: Decoded, observed: Observed) -> list[DeadLetter]:
    return [
        DeadLetter(record, *_REFUSED[fate])
        for record, fate in zip(decoded.records, observed.fates, strict=True)
        if fate in _REFUSED
    ]
