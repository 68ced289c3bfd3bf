"""`model promote` with a budget of alerts: the volume that is sent as evidence, and what is not sent at all."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from click.testing import Result

from fraudstream.cli import missing_rules, promotion, split, volume
from fraudstream_client.outputs import Decision
from models.arms import Arm, Split
from models.artifact import read_artifact, with_policy, write_artifact
from models.commands import CommandKind
from models.limits import Limits
from models.lineup import Lineup
from models.list_rules import ListRule, RuleAction, RuleSet
from models.repository import Repository
from models.volume import ExpectedVolume, VolumeBudget
from models.volume_rules import StatedVolume, VolumeBasis, stated_volume
from shadow.tally import Tally
from stream.control.client import CommandRequest
from stream.errors import ReportError
from stream.settings import Settings
from support.command_line import answer_reads, record_requests, run_command
from support.control_events import accepted
from support.model_artifacts import artifact

BUDGET = VolumeBudget(alert_share=0.006, change=0.2)
A, R, D = Decision.APPROVE, Decision.REVIEW, Decision.DECLINE


def put(repository: Repository, seed: int, alerts: float | None, rules: RuleSet | None = None) -> str:
    """Store a model whose manifest expects this share of alerts, with rules."""
    found = read_artifact(artifact(seed=seed))
    expected = None if alerts is None else ExpectedVolume(
        since="2026-01-01T00:00:00.000Z", until="2026-02-01T00:00:00.000Z", payments=40_000,
        review_share=alerts - 0.001, decline_share=0.001, alerts_a_day=12.0, busiest_day=20,
    )  # fmt: skip
    manifest = with_policy(found.manifest, found.manifest.policy, None, rules, expected)
    return repository.put(write_artifact(msgspec.structs.replace(found, manifest=manifest)))


class World:
    """A repository, the lineup, what the shadow shows, and the commands that were sent."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.repository = folder, Repository(str(folder))
        self.live = put(self.repository, 0, 0.005)
        self.limits: Limits | None = Limits(volume_budget=BUDGET)
        self.tally: Tally | None = None
        self.split: Split | None = None
        self.sent = list[CommandRequest]()

    def run(self, *arguments: str) -> Result:
        return run_command(*arguments, settings={"FRAUDSTREAM_MODELS": str(self.folder)})


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    made = World(tmp_path)

    def fold() -> Any:
        return SimpleNamespace(lineup=Lineup("default", 2, live=made.live, limits=made.limits, split=made.split))

    async def report(_settings: Settings, digest: str, *_: Any) -> Any:
        if made.tally is None:
            raise ReportError("no model is in the shadow")
        return SimpleNamespace(digest=digest.ljust(64, "0"), tally=made.tally)

    made.sent = record_requests(monkeypatch, lambda _request: accepted(3, "promote"))
    answer_reads(monkeypatch, "read_fold", fold, promotion, missing_rules)
    monkeypatch.setattr(volume, "report", report)
    monkeypatch.setattr(split, "grounds_of", lambda _winner, _file: {"report": {}})
    return made


def tally(live: str, **counts: int) -> Tally:
    """Make a tally of counts by what live and the challenger decided, such as `AR`."""
    letters = {"A": A, "R": R, "D": D}
    events = {(letters[pair[0]], letters[pair[1]]): count for pair, count in counts.items()}
    return Tally(events, {}, {live: sum(counts.values())}, 0, 0, 0, {}, {}, {})


def stated(request: CommandRequest) -> StatedVolume | None:
    return stated_volume((request.evidence or {})["volume"])


def test_a_model_whose_manifest_expects_little_more_is_sent_with_that(world: World) -> None:
    other = put(world.repository, 1, 0.0055)
    result = world.run("model", "promote", other[:12])
    assert result.exit_code == 0, result.stderr
    (request,) = world.sent
    found = stated(request)
    assert found is not None
    assert (found.model, found.live, found.basis, found.payments) == (other, world.live, VolumeBasis.MANIFEST, 40_000)
    assert (found.alert_share, found.live_alert_share) == pytest.approx((0.0055, 0.005))


@pytest.mark.parametrize(
    ("alerts", "why"),
    [
        (0.0061, "alerts on 0.61 % of 40,000 payments (manifest), the budget is 0.6 %"),
        (0.0035, "alerts would move from 0.5 % to 0.35 % of 40,000 payments (manifest)"),
        (None, "its manifest states none; put it into the shadow"),
    ],
)
def test_one_that_would_leave_the_budget_or_says_nothing_is_not_sent(world: World, alerts: float, why: str) -> None:
    other = put(world.repository, 1, alerts)
    result = world.run("model", "promote", other[:12])
    assert (result.exit_code, world.sent) == (1, [])
    assert why in result.stderr
    assert "--force promotes all the same" in result.stderr
    assert world.run("model", "promote", other[:12], "--force").exit_code == 0
    assert [(one.force, one.evidence) for one in world.sent] == [(True, None)]


