"""A worker reports how long the new model takes for a row: once at each revision, and when it crosses its budget."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from guards.ladder import Ladder
from guards.specs import DEFAULT_ROW_TIME, RowTimeSpec, default_guards
from models.arms import Arm, Canary, Split
from models.commands import EventKind
from models.lineup import Lineup
from models.loading import LAST_CALLS, RowTimes
from models.rollouts import Rollout
from stream.control.follower import Follower
from stream.settings import Settings
from stream.worker.row_times import GuardedModel, RowTimeReports, guarded_models
from support.shadow_cases import Log

A, B, C = (letter * 64 for letter in "abc")
BUDGET = RowTimeSpec(100.0)
ROLLOUT = Rollout("c-1", B, Ladder.parse("1% 1h, 100%"), default_guards(), BUDGET)
CANARY = Lineup("default", 2, live=A, canary=Canary(B, 100, "s"))
WATCHED = Lineup("default", 3, live=B, challenger=A, watched_until_ms=5_000)
MINUTE = 60_000


@pytest.mark.parametrize(
    ("lineup", "expected"),
    [
        (Lineup("default", 1, live=A), None),
        (CANARY, GuardedModel(B, DEFAULT_ROW_TIME)),
        (replace(CANARY, rollout=ROLLOUT), GuardedModel(B, BUDGET)),
        (replace(CANARY, rollout=replace(ROLLOUT, row_time=None)), None),
        (WATCHED, GuardedModel(B, DEFAULT_ROW_TIME)),
        (replace(WATCHED, rollout=ROLLOUT), GuardedModel(B, BUDGET)),
        (replace(WATCHED, watched_until_ms=1_000), None),
    ],
)
def test_the_new_model_of_a_canary_or_of_a_watched_promotion_is_guarded(
    lineup: Lineup, expected: GuardedModel | None
) -> None:
    assert guarded_models(lineup, 1_000) == ([] if expected is None else [expected])


SPLIT = Lineup("default", 2, live=A, split=Split((Arm("a", B, 100), Arm("b", C, 100), Arm("control", A, 100)), "s"))


def test_the_new_models_of_a_split_are_guarded_and_the_live_one_in_an_arm_is_not() -> None:
    assert guarded_models(SPLIT, 0) == [GuardedModel(B, DEFAULT_ROW_TIME), GuardedModel(C, DEFAULT_ROW_TIME)]


class Scene:
    """A worker that serves the canary's model of a rollout, whose calls take what the test says."""

    def __init__(self) -> None:
        self.log = Log()
        self.follower = Follower(Settings())
        self.times = RowTimes()
        models: Any = {B: SimpleNamespace(row_times=self.times)}
        self.reports = RowTimeReports(self.follower, models, self.log, "w-1")
        self.at_revision(2)

    def at_revision(self, revision: int) -> None:
        self.follower.lineup = replace(CANARY, revision=revision, rollout=ROLLOUT)

    async def look(self, now_ms: int, row_us: float | None = None) -> list[tuple[int, float | None]]:
        """Look once, after calls of this length if it is given; return all reports: revision and time."""
        for _ in range(LAST_CALLS if row_us is not None else 0):
            self.times.add(round(row_us * 3_000), 3)  # type: ignore[operator]
        await self.reports.report_due(now_ms)
        return [(event.revision, event.row_us) for event in self.log.events]


async def test_a_time_is_reported_at_each_revision_and_when_it_crosses_the_budget_but_not_each_minute() -> None:
    scene = Scene()
    assert await scene.look(0) == []
    assert await scene.look(0, 40.0) == [(2, 40.0)]
    assert await scene.look(MINUTE, 90.0) == [(2, 40.0)]
    assert await scene.look(MINUTE, 110.0) == [(2, 40.0), (2, 110.0)]
    assert await scene.look(MINUTE + 1, 90.0) == [(2, 40.0), (2, 110.0)]
    assert await scene.look(2 * MINUTE) == [(2, 40.0), (2, 110.0), (2, 90.0)]
    scene.at_revision(3)
    assert (await scene.look(2 * MINUTE))[3:] == [(3, 90.0)]
    assert {(event.kind, event.model, event.worker) for event in scene.log.events} == {(EventKind.ROW_TIME, B, "w-1")}


async def test_a_report_that_cannot_be_written_is_written_later() -> None:
    scene = Scene()
    scene.log.away = True
    assert await scene.look(0, 40.0) == []
    scene.log.away = False
    assert await scene.look(1) == [(2, 40.0)]


async def test_the_time_of_each_model_of_a_split_is_reported() -> None:
    scene = Scene()
    others = RowTimes()
    scene.reports._models = {B: SimpleNamespace(row_times=scene.times), C: SimpleNamespace(row_times=others)}  # type: ignore[assignment]
    scene.follower.lineup = SPLIT
    assert await scene.look(0, 40.0) == [(2, 40.0)]
    for _ in range(LAST_CALLS):
        others.add(9_000_000, 3)
    assert await scene.look(1) == [(2, 40.0), (2, 3_000.0)]
    assert [event.model for event in scene.log.events] == [B, C]
