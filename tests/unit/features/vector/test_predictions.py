"""Predictions from storage as features, against a recount of all of them in plain Python."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.declaration import DAY_MS, SLACK_MS, FeatureSet
from features.errors import DeclarationError
from features.history import records
from features.history.predictions import PredictionLog, is_late
from features.history.store import Entity, Observed, Prediction
from features.memory_store import MemoryStore
from features.rows import card, prediction, prediction_age
from features.vector.sets import FeatureSets, Vectors
from features.vector.vectorise import vectorise
from stream.control.probes import vectorise_probe, write_probe
from support.examples import examples
from support.features.prediction_recount import HOUR_MS, READING, START_MS, first_of_each, made, recounted
from support.features.recount import Row, transaction, transactions

ROWS = READING.rows[1:]
CARDS = ("card-1", "card-2")
ages_ms = st.one_of(
    st.sampled_from((0, 1, HOUR_MS - 1, HOUR_MS, HOUR_MS + 1, 6 * HOUR_MS, DAY_MS, 2 * DAY_MS, 2 * DAY_MS + 1)),
    st.integers(0, 40 * DAY_MS),
)
"""How long before the last payment a prediction was computed: around every bound, and anywhere."""
took_ms = st.sampled_from((0, 1, HOUR_MS, HOUR_MS + 1, 6 * HOUR_MS, 6 * HOUR_MS + 1, 3 * DAY_MS))
values = st.one_of(st.none(), st.sampled_from((0.0, -0.0, 1.0)), st.floats(allow_nan=False, allow_infinity=False))
END_MS = START_MS + 50 * DAY_MS


@st.composite
def stories(draw: st.DrawFn) -> list[Prediction | Row]:
    """Draw predictions and payments in the order of their arrival."""
    story: list[Prediction | Row] = []
    for offset in range(draw(st.integers(1, 25))):
        of_card = draw(st.sampled_from(CARDS))
        if draw(st.booleans()):
            computed_ms = END_MS - draw(ages_ms)
            name, value = draw(st.sampled_from(("teacher", "segment", "unread"))), draw(values)
            story.append(Prediction(of_card, name, value, computed_ms, computed_ms + draw(took_ms), 0, offset))
        else:
            story.append(transaction(offset, card=of_card, ms=END_MS + draw(st.sampled_from((0, 1, HOUR_MS, DAY_MS)))))
    return story


def told(story: list[Prediction | Row], feature_set: FeatureSet = READING) -> list[list[float]]:
    """Return the prediction columns of each payment, observed one by one."""
    store, found = MemoryStore(feature_set), []
    for one in story:
        if isinstance(one, Prediction):
            store.predict_now([one])
        else:
            batch = transactions([one])
            found.append(vectorise(feature_set, batch, store.observe_now(batch))[0, 1:].tolist())
    return found


def expected(story: list[Prediction | Row]) -> list[list[float]]:
    """Recount what each payment reads of the predictions that had come before it."""
    found = []
    for at, one in enumerate(story):
        if not isinstance(one, Prediction):
            before = first_of_each([p for p in story[:at] if isinstance(p, Prediction) and p.card_id == one["card"]])
            found.append([recounted(row, before, int(one["ms"])) for row in ROWS])  # type: ignore[call-overload]
    return found


def same(left: list[list[float]], right: list[list[float]]) -> bool:
    return np.array_equal(np.array(left), np.array(right), equal_nan=True)


@given(story=stories())
@settings(max_examples=examples(300), deadline=None)
def test_the_store_in_memory_equals_a_recount_of_all_predictions(story: list) -> None:
    assert same(told(story), expected(story))


@given(story=stories())
@settings(max_examples=examples(100), deadline=None)
def test_a_batch_of_payments_reads_what_each_of_them_reads_alone(story: list) -> None:
    store = MemoryStore(READING)
    store.predict_now([one for one in story if isinstance(one, Prediction)])
    batch = transactions([one for one in story if not isinstance(one, Prediction)] or [transaction(99)])
    whole = vectorise(READING, batch, store.observe_now(batch))[:, 1:]
    ordered = sorted(story, key=lambda one: not isinstance(one, Prediction))
    alone = told(ordered) or told([*ordered, transaction(99)])
    assert same(whole.tolist(), alone)


@given(story=stories())
@settings(max_examples=examples(150), deadline=None)
def test_a_log_of_columns_shows_what_the_store_shows(story: list) -> None:
    """Of what had come by the time of a payment, which is what training takes for granted."""
    predictions = first_of_each(sorted((o for o in story if isinstance(o, Prediction)), key=lambda one: one.arrived_ms))
    payments = [one for one in story if not isinstance(one, Prediction)]
    if not predictions or not payments:
        return
    ordered = sorted(predictions, key=lambda one: records.card_hash(one.card_id))
    cards = np.array([records.card_hash(one.card_id) for one in ordered], np.int64)
    log = PredictionLog(np.array([records.prediction_row(one) for one in ordered]), cards)
    batch = transactions(payments)
    asked = np.array([records.card_hash(str(one["card"])) for one in payments], np.int64)
    seen = log.seen(
        asked, batch.occurred_ms, log.arrived(asked, batch.occurred_ms), READING.schedules[Entity.PREDICTION]
    )
    observed = MemoryStore(READING).observe_now(batch)
    shown = Observed(observed.fates, {**observed.histories, Entity.PREDICTION: seen}, 1, incomplete=False)
    by_time = [
        [p for p in predictions if p.card_id == one["card"] and p.arrived_ms <= int(one["ms"])]  # type: ignore[call-overload]
        for one in payments
    ]
    wanted = [
        [recounted(row, before, int(one["ms"])) for row in ROWS]  # type: ignore[call-overload]
        for before, one in zip(by_time, payments, strict=True)
    ]
    assert same(vectorise(READING, batch, shown)[:, 1:].tolist(), wanted)


@pytest.mark.parametrize(
    ("age_ms", "is_read"), [(HOUR_MS - 1, False), (HOUR_MS, True), (2 * DAY_MS, True), (2 * DAY_MS + 1, False)]
)
def test_a_prediction_is_read_from_its_delay_on_until_its_greatest_age(age_ms: int, is_read: bool) -> None:  # noqa: FBT001
    (found,) = told([made(0, START_MS), transaction(1, ms=START_MS + age_ms)])
    assert found[:2] == ([0.5, age_ms / 1000] if is_read else [pytest.approx(math.nan, nan_ok=True)] * 2)


def test_it_is_late_where_no_row_of_its_name_reads_it() -> None:
    delays_ms = READING.prediction_delays_ms
    assert delays_ms == {"teacher": 6 * HOUR_MS, "segment": HOUR_MS}
    came = [made(0, START_MS, arrived_ms=START_MS + took) for took in (HOUR_MS, 6 * HOUR_MS, 6 * HOUR_MS + 1)]
    assert [is_late(one, delays_ms) for one in came] == [False, False, True]
    assert not is_late(came[2]._replace(name="unread"), delays_ms)


def test_trimming_changes_no_value() -> None:
    """Predictions of a year, one an hour: the store keeps what is within the horizon, and the values stay those."""
    payments = [transaction(n, ms=START_MS + n * 7 * HOUR_MS) for n in range(1, 250)]
    hourly = [made(n, START_MS + n * HOUR_MS, n / 8) for n in range(1750)]
    story = sorted([*payments, *hourly], key=lambda one: one[3] if isinstance(one, Prediction) else one["ms"])
    assert same(told(story), expected(story))


def test_what_the_horizon_hides_does_not_depend_on_trimming() -> None:
    """A payment that is later than the slack behind a newer prediction sees the same, trimmed or not."""
    horizon_ms = READING.horizons_ms[Entity.PREDICTION]
    assert horizon_ms == 30 * DAY_MS + SLACK_MS
    old = [made(n, START_MS + n, n / 4, name="segment") for n in range(30)]
    newest = made(50, START_MS + horizon_ms + 15, name="segment")
    payment = transaction(51, ms=START_MS + 2 * HOUR_MS)
    in_one_piece, trimmed = MemoryStore(READING), MemoryStore(READING)
    for store in (in_one_piece, trimmed):
        store.predict_now([*old, newest])
    trimmed._histories[Entity.PREDICTION][records.card_hash("card-1")].trim(15)
    batch = transactions([payment])
    found = [vectorise(READING, batch, store.observe_now(batch))[0, 4] for store in (in_one_piece, trimmed)]
    assert found == [29 / 4, 29 / 4]
    hidden = transactions([transaction(52, ms=START_MS + HOUR_MS + 10)])
    assert [math.isnan(vectorise(READING, hidden, s.observe_now(hidden))[0, 4]) for s in (in_one_piece, trimmed)] == [
        True,
        True,
    ]


def test_each_of_two_sets_reads_no_more_than_its_own_horizon() -> None:
    short = FeatureSet((card("count", "1h"), prediction("segment", "1h", "1d")))
    sets = FeatureSets((short, READING))
    store = MemoryStore(sets)
    store.predict_now([made(0, START_MS, name="segment")])
    batch = transactions([transaction(1, ms=START_MS + 20 * DAY_MS)])
    vectors = Vectors(sets, batch, store.observe_now(batch), np.ones(1, np.bool_))
    assert math.isnan(vectors.of(short.fingerprint)[0, 1])
    assert vectors.of(READING.fingerprint)[0, 4] == 0.5
    assert sets.prediction_delays_ms == READING.prediction_delays_ms


def test_a_probe_keeps_what_a_payment_saw_and_gives_its_vector_again() -> None:
    store = MemoryStore(READING)
    store.predict_now([made(0, START_MS), made(1, START_MS, 0.25, name="segment")])
    batch = transactions([transaction(2, ms=START_MS + 2 * HOUR_MS), transaction(3, card="card-2")])
    observed = store.observe_now(batch)
    probes = [write_probe(batch, observed, row) for row in range(2)]
    again, vectors = vectorise_probe(READING)(probes), vectorise(READING, batch, observed)
    assert np.array_equal(again, vectors, equal_nan=True)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("teacher", "2d", "1d"), "is not below the greatest age"),
        (("teacher", "1d", "1d"), "so it never reads"),
        (("teacher", "0s", "1d"), "the delay '0s' is not a whole number"),
        (("teacher", "1h", "soon"), "the greatest age 'soon' is not a whole number"),
        (("model:7", "1h", "1d"), "cannot be a feature"),
        (("", "1h", "1d"), "must be 1 to 64 letters"),
    ],
)
def test_a_row_that_cannot_read_a_prediction_is_refused(arguments: tuple[str, str, str], problem: str) -> None:
    for call in (prediction, prediction_age):
        with pytest.raises(DeclarationError, match=problem):
            call(*arguments)
