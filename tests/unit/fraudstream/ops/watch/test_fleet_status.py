"""What a look at a deployment says, and in which order things are to be looked at."""

import re
from dataclasses import replace
from io import StringIO
from typing import Any

import msgspec
import pytest
from rich.console import Console

from features.redis.age import PaymentDays
from fraudstream.cli.status import _look_back
from fraudstream.ops.report.document import Tone
from fraudstream.ops.report.terminal import on_terminal
from fraudstream.ops.rollout.deployments.publishers import Publishers
from fraudstream.ops.rollout.deployments.recent import DeadLetterPlaces, Faults
from fraudstream.ops.rollout.deployments.state import HistoriesFound
from fraudstream.ops.rollout.guard.finding import Finding
from fraudstream.ops.rollout.guard.status import Status
from fraudstream.ops.rollout.guard.watched import Past, past_of
from fraudstream.ops.watch.fields.judgement import FieldChange, FieldFindings, FieldShare
from fraudstream.ops.watch.fleet_sections import state_fleet
from fraudstream.ops.watch.fleet_status import (
    FleetStatus,
    LookBack,
    PartitionWait,
    RecentLetters,
    duration_text,
    look_first,
    recent_letters,
    roles,
)
from fraudstream.ops.watch.incidents.told import ToldIncident
from fraudstream_client.incidents import Incident, IncidentKind, IncidentRule, Severity
from guards.specs import Action, GuardKind
from models.arms import Arm, Canary, Split
from models.lineup import Lineup
from models.rollouts import Freeze
from models.terms import Term
from models.times import format_time
from models.worker_records import WorkerRecords
from stream.contract.codes import DeadLetterCode
from stream.positions.dead_letters import DeadLetter, LetterOrigin
from stream.settings import Settings
from support.control_events import accepted
from support.deployment_cases import GREEN
from support.stream_records import Told

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
    guard = found.pop("guard", Status(Past(lineup)))
    return FleetStatus(AT_MS, state, lineup, publishers, guard, **found)


def letter(offset: int, code: DeadLetterCode = DeadLetterCode.TOO_LATE, deployment: str = "default") -> Told:
    outgoing = DeadLetter(Told(b"{}", offset=offset), code, "because").to_record(LetterOrigin(deployment))
    return Told(outgoing.value, headers=tuple(outgoing.headers), timestamp=AT_MS - 1_000)


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


def test_a_day_with_refused_records_is_not_green() -> None:
    letters = DeadLetterPlaces()
    codes = [DeadLetterCode.TOO_LATE] * 3 + [DeadLetterCode.INVALID_FIELD]
    letters.add(letter(number, code) for number, code in enumerate(codes))
    letters.add([letter(4, deployment="other")])
    recent = recent_letters(letters, "default", AT_MS)
    found = status(letters=recent)
    (look,) = look_first(found)
    refused = "4 records were refused in the last day (too_late 3, invalid_field 1)"
    assert look.what == f"{refused}, the last at {format_time(AT_MS - 1_000)}"
    assert (look.command, look.urgent) == ("fraudstream dead-letters list", False)
    stated = state_fleet(found, str).headline
    assert stated is not None
    assert stated.tone is Tone.PLAIN
    assert found.facts()["dead_letters"]["total"] == 4
    assert recent_letters(letters, "default", AT_MS + 2 * 86_400_000) == RecentLetters()


def test_young_histories_are_to_be_looked_at_as_at_the_workers() -> None:
    days = PaymentDays()
    days.add((20_000, 20_001))
    found = status(histories=HistoriesFound(whole=True, found="whole", days=days), look_back=LookBack(37))
    (look,) = look_first(found)
    assert look.what.startswith("histories go back 1 days, but features look back 37")
    assert "They begin on 2024-10-04" in look.what
    assert (look.command, found.facts()["history_missing_days"]) == ("fraudstream backfill FILE", 36)