def test_what_the_shadow_shows_comes_before_what_manifests_expect(world: World) -> None:
    other = put(world.repository, 1, 0.5)
    world.tally = tally(world.live, AA=99_400, RR=400, RA=100, AR=60, DD=40)
    result = world.run("rollout", "start", other[:12], "--ladder", "1% 10min, 100%")
    assert result.exit_code == 0, result.stderr
    (request,) = world.sent
    found = stated(request)
    assert request.kind is CommandKind.ROLLOUT
    assert found is not None
    assert (found.basis, found.payments) == (VolumeBasis.SHADOW, 100_000)
    assert (found.alert_share, found.decline_share) == pytest.approx((500 / 100_000, 40 / 100_000))
    assert found.live_alert_share == pytest.approx(540 / 100_000)
    world.tally = tally(world.live, AA=99_000, RR=400, AR=600)
    result = world.run("model", "promote", other[:12])
    assert result.exit_code == 1
    assert "alerts on 1 % of 100,000 payments (shadow)" in result.stderr
    assert len(world.sent) == 1


def test_a_volume_of_the_shadow_that_is_exactly_the_budget_is_within_it(world: World) -> None:
    world.limits = Limits(volume_budget=VolumeBudget(alert_share=0.05))
    world.tally = tally(world.live, AA=9_500, RR=400, AR=100)
    assert world.run("model", "promote", put(world.repository, 1, 0.005)[:12]).exit_code == 0
    found = stated(world.sent[0])
    assert found is not None
    assert (found.alert_share, found.live_alert_share) == (0.05, 0.04)


@pytest.mark.parametrize("change", [lambda one: tally(one.live, AA=999), lambda _: tally("f" * 64, AA=5_000)])
def test_few_comparisons_or_those_with_another_model_count_for_nothing(
    world: World, change: Callable[[World], Tally]
) -> None:
    other = put(world.repository, 1, 0.005)
    world.tally = change(world)
    assert world.run("model", "promote", other[:12]).exit_code == 0
    found = stated(world.sent[0])
    assert found is not None
    assert found.basis is VolumeBasis.MANIFEST


@pytest.mark.parametrize(("alerts", "is_told"), [(0.0061, True), (0.0055, False), (None, False)])
def test_without_a_budget_a_volume_that_moves_far_is_told(world: World, alerts: float, *, is_told: bool) -> None:
    world.limits = None
    other = put(world.repository, 1, alerts)
    result = world.run("model", "promote", other[:12])
    assert result.exit_code == 0, result.stderr
    assert [one.evidence for one in world.sent] == [None]
    assert ("warning: alerts are expected on" in result.stderr) == is_told


@pytest.mark.parametrize(
    ("arguments", "is_told"),
    [
        (("model", "promote", "{}"), True),
        (("model", "promote", "{}", "--force"), True),
        (("model", "canary", "{}", "--share", "1%"), True),
        (("rollout", "start", "{}", "--ladder", "1% 10min, 100%"), True),
        (("model", "challenge", "{}"), False),
    ],
)
def test_rules_of_the_live_model_that_the_other_one_lacks_are_named(
    world: World, arguments: tuple[str, ...], *, is_told: bool
) -> None:
    world.limits = None
    lists = [ListRule(name, RuleAction.BLOCK, cards=("c1",)) for name in ("stolen", "lost")]
    world.live = put(world.repository, 0, 0.005, RuleSet(tuple(lists)))
    kept = put(world.repository, 1, 0.005, RuleSet((lists[1], ListRule("own", RuleAction.ALLOW, merchants=("m",)))))
    result = world.run(*(one.format(kept[:12]) for one in arguments))
    assert result.exit_code == 0, result.stderr
    assert ("warning: the live model has rules that this one lacks: stolen; " in result.stderr) == is_told
    both = put(world.repository, 2, 0.005, RuleSet(tuple(reversed(lists))))
    assert "lacks" not in world.run(*(one.format(both[:12]) for one in arguments)).stderr
    assert len(world.sent) == 2


def test_without_a_repository_a_command_is_sent_without_a_word_on_rules(world: World) -> None:
    world.limits = None
    nowhere = {"FRAUDSTREAM_MODELS": str(world.folder / "none")}
    result = run_command("model", "canary", "1" * 12, "--share", "1%", settings=nowhere)
    assert (result.exit_code, "lacks" in result.stderr, len(world.sent)) == (0, False, 1)


def test_the_winner_of_a_split_is_sent_with_its_volume_and_not_beyond_the_budget(world: World) -> None:
    small, large = (put(world.repository, seed, alerts) for seed, alerts in ((1, 0.0055), (2, 0.0061)))
    world.split = Split((Arm("small", small, 1_000), Arm("large", large, 1_000), Arm("same", world.live, 1_000)), "s")
    assert world.run("model", "end-split", "--winner", "small").exit_code == 0
    found = stated(world.sent[0])
    assert found is not None
    assert (found.model, found.alert_share) == (small, pytest.approx(0.0055))
    assert (world.sent[0].evidence or {}).keys() == {"volume", "report"}
    refused = world.run("model", "end-split", "--winner", "large")
    assert (refused.exit_code, "the budget is 0.6 %" in refused.stderr, len(world.sent)) == (1, True, 1)
    for arguments in (("large", "--force"), ("same",), ("live",)):
        assert world.run("model", "end-split", "--winner", *arguments).exit_code == 0
    assert [(one.evidence or {}).keys() for one in world.sent[1:]] == [{"report"}] * 3
