"""The reasons why a decision may differ when it is rescored: each applies where it holds, and nowhere else."""

import shutil
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from features.declaration import load
from features.memory_store import MemoryStore
from features.vector.sets import FeatureSets
from fraudstream.lab.rescoring.request import DiffReport, Range
from fraudstream_client.outputs import ModelName, Score
from models.errors import ScoringError
from models.loading import Model
from support.fleet.payments import partition_of
from support.rescoring.faults import DAY_MS, Stopgap, lose, repair
from support.rescoring.model import SETS, Trained, alter, compared, lines, scored
from support.rescoring.world import PARTITIONS, World, completed

DEFAULT = FeatureSets((load(None),))
TELLING = {"card_count_30d": 9999.0, "merchant_fraud_share_30d": 1.0, "card_amount_max_7d": 1e6}
"""Features that change the score."""


def month(live: Trained, **settings: Any) -> World:
    """Publish two months of weekly payments by twelve cards at two shops, each decided at once."""
    world = live.world(**settings)
    for number in range(96):
        world.now_ms += 15 * DAY_MS // 24
        world.publish(world.pay_in_turn(number, cards=12))
        world.decide()
    return world


def verdict(found: DiffReport) -> tuple[int, int, int]:
    return found.equal, found.explained, found.unexplained


def differences(found: DiffReport) -> dict[str, set[str]]:
    return {one.transaction_id: set(msgspec.json.decode(one.differences)) for one in found.examples}


# --- unexplained


ALTERED: dict[str, tuple[str, dict[str, Any]]] = {
    "t-84": ("card_count_30d", {"features": {"card_count_30d": 99.0}}),
    "t-85": ("card_count_30d", {"features": {"card_count_30d": 99.0}, "rescored": True}),
    "t-86": ("device_cards_30d", {"features": {"device_cards_30d": 0.0}}),
    "t-87": ("score", {"score": 0.123}),
    "t-88": ("band", {"band": 7}),
    "t-89": ("decision", {"decision": "decline"}),
    "t-90": ("features", {"features": {"unheard_of": 1.0}}),
}


def test_each_altered_decision_is_unexplained_even_in_the_last_bits_of_its_score(live: Trained) -> None:
    world = month(live)
    for name, (_, changes) in ALTERED.items():
        alter(world, name, **changes)
    (record,) = [one for log in world.topics["scores"].values() for one in log if b'"t-50"' in (one.value or b"")]
    score = msgspec.json.decode(record.value or b"", type=Score)
    assert score.score is not None
    alter(world, "t-50", score=score.score * (1 + 2**-52))
    found = compared(world)
    assert verdict(found) == (88, 0, 8)
    assert differences(found)["t-50"] == {"score"}
    for name, (told, _) in ALTERED.items():
        assert told in differences(found)[name]


def test_an_undetected_loss_of_histories_explains_nothing(live: Trained) -> None:
    world = month(live)
    world.histories.inner = MemoryStore(SETS)
    world.publish(world.pay(96))
    world.decide()
    found = compared(world)
    assert found.unexplained
    assert "card_count_30d" in differences(found)["t-96"]


# --- undecidable

BY_RULES = {"degraded": ("undecidable",), "decided_by": "rules", "model": None, "score": None, "band": None}


def test_an_undecidable_decision_is_not_provable_and_later_ones_are_equal(live: Trained) -> None:
    """One had all features, one lacked some, and for one nothing could be computed."""
    world = month(live)
    alter(world, "t-30", **BY_RULES, decision="approve")
    alter(world, "t-31", **BY_RULES, decision="approve", features={"card_count_30d": None})
    alter(world, "t-32", **BY_RULES, decision="review", features=None)
    found = compared(world)
    assert verdict(found) == (93, 3, 0)
    assert found.reasons == {"undecidable": 3, "features_not_recorded": 1}


def test_a_decision_by_rules_that_does_not_follow_from_its_features_is_unexplained(live: Trained) -> None:
    world = month(live)
    alter(world, "t-30", **BY_RULES, decision="decline")
    assert differences(compared(world)) == {"t-30": {"decision"}}


# --- degraded


