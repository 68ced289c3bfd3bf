"""Evidence: what it states, its size, and that a person or a program can check it."""

import json
import math
from typing import Any

import pytest

from guards.evidence import log_fewer_evidence_of, log_more_evidence_of
from guards.report import (
    LARGEST_EVIDENCE_BYTES,
    breaches,
    disagreements,
    evidence,
    explain,
    likelihood_text,
    recomputed,
)
from guards.specs import Action, GuardKind, default_guards
from guards.state import GuardState, OutcomePartition, PartitionCounts


def state_with(counts: dict[GuardKind, dict[tuple[int, int], list[int]]], partitions: int = 1) -> GuardState:
    state = GuardState(default_guards(), "default")
    for at in range(partitions):
        state.partitions[at] = PartitionCounts()
        state.partitions[at].position = 123_456_789
        state.outcomes[at] = OutcomePartition()
    state.partitions[0].firsts = counts
    return state


BLOCKS = {(0, 100): (4, 60), (1, 1_000): (20, 80), (7, 1_000): (25, 72)}
DECLINES = {GuardKind.DECLINED: {at: list(arms) for at, arms in BLOCKS.items()}}
MORE, FEWER = math.exp(log_more_evidence_of(BLOCKS)), math.exp(log_fewer_evidence_of(BLOCKS))


def test_evidence_has_counts_e_bound_alpha_and_action_of_each_guard() -> None:
    found = evidence(state_with(DECLINES))
    declined = found["guards"]["declined"]
    assert declined == {
        "alpha": 0.01,
        "factor": 1.0,
        "action": "roll_back",
        "bound": 200.0,
        "e": MORE,
        "e_more": MORE,
        "e_fewer": FEWER,
        "breached": True,
        "counts": [{"share_bp": 100, "canary": 4, "live": 60}, {"share_bp": 1_000, "canary": 45, "live": 152}],
        "labelled": {"fraud": 0, "genuine": 0},
        "blocks": [[0, 100, 4, 60], [1, 1_000, 20, 80], [7, 1_000, 25, 72]],
    }
    assert found["alpha"] == 0.05
    assert found["guards"]["reviewed"]["e"] == 1.0
    assert found["positions"] == {"scores": [123_456_789], "outcomes": [0]}
    assert breaches(found) == {GuardKind.DECLINED: Action.ROLL_BACK}


def test_evidence_can_be_checked_from_its_own_counts() -> None:
    found = json.loads(json.dumps(evidence(state_with(DECLINES))))
    assert disagreements(found) == ()
    assert recomputed(found)[GuardKind.DECLINED] == pytest.approx(found["guards"]["declined"]["e"])
    found["guards"]["declined"]["blocks"][1][2] = 19
    found["guards"]["reviewed"]["breached"] = True
    wrong = disagreements(found)
    assert [one.partition(":")[0] for one in wrong] == ["reviewed", "declined"]


def test_evidence_is_said_in_words() -> None:
    lines = explain(evidence(state_with(DECLINES)))
    assert "reviewed: no first reviews yet" in lines
    (declined,) = [line for line in lines if line.startswith("declined")]
    assert declined == (
        "declined: 49 of 261 first declines are the canary's; by its share of cards, 20.3 would be. "
        "Of its declines 0 are fraud by their labels, 0 genuine. "
        f"E = {MORE:,.3g}, {FEWER:,.3g} that they are too few, against a bound of 200 (alpha 0.01): breached: roll_back"
    )


def test_evidence_of_a_promotion_names_no_canary() -> None:
    lines = explain(evidence(state_with(DECLINES), {"watched": "promotion"}))
    (declined,) = [line for line in lines if line.startswith("declined")]
    assert declined.startswith(
        "declined: 49 of 261 first declines are the new model's; if both models were alike, 20.3 would be. "
    )


@pytest.mark.parametrize(("partitions", "has_positions"), [(300, True), (5_000, False)])
def test_evidence_fits_into_a_command(partitions: int, has_positions: bool) -> None:  # noqa: FBT001
    many: dict[Any, dict[tuple[int, int], list[int]]] = {
        kind: {(block, share_bp): [10**9, 10**9] for block in range(2) for share_bp in range(1, 500)}
        for kind in GuardKind
    }
    found = evidence(state_with(many, partitions))
    assert len(json.dumps(found, separators=(",", ":"))) <= LARGEST_EVIDENCE_BYTES
    assert ("positions" in found) is has_positions
    assert found["guards"]["declined"]["shares_left_out"] == 479
    assert disagreements(found) == ()
    assert math.isfinite(found["guards"]["declined"]["e"])


@pytest.mark.parametrize(
    ("e", "words"),
    [
        (0.0, "no likelier"),
        (0.99, "no likelier"),
        (1.0, "1.0 times as likely"),
        (9.94, "9.9 times as likely"),
        (104.0, "100 times as likely"),
        (151_234.0, "150,000 times as likely"),
        (3.32e15, "more than a million times as likely"),
    ],
)
def test_evidence_is_said_in_words_without_an_exponent(e: float, words: str) -> None:
    said = likelihood_text(e)
    assert said.startswith(words)
    assert "if it does harm" in said
    assert "e+" not in said
