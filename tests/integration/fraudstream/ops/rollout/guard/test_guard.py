"""The guard on a fleet: it climbs a ladder, ends what harms, and may be killed, doubled, frozen and checked."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import log
from statistics import median
from typing import Any

import msgspec
import numpy as np
import pytest

from fraudstream_client.outputs import Score
from fraudstream_client.validity import ValidScores
from guards.evidence import log_evidence_of
from models.artifact import read_artifact, with_policy, write_artifact
from models.list_rules import ListRule, RuleAction, RuleSet
from models.policy import Policy
from models.repository import Repository
from models.times import stated_ms
from support.fleet.arms import assert_whole, rollouts
from support.fleet.fleet import Fleet, until
from support.fleet.load import Load
from support.fleet.payments import model_for_tests, put_model
from support.fleet.workers import GUARD_COMMAND, Worker

RATE, RUNS = 200, 20
DECLINES_ALL = Policy(review_at=1e-9, decline_at=2e-9)
REVIEWS_ALL = Policy(review_at=1e-9, decline_at=1.0)
GUARD = (*GUARD_COMMAND, "--cool-down", "0", "--least-decisions", "20")


def run(fleet: Fleet, *arguments: str) -> dict[str, Any]:
    done = fleet.cli(*arguments, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def command(fleet: Fleet, *arguments: str) -> dict[str, Any]:
    return run(fleet, *arguments, "--reason", "test")


def accepted(fleet: Fleet, kind: str) -> list[dict[str, Any]]:
    return [event for event in fleet.events("accepted") if event["command"] == kind]


def stop(guards: Iterable[Worker]) -> None:
    assert [guard.terminate() for guard in guards] == [0 for _ in guards]


def put_with_a_rule(folder: str, declined_from_minor: int) -> str:
    before = read_artifact(model_for_tests(seed=1))
    rules = RuleSet((ListRule("large", RuleAction.BLOCK, amounts_from={"EUR": declined_from_minor}),))
    manifest = with_policy(before.manifest, before.manifest.policy, None, rules, None)
    return Repository(folder).put(write_artifact(msgspec.structs.replace(before, manifest=manifest)))


@pytest.mark.parametrize("declines", ["model", pytest.param("rule", marks=pytest.mark.acceptance)])
def test_a_guard_ends_a_canary_that_declines_all_and_what_it_saw_can_be_counted_again(
    fleet: Fleet, declines: str
) -> None:
    workers = fleet.go_live()
    by_model = declines == "model"
    bad = (
        put_model(fleet.models, seed=1, policy=DECLINES_ALL)
        if by_model
        else put_with_a_rule(fleet.models, declined_from_minor=0)
    )
    guard = fleet.worker(GUARD)
    with Load(fleet, RATE) as load:
        guard.await_ready()
        command(fleet, "model", "freeze", "--hands-off")
        begun = command(fleet, "rollout", "start", bad, "--ladder", "10% 1h, 100%")
        until(lambda: "declined is breached" in held(fleet), "the guards are breached, and hands are off")
        assert accepted(fleet, "end_canary") == []
        until(lambda: is_shown_as_breached(guard), "the guard's own metrics say so as well", 20)
        command(fleet, "model", "thaw")
        until(lambda: accepted(fleet, "end_canary") != [], "the guard ends the canary", 20)
    count = len(load.sent)
    assert_whole(fleet, fleet.await_scores(count), count)
    (ended,) = accepted(fleet, "end_canary")
    assert_counted(fleet, ended, begun["revision"])
    assert "first declines are the canary's" in fleet.cli("model", "history").stdout
    status = run(fleet, "rollout", "status")
    assert (status["watched"], len(status["guards"])) == (None, 1)
    stop([guard, *workers])


@pytest.mark.acceptance
def test_a_canary_that_declines_twice_as_many_goes_back_to_its_first_rung_and_waits_there(fleet: Fleet) -> None:
    live, worse = (put_with_a_rule(fleet.models, declined_from_minor=minor) for minor in (40_000, 30_000))
    worker, guard = fleet.worker(), fleet.worker(GUARD)
    until(lambda: worker.has_joined, "the group is joined")
    fleet.promote(live)
    worker.await_ready()
    with Load(fleet, 60, parties=(4_000, 100)):
        guard.await_ready()
        command(fleet, "rollout", "start", worse, "--ladder", "5% 1s, 25% 1h, 100%", "--climb", "none")
        until(lambda: len(rungs(fleet)) == 2, "it climbs to 25 %", 60)
        command(fleet, "model", "freeze", "--hands-off")
        until(lambda: is_breached_by_many(fleet, 300), "many cards' first declines show that it declines more", 120)
        assert accepted(fleet, "pause") == accepted(fleet, "end_canary") == []
        command(fleet, "model", "thaw")
        until(lambda: accepted(fleet, "pause") != [], "the guard brings it back, and pauses it", 30)
        assert accepted(fleet, "end_canary") == []
    back = rungs(fleet)[-1]
    (paused,) = accepted(fleet, "pause")
    assert (back["command"], back["share_bp"], back["revision"] + 1) == ("canary", 500, paused["revision"])
    assert all(one["actor"].startswith("guard@") for one in (back, paused))
    assert [kind for kind, one in back["evidence"]["guards"].items() if one["breached"]] == ["declined"]
    stop([guard, worker])


def is_breached_by_many(fleet: Fleet, least: int) -> bool:
    """Tell whether the guard on declines is breached, by so many first declines that their ratio is no accident."""
    status = run(fleet, "rollout", "status")
    counts = status["evidence"]["guards"]["declined"]["counts"]
    return "declined is breached" in status["held"] and sum(one["canary"] + one["live"] for one in counts) >= least


@pytest.mark.acceptance
def test_a_model_that_a_guard_ended_twice_is_promoted_only_by_who_says_that_he_knows(fleet: Fleet) -> None:
    workers = fleet.go_live()
    bad, other = put_model(fleet.models, seed=1, policy=DECLINES_ALL), put_model(fleet.models, seed=2)
    guard = fleet.worker(GUARD, ACTOR="ann")
    with Load(fleet, RATE):
        guard.await_ready()
        command(fleet, "rollout", "start", bad, "--ladder", "50% 1h, 100%")
        first = end_of_canary(fleet, 1)
        command(fleet, "model", "canary", bad, "--share", "50%", "--despite", first)
        last = end_of_canary(fleet, 2)
    assert all(event["actor"].startswith("guard@") for event in accepted(fleet, "end_canary"))
    warned = [line for line in guard.log().splitlines() if " WARNING " in line]
    assert any("declined" in line for line in warned)
    assert not any("not breached" in line for line in warned)
    stop([guard])
    for force in ((), ("--force",)):
        refused = fleet.cli("model", "promote", bad, "--reason", "test", "--json", *force)
        problems = json.loads(refused.stdout)["problems"]
        assert (refused.returncode, [one["code"] for one in problems]) == (1, ["breach_on_record"] * 2)
        assert all(f"--despite {last} --reason TEXT" in one["detail"] for one in problems)
    promoted = command(fleet, "model", "promote", bad, "--despite", last)
    assert (promoted["despite"], promoted["actor"] != "ann") == ([last], True)
    assert f"despite {last}: test" in fleet.cli("model", "history").stdout
    unasked = fleet.cli("model", "challenge", other, "--reason", "test")
    assert (unasked.returncode, "this ends it now" in unasked.stderr, unasked.stdout.strip()) == (1, True, "")
    assert command(fleet, "model", "challenge", other, "--yes")["kind"] == "accepted"
    stop(workers)


def end_of_canary(fleet: Fleet, count: int) -> str:
    """Wait until a guard has ended so many canaries; return the id of the last event."""
    until(lambda: len(accepted(fleet, "end_canary")) == count, f"the guard ends canary {count}", 30)
    return str(accepted(fleet, "end_canary")[-1]["event_id"])


def is_shown_as_breached(guard: Worker) -> bool:
    metrics = guard.get("/metrics")[1]
    assert "fraudstream_ready" not in metrics  # it is no worker
    ratios = re.findall(r'guard_evidence_ratio{guard="declined"} (.+)', metrics)
    return "\nfraudstream_guard_watching 1.0\n" in metrics and float(ratios[0]) >= 1


def held(fleet: Fleet) -> list[str]:
    return list(run(fleet, "rollout", "status").get("held", ()))


def assert_counted(fleet: Fleet, ended: Mapping[str, Any], since: int) -> None:
    """Assert that the evidence is what `scores` say up to its positions, counted here and by `guard replay`."""
    stated = ended["evidence"]["guards"]["declined"]
    assert stated["breached"]
    assert stated["e"] >= stated["bound"] == 200
    positions, cards = ended["evidence"]["positions"]["scores"], dict[str, str]()
    for record, score in ValidScores[Any]().of(fleet.read("scores")):
        if score.revision >= since and record.offset < positions[record.partition] and score.decision == "decline":
            cards.setdefault(score.card_id, str(score.arm))
    arms = list(cards.values())
    assert stated["counts"] == [{"share_bp": 1_000, "canary": arms.count("canary"), "live": arms.count("live")}]
    again = run(fleet, "guard", "replay", ended["command_id"])
    assert (again["equal"], again["differences"]) == (True, [])
    assert again["counted"]["guards"] == ended["evidence"]["guards"]


@pytest.mark.acceptance
def test_a_ladder_is_climbed_once_by_two_guards_of_which_one_is_killed_and_its_top_is_watched(fleet: Fleet) -> None:
    workers = fleet.go_live()
    good = put_model(fleet.models, seed=1)
    kept = ("--checkpoint", str(fleet.folder / "guard.json.gz"))
    first, second = fleet.worker((*GUARD, *kept)), fleet.worker(GUARD)
    with Load(fleet, RATE) as load:
        first.await_ready()
        second.await_ready()
        guards = fleet.folder / "guards.json"
        guards.write_text('{"stood_in": {"alpha": 0.01, "action": "roll_back"}}')
        command(fleet, "rollout", "start", good, "--ladder", "10% 2s, 50% 3s, 100% 2s", "--guards", str(guards))
        first.kill()
        until(lambda: accepted(fleet, "canary") != [], "the first rung is left")
        first = fleet.worker((*GUARD, *kept))
        until(lambda: len(accepted(fleet, "promote")) > 1, "the model is promoted")
        assert run(fleet, "rollout", "status")["watched"] in ("promotion", None)
    count = len(load.sent)
    valid = fleet.await_scores(count)
    assert_whole(fleet, valid, count)
    assert [one.share_bp for one in rollouts(fleet).values()] == [0, 1_000, 5_000, 0]
    assert [one["evidence"]["share_bp"] for one in accepted(fleet, "canary")] == [1_000]
    stop([first, second, *workers])


@pytest.mark.acceptance
def test_a_guard_ends_a_canary_whose_model_takes_longer_for_a_row_than_its_budget(fleet: Fleet) -> None:
    workers = fleet.go_live(workers=2)
    slow, guards = put_model(fleet.models, seed=1), fleet.folder / "guards.json"
    budget = {"budget_us": 1, "action": "roll_back"}
    guards.write_text(json.dumps({"stood_in": {"alpha": 0.01, "action": "roll_back"}, "row_time": budget}))
    guard = fleet.worker(GUARD)
    with Load(fleet, RATE):
        command(fleet, "rollout", "start", slow, "--ladder", "50% 1h, 100%", "--guards", str(guards))
        until(lambda: accepted(fleet, "end_canary") != [], "the guard ends the canary")
    (ended,) = accepted(fleet, "end_canary")
    stated = ended["evidence"]["guards"]
    assert [kind for kind, one in stated.items() if one["breached"]] == ["row_time"]
    (report,) = [one for one in fleet.events("row_time") if one["event_id"] == stated["row_time"]["event_id"]]
    assert (report["model"], report["row_us"]) == (slow, stated["row_time"]["row_us"])
    assert 10 < report["row_us"] < 100_000
    assert run(fleet, "guard", "replay", ended["command_id"])["equal"]
    assert "row_time: the new model takes" in fleet.cli("model", "history").stdout
    stop([guard, *workers])


@pytest.mark.acceptance
def test_a_guard_pauses_a_rollout_that_reviews_more_and_a_person_lets_it_go_on(fleet: Fleet) -> None:
    workers = fleet.go_live()
    worse = put_model(fleet.models, seed=1, policy=REVIEWS_ALL)
    guard = fleet.worker(GUARD)
    with Load(fleet, RATE):
        command(fleet, "rollout", "start", worse, "--ladder", "10% 1s, 100%", "--climb", "none")
        until(lambda: accepted(fleet, "pause") != [], "the guard pauses the rollout")
        command(fleet, "rollout", "resume")
        until(lambda: len(accepted(fleet, "promote")) > 1, "it goes on to its top")
    (paused,) = accepted(fleet, "pause")
    assert [kind for kind, one in paused["evidence"]["guards"].items() if one["breached"]] == ["reviewed"]
    stop([guard, *workers])


@pytest.mark.acceptance
def test_a_ladder_is_climbed_while_workers_judges_and_guards_come_and_go(fleet: Fleet) -> None:
    workers = fleet.go_live(3)
    good = put_model(fleet.models, seed=1)
    kept = ("--checkpoint", str(fleet.folder / "guard.json.gz"))
    guard, random = fleet.worker((*GUARD, *kept)), np.random.default_rng(13)
    with Load(fleet, RATE) as load:
        guard.await_ready()
        guards = fleet.folder / "guards.json"
        guards.write_text('{"stood_in": {"alpha": 0.01, "action": "roll_back"}}')
        ladder = "1% 8s, 5% 8s, 25% 8s, 100% 1min"
        command(fleet, "rollout", "start", good, "--ladder", ladder, "--guards", str(guards))
        for rung in (2, 3, 4):
            victim = workers.pop(random.integers(len(workers)))
            (victim.kill if rung % 2 else victim.terminate)()
            guard.kill()
            guard = fleet.worker((*GUARD, *kept))
            workers.append(fleet.worker())
            until(lambda rung=rung: len(rungs(fleet)) >= rung, f"rung {rung}", 120)
    count = len(load.sent)
    valid = fleet.await_scores(count)
    assert_whole(fleet, valid, count)
    assert [event.get("share_bp") for event in rungs(fleet)] == [100, 500, 2_500, None]
    diff = run(fleet, "score", "--topic", "--diff")
    assert (diff["compared"], diff["unexplained"]) == (len(valid), 0)
    stop([guard, *workers])


def rungs(fleet: Fleet) -> list[dict[str, Any]]:
    first, *others = fleet.events("accepted")
    assert first["command"] == "promote"
    return [event for event in others if event["command"] in ("rollout", "canary", "promote")]


@pytest.mark.acceptance
def test_bad_canaries_are_ended_soon_after_the_breach(fleet: Fleet, report: Callable[[str], None]) -> None:
    workers = fleet.go_live(2)
    bad, guard = put_model(fleet.models, seed=1, policy=DECLINES_ALL), fleet.worker(GUARD)
    with Load(fleet, RATE) as load:
        guard.await_ready()
        for number in range(1, RUNS + 1):
            despite = [
                word for event in accepted(fleet, "end_canary")[-1:] for word in ("--despite", event["event_id"])
            ]
            command(fleet, "rollout", "start", bad, "--ladder", "10% 1h, 100%", *despite)
            until(lambda number=number: len(accepted(fleet, "end_canary")) == number, f"run {number} is ended")
    count = len(load.sent)
    valid = fleet.await_scores(count)
    assert_whole(fleet, valid, count)
    seconds = sorted(seconds_after_breach(valid, event["revision"]) for event in accepted(fleet, "rollout"))
    middle, last = median(seconds), seconds[-1]
    report(f"{RUNS} bad canaries: last decision after the breach, p50 {middle:.2f} s, max {last:.2f} s")
    assert seconds[-1] < 10
    stop([guard, *workers])


def seconds_after_breach(valid: Sequence[Score], revision: int) -> float:
    """Return how long after the decision that breached the guard on declines the canary decided last."""
    by_time = sorted((score for score in valid if score.revision == revision), key=lambda score: score.scored_at)
    arms, cards, breach_ms = [0, 0], set[str](), None
    for score in by_time:
        if score.decision == "decline" and score.card_id not in cards:
            cards.add(score.card_id)
            arms[score.arm != "canary"] += 1
            if breach_ms is None and log_evidence_of({1_000: (arms[0], arms[1])}) >= log(100):
                breach_ms = stated_ms(score.scored_at)
    assert breach_ms is not None
    last_ms = max(stated_ms(score.scored_at) for score in by_time if score.arm == "canary")
    return (last_ms - breach_ms) / 1000