def degraded(live: Trained) -> World:
    """Decide two payments without Redis, and two more when it is back."""
    world, stopgap = month(live), Stopgap(SETS)
    for number in range(96, 100):
        world.now_ms += 1000
        world.publish(world.pay(number, card_id="card-0", merchant_id="shop-0"))
        if number < 98:
            world.decide(store=stopgap)
            continue
        for transactions in stopgap.pending:
            world.histories.inner.observe_now(transactions)
        stopgap.pending.clear()
        world.decide()
    return world


def test_degraded_decisions_are_explained_and_later_ones_are_equal(live: Trained, tmp_path: Path) -> None:
    found = compared(degraded(live), out=tmp_path / "out.parquet")
    assert verdict(found) == (98, 2, 0)
    assert found.reasons == {"degraded": 2}
    rows = lines(tmp_path / "out.parquet")
    assert rows["t-96"]["verdict"] == "explained"
    assert (rows["t-96"]["degraded"], rows["t-98"]["degraded"]) == ("history_incomplete", None)
    assert rows["t-96"]["recorded_score"] is not None
    assert msgspec.json.decode(rows["t-96"]["differences"])["card_count_30d"] == [1.0, rows["t-96"]["card_count_30d"]]


def test_the_score_of_a_degraded_decision_must_match_its_recorded_features(live: Trained) -> None:
    world = degraded(live)
    alter(world, "t-97", score=0.5)
    found = compared(world)
    assert verdict(found) == (98, 1, 1)
    assert "score" in differences(found)["t-97"]


def test_an_outage_does_not_explain_a_feature_that_needs_no_history(live: Trained) -> None:
    world = degraded(live)
    alter(world, "t-97", features={"is_weekend": 0.5}, rescored=True)
    found = compared(world)
    assert verdict(found) == (98, 1, 1)
    assert "is_weekend" in differences(found)["t-97"]


# --- cards on two partitions


def pay_on(world: World, partition: int, number: int, **changes: Any) -> None:
    """Publish a payment of one card to a partition; it is the first at its shop."""
    world.append("transactions", partition, world.pay(number, merchant_id=f"shop-{number}", **changes))


def recorded(world: World) -> dict[str, Score]:
    logs = world.topics["scores"].values()
    scores = [msgspec.json.decode(one.value or b"", type=Score) for log in logs for one in log]
    return {score.transaction_id: score for score in scores}


def test_decisions_of_a_card_on_two_partitions_are_equal_where_positions_tell_their_order(
    live: Trained, tmp_path: Path
) -> None:
    world = live.world()
    for number, partition in enumerate((2, 0, 0, 2, 1, 2, 0)):
        pay_on(world, partition, number, amount_minor=100 * (number + 1))
        world.decide()
    found = recorded(world)
    assert [name for name, score in sorted(found.items()) if score.degraded] == ["t-3", "t-5", "t-6"]
    assert {score.degraded for score in found.values()} == {(), ("card_on_two_partitions",)}
    assert [found[f"t-{at}"].features["card_count_30d"] for at in range(7)] == [1, 2, 3, 4, 5, 6, 7]  # type: ignore[index]
    assert verdict(compared(world)) == (7, 0, 0)
    scored(world, tmp_path / "out.parquet")
    rows = lines(tmp_path / "out.parquet")
    assert {name: row["score"] for name, row in rows.items()} == {name: one.score for name, one in found.items()}
    pay_on(world, 1, 0, amount_minor=100, occurred_at=found["t-0"].occurred_at)
    assert world.decide() == 0  # it is a retry
    assert verdict(compared(world)) == (7, 0, 0)


def test_a_payment_of_unknown_order_on_another_partition_explains_what_looks_at_it(live: Trained) -> None:
    """One was decided without histories and applied only after the card's next payment, on its other partition."""
    world = live.world()
    pay_on(world, 0, 0)
    world.decide()
    pay_on(world, 1, 1)
    world.decide([1], Stopgap(SETS))
    pay_on(world, 0, 2)
    world.decide([0])
    found = compared(world)
    assert (verdict(found), found.reasons) == ((1, 2, 0), {"degraded": 1, "card_on_two_partitions": 1})
    alter(world, "t-2", features={"is_weekend": 0.5}, rescored=True)
    assert differences(compared(world))["t-2"] >= {"is_weekend"}


