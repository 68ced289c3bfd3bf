"""The processing of a batch of transactions: decode, observe, vectorise, score, decide, encode.

Read this module first. It works on batches, with ports and values; it does not depend on Faust or a Kafka client.
"""

import dataclasses
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from features.errors import FormulaError, HistoryDamagedError
from features.history.records import COLUMNS
from features.history.store import Fate, Histories, HistoryStore, Observed, observe_all
from features.vector.sets import FeatureSets, Vectors
from models.limits import LimitState
from models.policy import Payments
from stream.clock import Stage, Stopwatch
from stream.code_version import code_version
from stream.contract.attributes import FieldRules
from stream.contract.codes import UNREADABLE_EVER, DeadLetterCode
from stream.control.model_cache import ServingModels
from stream.deciding_settings import deciding_settings
from stream.engine.batches import Record, in_thread, in_thread_if_large, size_of
from stream.engine.publisher import Headers
from stream.errors import ClockBehindError
from stream.id_rules import declared_ids
from stream.positions.dead_letters import DeadLetter
from stream.scoring.decode import NO_ATTRIBUTES, AttributeCounts, Decoded, SealProblem, decode, no_key_erases
from stream.scoring.encode import Judgement, Scored, ScoreFrame, encode
from stream.scoring.score import judge_undecidable, ruled, score
from stream.settings import Settings

CODE_VERSION = code_version()

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


