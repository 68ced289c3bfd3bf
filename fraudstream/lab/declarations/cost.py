"""Measures what each row of a feature set costs: bytes of a score and of histories, and processor time of a decision.

A difference between two sets of fifty rows is mostly noise. So each row is timed as a set of its own, in turns with
all others and with the simplest row of its kind: what that takes is the fixed part of the kind, which is paid once, and
the rest is the row's. Rows share passes over a history, so all together may take less than the sum; the whole set is
timed, too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from statistics import median
from time import thread_time_ns
from types import MappingProxyType, SimpleNamespace
from typing import NamedTuple

import msgspec
import numpy as np

from features.declaration import DAY_MS, HOUR_MS, Feature, FeatureSet
from features.history import records
from features.history.frames import Floats
from features.history.records import RECORD_BYTES
from features.history.store import Entity, Ints, Label, Observed, Prediction, Transactions
from features.memory_store import MemoryStore
from features.own_fields import FieldValue
from features.rows import card, device, merchant, own
from features.vector.vectorise import KERNEL, vectorise
from fraudstream.lab.training.probe_histories import invented_value
from stream.contract.attributes import FieldRules

BATCH, SINGLES, ROUNDS = 256, 16, 9
CARDS, MERCHANTS, DEVICES, EARLIER, DAYS = 400, 40, 300, 12_000, 35
"""Of the generated payments; `EARLIER` of them are in the histories when those that are measured come."""
_START_MS = 978_307_200_000
_AT_ONCE = 2_000
_SIMPLEST: Mapping[Entity, Feature] = MappingProxyType(
    {
        Entity.NONE: own("is_weekend"),
        Entity.CARD: card("count", "1h"),
        Entity.MERCHANT: merchant("count", "1h"),
        Entity.DEVICE: device("count", "1h"),
    }
)
"""The row of each kind of history by which its fixed part is measured; one of the set itself for predictions."""
_SEED, _ABSENT, _FRAUDS = 7, 0.2, 0.01


class DecisionMicroseconds(msgspec.Struct, frozen=True):
    """Processor time of a decision, in batches of 256 and alone, in microseconds."""

    of_256: float
    of_one: float


class RowCost(msgspec.Struct, frozen=True):
    """What a row costs.

    Attributes:
        name: of the feature.
        entity: whose history it reads.
        record_bytes: of an event in that history; shared by all rows that read it.
        adds_days: by how much the history is longer for this row alone.
        score_bytes: of a score, its name and its value.
        microseconds: beyond the fixed part of its kind.
    """

    name: str
    entity: str
    record_bytes: int
    adds_days: float
    score_bytes: float
    microseconds: DecisionMicroseconds


class SetCost(msgspec.Struct, frozen=True):
    """What a feature set costs, and how that was measured.

    Attributes:
        rows: of the set, in order.
        fixed: by kind of history, what its simplest row takes alone.
        whole: what the set takes.
        reading: of the declared fields of `attributes`, by payment; 0 without fields.
        event_bytes: that a payment adds to all histories together.
        score_bytes: of all features of a score.
        compiled: whether the kernel in C computed; without it windows take several times as long.
        rounds: of which medians are taken.
    """

    rows: tuple[RowCost, ...]
    fixed: dict[str, DecisionMicroseconds]
    whole: DecisionMicroseconds
    reading: float
    event_bytes: int
    score_bytes: float
    compiled: bool
    rounds: int


class _PricedScene(NamedTuple):
    """Generated payments, and what each batch of them sees."""

    batch: tuple[Transactions, Observed]
    singles: Sequence[tuple[Transactions, Observed]]


def measure_cost(feature_set: FeatureSet, rounds: int = ROUNDS) -> SetCost:
    """Measure a feature set here and now.

    Raises:
        FormulaError: a formula fails on a generated payment.
    """
    kinds = [kind for kind in Entity if any(row.entity is kind for row in feature_set.rows)]
    first = {kind: next(row for row in feature_set.rows if row.entity is kind) for kind in kinds}
    simplest = {kind: _SIMPLEST.get(kind, first[kind]) for kind in kinds}
    scene = _scene(feature_set)
    alone = [FeatureSet((row,), feature_set.fields) for row in (*feature_set.rows, *simplest.values())]
    spent = _spent([feature_set, *alone], scene, rounds)
    whole, rows, fixed = spent[0], spent[1 : 1 + len(feature_set)], dict(zip(kinds, spent[-len(kinds) :], strict=True))
    vectors = vectorise(feature_set, *scene.batch)
    score_bytes = [_score_bytes(row.name, vectors[:, at]) for at, row in enumerate(feature_set.rows)]
    costs = tuple(
        RowCost(
            row.name,
            row.entity.value,
            RECORD_BYTES.get(row.entity, 0),
            _adds_days(feature_set, row),
            size,
            _less(taken, fixed[row.entity]),
        )
        for row, size, taken in zip(feature_set.rows, score_bytes, rows, strict=True)
    )
    return SetCost(
        rows=costs,
        fixed={kind.value: taken for kind, taken in fixed.items()},
        whole=whole,
        reading=_reading(feature_set, scene, rounds),
        event_bytes=sum(RECORD_BYTES[kind] for kind in feature_set.schedules if kind is not Entity.PREDICTION),
        score_bytes=round(sum(score_bytes), 1),
        compiled=KERNEL is not None,
        rounds=rounds,
    )


def _spent(sets: Sequence[FeatureSet], scene: _PricedScene, rounds: int) -> list[DecisionMicroseconds]:
    """Return the medians of what each set takes, all of them in turns."""
    of_256: list[list[float]] = [[] for _ in sets]
    of_one: list[list[float]] = [[] for _ in sets]
    for number in range(rounds + 1):
        for at in np.roll(np.arange(len(sets)), number).tolist():
            batched = _microseconds(partial(_vectorise_all, sets[at], [scene.batch]))
            single = _microseconds(partial(_vectorise_all, sets[at], scene.singles))
            if number:  # the first round makes plans, and fills caches
                of_256[at].append(batched / BATCH)
                of_one[at].append(single / SINGLES)
    return [
        DecisionMicroseconds(round(median(batched), 3), round(median(single), 2))
        for batched, single in zip(of_256, of_one, strict=True)
    ]


def _vectorise_all(feature_set: FeatureSet, seen: Sequence[tuple[Transactions, Observed]]) -> None:
    for transactions, observed in seen:
        vectorise(feature_set, transactions, observed)


def _microseconds(work: Callable[[], object]) -> float:
    began = thread_time_ns()
    work()
    return (thread_time_ns() - began) / 1_000


def _less(taken: DecisionMicroseconds, fixed: DecisionMicroseconds) -> DecisionMicroseconds:
    return DecisionMicroseconds(
        round(max(0.0, taken.of_256 - fixed.of_256), 3), round(max(0.0, taken.of_one - fixed.of_one), 2)
    )


def _score_bytes(name: str, values: Floats) -> float:
    """Return the mean length of a feature in the JSON of a score, with its comma."""
    plain = [None if np.isnan(value) else int(value) if value == int(value) else value for value in values.tolist()]
    return round(float(np.mean([len(msgspec.json.encode({name: value})) - 1 for value in plain])), 1)


def _adds_days(feature_set: FeatureSet, row: Feature) -> float:
    """Return by how many days the history of a row's kind is longer for this row alone."""
    others = tuple(one for one in feature_set.rows if one is not row)
    if row.entity is Entity.NONE or not others:
        return round(row.retention_ms / DAY_MS, 1)
    without = FeatureSet(others, feature_set.fields).horizons_ms.get(row.entity, 0)
    return round((feature_set.horizons_ms[row.entity] - without) / DAY_MS, 1)