def test_of_a_payment_on_two_partitions_the_one_that_was_read_first_is_the_one_decided(live: Trained) -> None:
    """The one that was sent first has no decision, since its partition was read later."""
    world = live.world()
    pay_on(world, 0, 0)
    pay_on(world, 1, 0, amount_minor=7700)
    world.decide([1])
    pay_on(world, 0, 1)
    assert world.decide([0]) == 1
    pay_on(world, 2, 2)
    world.decide()
    found = compared(world)
    assert (verdict(found), found.reasons) == ((3, 0, 0), {})


@pytest.mark.parametrize(("order", "seen"), [((1, 0, 2), {"merchant_cards_1d"}), ((0, 1, 2), set())])
def test_a_conflict_on_another_partition_that_a_repair_applied_first_explains_what_looks_at_it(
    live: Trained, order: tuple[int, ...], seen: set[str]
) -> None:
    """The log of the conflict's merchant then has a payment that nobody decided."""
    world = live.world()
    once = world.pay(0)
    for partition, payment in ((0, once), (1, once | {"merchant_id": "shop-1"}), (1, world.pay(1, card_id="card-1"))):
        world.append("transactions", partition, payment)
        world.decide()
    lose(world)
    repair(world, list(order))
    world.append("transactions", 2, world.pay(2, card_id="card-2", merchant_id="shop-1"))
    world.decide()
    assert recorded(world)["t-2"].features["merchant_cards_1d"] == 1 + len(seen)  # type: ignore[index]
    found = compared(world)
    assert (found.unexplained, found.reasons) == (0, {"card_on_two_partitions": 1} if seen else {})
    alter(world, "t-2", features={"card_count_30d": 77.0}, rescored=True)
    assert differences(compared(world))["t-2"] == {"card_count_30d"} | seen


def test_a_decided_payment_that_a_repair_put_before_later_ones_stays_in_its_merchants_log(live: Trained) -> None:
    """It waited until its card's payment on another partition made it late in the order of history epochs."""
    world = live.world()
    world.append("transactions", 0, world.pay(0, card_id="card-9", merchant_id="shop-9"))
    world.decide()
    world.append("transactions", 1, world.pay(1))
    world.observe([1])
    world.now_ms += 60 * DAY_MS
    world.append("transactions", 2, world.pay(2, merchant_id="shop-9"))
    world.decide([2])
    lose(world)
    repair(world, [1, 2, 0])
    world.decide([1])
    world.append("transactions", 0, world.pay(3, card_id="card-1", occurred_at=world.now_ms - 60 * DAY_MS))
    world.decide([0])
    assert recorded(world)["t-3"].features["merchant_cards_1d"] == 2  # type: ignore[index]
    found = compared(world)
    assert (found.unexplained, found.reasons) == (0, {"card_on_two_partitions": 1})


def test_a_card_that_begins_with_a_degraded_decision_and_moves_on_keeps_that_payment(live: Trained) -> None:
    """Its next payment, on another partition, comes when the first one has expired, and does not make it late."""
    world, stopgap = live.world(), Stopgap(SETS)
    world.append("transactions", 2, world.pay(0))
    world.decide([2], stopgap)
    completed(world.histories.observe(stopgap.pending[0]))
    world.append("transactions", 0, world.pay(1, card_id="card-1"))
    world.decide()
    for number, partition in ((2, 1), (3, 2)):
        world.now_ms += 60 * DAY_MS
        world.append("transactions", partition, world.pay(number))
        world.decide()
    assert recorded(world)["t-1"].features["merchant_cards_1d"] == 2  # type: ignore[index]
    found = compared(world)
    assert (verdict(found), found.reasons) == ((4, 0, 0), {})


# --- the order in a merchant's log


def test_a_decision_next_to_a_degraded_one_is_explained_by_unknown_order(live: Trained) -> None:
    world, stopgap = month(live), Stopgap(SETS)
    world.publish(world.pay(96, card_id=payer(0)))
    world.decide([0], stopgap)
    world.publish(world.pay(97, card_id=payer(1)))
    world.decide([1])
    found = compared(world)
    assert (found.unexplained, found.reasons) == (0, {"degraded": 1, "order_unknown": 1})
    alter(world, "t-97", features={"merchant_count_delayed_7d": 77.0}, rescored=True)
    assert differences(compared(world)) == {"t-97": {"merchant_cards_1d", "merchant_count_delayed_7d"}}


