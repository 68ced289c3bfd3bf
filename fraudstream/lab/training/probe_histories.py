"""Invents the histories by which a machine shows that it computes a feature set to the bit: an artifact's probes.

An artifact is kept for ever and copied anywhere, so it holds no record of anybody's card. What is here follows from the
declared rows and from one sequence of random numbers: payments at both ends of each window, a millisecond before and
after, and at random ages between; with labels, devices, places, several currencies, records that came late, panes and
predictions from storage, where the set reads them.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import numpy as np

from features.declaration import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, FeatureSet
from features.errors import FormulaError
from features.history import records
from features.history.store import Entity, Label, Observed, Prediction, Transactions
from features.memory_store import MemoryStore
from features.own_fields import FieldKind, FieldValue, OwnField
from features.vector.vectorise import vectorise
from models.artifact import ProbeHistories, Vector, vectors_of
from stream.control.probes import write_probe

SEED = 20_010_101
FIRST_MS = 978_307_200_000
"""2001-01-01. Payments of a deployment are younger than its Kafka."""
_STEP_MS = 37 * HOUR_MS + 13 * MINUTE_MS
"""Between the payments of two probes: they fall on all hours and days of the week."""
_ALONE, _BUSY, _MOST_AT_ENDS = 4, 14, 200
"""Probes of payments without a history, with a long one, and with hardly more than what lies at an end of a window."""
_LATE_MS = 6 * HOUR_MS
_PANED_FROM_MS, _AT_ONCE = 6 * HOUR_MS, 9
"""So many payments at once, at such ages, are merged into panes."""
_CARDS = ("probe-card-1", "probe-card-2", "probe-card-3", "probe-card-4", "probe-card-5")
_VALUES: Mapping[str, Sequence[Any]] = MappingProxyType(
    {
        "card": _CARDS,
        "merchant": ("probe-shop-1", "probe-shop-2", "probe-shop-3", "probe-shop-4"),
        "device": ("probe-device-1", "probe-device-2", "probe-device-3", None),
        "currency": (("EUR", 2), ("EUR", 2), ("USD", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4)),
        "place": (None, (0.0, 0.0), (48.2, 16.4), (48.21, 16.41), (-33.9, 151.2), (-48.2, -163.6)),
        "category": (None, "5411", "6011", "7995"),
        "country": (None, "AT", "DE", "US"),
        "channel": (None, *records.CHANNELS),
        "clock_minutes": (0, 60, -300, 330, 840),
    }
)
"""What a payment may have beside a time and an amount."""
_TEXTS = ("AT", "DE", "FR", "US")
"""Of all categories and tokens, so that formulas find equal ones."""
_NEAR = 10_000
"""The magnitude of most numbers."""
_RARE, _FRAUDS = 0.2, 0.67
"""Shares of what is rare, such as late payments or corrections, and of frauds among labels."""
_SHARED = 0.4
"""How much a payment has in common with the probed one, mostly."""
_SHARED_AT_ENDS = (1.0, 0.0, _SHARED, _SHARED)
"""Likewise, of the probes of each end of a window."""

Draws = np.random.Generator


class _InventedPayment(NamedTuple):
    """An invented payment; `age_ms` is how long before the probed one it occurred, below 0 if it occurred later."""

    age_ms: int
    card: str
    merchant: str
    device: str | None
    amount_minor: int
    currency: tuple[str, int]
    place: tuple[float, float] | None
    category: str | None
    country: str | None
    channel: str | None
    clock_minutes: int

    @property
    def traits(self) -> int:
        """The traits, packed."""
        packed = records.pack_traits(self.category, self.country, self.channel, self.clock_minutes, self.currency[0])
        return packed | (self.place is not None) << records.HAS_PLACE.shift


class _ProbeScene(NamedTuple):
    """The probed payment, what came before it in the order of arrival, and ages of predictions about its card.

    With `tells`, the first of the others is a fraud, which is known at once.
    """

    own: _InventedPayment
    others: Sequence[_InventedPayment]
    computed_ages_ms: Sequence[int]
    tells: bool = False


@lru_cache(maxsize=8)
def invented_histories(feature_set: FeatureSet) -> ProbeHistories:
    """Return the histories, and the vector of each as this machine computes it; the same set gives the same.

    A history that a formula of the set cannot compute with is left out.

    Raises:
        FormulaError: a formula cannot compute with any of them.
    """
    histories: list[msgspec.Raw] = []
    vectors: list[Vector] = []
    refused: FormulaError | None = None
    for own, observed in invented_payments(feature_set):
        try:
            (vector,) = vectors_of(vectorise(feature_set, own, observed))
        except FormulaError as error:
            refused = error
            continue
        history = write_probe(own, observed, 0, with_fields=feature_set.reads_payments)
        histories.append(msgspec.Raw(history))
        vectors.append(vector)
    if refused is not None and not histories:
        raise refused
    return ProbeHistories(tuple(histories), tuple(vectors))


def invented_payments(feature_set: FeatureSet) -> Iterator[tuple[Transactions, Observed]]:
    """Yield the probed payments, each a batch of its own, with what is visible to it."""
    random = np.random.default_rng(SEED)
    for number, scene in enumerate(_scenes(feature_set, random)):
        stage = _Stage(feature_set, FIRST_MS + (number + 1) * _STEP_MS, random)
        yield stage.play(scene, compacts=number % 2 == 0)


def ends_ms(feature_set: FeatureSet, kind: Entity) -> list[int]:
    """Return the ages at which the windows of one kind of history begin and end."""
    rows = [row for row in feature_set.rows if row.entity is kind]
    windows = [(row.delay_ms, row.window_ms, row) for row in rows if row.window_ms is not None]
    if kind is Entity.PREDICTION:  # a window there is the greatest age
        return sorted({end for delay_ms, window_ms, _ in windows for end in (delay_ms, window_ms)})
    ends = {end for delay_ms, window_ms, _ in windows for end in (delay_ms, delay_ms + window_ms)}
    paned = [(delay_ms, window_ms, row.resolution_ms) for delay_ms, window_ms, row in windows if row.is_paned]
    moved = {end + pane_ms for delay_ms, window_ms, pane_ms in paned for end in (delay_ms, delay_ms + window_ms)}
    return sorted(ends | moved)


def _scenes(feature_set: FeatureSet, random: Draws) -> Iterator[_ProbeScene]:
    for _ in range(_ALONE):
        yield _ProbeScene(_drawn(random, 0), (), ())
    for _ in range(_BUSY):
        yield _busy(feature_set, random)
    at_ends = [
        (kind, age_ms)
        for kind in feature_set.schedules
        for end in ends_ms(feature_set, kind)
        for age_ms in ((end - 1, end, end + 1) if kind is Entity.PREDICTION else (end - 1, end))
    ]
    step = -(-len(at_ends) * len(_SHARED_AT_ENDS) // _MOST_AT_ENDS) or 1
    for kind, age_ms in at_ends[::step]:
        for shared in _SHARED_AT_ENDS:
            yield _at_an_end(kind, age_ms, shared, random)


def _busy(feature_set: FeatureSet, random: Draws) -> _ProbeScene:
    """Return a payment with long histories, in which records came late."""
    own = _drawn(random, 0)
    others = [
        _like(random, own, kind, age_ms)
        for kind in feature_set.schedules
        if kind is not Entity.PREDICTION
        for age_ms in _ages(feature_set, kind, random)
    ]
    late_ms = np.where(random.random(len(others)) < _RARE, random.integers(0, _LATE_MS, len(others)), 0)
    arrival = np.argsort(late_ms - np.array([one.age_ms for one in others]), kind="stable")
    return _ProbeScene(own, [others[at] for at in arrival.tolist()], _ages(feature_set, Entity.PREDICTION, random))


def _ages(feature_set: FeatureSet, kind: Entity, random: Draws) -> list[int]:
    """Return ages at the ends of windows, half of them, and random ones up to the longest window's."""
    ends = ends_ms(feature_set, kind)
    if not ends and kind is Entity.PREDICTION:
        return []
    near = [end + shift for end in ends for shift in (-1, 0, 1) if random.random() < 1 / 2]
    is_paned = any(row.is_paned for row in feature_set.rows if row.entity is kind)
    youngest_ms, oldest_ms = _PANED_FROM_MS if is_paned else SECOND_MS, max([*ends, DAY_MS])
    count = 12 if kind is Entity.CARD else 24
    far = np.exp(random.uniform(np.log(youngest_ms), np.log(oldest_ms), count)).astype(np.int64).tolist()
    return [*near, *(age_ms + at * SECOND_MS for age_ms in far for at in range(_AT_ONCE if is_paned else 1))]


