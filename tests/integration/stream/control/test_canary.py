"""A canary decides for a share of the cards: the same cards everywhere, through ramps, restarts and faults."""

import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from getpass import getuser
from typing import Any

import numpy as np
import pytest

from fraudstream_client.outputs import Score
from models.loading import Model
from shadow.comparison import Comparison, read_comparison
from support.fleet.arms import Rollout, assert_decided_by_arm, assert_revisions_rise, rollouts
from support.fleet.fleet import Fleet, sources, until
from support.fleet.load import Load
from support.fleet.payments import FEATURES, PARTITIONS, loaded_model, payment, put_model
from support.fleet.workers import Worker

CARDS = 200
COMPARES = re.compile(r"^fraudstream_shadow_compared_total [1-9]", re.MULTILINE)


def canary(fleet: Fleet, digest: str, share: str) -> dict[str, Any]:
    return fleet.command("model", "canary", digest, "--share", share)


def publish(fleet: Fleet, numbers: Iterable[int]) -> None:
    fleet.publish(payment(number, cards=CARDS) for number in numbers)


def publish_until_compared(fleet: Fleet, workers: Sequence[Worker], first: int) -> int:
    """Publish until every worker compares: the models of its shadow load after the canary has begun."""
    number = first
    while not all(COMPARES.search(worker.get("/metrics")[1]) for worker in workers):
        assert number < first + 2_000, "no worker compares"
        publish(fleet, range(number, number + 20))
        number += 20
        time.sleep(0.5)
    return number


def report_once_compared(fleet: Fleet) -> dict[str, Any]:
    """Return the report once each decision is compared, or counted as missing: that comes after the decision."""
    report: dict[str, Any] = {}

    def explained() -> bool:
        report.update(json.loads(fleet.cli("shadow", "report", "--json").stdout))
        return report["unexplained"] == 0

    until(explained, "every decision is compared, or its comparison is counted as missing", 20)
    return report


def test_a_canary_decides_for_its_cards_and_each_side_is_compared_with_the_other(fleet: Fleet) -> None:
    workers = fleet.go_live(2)
    challenger = put_model(fleet.models, seed=1)
    publish(fleet, range(200))
    canary(fleet, challenger, "25%")
    compared_from = publish_until_compared(fleet, workers, 200)
    canary(fleet, challenger, "60%")
    publish(fleet, range(compared_from, compared_from + 400))
    fleet.await_scores(compared_from + 400)
    report = report_once_compared(fleet)
    fleet.command("model", "rollback")
    publish(fleet, range(compared_from + 400, compared_from + 500))
    valid = fleet.await_scores(compared_from + 500)
    assert_who(fleet, valid)
    by_revision = rollouts(fleet)
    assert [one.share_bp for one in by_revision.values()] == [0, 2_500, 6_000, 0]
    assert len({one.salt for one in by_revision.values() if one.canary}) == 1
    assert_decided_by_arm(valid, by_revision)
    assert_revisions_rise(valid)
    assert len({score.card_id for score in valid if score.arm == "canary"}) > CARDS / 3
    beside = [score for score in valid if by_revision[score.revision].canary]
    assert [report[name] for name in ("challenger", "eligible", "unexplained")] == [challenger, len(beside), 0]
    assert_each_side_compared(fleet, [score for score in beside if score.revision == 3], by_revision[2])
    diff = json.loads(fleet.cli("score", "--topic", "--diff", "--json").stdout)
    assert (diff["compared"], diff["equal"]) == (len(valid), len(valid))
    assert [worker.terminate() for worker in workers] == [0, 0]


