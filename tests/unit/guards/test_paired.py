"""A promotion watched by pairs: against a naive count, without a difference, and with a worse model."""

import math
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.worlds.watched_pairs import GUARDS, PAIR, Labelled, comparison, watch_frauds
from fraudstream_client.outputs import Decision
from guards.errors import GuardSpecError
from guards.evidence import log_evidence_of
from guards.paired import (
    PAIRED_SHARE_BP,
    GuardedComparison,
    paired_guards,
    paired_scores,
    read_comparison,
)
from guards.records import GuardedOutcome
from guards.report import breaches, disagreements, evidence, explain
from guards.specs import Action, GuardKind, GuardSpec, default_guards
from guards.state import GuardState
from shadow.comparison import DecidedScore, Result, compare, encode_comparison
from support.acceptance import cases

NEW, PREVIOUS = PAIR
DECISIONS = ("approve", "review", "decline")


def state_of(comparisons: Iterable[GuardedComparison], frauds: Iterable[GuardedComparison] = ()) -> GuardState:
    state = GuardState(GUARDS, "default", {7: PAIRED_SHARE_BP}, is_paired=True)
    state.count(0, paired_scores(comparisons, PAIR), 1)
    labelled = [GuardedOutcome(one.transaction_id, one.card_id, fraud=True, deployment="default") for one in frauds]
    state.count_outcomes(0, labelled, 1)
    return state


COMPARISONS = st.lists(
    st.builds(
        lambda payment, decisions, revision, digests: comparison(payment, payment % 4, decisions, revision, digests),
        st.integers(0, 12),
        st.tuples(st.sampled_from(DECISIONS), st.sampled_from(DECISIONS)),
        st.sampled_from([7, 7, 8]),
        st.sampled_from([PAIR, PAIR, PAIR, (None, PREVIOUS), (PREVIOUS, NEW), (NEW, "o" * 64)]),
    ),
    unique_by=lambda one: one.transaction_id,
    max_size=12,
)


def naive(comparisons: Sequence[GuardedComparison], bad: str) -> tuple[int, int]:
    """Count the cards whose first difference with a bad decision is the new model's, and the previous one's."""
    firsts: dict[str, bool] = {}
    for one in comparisons:
        new, previous = one.live.decision, one.challenger.decision
        of_pair = (one.live.digest, one.challenger.digest, one.revision) == (NEW, PREVIOUS, 7)
        if bad == "approve" and {new, previous} != {"approve", "review"}:  # no label of what a live model declines
            continue
        if of_pair and new != previous and bad in {new, previous}:
            firsts.setdefault(one.card_id, new == bad)
    return sum(firsts.values()), len(firsts) - sum(firsts.values())


@given(COMPARISONS)
def test_a_cards_first_difference_of_each_kind_is_counted(comparisons: list[GuardedComparison]) -> None:
    state = state_of(comparisons, frauds=comparisons)
    kinds = {
        GuardKind.REVIEWED: "review",
        GuardKind.DECLINED: "decline",
        GuardKind.FRAUD_APPROVED: "approve",  # every payment is a fraud here, labelled in the order of the payments
    }
    for kind, bad in kinds.items():
        assert state.counts_of(kind).get(PAIRED_SHARE_BP, (0, 0)) == naive(comparisons, bad)


@given(COMPARISONS)
def test_comparisons_that_are_delivered_twice_change_no_evidence(comparisons: list[GuardedComparison]) -> None:
    once, twice = state_of(comparisons, frauds=comparisons), state_of([*comparisons, *comparisons], frauds=comparisons)
    assert evidence(once)["guards"] == evidence(twice)["guards"]


def drawn(rng: np.random.Generator, ratio: float, cards: int) -> list[GuardedComparison]:
    """Draw swaps of cards of which each has several, alike: `ratio` times as many are the new model's."""
    found = []
    for card in range(cards):
        by_new = rng.random() < ratio / (1 + ratio)
        for again in range(int(rng.geometric(0.3))):
            decisions = ("decline", "approve") if by_new else ("approve", "decline")
            found.append(comparison(100 * card + again, card, decisions))
    return found


def test_without_a_difference_the_mean_of_evidence_is_1_though_a_cards_swaps_are_all_alike() -> None:
    rng = np.random.default_rng(7)
    kind, found, runs = GuardKind.DECLINED, [], 500
    for _ in range(runs):
        counts = state_of(drawn(rng, 1.0, cards=8)).counts_of(kind)
        assert sum(counts[PAIRED_SHARE_BP]) == 8, "each card counts once"
        found.append(math.exp(log_evidence_of(counts)))
    assert np.mean(found) <= 1 + 3 * np.std(found) / math.sqrt(runs)
    assert np.mean(np.array(found) >= GUARDS[kind].bound()) <= 0.01


