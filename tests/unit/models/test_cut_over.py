"""A hand-over is judged by the term, its evidence, and the answers of every worker of the fleet that is to publish."""

from dataclasses import replace
from typing import Any

import pytest

from models.commands import Command, CommandKind, EventKind
from models.judge import Accepted, Fleet, HeldArtifact, Refused, Waiting, judge
from models.lineup import Answer, Candidates, Lineup, follow, follow_candidates
from models.problems import Problem, ProblemCode
from models.terms import Term
from models.verdict_events import Origin, verdict_event
from support.control_events import command

LIVE = "a" * 64
ISSUED, EXPIRES = 1_767_225_600_000, 1_767_225_660_000
GREEN = Lineup("green", revision=4, live=LIVE)
TERM = Term(2, "blue", ("blue", "green"))
GO = {"go": True}


def cut_over(**changes: Any) -> Command:
    fields: dict[str, Any] = {"expected_revision": TERM.number, "evidence": GO} | changes
    return command("cut_over", deployment="green", **fields)


def fleet(term: Term = TERM, **answers: str | tuple[Problem, ...]) -> Fleet:
    return Fleet(
        fingerprints=frozenset({"f"}),
        members=frozenset({"w1", "w2"}),
        artifact=HeldArtifact(LIVE, "f"),
        answers={
            worker: Answer(answer) if isinstance(answer, str) else Answer(None, answer)
            for worker, answer in answers.items()
        },
        term=term,
    )


def codes(verdict: object) -> list[ProblemCode]:
    assert isinstance(verdict, Refused)
    return [problem.code for problem in verdict.problems]


def test_a_hand_over_waits_for_every_worker_and_begins_the_next_term() -> None:
    assert judge(GREEN, cut_over(), fleet(w1="h"), ISSUED) == Waiting(LIVE, ("w2",))
    accepted = judge(GREEN, cut_over(), fleet(w1="h", w2="h"), ISSUED)
    assert accepted == Accepted(4, LIVE, term=3)
    event = verdict_event(cut_over(), accepted, 4, Origin("e", "w1", ISSUED))
    assert (event.kind, event.command, event.term, event.revision) == (EventKind.ACCEPTED, CommandKind.CUT_OVER, 3, 4)
    assert follow(GREEN, event).revision == 4, "no lineup changes"


def test_a_worker_that_could_not_publish_refuses_the_hand_over() -> None:
    behind = Problem(ProblemCode.FAR_BEHIND, "partition 1: 5000 payments behind")
    refused = judge(GREEN, cut_over(), fleet(w1="h", w2=(behind,)), ISSUED)
    assert codes(refused) == [ProblemCode.NOT_READY]
    assert "w2: far_behind: partition 1: 5000 payments behind" in str(refused)


@pytest.mark.parametrize("evidence", [None, {}, {"go": False}, {"go": "true"}, {"go": 1}])
def test_a_hand_over_without_the_evidence_for_it_is_refused_unless_it_is_forced(evidence: Any) -> None:
    assert codes(judge(GREEN, cut_over(evidence=evidence), fleet(w1="h", w2="h"), ISSUED)) == [ProblemCode.NO_GO]
    assert judge(GREEN, cut_over(evidence=evidence, force=True), fleet(), ISSUED) == Accepted(4, LIVE, term=3)


@pytest.mark.parametrize("expected", [0, 1, 3])
def test_a_hand_over_of_another_term_is_refused_even_if_it_is_forced(expected: int) -> None:
    verdict = judge(GREEN, cut_over(expected_revision=expected, force=True), fleet(), ISSUED)
    assert codes(verdict) == [ProblemCode.STALE_TERM]
    assert f"expects term {expected}, the current one is 2, in which blue publishes" in str(verdict)


def test_a_fleet_without_a_model_and_the_one_that_publishes_are_refused() -> None:
    none = judge(replace(GREEN, live=None), cut_over(force=True), fleet(), ISSUED)
    assert codes(none) == [ProblemCode.NOTHING_LIVE]
    publisher = judge(GREEN, cut_over(force=True), fleet(Term(2, "green", ("a", "b"))), ISSUED)
    assert codes(publisher) == [ProblemCode.NOTHING_CHANGES]


def test_a_hand_over_that_nobody_answered_expires() -> None:
    verdict = judge(GREEN, cut_over(), fleet(w1="h"), EXPIRES)
    assert codes(verdict) == [ProblemCode.EXPIRED]
    assert "no answer from w2" in str(verdict)


def test_the_workers_are_asked_whether_they_could_publish_not_to_load_a_model() -> None:
    waiting = judge(GREEN, cut_over(), fleet(), ISSUED)
    event = verdict_event(cut_over(), waiting, 4, Origin("e", "w1", ISSUED))
    candidates = follow_candidates(Candidates("green"), event)
    assert candidates.cut_overs() == {"c-1": LIVE}
    assert candidates.deciders() == candidates.challengers() == {}
