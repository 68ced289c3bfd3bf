"""`fraudstream incident`: what is listed, the report that is printed, and which ids are found."""

import json
from collections.abc import Sequence

import msgspec
import pytest
from aiokafka.errors import KafkaConnectionError
from click.testing import CliRunner, Result

from fraudstream.cli import incident
from fraudstream.cli.main import main
from fraudstream.ops.watch.incidents.report import report
from fraudstream.ops.watch.incidents.told import Told, ToldIncident
from fraudstream_client.incidents import Incident, IncidentAction, IncidentKind
from stream.settings import Settings
from support.incident_world import SETTINGS, PastReader, begin_at, troubled_past


def told(records: Sequence[Incident]) -> list[ToldIncident]:
    found = Told(SETTINGS.deployment)
    for one in records:
        found.add(one)
    return list(found.incidents.values())


RECORDS = PastReader(troubled_past(2), begin_at()).read_all()
FOUND = told(RECORDS)


def run(*arguments: str) -> Result:
    environment = {"FRAUDSTREAM_DEPLOYMENT": "bank", "COLUMNS": "150", "FRAUDSTREAM_BROKERS": "127.0.0.1:1"}
    return CliRunner(env=environment).invoke(main, ["incident", *arguments])


def words(text: str) -> str:
    """Return a text without the widths of its columns and lines."""
    return " ".join(text.split())


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> list[ToldIncident]:
    """What the topic says; all incidents of a past at first."""
    incidents = list(FOUND)

    async def read(_settings: Settings) -> list[ToldIncident]:
        return incidents

    monkeypatch.setattr(incident, "read_incidents", read)
    return incidents


@pytest.mark.usefixtures("topic")
def test_incidents_are_listed_in_the_order_in_which_they_were_opened() -> None:
    result = run("list")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert [line.split()[0] for line in lines[1:]] == [one.last.incident_id[:12] for one in FOUND]
    assert "EUR " in result.stdout
    assert len(run("list", "--limit", "2").stdout.splitlines()) == 3


def test_only_open_ones_are_listed_on_request(topic: list[ToldIncident]) -> None:
    assert run("list", "--open").stdout == "deployment bank has no open incidents\n"
    opened = msgspec.structs.replace(FOUND[-1].first, kind=IncidentKind.OPENED)
    topic[-1] = ToldIncident(opened, opened)
    (line,) = run("list", "--open", "--json").stdout.splitlines()
    assert (json.loads(line)["incident_id"], json.loads(line)["open"]) == (opened.incident_id, True)
    topic.clear()
    assert run("list").stdout == "deployment bank has no incidents\n"
    assert (run("list", "--json").stdout, run("report").exit_code) == ("", 1)


@pytest.mark.usefixtures("topic")
def test_a_report_is_found_by_its_id_or_a_part_of_it_and_the_newest_without_one() -> None:
    assert words(run("report").stdout[2:]) == words(report(FOUND[-1])), "behind the sign of its headline"
    for one in FOUND:
        assert words(run("report", one.last.incident_id[:8].upper()).stdout[2:]) == words(report(one))
    details = words(run("report", FOUND[0].last.incident_id, "--details").stdout)
    assert f"Rule {FOUND[0].last.rule}, severity" in details


@pytest.mark.usefixtures("topic")
def test_the_report_as_json_has_the_whole_record_and_the_text() -> None:
    found = json.loads(run("report", FOUND[0].last.incident_id, "--json").stdout)
    assert found.pop("report") == report(FOUND[0])
    assert found.pop("headline") in report(FOUND[0])
    assert (found.pop("opened_at"), found.pop("open")) == (FOUND[0].first.at, False)
    assert msgspec.convert(found, Incident) == FOUND[0].last


def test_an_id_that_is_not_there_or_not_unique_is_refused(topic: list[ToldIncident]) -> None:
    assert (run("report", "0" * 32).exit_code, run("report", "abc").exit_code) == (1, 2)
    assert "no incident 00000000" in run("report", "00000000").stderr
    first = topic[0].last
    twin = msgspec.structs.replace(
        first, incident_id=first.incident_id[:-1] + ("0" if first.incident_id[-1] != "0" else "1")
    )
    topic.append(ToldIncident(twin, twin))
    assert "2 incidents begin with" in run("report", first.incident_id[:10]).stderr
    assert run("report", first.incident_id).exit_code == 0


def test_what_a_person_wrote_into_a_command_cannot_move_the_cursor(topic: list[ToldIncident]) -> None:
    action = IncidentAction("2026-01-31T10:00:00.000Z", "roll_back", "c-1", "ann\x1b[2J", "because\x07")
    last = msgspec.structs.replace(topic[0].last, actions=(action,))
    topic[0] = ToldIncident(topic[0].first, last)
    shown = run("report", last.incident_id, "--details").stdout
    assert "ann\N{REPLACEMENT CHARACTER}[2J" in shown
    assert "\x1b" not in shown


def test_a_broker_that_does_not_answer_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    async def read(_settings: Settings) -> list[ToldIncident]:
        raise KafkaConnectionError

    monkeypatch.setattr(incident, "read_incidents", read)
    assert run("list").exit_code == 1