def test_a_label_is_applied_although_the_next_transaction_of_its_card_was_decided_in_an_outage(
    live: Trained,
) -> None:
    world = live.world()
    world.publish(world.pay(0))
    world.decide()
    world.tell(world.label(0, "card-0"))
    world.publish(world.pay(1, card_id="card-1"))
    world.decide()
    world.now_ms += 60 * DAY_MS
    world.publish(world.pay(2))
    world.decide(store=Stopgap(SETS))
    found = compared(world)
    assert (verdict(found), found.examples) == ((3, 0, 0), ())


# --- loss and repair


def test_decisions_after_a_repair_are_equal(live: Trained) -> None:
    world = month(live)
    world.tell(world.label(80, "card-2"))
    lose(world)
    world.publish(world.pay(96))
    world.decide()
    repair(world, [2, 0, 1])
    for number in range(97, 103):
        world.publish(world.pay(number, card_id=f"card-{number % 6}"))
        world.decide()
    found = compared(world)
    assert verdict(found) == (102, 1, 0)
    assert found.reasons == {"degraded": 1}


def test_a_repair_that_left_records_out_is_detected_by_positions(live: Trained) -> None:
    world = month(live)
    lose(world)
    world.histories.incomplete = False
    world.publish(world.pay(96))
    world.decide()
    found = compared(world)
    assert verdict(found) == (96, 1, 0)
    assert found.reasons == {"history_epoch_changed": 1}
    enough = {"card": 60, "merchant": 60, "device": None}
    alter(world, "t-96", positions={"history_epoch": world.histories.epoch, **enough})
    assert verdict(compared(world)) == (96, 0, 1)


def test_a_label_in_flight_during_a_loss_is_visible_before_its_outcome_is_published(live: Trained) -> None:
    world = live.world()
    ahead, behind = payer(0), payer(1)
    for number in range(5):  # too old to be visible by then, but in the log, so that positions prove nothing
        world.publish(world.pay(number, card_id=ahead))
    world.decide()
    world.now_ms += 80 * DAY_MS
    world.publish(world.pay(5, card_id=behind))
    world.decide()
    world.publish(world.pay(6, card_id=ahead))
    world.observe([0])
    (under_way,) = world.publish(world.label(5, behind, before_ms=60_000), topic="labels")
    lose(world)
    repair(world, [0, 1, 2])
    world.decide()
    world.answer(under_way)
    found = compared(world)
    assert (verdict(found), found.reasons) == ((6, 1, 0), {"history_epoch_changed": 1})
    alter(world, "t-6", features={"merchant_count_delayed_7d": 77.0}, rescored=True)
    assert differences(compared(world)) == {"t-6": {"merchant_count_delayed_7d", "merchant_fraud_share_30d"}}


@pytest.mark.parametrize(
    ("what", "seen"), [("label", {"merchant_fraud_share_30d"}), ("payment", {"merchant_cards_1d"}), ("neither", set())]
)
def test_a_record_that_was_appended_before_a_loss_and_answered_after_it_explains_what_looks_at_it(
    live: Trained, what: str, seen: set[str]
) -> None:
    world = live.world()
    ahead, behind = payer(0), payer(1)
    for number in range(5):
        world.publish(world.pay(number, card_id=ahead), world.pay(10 + number, card_id=behind))
        world.decide()
        world.now_ms += 2 * DAY_MS
    (label,) = world.publish(world.label(11, behind, before_ms=60_000), topic="labels")
    if what == "payment":
        world.publish(world.pay(20, card_id=behind))
        world.observe([1])
    if what == "label":
        world.apply(label)
    world.publish(world.pay(6, card_id=ahead))
    world.decide([0])
    lose(world)
    repair(world, [0, 1, 2])
    world.answer(label)
    world.decide()
    found = compared(world)
    assert (found.explained, found.unexplained) == (len(seen), 0)
    assert found.reasons == ({"history_epoch_changed": 1} if seen else {})
    alter(world, "t-6", features={"merchant_cards_1d": 77.0}, rescored=True)
    assert compared(world).unexplained == (what != "payment"), "a label changes no count"
    alter(world, "t-6", features={"card_count_30d": 77.0}, rescored=True)
    assert "card_count_30d" in differences(compared(world))["t-6"]


