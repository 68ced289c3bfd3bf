"""Counting each card's first bad event: against a naive count, in any order of batches, from a stored state."""

import json
import math
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.checkpoint import read_state, state_json
from guards.errors import CheckpointError
from guards.evidence import log_evidence_of
from guards.hashes import HashSet
from guards.records import GuardedOutcome, GuardedScore, Overrule, ScorePlace
from guards.specs import GuardKind, default_guards
from guards.state import GuardState
from stream.readers import read_label_view, read_view
from support.outcome_cases import outcome_value, score_value

GUARDS = default_guards()
SHARES = {3: 100, 4: 500, 5: 500}
KINDS = [GuardKind.REVIEWED, GuardKind.DECLINED, GuardKind.STOOD_IN]


def score(card: int, decision: str = "approve", **fields: Any) -> GuardedScore:
    defaults: dict[str, Any] = {
        "decided_by": "model",
        "revision": 3,
        "arm": "live",
        "transaction_id": "t",
        "deployment": "default",
    }
    return GuardedScore(card_id=f"c-{card}", decision=decision, epoch=1, source=ScorePlace(0), **(defaults | fields))


def remembered(state: GuardState) -> int:
    """Return the number of cards and approved payments that take memory."""
    groups = [group for counts in state.partitions.values() for group in (counts.cards, counts.approved)]
    declined = sum(len(counts.declined) for counts in state.partitions.values())
    return declined + sum(len(hashes) for group in groups for hashes in group.values())


SCORES = st.lists(
    st.builds(
        score,
        st.integers(0, 8),
        st.sampled_from(["approve", "review", "decline"]),
        decided_by=st.sampled_from(["model", "model", "fallback", "rules"]),
        revision=st.sampled_from([2, 3, 4, 5, 6]),
        arm=st.sampled_from(["live", "canary", "canary", None, "blue"]),
        transaction_id=st.integers(0, 20).map(str),
        overruled=st.sampled_from(
            [
                None,
                None,
                Overrule("decline_cap", "decline"),
                Overrule("let_through", "decline"),
                Overrule("decline_cap", "approve", "decline"),
                Overrule("rule:x", "approve", "decline"),
                Overrule("rule:x", "decline"),
            ]
        ),
        deployment=st.sampled_from(["default", "default", "other"]),
    ),
    max_size=60,
)
APPROVALS = st.lists(
    st.builds(
        lambda payment, decision, revision, arm: score(
            payment % 4, decision, transaction_id=str(payment), revision=revision, arm=arm
        ),
        st.integers(0, 8),
        st.sampled_from(["approve", "approve", "decline"]),
        st.sampled_from([3, 4]),
        st.sampled_from(["live", "canary"]),
    ),
    unique_by=lambda one: one.transaction_id,  # a payment has one valid score
    min_size=4,
)


def _outcome(payment: int | str, card: int, fraud: bool = True, **fields: str) -> GuardedOutcome:  # noqa: FBT001, FBT002 - a field
    return GuardedOutcome(str(payment), f"c-{card}", fraud, **({"deployment": "default"} | fields))


FRAUDS = st.lists(st.integers(0, 8).map(lambda payment: _outcome(payment, payment % 4)))
OUTCOMES = st.lists(
    st.builds(
        lambda card, payment, fraud, status: _outcome(payment, card, fraud, status=status),
        st.integers(0, 8),
        st.integers(0, 20),
        st.booleans(),
        st.sampled_from(["applied", "applied", "stale"]),
    ),
    max_size=15,
)