class Outputs(msgspec.Struct, frozen=True):
    """The result of a batch: decisions, dead letters, counts, and the time of each stage.

    `backfilled` counts payments that were applied to the histories without a decision, as their header asks, `erasures`
    those of cards. With `stopgap`, histories came from memory, for want of Redis. `attributes` counts own fields.
    """

    scored: Scored = msgspec.field(default_factory=Scored.empty)
    dead: list[DeadLetter] = []
    repeated: int = 0
    backfilled: int = 0
    erasures: int = 0
    unknown_fields: int = 0
    stages: list[Stage] = []
    stopgap: bool = False
    attributes: AttributeCounts = NO_ATTRIBUTES

    @classmethod
    def concat(cls, parts: Sequence["Outputs"]) -> "Outputs":
        """Concatenate the outputs of several parts of a batch, in their order."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            Scored.concat(part.scored for part in parts),
            [letter for part in parts for letter in part.dead],
            sum(part.repeated for part in parts),
            sum(part.backfilled for part in parts),
            sum(part.erasures for part in parts),
            sum(part.unknown_fields for part in parts),
            [stage for part in parts for stage in part.stages],
            any(part.stopgap for part in parts),
            AttributeCounts.total([part.attributes for part in parts]),
        )


class DecisionTerms(NamedTuple):
    """The context of a batch: the models that score, the epoch of each partition, the log, and each score's headers.

    `limit_states` are what the limits of each partition go by where the batch begins. With `accepted`, another
    deployment has accepted these records, so none is refused for what it is. `clock_is_checked` tells that brokers
    refuse records that are ahead of their clocks.
    """

    serving: ServingModels
    epochs: Mapping[int, int]
    headers: Callable[[Record], Headers]
    log: int = 0
    limit_states: Mapping[int, LimitState] = MappingProxyType({})
    accepted: bool = False
    clock_is_checked: bool = False


class _Part(NamedTuple):
    """The records of a batch of `size` bytes that were observed together; `due` marks those that get a decision."""

    size: int
    decoded: Decoded
    observed: Observed
    due: NDArray[np.bool_]
    watch: Stopwatch


class Pipeline:
    """Decides batches of transactions."""

    def __init__(
        self,
        settings: Settings,
        feature_sets: FeatureSets,
        store: HistoryStore,
        seal_problem: SealProblem = no_key_erases,
    ) -> None:
        self._settings = settings
        self._features = feature_sets
        self._names = {fingerprint: one.names for fingerprint, one in feature_sets.by_fingerprint.items()}
        self._store = store
        self._settings_hash = deciding_settings(settings).hash
        fields = FieldRules(feature_sets.fields, feature_sets.carried, declared_ids(settings.id_shapes))
        self._decoder = partial(decode, fields=fields, seal_problem=seal_problem)

    async def decide(self, records: Sequence[Record], terms: DecisionTerms, clock: Callable[[], int]) -> Outputs:
        """Decide a batch of records; `clock` is read before decoding, and after scoring.

        A batch that sees more than the store's limit is decided in parts, one after the other.

        Raises:
            StoreUnavailableError: the histories are unavailable; nothing was decided, retry.
            HistoryDamagedError: some records need histories that lack records, see `places`; decide the others.
            ClockBehindError: `clock` is behind; nothing was appended.
        """
        watch, parts = Stopwatch(), list[Outputs]()
        async for part in self._observe(records, terms, clock(), watch):
            _require_whole(records, part)
            parts.append(await self._decide_part(part, terms, clock))
            del part  # the next one needs the memory
        return replace(Outputs.concat(parts), stages=watch.stages)

    async def _decide_part(self, part: _Part, terms: DecisionTerms, clock: Callable[[], int]) -> Outputs:
        """Decide the records that were observed together."""
        vectors, arms = self._vectors(part), _arms_of(terms.serving, part)
        # A tricky part: long histories are read in a thread, while other batches append to them. Nobody writes to a row
        # that the thread reads: it was committed before the store returned it, appending writes behind the committed
        # rows, and trimming, splicing and erasing replace the buffer, of which `rows` keeps the old one.
        long_bytes = part.observed.long_bytes
        computed = await in_thread_if_large(long_bytes, self._computed, terms.serving, vectors, arms)
        part.watch.lap("vectorise")
        scoring = terms.serving, vectors, arms, _payments_of(terms.serving, part)
        if long_bytes or len(vectors.of(terms.serving.live.fingerprint)) >= _MIN_ROWS_FOR_THREAD:
            # It takes long, and LightGBM releases the GIL. The thread reads values that nobody changes: a batch has its
            # own vectors, and a new lineup is another object.
            judgements = await in_thread(score, *scoring)
        else:
            judgements = score(*scoring)
        computed |= {name: vectors.of(name) for name in {one.fingerprint for one in judgements} if name is not None}
        part.watch.lap("score")
        return await self._encode(part, self._frame(terms, clock()), computed, judgements)

    def _computed(
        self, serving: ServingModels, vectors: Vectors, arms: Sequence[str] | None
    ) -> dict[str, NDArray[np.float64]]:
        """Compute the vectors of the arms, and of all other sets while decisions are compared, as far as they can be.

        Where a formula of a set fails that decides nothing here, these decisions are not compared.

        Raises:
            FormulaError: a formula of the live model's features fails, or one of an arm's that decides some of several
                payments: decided alone, live stands in for the arm's model on the failing one.
        """
        live = serving.live.fingerprint
        deciding = _arm_fingerprints(serving, arms) if arms is not None and len(arms) > 1 else frozenset()
        computed = {live: vectors.of(live)}
        for name in self._features.by_fingerprint if serving.compares else deciding:
            try:
                computed[name] = vectors.of(name)
            except FormulaError:
                if name in deciding:
                    raise
        return computed

    async def decide_by_rules(
        self,
        records: Sequence[Record],
        terms: DecisionTerms,
        clock: Callable[[], int],
        *,
        features: bool,
        bare: bool = False,
    ) -> Outputs:
        """Decide records by rules, since `decide` has raised: from the features that are no formulas, or from none.

        Records that are due no decision have the same result as in `decide`. With `bare`, nothing else is computed from
        what they see, and no header is passed on: what was appended to a history has to get a decision.

        Raises:
            StoreUnavailableError: the histories are unavailable; nothing was decided, retry.
            ClockBehindError: as in `decide`.
        """
        watch, parts = Stopwatch(), list[Outputs]()
        async for part in self._observe(records, terms, clock(), watch):
            if bare:
                part, terms = _unseen(part), terms._replace(headers=lambda _: [])  # noqa: PLW2901 - the other is not used
            vectors, live = self._vectors(part), terms.serving.live.fingerprint
            frame, arms = self._frame(terms, clock()), _arms_of(terms.serving, part)
            theirs = {live} if arms is None else {live} | _arm_fingerprints(terms.serving, arms)
            names = self._features.by_fingerprint if terms.serving.compares else theirs
            computed = {name: vectors.undefined(name) for name in names}
            for fingerprint in theirs if features else ():
                computed[fingerprint] = await in_thread_if_large(
                    part.observed.long_bytes, vectors.without_formulas, fingerprint
                )
            watch.lap("vectorise")
            judgements = _undecidable(frame, terms.serving, computed, arms)
            if not bare:
                rows = computed[frame.fingerprint], _payments_of(terms.serving, part)
                judgements = ruled(terms.serving.live, judgements, rows)
            watch.lap("score")
            parts.append(await self._encode(part, frame, computed, judgements))
            del part, vectors
        return replace(Outputs.concat(parts), stages=watch.stages)

    async def apply(self, records: Sequence[Record], log: int) -> None:
        """Append records of a log to the histories without deciding them: they are decided, but may be missing there.

        They were accepted then, so no setting and no rule of today refuses one.

        Raises:
            StoreUnavailableError: the histories are unavailable; retry.
        """
        decoded = await self._decode(records, size_of(*records), log, is_accepted=_always)
        async for _ in observe_all(self._store, decoded.columns):
            pass

    async def _observe(
        self, records: Sequence[Record], terms: DecisionTerms, now_ms: int, watch: Stopwatch
    ) -> AsyncIterator[_Part]:
        """Decode records and append them to the histories; yield those that were observed together."""
        size, at = size_of(*records), 0
        is_accepted: Callable[[Record], bool] | None = _always if terms.accepted else None
        decoded = await self._decode(records, size, terms.log, now_ms=now_ms, is_accepted=is_accepted)
        if decoded.dead and not terms.accepted and (appended := await self._appended(decoded.dead, terms.log)):
            is_accepted = partial(_is_one_of, appended)
            decoded = await self._decode(records, size, terms.log, now_ms=now_ms, is_accepted=is_accepted)
        if terms.clock_is_checked:
            _require_clock(decoded.dead)
        watch.lap("decode")
        async for _, observed in observe_all(self._store, decoded.columns):
            watch.lap("observe")
            some = decoded.part(at, at + len(observed.fates))
            at += len(observed.fates)
            due = np.array([fate is Fate.DECIDE for fate in observed.fates], bool)
            yield _Part(size, some, observed, due & ~some.backfilled, watch)
            del observed, some

    async def _appended(self, dead: Sequence[DeadLetter], log: int) -> frozenset[tuple[int, int]]:
        """Return the partitions and offsets of those that are refused here, but are in their cards' histories.

        A worker before, or this one under another clock, has accepted them, and ended before it could say so.
        """
        records = [one.record for one in dead if one.code not in UNREADABLE_EVER]
        if not records:
            return frozenset()
        read = await self._decode(records, size_of(*records), log, is_accepted=_always)
        held = await self._store.holds(read.columns) if read.records else ()
        return frozenset(
            (one.partition, one.offset) for one, is_held in zip(read.records, held, strict=True) if is_held
        )

    def _vectors(self, part: _Part) -> Vectors:
        return Vectors(self._features, part.decoded.columns, part.observed, part.due)

    async def _encode(
        self,
        part: _Part,
        frame: ScoreFrame,
        vectors: Mapping[str, NDArray[np.float64]],
        judgements: Sequence[Judgement],
    ) -> Outputs:
        """Encode the decisions of a part, and return them with everything else that became of it."""
        decoded, observed = part.decoded, part.observed
        judged = (np.flatnonzero(part.due), vectors, judgements)
        scored = await in_thread_if_large(part.size, encode, frame, decoded, observed, judged)
        part.watch.lap("encode")
        return Outputs(
            scored,
            [*decoded.dead, *_refusals(decoded, observed)],
            list(observed.fates).count(Fate.REPEATED),
            list(observed.fates).count(Fate.DECIDE) - int(np.count_nonzero(part.due)),
            list(observed.fates).count(Fate.ERASURE),
            sum([one.unknown for one in decoded.accepted]),
            stopgap=observed.stopgap,
            attributes=decoded.attribute_counts(),
        )

    async def _decode(
        self,
        records: Sequence[Record],
        size: int,
        log: int,
        *,
        now_ms: int | None = None,
        is_accepted: Callable[[Record], bool] | None = None,
    ) -> Decoded:
        skew_ms = round(self._settings.future_skew * 1000)
        read = partial(self._decoder, is_accepted=is_accepted)
        return await in_thread_if_large(size, read, records, skew_ms, log, now_ms)

    def _frame(self, terms: DecisionTerms, now_ms: int) -> ScoreFrame:
        live = terms.serving.live.fingerprint
        return ScoreFrame(
            settings=self._settings,
            names=self._names[live],
            fingerprint=live,
            code_version=CODE_VERSION,
            revision=terms.serving.revision,
            epochs=terms.epochs,
            log=terms.log,
            now_ms=now_ms,
            headers=terms.headers,
            look_back_days=self._features.look_back_days,
            others=self._names,
            settings_hash=self._settings_hash,
            categories=self._features.fields.categories,
        )


def _always(_record: Record) -> bool:
    return True


def _is_one_of(places: Collection[tuple[int, int]], record: Record) -> bool:
    return (record.partition, record.offset) in places


def _require_clock(dead: Sequence[DeadLetter]) -> None:
    """Refuse to go on where a payment is ahead of our clock, though brokers refuse what is ahead of theirs.

    Raises:
        ClockBehindError: there are any.
    """
    ahead: dict[int, str] = {}
    for record, code, detail in dead:
        if code is DeadLetterCode.AHEAD_OF_CLOCK and record.partition not in ahead:
            ahead[record.partition] = (
                f"this worker's clock is behind: offset {record.offset}, {detail.partition(';')[0]}, and the broker "
                "would not have taken the record if that were right. Set this machine's clock; if the record is older "
                "than the topic's bound on timestamps, pass over it: `fraudstream dead-letters skip --topic "
                f"{record.topic} --partition {record.partition} --offset {record.offset}`"
            )
    if ahead:
        raise ClockBehindError(ahead)


def _unseen(part: _Part) -> _Part:
    """Return a part of whose histories only the positions are left: each record sees one without any content."""
    unseen = {
        kind: Histories(
            np.zeros((count := len(one.positions), COLUMNS[kind]), np.int64), np.ones(count, np.int64), one.positions
        )
        for kind, one in part.observed.histories.items()
    }
    return part._replace(observed=dataclasses.replace(part.observed, histories=unseen, ages_days=None))


def _arms_of(serving: ServingModels, part: _Part) -> list[str] | None:
    """Return the arm of each payment that is due a decision; None where the live model decides for all cards."""
    if serving.arms is None:
        return None
    cards = part.decoded.columns.card_ids
    return serving.arms.split.arms_of([cards[at] for at in np.flatnonzero(part.due).tolist()])


def _payments_of(serving: ServingModels, part: _Part) -> Payments | None:
    """Return the payments that are due a decision; None where no model reads more than their features."""
    if not any(model.reads_payments for model in serving.models):
        return None
    which = np.flatnonzero(part.due)
    columns, rows = part.decoded.columns, which.tolist()
    transactions = [part.decoded.accepted[at].transaction for at in rows]
    return Payments(
        [one.card_id for one in transactions],
        [one.merchant_id for one in transactions],
        [one.merchant_country for one in transactions],
        columns.amount_minor[which],
        [one.currency for one in transactions],
    )


def _arm_fingerprints(serving: ServingModels, arms: Sequence[str]) -> frozenset[str]:
    """Return the fingerprints of the features of some arms' models, those of `live` left out."""
    models = (serving.of_arm(arm) for arm in set(arms))
    return frozenset(model.fingerprint for model in models if model is not None)