def test_a_new_model_that_declines_twice_as_much_is_found() -> None:
    state = state_of(drawn(np.random.default_rng(3), 2.0, cards=500))
    assert breaches(evidence(state)) == {GuardKind.DECLINED: Action.ROLL_BACK}


def test_a_new_model_that_declines_half_as_much_is_shown_and_not_rolled_back() -> None:
    state = state_of(drawn(np.random.default_rng(3), 0.5, cards=500))
    assert breaches(evidence(state)) == {GuardKind.DECLINED: Action.HOLD}


# --- frauds whose label depends on what the live model decides

FRAUD = GuardKind.FRAUD_APPROVED


def watched(
    rng: np.random.Generator, stopped: tuple[float, float], labelled: tuple[float, float], frauds: int = 250
) -> GuardState:
    (state,) = watch_frauds(rng, stopped, Labelled(*labelled), frauds)
    return state


@pytest.mark.parametrize("labelled", cases([0.0, 0.3, 0.7, 1.0], short=[0.0, 0.3]))
@pytest.mark.parametrize("stopped", [(0.6, 0.6), (0.75, 0.6)])
def test_equal_and_better_models_are_not_rolled_back_for_frauds_whatever_part_of_the_declines_has_labels(
    stopped: tuple[float, float], labelled: float
) -> None:
    rng, runs = np.random.default_rng(11), 60
    breached = sum(FRAUD in breaches(evidence(watched(rng, stopped, (labelled, 1.0)))) for _ in range(runs))
    assert breached <= 0.01 * runs + 3 * math.sqrt(0.01 * runs)  # a Monte Carlo error of 1.3 %


def test_a_model_that_approves_the_frauds_that_its_predecessor_reviewed_is_rolled_back() -> None:
    rng = np.random.default_rng(12)
    found = [breaches(evidence(watched(rng, (0.2, 0.6), (0.0, 1.0)))).get(FRAUD) for _ in range(20)]
    assert found == [Action.ROLL_BACK] * 20


def test_where_reviews_get_no_labels_the_guard_says_that_it_cannot_tell() -> None:
    found = evidence(watched(np.random.default_rng(13), (0.6, 0.6), (0.0, 0.2)))
    guard = found["guards"]["fraud_approved"]
    assert guard["e"] == 1.0
    assert guard["reviews"]["labelled"] < guard["reviews"]["decided"] / 2
    assert "only the new model reviews, so nothing can be said" in "\n".join(explain(found))
    assert disagreements(found) == ()


def test_labels_that_some_reviews_lack_are_no_evidence_against_the_new_model() -> None:
    rng, runs = np.random.default_rng(14), 40
    breached = sum(FRAUD in breaches(evidence(watched(rng, (0.6, 0.6), (0.0, 0.7), 800))) for _ in range(runs))
    assert breached <= 0.01 * runs + 3 * math.sqrt(0.01 * runs)


def test_guards_that_pairs_tell_nothing_of_are_left_out() -> None:
    assert list(GUARDS) == [GuardKind.REVIEWED, GuardKind.DECLINED, GuardKind.FRAUD_APPROVED]
    assert all(GUARDS[kind] == default_guards()[kind] for kind in GUARDS)
    with pytest.raises(GuardSpecError, match=r"^guards: stood_in; but a promotion is watched by pairs of decisions"):
        paired_guards({GuardKind.STOOD_IN: GuardSpec(0.01, Action.HOLD)})


def test_a_comparison_is_read_as_a_worker_writes_it() -> None:
    fields = {
        "transaction_id": "t-1",
        "card_id": "c-1",
        "occurred_at": "2026-01-31T12:00:00.000Z",
        "amount_minor": 5,
        "currency": "EUR",
        "score": 0.5,
        "band": 800,
        "decision": "decline",
        "model": {"digest": NEW},
        "revision": 7,
        "source": {"topic": "transactions", "partition": 0, "offset": 3},
        "deployment": "default",
        "arm": "live",
    }
    decided = msgspec.convert(fields, DecidedScore)
    written = encode_comparison(
        compare(decided, PREVIOUS, Result(0.1, 600, Decision.APPROVE, Decision.APPROVE), now_ms=0)
    )
    assert read_comparison(written) == msgspec.structs.replace(
        comparison(0, 1, ("decline", "approve")), transaction_id="t-1"
    )


def test_what_is_no_comparison_is_an_error_of_decoding() -> None:
    for value in (b"", b"[]", b"{}", b'{"transaction_id":"t","card_id":"c","live":{},"challenger":{},"revision":1}'):
        with pytest.raises(msgspec.DecodeError):
            read_comparison(value)
