"""Each check of a campaign holds on clean evidence, and a planted violation shows that it bites."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from campaigns.checks import CHECKS, CHECKS_OF_LOSSES, GRACE_MS, Evidence, violations
from campaigns.facts import KIND_HEADER, Answer, Letter, Record, Score, Use, Verdict
from campaigns.oracle import fold

TOPIC = "transactions"
OLD, NEW = "a" * 64, "b" * 64
DEMOTED_MS = 100_000
DEMOTION = (
    Verdict("promote", 1_000, 1, NEW),
    Verdict("promote", 2_000, 2, OLD),
    Verdict("demote", DEMOTED_MS, 3, NEW),
)


def record(offset: int, kind: str = "payment", name: str = "", log: int = 0) -> Record:
    fields = {"transaction_id": name or f"t-{offset}", "card_id": "card", "amount_minor": offset}
    return Record(log, 0, offset, 1, b"card", json.dumps(fields).encode(), {KIND_HEADER: kind.encode()})


def score(offset: int, **changes: Any) -> Score:
    fields = {
        "partition": 0,
        "at": offset,
        "epoch": 1024,
        "log": 0,
        "offset": offset,
        "transaction_id": f"t-{offset}",
        "card_id": "card",
        "revision": 3,
        "digest": NEW,
        "scored_at_ms": DEMOTED_MS,
    }
    return Score(**(fields | changes))


def letter(offset: int, code: str) -> Letter:
    return Letter(offset, TOPIC, 0, 0, offset, code, 1024)


RECORDS = (record(0), record(1), record(2, "bad:not_json"), record(3, "early"))
LETTERS = (letter(2, "not_json"), letter(3, "in_the_future"))


def evidence(
    records: Sequence[Record] = RECORDS,
    scores: Sequence[Score] = (score(0), score(1)),
    letters: Sequence[Letter] = LETTERS,
    *,
    bounded: bool = True,
    verdicts: Sequence[Verdict] = DEMOTION,
    **others: Any,
) -> Evidence:
    return Evidence(records, fold(TOPIC, records, scores, letters, verdicts), verdicts, bounded, **others)


def test_clean_evidence_has_no_violations() -> None:
    label = record(0, "label")
    whole = evidence(
        use={"worker": (Use(60, 200), Use(63, 210))},
        diff={"unexplained": 0},
        audit=(0, "{}"),
        labels=[label],
        answers=[Answer(0, 0, 0, "applied")],
    )
    assert violations(whole) == {}


PLANTED: Mapping[str, Evidence] = {
    "offsets_are_decided_or_refused": evidence(scores=[score(0)]),
    "no_payment_is_lost": evidence(scores=[score(0)], letters=[*LETTERS, letter(1, "ahead_of_clock")]),
    "no_bad_record_is_decided": evidence(scores=[score(0), score(1), score(2)], letters=LETTERS[1:]),
    "no_payment_is_decided_twice": evidence(scores=[score(0), score(1, transaction_id="t-0")]),
    "revisions_never_go_back": evidence(scores=[score(0, revision=4), score(1, revision=3)]),
    "no_demoted_model_decides": evidence(
        scores=[score(0), score(1, digest=OLD, scored_at_ms=DEMOTED_MS + GRACE_MS + 1)]
    ),
    "descriptors_are_as_before": evidence(use={"worker": (Use(60, 200), Use(75, 200))}),
    "memory_is_as_before": evidence(use={"worker": (Use(60, 200), Use(60, 300))}),
    "no_worker_ended": evidence(exits=["a worker ended with 70"]),
    "every_worker_is_ready": evidence(unready=["not ready"]),
    "nothing_is_unexplained": evidence(diff={"unexplained": 1}),
    "the_audit_is_clean": evidence(audit=(1, "{}")),
    "decisions_are_written_once_and_kept": evidence(anomalies=["card/t-0: two decisions"]),
    "a_late_reader_agrees": evidence(read_late=[]),
    "every_label_is_answered": evidence(labels=[record(0, "label")]),
}


WARNED = {"worker": "unclean.leader.election.enable is true"}
ACCEPTED = Verdict("accept_loss", 1_000, 1, None, TOPIC, 0, 1, 5)


@pytest.mark.parametrize(
    ("of_losses", "named"),
    [
        (evidence(warnings=WARNED, audit=(0, "{}")), set()),
        (evidence(warnings=WARNED, audit=(1, "{}"), anomalies=["card/t-0: the decision was lost"]), set()),
        (evidence(warnings=WARNED, audit=(0, "{}"), lost_inputs=[(0, 0, 1)], verdicts=[*DEMOTION, ACCEPTED]), set()),
        (
            evidence(warnings=WARNED, audit=(0, "{}"), lost_inputs=[(0, 1, 1)], verdicts=[*DEMOTION, ACCEPTED]),
            {"every_loss_is_told"},
        ),
        (evidence(warnings=WARNED, audit=(0, "{}"), lost_inputs=[(0, 0, 1)]), {"every_loss_is_told"}),
        (evidence(warnings=WARNED, audit=(0, "{}"), anomalies=["two decisions"]), {"every_loss_is_told"}),
        (evidence(warnings=WARNED, audit=(1, "{}")), {"every_loss_is_told"}),
        (evidence(warnings=WARNED | {"topics check": ""}, audit=(0, "{}")), {"the_setting_was_warned_of"}),
        (evidence(audit=(0, "{}")), {"the_setting_was_warned_of"}),
    ],
)
def test_where_kafka_loses_records_each_loss_is_told_and_none_is_invented(of_losses: Evidence, named: set[str]) -> None:
    assert set(violations(of_losses, CHECKS_OF_LOSSES)) == named


def test_each_check_has_a_planted_violation() -> None:
    assert set(PLANTED) == {check.__name__ for check in CHECKS}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_violation_is_found_by_its_check_alone(name: str) -> None:
    assert set(violations(PLANTED[name])) == {name}


def test_an_offset_that_is_decided_and_refused_is_found() -> None:
    found = violations(evidence(letters=[*LETTERS, letter(1, "ahead_of_clock")]))
    assert set(found) == {"offsets_are_decided_or_refused", "no_payment_is_lost"}
    assert found["offsets_are_decided_or_refused"] == ["1 offsets are decided and refused: 0:1 (payment)"]


def test_without_a_bound_of_timestamps_a_payment_may_be_refused_for_a_clock() -> None:
    letters = [*LETTERS, letter(1, "ahead_of_clock")]
    assert violations(evidence(scores=[score(0)], letters=letters, bounded=False)) == {}


def test_a_payment_may_contradict_what_contradicted_it_if_that_was_decided_in_its_place() -> None:
    records = [*RECORDS, record(4, "conflict", "t-1"), record(5, "payment", "t-1")]
    letters = [*LETTERS, letter(1, "ahead_of_clock"), letter(5, "transaction_conflict")]
    decided = [score(0), score(4, transaction_id="t-1")]
    assert violations(evidence(records, decided, letters, bounded=False)) == {}
    refused = [*LETTERS, letter(4, "transaction_conflict"), letter(5, "transaction_conflict")]
    found = violations(evidence(records, [score(0), score(1)], refused))
    assert found == {"no_payment_is_lost": ["1 records of the kind payment were refused as transaction_conflict: 0:5"]}


def test_a_demoted_model_may_decide_within_the_grace_and_after_it_was_promoted_again() -> None:
    within = evidence(scores=[score(0), score(1, digest=OLD, scored_at_ms=DEMOTED_MS + GRACE_MS)])
    again = (*DEMOTION, Verdict("promote", DEMOTED_MS + 8_000, 4, OLD))
    later = [score(0), score(1, digest=OLD, revision=4, scored_at_ms=DEMOTED_MS + 9_000)]
    assert violations(within) == violations(evidence(scores=later, verdicts=again)) == {}


def test_a_revision_may_be_lower_in_another_term() -> None:
    scores = [score(0, revision=9, epoch=1024), score(1, revision=1, epoch=(1 << 32) + 1024)]
    assert violations(evidence(scores=scores)) == {}


def test_a_payment_sent_again_on_a_new_log_may_not_be_decided_there() -> None:
    records = [*RECORDS, record(0, log=1)]
    scores = [score(0), score(1), score(0, at=9, log=1)]
    assert set(violations(evidence(records, scores))) == {"no_payment_is_decided_twice"}


def test_a_repeat_may_be_decided_again_where_workers_go_on_without_redis_and_say_so() -> None:
    repeated = [score(0), score(1, transaction_id="t-0", is_incomplete=True)]
    assert violations(evidence(scores=repeated, degrades=True)) == {}
    assert set(violations(evidence(scores=repeated))) == {"no_payment_is_decided_twice"}
    unmarked = [score(0, is_incomplete=True), score(1, transaction_id="t-0")]
    assert set(violations(evidence(scores=unmarked, degrades=True))) == {"no_payment_is_decided_twice"}


def test_labels_that_were_accepted_as_lost_need_no_outcome() -> None:
    loss = Verdict("accept_loss", 1, 1, None, "labels", 0, log=0, up_to=1)
    assert violations(evidence(labels=[record(0, "label")], label_losses=[loss])) == {}
    assert violations(evidence(labels=[record(1, "label")], label_losses=[loss])) != {}
