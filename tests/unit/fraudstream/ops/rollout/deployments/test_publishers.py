"""Who publishes since when, and on which deployments a verdict was ever given."""

from fraudstream.ops.rollout.deployments.publishers import TermStart, publishers_of
from models.commands import Event
from models.terms import Term
from models.times import format_time
from support.control_events import MODELS, accepted, event


def promoted(deployment: str, at_ms: int) -> Event:
    return accepted(1, "promote", MODELS[0], deployment=deployment, at=format_time(at_ms))


def cut_over(deployment: str, term: int, at_ms: int) -> Event:
    name = f"cut-{deployment}-{term}-{at_ms}"
    return accepted(1, "cut_over", deployment=deployment, at=format_time(at_ms), term=term, event_id=name)


LOG = [
    event("not_ready", 0, "r-1", command_id="c-0"),
    promoted("blue", 1_000),
    promoted("green", 2_000),
    cut_over("green", 1, 3_000),
    cut_over("blue", 1, 3_500),
    cut_over("blue", 2, 4_000),
]
"""The second hand-over is void: term 1 has begun already."""


def test_a_log_without_a_promotion_has_no_publisher() -> None:
    found = publishers_of(LOG[:1])
    assert (found.term, found.starts, found.silent) == (Term(), (), ())
    assert found.since_ms("blue") is None


def test_a_deployment_that_never_published_is_silent_since_no_time() -> None:
    found = publishers_of(LOG[:3])
    assert (found.term.publisher, found.silent) == ("blue", ("green",))
    assert (found.since_ms("blue"), found.since_ms("green")) == (1_000, None)
    assert not found.is_way_back("green")


def test_after_a_hand_over_the_former_publisher_is_silent_since_then_and_the_way_back() -> None:
    found = publishers_of(LOG[:5])
    assert found.term == Term(1, "green", ("blue",))
    assert found.starts == (TermStart(0, "blue", 1_000), TermStart(1, "green", 3_000))
    assert (found.since_ms("green"), found.since_ms("blue")) == (3_000, 3_000)
    assert found.is_way_back("blue")
    assert not found.is_way_back("red")


def test_after_the_way_back_times_are_those_of_the_last_hand_over() -> None:
    found = publishers_of(LOG)
    assert found.term == Term(2, "blue", ("blue", "green"))
    assert (found.since_ms("blue"), found.since_ms("green")) == (4_000, 4_000)
    assert found.lineup("green").live == MODELS[0]
    assert not found.lineup("red").serving
