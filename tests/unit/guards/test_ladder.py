"""Ladders as text and JSON, and when a rollout climbs."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.errors import LadderError
from guards.ladder import LEAST_DECISIONS, Ladder, Progress, RolloutPhase, Rung, Situation, progress_on

TEXT = "1% 10min, 5% 1h, 25% 1h, 100%"
LADDER = Ladder.parse(TEXT)
MINUTE_MS = 60_000


@st.composite
def ladders(draw: st.DrawFn) -> Ladder:
    shares = sorted(draw(st.sets(st.integers(1, 9_999), min_size=1, max_size=8)))
    rungs = [Rung(share_bp, draw(st.integers(1, 30 * 86_400))) for share_bp in shares]
    return Ladder([*rungs, Rung(10_000, draw(st.none() | st.integers(1, 30 * 86_400)))])


def test_a_ladder_is_read_from_its_text() -> None:
    assert LADDER.rungs == (Rung(100, 600), Rung(500, 3_600), Rung(2_500, 3_600), Rung(10_000))
    assert str(LADDER) == TEXT
    assert LADDER.to_json()[0] == {"share_bp": 100, "seconds": 600}
    assert LADDER.to_json()[-1] == {"share_bp": 10_000}
    assert Ladder.parse("0.01 % 90 s,12.5% 2d,  100% 1h").rungs == (
        Rung(1, 90),
        Rung(1250, 172_800),
        Rung(10_000, 3600),
    )


@given(ladders())
def test_text_and_json_give_the_same_ladder_back(ladder: Ladder) -> None:
    assert Ladder.parse(str(ladder)) == Ladder.from_json(ladder.to_json()) == ladder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "rung 1, '': not a share and a time such as 5% 1h; a ladder is"),
        ("1% 10min, five", "rung 2, 'five': not a share and a time"),
        ("1% 10m, 100%", "rung 1, '1% 10m': not a share and a time"),
        ("1 10min, 100%", "rung 1, '1 10min': not a share and a time"),
        ("1% 10min, 5% 1h", "rung 2, 5% 1h: the last rung must be 100%, the promotion"),
        ("5% 1h, 1% 1h, 100%", "rung 2, 1% 1h: not above the rung before; shares ascend"),
        ("5% 1h, 5% 1h, 100%", "rung 2, 5% 1h: not above the rung before"),
        ("1%, 100%", "rung 1, 1%: how long? Write a time, as in 1% 1h"),
        ("0.015% 1h, 100%", "rung 1, '0.015% 1h': shares go in steps of 0.01 %; 0.015% is between two of them"),
        ("0% 1h, 100%", "rung 1, 0% 1h: a share is above 0 and at most 100%"),
        ("101% 1h, 100%", "rung 1, 101% 1h: a share is above 0 and at most 100%"),
        ("100% 1h", "rung 1, 100%: a ladder begins below 100%"),
        ("1% 0s, 100%", "a time is above 0 and at most 30d"),
        ("1% 31d, 100%", "a time is above 0 and at most 30d"),
        (", ".join(f"{at}% 1h" for at in range(1, 22)) + ", 100%", "22 rungs; a ladder has at most 20"),
    ],
)
def test_what_is_no_ladder_is_refused_with_the_rung_and_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(LadderError, match=re.escape(message)):
        Ladder.parse(text)


@pytest.mark.parametrize("value", [None, {}, [1], [{"seconds": 1}], [{"share_bp": "1"}]])
def test_json_of_another_form_is_refused(value: object) -> None:
    with pytest.raises(LadderError, match=r"ladder: .*expected a list of objects with share_bp and seconds"):
        Ladder.from_json(value)


def at(minutes: float, share_bp: int = 500, **changes: object) -> Progress:
    now_ms = int(minutes * MINUTE_MS)
    situation = Situation(share_bp, 0, now_ms, now_ms, LEAST_DECISIONS)._replace(**changes)  # type: ignore[arg-type]
    return progress_on(LADDER, situation)


def test_a_rung_is_left_when_its_time_is_over_and_enough_was_seen() -> None:
    assert at(59.99).phase is RolloutPhase.WAITING
    assert at(59.99).waits_for == (
        "its time: 1 s more",
        "the guard, which has not read all decisions up to the end of that time",
    )
    assert at(60) == Progress(RolloutPhase.DUE, 2, 2_500, 60 * MINUTE_MS, ())


def test_a_rung_is_not_left_before_the_guard_has_read_all_of_it() -> None:
    late = at(90, read_until_ms=60 * MINUTE_MS - 1)
    assert late.phase is RolloutPhase.WAITING
    assert "not read all decisions" in late.waits_for[0]
    assert at(90, read_until_ms=60 * MINUTE_MS).phase is RolloutPhase.DUE


def test_a_rung_on_which_the_canary_decided_little_is_not_left() -> None:
    quiet = at(600, canary_decisions=LEAST_DECISIONS - 1)
    assert quiet.phase is RolloutPhase.WAITING
    assert quiet.waits_for == ("decisions of the canary: 199 of at least 200",)


def test_a_rung_asks_for_evidence_from_the_stated_share_on_and_that_share_asks_too() -> None:
    lacking = ("evidence of declines",)
    assert at(60, lacking=lacking, climb_from_bp=2_501) == at(60)
    for climb_from_bp in (2_500, 2_499):
        waiting = at(60, lacking=lacking, climb_from_bp=climb_from_bp)
        assert (waiting.phase, waiting.waits_for) == (RolloutPhase.WAITING, lacking)


def test_below_the_first_rung_it_is_due_at_once_and_at_the_last_it_is_done() -> None:
    assert at(0, share_bp=0, canary_decisions=0) == Progress(RolloutPhase.DUE, 0, 100, 0, ())
    assert at(0, share_bp=0, held=("frozen",)).phase is RolloutPhase.HELD
    assert at(0, share_bp=10_000) == Progress(RolloutPhase.DONE, 4, None, None, ())


@given(
    ladders(),
    st.builds(
        Situation,
        st.integers(0, 10_000),
        st.just(0),
        st.integers(0, 10**10),
        st.integers(0, 10**10),
        st.integers(0, 1_000),
        st.sampled_from([(), ("paused",)]),
        st.integers(1, 10_000),
        st.sampled_from([(), ("evidence",)]),
    ),
)
def test_it_climbs_only_upwards_and_only_if_time_is_over_coverage_and_evidence_suffice_and_nothing_is_held(
    ladder: Ladder, now: Situation
) -> None:
    found = progress_on(ladder, now)
    assert (found.phase is RolloutPhase.DONE) is (now.share_bp == 10_000)
    if found.next_share_bp is not None and found.due_ms is not None:
        assert found.next_share_bp > now.share_bp
        enough = now.canary_decisions >= LEAST_DECISIONS or found.rung == 0
        known = not now.lacking or found.next_share_bp < now.climb_from_bp
        may = min(now.now_ms, now.read_until_ms) >= found.due_ms and enough and known and not now.held
        assert (found.phase is RolloutPhase.DUE) is may
        assert (found.waits_for == ()) is may
