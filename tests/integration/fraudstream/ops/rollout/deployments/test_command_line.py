"""The commands of a hand-over against two real fleets: go or no-go by every gate, the hand-over, and the way back."""

import json
import time
from typing import Any

import pytest

from support.fleet.deployments import assert_published_once, go_live_when_warm, silent_scores
from support.fleet.fleet import Fleet, until
from support.fleet.load import Load
from support.fleet.payments import PARTITIONS

ENOUGH = 300
GATES = ("workers", "histories", "caught_up", "model", "faults", "differences", "reproduces")


def run(fleet: Fleet, *arguments: str, code: int = 0) -> dict[str, Any]:
    """Run a command of `fraudstream deployment`, and return its JSON."""
    done = fleet.cli("deployment", *arguments, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.acceptance
def test_a_fleet_takes_over_by_the_command_line_and_gives_back(fleet: Fleet, green: Fleet) -> None:
    fleet.go_live()
    blue_name, green_name = fleet.environment["DEPLOYMENT"], green.environment["DEPLOYMENT"]
    of_blue = ("--group", f"{blue_name}={fleet.environment['GROUP']}")
    with Load(fleet, 100) as load:
        go_live_when_warm(green)
        until(lambda: len(silent_scores(green)) >= ENOUGH, "enough is decided silently", 90)
        refused = run(green, "cut-over", green_name, "--minimum", "1000000", "--sample", "0", *of_blue, code=1)
        assert [gate["gate"] for gate in refused["gates"] if not gate["passed"]] == ["differences", "reproduces"]
        assert refused["verdict"] is None, "nothing was sent"
        over = run(green, "cut-over", green_name, "--minimum", str(ENOUGH), "--sample", "200", *of_blue)
        load.await_decisions(time.monotonic())
        shown = fleet.cli("deployment", "status")
        back = run(fleet, "cut-over", blue_name)
        load.await_decisions(time.monotonic())
    assert_command_told_all(over, green_name)
    assert (back["way_back"], back["verdict"]["term"], back["handover"]["done"]) == (True, 2, True)
    assert [gate["gate"] for gate in back["gates"]] == [*GATES[:4]]
    assert shown.returncode == 0, shown.stderr
    assert green_name in shown.stdout
    assert_published_once(fleet, [blue_name, green_name, blue_name])


def assert_command_told_all(over: dict[str, Any], green_name: str) -> None:
    assert tuple(gate["gate"] for gate in over["gates"]) == GATES
    assert all(gate["passed"] for gate in over["gates"])
    verdict, handover = over["verdict"], over["handover"]
    assert (verdict["kind"], verdict["term"], verdict["deployment"]) == ("accepted", 1, green_name)
    assert verdict["evidence"]["go"] is True
    assert (handover["done"], len(handover["partitions"])) == (True, PARTITIONS)
    assert all(one["first_offset"] == one["announced"] for one in handover["partitions"] if one["announced"])
