"""The log of a worker says once what it waits for, that it is ready, who is live, and which partitions it owns."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from models.commands import LEAVES_REVISION, CommandKind
from models.lineup import Lineup, follow
from stream.worker.fact_log import FactLog
from stream.worker.lifecycle import _VERBS, Assignments, Drain, LineupChanges, Readiness
from support.control_events import accepted
from support.stream_records import CARD_NUMBER, Told
from support.telemetry_facts import decided, scored

A, B = "a" * 64, "b" * 64
NAMES = {A: SimpleNamespace(name="cards", version="2026-01"), B: SimpleNamespace(name="cards", version="2026-02")}


@pytest.fixture(autouse=True)
def every_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "fraudstream")


# --- readiness


def levels(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [f"{record.levelname} {record.getMessage()}" for record in caplog.records]


def test_each_change_of_the_reasons_is_logged_once_and_how_long_it_took(caplog: pytest.LogCaptureFixture) -> None:
    readiness = Readiness(lambda: "revision 3", 100.0)
    for now, reasons in enumerate([["Kafka"], ["Kafka"], ["Redis", "topics"], ["topics", "Redis"], [], []], start=100):
        readiness.look(reasons, float(now))
    for now, reasons in enumerate([["Redis"], ["Redis"], []], start=200):
        readiness.look(reasons, float(now))
    assert levels(caplog) == [
        "INFO not ready: Kafka",
        "INFO not ready: Redis; topics",
        "INFO ready after 4.0 s: revision 3",
        "INFO not ready: Redis",
        "INFO ready again after 2.0 s: revision 3",
    ]
    assert vars(caplog.records[1])["reasons"] == ["Redis", "topics"]


def test_what_lasts_is_a_warning_and_is_repeated_every_minute(caplog: pytest.LogCaptureFixture) -> None:
    readiness = Readiness(lambda: "", 0.0)
    for tenths in range(2_000):
        readiness.look(["no model is live"], tenths / 10)
    assert levels(caplog) == [
        "INFO not ready: no model is live",
        "WARNING still not ready after 10 s: no model is live",
        "WARNING still not ready after 70 s: no model is live",
        "WARNING still not ready after 130 s: no model is live",
        "WARNING still not ready after 190 s: no model is live",
    ]


def test_a_reason_that_comes_after_ten_seconds_is_a_warning_at_once(caplog: pytest.LogCaptureFixture) -> None:
    readiness = Readiness(lambda: "", 0.0)
    for second in range(12):
        readiness.look(["Kafka"], float(second))
    readiness.look(["Redis"], 12.0)
    assert levels(caplog)[1:] == ["WARNING still not ready after 10 s: Kafka", "WARNING not ready: Redis"]


def test_reasons_that_differ_in_their_figures_alone_are_no_news(caplog: pytest.LogCaptureFixture) -> None:
    readiness = Readiness(lambda: "", 0.0)
    readiness.look([], 0.0)
    for second in range(50):
        readiness.look([f"partition 3 is at offset {17 * second} of 4000"], float(second))
    assert levels(caplog)[1:] == [
        "INFO not ready: partition 3 is at offset 0 of 4000",
        "WARNING still not ready after 10 s: partition 3 is at offset 170 of 4000",
    ]


# --- the lineup


class Control:
    """A follower whose log is written by the test."""

    def __init__(self) -> None:
        self.caught_up = False
        self.lineup = Lineup("default")

    def accept(self, revision: int, kind: str, model: str | None, **fields: Any) -> None:
        self.lineup = follow(self.lineup, accepted(revision, kind, model, **fields))


def watched() -> tuple[Control, LineupChanges]:
    control, models = Control(), SimpleNamespace(get=NAMES.get)
    return control, LineupChanges(control, models)  # type: ignore[arg-type]


def test_a_promotion_is_one_line_with_the_model_the_actor_and_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    control, changes = watched()
    control.accept(1, "promote", A, actor="ann", reason="first")
    changes.look()
    control.caught_up = True
    changes.look()
    assert caplog.messages == [], "what was there at the start is no news"
    control.accept(2, "promote", B, actor="bob", reason="retrained on August")
    changes.look()
    changes.look()
    assert caplog.messages == [f"revision 2: promoted cards 2026-02 ({B[:12]}), by bob: retrained on August"]
    told = vars(caplog.records[0])
    assert [told[name] for name in ("event", "revision", "digest", "model", "model_version", "actor", "reason")] == [
        *("promote", 2, B, "cards", "2026-02", "bob", "retrained on August")
    ]
    assert changes.state().startswith(f"revision 2, live model cards 2026-02 ({B[:12]})")


def test_several_revisions_between_two_looks_are_a_line_each(caplog: pytest.LogCaptureFixture) -> None:
    control, changes = watched()
    control.caught_up = True
    changes.look()
    control.accept(1, "promote", A, actor="ann", reason="first")
    control.accept(2, "challenge", "c" * 64, actor="ann", reason="new")
    control.accept(3, "withdraw", None, actor="bob", reason="slow")
    control.accept(4, "promote", B, actor="ann", reason=f"card {CARD_NUMBER}")
    control.accept(5, "roll_back", A)
    changes.look()
    assert caplog.messages == [
        f"revision 1: promoted cards 2026-01 ({A[:12]}), by ann: first",
        f"revision 2: challenger is {'c' * 12}, by ann: new",
        "revision 3: challenger withdrawn, by bob: slow",
        f"revision 4: promoted cards 2026-02 ({B[:12]}), by ann: card [redacted]",
        f"revision 5: rolled back to cards 2026-01 ({A[:12]}), by (not recorded): (no reason recorded)",
    ]


def test_every_command_that_makes_a_revision_has_a_verb() -> None:
    assert _VERBS.keys() == set(CommandKind) - LEAVES_REVISION


# --- partitions


def test_an_assignment_is_one_line_with_what_was_got_and_lost(caplog: pytest.LogCaptureFixture) -> None:
    assignments = Assignments()
    first = [TopicPartition("transactions", number) for number in (0, 1, 2, 7)] + [TopicPartition("labels", 0)]
    assignments.assigned(first, 1)
    assignments.assigned([*first[:2], TopicPartition("labels", 1)], 2)
    assignments.assigned([], 3)
    assert caplog.messages == [
        "partitions of generation 1: got labels 0, transactions 0-2 7; lost none; owns labels 0, transactions 0-2 7",
        "partitions of generation 2: got labels 1; lost labels 0, transactions 2 7; owns labels 1, transactions 0-1",
        "partitions of generation 3: got none; lost labels 1, transactions 0-1; owns none",
    ]
    assert vars(caplog.records[1])["lost"] == {"labels": [0], "transactions": [2, 7]}


# --- the drain


def test_a_drain_says_why_and_what_it_has_finished(caplog: pytest.LogCaptureFixture) -> None:
    facts = FactLog(lambda _: None)
    facts(decided(scored([Told()] * 5)))
    drain = Drain.begin("SIGTERM", 20.0, facts)
    facts(decided(scored([Told()] * 2)))
    drain._replace(began=drain.began - 1.5).end(0, facts)
    assert levels(caplog) == [
        "INFO SIGTERM: draining, at most 20 s: batches in progress are finished and committed, no new one begins",
        "INFO drained after 1.5 s: 2 payments decided meanwhile, 7 payments and 0 labels since the start; exit code 0",
    ]


def test_an_end_by_a_fault_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    facts = FactLog(lambda _: None)
    Drain.begin("fatal error", 20.0, facts).end(70, facts)
    assert levels(caplog)[1].startswith("ERROR ended after 0.0 s: 0 payments decided meanwhile")
    assert levels(caplog)[1].endswith("exit code 70")
