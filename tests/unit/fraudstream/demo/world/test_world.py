"""The simulated payments are repeatable and plausible, and each pattern of fraud has its times, amounts and places."""

import numpy as np
import pytest

from features.history.frames import Flags
from fraudstream.demo.world.population import IS_ONLINE, TOWNS, populate
from fraudstream.demo.world.rows import DAY_MS, HOUR_MS, MINUTE_MS, Indices, Millis, Pattern, TransactionRows
from fraudstream.demo.world.spending import NONE
from fraudstream.demo.world.world import Plan, World, simulate

START_MS = 20_000 * DAY_MS
PLAN = Plan(START_MS, history_days=40, live_days=2, cards=2_000, merchants=400)


@pytest.fixture(scope="module")
def world() -> World:
    return simulate(np.random.default_rng(7), PLAN)


def of(world: World, pattern: Pattern) -> TransactionRows:
    return world.rows.take(world.rows.pattern == pattern)


def gaps_ms(rows: TransactionRows) -> Millis:
    """Distances in time between neighbours on the same card."""
    order = np.lexsort((rows.occurred_ms, rows.card))
    card, at = rows.card[order], rows.occurred_ms[order]
    gaps: Millis = np.diff(at)[np.diff(card) == 0]
    return gaps


def test_the_same_seed_gives_the_same_world(world: World) -> None:
    again = simulate(np.random.default_rng(7), PLAN)
    for name in ("card", "merchant", "occurred_ms", "amount", "pattern"):
        assert np.array_equal(getattr(world.rows, name), getattr(again.rows, name)), name
    assert np.array_equal(world.labelled_ms, again.labelled_ms)
    assert np.array_equal(world.device, again.device)


def test_another_seed_gives_another_world(world: World) -> None:
    other = simulate(np.random.default_rng(8), PLAN)
    assert not np.array_equal(world.rows.occurred_ms[:1000], other.rows.occurred_ms[:1000])


def test_rows_are_in_order_of_time_inside_the_plan_and_cut_where_live_begins(world: World) -> None:
    at = world.rows.occurred_ms
    assert np.all(np.diff(at) >= 0)
    assert at[0] >= START_MS
    assert at[-1] < START_MS + 42 * DAY_MS
    assert at[world.cut - 1] < PLAN.live_start_ms <= at[world.cut]


def test_the_share_of_fraud_is_about_as_planned_in_history_and_live(world: World) -> None:
    fraud = world.rows.pattern != Pattern.GENUINE
    assert 0.005 < fraud[: world.cut].mean() < 0.009
    assert 0.002 < fraud[world.cut :].mean() < 0.02


def test_every_pattern_has_more_than_a_tenth_of_all_fraud(world: World) -> None:
    counts = np.bincount(world.rows.pattern, minlength=len(Pattern))
    fraud = counts[1:].sum()
    assert all(count > 0.1 * fraud for count in counts[1:])


def test_cards_spend_about_once_a_day(world: World) -> None:
    assert 0.8 < len(world.rows) / (42 * PLAN.cards) < 1.4


def test_genuine_payments_are_rare_at_night_and_mostly_at_favourite_merchants(world: World) -> None:
    genuine = of(world, Pattern.GENUINE)
    hour = genuine.occurred_ms % DAY_MS // HOUR_MS
    assert np.mean(hour < 6) < 0.08
    familiar = (world.population.favourites[genuine.card] == genuine.merchant[:, None]).any(axis=1)
    assert 0.75 < familiar.mean() < 0.95


def test_a_stolen_card_is_used_for_a_small_payment_and_then_for_large_ones_online(world: World) -> None:
    rows = of(world, Pattern.STOLEN)
    first = np.concatenate([[True], np.diff(rows.card[np.argsort(rows.card, kind="stable")]) != 0])
    by_card = rows.take(np.argsort(rows.card, kind="stable"))
    assert np.median(by_card.amount[first]) < 5.5
    assert np.median(by_card.amount[~first]) > 80
    assert np.median(gaps_ms(rows)) < 30 * MINUTE_MS
    assert IS_ONLINE[world.population.merchants.category[rows.merchant]].all()


def test_skimmed_cards_are_used_at_complicit_merchants_whose_payments_are_mostly_fraud(world: World) -> None:
    rows = of(world, Pattern.SKIMMED)
    assert np.isin(rows.merchant, world.population.merchants.complicit).all()
    everybody = world.rows.take(np.isin(world.rows.merchant, world.population.merchants.complicit))
    assert np.mean(everybody.pattern != Pattern.GENUINE) > 0.5


