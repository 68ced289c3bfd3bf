"""`fraudstream deployment`: what is shown, what is sent with which evidence, and how a hand-over that hangs is told."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from fraudstream.cli import commands, deployment_handover, deployment_survey
from fraudstream.cli.deployment_survey import newest_offsets
from fraudstream.cli.main import main
from fraudstream.ops.rollout.deployments.gates import Reproduction
from fraudstream.ops.rollout.deployments.handover import Begun, HandoverReport, PartitionHandover
from fraudstream.ops.rollout.deployments.publishers import Publishers, TermStart
from fraudstream.ops.rollout.deployments.state import GroupSource, LiveModel, target_of
from fraudstream.ops.rollout.deployments.survey import Survey, SurveyRequest
from models.commands import CommandKind, Event
from models.lineup import Lineup
from models.problems import Problem, ProblemCode
from models.terms import Term
from models.worker_records import WorkerRecord, WorkerRecords
from stream.control.client import CommandRequest
from stream.errors import DeploymentError
from stream.settings import Settings
from support.control_events import accepted, event
from support.deployment_cases import AT, COMPARISON, GREEN

BLUE = replace(GREEN, deployment="blue", group="fraudstream-blue", publishes=True, since_ms=0, versions={"1": 100})
FIRST = PartitionHandover(
    partition=0, first_offset=900, announced=900, pause_ms=412, first_latency_ms=23, decisions=88, void=2
)
QUIET = PartitionHandover(partition=1)
STUCK = PartitionHandover(partition=1, undecided=12)


def records() -> WorkerRecords:
    """What workers have said: the lines of two hashes of settings."""
    workers = WorkerRecords()
    for settings, skew in (("0a1b2c3d", 300), ("4e5f6071", 60)):
        said = WorkerRecord("fraudstream-green", "2", settings)._asdict()
        lines = ("FRAUDSTREAM_FEATURES=", f"FRAUDSTREAM_FUTURE_SKEW={skew}")
        workers.add(event("ready", 0, settings, deployment="green", settings_lines=lines, **said))
    return workers


class Fleets:
    """Blue publishes in term 0, green is silent; records what was asked, rescored, sent and watched."""

    def __init__(self) -> None:
        self.green, self.earlier, self.partitions = GREEN, (), (FIRST, QUIET)
        self.reproduction = Reproduction(100, 100, 0)
        self.refusal: tuple[Problem, ...] = ()
        self.asked: list[tuple[SurveyRequest, bool]] = []
        self.rescored: list[dict[int, tuple[int, int]]] = []
        self.sent: list[CommandRequest] = []
        self.watched: list[tuple[str, Begun, float]] = []

    async def survey(self, request: SurveyRequest, *, always_compare: bool) -> Survey:
        self.asked.append((request, always_compare))
        term = Term(len(self.earlier), "blue", self.earlier)
        publishers = Publishers(term, (TermStart(0, "blue", 0),), {"green": Lineup("green")}, records())
        if request.deployment == "blue":
            return Survey(publishers, (BLUE,), None, None)
        return Survey(
            publishers, (BLUE, self.green), target_of(request.settings, "green", request.groups, records()), COMPARISON
        )

    def rescore(self, _settings: Settings, ranges: dict[int, tuple[int, int]], _progress: object) -> Reproduction:
        self.rescored.append(dict(ranges))
        return self.reproduction

    async def send(self, settings: Settings, request: CommandRequest, _tell: object) -> tuple[str, Event]:
        assert settings.deployment == "green"
        self.sent.append(request)
        if self.refusal:
            return "c-1", event("refused", 1, "e", command_id="c-1", command="cut_over", problems=self.refusal)
        return "c-1", accepted(1, "cut_over", deployment="green", term=len(self.earlier) + 1)

    async def watch(
        self, settings: Settings, begun: Begun, deadline_s: float, tell: Callable[[int, int], None]
    ) -> HandoverReport:
        self.watched.append((settings.deployment, begun, deadline_s))
        tell(1, 2)
        return HandoverReport(
            term=begun.term,
            deployment=settings.deployment,
            before=begun.before,
            accepted_at=begun.accepted_at,
            partitions=self.partitions,
            workers=0 if any(one.undecided for one in self.partitions) else None,
        )


@pytest.fixture
def fleets(monkeypatch: pytest.MonkeyPatch) -> Fleets:
    found = Fleets()
    monkeypatch.setattr(deployment_survey, "survey", found.survey)
    monkeypatch.setattr(deployment_survey, "rescored", found.rescore)
    monkeypatch.setattr(commands, "command_traced", found.send)
    monkeypatch.setattr(deployment_handover, "watch_handover", found.watch)
    return found


def run(*arguments: str, **environment: str) -> Result:
    defaults = {"FRAUDSTREAM_ACTOR": "ann", "FRAUDSTREAM_DEPLOYMENT": "green", "COLUMNS": "160"}
    return CliRunner(env=defaults | environment).invoke(main, ["deployment", *arguments])


def test_status_says_in_which_settings_that_decide_workers_and_fleets_differ(fleets: Fleets) -> None:
    assert "Settings that decide differ" not in run("status").stdout
    other = GREEN.running["w-1"]._replace(settings="4e5f6071")
    fleets.green = replace(GREEN, workers=("w-1", "w-2", "w-3"), running=GREEN.running | {"w-2": other})
    assert "FRAUDSTREAM_FUTURE_SKEW" in run("status").stdout
    facts = json.loads(run("status", "--json").stdout)
    assert facts["settings_differ"] == {
        "FRAUDSTREAM_FUTURE_SKEW": {"300": ["blue/w-1", "green/w-1"], "60": ["green/w-2"]}
    }
    assert facts["settings_unknown"] == ["green/w-3"]
    assert facts["deployments"][1]["running"]["w-2"] == other._asdict() | {"can": list(other.can)}


def test_a_group_that_no_worker_has_written_is_said_to_be_a_guess(fleets: Fleets) -> None:
    fleets.green = replace(GREEN, group_source=GroupSource.GUESS, workers=(), running={})
    assert "fraudstream-green (a guess: no worker has written it; --group names another)" in run("status").stdout
    assert json.loads(run("status", "--json").stdout)["deployments"][1]["group_source"] == "guess"


@pytest.mark.usefixtures("fleets")
def test_status_says_first_that_nobody_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "BLUE", replace(BLUE, workers=(), running={}))
    words = "Nobody decides: blue publishes in term 0, and has no worker in group fraudstream-blue"
    assert run("status").stdout.splitlines()[0] == f"\N{MULTIPLICATION SIGN} {words}"


def test_status_of_one_begins_with_go_or_no_go_and_exits_with_0(fleets: Fleets) -> None:
    result = run("status", "green")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:2] == [
        "\N{CHECK MARK} Go: green may publish",
        "To hand over: fraudstream deployment cut-over green",
    ]
    fleets.reproduction = Reproduction(100, 99, 1)
    refused = run("status", "green")
    assert refused.exit_code == 0
    assert refused.stdout.splitlines()[0] == "\N{MULTIPLICATION SIGN} No-go: green may not publish: reproduces"


def test_status_as_json_is_one_object(fleets: Fleets) -> None:
    found = json.loads(run("status", "green", "--json").stdout)
    assert (found["publisher"], found["term"], found["deployment"], found["go"]) == ("blue", 0, "green", True)
    assert [one["deployment"] for one in found["deployments"]] == ["blue", "green"]
    assert [found["deployments"][1][name] for name in ("lag", "behind", "partitions")] == [3, 2, 2]
    assert found["comparison"]["changed"] == 9
    assert len(found["gates"]) == 7
    assert json.loads(run("status", "--json").stdout)["go"] is None
    assert len(fleets.rescored) == 1


def test_the_newest_decisions_of_each_partition_are_rescored(fleets: Fleets) -> None:
    run("status", "green", "--sample", "100")
    assert fleets.rescored == [{0: (650, 700), 1: (0, 20)}]
    assert newest_offsets({0: 5, 1: 0}, 1) == {0: (4, 5)}


def test_no_sample_is_no_go_and_a_statement_takes_its_place(fleets: Fleets) -> None:
    assert "not examined (--sample 0)" in run("status", "green", "--sample", "0").stdout
    assert run("cut-over", "green", "--sample", "0").exit_code == 1
    assert run("cut-over", "green", "--reproduced").exit_code == 0
    assert fleets.rescored == []
    (sent,) = fleets.sent
    assert sent.evidence is not None
    assert sent.evidence["gates"]["reproduces"]["found"] == "stated by the sender"


def test_options_say_what_is_looked_at_and_what_the_gates_ask_for(fleets: Fleets) -> None:
    options = ("--minutes", "30", "--fault-minutes", "5", "--group", "blue=cards", "--budget", "0.5%", "--records", "1")
    result = run("status", "green", *options, "--json")
    ((request, always),) = fleets.asked
    assert (request.deployment, request.groups, request.minutes, request.fault_minutes, always) == (
        "green", {"blue": "cards"}, 30.0, 5.0, True,
    )  # fmt: skip
    found = {gate["gate"]: gate for gate in json.loads(result.stdout)["gates"]}
    assert (found["caught_up"]["passed"], found["differences"]["passed"]) == (False, False)
    assert found["differences"]["required"] == "at most 0.50% of at least 500"


@pytest.mark.parametrize(
    "wrong", [("--budget", "2"), ("--budget", "101%"), ("--group", "blue"), ("--minutes", "0"), ("--deadline", "0")]
)
def test_what_is_no_option_is_refused_before_anything_is_read(fleets: Fleets, wrong: tuple[str, ...]) -> None:
    assert (run("cut-over", "green", *wrong).exit_code, fleets.asked) == (2, [])
    assert run("cut-over", "gr een").exit_code == 2


def test_a_hand_over_carries_its_evidence_and_expects_the_term(fleets: Fleets) -> None:
    result = run("cut-over", "green", "--reason", "new features", "--wait", "5", "--deadline", "7")
    assert result.exit_code == 0, result.output
    (sent,) = fleets.sent
    assert (sent.kind, sent.expected_revision, sent.force, sent.wait) == (CommandKind.CUT_OVER, 0, False, 5.0)
    assert (sent.actor, sent.reason) == ("ann", "new features")
    assert sent.evidence is not None
    assert (sent.evidence["go"], sent.evidence["comparison"]["changed"]) == (True, 9)
    assert fleets.watched == [("green", Begun(1, AT, "blue"), 7.0)]
    assert fleets.asked[0][1] is False
    assert result.stdout.splitlines()[-1] == "The way back: fraudstream deployment cut-over blue"


def test_a_hand_over_as_json_is_one_object(fleets: Fleets) -> None:
    found = json.loads(run("cut-over", "green", "--json").stdout)
    assert (found["go"], found["verdict"]["term"], found["handover"]["done"]) == (True, 1, True)
    assert found["handover"]["partitions"][0]["pause_ms"] == 412
    assert len(fleets.sent) == 1


def test_a_no_go_sends_nothing_unless_forced_and_then_says_so_on_the_record(fleets: Fleets) -> None:
    fleets.green = replace(GREEN, workers=())
    result = run("cut-over", "green", "--json")
    assert (result.exit_code, fleets.sent) == (1, [])
    assert json.loads(result.stdout)["verdict"] is None
    assert "nothing was sent" in result.stderr
    assert run("cut-over", "green", "--force").exit_code == 0
    (sent,) = fleets.sent
    assert sent.evidence is not None
    assert (sent.force, sent.evidence["go"]) == (True, False)


def test_a_refusal_of_the_workers_is_shown_and_nothing_is_watched(fleets: Fleets) -> None:
    fleets.refusal = (Problem(ProblemCode.NOT_READY, "worker w-1 repairs histories"),)
    result = run("cut-over", "green")
    assert (result.exit_code, fleets.watched) == (1, [])
    assert "not_ready: worker w-1 repairs histories" in result.stdout
    found = json.loads(run("cut-over", "green", "--json").stdout)
    assert (found["verdict"]["kind"], found["handover"]) == ("refused", None)


def test_on_the_way_back_only_the_state_counts_and_nothing_is_rescored(fleets: Fleets) -> None:
    fleets.earlier = ("red", "green")
    fleets.green = replace(GREEN, since_ms=5)
    result = run("cut-over", "green")
    assert (result.exit_code, fleets.rescored) == (0, [])
    (sent,) = fleets.sent
    assert sent.evidence is not None
    assert (sent.expected_revision, sent.evidence["way_back"], len(sent.evidence["gates"])) == (2, True, 4)
    assert "Go (the way back): green may publish" in result.stdout


def test_a_fleet_that_does_not_go_on_is_told_with_the_way_back(fleets: Fleets) -> None:
    fleets.partitions = (FIRST, STUCK)
    result = run("cut-over", "green")
    assert result.exit_code == 1
    assert "12 payments wait" in result.stdout
    assert "green does not go on in partitions 1: no worker is in its group" in result.stdout
    assert result.stdout.splitlines()[-1] == "The way back: fraudstream deployment cut-over blue"
    assert json.loads(run("cut-over", "green", "--json").stdout)["handover"]["done"] is False


def test_the_deployment_that_publishes_cannot_take_over(fleets: Fleets) -> None:
    result = run("cut-over", "blue")
    assert (result.exit_code, fleets.sent) == (1, [])
    assert result.stderr == "deployment blue publishes already, in term 0\n"
    assert run("status", "blue").exit_code == 0


def test_what_cannot_be_handed_over_is_refused_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    async def survey(_request: SurveyRequest, *, always_compare: bool) -> Survey:
        raise DeploymentError(f"no deployment publishes yet {always_compare}")

    monkeypatch.setattr(deployment_survey, "survey", survey)
    result = run("status")
    assert (result.exit_code, result.stderr) == (1, "no deployment publishes yet True\n")


def test_names_are_printed_as_they_are(fleets: Fleets) -> None:
    fleets.green = replace(GREEN, live=LiveModel("a" * 64, "[bold]x :smile:", "\x1b[2J"))
    result = run("status", "green", "--json")
    assert msgspec.json.decode(result.stdout)["deployments"][1]["live"]["name"] == "[bold]x :smile:"
    shown: Any = run("status", "green").stdout
    assert "[bold]x :smile:" in shown
    assert "\x1b[2J" not in shown
