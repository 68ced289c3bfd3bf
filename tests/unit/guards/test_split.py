"""The guards of a split: each arm beside live with its part of alpha, the sample ratio of all, and their evidence."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.checkpoint import read_state, state_json
from guards.errors import CheckpointError, OtherHashKeyError
from guards.evidence import LARGEST_RATIO, RATIOS, log_arm_evidence, log_evidence_of, log_split_ratio_evidence
from guards.excluded import ExcludedCards
from guards.records import GuardedOutcome, GuardedScore, ScorePlace
from guards.report import LARGEST_EVIDENCE_BYTES, breaches, disagreements, evidence, explain, recomputed
from guards.shares import ArmShare, SplitArms
from guards.specs import OF_A_CANARY, Action, GuardKind, GuardSpec, default_guards
from guards.state import GuardState, PartitionCounts
from support.hashed_cards import OTHER_KEY, exclusion_key, hashed

SPLIT = SplitArms(
    (ArmShare("a", 1_000), ArmShare("b", 3_000), ArmShare("live", 6_000)), ExcludedCards.of(["c-0"], None)
)
HASHED = SPLIT._replace(exclude=hashed("c-0"))
GUARDS = {kind: guard for kind, guard in default_guards().items() if kind not in OF_A_CANARY}


def score(card: int, arm: str | None, decision: str = "approve", **fields: Any) -> GuardedScore:
    named = {"transaction_id": f"t-{card}", "decided_by": "model", "revision": 7, "deployment": "default"} | fields
    return GuardedScore(card_id=f"c-{card}", arm=arm, decision=decision, epoch=1, source=ScorePlace(0), **named)


SCORES = st.lists(
    st.builds(
        score,
        st.integers(0, 12),
        st.sampled_from(["a", "b", "live", "canary", None, "c"]),
        st.sampled_from(["approve", "review", "decline"]),
        decided_by=st.sampled_from(["model", "model", "fallback", "rules"]),
        revision=st.sampled_from([6, 7, 8, 9]),
        deployment=st.sampled_from(["default", "default", "other"]),
    ),
    max_size=60,
)


def state_of(split: SplitArms = SPLIT, guards: Any = GUARDS) -> GuardState:
    return GuardState(guards, "default", {7: split.taken_bp, 8: split.taken_bp}, split)


def naive(scores: list[GuardedScore], kind: GuardKind) -> dict[str, int]:
    """Count each card's first bad event by arm, by going through all of them; an excluded card tells nothing."""
    seen, counts = set(), dict.fromkeys(("a", "b", "live"), 0)
    for one in scores:
        bad = {
            GuardKind.REVIEWED: one.decision == "review",
            GuardKind.DECLINED: one.decision == "decline",
            GuardKind.STOOD_IN: one.decided_by != "model",
            GuardKind.SAMPLE_RATIO: True,
        }[kind]
        ours = one.revision in (7, 8) and one.arm in counts and one.deployment == "default" and one.card_id != "c-0"
        if ours and bad and one.card_id not in seen:
            seen.add(one.card_id)
            counts[str(one.arm)] += 1
    return counts


@given(SCORES, st.integers(0, 60))
def test_each_cards_first_bad_event_is_counted_for_its_arm_and_no_excluded_card(
    scores: list[GuardedScore], cut: int
) -> None:
    state = state_of()
    state.count(0, scores[:cut], cut)
    stored = json.loads(json.dumps(state_json(state)))
    state = read_state(stored, state_of())
    state.count(0, scores[cut:], len(scores))
    for kind in (GuardKind.REVIEWED, GuardKind.DECLINED, GuardKind.STOOD_IN, GuardKind.SAMPLE_RATIO):
        found = state.counts_of(kind).get(4_000, (0, 0, 0))
        assert dict(zip(("a", "b", "live"), found, strict=True)) == naive(scores, kind)


@given(SCORES)
def test_cards_that_are_excluded_by_hashes_count_as_little_as_by_ids(scores: list[GuardedScore]) -> None:
    by_id, by_hash = state_of(), state_of(HASHED)
    by_id.count(0, scores, len(scores))
    with exclusion_key():
        by_hash.count(0, scores, len(scores))
    assert state_json(by_hash) == state_json(by_id)


def test_a_guard_with_another_key_counts_nothing_rather_than_excluded_cards() -> None:
    state = state_of(HASHED)
    with exclusion_key(OTHER_KEY), pytest.raises(OtherHashKeyError, match="another key than FRAUDSTREAM_HASH_KEY_FILE"):
        state.count(0, [score(1, "a")], 1)
    assert state.decided() == {}