def _undecidable(
    frame: ScoreFrame,
    serving: ServingModels,
    vectors: Mapping[str, NDArray[np.float64]],
    arms: Sequence[str] | None,
) -> list[Judgement]:
    """Judge payments by rules after an error, from the features of each one's arm."""
    if arms is None:
        return judge_undecidable(frame.names, vectors[frame.fingerprint])
    judged = list[Judgement]()
    for at, arm in enumerate(arms):
        fingerprint = (serving.of_arm(arm) or serving.live).fingerprint
        row = vectors[fingerprint][at : at + 1]
        judged += judge_undecidable(frame.names_of(fingerprint), row, arm, fingerprint)
    return judged


def _require_whole(records: Sequence[Record], part: _Part) -> None:
    """Refuse records that are due a decision, and of whose histories one lacks records.

    Raises:
        HistoryDamagedError: there are any; they are appended all the same.
    """
    damaged = part.observed.damaged and {at: key for at, key in part.observed.damaged.items() if part.due[at]}
    if damaged:
        decoded = part.decoded
        sources = {(decoded.records[at].partition, decoded.records[at].offset) for at in damaged}
        places = [place for place, one in enumerate(records) if (one.partition, one.offset) in sources]
        raise HistoryDamagedError(frozenset(damaged.values()), places)


def _refusals(decoded: Decoded, observed: Observed) -> list[DeadLetter]:
    """Return a dead letter for each refused payment.

    One of a backfill that is too late is none: nobody waits for its decision, and no decision can see it.
    """
    if Fate.CONFLICT not in observed.fates and Fate.TOO_LATE not in observed.fates:
        return []
    return [
        DeadLetter(record, *_REFUSALS[fate])
        for record, fate, backfilled in zip(decoded.records, observed.fates, decoded.backfilled, strict=True)
        if fate in _REFUSALS and not (backfilled and fate is Fate.TOO_LATE)
    ]
