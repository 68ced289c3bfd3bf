"""What a merchant's labels say as a sequence, and what is usual for a card, each without the payment itself."""

import math
import time

import numpy as np
import pytest

from features.declaration import DAY_MS, HOUR_MS, FeatureSet
from features.default_set_2 import FEATURES
from features.memory_store import MemoryStore
from features.rows import card
from features.vector.vectorise import vectorise
from support.features.recount import Row, label, transaction, transactions

SECOND = FeatureSet(FEATURES)
NOW = 1_700_000_000_000 + 100 * DAY_MS
RUN, LATEST, SHARE, FIRST = (
    f"merchant_{name}_delayed_30d"
    for name in ("fraud_run", "fraud_latest", "fraud_share_of_last_5", "days_since_first_fraud")
)


def seen(store: MemoryStore, row: Row, feature_set: FeatureSet = SECOND) -> dict[str, float]:
    """Observe one payment, and return its features by name."""
    batch = transactions([row])
    (vector,) = vectorise(feature_set, batch, store.observe_now(batch)).tolist()
    return dict(zip(feature_set.names, vector, strict=True))


def after(outcomes: str, *, apart_ms: int = HOUR_MS) -> dict[str, float]:
    """Return what a payment sees at a merchant whose payments, 8 days old and more, had these outcomes in turn.

    F is a fraud, g is labelled genuine, and - has no label.
    """
    store = MemoryStore(SECOND)
    first_ms = NOW - 8 * DAY_MS - (len(outcomes) - 1) * apart_ms
    rows = [transaction(i, card=f"c{i}", ms=first_ms + i * apart_ms) for i in range(len(outcomes))]
    store.observe_now(transactions(rows)) if rows else None
    labels = [
        label(i, row, fraud=outcome == "F", at_ms=int(row["ms"]) + 7 * DAY_MS)  # type: ignore[call-overload]
        for i, (row, outcome) in enumerate(zip(rows, outcomes, strict=True))
        if outcome != "-"
    ]
    store.label_now(labels)
    return seen(store, transaction(999, card="own", ms=NOW))


@pytest.mark.parametrize(
    ("outcomes", "run", "latest", "share"),
    [
        ("gggFFF", 3, 1, 3 / 5),
        ("FFFFFFF", 7, 1, 1),
        ("FFg", 0, 0, 2 / 3),
        ("FF-", 0, 0, 2 / 3),
        ("Fg-F", 1, 1, 2 / 4),
        ("g", 0, 0, 0),
        ("FFFFFggggg", 0, 0, 0),
    ],
)
def test_a_run_of_frauds_ends_with_the_latest_payment_whose_outcome_should_be_known(
    outcomes: str, run: int, latest: int, share: float
) -> None:
    found = after(outcomes)
    assert (found[RUN], found[LATEST], found[SHARE]) == (run, latest, share)


def test_without_a_payment_in_the_window_there_is_no_run_and_no_latest_outcome() -> None:
    found = after("")
    assert found[RUN] == 0
    assert all(math.isnan(found[name]) for name in (LATEST, SHARE, FIRST))
    assert math.isnan(after("gg-g")[FIRST])


def test_the_days_since_the_first_fraud_are_those_of_the_oldest_in_the_window() -> None:
    assert after("gFgF", apart_ms=DAY_MS)[FIRST] == 8 + 2
    assert after("FgF", apart_ms=15 * DAY_MS)[FIRST] == 8, "the first one is older than the window"


def test_of_one_millisecond_what_is_no_known_fraud_counts_as_the_latest_in_whatever_order_it_came() -> None:
    for outcomes in ("gFF", "FgF", "FFg"):
        found = after(outcomes, apart_ms=0)
        assert (found[RUN], found[LATEST]) == (0, 0)
    for outcomes in ("FFFFFg", "gFFFFF"):
        assert after(outcomes, apart_ms=0)[SHARE] == 4 / 5


