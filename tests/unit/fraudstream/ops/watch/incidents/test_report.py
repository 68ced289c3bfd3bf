"""Incidents in words: one sentence for whoever is told, a report for customers, details for operators."""

import re

import msgspec
import pytest

from fraudstream.ops.report.terminal import plain_text
from fraudstream.ops.watch.incidents.report import EXPLANATIONS, report, state_incident
from fraudstream.ops.watch.incidents.rules import RULES
from fraudstream.ops.watch.incidents.texts import amounts_text, money_text, sentence, span_text
from fraudstream.ops.watch.incidents.told import ToldIncident
from fraudstream_client.incidents import (
    Incident,
    IncidentAction,
    IncidentKind,
    IncidentRule,
    Opening,
    Severity,
)
from stream.code_version import code_version
from support.incident_world import PastReader, begin_at, troubled_past

SINCE_MS, UNTIL_MS = 1_769_853_734_000, 1_769_854_181_000  # 2026-01-31, 10:02:14 and 10:09:41
CLOSED = Incident(
    incident_id="5c1e09d2f1a04b7796f3c5a1e2d40b88",
    deployment="bank-eu",
    rule=IncidentRule.STAND_INS,
    severity=Severity.PAGE,
    receivers=("operations", "fraud"),
    kind=IncidentKind.CLOSED,
    sequence=2,
    at="2026-01-31T10:11:41.000Z",
    since="2026-01-31T10:02:14.000Z",
    until="2026-01-31T10:09:41.000Z",
    events=4_120,
    amounts={"EUR": 21_200_000, "JPY": 5_000},
    decided={"rules": {"approve": 4_020, "review": 100}},
    reasons={"live_model_failed": 4_120},
    text="…",
    worker="guard-1",
    opening=Opening("eu.transactions", 3, 77_001),
    actions=(IncidentAction("2026-01-31T10:09:40.000Z", "roll_back", "c-77", "ann", "the model fails"),),
)
OPENED = msgspec.structs.replace(CLOSED, kind=IncidentKind.OPENED, sequence=0, at="2026-01-31T10:02:14.000Z")
JARGON = (
    *("partition", "offset", "topic", "kafka", "redis", "deployment", "revision", "canary", "fallback", "live_model"),
    *("bank-eu", "guard", "transactions", "roll_back", "ann", "c-77", "page", "degraded", "history_incomplete", "arm"),
)


def changed(incident: Incident = CLOSED, **changes: object) -> Incident:
    return msgspec.structs.replace(incident, **changes)


def details(told: ToldIncident) -> str:
    return plain_text(state_incident(told, with_details=True), 200)


def test_the_report_is_this_text() -> None:
    assert report(ToldIncident(OPENED, CLOSED)) == (
        "Payments were decided without the current model: 4,120 payments, EUR 212,000.00 and JPY 5,000\n"
        "It is over since 2026-01-31 10:11:41 UTC.\n"
        "Report of an incident\n"
        "Reference 5c1e09d2f1a04b7796f3c5a1e2d40b88\n"
        "\n"
        "What happened\n"
        "The model that scores payments gave no result for some of them.\n"
        "From       2026-01-31 10:02:14 UTC\n"
        "To         2026-01-31 10:09:41 UTC\n"
        "Payments   4,120\n"
        "Amount     EUR 212,000.00\n"
        "Amount     JPY 5,000\n"
        "Status     Over, since 2026-01-31 10:11:41 UTC\n"
        "\n"
        "How they were decided\n"
        "By            Approved   Sent to review\n"
        "Fixed rules      4,020              100\n"
        "\n"
        "What was done\n"
        "The model that was in use before decided in its place and, where that gave no result either, a fixed\n"
        "set of rules, which never declines a payment. No payment was left without a decision.\n"
        "\n"
        "What this report rests on\n"
        "Measured: what is on record of every payment\n"
        "Made: 2026-01-31 10:11:41 UTC\n"
        f"Version: fraudstream {code_version()}"
    )


@pytest.mark.parametrize("kind", [IncidentKind.OPENED, IncidentKind.CLOSED])
def test_no_report_shows_internals_or_names(kind: IncidentKind) -> None:
    for rule in IncidentRule:
        text = report(ToldIncident(OPENED, changed(rule=rule, kind=kind, partition=3))).lower()
        assert (rule, [word for word in JARGON if re.search(rf"\b{word}s?\b", text)]) == (rule, [])