def test_a_label_without_an_outcome_yet_explains_what_looks_at_it(live: Trained) -> None:
    world = month(live)
    (label,) = world.publish(world.label(90, "card-6", before_ms=60_000), topic="labels")
    world.apply(label)
    world.publish(world.pay(96))
    world.decide()
    found = compared(world)
    assert (verdict(found), found.reasons) == ((96, 1, 0), {"order_unknown": 1})
    world.answer(label)
    assert verdict(compared(world)) == (97, 0, 0)


def test_a_device_label_that_was_answered_after_a_decision_explains_the_fraud_share_that_saw_it(live: Trained) -> None:
    world = live.world()
    for number in range(4):
        world.publish(world.pay(number, card_id=payer(number % PARTITIONS), device_id="phone-0"))
        world.decide()
    (label,) = world.publish(world.label(0, payer(0), before_ms=500), topic="labels")
    world.apply(label)
    world.publish(world.pay(4, card_id=payer(1), device_id="phone-0"))
    world.decide()
    world.answer(label)
    world.tell(world.label(3, payer(0)))
    found = compared(world)
    assert (verdict(found), found.reasons) == ((4, 1, 0), {"order_unknown": 1})
    alter(world, "t-4", features={"device_cards_30d": 77.0, "merchant_fraud_share_30d": 0.5}, rescored=True)
    assert differences(compared(world)) == {
        "t-4": {"device_cards_30d", "device_fraud_share_7d", "merchant_fraud_share_30d"}
    }


def test_a_device_label_that_was_given_after_a_decision_explains_nothing(live: Trained) -> None:
    world = live.world()
    for number in range(3):
        world.publish(world.pay(number, card_id=payer(number), device_id="phone-0"))
        world.decide()
    world.now_ms += 1000
    world.tell(world.label(0, payer(0)))
    assert verdict(compared(world)) == (3, 0, 0)
    alter(world, "t-2", features={"device_fraud_share_7d": 0.5}, rescored=True)
    assert differences(compared(world)) == {"t-2": {"device_fraud_share_7d"}}


def test_a_device_label_that_was_answered_while_a_payment_waited_explains_the_share_that_did_not_see_it(
    live: Trained,
) -> None:
    """A worker appended the payment and ended; the label came behind it, and was answered before its decision."""
    world = live.world()
    for number in range(2):
        world.publish(world.pay(number, card_id=payer(number), device_id="phone-0"))
        world.decide()
    world.publish(world.pay(2, card_id=payer(2), device_id="phone-0"))
    world.observe([partition_of(payer(2), PARTITIONS)])
    world.tell(world.label(0, payer(0), before_ms=500))
    world.decide()
    found = compared(world)
    assert (verdict(found), found.reasons) == ((2, 1, 0), {"order_unknown": 1})
    alter(world, "t-2", features={"device_cards_30d": 77.0}, rescored=True)
    assert differences(compared(world)) == {"t-2": {"device_cards_30d", "device_fraud_share_7d"}}


def payer(partition: int) -> str:
    """Return a card of a partition."""
    return next(card for card in (f"payer-{n}" for n in range(50)) if partition_of(card, PARTITIONS) == partition)


# --- retention


