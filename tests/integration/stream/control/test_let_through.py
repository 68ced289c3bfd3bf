"""Let-through on Kafka: lots, totals and propensities are those of a recount from `scores`, through every change."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from itertools import count, islice
from typing import Any

import pytest

from fraudstream_client.outputs import Score
from models.policy import Policy
from support.fleet.deployments import (
    assert_published_once,
    go_live_when_warm,
    hand_over,
    other_deployment,
    silent_scores,
)
from support.fleet.fleet import Fleet, until
from support.fleet.payments import PARTITIONS, payment, put_model
from support.fleet.workers import Worker
from support.let_through import (
    PASSED,
    bucket_of,
    expected_lots,
    found_lots,
    let_through_amounts,
    rules_of,
)

ALWAYS = Policy(review_at=0.0, decline_at=0.0)
CAP, LARGER_CAP = 400_000, 1_000_000
"""In minor units, over four partitions."""


class Stream:
    """Payments that the model declines, published in order."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._numbers, self.published = fleet, count(), 0

    def publish(self, number: int) -> None:
        self._fleet.publish(payment(at, cards=400) for at in islice(self._numbers, number))
        self.published += number

    def decide(self, number: int) -> list[Score]:
        """Publish payments, and return all scores once these are decided."""
        self.publish(number)
        return self._fleet.await_scores(self.published)


