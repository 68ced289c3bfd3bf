"""Fleets of different code, features and models hand over to each other, and each reproduces its own decisions."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.terms import term_of
from models.times import format_time
from support.fleet.changed_checkout import changed_checkout
from support.fleet.deployments import (
    assert_published_once,
    diff,
    go_live_when_warm,
    hand_over,
    other_deployment,
    silent_scores,
)
from support.fleet.fleet import Fleet, until
from support.fleet.load import CARDS, MERCHANTS, Load
from support.fleet.payments import PARTITIONS, START_MS, payment
from support.fleet.workers import Worker

TEN_DAYS_MS = 10 * 86_400_000
pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]

RATE = 100
HAND_OVERS = 3
REPORTED = ("compared", "equal", "explained", "unexplained", "silent", "elsewhere")
PAST = [
    payment(number, cards=CARDS, merchants=MERCHANTS, occurred_at=format_time(START_MS - TEN_DAYS_MS + number * 1000))
    | {"transaction_id": f"past-{number}"}
    for number in range(600)
]
"""Older than the delay of labels, so that a label of theirs changes the features of a merchant's later payments."""


def test_fleets_of_two_checkouts_hand_over_and_each_reproduces_its_own_decisions(
    fleet: Fleet, start_worker: Callable[..., Worker], tmp_path: Path, report: Callable[[str], None]
) -> None:
    checkout = changed_checkout(tmp_path / "checkout")
    green = other_deployment(fleet, start_worker, python=checkout.python)
    assert green.cli("topics", "apply", "--partitions", str(PARTITIONS)).returncode == 0
    names = fleet.environment["DEPLOYMENT"], green.environment["DEPLOYMENT"]
    fleet.go_live(2)
    fleet.publish(PAST)
    fleet.await_scores(len(PAST))
    with Load(fleet, RATE) as load:
        load.await_decisions(time.monotonic())
        go_live_when_warm(green, 2, digest=checkout.put_model(green.models, seed=1))
        for number, named in zip(range(HAND_OVERS), (green, fleet, green), strict=True):
            fleet.publish((label_of(one) for one in PAST[number::HAND_OVERS]), topic="labels")
            hand_over(named)
            load.await_decisions(time.monotonic())
    checked = assert_published_once(fleet, [names[0], names[1]] * 2)
    # Not all that was sent: what the other fleet had decided when this one took over, it has only applied.
    published = [score for scores in checked.decided.values() for score in scores]
    last = {score.transaction_id for score in published if term_of(score.epoch) == HAND_OVERS}
    until(lambda: last <= decided_by(fleet), "the fleet that is replaced decides the last ones silently")
    for one in (fleet, green):
        found = diff(one)
        report(f"{one.environment['DEPLOYMENT'][-5:]}: {counted(found)}")
        assert found["deployment"] == one.environment["DEPLOYMENT"]
        assert (found["unexplained"], found["undecided"]) == (0, 0), found
        assert 0 < found["silent"] < found["compared"]
    assert checked.payments == len(PAST) + len(load.sent)
    by_other_code = diff(Fleet(green.environment, green.folder, start_worker))
    assert by_other_code["reasons"] == {"another_fingerprint": by_other_code["compared"]}


def label_of(one: dict[str, Any]) -> dict[str, Any]:
    about = {name: one[name] for name in ("transaction_id", "card_id")}
    return about | {"fraud": True, "labelled_at": format_time(START_MS), "reported_by": "analyst"}


def decided_by(fleet: Fleet) -> set[str]:
    """Return the payments that a deployment has decided, published or silently."""
    own = fleet.environment["DEPLOYMENT"]
    published = {score.transaction_id for score in fleet.scores()[0] if score.deployment == own}
    return published | {score.transaction_id for score in silent_scores(fleet)}


def counted(found: dict[str, Any]) -> str:
    return ", ".join(f"{name} {found[name]}" for name in REPORTED)