def _at_an_end(kind: Entity, age_ms: int, shared: float, random: Draws) -> _ProbeScene:
    """Return a payment before which little happened but at one age: something that counts for most features."""
    own = _drawn(random, 0)
    if kind is Entity.PREDICTION:
        return _ProbeScene(own, (), (age_ms,))
    first = _like(random, own, kind, age_ms, shared)
    if shared < 1:  # the largest amount; else one that is repeated
        first = first._replace(amount_minor=2 * own.amount_minor + 1, currency=own.currency)
    others = [_like(random, own, kind, age_ms) for _ in range(int(random.integers(3)))]
    return _ProbeScene(own, [first, *others], (), tells=True)


def _like(random: Draws, own: _InventedPayment, kind: Entity, age_ms: int, share: float = _SHARED) -> _InventedPayment:
    """Return a payment of the same card, merchant or device, with so much more in common with the probed one."""
    shared: dict[str, Any] = {"card": own.card} if kind is Entity.CARD else {}
    if kind is not Entity.CARD:
        shared = {"card": str(random.choice([card for card in _CARDS if card != own.card]))}
        shared |= {"merchant": own.merchant} if kind is Entity.MERCHANT else {"device": own.device}
    for name, value in own._asdict().items():
        if name not in {"age_ms", "card"} and random.random() < share:
            shared.setdefault(name, value)
    drawn = _drawn(random, age_ms, **shared)
    while not share and drawn.device == own.device and kind is not Entity.DEVICE:
        drawn = _drawn(random, age_ms, **shared)
    return drawn


