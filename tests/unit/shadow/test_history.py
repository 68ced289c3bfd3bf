from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from models.commands import AcceptedArm, Event
from models.times import format_time
from shadow.history import (
    ArmAndModel,
    ChallengerHistory,
    ReportSchedule,
    ShadowTerm,
    Totals,
    WorkerReports,
    reported_totals,
)
from shadow.tally import OffsetSet
from support.control_events import event
from support.shadow_cases import accepted

A, B, C = (letter * 64 for letter in "abc")
HOUR_MS = 3_600_000
BY_LIVE = ArmAndModel("live", A)


LOG = [
    accepted(1, "promote", A, 1_000),
    accepted(2, "challenge", B, 2_000),
    accepted(3, "promote", C, 3_000),
    accepted(4, "withdraw", None, 4_000),
    accepted(5, "promote", A, 5_000, 9_000),
    accepted(6, "challenge", B, 6_000),
]


def test_the_revision_and_in_a_watch_the_time_decide_what_must_be_compared() -> None:
    history = ChallengerHistory.of("default", LOG)
    assert [history.should_compare(B, revision, 0, BY_LIVE) for revision in range(8)] == [
        False,
        False,
        True,
        True,
        False,
        False,
        True,
        False,
    ]
    assert (history.should_compare(C, 5, 8_999, BY_LIVE), history.should_compare(C, 5, 9_000, BY_LIVE)) == (True, False)
    assert history.challengers == (C, B)
    assert ChallengerHistory.of("other", LOG).challengers == ()


def test_beside_a_canary_what_its_model_or_the_live_one_made_is_compared() -> None:
    events = [
        accepted(1, "promote", A, 1_000),
        structs.replace(accepted(2, "canary", B, 2_000), share_bp=100, salt="s"),
        structs.replace(accepted(3, "canary", B, 3_000), share_bp=500, salt="s"),
        accepted(4, "challenge", C, 4_000),
        accepted(5, "end_canary", None, 5_000),
    ]
    history = ChallengerHistory.of("default", events)
    made = {name: ArmAndModel(*how) for name, how in WHO.items()}
    compared = {
        (revision, digest): [name for name, how in made.items() if history.should_compare(digest, revision, 0, how)]
        for revision in (2, 3, 4, 5)
        for digest in (B, C)
    }
    assert compared == {
        (2, B): ["live", "rules of live", "canary"],
        (3, B): ["live", "rules of live", "canary"],
        (4, C): ["live", "rules of live"],
        (5, C): ["live", "rules of live"],
    } | {(2, C): [], (3, C): [], (4, B): [], (5, B): []}
    assert history.challengers == (B, C)
    assert history.last_term(B) == ShadowTerm(B, 2_000, 4_000, canary=True)


def test_of_what_the_arms_of_a_split_decided_nothing_is_compared() -> None:
    arms = {"a": AcceptedArm(B, 100), "control": AcceptedArm(A, 100)}
    events = [
        accepted(1, "promote", A, 1_000),
        structs.replace(accepted(2, "split", None, 2_000), arms=arms, salt="s"),
        accepted(3, "challenge", C, 3_000),
    ]
    history, made = ChallengerHistory.of("default", events), (ArmAndModel("a", B), ArmAndModel("control", A), BY_LIVE)
    assert [history.should_compare(B, 2, 0, how) for how in made] == [False, False, False]
    assert [history.should_compare(C, 3, 0, how) for how in made] == [False, False, True]
    assert history.challengers == (C,)


WHO = {"live": ("live", A), "rules of live": ("live", None), "canary": ("canary", B), "stood in": ("canary", A)}


def test_the_last_term_spans_all_consecutive_revisions_of_a_challenger() -> None:
    assert ChallengerHistory.of("default", LOG[:3]).last_term(B) == ShadowTerm(B, 2_000, None)
    assert ChallengerHistory.of("default", LOG[:4]).last_term(B) == ShadowTerm(B, 2_000, 4_000)
    history = ChallengerHistory.of("default", LOG)
    assert history.last_term(B) == ShadowTerm(B, 6_000, None)
    assert history.last_term(C) == ShadowTerm(C, 5_000, 6_000)
    assert history.last_term(A) is None


def shadow_event(worker: str, revision: int, at_ms: int, *totals: int, model: str = B) -> Event:
    compared, skipped, failed = totals
    counts = {"compared": compared, "skipped": skipped, "failed": failed}
    return event("shadow", revision, "e", worker=worker, at=format_time(at_ms), model=model, **counts)