def naive(scores: Sequence[GuardedScore], kind: GuardKind) -> dict[int, tuple[int, int]]:
    """Count each card's first bad event by going through all of them."""
    seen, counts = set(), dict[int, tuple[int, int]]()
    for one in scores:
        said = one.decision
        if one.overruled is not None:
            by_rule = one.decision if one.overruled.by == "rule:x" else one.overruled.decision
            said = by_rule if one.overruled.ruled is msgspec.UNSET else one.overruled.ruled
        bad = {
            GuardKind.REVIEWED: said == "review",
            GuardKind.DECLINED: said == "decline",
            GuardKind.STOOD_IN: one.decided_by != "model",
            GuardKind.SAMPLE_RATIO: True,
        }[kind]
        ours = one.revision in SHARES and one.arm in {"live", "canary"} and one.deployment == "default"
        if ours and bad and one.card_id not in seen:
            seen.add(one.card_id)
            canary, live = counts.get(SHARES[one.revision], (0, 0))
            is_canary = one.arm == "canary"
            counts[SHARES[one.revision]] = (canary + is_canary, live + (not is_canary))
    return counts


def every_count(state: GuardState) -> list[Any]:
    return [dict(state.counts_of(kind)) for kind in GuardKind]


@given(SCORES, st.integers(0, 60))
def test_each_cards_first_bad_event_is_counted_whatever_the_batches(scores: list[GuardedScore], cut: int) -> None:
    state = GuardState(GUARDS, "default", SHARES)
    state.count(0, scores[:cut], cut)
    state.count(0, scores[cut:], len(scores))
    for kind in (*KINDS, GuardKind.SAMPLE_RATIO):
        assert state.counts_of(kind) == naive(scores, kind)
    assert state.partitions[0].position == len(scores)


@given(SCORES, SCORES)
def test_partitions_add_up_and_one_can_be_counted_again(one: list[GuardedScore], other: list[GuardedScore]) -> None:
    state, alone = GuardState(GUARDS, "default", SHARES), GuardState(GUARDS, "default", SHARES)
    state.count(0, one, len(one))
    state.count(7, other, len(other))
    alone.count(7, other, len(other))
    before = every_count(state)
    state.forget(0)
    assert every_count(state) == every_count(alone)
    state.count(0, one, len(one))
    assert every_count(state) == before


@given(SCORES, OUTCOMES)
def test_records_that_are_read_twice_add_no_bad_event(
    scores: list[GuardedScore], outcomes: list[GuardedOutcome]
) -> None:
    state = GuardState(GUARDS, "default", SHARES)
    for _ in range(2):
        state.count(0, scores, len(scores))
        state.count_outcomes(0, outcomes, len(outcomes))
    once = GuardState(GUARDS, "default", SHARES)
    once.count(0, scores, len(scores))
    once.count_outcomes(0, outcomes, len(outcomes))
    assert every_count(state) == every_count(once)


@given(SCORES | APPROVALS, OUTCOMES | FRAUDS, st.integers(0, 60), st.integers(0, 15))
def test_a_stored_state_goes_on_as_if_it_had_never_been_stored(
    scores: list[GuardedScore], outcomes: list[GuardedOutcome], cut: int, labels: int
) -> None:
    whole, first = GuardState(GUARDS, "default", SHARES), GuardState(GUARDS, "default", SHARES)
    whole.count(0, scores, len(scores), (4, 9))
    whole.count_outcomes(1, outcomes, len(outcomes))
    first.count(0, scores[:cut], cut, (4, 8))
    first.count_outcomes(1, outcomes[:labels], labels)
    second = read_state(json.loads(json.dumps(state_json(first))), GuardState(GUARDS, "default"))
    assert every_count(second) == every_count(first)
    assert second.partitions[0].standing == (4, 8)
    second.count(0, scores[cut:], len(scores), (4, 9))
    second.count_outcomes(1, outcomes[labels:], len(outcomes))
    assert every_count(second) == every_count(whole)
    assert second.decided() == whole.decided()
    assert second.partitions[0].position == len(scores)
    assert remembered(second) == remembered(whole)


@given(APPROVALS, FRAUDS, st.data())
def test_approved_frauds_do_not_depend_on_whether_scores_or_labels_are_read_first(
    scores: list[GuardedScore], outcomes: list[GuardedOutcome], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(scores)))
    first, last, between = (GuardState(GUARDS, "default", SHARES) for _ in range(3))
    first.count(0, scores, len(scores))
    first.count_outcomes(0, outcomes, len(outcomes))
    last.count_outcomes(0, outcomes, len(outcomes))
    last.count(0, scores, len(scores))
    between.count(0, scores[:cut], cut)
    between.count_outcomes(0, outcomes, len(outcomes))
    between.count(0, scores[cut:], len(scores))
    assert every_count(first) == every_count(last) == every_count(between)