def test_takeover_fraud_happens_at_night_and_mostly_at_merchants_new_to_the_card(world: World) -> None:
    rows = of(world, Pattern.TAKEOVER)
    assert np.mean(rows.occurred_ms % DAY_MS // HOUR_MS < 6) > 0.95
    familiar = (world.population.favourites[rows.card] == rows.merchant[:, None]).any(axis=1)
    assert familiar.mean() < 0.15


def test_card_testing_uses_small_amounts_less_than_a_minute_apart(world: World) -> None:
    rows = of(world, Pattern.TESTING)
    assert np.quantile(rows.amount, 0.85) <= 2
    assert rows.amount.max() > 100
    assert np.median(gaps_ms(rows)) < MINUTE_MS


def test_about_half_of_card_testing_repeats_its_amount(world: World) -> None:
    rows = of(world, Pattern.TESTING)
    order = np.lexsort((rows.occurred_ms, rows.card))
    card, amount = rows.card[order], rows.amount[order]
    repeated = (np.diff(card) == 0) & (np.diff(amount) == 0)
    assert 0.3 < repeated.mean() < 0.6


def test_skimmed_cards_are_mostly_used_outside_their_home_town(world: World) -> None:
    rows, shops = of(world, Pattern.SKIMMED), world.population.merchants
    away = shops.town[rows.merchant] != world.population.home[rows.card]
    assert away.mean() > 0.7


def test_online_payments_have_a_device_and_others_have_none(world: World) -> None:
    online = IS_ONLINE[world.population.merchants.category[world.rows.merchant]]
    assert np.array_equal(world.device != NONE, online)


def test_genuine_payments_use_the_holders_devices_and_fraud_uses_one_device_for_several_cards(world: World) -> None:
    has_device = world.device != NONE
    genuine = has_device & (world.rows.pattern == Pattern.GENUINE)
    own = world.device[genuine] < 2 * PLAN.cards
    assert 0.95 < own.mean() < 0.99
    assert 0 < len(shared(world, genuine & (world.device < 2 * PLAN.cards))) < 0.3 * PLAN.cards
    abused = has_device & ~genuine
    remote = np.isin(world.device, world.device[genuine])
    assert 0.1 < remote[abused].mean() < 0.5
    assert np.isin(world.device[abused & ~remote], shared(world, abused)).mean() > 0.8


def shared(world: World, which: Flags) -> Indices:
    """Return the devices on which several cards were used."""
    pairs = np.unique(np.stack((world.device[which], world.rows.card[which])), axis=1)
    device, cards = np.unique(pairs[0], return_counts=True)
    return device[cards > 1]


def test_labels_are_known_an_hour_to_30_days_after_the_transaction(world: World) -> None:
    delay = world.labelled_ms - world.rows.occurred_ms
    assert delay.min() >= HOUR_MS
    assert delay.max() <= 30 * DAY_MS
    assert DAY_MS < np.median(delay) < 6 * DAY_MS


def test_a_fraud_share_of_zero_gives_no_fraud() -> None:
    plan = Plan(START_MS, history_days=3, live_days=0, cards=50, merchants=200, fraud_share=0.0)
    quiet = simulate(np.random.default_rng(1), plan)
    assert not quiet.rows.pattern.any()
    assert quiet.cut == len(quiet.rows)


def test_a_plan_ending_before_now_ends_at_the_last_midnight() -> None:
    plan = Plan.ending_before(START_MS + 5 * HOUR_MS, history_days=7, live_days=1)
    assert plan.live_start_ms == START_MS - DAY_MS
    assert plan.history_start_ms == START_MS - 8 * DAY_MS


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"history_start_ms": START_MS + 1}, "no midnight"),
        ({"history_days": 0}, "0 days of history"),
        ({"live_days": -1}, "-1 live"),
        ({"fraud_share": 1.0}, "a fraud share of 1.0"),
    ],
)
def test_an_impossible_plan_is_rejected(wrong: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Plan(**{"history_start_ms": START_MS, **wrong})


def test_a_population_needs_merchants_in_every_town() -> None:
    with pytest.raises(ValueError, match="at least 1 and 168"):
        populate(np.random.default_rng(1), 10, 100)
    few = populate(np.random.default_rng(1), 10, 168)
    assert all(len(few.merchants.local(town)) >= 3 for town in range(len(TOWNS)))


def test_columns_of_unequal_length_are_rejected(world: World) -> None:
    rows = world.rows
    with pytest.raises(ValueError, match="columns of lengths"):
        TransactionRows(rows.card[:1], rows.merchant, rows.occurred_ms, rows.amount, rows.pattern)
