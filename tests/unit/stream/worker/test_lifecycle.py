"""The log of a worker says once what it waits for, that it is ready, who is live, and which partitions it owns."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from models.lineup import Lineup, follow
from stream.worker.lifecycle import LineupChanges, Readiness
from support.control_events import accepted
from support.stream_records import CARD_NUMBER

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


# --- partitions


# --- the drain
