"""What a look at a deployment says, and in which order things are to be looked at."""

from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from fraudstream.ops.report.terminal import on_terminal
from fraudstream.ops.rollout.deployments.publishers import Publishers
from fraudstream.ops.rollout.deployments.recent import Faults
from fraudstream.ops.rollout.deployments.state import HistoriesFound
from fraudstream.ops.rollout.guard.status import Status
from fraudstream.ops.rollout.guard.watched import Past
from fraudstream.ops.watch.fleet_sections import state_fleet
from fraudstream.ops.watch.fleet_status import (
    FleetStatus,
    PartitionWait,
    duration_text,
    look_first,
    roles,
)
from fraudstream.ops.watch.incidents.told import ToldIncident
from models.arms import Arm, Canary, Split
from models.lineup import Lineup
from models.rollouts import Freeze
from models.terms import Term
from models.worker_records import WorkerRecords
from stream.contract.incident import Incident, IncidentKind, IncidentRule, Severity
from support.deployment_cases import GREEN

AT_MS = 1_700_000_000_000
LIVE, OTHER = "a" * 64, "b" * 64


def incident(severity: Severity, rule: IncidentRule, name: str) -> ToldIncident:
    one = Incident(
        incident_id=name * 32,
        deployment="default",
        rule=rule,
        severity=severity,
        receivers=(),
        kind=IncidentKind.OPENED,
        sequence=0,
        at="2023-11-14T22:00:00.000Z",
        since="2023-11-14T21:59:00.000Z",
        until="2023-11-14T22:00:00.000Z",
        events=3,
        amounts={"EUR": 1_250},
        decided={},
        reasons={},
        text="3 payments",
        worker="guard-1",
    )
    return ToldIncident(one, one)


def status(lineup: Lineup | None = None, **changes: Any) -> FleetStatus:
    lineup = Lineup("default", 4, LIVE) if lineup is None else lineup
    state = replace(
        GREEN,
        deployment="default",
        group="cards",
        publishes=True,
        workers=changes.pop("workers", ("w-1", "w-2")),
        histories=changes.pop("histories", HistoriesFound(whole=True, found="whole")),
        faults=changes.pop("faults", Faults(AT_MS, 100, 0, {}, 0, 0)),
    )
    found = {"partitions": (PartitionWait(0, 0, None), PartitionWait(1, 0, None)), "incidents": ()} | changes
    publishers = Publishers(Term(1, "default"), (), {}, WorkerRecords())
    return FleetStatus(AT_MS, state, lineup, publishers, Status(Past(lineup)), **found)


def commands(found: FleetStatus) -> list[str]:
    return [one.command for one in look_first(found)]


def headline(found: FleetStatus) -> str:
    stated = state_fleet(found, lambda digest: digest[:4]).headline
    assert stated is not None
    return stated.words


def shown(found: FleetStatus) -> str:
    console = Console(width=100, record=True, file=StringIO())
    console.print(on_terminal(state_fleet(found, lambda digest: digest[:4]), has_page=False))
    return console.export_text()


def test_a_fleet_on_which_nothing_is_wrong_has_nothing_to_look_at() -> None:
    assert look_first(status()) == []
    assert headline(status()) == "aaaa decides with 2 workers; nothing waits"
    assert "Look at first" not in shown(status())
    assert "Open incidents" not in shown(status())


def test_what_stops_payments_stands_before_what_waits_until_morning() -> None:
    found = status(
        Lineup("default", 4, LIVE, frozen=Freeze(hands_off=True)),
        workers=(),
        histories=HistoriesFound(whole=False, found="history epoch 3 is being repaired"),
        faults=Faults(AT_MS, 100, 20, {"stood_in": 20}, 0, 0),
        partitions=(PartitionWait(0, 5, 61_000), PartitionWait(1, 9, 125_000), PartitionWait(2, 1, 59_000)),
        incidents=(
            incident(Severity.TICKET, IncidentRule.DEAD_LETTERS, "1"),
            incident(Severity.PAGE, IncidentRule.PARTITION_HALTED, "2"),
        ),
    )
    assert commands(found) == [
        "fraudstream worker",
        "fraudstream incident report 222222222222 --details",
        "fraudstream deployment status",
        "fraudstream features rebuild",
        "fraudstream model thaw",
        "fraudstream incident report 111111111111 --details",
        "fraudstream deployment status",
    ]
    assert headline(found) == "Nobody decides: no worker runs in group cards"
    assert "partition 1 waits for 2 min 5 s, and 1 others: 9 records there" in [one.what for one in look_first(found)]
    assert [one["partition"] for one in found.facts()["partitions"]] == [0, 1, 2]


def test_a_deployment_without_a_model_says_how_one_becomes_live() -> None:
    found = status(Lineup("default"), workers=("w-1",))
    assert commands(found) == ["fraudstream model promote MODEL"]
    assert headline(found) == "Nobody decides: no model is live, so every payment waits"


@pytest.mark.parametrize(
    ("lineup", "expected"),
    [
        (Lineup("d", 1, LIVE, canary=Canary(OTHER, 500, "s")), {"canary": {"model": OTHER, "share_bp": 500}}),
        (Lineup("d", 1, LIVE, challenger=OTHER), {"challenger": OTHER}),
        (Lineup("d", 1, LIVE, previous=(OTHER,)), {"before": OTHER}),
        (
            Lineup("d", 1, LIVE, split=Split((Arm("b", OTHER, 3_000),), "s")),
            {"split": {"b": {"model": OTHER, "share_bp": 3_000}}},
        ),
    ],
)
def test_each_role_is_stated_and_shown(lineup: Lineup, expected: dict[str, Any]) -> None:
    nobody = {"live": LIVE, "challenger": None, "canary": None, "split": None, "before": None}
    assert roles(lineup, AT_MS) == nobody | expected
    assert OTHER[:12] in shown(status(lineup))


@pytest.mark.parametrize(
    ("length_ms", "text"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1 s"),
        (61_000, "1 min 1 s"),
        (3_600_000, "1 h 0 min"),
        (90_061_000, "1 d 1 h"),
    ],
)
def test_a_length_of_time_has_its_two_largest_units(length_ms: int, text: str) -> None:
    assert duration_text(length_ms) == text
