"""Where the fleet needs a verdict, a promotion without a PROMOTE about the same models, of today, is refused."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.ladder import Ladder
from models.arms import Canary
from models.command_decoder import read_command
from models.commands import Command, CommandKind, encode
from models.judge import Accepted, Fleet, HeldArtifact, Refused, Waiting, judge
from models.limits import Limits
from models.lineup import Answer, Lineup
from models.problems import ProblemCode
from models.promotion_rules import MOST_HOURS, stated_verdict
from models.rollouts import Rollout
from models.times import format_time
from support import control_events

LIVE, NEW, OTHER = "a" * 64, "b" * 64, "c" * 64
NOW, EXPIRES = 1_767_225_600_000, 1_767_225_660_000
HOUR = 3_600_000
ASKED = Lineup("default", revision=4, live=LIVE, limits=Limits(promote_needs_verdict=True))
FLEET = Fleet(frozenset({"f"}), frozenset({"w"}), HeldArtifact(NEW, "f"), {"w": Answer("h")})
PASSED = {"verdict": "PROMOTE", "gate": "loss", "challenger": NEW, "live": LIVE, "at": format_time(NOW - HOUR)}
LADDER = Ladder.parse("1% 10min, 100%")
CODES = {
    ProblemCode.NO_VERDICT,
    ProblemCode.OTHER_VERDICT,
    ProblemCode.NOT_PROMOTED,
    ProblemCode.STALE_VERDICT,
}


def command(kind: CommandKind = CommandKind.PROMOTE, evidence: Any = None, **changes: Any) -> Command:
    fields: dict[str, Any] = {"model": NEW} | ({"ladder": LADDER.rungs} if kind is CommandKind.ROLLOUT else {})
    return control_events.command(kind, expected_revision=4, evidence=evidence, **(fields | changes))


def codes(lineup: Lineup, asked: Command) -> list[ProblemCode]:
    verdict = judge(lineup, asked, FLEET, NOW)
    return [one.code for one in verdict.problems] if isinstance(verdict, Refused) else []


@pytest.mark.parametrize("kind", [CommandKind.PROMOTE, CommandKind.ROLLOUT])
def test_with_a_verdict_that_says_so_a_model_is_promoted(kind: CommandKind) -> None:
    assert codes(ASKED, command(kind)) == [ProblemCode.NO_VERDICT]
    verdict = judge(ASKED, command(kind, {"verdict": PASSED}), FLEET, NOW)
    assert isinstance(verdict, Accepted)
    assert verdict.model == NEW


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"verdict": "HOLD"}, [ProblemCode.NOT_PROMOTED]),
        ({"verdict": "REJECT", "challenger": OTHER}, [ProblemCode.OTHER_VERDICT, ProblemCode.NOT_PROMOTED]),
        ({"verdict": "promote"}, [ProblemCode.NOT_PROMOTED]),
        ({"challenger": OTHER}, [ProblemCode.OTHER_VERDICT]),
        ({"challenger": LIVE, "live": NEW}, [ProblemCode.OTHER_VERDICT] * 2),
        ({"live": OTHER}, [ProblemCode.OTHER_VERDICT]),
        ({"live": None}, [ProblemCode.NO_VERDICT]),
        ({"at": format_time(NOW - MOST_HOURS * HOUR)}, []),
        ({"at": format_time(NOW - MOST_HOURS * HOUR - 1)}, [ProblemCode.STALE_VERDICT]),
        ({"at": format_time(NOW + 300_000)}, []),
        ({"at": format_time(NOW + 300_001)}, [ProblemCode.STALE_VERDICT]),
        ({"at": "2026-02-31T00:00:00.000Z"}, [ProblemCode.STALE_VERDICT]),
        ({"at": NOW}, [ProblemCode.NO_VERDICT]),
        ({"gate": None}, [ProblemCode.NO_VERDICT]),
    ],
)
def test_each_thing_that_is_wrong_with_a_verdict_has_its_code(changes: Any, expected: Any) -> None:
    assert codes(ASKED, command(evidence={"verdict": PASSED | changes})) == expected


def test_without_the_setting_with_force_or_for_the_first_model_no_verdict_is_needed() -> None:
    for limits in (None, Limits(), Limits(0.02), Limits(promote_needs_verdict=False)):
        assert codes(replace(ASKED, limits=limits), command()) == []
    assert codes(ASKED, command(force=True)) == []
    assert codes(replace(ASKED, live=None), command()) == []


@pytest.mark.parametrize("kind", [CommandKind.CHALLENGE, CommandKind.CANARY])
def test_what_promotes_nothing_needs_none(kind: CommandKind) -> None:
    share = {"share_bp": 100} if kind is CommandKind.CANARY else {}
    assert codes(ASKED, command(kind, **share)) == []


def test_the_way_back_needs_none() -> None:
    live_twice = replace(ASKED, previous=(NEW,))
    assert codes(live_twice, command(CommandKind.ROLL_BACK, model=None)) == []


def test_the_top_of_a_ladder_follows_from_the_rollouts_own_verdict() -> None:
    climbing = replace(ASKED, canary=Canary(NEW, 100, "s"), rollout=Rollout("c-0", NEW, LADDER, {}))
    assert codes(climbing, command()) == []
    alone = replace(climbing, rollout=None)
    assert codes(alone, command()) == [ProblemCode.NO_VERDICT]


JSON = st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=3) | st.lists(st.integers(0, 9), max_size=2)


@given(JSON | st.dictionaries(st.sampled_from([*PASSED, "other"]), JSON | st.sampled_from(list(PASSED.values()))))
def test_whatever_stands_in_the_evidence_is_judged_and_only_a_whole_verdict_passes(stated: Any) -> None:
    found = codes(ASKED, command(evidence={"verdict": stated}))
    assert set(found) <= CODES
    is_whole = stated_verdict(stated) is not None and {name: stated[name] for name in PASSED if name != "gate"} == {
        name: value for name, value in PASSED.items() if name != "gate"
    }
    assert (found == []) == is_whole


@given(st.tuples(*[st.sampled_from([None, True, False])] * 2), st.sampled_from([None, 0.02]))
def test_the_setting_stays_until_it_is_set_again(settings: Any, cap: float | None) -> None:
    lineup, (first, second) = replace(ASKED, limits=None), settings
    for asked in settings:
        verdict = judge(
            lineup,
            command(CommandKind.LIMITS, model=None, promote_needs_verdict=asked, decline_cap=cap),
            FLEET,
            NOW,
        )
        assert isinstance(verdict, Accepted)
        lineup = replace(lineup, limits=verdict.limits)
    assert lineup.limits is not None
    assert lineup.limits.promote_needs_verdict == bool(first if second is None else second)
    assert lineup.limits.decline_cap == cap


def test_the_field_is_read_and_belongs_to_limits_alone() -> None:
    sent = command(CommandKind.LIMITS, model=None, promote_needs_verdict=True)
    assert read_command(encode(sent)) == sent
    wrong = read_command(encode(command(promote_needs_verdict=True)))
    assert "promote_needs_verdict: promote takes none" in str(wrong)
    assert msgspec.json.encode(Limits(promote_needs_verdict=True)) == b'{"promote_needs_verdict":true}'
    assert not isinstance(judge(ASKED, command(), FLEET, EXPIRES), Waiting)