def test_features_that_cannot_be_loaded_cost_one_answer_and_not_the_others() -> None:
    look_back = _look_back(Settings(features="no_such_module"))
    assert look_back.days == 0
    found = status(look_back=look_back, workers=())
    nobody, unknown = look_first(found)
    assert (nobody.urgent, unknown.urgent, unknown.command) == (True, False, "FRAUDSTREAM_FEATURES")
    assert unknown.what.startswith("whether histories are too young is not known, since the features cannot be loaded")
    assert "no_such_module" in unknown.what
    assert found.facts()["history_missing_days"] == 0
    assert _look_back(Settings()).days > 0


@pytest.mark.parametrize("found", ["redis://127.0.0.1:9/0: Connection refused", "Redis holds no histories of it"])
def test_a_redis_that_may_be_another_one_is_no_reason_to_rebuild(found: str) -> None:
    (look,) = look_first(status(histories=HistoriesFound(whole=False, found=found, answers=False)))
    assert (look.command, look.urgent) == ("FRAUDSTREAM_REDIS_URL", False)


def test_a_promotion_that_no_guard_watches_is_urgent() -> None:
    past = past_of("default", [accepted(1, model=LIVE), accepted(2, model=OTHER, watch_until=format_time(AT_MS))])
    assert past.watched is not None
    finding = Finding(None, None, ("declined is breached",), {GuardKind.DECLINED: Action.ROLL_BACK})
    watched = Status(past, past.watched, None, finding, frozenset())
    first, breached = look_first(status(past.lineup, guard=watched))
    assert first.what == "no guard runs: nothing rolls this promotion back if the new model does harm"
    assert (first.command, first.urgent) == ("fraudstream guard", True)
    assert breached.what == "breached guards: declined"
    (guarded,) = look_first(status(past.lineup, guard=watched._replace(guards=frozenset({"guard-1"}))))
    assert guarded == breached


def test_a_name_that_no_deployment_has_is_not_taken_for_a_standstill() -> None:
    beside = Publishers(Term(1, "bank"), (), {}, WorkerRecords())
    found = status(Lineup("default"), workers=())._replace(publishers=beside)
    assert commands(found) == ["FRAUDSTREAM_DEPLOYMENT", "fraudstream worker"]
    assert headline(found) == (
        "Nothing is decided beside bank: deployment default has no live model, and bank publishes: is its name right?"
    )


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


def test_a_field_that_stopped_is_to_be_looked_at_unless_an_incident_tells_of_it() -> None:
    stopped = FieldChange("ip_country", 0.4, AT_MS, 300)
    shares = [FieldShare("ip_country", 0.4, 0.0), FieldShare("mcc", 1.0, 1.0)]
    fields = FieldFindings(AT_MS, 300, shares, [stopped], [], {"ip_land": 0.4})
    found = status(fields=fields)
    assert [one.what for one in look_first(found)] == [
        "field ip_country, which 40% of the payments had, does not come any more"
    ]
    text = shown(found)
    assert re.search(r"ip_country +stopped +40% +0%", text)
    assert re.search(r"ip_land +not declared +40%", text)
    assert found.facts()["fields"]["undeclared"] == {"ip_land": 0.4}
    told = incident(Severity.TICKET, IncidentRule.FIELD_STOPPED, "ab")
    told = told._replace(last=msgspec.structs.replace(told.last, reasons={"ip_country": 300}))
    assert commands(status(fields=fields, incidents=(told,))) == [f"fraudstream incident report {'ab' * 6} --details"]


def test_fields_that_come_as_before_are_counted_and_what_was_not_read_in_time_is_said() -> None:
    found = status(fields=FieldFindings(AT_MS, 300, [FieldShare("mcc", 1.0, 1.0)]))
    assert look_first(found) == []
    assert "Of 1 optional fields and declared attributes none has stopped or begun" in shown(found)
    late = status(fields=None)
    assert "could not be read within seconds" in shown(late)
    assert late.facts()["fields"] is None
