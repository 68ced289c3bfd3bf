"""An experiment on a fleet: each card is decided by its arm, through a crash, until an arm wins or a guard ends it."""

import json
import re
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from fraudstream_client.outputs import Score
from fraudstream_client.validity import ValidScores
from models.policy import Policy
from support.fleet.arms import Rollout, assert_whole, rollouts
from support.fleet.fleet import Fleet, until
from support.fleet.load import CARDS, Load
from support.fleet.payments import put_model
from support.fleet.workers import GUARD_COMMAND, Worker

SALT = "experiment-1"
HASH_KEY = bytes(range(32)).hex()
GUARD = (*GUARD_COMMAND, "--cool-down", "0")
DECLINES_ALL = Policy(review_at=1e-9, decline_at=2e-9)
ALL_CARDS = [f"card-{number}" for number in range(CARDS)]
EXCLUDED = [card for card in ALL_CARDS if Rollout("", salt=SALT).bucket(card) < 2_000][:3]
"""Cards that would be of the first arm."""


@pytest.mark.acceptance
@pytest.mark.parametrize("key", ["", HASH_KEY], ids=["without a hash key", "with a hash key"])
def test_a_split_under_load_and_a_kill_decides_each_card_by_its_arm_until_an_arm_wins(fleet: Fleet, key: str) -> None:
    if key:
        (fleet.folder / "hash.key").write_text(key)
        fleet.environment["HASH_KEY_FILE"] = str(fleet.folder / "hash.key")
    first, second = fleet.go_live(2)
    live = fleet.events("accepted")[0]["model"]
    new, other, outside = (put_model(fleet.models, seed=seed) for seed in (1, 2, 3))
    with Load(fleet, rate=200) as load:
        load.await_decisions(time.monotonic())
        begun = split(fleet, **{"b-new": f"{new[:12]}:20%", "a-control": f"{live}:20%", "c-other": f"{other}:30%"})
        load.await_decisions(time.monotonic())
        second.kill()
        load.await_decisions(time.monotonic())
        third = fleet.worker()
        third.await_ready()
        assert_refused(fleet, outside, new)
        load.await_decisions(time.monotonic())
        assert_shown(third.get("/metrics")[1])
        fleet.command("model", "end-split", "--winner", "b-new")
        load.await_decisions(time.monotonic())
    valid = fleet.await_scores(len(load.sent))
    assert_whole(fleet, valid, len(load.sent))
    assert [one.live for one in rollouts(fleet).values()] == [live, live, new]
    assert_divided(valid, rollouts(fleet)[2])
    assert {entry.startswith("h1=") for entry in rollouts(fleet)[2].exclude} == {bool(key)}
    kept = [record.value or b"" for topic in ("model-control", "model-events") for record in fleet.read(topic)]
    assert any(card.encode() in value for card in EXCLUDED for value in kept) != bool(key)
    assert_told(fleet, begun, {"a-control": live, "b-new": new, "c-other": other})
    diff = json.loads(fleet.cli("score", "--topic", "--diff", "--json").stdout)
    assert (diff["compared"], diff["unexplained"]) == (len(valid), 0)
    assert [worker.terminate() for worker in (first, third)] == [0, 0]


def split(fleet: Fleet, **arms: str) -> dict[str, Any]:
    """Start a split of these arms, from which some cards are excluded."""
    named = [part for name, arm in arms.items() for part in ("--arm", f"{name}={arm}")]
    excluded = [part for card in EXCLUDED for part in ("--exclude", card)]
    return fleet.command("model", "split", *named, *excluded, "--salt", SALT)


def assert_shown(metrics: str) -> None:
    assert 'fraudstream_split_share{arm="c-other"} 0.3' in metrics
    assert re.search(r'fraudstream_decisions_total{arm="b-new",.*} [1-9]', metrics)