def _reading(feature_set: FeatureSet, scene: _PricedScene, rounds: int) -> float:
    """Return what reading the declared fields of a payment's `attributes` takes, in microseconds."""
    if not feature_set.fields:
        return 0.0
    rules, by_name = FieldRules(feature_set.fields, feature_set.carried), feature_set.fields.by_name
    payments = [
        SimpleNamespace(
            attributes={name: by_name[name].shown(value) for name, value in values.items() if name in by_name},
            occurred_at=_START_MS,
            card_country="AT",
        )
        for values in scene.batch[0].own or ()
    ]
    found = [_microseconds(lambda: rules.read_all(payments)) for _ in range(rounds)]
    return round(median(found) / max(1, len(payments)), 3)


def _scene(feature_set: FeatureSet) -> _PricedScene:
    """Fill histories with generated payments, and observe those that are measured."""
    draws, store = np.random.default_rng(_SEED), MemoryStore(feature_set)
    count = EARLIER + BATCH + SINGLES
    times = _START_MS + np.sort(draws.integers(0, DAYS * DAY_MS, count))
    payments = _payments(feature_set, draws, times)
    batches = [payments.at(range(at, min(at + _AT_ONCE, EARLIER))) for at in range(0, EARLIER, _AT_ONCE)]
    for batch in batches:
        store.observe_now(batch)
        store.label_now(list(_labels(batch, draws)))
    if feature_set.prediction_delays_ms:
        store.predict_now(list(_predictions(feature_set, int(times[EARLIER]))))
    batch = payments.at(range(EARLIER, EARLIER + BATCH))
    singles = [payments.at([at]) for at in range(EARLIER + BATCH, count)]
    return _PricedScene((batch, store.observe_now(batch)), [(one, store.observe_now(one)) for one in singles])


