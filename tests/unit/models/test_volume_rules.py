"""Where the fleet has a budget of alerts, a promotion whose volume would leave it is refused, from the log alone."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.ladder import Ladder
from models.arms import Arm, Canary, Split
from models.command_decoder import read_command
from models.commands import Command, CommandKind, encode
from models.judge import Accepted, Fleet, HeldArtifact, Refused, judge
from models.limits import Limits
from models.lineup import Answer, Lineup
from models.problems import ProblemCode
from models.rollout_rules import limits_after
from models.rollouts import Rollout
from models.times import format_time
from models.volume import Allowance, VolumeBudget
from models.volume_rules import StatedVolume, VolumeBasis, beyond_budget, stated_volume
from support import control_events

LIVE, NEW, OTHER = "a" * 64, "b" * 64, "c" * 64
NOW, EXPIRES = 1_767_225_600_000, 1_767_225_660_000
HOUR = 3_600_000
BUDGET = VolumeBudget(alert_share=0.006, decline_share=0.002, change=0.2)
ASKED = Lineup("default", revision=4, live=LIVE, limits=Limits(volume_budget=BUDGET))
FLEET = Fleet(frozenset({"f"}), frozenset({"w"}), HeldArtifact(NEW, "f"), {"w": Answer("h")})
LADDER = Ladder.parse("1% 10min, 100%")
WITHIN = {
    "model": NEW,
    "live": LIVE,
    "basis": "shadow",
    "payments": 20_000,
    "alert_share": 0.0055,
    "decline_share": 0.001,
    "live_alert_share": 0.005,
    "at": format_time(NOW - HOUR),
}


def command(kind: CommandKind = CommandKind.PROMOTE, evidence: Any = None, **changes: Any) -> Command:
    fields: dict[str, Any] = {"model": NEW} | ({"ladder": LADDER.rungs} if kind is CommandKind.ROLLOUT else {})
    return control_events.command(kind, expected_revision=4, evidence=evidence, **(fields | changes))


def problems(lineup: Lineup, asked: Command) -> dict[ProblemCode, str]:
    verdict = judge(lineup, asked, FLEET, NOW)
    return {one.code: one.detail for one in verdict.problems} if isinstance(verdict, Refused) else {}


@pytest.mark.parametrize("kind", [CommandKind.PROMOTE, CommandKind.ROLLOUT])
def test_a_model_that_moves_the_volume_by_less_than_its_budget_is_promoted(kind: CommandKind) -> None:
    assert set(problems(ASKED, command(kind))) == {ProblemCode.NO_VOLUME}
    verdict = judge(ASKED, command(kind, {"volume": WITHIN}), FLEET, NOW)
    assert isinstance(verdict, Accepted)
    assert verdict.model == NEW


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"alert_share": 0.0061, "live_alert_share": 0.006}, ProblemCode.OVER_BUDGET, "alerts on 0.61 % of 20,000"),
        ({"decline_share": 0.0021}, ProblemCode.OVER_BUDGET, "declines on 0.21 % of 20,000"),
        ({"alert_share": 0.0059, "live_alert_share": 0.0049}, ProblemCode.OVER_BUDGET, "from 0.49 % to 0.59 %"),
        ({"alert_share": 0.0039}, ProblemCode.OVER_BUDGET, "from 0.5 % to 0.39 %"),
        ({"live_alert_share": None}, ProblemCode.OVER_BUDGET, "the live model's volume is not known"),
        ({"model": OTHER}, ProblemCode.OTHER_VOLUME, "the volume's model is c"),
        ({"live": OTHER}, ProblemCode.OTHER_VOLUME, "the volume's live model is c"),
        ({"at": format_time(NOW - 24 * HOUR - 1)}, ProblemCode.STALE_VOLUME, "it holds for 24 h"),
        ({"at": format_time(NOW + HOUR)}, ProblemCode.STALE_VOLUME, "it holds for 24 h"),
        ({"payments": 0}, ProblemCode.NO_VOLUME, "holds no volume"),
        ({"alert_share": 1.5}, ProblemCode.NO_VOLUME, "holds no volume"),
    ],
)  # fmt: skip
def test_a_volume_beyond_the_budget_or_of_other_models_or_of_another_day_is_refused(
    changes: Any, code: ProblemCode, text: str
) -> None:
    found = problems(ASKED, command(evidence={"volume": WITHIN | changes}))
    assert set(found) == {code}
    assert text in found[code]


def test_without_a_budget_with_force_for_the_first_model_and_at_a_rollouts_top_no_volume_is_needed() -> None:
    assert not problems(replace(ASKED, limits=Limits(decline_cap=0.5)), command())
    assert not problems(ASKED, command(force=True))
    assert not problems(replace(ASKED, live=None), command())
    climbing = replace(ASKED, canary=Canary(NEW, 100, "s"), rollout=Rollout("c-0", NEW, LADDER, {}))
    assert not problems(climbing, command())


@given(
    st.floats(0, 0.02),
    st.floats(0, 0.01),
    st.floats(0, 0.02) | st.none(),
    st.builds(VolumeBudget, *[st.floats(0, bound) | st.none() for bound in (0.02, 0.01, 2.0)]),
)
def test_a_budget_is_kept_where_each_of_its_bounds_is_but_for_rounding(
    alerts: float, declines: float, live: float | None, budget: VolumeBudget
) -> None:
    found = StatedVolume(NEW, LIVE, VolumeBasis.SHADOW, 10_000, alerts, declines, live, format_time(NOW))
    kept = (
        (budget.alert_share is None or alerts <= budget.alert_share + 1e-9)
        and (budget.decline_share is None or declines <= budget.decline_share + 1e-9)
        and (budget.change is None or (live is not None and abs(alerts - live) <= budget.change * live + 1e-9))
    )
    assert (not list(beyond_budget(found, budget))) == kept
    assert stated_volume(msgspec.to_builtins(found)) == found


def test_the_arm_that_wins_a_split_needs_a_volume_unless_its_model_is_live() -> None:
    arms = (Arm("new", NEW, 1_000), Arm("same", LIVE, 1_000))
    lineup = replace(ASKED, split=Split(arms, "s"))

    def won(winner: str, **changes: Any) -> set[ProblemCode]:
        return set(problems(lineup, command(CommandKind.END_SPLIT, model=None, winner=winner, **changes)))

    assert won("new") == {ProblemCode.NO_VOLUME}
    assert won("new", evidence={"volume": WITHIN | {"alert_share": 0.0061}}) == {ProblemCode.OVER_BUDGET}
    assert not won("new", evidence={"volume": WITHIN})
    assert not won("new", force=True)
    assert not won("same")
    assert not won("live")


@given(st.integers(1, 1_000_000), st.data())
def test_a_volume_at_its_budget_is_within_it_and_one_payment_more_is_not(payments: int, data: st.DataObject) -> None:
    alerts = data.draw(st.integers(0, payments - 1))
    declines = data.draw(st.integers(0, alerts))
    budget = VolumeBudget(alert_share=alerts / payments, decline_share=declines / payments)
    manifest = (alerts - declines) / payments + declines / payments
    for share in (alerts / payments, manifest, 1 - (payments - alerts) / payments):
        at = StatedVolume(NEW, LIVE, VolumeBasis.SHADOW, payments, share, declines / payments, None, format_time(NOW))
        assert not list(beyond_budget(at, budget))
    more = msgspec.structs.replace(at, alert_share=(alerts + 1) / payments)
    assert list(beyond_budget(more, budget))


@pytest.mark.parametrize("live", range(10, 200, 10))
def test_a_move_of_the_whole_budget_is_within_it(live: int) -> None:
    budget = VolumeBudget(change=0.1)
    for alerts in (live + live // 10, live - live // 10):
        at = StatedVolume(NEW, LIVE, VolumeBasis.SHADOW, 1_000, alerts / 1_000, 0.0, live / 1_000, format_time(NOW))
        assert not list(beyond_budget(at, budget))


def test_a_budget_is_set_replaced_and_ended_by_commands_about_limits() -> None:
    def after(lineup: Lineup, **asked: Any) -> Limits:
        limits = limits_after(lineup, command(CommandKind.LIMITS, model=None, **asked), 1)
        assert limits is not None
        return limits

    lineup = Lineup("default", revision=4, live=LIVE)
    assert after(lineup, volume_budget=BUDGET) == Limits(volume_budget=BUDGET)
    lineup = replace(lineup, limits=Limits(volume_budget=BUDGET))
    assert after(lineup, decline_cap=0.5) == Limits(0.5, volume_budget=BUDGET)
    assert after(lineup, volume_budget=VolumeBudget(change=0.1)) == Limits(volume_budget=VolumeBudget(change=0.1))
    assert after(lineup, volume_budget=VolumeBudget()) == Limits()


def test_a_budget_is_an_argument_of_limits_alone() -> None:
    sent = command(CommandKind.LIMITS, model=None, volume_budget=BUDGET)
    assert read_command(encode(sent)) == sent
    assert "volume_budget: promote takes none" in str(read_command(encode(command(volume_budget=BUDGET))))
    assert msgspec.json.encode(Limits(volume_budget=BUDGET)) == (
        b'{"volume_budget":{"alert_share":0.006,"decline_share":0.002,"change":0.2}}'
    )


@given(st.integers(0, 10**7), st.integers(1, 10_000))
def test_an_allowance_in_steps_of_a_hundredth_of_a_percent_allows_exactly_that_many(
    payments: int, share_bp: int
) -> None:
    assert Allowance(share=share_bp / 10_000).most(payments, 1.0) == payments * share_bp // 10_000


@pytest.mark.parametrize("stated", [{}, {"share": 0.1, "a_day": 5.0}])
def test_an_allowance_is_a_share_or_a_number_a_day(stated: Any) -> None:
    with pytest.raises(ValueError, match="one of the two"):
        Allowance(**stated)