def test_a_fraud_counts_for_the_arm_that_approved_it() -> None:
    state = state_of()
    state.count(0, [score(1, "a"), score(2, "b", "decline"), score(3, "live"), score(0, "live")], 4)
    state.count_outcomes(
        0, [GuardedOutcome(f"t-{at}", f"c-{at}", fraud=True, deployment="default") for at in range(4)], 4
    )
    assert state.counts_of(GuardKind.FRAUD_APPROVED) == {4_000: (1, 0, 1)}


def test_a_state_of_other_arms_is_discarded() -> None:
    stored = state_json(state_of())
    for split in (None, SplitArms((ArmShare("a", 1_000), ArmShare("live", 9_000)))):
        with pytest.raises(CheckpointError, match=r"other guards or arms.*; discard it"):
            read_state(stored, GuardState(GUARDS, "default", split=split))
    stored["partitions"] = {"0": json.loads(json.dumps(state_json(state_of())))}
    state = state_of()
    state.count(0, [score(1, "a")], 1)
    damaged = state_json(state)
    damaged["partitions"]["0"]["approved"][0][1] = 3
    with pytest.raises(CheckpointError, match="approved payments of 3 arms"):
        read_state(damaged, state_of())


# --- evidence


def slow_evidence(own: int, live: int, rho: float, factor: float) -> float:
    """Average the likelihood ratios over the grid, as the formula is written."""
    total = 0.0
    for theta in np.geomspace(factor, LARGEST_RATIO, RATIOS):
        supposed, tolerated = (one * rho / (one * rho + 1 - rho) for one in (theta, factor))
        total += (supposed / tolerated) ** own * ((1 - supposed) / (1 - tolerated)) ** live
    return total / RATIOS


@given(st.lists(st.integers(0, 25), min_size=3, max_size=3), st.sampled_from([1.0, 1.25, 2.0]))
def test_each_arm_is_tested_beside_live_as_if_the_other_arms_were_not_there(counts: list[int], factor: float) -> None:
    found = log_arm_evidence(counts, (1_000, 3_000, 6_000), factor)
    expected = [slow_evidence(counts[0], counts[2], 1 / 7, factor), slow_evidence(counts[1], counts[2], 1 / 3, factor)]
    assert [math.exp(log) for log in found] == pytest.approx(expected, rel=1e-9)


def test_one_arm_and_live_have_the_evidence_of_a_canary() -> None:
    (found,) = log_arm_evidence((9, 40), (1_000, 9_000))
    assert found == pytest.approx(log_evidence_of({1_000: (9, 40)}))


def test_without_a_share_of_live_no_arm_is_compared_and_a_card_of_live_cannot_be() -> None:
    assert log_arm_evidence((100, 0, 0), (5_000, 5_000, 0)) == [0.0, 0.0]
    assert log_split_ratio_evidence((10, 12, 0), (5_000, 5_000, 0)) == log_split_ratio_evidence((10, 12), (1, 1))
    assert log_split_ratio_evidence((10, 12, 1), (5_000, 5_000, 0)) == math.inf


ALPHA = 0.1


def test_any_of_the_arms_raises_a_false_alarm_at_most_as_often_as_alpha() -> None:
    """Three arms that do not differ from live, looked at after each first bad event: Bonferroni over the arms."""
    shares, runs, events = (500, 1_500, 3_000, 5_000), 400, 400
    rng, bound, crossed = np.random.default_rng(7), math.log(3 / ALPHA), 0
    for _ in range(runs):
        arms = rng.choice(4, events, p=[share / 10_000 for share in shares])
        along = np.stack([(arms == arm).cumsum() for arm in range(4)], 1)[39::40].tolist()
        crossed += any(max(log_arm_evidence(counts, shares)) >= bound for counts in along)
    assert crossed <= runs * ALPHA + 3 * math.sqrt(runs * ALPHA)


def test_an_arm_that_does_twice_the_harm_is_found_and_its_neighbour_is_not_blamed() -> None:
    shares, rng, found = (2_500, 2_500, 5_000), np.random.default_rng(8), []
    for _ in range(60):
        weights = np.array([2 * 0.25, 0.25, 0.5])
        counts = np.bincount(rng.choice(3, 600, p=weights / weights.sum()), minlength=3).tolist()
        found.append([log >= math.log(2 / 0.01) for log in log_arm_evidence(counts, shares)])
    worse, equal = np.array(found).mean(0)
    assert worse > 0.9
    assert equal < 0.05