def amounts(*before: int, own: int, feature_set: FeatureSet = SECOND, apart_ms: int = HOUR_MS) -> dict[str, float]:
    """Return what a payment sees on a card that paid these amounts, in minor units, in turn."""
    store = MemoryStore(feature_set)
    for i, amount in enumerate(before):
        store.observe_now(transactions([transaction(i, amount=amount, ms=NOW - (len(before) - i) * apart_ms)]))
    return seen(store, transaction(999, amount=own, ms=NOW), feature_set)


def test_an_amount_is_compared_with_the_earlier_ones_alone() -> None:
    found = amounts(1000, 3000, 2000, own=10_000)
    assert found["card_amount_to_earlier_median_30d"] == 5
    assert found["card_amount_to_earlier_mean_30d"] == 5
    assert found["card_amount_to_mean_30d"] == 10_000 * 4 / 16_000, "own amount is in the older feature's mean"
    assert amounts(1000, 2000, own=3000)["card_amount_to_earlier_median_30d"] == 2
    assert amounts(1000, 1000, 1000, 99_000, own=1000)["card_amount_to_earlier_median_30d"] == 1


@pytest.mark.parametrize("before", [(), (0,), (0, 0, 500)])
def test_without_an_earlier_amount_above_0_in_the_middle_nothing_is_compared(before: tuple[int, ...]) -> None:
    found = amounts(*before, own=500)
    assert math.isnan(found["card_amount_to_earlier_median_30d"])
    assert math.isnan(found["card_largest_to_median_14d"])


def test_large_amounts_are_above_two_and_a_half_medians_and_own_is_none_of_them() -> None:
    found = amounts(1000, 1000, 1000, 2500, 2501, 9000, 1000, own=1_000_000)
    assert found["card_large_amounts_7d"] == 2
    assert found["card_largest_to_median_14d"] == 9
    old = amounts(1000, 1000, 9000, 1000, 1000, own=1, apart_ms=5 * DAY_MS)
    assert (old["card_large_amounts_7d"], old["card_largest_to_median_14d"]) == (0, 1), "the large one is 15 days old"


def test_a_median_is_exact_for_the_largest_amounts() -> None:
    most = 10**12
    found = amounts(most, most - 1, own=most)
    assert found["card_amount_to_earlier_median_30d"] == float(2 * most * 100) / float((2 * most - 1) * 100)


@pytest.mark.parametrize("kind", ["sorted", "falling", "equal", "random", "extreme"])
def test_a_median_of_a_long_history_takes_no_longer_whatever_the_amounts_are(kind: str) -> None:
    """Amounts are chosen by whoever holds the card: none may make its median slow."""
    count, random = 4_000, np.random.default_rng(1)
    made = {
        "sorted": np.arange(count) * 1_000_003,
        "falling": np.arange(count)[::-1] * 1_000_003,
        "equal": np.full(count, 777),
        "random": random.integers(1, 10**9, count),
        "extreme": np.where(np.arange(count) % 2, 10**10, 1),
    }[kind].tolist()
    rows = [transaction(i, merchant=f"m{i}", amount=one, ms=NOW - (count - i) * 1000) for i, one in enumerate(made)]
    own = transactions([transaction(count, merchant="own", amount=5000, ms=NOW)])
    with_median, without = FeatureSet((card("amount_to_earlier_median", "30d"),)), FeatureSet((card("count", "30d"),))
    store = MemoryStore(with_median)
    store.observe_now(transactions(rows))
    observed = store.observe_now(own)
    (value,) = vectorise(with_median, own, observed)[0].tolist()
    assert value == 2 * 5000 / (sorted(made)[count // 2 - 1] + sorted(made)[count // 2])
    took = {one: min(cpu_seconds(one, own, observed) for _ in range(20)) for one in (with_median, without)}
    assert took[with_median] - took[without] < 0.002, "0.2 ms on a fast core, by halving the range some 45 times"


def cpu_seconds(feature_set: FeatureSet, batch: object, observed: object) -> float:
    began = time.thread_time()
    vectorise(feature_set, batch, observed)  # type: ignore[arg-type]
    return time.thread_time() - began
