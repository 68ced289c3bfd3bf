"""Alerts and incidents of the same fact have the same bounds; an alert that pages is about one, or is excepted."""

import re
from typing import Any

import pytest
import yaml

from deploy.alerts import CONDITIONS, FILE, with_conditions
from fraudstream.ops.watch.incidents.facts import STOOD_IN
from fraudstream_client.incidents import IncidentRule, Severity

TEXT = FILE.read_text()
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(TEXT)["groups"] for rule in group["rules"]
}
NO_INCIDENT = {
    "WorkerRestarts": "no payment is decided otherwise for it; if partitions stand still, that is an incident",
    "TransactionLeftOpen": "if payments wait behind it, that is an incident",
    "LagGrowing": "payments that are late or wait are incidents",
    "ClockBehind": "payments that wait are an incident; the alert names the cause",
    "ControlLogLost": "no payment is concerned until workers cannot start",
    "TopicDeletesTooSoon": "nothing is lost yet",
}
"""Alerts that page and are about no incident, and why."""


def test_the_alerts_about_incidents_have_the_conditions_that_are_made_from_the_rules() -> None:
    assert with_conditions(TEXT) == TEXT, "rewrite them: python -m deploy.alerts"


def test_each_rule_has_an_alert() -> None:
    assert {condition.rule for condition in CONDITIONS.values()} == set(IncidentRule)


def test_each_alert_that_pages_is_about_an_incident_or_is_excepted_with_a_reason() -> None:
    paging = {name for name, rule in ALERTS.items() if rule["labels"]["severity"] == Severity.PAGE}
    assert paging - set(CONDITIONS) == set(NO_INCIDENT)


def test_writing_the_conditions_restores_each_alert_and_changes_nothing_else() -> None:
    changed, count = re.subn(
        rf"(- alert: (?:{'|'.join(CONDITIONS)})\n)((?: +#.*\n)*) +expr: (?s:.+?)( +annotations:\n)",
        r"\1\2        expr: up > 7\n        for: 3d\n        labels: {severity: none}\n\3",
        TEXT,
    )
    assert count == len(CONDITIONS)
    assert with_conditions(changed) == TEXT


def test_an_alert_that_the_file_has_not_or_twice_is_named() -> None:
    with pytest.raises(ValueError, match=r"alerts\.yml has 0 alerts DeadLetters"):
        with_conditions(TEXT.replace("- alert: DeadLetters\n", "- alert: Letters\n"))
    with pytest.raises(ValueError, match=r"alerts\.yml has 2 alerts DeadLetters"):
        with_conditions(TEXT.replace("- alert: Retries\n", "- alert: DeadLetters\n"))


def test_stand_ins_are_told_of_by_the_reasons_of_the_alerts() -> None:
    conditions = [condition for condition in CONDITIONS.values() if condition.rule is IncidentRule.STAND_INS]
    reasons = {
        reason for condition in conditions for reason in re.findall(r'reason="(\w+)"', " ".join(condition.lines))
    }
    assert reasons == set(STOOD_IN)