def assert_who(fleet: Fleet, scores: Sequence[Score]) -> None:
    """Assert that for the time of each change, who was live and since which payments is what the scores say."""
    for event in fleet.events("accepted"):
        done = fleet.cli("model", "who", "--at", event["at"], "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        found, share_bp = json.loads(done.stdout), event.get("share_bp")
        assert (found["revision"], found["actor"], found["reason"]) == (event["revision"], getuser(), "test")
        assert (found["canary"] and found["canary"]["share_bp"]) == share_bp
        firsts = {
            str(partition): min(offsets)
            for partition in range(PARTITIONS)
            if (
                offsets := [
                    score.source.offset
                    for score in scores
                    if (score.revision, score.source.partition) == (event["revision"], partition)
                ]
            )
        }
        expected = {"disagrees": None, "earlier_deleted": False}
        assert found["partitions"] == {
            partition: expected | {"cutover": offset, "decided": offset} for partition, offset in firsts.items()
        }
    refused = fleet.cli("model", "who", "--at", "2001-01-01T00:00:00Z")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "was live at 2001-01-01T00:00:00.000Z" in refused.stderr


def assert_each_side_compared(fleet: Fleet, scores: Sequence[Score], rollout: Rollout) -> None:
    """Assert that each decision is compared, with what both models say of its features, to the last bit."""
    comparisons = {
        (one.source.partition, one.source.offset): one
        for one in (read_comparison(record.value or b"") for record in fleet.read("shadow-scores"))
    }
    assert set(sources(list(scores))) <= set(comparisons)
    assert rollout.canary is not None
    roles = rollout.live, rollout.canary
    models = {digest: loaded_model(fleet.models, digest) for digest in roles}
    for score in scores:
        assert_both_sides(comparisons[score.source.partition, score.source.offset], score, models, roles)


def assert_both_sides(one: Comparison, score: Score, models: dict[str, Model], roles: Sequence[str]) -> None:
    """Assert that a comparison has what both models say of the score's features, to the last bit."""
    assert score.features is not None
    vector = np.array([[np.nan if (value := score.features[name]) is None else value for name in FEATURES.names]])
    assert (one.arm, [one.live.digest, one.challenger.digest]) == (score.arm, list(roles))
    for side in (one.live, one.challenger):
        assert side.digest is not None
        expected = models[side.digest].score(vector)
        assert (side.score, [side.decision]) == (expected[0], models[side.digest].policy.decide(expected))
    assert one.decided.score == score.score


@pytest.mark.acceptance
def test_a_ramp_under_load_and_faults_moves_no_card_but_into_the_canary(fleet: Fleet) -> None:
    """With three workers: a ramp of 1, 5, 25 and 30 % while one joins, one drains, and one is killed."""
    first, second = fleet.go_live(2)
    challenger = put_model(fleet.models, seed=1)
    faults: Sequence[tuple[str, Callable[[], object]]] = (
        ("1%", lambda: fleet.worker().await_ready()),
        ("5%", first.terminate),
        ("25%", second.kill),
        ("30%", lambda: fleet.worker().await_ready()),
    )
    with Load(fleet, rate=300) as load:
        for share, fault in faults:
            load.await_decisions(time.monotonic())
            canary(fleet, challenger, share)
            load.await_decisions(time.monotonic())
            fault()
        load.await_decisions(time.monotonic())
        fleet.command("model", "promote", challenger)
        load.await_decisions(time.monotonic())
        back = fleet.command("model", "rollback", "--to", fleet.events("accepted")[0]["at"])
        load.await_decisions(time.monotonic())
    valid = fleet.await_scores(len(load.sent))
    assert len(sources(valid)) == len(valid) == len(load.sent)
    by_revision = rollouts(fleet)
    assert [one.share_bp for one in by_revision.values()] == [0, 100, 500, 2_500, 3_000, 0, 0]
    assert back["model"] == by_revision[1].live == by_revision[7].live != by_revision[6].live
    assert_decided_by_arm(valid, by_revision)
    assert_revisions_rise(valid)
    assert_cards_only_join([score for score in valid if score.revision < 7])
    diff = fleet.cli("score", "--topic", "--diff", "--json")
    assert json.loads(diff.stdout)["unexplained"] == 0, diff.stdout


def assert_cards_only_join(scores: Sequence[Score]) -> None:
    """Assert that while a canary runs no card leaves it, in the order of its partition."""
    joined: set[str] = set()
    for score in sorted(scores, key=lambda one: (one.source.partition, one.source.offset)):
        if score.arm == "canary":
            joined.add(score.card_id)
        elif score.revision < max(one.revision for one in scores):
            assert score.card_id not in joined, score
