"""The cap on declines: a canary that declines everything is capped, through a crash, and it ends by itself."""

import json
import re
from itertools import count, islice

import pytest

from fraudstream_client.outputs import Score
from models.policy import Policy
from shadow.comparison import read_comparison
from support.decline_cap import CAPPED, should_be_overruled
from support.fleet.fleet import Fleet, until
from support.fleet.payments import partition_of, payment, put_model
from support.fleet.workers import Worker

ALLOWED = 20
"""1 % of 2,000."""
CARDS = [card for card in (f"card-{number}" for number in range(400)) if partition_of(card) == 0]
NEVER, ALWAYS = Policy(review_at=0.5, decline_at=2.0), Policy(review_at=0.0, decline_at=0.0)


class Stream:
    """Payments of one partition, published in order."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._numbers, self.published = fleet, count(), 0

    def publish(self, number: int) -> None:
        payments = (payment(at, card_id=CARDS[at % len(CARDS)]) for at in islice(self._numbers, number))
        self._fleet.publish(payments)
        self.published += number

    def decide(self, number: int) -> list[Score]:
        """Publish payments, and return all scores once these are decided."""
        self.publish(number)
        return self._fleet.await_scores(self.published)


def metric(worker: Worker, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} ([0-9.e+]+)$", worker.get("/metrics")[1], re.MULTILINE)
    return 0.0 if found is None else float(found[1])


ACTIVE = 'fraudstream_decline_cap_active{arm="canary"}'
OVERRULED = 'fraudstream_overruled_total{arm="canary",by="decline_cap"}'


@pytest.mark.acceptance
def test_a_canary_that_declines_everything_is_capped_through_a_crash_until_it_declines_less(fleet: Fleet) -> None:
    calm, other, wild = (put_model(fleet.models, seed=at, policy=one) for at, one in enumerate((NEVER, NEVER, ALWAYS)))
    worker, stream = fleet.worker(), Stream(fleet)
    until(lambda: worker.has_joined, "the group is joined")
    fleet.promote(calm)
    worker.await_ready()
    assert fleet.command("limits", "set", "--decline-cap", "1%")["limits"] == {"decline_cap": 0.01}
    fleet.command("model", "canary", wild, "--share", "50%")
    capped = overruled(stream.decide(150))
    assert capped > 0
    assert (metric(worker, ACTIVE), metric(worker, OVERRULED)) == (1, capped)
    worker = kill_while_it_decides(fleet, worker, stream)
    replace_canary(fleet, other, "99%")
    before = overruled(fleet.scores()[0])
    assert overruled(stream.decide(2_200)) == before
    until(lambda: metric(worker, ACTIVE) == 0, "the cap has ended")
    replace_canary(fleet, wild, "50%")
    valid = decide_until_compared(worker, stream)
    assert_as_the_rule_says(fleet, valid)
    assert_compared_by_what_models_said(fleet, valid)
    assert worker.terminate() == 0


def kill_while_it_decides(fleet: Fleet, worker: Worker, stream: Stream) -> Worker:
    """Kill the worker, and return another one that has decided the rest."""
    decided = stream.published
    stream.publish(600)
    until(lambda: sum(fleet.ends("scores").values()) > decided + 50, "it decides")
    worker.kill()
    another = fleet.worker()
    fleet.await_scores(stream.published)
    return another


def decide_until_compared(worker: Worker, stream: Stream) -> list[Score]:
    """Decide payments until some are compared: the models of the shadow load after the canary has begun."""
    stream.decide(100)
    until(lambda: bool(stream.decide(20)) and metric(worker, "fraudstream_shadow_compared_total") > 0, "it compares")
    return stream.decide(20)


def replace_canary(fleet: Fleet, digest: str, share: str) -> None:
    fleet.command("model", "end-canary")
    fleet.command("model", "canary", digest, "--share", share)


def overruled(scores: list[Score]) -> int:
    return sum(one.overruled is not None for one in scores)


def assert_as_the_rule_says(fleet: Fleet, valid: list[Score]) -> None:
    """Assert that what is overruled follows from the scores, by the rule of the documentation."""
    revisions = {event["revision"]: event for event in fleet.events("accepted")}
    (capped_from,) = [revision for revision, event in revisions.items() if event["command"] == "limits"]
    own = sorted(valid, key=lambda one: one.source.offset)
    assert min(one.revision for one in own) >= capped_from
    expected = should_be_overruled(own, ALLOWED)
    assert [one.overruled for one in own] == [CAPPED if one else None for one in expected]
    assert {one.decision for one in own if one.overruled} == {"review"}
    last = [one for one in own if one.revision == max(revisions) and one.arm == "canary"]
    assert [one.decision for one in last[:ALLOWED]] == ["decline"] * ALLOWED, "the cap had ended"
    assert {one.decision for one in last[ALLOWED:]} == {"review"}


def assert_compared_by_what_models_said(fleet: Fleet, valid: list[Score]) -> None:
    diff = json.loads(fleet.cli("score", "--topic", "--diff", "--json").stdout)
    assert (diff["compared"], diff["equal"]) == (len(valid), len(valid)), diff
    assert diff["overruled"] == {"decline_cap": overruled(valid)}
    one = next(score for score in valid if score.overruled)
    found = json.loads(fleet.cli("replay", one.transaction_id, "--json").stdout)
    assert (found["equal"], found["decision"], found["overruled"]["from"]) == (True, "review", "decline")
    said = {score.transaction_id: score.said for score in valid}
    comparisons = [read_comparison(record.value or b"") for record in fleet.read("shadow-scores")]
    assert comparisons
    assert all(compared.decided.decision is said[compared.transaction_id] for compared in comparisons)