def _drawn(random: Draws, age_ms: int, **fixed: Any) -> _InventedPayment:  # noqa: ANN401 - a field's value
    """Return a random payment; one in twenty has the largest amounts that a payment may have."""
    largest = 10**12 if random.random() < 1 / 20 else 10**6
    drawn: dict[str, Any] = {"age_ms": age_ms, "amount_minor": int(np.exp(random.uniform(0, np.log(largest))))}
    drawn |= {name: values[int(random.integers(len(values)))] for name, values in _VALUES.items()}
    return _InventedPayment(**drawn | fixed)


def invented_value(field: OwnField, draws: Draws) -> FieldValue:
    """Return a value that a field may have; the ends of its bounds are among them."""
    if field.kind is FieldKind.FLAG:
        return int(draws.integers(2))
    if field.kind is not FieldKind.NUMBER:
        return str(draws.choice(_TEXTS))
    least, most = field.bounds
    near = int(draws.integers(max(least, -_NEAR), min(most, _NEAR) + 1)) if least <= _NEAR and most >= -_NEAR else least
    return (least, most, near, near)[int(draws.integers(4))]


class _Stage:
    """Appends the records of one scene to empty histories, as a worker would, up to the probed payment."""

    def __init__(self, feature_set: FeatureSet, now_ms: int, random: Draws) -> None:
        self._feature_set = feature_set
        self._now_ms = now_ms
        self._random = random
        self._field_draws = np.random.default_rng(int(now_ms))
        self._store = MemoryStore(feature_set)
        self._offset = 0

    def play(self, scene: _ProbeScene, *, compacts: bool) -> tuple[Transactions, Observed]:
        """Return the probed payment, and what is visible to it."""
        if scene.others:
            batch = self._batch(scene.others)
            early, later = self._labels(batch, tells=scene.tells)
            self._store.label_now(early)
            self._store.observe_now(batch)
            self._store.label_now(later)
        self._store.predict_now(self._predictions(scene))
        if compacts:
            self._store.compact_now()
        own = self._batch([scene.own])
        return own, self._store.observe_now(own)

    def _batch(self, payments: Sequence[_InventedPayment]) -> Transactions:
        count, first = len(payments), self._offset
        self._offset += count

        def column(values: Sequence[int]) -> np.ndarray[Any, np.dtype[np.int64]]:
            return np.array(values, np.int64)

        return Transactions(
            transaction_ids=[f"probe-{first + at}" for at in range(count)],
            card_ids=[one.card for one in payments],
            merchant_ids=[one.merchant for one in payments],
            occurred_ms=column([self._now_ms - one.age_ms for one in payments]),
            utc_offset_minutes=column([one.clock_minutes for one in payments]),
            amount_minor=column([one.amount_minor for one in payments]),
            exponent=column([one.currency[1] for one in payments]),
            content=np.arange(first, first + count, dtype=np.uint64),
            partition=column([_CARDS.index(one.card) % 2 for one in payments]),
            offset=np.arange(first, first + count),
            device_ids=[one.device for one in payments],
            place=column([0 if one.place is None else records.pack_place(*one.place) for one in payments]),
            traits=column([one.traits for one in payments]),
            own=[self._own_values() for _ in payments] if self._feature_set.reads_payments else None,
        )

    def _own_values(self) -> dict[str, FieldValue]:
        """Invent values of a payment's own fields; one in five is absent."""
        draws, found = self._field_draws, dict[str, FieldValue]()
        for name in sorted(self._feature_set.carried):
            found[name] = str(draws.choice(_TEXTS))
        for field in self._feature_set.fields.fields:
            found[field.name] = invented_value(field, draws)
        return {name: value for name, value in found.items() if draws.random() >= _RARE}

    def _labels(self, batch: Transactions, *, tells: bool) -> tuple[list[Label], list[Label]]:
        """Return labels of half the payments, some of which come before them; some are corrected, or not known yet."""
        early, later = list[Label](), list[Label]()
        for at in np.flatnonzero(self._random.random(len(batch)) < 1 / 2).tolist():
            if tells and at == 0:
                continue
            occurred_ms = int(batch.occurred_ms[at])
            until_ms = max(self._now_ms, occurred_ms + 1)
            known = [int(self._random.integers(occurred_ms, until_ms)), until_ms, until_ms + 1]
            fraud, labelled_ms = bool(self._random.random() < _FRAUDS), known[int(self._random.integers(5)) % 3]
            when = early if self._random.random() < _RARE else later
            when.append(self._label(batch, at, labelled_ms, fraud=fraud))
            if self._random.random() < _RARE:
                when.append(self._label(batch, at, labelled_ms + HOUR_MS, fraud=not fraud))
        if tells:
            later.append(self._label(batch, 0, int(batch.occurred_ms[0]), fraud=True))
        return early, later

    def _label(self, batch: Transactions, at: int, labelled_ms: int, *, fraud: bool) -> Label:
        self._offset += 1
        return Label(
            transaction_id=batch.transaction_ids[at],
            card_id=batch.card_ids[at],
            fraud=fraud,
            labelled_ms=labelled_ms,
            reported_by="analyst",
            merchant_id=batch.merchant_ids[at],
            occurred_ms=int(batch.occurred_ms[at]),
            partition=1,
            offset=self._offset,
        )

    def _predictions(self, scene: _ProbeScene) -> list[Prediction]:
        """Return predictions of each name that the set reads; some come late, some have no value."""
        found = []
        for name, delay_ms in self._feature_set.prediction_delays_ms.items():
            for age_ms in scene.computed_ages_ms:
                took_ms = (0, delay_ms // 2, delay_ms, delay_ms + 1)[int(self._random.integers(4))]
                self._offset += 1
                found.append(
                    Prediction(
                        card_id=scene.own.card,
                        name=name,
                        value=None if self._random.random() < 1 / 8 else float(self._random.integers(-99, 99)) / 8,
                        computed_ms=self._now_ms - age_ms,
                        arrived_ms=self._now_ms - age_ms + took_ms,
                        partition=0,
                        offset=self._offset,
                    )
                )
        return found