def assert_refused(fleet: Fleet, outside: str, new: str) -> None:
    """Assert that nothing else is put beside live while the split runs, and that nothing changes."""
    for arguments in (("canary", outside, "--share", "1%"), ("promote", outside), ("challenge", new)):
        verdict = fleet.command("model", *arguments, refused=True)
        assert [problem["code"] for problem in verdict["problems"]] == ["split_running"]
    (problem,) = fleet.command("model", "end-split", "--winner", "nobody", refused=True)["problems"]
    assert problem["detail"] == "winner: no arm is called 'nobody'; the arms are a-control, b-new, c-other and live"


def assert_divided(valid: Sequence[Score], rollout: Rollout) -> None:
    """Assert that every arm has decided for about its share of the cards, and live for the excluded ones."""
    arms = {score.card_id: score.arm for score in valid if score.revision == 2}
    counted = Counter(arm for card, arm in arms.items() if card not in EXCLUDED)
    for name, share in {"a-control": 0.2, "b-new": 0.2, "c-other": 0.3, "live": 0.3}.items():
        assert abs(counted[name] / counted.total() - share) < 0.1, counted
    assert {arms[card] for card in EXCLUDED if card in arms} == {"live"}
    assert {rollout._replace(exclude=frozenset()).arm(card) for card in EXCLUDED} == {"a-control"}
    assert {score.arm for score in valid if score.revision != 2} == {"live"}


def assert_told(fleet: Fleet, begun: dict[str, Any], models: dict[str, str]) -> None:
    """Assert that the commands that look back tell of the split, and that scores agree with them."""
    done = fleet.cli("model", "who", "--at", begun["at"], "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert {name: arm["digest"] for name, arm in found["split"]["arms"].items()} == models
    assert (found["revision"], found["until_revision"]) == (2, 3)
    assert "won by b-new" in fleet.cli("model", "history").stdout


@pytest.mark.acceptance
def test_a_guard_ends_a_split_with_an_arm_that_declines_all_and_live_wins(fleet: Fleet) -> None:
    workers = fleet.go_live(2)
    good, bad = put_model(fleet.models, seed=1), put_model(fleet.models, seed=2, policy=DECLINES_ALL)
    guard: Worker = fleet.worker(GUARD)
    with Load(fleet, rate=200) as load:
        guard.await_ready()
        begun = fleet.command("model", "split", "--arm", f"bad={bad}:10%", "--arm", f"good={good}:20%")
        until(lambda: ended(fleet) != [], "the guard ends the split", 30)
        load.await_decisions(time.monotonic())
    assert_whole(fleet, fleet.await_scores(len(load.sent)), len(load.sent))
    (found,) = ended(fleet)
    assert (found["winner"], found.get("model"), found["revision"]) == ("live", None, begun["revision"] + 1)
    assert_counted_again(fleet, found)
    assert [worker.terminate() for worker in (guard, *workers)] == [0, 0, 0]


def ended(fleet: Fleet) -> list[dict[str, Any]]:
    return [event for event in fleet.events("accepted") if event["command"] == "end_split"]


def assert_counted_again(fleet: Fleet, found: dict[str, Any]) -> None:
    """Assert that the evidence is what `scores` say up to its positions, counted here and by `guard replay`."""
    declined, cards = found["evidence"]["guards"]["declined"], dict[str, str]()
    assert (declined["breached"], declined["bound"]) == (True, 200)
    positions = found["evidence"]["positions"]["scores"]
    for record, score in ValidScores[Any]().of(fleet.read("scores")):
        was_read = record.offset < positions[record.partition] and score.revision == found["revision"] - 1
        if was_read and score.decision == "decline":
            cards.setdefault(score.card_id, str(score.arm))
    counts = Counter(cards.values())
    assert {row["arm"]: row["count"] for row in declined["arms"]} == {
        name: counts[name] for name in ("bad", "good", "live")
    }
    again = json.loads(fleet.cli("guard", "replay", found["command_id"], "--json").stdout)
    assert (again["equal"], again["differences"]) == (True, [])