def test_only_features_that_look_beyond_the_retention_are_explained(live: Trained) -> None:
    world = month(live)
    firsts = {number: log[len(log) // 3].offset for number, log in world.topics["transactions"].items()}
    world.drop("transactions", firsts)
    found = compared(world)
    kept = sum(len(log) for log in world.topics["transactions"].values())
    assert found.compared == kept
    assert found.unexplained == 0
    assert 0 < found.explained == found.reasons["beyond_retention"] < kept
    early = world.topics["transactions"][1][2]
    name = msgspec.json.decode(early.value or b"")["transaction_id"]
    alter(world, name, features={"card_count_10m": 5.0}, rescored=True)
    assert "card_count_10m" in differences(compared(world))[name]


def test_decisions_whose_transaction_was_deleted_are_checked_by_their_recorded_features(live: Trained) -> None:
    world = month(live)
    world.drop("transactions", {number: log[9].offset for number, log in world.topics["transactions"].items()})
    found = compared(world, Range(from_ms=0))
    assert (found.compared, found.unexplained) == (96, 0)
    assert found.reasons["beyond_retention"] >= 9 * PARTITIONS
    alter(world, "t-0", features=TELLING)
    alter(world, "t-1", decision="decline")
    found_differences = differences(compared(world, Range(from_ms=0)))
    assert found_differences.keys() == {"t-0", "t-1"}
    assert {"score"} <= found_differences["t-0"] <= {"score", "band"}
    assert found_differences["t-1"] == {"decision"}


def test_a_decision_whose_transaction_never_existed_is_unexplained(live: Trained) -> None:
    world = month(live)
    log = world.topics["transactions"][0]
    name = msgspec.json.decode(log[-1].value or b"")["transaction_id"]
    log[-1].value = b"{}"
    assert "transaction" in differences(compared(world))[name]


# --- what cannot be compared


@pytest.mark.parametrize(("wanted", "least"), [("none", 96), ("alerts", 1)])
def test_without_recorded_features_score_and_decision_must_match(live: Trained, wanted: str, least: int) -> None:
    world = month(live, score_features=wanted)
    found = compared(world)
    assert found.unexplained == 0
    assert least <= found.reasons["features_not_recorded"] == found.explained
    alter(world, "t-60", features=None, decision="decline")
    alter(world, "t-61", features=None, score=0.5)
    assert differences(compared(world)) == {"t-60": {"decision"}, "t-61": {"score"}}


def test_a_missing_model_is_reported_and_features_are_still_compared(live: Trained, tmp_path: Path) -> None:
    shutil.copytree(live.folder, tmp_path / "models")
    shutil.rmtree(tmp_path / "models" / live.model.digest)
    world = month(live, models=str(tmp_path / "models"))
    found = compared(world)
    assert verdict(found) == (0, 96, 0)
    assert found.reasons == {"model_missing": 96}
    alter(world, "t-90", features={"card_count_30d": 99.0})
    assert differences(compared(world)) == {"t-90": {"card_count_30d"}}


def test_decisions_by_another_feature_set_are_checked_by_their_recorded_features(live: Trained) -> None:
    world = month(live)
    found = compared(world, sets=DEFAULT)
    assert verdict(found) == (0, 96, 0)
    assert found.reasons == {"another_fingerprint": 96}
    alter(world, "t-90", features=TELLING)
    alter(world, "t-91", band=3)
    found_differences = differences(compared(world, sets=DEFAULT))
    assert found_differences.keys() == {"t-90", "t-91"}
    assert {"score"} <= found_differences["t-90"] <= {"score", "band"}
    assert found_differences["t-91"] == {"band"}


class Failing:
    """A live model that always fails."""

    reads_payments, rules = False, None

    def __init__(self, model: Model) -> None:
        self.fingerprint, self.digest = model.fingerprint, model.digest

    def score(self, _matrix: Any) -> Any:
        raise ScoringError("none here")


def test_a_decision_by_the_rules_is_equal_if_the_rules_give_it_again(live: Trained) -> None:
    world = month(live)
    world.model = cast("Model", Failing(live.model))
    for number in range(96, 104):
        world.publish(world.pay(number))
        world.decide()
    found = compared(world)
    assert verdict(found) == (104, 0, 0)
    assert found.decided_by == {"model": 96, "rules": 8}
    alter(world, "t-103", decision="decline")
    assert differences(compared(world)) == {"t-103": {"decision"}}


def test_each_decision_is_rescored_by_the_model_that_it_names(live: Trained) -> None:
    world = month(live)
    alter(world, "t-90", model=ModelName("card", "1", "0" * 64))
    found = compared(world)
    assert verdict(found) == (95, 1, 0)
    assert found.models == {live.model.digest: 95, "0" * 64: 1}
