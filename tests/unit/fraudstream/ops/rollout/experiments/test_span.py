"""Which experiments the event log tells of, and which one is chosen."""

import pytest

from fraudstream.ops.rollout.experiments.span import Experiment, choose_experiment, experiments_of
from models.commands import AcceptedArm, Event
from models.times import format_time
from stream.errors import ReportError
from support.control_events import MODELS, accepted

A, B, C = MODELS


def split(revision: int, minute: int, **shares: int) -> Event:
    arms = {name: AcceptedArm(B, share_bp) for name, share_bp in shares.items()}
    return accepted(revision, "split", arms=arms, salt="s", exclude=("card-1",), at=at(minute))


def at(minute: int) -> str:
    return format_time(minute * 60_000)


LOG = [
    accepted(1, model=A, at=at(0)),
    split(2, 1, new=1_000, control=500),
    accepted(3, "challenge", model=C, at=at(2)),
    accepted(4, "end_split", model=B, winner="new", at=at(3)),
    split(5, 4, old=9_000),
    accepted(6, "roll_back", at=at(6)),
    split(7, 8, rest=1_000, more=9_000),
]


def test_an_experiment_lasts_from_its_acceptance_to_what_ended_it_whatever_else_happens_meanwhile() -> None:
    first, second, third = experiments_of("default", LOG)
    assert (first.first, first.until, first.since_ms, first.until_ms) == (2, 4, 60_000, 180_000)
    assert (first.winner, first.ended_by, first.live) == ("new", "end_split", A)
    assert [tuple(arm) for arm in first.arms] == [("control", 500), ("new", 1_000), ("live", 8_500)]
    assert first.models == {"control": B, "new": B, "live": A}
    assert [first.holds(revision) for revision in (1, 2, 3, 4)] == [False, True, True, False]
    assert (second.first, second.ended_by, second.winner, second.live) == (5, "roll_back", None, B)
    assert (third.until, third.until_ms) == (None, None)
    assert [arm.name for arm in third.arms] == ["more", "rest"], "nothing is left to live"


def test_void_events_and_those_of_other_deployments_begin_no_experiment() -> None:
    others = [accepted(1, model=A, deployment="other"), accepted(2, "end_split", winner="new", event_id="void")]
    assert experiments_of("default", [*LOG[:1], *others]) == []


@pytest.mark.parametrize(
    ("revision", "since_ms", "first"),
    [(None, None, 7), (5, None, 5), (None, 0, 2), (None, 179_999, 2), (None, 180_000, 5), (None, 10**9, 7)],
)
def test_the_last_experiment_is_chosen_or_the_one_that_is_named(
    revision: int | None, since_ms: int | None, first: int
) -> None:
    assert choose_experiment(experiments_of("default", LOG), revision, since_ms).first == first


def test_the_refusal_names_the_experiments_that_there_were() -> None:
    found = experiments_of("default", LOG)
    with pytest.raises(ReportError, match=r"no experiment began with revision 3; .* 2 \(1970-.*\), 5 \(.*\), 7 \("):
        choose_experiment(found, 3, None)
    with pytest.raises(ReportError, match=r"no experiment ran at .* or later"):
        choose_experiment(found[:2], None, 10**9)
    with pytest.raises(ReportError, match="`fraudstream model split` starts one"):
        choose_experiment(list[Experiment](), None, None)
