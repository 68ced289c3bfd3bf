"""Windows, exact sums and labels at their edges; and planted bugs that the recount must detect."""

import asyncio
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from features.declaration import DAY_MS, HOUR_MS, FeatureSet, load
from features.history import frames, records
from features.history.frames import Flags, Frame, Window
from features.history.retention import ResolutionSchedule
from features.history.store import Entity, Histories, Ints
from features.memory_store import MemoryStore
from features.vector import habits, novelty, travel
from features.vector import vectorise as vectorise_module
from features.vector.travel import latest_with
from features.vector.vectorise import known_frauds, vectorise
from support.acceptance import cases
from support.examples import examples
from support.features.recount import Row, everything, label, transaction, transactions
from support.features.streams import Stream, journeys, outcomes, recounted, streams

DEFAULT = load(None)
NOW = 1_700_000_000_000


def last(rows: list[Row], feature_set: FeatureSet = DEFAULT) -> dict[str, float]:
    """Return the features of the last of these transactions."""
    store = MemoryStore(feature_set)
    batch = transactions(rows)
    return dict(
        zip(feature_set.names, vectorise(feature_set, batch, store.observe_now(batch))[-1].tolist(), strict=True)
    )


@pytest.mark.parametrize("few", [10**9, 0], ids=["one by one", "by arrays"])
@given(stream=st.one_of(streams, journeys))
@settings(max_examples=examples(120), deadline=None)
def test_every_feature_that_can_be_declared_equals_a_recount(few: int, stream: list) -> None:
    feature_set = everything()
    store = MemoryStore(feature_set)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(travel, "FEW", few)
        patch.setattr(novelty, "FEW", few)
        computed = asyncio.run(outcomes(Stream(stream), feature_set, lambda: store))
    assert computed == recounted(Stream(stream), feature_set)


@pytest.mark.parametrize(("age_ms", "counted"), [(0, 2.0), (1, 2.0), (HOUR_MS - 1, 2.0), (HOUR_MS, 1.0), (-1, 1.0)])
def test_a_window_is_open_at_its_beginning_and_closed_at_its_end(age_ms: int, counted: float) -> None:
    assert last([transaction(1, ms=NOW - age_ms), transaction(2, ms=NOW)])["card_count_1h"] == counted


@pytest.mark.parametrize(
    ("age_ms", "counted"), [(7 * DAY_MS - 1, 0), (7 * DAY_MS, 1), (8 * DAY_MS - 1, 1), (8 * DAY_MS, 0)]
)
def test_a_delayed_window_is_open_at_its_beginning_and_closed_at_its_end(age_ms: int, counted: int) -> None:
    assert last([transaction(1, ms=NOW - age_ms), transaction(2, ms=NOW)])["merchant_count_delayed_1d"] == counted


def test_amounts_of_different_currencies_are_added_in_their_major_units() -> None:
    rows = [transaction(1, amount=150, exponent=2), transaction(2, amount=2, exponent=0)]
    rows += [transaction(3, amount=1, exponent=4), transaction(4, amount=5, exponent=3)]
    found = last(rows)
    assert found["card_amount_sum_1d"] == 3.5051
    assert found["card_amount_max_1d"] == 2.0
    assert found["card_amount_mean_1d"] == 3.5051 / 4


@pytest.mark.parametrize("exponent", [0, 2, 4])
def test_a_thousand_of_the_largest_amounts_do_not_overflow(exponent: int) -> None:
    most = 10**12
    rows = [transaction(i, ms=NOW + i, amount=most - i % 2, exponent=exponent) for i in range(1000)]
    found = last(rows)
    total = (1000 * most - 500) * 10 ** (4 - exponent)
    assert found["card_amount_sum_1h"] == float(total) / 1e4
    assert found["card_amount_deviation_30d"] == math.sqrt(10.0 ** (2 * (4 - exponent)) * 250_000) / (1000 * 1e4)
    assert found["card_amount_to_mean_30d"] == float((most - 1) * 10 ** (4 - exponent) * 1000) / float(total)


@given(amounts=st.lists(st.integers(0, 10**12), min_size=1, max_size=30), rest=st.integers(0, 10**12))
@settings(deadline=None)
def test_the_bits_of_card_features_do_not_depend_on_other_cards_in_the_batch(amounts: list[int], rest: int) -> None:
    alone = [transaction(i, ms=NOW + i, amount=amount) for i, amount in enumerate(amounts)]
    beside = [transaction(1000 + i, card="other", amount=rest, exponent=4) for i in range(3)]
    batch, both = transactions(alone), transactions(alone + beside)
    apart = vectorise(DEFAULT, batch, MemoryStore(DEFAULT).observe_now(batch))
    together = vectorise(DEFAULT, both, MemoryStore(DEFAULT).observe_now(both))
    columns = [i for i, row in enumerate(DEFAULT.rows) if row.entity is Entity.CARD]
    assert apart[:, columns].tobytes() == together[: len(alone)][:, columns].tobytes()


def shuffled(seen: Histories, seed: int) -> Histories:
    """Return the same histories with the records before each own one in another order."""
    rng, rows, start = np.random.default_rng(seed), seen.rows.copy(), 0
    for length in seen.lengths.tolist():
        rows[start : start + length - 1] = rng.permutation(rows[start : start + length - 1])
        start += length
    return Histories(rows, seen.lengths, seen.positions)


