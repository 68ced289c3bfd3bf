"""`fraudstream replay`: one decision again from its record and from the logs, each step compared with the record."""

import io
from typing import Any, cast

import msgspec
import pytest
from rich.console import Console

from fraudstream.cli.replay import _shown
from fraudstream.lab.rescoring import log_replay
from fraudstream.lab.rescoring import replay as replay_module
from fraudstream.lab.rescoring.replay import Replay, compare_settings, replay
from fraudstream.lab.rescoring.request import NothingToScoreError
from fraudstream_client.outputs import Decision, Overruled
from stream.deciding_settings import deciding_settings
from stream.settings import Settings
from support.demo_scores import Place, score
from support.rescoring.faults import DAY_MS, Stopgap
from support.rescoring.model import SETS, Trained, alter
from support.rescoring.world import World, opened


def weeks(live: Trained, **settings: Any) -> World:
    world = live.world(**settings)
    for number in range(60):
        world.now_ms += DAY_MS // 2
        device = {"device_id": "phone"} if number % 3 == 0 else {}
        world.publish(world.pay_in_turn(number, cards=9, **device))
        world.decide()
    return world


def replayed(world: World, transaction_id: str, card_id: str | None = None) -> Replay:
    with pytest.MonkeyPatch.context() as patch:
        opened(world, patch)
        for module in (replay_module, log_replay):
            patch.setattr(module, "open_reader", world.reading)
        return replay(world.settings, SETS, (transaction_id, card_id), lambda _stage, _done, _total: None)


def test_a_decision_is_reproduced_from_its_record_and_from_the_logs(live: Trained) -> None:
    found = replayed(weeks(live), "t-54")
    assert found.equal
    assert [step.step for step in found.from_record] == ["features", "model", "score", "band", "policy"]
    assert all(step.equal for step in found.from_record)
    assert found.logs is not None
    assert (found.logs.verdict, found.logs.reasons) == ("equal", ())
    assert all(one.equal for one in found.logs.features)
    assert len(found.logs.features) == len(SETS.newest)


def test_the_visible_records_of_each_history_are_reported(live: Trained) -> None:
    found = replayed(weeks(live), "t-54", "card-0")
    assert found.logs is not None
    card, merchant, device = found.logs.histories
    assert (card.kind, card.id, card.position, card.visible) == ("card", "card-0", 6, 6)
    assert [one["transaction_id"] for one in card.newest] == [f"t-{number}" for number in range(45, -1, -9)]
    assert (merchant.id, merchant.position, merchant.visible) == ("shop-0", 27, 27)
    assert (device.id, device.position) == ("phone", 18)
    assert device.newest[0]["transaction_id"] == "t-51"


def test_an_altered_record_differs_only_where_it_was_altered(live: Trained) -> None:
    world = weeks(live)
    alter(world, "t-50", features={"card_count_30d": 40.0}, rescored=True)
    found = replayed(world, "t-50")
    assert not found.equal
    assert all(step.equal for step in found.from_record)
    assert found.logs is not None
    assert [one.name for one in found.logs.features if not one.equal] == ["card_count_30d"]
    assert found.logs.verdict == "unexplained"
    alter(world, "t-50", band=3)
    assert [step.step for step in replayed(world, "t-50").from_record if not step.equal] == ["band"]


@pytest.mark.parametrize("by", ["decline_cap", "let_through"])
def test_what_the_model_said_is_replayed_of_a_decision_that_was_overruled(live: Trained, by: str) -> None:
    world = weeks(live)
    said = replayed(world, "t-50").decision
    (other, another) = [one for one in Decision if one is not said]
    alter(world, "t-50", decision=other, overruled=Overruled(by, said))
    found = replayed(world, "t-50")
    assert (found.equal, found.decision, found.overruled) == (True, other, Overruled(by, said))
    console = Console(file=io.StringIO(), width=120)
    console.print(_shown(msgspec.to_builtins(found)))
    assert f"overruled by {by}: {said} became {other}" in cast("io.StringIO", console.file).getvalue()
    alter(world, "t-50", overruled=Overruled(by, another))
    assert [step.step for step in replayed(world, "t-50").from_record if not step.equal] == ["policy"]


def test_a_degraded_decision_is_explained(live: Trained) -> None:
    world = weeks(live)
    world.publish(world.pay(60))
    world.decide(store=Stopgap(SETS))
    found = replayed(world, "t-60")
    assert found.logs is not None
    assert (found.logs.verdict, found.logs.reasons) == ("explained", ("degraded",))


