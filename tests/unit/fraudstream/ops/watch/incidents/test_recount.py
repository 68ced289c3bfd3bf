"""What an incident states is what a recount of the topics gives: events, and money to the minor unit."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudstream.ops.watch.incidents import rules
from fraudstream_client.incidents import Incident, IncidentKind, IncidentRule
from models.times import stated_ms
from support.examples import examples
from support.incident_world import LETTERS, NEW, SCORES, Past, PastReader, begin_at, troubled_past

Fields = dict[str, Any]
SHOWS: dict[IncidentRule, Callable[[Fields], bool]] = {
    IncidentRule.STAND_INS: lambda one: "live_model_failed" in one["degraded"],
    IncidentRule.HISTORY_INCOMPLETE: lambda one: "history_incomplete" in one["degraded"],
    IncidentRule.CAP_REACHED: lambda one: one.get("overruled") is not None,
    IncidentRule.DEADLINES_MISSED: lambda one: one["latency_ms"] > 100,
    IncidentRule.GUARD_BREACH: lambda one: one["model"]["digest"] == NEW and one["decided_by"] == "model",
}


@pytest.fixture(autouse=True, scope="module")
def _short_runs() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, "HALTING_RUN", 15)
        yield


def valid_scores(past: Past) -> Iterator[tuple[int, Fields]]:
    """Yield each valid score once, with its time: a later one of the same payment is void."""
    for tp, records in past.records.items():
        last = -1
        for record in records if tp.topic == SCORES else ():
            fields = json.loads(record.value or b"")
            if fields["source"]["offset"] > last:
                last = fields["source"]["offset"]
                yield record.timestamp, fields


def recounted(found: list[Fields]) -> tuple[int, dict[str, int], dict[str, dict[str, int]]]:
    amounts, decided = Counter[str](), dict[str, Counter[str]]()
    for one in found:
        amounts[one["currency"]] += one["amount_minor"]
        decided.setdefault(one["decided_by"], Counter())[one["decision"]] += 1
    return len(found), dict(amounts), {by: dict(counts) for by, counts in decided.items()}


def within(incident: Incident, at_ms: int) -> bool:
    return stated_ms(incident.since) <= at_ms <= stated_ms(incident.until)


@settings(max_examples=examples(40, in_ci=5))
@given(st.integers(0, 50))
def test_the_figures_of_an_incident_are_those_of_the_topics(seed: int) -> None:
    past = troubled_past(seed)
    scores = list(valid_scores(past))
    closed = [one for one in PastReader(past, begin_at()).read_all() if one.kind is IncidentKind.CLOSED]
    for one in closed:
        if one.rule in SHOWS:
            shown = [fields for at_ms, fields in scores if within(one, at_ms) and SHOWS[one.rule](fields)]
            assert (one.events, one.amounts, one.decided) == recounted(shown)
        elif one.rule is IncidentRule.DEAD_LETTERS:
            assert_letters(past, one)
    assert_waited(
        scores, [one for one in closed if one.rule in (IncidentRule.NO_WORKER, IncidentRule.PARTITION_HALTED)]
    )


def assert_letters(past: Past, incident: Incident) -> None:
    seen, amounts = set[tuple[int, int]](), Counter[str]()
    for tp, records in past.records.items():
        for record in records if tp.topic == LETTERS else ():
            headers = {name: (value or b"").decode() for name, value in record.headers}
            place = int(headers["source.partition"]), int(headers["source.offset"])
            if within(incident, record.timestamp) and place not in seen:
                amounts["EUR"] += json.loads(record.value or b"")["amount_minor"]
            seen.add(place)
    assert incident.amounts == dict(amounts)


def assert_waited(scores: list[tuple[int, Fields]], incidents: list[Incident]) -> None:
    """Assert that all that waited for a minute is in one of the incidents, and only once."""
    waited = [fields for _, fields in scores if fields["latency_ms"] > 60_000]
    stated = sum(one.events for one in incidents)
    amounts = sum((Counter(one.amounts) for one in incidents), Counter[str]())
    assert (stated, dict(amounts)) == recounted(waited)[:2]
