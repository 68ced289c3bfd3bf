"""A silent deployment `green` beside `blue`, and how their decisions compare: tests replace what they are about."""

from fraudstream.ops.rollout.deployments.comparison import Comparison, DecisionChange, DecisionTimes, ScoreShift
from fraudstream.ops.rollout.deployments.recent import Faults
from fraudstream.ops.rollout.deployments.state import (
    DecisionLag,
    DeploymentState,
    GroupSource,
    HistoriesFound,
    LiveModel,
)
from models.worker_records import WorkerRecord

AT = "2026-01-01T00:00:00.000Z"
GREEN = DeploymentState(
    deployment="green",
    group="fraudstream-green",
    group_source=GroupSource.RECORD,
    publishes=False,
    since_ms=None,
    term=0,
    workers=("w-1",),
    running={"w-1": WorkerRecord("fraudstream-green", "2", "0a1b2c3d")},
    versions={"2": 100},
    decided_ms=1_767_225_600_000,
    live=LiveModel("a" * 64, "card", "2"),
    revision=1,
    lag=DecisionLag(3, 2, 2),
    histories=HistoriesFound(whole=True, found="whole, history epoch 7"),
    faults=Faults(1_767_225_000_000, 100),
    decided_to={0: 700, 1: 20},
    unread={0: range(700, 703), 1: range(20, 20)},
)
COMPARISON = Comparison(
    since=AT,
    until=AT,
    published="blue",
    silent="green",
    compared=1_000,
    only_published=1,
    only_silent=0,
    passed_over=7,
    changed=9,
    changes=(DecisionChange("approve", "review", 9, {"EUR": 900, "JPY": 5}),),
    amounts={"EUR": 100_000},
    changed_amounts={"EUR": 900, "JPY": 5},
    scores=ScoreShift(1_000, 0.0, 0.001, 0.1, 0.002),
    latency_published=DecisionTimes(5.0, 9.0),
    latency_silent=DecisionTimes(6.0, 10.0),
)
