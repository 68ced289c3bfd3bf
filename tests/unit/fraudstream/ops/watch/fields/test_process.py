"""The watch of fields beside the guard: payments counted as workers read them, incidents told once, gauges."""

from collections.abc import AsyncIterator, Iterable
from itertools import count
from typing import Any

import msgspec
import pytest

from features.declaration import DAY_MS, HOUR_MS
from features.own_fields import DeclaredFields, category, flag, number
from fraudstream.ops.watch.beside import watches_fields
from fraudstream.ops.watch.fields import process
from fraudstream.ops.watch.fields.judgement import SLOT_MS, FieldChange, FieldFindings, FieldShare, SlotCounts
from fraudstream.ops.watch.fields.process import FieldWatcher
from fraudstream.ops.watch.fields.sample import count_payment, rules_of
from fraudstream.ops.watch.fields.telling import LONGEST_DAYS, field_lines, records_of
from fraudstream.ops.watch.incidents.told import Told as ToldIncidents
from fraudstream_client.incidents import Incident, IncidentKind, IncidentRule
from stream.contract.attributes import FieldRules
from stream.contract.transaction import BackfillMark
from stream.settings import Settings
from support.fleet.payments import payment
from support.stream_records import Told

NOW_MS = 1_764_000_000_000 // SLOT_MS * SLOT_MS
SETTINGS = Settings(worker_id="guard-1")
RULES = FieldRules(DeclaredFields((number("account_age_days", least=0), category("ip_country"), flag("three_ds"))))
COUNTED = count()


def told(**changes: Any) -> Told:
    one = payment(next(COUNTED)) | changes
    return Told(msgspec.json.encode(one), one["card_id"].encode())


def counted(*records: Told) -> SlotCounts:
    found = SlotCounts(NOW_MS)
    for one in records:
        count_payment(found, one, RULES)  # type: ignore[arg-type]
    return found


def test_payments_are_counted_by_the_fields_that_a_worker_would_read() -> None:
    attributes = {"account_age_days": -1, "ip_country": "NG", "three_ds": None, "ip_land": "NG"}
    found = counted(
        told(device_id="d-1", card_country="DE", attributes=attributes),
        told(device_id="no token!", mcc="12"),
        told(attributes={"x" + "7" * 13: 1}),
    )
    assert found.payments == 3
    assert found.fields == {"device_id": 1, "card_country": 1, "ip_country": 1}
    assert found.undeclared == {"ip_land": 1, "-other": 1}


def test_what_is_no_payment_to_be_decided_is_not_counted() -> None:
    backfilled = told(device_id="d-1")
    backfilled.headers = (BackfillMark("0" * 16, 1).header(),)
    assert counted(Told(b"{", b"k"), backfilled).payments == 0


def test_where_the_features_cannot_be_loaded_the_contracts_fields_are_watched_and_it_is_said() -> None:
    rules, unknown = rules_of(Settings(features="no_such_module"))
    assert (rules.declared.fields, "no_such_module" in unknown) == ((), True)
    watcher = FieldWatcher(SETTINGS)
    watcher.unknown = unknown
    (warning,) = watches_fields(watcher).warnings()
    assert "FRAUDSTREAM_FEATURES" in warning


def change(name: str, since_ms: int = NOW_MS) -> FieldChange:
    return FieldChange(name, 0.4267, since_ms, 300)


def findings(at_ms: int, *, stopped: Iterable[str] = (), begun: Iterable[str] = (), now: float = 0.0) -> FieldFindings:
    changes = [[change(name) for name in names] for names in (stopped, begun)]
    shares = [FieldShare(name, 0.4, now) for name in ("ip_country", "three_ds")]
    return FieldFindings(at_ms, 300, shares, *changes)


def test_fields_that_stop_together_are_one_incident_until_all_of_them_come_again() -> None:
    (opened,) = records_of(findings(NOW_MS, stopped=["ip_country", "three_ds"]), [], SETTINGS)
    assert (opened.rule, opened.kind, opened.events) == (IncidentRule.FIELD_STOPPED, IncidentKind.OPENED, 300)
    assert opened.reasons == {"ip_country": 300, "three_ds": 300}
    assert "ip_country (42.7%) and three_ds (42.7%)" in opened.text
    assert list(records_of(findings(NOW_MS + SLOT_MS, stopped=["ip_country"]), [opened], SETTINGS)) == []
    assert list(records_of(findings(NOW_MS + DAY_MS, now=0.01), [opened], SETTINGS)) == []
    (closed,) = records_of(findings(NOW_MS + DAY_MS, now=0.3), [opened], SETTINGS)
    assert (closed.incident_id, closed.kind, closed.sequence) == (opened.incident_id, IncidentKind.CLOSED, 1)
    assert "comes again" in closed.text