def set_let_through(fleet: Fleet, share: str, cap: str, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = fleet.command("limits", "set", "--let-through", share, "--let-through-cap", cap, *options)[
        "limits"
    ]["let_through"]
    return found


def start(fleet: Fleet) -> Worker:
    """Start a worker with a live model that declines everything."""
    digest, worker = put_model(fleet.models, policy=ALWAYS), fleet.worker()
    until(lambda: worker.has_joined, "the group is joined")
    fleet.promote(digest)
    worker.await_ready()
    return worker


def by_partition(scores: Iterable[Score]) -> dict[int, list[Score]]:
    found: dict[int, list[Score]] = defaultdict(list)
    for one in scores:
        found[one.source.partition].append(one)
    return found


def assert_as_recounted(fleet: Fleet, valid: list[Score]) -> None:
    """Assert that lots, totals and propensities follow from the scores and the events, by the documentation's words."""
    rule_of = rules_of(fleet.events("accepted"))
    largest = dict[tuple[int, str], int]()
    for partition, own in by_partition(valid).items():
        assert [one.source.offset for one in own] == sorted(one.source.offset for one in own)
        assert found_lots(own) == expected_lots(own, rule_of)
        for one in own:
            rule = rule_of(one)
            part = 0 if rule is None else rule.caps["EUR"] // PARTITIONS
            place = (partition, one.scored_at[:10])
            largest[place] = max(largest.get(place, 0), part)
    for (partition, day, currency), amount in let_through_amounts(valid).items():
        assert currency == "EUR"
        assert amount <= largest[partition, day]
    assert {str(one.decision) for one in valid if one.overruled == PASSED} == {"approve"}
    assert {str(one.decision) for one in valid if one.overruled is None} == {"decline"}


def test_lots_are_as_recounted_through_a_crash_a_rebalance_and_a_change_of_the_limit(fleet: Fleet) -> None:
    worker, stream = start(fleet), Stream(fleet)
    assert stream.decide(60)[0].propensity is None, "it is off by default"
    first = set_let_through(fleet, "20%", "EUR 4000 a day")
    assert (first["share_bp"], first["caps"], first["partitions"]) == (2_000, {"EUR": CAP}, PARTITIONS)
    stream.decide(200)
    worker = kill_while_it_decides(fleet, worker, stream)
    another = fleet.worker()
    another.await_ready()
    until(lambda: partitions_of(another) > 0, "partitions have moved")
    stream.decide(200)
    second = set_let_through(fleet, "100%", "EUR 10000 a day", "--salt", "known")
    assert (second["salt"], second["caps"]) == ("known", {"EUR": LARGER_CAP})
    valid = stream.decide(200)
    assert_as_recounted(fleet, valid)
    assert {one.propensity for one in valid} == {None, 0.2, 1.0}
    drawn = [one for one in valid if one.propensity == 0.2]
    assert [one.overruled == PASSED for one in drawn] == [
        bucket_of(first["salt"], one.transaction_id) < 2_000 for one in drawn
    ]
    assert_shown(fleet, valid)
    assert_compared_by_what_the_model_said(fleet, valid)
    assert [one.terminate() for one in (worker, another)] == [0, 0]


def kill_while_it_decides(fleet: Fleet, worker: Worker, stream: Stream) -> Worker:
    """Kill the worker, and return another one that has decided the rest."""
    decided = stream.published
    stream.publish(600)
    until(lambda: sum(fleet.ends("scores").values()) > decided + 50, "it decides")
    worker.kill()
    another = fleet.worker()
    fleet.await_scores(stream.published)
    return another


def partitions_of(worker: Worker) -> float:
    found = re.search(
        r'^fraudstream_partitions\{topic="[^"]*transactions"\} ([0-9.]+)$', worker.get("/metrics")[1], re.MULTILINE
    )
    return 0.0 if found is None else float(found[1])


def assert_shown(fleet: Fleet, valid: list[Score]) -> None:
    """Assert that `limits show` tells the totals of the day, as the scores have them."""
    shown = json.loads(fleet.cli("limits", "show", "--json").stdout)["let_through"]
    used: Counter[int] = Counter()
    for (partition, day, _), amount in let_through_amounts(valid).items():
        used[partition] += amount if day == shown["today"]["day"] else 0
    assert shown["today"]["let_through"] == ({"EUR": used.total()} if used.total() else {})
    left = sum(max(0, LARGER_CAP // PARTITIONS - used[partition]) for partition in range(PARTITIONS))
    assert shown["today"]["left"] == {"EUR": left}


def assert_compared_by_what_the_model_said(fleet: Fleet, valid: list[Score]) -> None:
    diff = json.loads(fleet.cli("score", "--topic", "--diff", "--json").stdout)
    assert (diff["compared"], diff["equal"]) == (len(valid), len(valid)), diff
    assert diff["overruled"] == {"let_through": sum(one.overruled == PASSED for one in valid)}
    one = next(score for score in valid if score.overruled)
    found = json.loads(fleet.cli("replay", one.transaction_id, "--json").stdout)
    assert (found["equal"], found["decision"], found["overruled"]["by"]) == (True, "approve", "let_through")


@pytest.fixture
def green(fleet: Fleet, start_worker: Callable[..., Worker]) -> Fleet:
    """Another deployment on the topics of `fleet`, without workers yet."""
    other = other_deployment(fleet, start_worker)
    assert other.cli("topics", "apply", "--partitions", str(PARTITIONS)).returncode == 0
    return other


@pytest.mark.acceptance
def test_after_a_hand_over_the_other_fleet_goes_on_with_what_was_let_through_on_scores(
    fleet: Fleet, green: Fleet
) -> None:
    blue, stream = start(fleet), Stream(fleet)
    set_let_through(fleet, "100%", "EUR 4000 a day")
    stream.decide(200)
    digest = put_model(green.models, policy=ALWAYS)
    (other,) = go_live_when_warm(green, digest=digest)
    set_let_through(green, "50%", "EUR 10000 a day")
    stream.decide(100)
    until(lambda: len(silent_scores(green)) >= 100, "green decides silently")
    hand_over(green)
    stream.decide(200)
    found = assert_published_once(fleet, [fleet.environment["DEPLOYMENT"], green.environment["DEPLOYMENT"]])
    valid = [one for some in found.decided.values() for one in some]
    assert_as_recounted(fleet, valid)
    assert {one.deployment for one in valid if one.overruled == PASSED} == {
        fleet.environment["DEPLOYMENT"],
        green.environment["DEPLOYMENT"],
    }
    assert {(one.propensity, one.overruled) for one in silent_scores(green)} == {(None, None)}
    assert [one.terminate() for one in (blue, other)] == [0, 0]