def test_a_cards_first_approved_fraud_is_counted_under_the_share_and_arm_of_its_approval() -> None:
    state = GuardState(GUARDS, "default", SHARES)
    state.count(
        0,
        [
            score(1, transaction_id="declined", decision="decline", arm="canary"),
            score(1, transaction_id="first", arm="canary", revision=4),
            score(1, transaction_id="second", arm="canary"),
            score(2, transaction_id="other"),
            score(3, transaction_id="capped", overruled=Overrule("decline_cap", "decline")),
            score(4, transaction_id="genuine"),
        ],
        6,
    )
    labels = [("declined", 1, True), ("first", 1, True), ("second", 1, True), ("other", 2, True), ("capped", 3, True)]
    outcomes = [_outcome(*one) for one in [*labels, ("genuine", 4, False)]]
    state.count_outcomes(5, outcomes, 6)  # labels lie on another partition than their payments
    assert state.counts_of(GuardKind.FRAUD_APPROVED) == {100: (0, 1), 500: (1, 0)}


@pytest.mark.parametrize("arm", ["canary", "live"])
def test_what_a_lot_let_through_is_no_approval_of_an_arm_and_its_fraud_is_no_miss_of_the_model(arm: str) -> None:
    state, passed = GuardState(GUARDS, "default", SHARES), Overrule("let_through", "decline")
    let_through = [score(card, transaction_id=f"t-{card}", arm=arm, overruled=passed) for card in range(5)]
    missed = score(9, transaction_id="t-9", arm=arm)
    state.count(0, [*let_through, missed], 6)
    state.count_outcomes(0, [_outcome(f"t-{card}", card) for card in (*range(5), 9)], 6)
    one, five = ((1, 0), (5, 0)) if arm == "canary" else ((0, 1), (0, 5))
    assert state.counts_of(GuardKind.FRAUD_APPROVED) == {100: one}
    assert state.counts_of(GuardKind.DECLINED) == {100: five}
    assert state.counts_of(GuardKind.REVIEWED) == {}
    kept = 5 if arm == "canary" else 0
    assert remembered(state) == 1 + 5 + 6 + kept, "an approval, cards that were declined, all cards, canary's declines"
    assert state.labelled_declines() == (kept, 0)


@pytest.mark.parametrize("stated", [True, False], ids=["stated", "as versions before wrote it"])
def test_what_a_canarys_rule_decides_is_the_canarys(stated: bool) -> None:  # noqa: FBT001 - a parameter
    declines, allows = (
        Overrule("rule:x", said, ruled if stated else msgspec.UNSET)
        for said, ruled in (("approve", "decline"), ("decline", "approve"))
    )
    state = GuardState(GUARDS, "default", SHARES)
    declined = [score(card, "decline", arm="canary", overruled=declines) for card in range(7)]
    allowed = [score(9, "approve", transaction_id="allowed", arm="canary", overruled=allows)]
    state.count(0, [*declined, *allowed], 8)
    state.count_outcomes(0, [_outcome("allowed", 9)], 1)
    assert state.counts_of(GuardKind.DECLINED) == {100: (7, 0)}
    assert state.counts_of(GuardKind.FRAUD_APPROVED) == {100: (1, 0)}
    assert log_evidence_of({100: (20, 0)}) > math.log(GUARDS[GuardKind.DECLINED].bound(2)), "which is a breach"


def test_the_outcomes_of_another_deployment_are_not_counted() -> None:
    state = GuardState(GUARDS, "default", SHARES)
    state.count(0, [score(1, transaction_id="one"), score(2, transaction_id="two")], 2)
    state.count_outcomes(0, [_outcome("one", 1, deployment="green"), _outcome("two", 2)], 2)
    assert state.counts_of(GuardKind.FRAUD_APPROVED) == {100: (0, 1)}