def test_reported_totals_are_the_sums_of_the_growth_of_running_totals() -> None:
    events = [
        shadow_event("w1", 2, 1_000, 10, 1, 0),
        shadow_event("w2", 2, 1_500, 5, 0, 2),
        shadow_event("w1", 2, 2_000, 20, 4, 1),
        shadow_event("w1", 6, 3_000, 0, 7, 0),
        shadow_event("w1", 6, 4_000, 0, 2, 0),
        shadow_event("w1", 2, 4_000, 9, 9, 9, model=C),
    ]
    assert reported_totals(events, B, 0) == WorkerReports(Totals(25, 13, 3))
    assert reported_totals([*LOG, *events], A, 0) == WorkerReports()


def test_totals_of_an_interval_that_began_before_the_window_are_separate() -> None:
    events = [
        shadow_event("w1", 2, 1_000, 10, 1, 0),
        shadow_event("w2", 2, 1_500, 5, 3, 0),
        shadow_event("w1", 2, 2_000, 20, 4, 1),
        shadow_event("w1", 2, 2_500, 30, 6, 1),
        shadow_event("w2", 2, 2_500, 1, 0, 1),
        shadow_event("w1", 6, 3_000, 0, 7, 0),
    ]
    assert reported_totals(events, B, 0) == WorkerReports(Totals(36, 16, 2))
    assert reported_totals(events, B, 2_000) == WorkerReports(Totals(11, 9, 1), Totals(10, 3, 1))
    assert reported_totals(events, B, 2_001) == WorkerReports(Totals(1, 7, 1), Totals(10, 2, 0))
    assert reported_totals(events, B, 3_001) == WorkerReports()


OFFSETS = st.lists(st.integers(0, 300), max_size=60)


@given(OFFSETS, OFFSETS)
def test_an_offset_set_equals_a_plain_set_without_offsets_below_the_first(added: Any, asked: Any) -> None:
    marks, plain = OffsetSet(), set()
    for offset in added:
        marks.add(offset)
        plain |= {offset} if offset >= added[0] else set()
    assert len(marks) == len(plain)
    for offset in asked:
        assert (offset in marks) == (offset in plain)
        assert marks.remove(offset) == (offset in plain)
        plain.discard(offset)
    assert len(marks) == len(plain)


STEPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 600_000)), min_size=1, max_size=200)


@given(STEPS)
def test_reports_are_prompt_a_second_apart_and_the_final_totals_are_always_due(steps: Any) -> None:
    schedule, totals, now, written = ReportSchedule(), Totals(), 0, list[int]()
    for missed, pause in steps:
        now += pause
        totals = totals.plus(Totals(skipped=missed))
        if schedule.is_due(totals, now):
            schedule = schedule.after(totals, now)
            written.append(now)
    assert bool(written) == (totals.missed > 0)
    assert schedule.is_due(totals, now + HOUR_MS) == (totals.missed > schedule.reported.missed)
    assert schedule.final_due(totals) == (totals.missed > 0 and totals != schedule.reported)
    assert all(later - earlier >= 1_000 for earlier, later in pairwise(written))


@pytest.mark.parametrize("every_ms", [250, 3_000, 5_000, 10_000, 60_000, 900_000])
def test_a_day_of_failures_gives_24_to_40_reports_however_frequent_they_are(every_ms: int) -> None:
    schedule, totals, written = ReportSchedule(), Totals(), 0
    for now in range(0, 24 * HOUR_MS, every_ms):
        totals = totals.plus(Totals(failed=1))
        if schedule.is_due(totals, now):
            schedule, written = schedule.after(totals, now), written + 1
    assert 24 <= written <= 40


def test_an_hour_without_a_report_resets_the_pause_to_a_second() -> None:
    schedule, totals = ReportSchedule(), Totals()
    for now in range(0, HOUR_MS, 1_000):
        totals = totals.plus(Totals(failed=1))
        schedule = schedule.after(totals, now) if schedule.is_due(totals, now) else schedule
    totals, due_ms = totals.plus(Totals(failed=1)), schedule.due_ms
    assert schedule.after(totals, due_ms + HOUR_MS - 1).due_ms > due_ms + HOUR_MS + 1_000
    assert schedule.after(totals, due_ms + HOUR_MS).due_ms == due_ms + HOUR_MS + 1_000