def test_an_open_incident_says_that_it_goes_on_and_of_when_its_figures_are() -> None:
    text = report(ToldIncident(OPENED, changed(OPENED, kind=IncidentKind.CHANGED, at="2026-01-31T10:07:14.000Z")))
    assert text.startswith("Payments were decided without the current model: ")
    assert "\nIt goes on; these are the figures of 2026-01-31 10:07:14 UTC.\n" in text
    assert "\nStatus     Open\n" in text


@pytest.mark.parametrize(
    ("incident", "lines"),
    [
        (
            changed(rule=IncidentRule.DEAD_LETTERS, events=11, amounts={}),
            ["Messages 11", "Amount Unknown"],
        ),
        (
            changed(rule=IncidentRule.LOSS_ACCEPTED, events=0, amounts={}, decided={}),
            ["Messages An unknown number", "Amount Unknown"],
        ),
        (changed(rule=IncidentRule.LOSS_ACCEPTED, events=9, amounts={}), ["Messages At most 9"]),
        (
            changed(rule=IncidentRule.HISTORY_INCOMPLETE, events=0, amounts={}, until=CLOSED.since),
            ["At 2026-01-31 10:02:14 UTC", "Payments 0", "Amount None"],
        ),
    ],
)
def test_what_is_not_known_is_not_stated_as_nothing(incident: Incident, lines: list[str]) -> None:
    text = report(ToldIncident(OPENED, incident)).split("\n")
    assert set(lines) <= {" ".join(line.split()) for line in text}


# --- sentences


def said(incident: Incident) -> str:
    return sentence(incident, SINCE_MS, UNTIL_MS, 100)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"amounts": {"EUR": 21_200_000}},
            "4,120 payments, EUR 212,000.00, were decided by rules only between 10:02 and 10:09 UTC on 2026-01-31",
        ),
        (
            {"events": 1, "amounts": {"JPY": 12}, "decided": {"fallback": {"approve": 1}}, "kind": IncidentKind.OPENED},
            "1 payment, JPY 12, was decided by the model before since 10:02 UTC on 2026-01-31",
        ),
        (
            {"rule": IncidentRule.NO_WORKER, "events": 0, "amounts": {}, "kind": IncidentKind.OPENED},
            "Payments have waited for a decision, and no worker decides, since 10:02 UTC on 2026-01-31",
        ),
        (
            {"rule": IncidentRule.HISTORY_INCOMPLETE, "events": 0, "amounts": {}, "kind": IncidentKind.OPENED},
            "No payment was decided without complete histories, although some were lost, since 10:02 UTC on 2026-01-31",
        ),
        (
            {"rule": IncidentRule.DEADLINES_MISSED, "events": 12, "amounts": {"JPY": 5}},
            "12 payments, JPY 5, were decided more than 100 ms after arrival between 10:02 and 10:09 UTC on 2026-01-31",
        ),
    ],
)
def test_an_incident_in_one_sentence(changes: dict[str, object], text: str) -> None:
    assert said(changed(**changes)) == text


def test_every_incident_of_a_past_has_a_sentence_and_a_report_without_a_gap() -> None:
    found = [one for seed in range(2) for one in PastReader(troubled_past(seed), begin_at()).read_all()]
    assert set(EXPLANATIONS) == set(RULES) == set(IncidentRule)
    for one in found:
        for text in (one.text, report(ToldIncident(one, one)), details(ToldIncident(one, one))):
            assert text
            assert "None" not in text.replace("Amount     None", "")
            assert "{" not in text


def test_amounts_are_exact_in_each_currencys_decimals() -> None:
    large = 10**15 + 1
    assert [money_text("EUR", 5), money_text("JPY", 5), money_text("KWD", 5)] == ["EUR 0.05", "JPY 5", "KWD 0.005"]
    assert money_text("EUR", large) == "EUR 10,000,000,000,000.01"
    assert amounts_text({"USD": 100, "EUR": 1, "JPY": 7}) == "EUR 0.01, JPY 7 and USD 1.00"
    assert amounts_text({}) == ""


def test_a_span_names_its_day_and_both_if_there_are_two() -> None:
    assert span_text(SINCE_MS, SINCE_MS + 59) == "at 10:02 UTC on 2026-01-31"
    assert span_text(SINCE_MS, SINCE_MS + 86_400_000) == "between 2026-01-31 10:02 and 2026-02-01 10:02 UTC"
