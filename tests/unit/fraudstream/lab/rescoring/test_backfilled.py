"""Backfilled payments are in the histories of rescored decisions, have no decision, and get none."""

from pathlib import Path

import duckdb
import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings

from fraudstream.lab.rescoring.request import NothingToScoreError
from support.examples import examples
from support.fleet.payments import partition_of
from support.rescoring.faults import DAY_MS, Act, acts, lose, repair
from support.rescoring.model import Trained, alter, assert_explained, compared, lines, scored
from support.rescoring.world import PARTITIONS, World

STEP_MS = DAY_MS // 2
PAY = Act("pay", 0, 0, None, 0, 0, 0, fraud=False, partitions=(0, 1, 2))
DEVICE_LABELLED_BETWEEN_A_CRASH_AND_THE_DECISION = [
    PAY._replace(device=1),
    PAY,
    PAY._replace(what="crash", back=1),
    PAY,
    PAY,
    PAY._replace(what="label", late_ms=38 * DAY_MS, back=4, fraud=True),
]
"""The second payment was appended before the label, which was answered before the payment was decided."""
FILLED, LIVE = 80, 30


def filled(live: Trained) -> World:
    """Fill two payments a day for forty days, by ten cards at two shops and with two devices, and some labels."""
    world = live.world()
    for number in range(FILLED):
        world.now_ms += STEP_MS
        world.backfill(world.pay_in_turn(number, devices=3))
        if number % 3 == 0:
            world.decide()
        if number % 5 == 4:
            world.tell(world.label_in_turn(number - 4))
    world.decide()
    return world


def pay(world: World, numbers: range) -> None:
    for number in numbers:
        world.now_ms += STEP_MS
        world.publish(world.pay_in_turn(number, devices=3))
        world.decide()


def test_decisions_behind_a_backfill_are_equal_and_none_is_missed(live: Trained, tmp_path: Path) -> None:
    world, out = filled(live), tmp_path / "out.parquet"
    assert not any(world.topics["scores"].values())
    pay(world, range(FILLED, FILLED + LIVE))
    for number in range(FILLED - 10, FILLED):
        world.tell(world.label_in_turn(number))
    pay(world, range(FILLED + LIVE, FILLED + LIVE + 10))
    found = compared(world, out=out)
    assert (found.compared, found.equal, found.undecided, found.examples) == (LIVE + 10, LIVE + 10, 0, ())
    assert set(lines(out)) == {f"t-{number}" for number in range(FILLED, FILLED + LIVE + 10)}
    first = lines(out)[f"t-{FILLED}"]
    assert first["card_count_30d"] > 1
    assert first["merchant_count_delayed_30d"] > 20
    assert first["device_cards_30d"] > 5


def test_after_a_loss_and_a_repair_decisions_behind_a_backfill_are_equal(live: Trained) -> None:
    world = filled(live)
    pay(world, range(FILLED, FILLED + 10))
    lose(world)
    repair(world, [2, 0, 1])
    pay(world, range(FILLED + 10, FILLED + LIVE))
    found = compared(world)
    assert (found.compared, found.equal, found.undecided) == (LIVE, LIVE, 0)


def test_an_altered_feature_over_backfilled_payments_is_unexplained(live: Trained) -> None:
    world = filled(live)
    pay(world, range(FILLED, FILLED + LIVE))
    for back, name in enumerate(("card_count_30d", "merchant_count_delayed_30d", "device_cards_30d"), 1):
        alter(world, f"t-{FILLED + LIVE - back}", features={name: 99.0})
    found = compared(world)
    assert (found.equal, found.unexplained) == (LIVE - 3, 3)


def test_scoring_the_topic_applies_backfilled_payments_and_scores_the_others(live: Trained, tmp_path: Path) -> None:
    world = filled(live)
    with pytest.raises(NothingToScoreError, match="none of them is a payment to decide"):
        scored(world, tmp_path / "none.parquet")
    pay(world, range(FILLED, FILLED + LIVE))
    recorded, again = tmp_path / "recorded.parquet", tmp_path / "again.parquet"
    compared(world, out=recorded)
    report = scored(world, again)
    assert (report.rows, report.fates) == (LIVE, {"decide": LIVE})
    both = f"'{recorded}' a JOIN '{again}' b USING (transaction_id)"
    differing = duckdb.connect().execute(f"SELECT count(*), count(*) FILTER (a.score <> b.score) FROM {both}")  # noqa: S608
    assert differing.fetchall() == [(LIVE, 0)]


def test_a_payment_that_was_filled_in_and_sent_again_is_repeated(live: Trained, tmp_path: Path) -> None:
    world = filled(live)
    partition = partition_of(f"card-{(FILLED - 1) % 10}", PARTITIONS)
    world.publish(msgspec.json.decode(world.topics["transactions"][partition][-1].value or b""))
    assert world.decide() == 0
    pay(world, range(FILLED, FILLED + 5))
    found = compared(world)
    assert (found.compared, found.equal, found.undecided) == (5, 5, 0)
    assert scored(world, tmp_path / "out.parquet").fates == {"decide": 5, "repeated": 1}


def apart() -> tuple[str, str]:
    """Return two cards of different partitions."""
    cards = [f"card-{number}" for number in range(10)]
    other = next(one for one in cards if partition_of(one, PARTITIONS) != partition_of(cards[0], PARTITIONS))
    return cards[0], other


def test_while_a_backfill_runs_its_place_in_a_merchants_log_is_unknown_and_known_afterwards(live: Trained) -> None:
    world, (one, other) = live.world(), apart()
    shop = {"merchant_id": "shop-0"}
    world.publish(world.pay(0, card_id=one, **shop), world.pay(1, card_id=other, **shop))
    world.decide()
    world.backfill(world.pay(2, card_id=other, occurred_at=world.now_ms - 30 * DAY_MS, **shop))
    world.now_ms += 1000
    world.publish(world.pay(3, card_id=one, **shop))
    world.decide([partition_of(one, PARTITIONS)])  # the backfilled payment is written, and applied only after this
    world.publish(world.pay(4, card_id=other, **shop))
    world.decide()
    world.now_ms += DAY_MS
    world.publish(world.pay(5, card_id=one, **shop))
    world.decide()
    found = compared(world)
    assert (found.compared, found.explained, found.unexplained) == (5, 1, 0)
    assert found.reasons == {"order_unknown": 1}
    alter(world, "t-5", features={"merchant_count_delayed_30d": 7.0})
    assert compared(world).unexplained == 1


@pytest.mark.acceptance
@given(acts("label", "early label", "again", "conflict", "away", "back", "lose", "repair", "crash", "backfill"))
@example(DEVICE_LABELLED_BETWEEN_A_CRASH_AND_THE_DECISION)
@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_difference_beside_backfilled_payments_is_explained(live: Trained, stream: list[Act]) -> None:
    found = assert_explained(live.world(), stream)
    assert found is None or found.undecided == 0
