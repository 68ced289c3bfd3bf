"""A worker whose commits the coordinator refuses decides on, says so with the reason, and commits once it can."""

import pytest

from support.fleet.fleet import Fleet, until
from support.fleet.payments import payment
from support.kafka.admin import set_on_topic

COMMITS = "__consumer_offsets"
TOLD = "the group's coordinator has taken no commit for"

pytestmark = pytest.mark.integration


def test_refused_commits_are_told_of_while_payments_are_decided_and_made_in_the_end(fleet: Fleet) -> None:
    (worker,) = fleet.go_live()
    fleet.publish(payment(number) for number in range(20))
    fleet.await_scores(20)
    set_on_topic(fleet.brokers, COMMITS, max_message_bytes="40")  # the broker cannot write one
    try:
        fleet.publish(payment(number) for number in range(20, 40))
        fleet.await_scores(40)
        until(lambda: TOLD in worker.log(), "the worker tells of it")
        (told, *_) = (line for line in worker.log().splitlines() if TOLD in line)
        assert "WARNING" in told
        assert "(UnknownError)" in told
        assert COMMITS in told
    finally:
        set_on_topic(fleet.brokers, COMMITS, max_message_bytes="1000000")
    until(lambda: "that is over after" in worker.log(), "commits are taken again")
    assert worker.terminate() == 0