@pytest.mark.parametrize("seed", range(2))
def test_the_order_of_records_in_a_history_changes_no_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    store = MemoryStore(DEFAULT)
    rows = [
        transaction(i, ms=NOW + i * HOUR_MS * 5, merchant=f"m{rng.integers(3)}", amount=int(rng.integers(1, 10**9)))
        for i in range(120)
    ]
    for i in range(0, 60, 7):
        store.observe_now(transactions(rows[i : i + 7]))
        store.label_now([label(i, rows[i], fraud=bool(rng.integers(2)), at_ms=rows[i]["ms"] + DAY_MS)])
    batch = transactions(rows[63:])
    seen = store.observe_now(batch)
    other = replace(seen, histories={kind: shuffled(one, seed) for kind, one in seen.histories.items()})
    assert vectorise(DEFAULT, batch, seen).tobytes() == vectorise(DEFAULT, batch, other).tobytes()


@pytest.mark.parametrize(
    ("at_ms", "offset", "night", "weekend"),
    [
        (0, 0, 1.0, 0.0),  # Thursday, 00:00
        (7 * HOUR_MS - 1, 0, 1.0, 0.0),
        (7 * HOUR_MS, 0, 0.0, 0.0),
        (2 * DAY_MS - 1, 0, 0.0, 0.0),  # Friday's last millisecond
        (2 * DAY_MS, 0, 1.0, 1.0),
        (4 * DAY_MS - 1, 0, 0.0, 1.0),
        (4 * DAY_MS, 0, 1.0, 0.0),  # Monday
        (2 * DAY_MS, -1, 0.0, 0.0),
        (4 * DAY_MS, -60, 0.0, 1.0),
        (-1, 0, 0.0, 0.0),
    ],
)
def test_night_and_weekend_use_the_local_time_of_the_transaction(
    at_ms: int, offset: int, night: float, weekend: float
) -> None:
    found = last([transaction(1, ms=at_ms, utc_offset=offset)])
    assert (found["is_night"], found["is_weekend"]) == (night, weekend)


def window_too_long(frame: Frame, length_ms: int, delay_ms: int) -> Window:
    return Window(frame, length_ms + 1, delay_ms)


def frame_with_the_future(seen: Histories, own_ms: Ints, schedule: ResolutionSchedule) -> Frame:
    frame = Frame(seen, own_ms, schedule)
    frame.earlier = ~frame.labels
    return frame


def frauds_with_future_labels(frame: Frame) -> Flags:
    frame.age = frame.age + 10**15
    return known_frauds(frame)


def only_one_latest(window: Window, tells: Flags) -> Ints:
    found = latest_with(window, tells)
    first = np.ones(len(found), np.bool_)
    first[1:] = np.diff(window.frame.number[found]) != 0
    return found[first]


def own_never_inside(window: Window) -> Flags:
    return np.zeros(len(window.frame.lengths), np.bool_)


BUGS = {
    "one of two places of one millisecond is asked": (travel, "latest_with", only_one_latest),
    "own transaction counts among the others": (Window, "own", property(own_never_inside)),
    "every clock is that of Greenwich": (habits, "MINUTE_MS", 0),
    "midnight parts the day": (habits, "DAY_MS", 10**12),
    "one currency's amounts are another's": (records, "CURRENCY", records.Trait(0, 0)),
    "the longitudes' end is a border": (travel, "FULL_TURN", 10**9),
    "a distance is rounded in another order": (travel, "SINE", (0.0, *travel.SINE[1:])),
    "windows are one millisecond too long": (vectorise_module, "Window", window_too_long),
    "the future is counted": (vectorise_module, "Frame", frame_with_the_future),
    "labels are known before they are": (vectorise_module, "known_frauds", frauds_with_future_labels),
    "squares are trusted beyond 53 bits": (frames, "SAFE_ROOT", math.inf),
    "the histories of a batch are mixed up": (frames, "MIX", np.int64(0)),
    "no record is known again": (records, "same_source_offset", lambda *_: False),
    "content does not matter": (records, "same_content", lambda *_: True),
}
RARELY_FOUND = {
    "one of two places of one millisecond is asked",
    "windows are one millisecond too long",
    "no record is known again",
}
"""Bugs of which one stream in hundreds tells."""


@pytest.mark.parametrize("bug", cases(BUGS, short=BUGS.keys() - RARELY_FOUND))
def test_the_recount_detects_a_planted_bug(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(novelty, "FEW", 0)
    monkeypatch.setattr(vectorise_module, "KERNEL", None)  # numpy's code has the bug
    monkeypatch.setattr(*BUGS[bug])

    feature_set = everything()

    def agree(stream: list) -> None:
        store = MemoryStore(feature_set)
        assert asyncio.run(outcomes(Stream(stream), feature_set, lambda: store)) == recounted(
            Stream(stream), feature_set
        )

    def agree_on_all() -> None:
        for most in (40, 400):  # few of each kind before many of one
            drawn = settings(max_examples=most, deadline=None, database=None, derandomize=True, phases=[Phase.generate])
            for of in (streams, journeys):
                drawn(given(stream=of)(agree))()

    with pytest.raises((AssertionError, RuntimeWarning)):
        agree_on_all()