def test_without_a_guard_on_approved_fraud_no_payment_is_remembered() -> None:
    guards = {kind: guard for kind, guard in GUARDS.items() if kind is GuardKind.DECLINED}
    state = GuardState(guards, "default", SHARES)
    state.count(0, [score(card) for card in range(100)] + [score(1, "decline")], 101)
    assert remembered(state) == 1
    assert state.decided() == {100: (0, 101)}


def test_the_fields_of_a_score_are_read_and_others_are_skipped() -> None:
    written = {
        "schema": "score/1",
        "transaction_id": "t-1",
        "card_id": "c-1",
        "decision": "review",
        "decided_by": "fallback",
        "model": None,
        "deployment": "default",
        "arm": "canary",
        "overruled": {"by": "decline_cap", "from": "decline"},
        "revision": 4,
        "features": {"card_count_1d": 3.0},
        "epoch": 2,
        "source": {"topic": "transactions", "partition": 0, "offset": 17, "log": 1},
    }
    found = read_view(score_value(**written))
    assert (found.source.offset, found.source.log, found.epoch) == (17, 1, 2)
    state = GuardState(GUARDS, "default", SHARES)
    state.count(0, [found], 1)
    assert state.counts_of(GuardKind.DECLINED) == state.counts_of(GuardKind.STOOD_IN) == {500: (1, 0)}
    assert state.counts_of(GuardKind.REVIEWED) == {}


def test_it_counts_labels_as_they_are_read_from_outcomes_and_none_that_a_later_one_had_replaced() -> None:
    values = [outcome_value(transaction_id=f"t-{at}", card_id=f"c-{at}") for at in range(3)]
    values += [outcome_value(transaction_id="t-3", card_id="c-3", status="stale"), outcome_value(deployment="green")]
    state = GuardState(GUARDS, "default", SHARES)
    state.count_outcomes(0, filter(None, map(read_label_view, values)), 5)
    assert len(state.outcomes[0].frauds) == 3


@pytest.mark.parametrize("share_bp", [0, 10_000, -1])
def test_a_share_that_no_canary_has_is_refused(share_bp: int) -> None:
    with pytest.raises(ValueError, match="share of revision 7"):
        GuardState(GUARDS, "default").set_share(7, share_bp)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 0}, "version 0"),
        ({"deployment": "other"}, "it is of the deployment 'other', not of 'default'"),
        ({"guards": {}}, "at least one"),
        ({"guards": {"declined": {"alpha": 0.02, "action": "hold"}}}, "other guards or arms"),
        ({"arms": ["a", "live"]}, "other guards or arms"),
        ({"partitions": {"0": {}}}, "standing"),
        ({"partitions": []}, "items"),
    ],
)
def test_a_damaged_or_foreign_state_is_refused_with_what_to_do(change: dict[str, Any], message: str) -> None:
    stored = state_json(GuardState(GUARDS, "default", SHARES)) | change
    with pytest.raises(CheckpointError, match=rf"{message}.*; discard it"):
        read_state(stored, GuardState(GUARDS, "default"))


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 20)))
def test_a_hash_set_is_a_set(hashes: list[int]) -> None:
    ours, plain = HashSet(), set[int]()
    for one in hashes:
        assert ours.add(one) is (one not in plain)
        plain.add(one)
        assert one in ours
    assert len(ours) == len(plain)
    restored = HashSet(ours.packed())
    assert all(one in restored for one in plain)
    assert (21 in restored) is (21 in plain)
    assert restored.packed() == ours.packed()


@given(APPROVALS, FRAUDS, FRAUDS)
def test_outcomes_can_be_counted_again(
    scores: list[GuardedScore], one: list[GuardedOutcome], other: list[GuardedOutcome]
) -> None:
    state, alone = GuardState(GUARDS, "default", SHARES), GuardState(GUARDS, "default", SHARES)
    for counted in (state, alone):
        counted.count(0, scores, len(scores))
        counted.count_outcomes(1, other, len(other))
    state.count_outcomes(0, one, len(one))
    state.forget_outcomes(0)
    assert every_count(state) == every_count(alone)
    assert 0 not in state.outcomes