def test_a_field_that_stays_away_for_a_week_is_taken_to_be_gone() -> None:
    (opened,) = records_of(findings(NOW_MS, stopped=["ip_country"]), [], SETTINGS)
    assert list(records_of(findings(NOW_MS + (LONGEST_DAYS - 1) * DAY_MS), [opened], SETTINGS)) == []
    (closed,) = records_of(findings(NOW_MS + LONGEST_DAYS * DAY_MS), [opened], SETTINGS)
    assert "meant so" in closed.text


def test_a_field_that_begins_is_an_incident_until_it_is_part_of_the_day_before() -> None:
    (opened,) = records_of(findings(NOW_MS, begun=["three_ds"], now=0.4), [], SETTINGS)
    assert (opened.rule, opened.reasons) == (IncidentRule.FIELD_BEGUN, {"three_ds": 300})
    assert list(records_of(findings(NOW_MS + SLOT_MS, begun=["three_ds"]), [opened], SETTINGS)) == []
    (closed,) = records_of(findings(NOW_MS + HOUR_MS, now=0.4), [opened], SETTINGS)
    assert closed.text.endswith("and goes on")


def test_a_line_of_status_names_each_field() -> None:
    lines = dict(field_lines(findings(NOW_MS, stopped=["ip_country"], begun=["three_ds"])))
    assert "does not come any more" in lines["ip_country"]
    assert "42.7%" in lines["three_ds"]
    assert list(field_lines(None)) == []


class Incidents:
    """Takes the place of a reader of `incidents` and of a producer of it."""

    def __init__(self) -> None:
        self.told, self.sent = ToldIncidents("default"), list[Incident]()

    async def read_to_end(self) -> None:
        for one in self.sent:
            self.told.add(one)

    async def send_and_wait(self, _topic: str, value: bytes, **_: object) -> None:
        self.sent.append(msgspec.json.decode(value, type=Incident))


async def test_two_guards_and_one_that_was_restarted_tell_of_a_stop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read = list[int]()

    async def read_slots(_settings: Settings, begins_ms: list[int], _rules: FieldRules) -> AsyncIterator[SlotCounts]:
        for begin_ms in begins_ms:
            read.append(begin_ms)
            found = SlotCounts(begin_ms, 50)
            found.fields["mcc"] = 50
            found.fields["device_id"] = 20 if begin_ms < NOW_MS else 0
            yield found

    clock = [NOW_MS + 20_000]
    monkeypatch.setattr(process, "read_slots", read_slots)
    monkeypatch.setattr(process, "now_ms", lambda: clock[0])
    monkeypatch.setattr(process, "_TURN_SECONDS", 0.0)
    incidents = Incidents()
    connection: Any = (incidents, incidents)
    watchers = [FieldWatcher(SETTINGS), FieldWatcher(SETTINGS)]
    for _ in range(14):
        for one in watchers:
            await one.turn(connection)
            await one.turn(connection)  # nothing new
        clock[0] += SLOT_MS
    (opened,) = incidents.sent
    assert (opened.rule, opened.reasons) == (IncidentRule.FIELD_STOPPED, {"device_id": 300})
    assert opened.at == "2025-11-24T16:30:00.000Z"
    assert opened.since == "2025-11-24T16:00:00.000Z"
    assert len(read) == 2 * (78 + 94 + 13)
    restarted = FieldWatcher(SETTINGS)
    await restarted.turn(connection)
    assert len(incidents.sent) == 1
    gauges = restarted.gauges()
    assert gauges["fraudstream.field.stopped"]() == {("device_id",): 1}
    assert gauges["fraudstream.field.share"]() == {("device_id",): 0.0, ("mcc",): 1.0}
    assert gauges["fraudstream.field.begun"]() == {}