def test_a_decision_whose_transaction_was_deleted_is_replayed_from_its_record_alone(live: Trained) -> None:
    world = weeks(live)
    world.drop("transactions", dict.fromkeys(world.topics["transactions"], 10))
    found = replayed(world, "t-0")
    assert all(step.equal for step in found.from_record)
    assert found.logs is None
    assert "the logs no longer hold it" in found.logs_note


def test_a_record_without_features_is_noted_and_replayed_from_the_logs(live: Trained) -> None:
    found = replayed(weeks(live, score_features="none"), "t-50")
    assert "FRAUDSTREAM_SCORE_FEATURES" in found.from_record[0].note
    assert found.logs is not None
    assert (found.logs.verdict, found.logs.reasons) == ("explained", ("features_not_recorded",))


def beside(live: Trained) -> tuple[World, World]:
    """Let another deployment decide the last ten payments as well, and publish ten more after a hand-over."""
    world, green = weeks(live), live.world(deployment="green")
    green.beside(world)
    green.catch_up()
    for number in range(60, 80):
        if number == 70:
            green.take_over(world)
        world.now_ms += DAY_MS // 2
        world.publish(world.pay_in_turn(number, cards=9))
        for one in (green, world) if number >= 70 else (world, green):
            one.now_ms = max(world.now_ms, green.now_ms)
            one.decide()
    return world, green


def shown(found: Replay) -> str:
    console = Console(file=io.StringIO(), width=500)
    console.print(_shown(msgspec.to_builtins(found)))
    return cast("io.StringIO", console.file).getvalue()


def test_a_silent_deployment_replays_its_own_decision_and_is_told_which_one_counts(live: Trained) -> None:
    _, green = beside(live)
    found = replayed(green, "t-65")
    assert (found.equal, found.deployment, found.published) == (True, "green", False)
    assert found.scores_topic == "scores-green"
    assert "this decision does not count; default published its own" in found.note
    assert "set FRAUDSTREAM_DEPLOYMENT=default" in shown(found)
    assert "by green" in shown(found)


def test_a_published_decision_of_the_deployment_is_replayed_without_a_note(live: Trained) -> None:
    world, green = beside(live)
    for one, name in ((world, "t-65"), (green, "t-75")):
        found = replayed(one, name)
        assert (found.equal, found.deployment, found.published) == (True, one.settings.deployment, True)
        assert (found.note, found.scores_topic) == ("", "scores")


def test_a_decision_of_another_deployment_alone_is_replayed_with_the_histories_of_that_one(live: Trained) -> None:
    _, green = beside(live)
    found = replayed(green, "t-50")
    assert (found.equal, found.deployment, found.published) == (True, "default", True)
    assert "green has none of its own" in found.note
    assert "Set FRAUDSTREAM_DEPLOYMENT=default" in found.note


def test_a_silent_decision_whose_published_one_is_deleted_is_replayed_as_silent(live: Trained) -> None:
    world, green = beside(live)
    world.drop("scores", {number: len(log) for number, log in world.topics["scores"].items()})
    found = replayed(green, "t-65")
    assert (found.deployment, found.published) == ("green", False)
    assert "scores has none about it any more" in found.note
    with pytest.raises(NothingToScoreError, match="is on scores or scores-green; if it was refused"):
        replayed(green, "t-50")


def test_settings_that_were_others_when_it_was_decided_are_named() -> None:
    then, here = deciding_settings(Settings(future_skew=60.0)), deciding_settings(Settings(redis_down="degrade"))
    decided = score("t", Place(0, 0), settings=then.hash)
    found = compare_settings(decided, here, then.lines)
    assert (found.recorded, found.here, found.note) == (then.hash, here.hash, "")
    assert found.differing == {
        "FRAUDSTREAM_FUTURE_SKEW": ("60", "300"),
        "FRAUDSTREAM_REDIS_DOWN": ("wait", "degrade"),
    }
    assert compare_settings(decided, then, None).differing == {}
    assert compare_settings(decided, here, None).note == "the lines of the recorded ones are not on model-events"
    assert compare_settings(score("t", Place(0, 0)), here, None).recorded is None


def test_a_missing_or_ambiguous_decision_raises(live: Trained) -> None:
    world = weeks(live)
    with pytest.raises(NothingToScoreError, match="no valid decision about transaction 'nobody'"):
        replayed(world, "nobody")
    with pytest.raises(NothingToScoreError, match="of card 'card-1'"):
        replayed(world, "t-54", "card-1")
    world.publish(world.pay(54, card_id="card-5"))
    world.decide()
    with pytest.raises(NothingToScoreError, match="several cards have a transaction 't-54'"):
        replayed(world, "t-54")
    assert replayed(world, "t-54", "card-5").card_id == "card-5"