def _payments(feature_set: FeatureSet, draws: np.random.Generator, times: Ints) -> Transactions:
    count = len(times)
    devices = draws.integers(0, DEVICES, count).tolist()
    traits = [
        records.pack_traits("5411", ("AT", "DE", "US")[at % 3], records.CHANNELS[at % 2], 60, "EUR")
        | 1 << records.HAS_PLACE.shift
        for at in range(count)
    ]
    return Transactions(
        transaction_ids=[f"cost-{at}" for at in range(count)],
        card_ids=[f"card-{at}" for at in draws.integers(0, CARDS, count).tolist()],
        merchant_ids=[f"shop-{at}" for at in draws.integers(0, MERCHANTS, count).tolist()],
        occurred_ms=times,
        utc_offset_minutes=np.full(count, 60),
        amount_minor=np.exp(draws.normal(8, 1, count)).astype(np.int64) + 1,
        exponent=np.full(count, 2),
        content=np.arange(count, dtype=np.uint64),
        partition=np.zeros(count, np.int64),
        offset=np.arange(count),
        device_ids=[None if at % 5 == 0 else f"device-{at}" for at in devices],
        place=np.array([records.pack_place(48 + at % 7 / 10, 16 + at % 5 / 10) for at in range(count)], np.int64),
        traits=np.array(traits, np.int64),
        own=[_own_values(feature_set, draws) for _ in range(count)] if feature_set.reads_payments else None,
    )


def _own_values(feature_set: FeatureSet, draws: np.random.Generator) -> dict[str, FieldValue]:
    found: dict[str, FieldValue] = dict.fromkeys(feature_set.carried, "AT")
    found |= {field.name: invented_value(field, draws) for field in feature_set.fields.fields}
    return {name: value for name, value in found.items() if draws.random() >= _ABSENT}


def _labels(batch: Transactions, draws: np.random.Generator) -> Iterator[Label]:
    for at in np.flatnonzero(draws.random(len(batch)) < _FRAUDS).tolist():
        yield Label(
            transaction_id=batch.transaction_ids[at],
            card_id=batch.card_ids[at],
            fraud=True,
            labelled_ms=int(batch.occurred_ms[at]) + DAY_MS,
            reported_by="chargeback",
            merchant_id=batch.merchant_ids[at],
            occurred_ms=int(batch.occurred_ms[at]),
            partition=1,
            offset=at,
        )


def _predictions(feature_set: FeatureSet, now_ms: int) -> Iterator[Prediction]:
    for number, (name, delay_ms) in enumerate(feature_set.prediction_delays_ms.items()):
        for at in range(CARDS):
            computed_ms = now_ms - delay_ms - HOUR_MS
            yield Prediction(f"card-{at}", name, at / CARDS, computed_ms, computed_ms, 2, number * CARDS + at)
