"""Alerts and incidents of the same fact have the same bounds; an alert that pages is about one, or is excepted."""

import re
from typing import Any

import pytest
import yaml

from fraudstream.ops.watch.incidents import rules
from fraudstream.ops.watch.incidents.facts import STOOD_IN
from fraudstream.ops.watch.incidents.rules import RULES
from stream.contract.incident import IncidentRule, Severity
from stream.positions.dead_letters import MAX_RUN
from support.paths import HOUSE

GROUPS = yaml.safe_load((HOUSE / "deploy/prometheus/alerts.yml").read_text())["groups"]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
OTHER_SEVERITY = {
    "DeadlineMissedByMany": "the incident rises to `page` by the same bound",
    "InputLost": "the alert is about the loss, which somebody must look at; the incident, that it was accepted",
}
"""Alerts whose severity is not that with which the rule's incident opens, and why."""
NO_INCIDENT = {
    "WorkerRestarts": "no payment is decided otherwise for it; if partitions stand still, that is an incident",
    "TransactionLeftOpen": "if payments wait behind it, that is an incident",
    "LagGrowing": "payments that are late or wait are incidents",
    "ClockBehind": "payments that wait are an incident; the alert names the cause",
    "ControlLogLost": "no payment is concerned until workers cannot start",
    "TopicDeletesTooSoon": "nothing is lost yet",
}
"""Alerts that page and are about no incident, and why."""


def seconds(duration: str) -> int:
    found = re.fullmatch(r"(\d+)([smhd])", duration)
    assert found is not None
    return int(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[found[2]]


def windows(alert: str) -> set[int]:
    """Return the lengths of the ranges that an alert's expression looks at, in seconds."""
    return {seconds(found) for found in re.findall(r"\[(\w+)\]", ALERTS[alert]["expr"])}


def bound(alert: str) -> float:
    """Return the number at the end of an alert's expression, which its value must exceed."""
    (found,) = re.findall(r"> ([\d.]+)\s*$", ALERTS[alert]["expr"])
    return float(found)


def lasts(alert: str) -> int:
    return seconds(ALERTS[alert].get("for", "0s"))


@pytest.mark.parametrize("rule", IncidentRule)
def test_each_rule_names_alerts_of_its_severity(rule: IncidentRule) -> None:
    terms = RULES[rule]
    assert terms.alerts
    for alert in terms.alerts:
        assert alert in OTHER_SEVERITY or ALERTS[alert]["labels"]["severity"] == terms.severity


def test_each_alert_that_pages_is_about_an_incident_or_is_excepted_with_a_reason() -> None:
    paging = {name for name, rule in ALERTS.items() if rule["labels"]["severity"] == Severity.PAGE}
    told = {alert for terms in RULES.values() for alert in terms.alerts}
    assert paging - told == set(NO_INCIDENT)
    assert set(OTHER_SEVERITY) <= told


def test_late_decisions_are_told_of_by_the_bounds_of_the_alerts() -> None:
    share, window_s, for_s = rules.MISSED_SHARE, rules.MISSED_WINDOW_SECONDS, rules.MISSED_FOR_SECONDS
    assert (bound("DeadlineMissed"), windows("DeadlineMissed"), lasts("DeadlineMissed")) == (share, {window_s}, for_s)
    many = rules.MANY_SHARE, {rules.MANY_WINDOW_SECONDS}, rules.MANY_FOR_SECONDS
    alert = "DeadlineMissedByMany"
    assert (bound(alert), windows(alert), lasts(alert)) == many
    assert ALERTS[alert]["labels"]["severity"] == Severity.PAGE


def test_dead_letters_halted_partitions_and_the_cap_are_told_of_by_the_bounds_of_the_alerts() -> None:
    burst = rules.BURST_RECORDS, {rules.BURST_SECONDS}, RULES[IncidentRule.DEAD_LETTERS].opens_after_s
    assert (bound("DeadLetters"), windows("DeadLetters"), lasts("DeadLetters")) == burst
    assert "by (job, topic, code)" in ALERTS["DeadLetters"]["expr"]
    assert rules.HALTING_RUN == MAX_RUN
    assert lasts("DeclineCapHolds") == RULES[IncidentRule.CAP_REACHED].opens_after_s
    assert lasts("NoWorkerReady") == rules.WAITING_SECONDS


def test_stand_ins_are_told_of_by_the_reasons_of_the_alerts() -> None:
    asked = {
        reason
        for alert in RULES[IncidentRule.STAND_INS].alerts
        for reason in re.findall(r'reason="(\w+)"', ALERTS[alert]["expr"])
    }
    assert asked == set(STOOD_IN)