# --- what is stated of it


def counted(split: SplitArms = SPLIT, partitions: int = 1, **firsts: list[int]) -> GuardState:
    state = state_of(split)
    for at in range(partitions):
        state.partitions[at] = PartitionCounts(len(split.arms))
        state.partitions[at].position = 123_456_789
    state.partitions[0].firsts = {GuardKind(kind): {(0, split.taken_bp): counts} for kind, counts in firsts.items()}
    state.partitions[0].decided = {split.taken_bp: [30 * (at + 1) for at in range(len(split.arms))]}
    return state


def test_the_evidence_has_the_counts_and_e_of_each_arm_and_the_bound_of_each_test() -> None:
    found = evidence(counted(declined=[40, 31, 60]))
    first, second = (math.exp(log) for log in log_arm_evidence((40, 31, 60), (1_000, 3_000, 6_000)))
    assert found["guards"]["declined"] == {
        "alpha": 0.01,
        "factor": 1.0,
        "action": "roll_back",
        "bound": 200.0,
        "e": first,
        "breached": True,
        "arms": [
            {"arm": "a", "share_bp": 1_000, "count": 40, "e": first},
            {"arm": "b", "share_bp": 3_000, "count": 31, "e": second},
            {"arm": "live", "share_bp": 6_000, "count": 60},
        ],
    }
    assert second < 1 < first
    assert (found["guards"]["sample_ratio"]["bound"], found["guards"]["sample_ratio"]["e"]) == (250.0, 1.0)
    assert [row["count"] for row in found["decided"]] == [30, 60, 90]
    assert breaches(found) == {GuardKind.DECLINED: Action.ROLL_BACK}


def test_the_evidence_can_be_checked_from_its_own_counts() -> None:
    found = json.loads(json.dumps(evidence(counted(declined=[40, 31, 60], sample_ratio=[90, 310, 600]))))
    assert disagreements(found) == ()
    assert recomputed(found)[GuardKind.DECLINED] == pytest.approx(found["guards"]["declined"]["e"])
    found["guards"]["declined"]["arms"][0]["count"] = 39
    found["guards"]["sample_ratio"]["breached"] = True
    assert [one.partition(":")[0] for one in disagreements(found)] == ["declined", "sample_ratio"]


@pytest.mark.parametrize(("partitions", "has_positions"), [(300, True), (5_000, False)])
def test_the_evidence_of_as_many_arms_as_there_may_be_fits_into_a_command(
    partitions: int,
    has_positions: bool,  # noqa: FBT001
) -> None:
    many = SplitArms((*(ArmShare(f"{at}" * 64, 1_400) for at in range(7)), ArmShare("live", 200)))
    firsts = {str(kind): [10**9] * 8 for kind in GUARDS if kind is not GuardKind.FRAUD_APPROVED}
    found = evidence(counted(many, partitions, **firsts))
    assert len(json.dumps(found, separators=(",", ":"))) <= LARGEST_EVIDENCE_BYTES
    assert ("positions" in found) is has_positions
    assert disagreements(found) == ()


def test_the_evidence_is_said_in_words() -> None:
    lines = explain(evidence(counted(declined=[40, 31, 60], sample_ratio=[90, 310, 600])))
    e, other = (math.exp(log) for log in log_arm_evidence((40, 31, 60), (1_000, 3_000, 6_000)))
    assert "reviewed: no first reviews yet" in lines
    assert (
        f"declined: first declines: 40 of a (10%), E {e:,.3g}, 31 of b (30%), E {other:,.3g}, 60 of live (60%). "
        f"E = {e:,.3g} against a bound of 200 (alpha 0.01): breached: roll_back"
    ) in lines
    (ratio,) = [line for line in lines if line.startswith("sample_ratio")]
    assert ratio.startswith("sample_ratio: cards: 90 of a (10%), 310 of b (30%), 600 of live (60%). E = 0.")
    tolerant = GuardState({GuardKind.DECLINED: GuardSpec(0.01, Action.HOLD, 1.25)}, "default", split=SPLIT)
    tolerant.partitions = counted(declined=[1, 2, 3]).partitions
    assert "; 1.25 times as many as live's are tolerated. E = " in explain(evidence(tolerant))[0]
