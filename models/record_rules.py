"""What the judge asks of commands that let a model decide for more cards: that nothing is on record against it.

Or that the command names in `despite` what is, with a reason: then its acceptance has both. What ends a model's
exposure is never refused for it, nor is a guard that climbs the ladder of a rollout, which was asked when it started.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from fraudstream_client.arms import LIVE
from guards.report import breached_kinds, explain
from models.commands import TAKES_DESPITE, Command, CommandKind, Event
from models.lineup import Lineup
from models.model_record import ModelRecord, verdict_ms, verdict_of
from models.problems import Problem, ProblemCode
from models.promotion_rules import (
    PROMOTE,
    VERDICT,
    StatedVerdict,
    is_in_force,
    needs_verdict,
    stated_verdict,
)
from models.reviews import ReviewRecord, review_due
from models.rollouts import is_automatic
from models.times import stated_ms

_SHORT = 12
_MOST_TEXT = 600


class StatedFacts(NamedTuple):
    """A model, with what its manifest states of its training, and what its card says of reviews; empty: not asked."""

    digest: str
    weaknesses: tuple[str, ...] = ()
    reviews: ReviewRecord = ReviewRecord()


class Ground(NamedTuple):
    """Something on record against a model, in words; `despite` accepts it by any of `ids`, and the first is told."""

    code: ProblemCode
    ids: tuple[str, ...]
    text: str

    @property
    def problem(self) -> Problem:
        """The problem of a command that does not accept it."""
        return Problem(self.code, f"{self.text}; --despite {self.ids[0]} --reason TEXT accepts it, on the record")


def record_problems(
    lineup: Lineup, command: Command, models: Mapping[str, StatedFacts], record: ModelRecord, now_ms: int
) -> Iterator[Problem]:
    """Refuse what is on record against the models of a command, and ids that are not.

    Args:
        lineup: the present one.
        command: it names what it accepts.
        models: those that it lets decide, by the arm's name; of a command without arms by an empty name. One that is
            live decides already, so it is not asked about.
        record: what the log says.
        now_ms: the time.
    """
    if command.kind not in TAKES_DESPITE or not models:
        return
    accepted = record.accepted.union(command.despite) if _changes_share(lineup, command) else frozenset(command.despite)
    known, asked = set[str](), not _is_let_through(lineup, command)
    for arm, model in sorted(models.items()):
        if model.digest == lineup.live:
            continue
        for ground in grounds_of(model, record, now_ms, _own_verdict(lineup, command, model.digest, now_ms)):
            known.update(ground.ids)
            if asked and accepted.isdisjoint(ground.ids):
                problem = ground.problem
                yield Problem(problem.code, f"arm {arm}: {problem.detail}" if arm else problem.detail)
    for name in dict.fromkeys(command.despite):
        if name not in known:
            yield Problem(ProblemCode.INVALID_FIELD, f"despite: {name} names nothing that is on record here")


def _changes_share(lineup: Lineup, command: Command) -> bool:
    return command.kind is CommandKind.CANARY and lineup.canary is not None


def _is_let_through(lineup: Lineup, command: Command) -> bool:
    """Tell whether a command is not asked: it lowers a share, leaves all to live, or is a guard's on a ladder.

    What holds a rollout that runs is its guard, its pause and its end; the record was asked when it started.
    """
    if command.kind is CommandKind.END_SPLIT:
        return command.winner == LIVE
    lowers = command.share_bp is not None and lineup.canary is not None and command.share_bp < lineup.canary.share_bp
    climbing = lineup.climbing
    climbs = climbing is not None and command.model is not None and climbing.model.startswith(command.model)
    return (lowers and command.kind is CommandKind.CANARY) or (climbs and is_automatic(command.evidence))


class OwnVerdict(NamedTuple):
    """The verdict that a command itself states on a model, and whether it speaks for or against it now."""

    verdict: StatedVerdict
    speaks_for: bool
    speaks_against: bool


def _own_verdict(lineup: Lineup, command: Command, model: str, now_ms: int) -> OwnVerdict | None:
    verdict = stated_verdict((command.evidence or {}).get(VERDICT))
    if verdict is None:
        return None
    is_asked = verdict.challenger == model or needs_verdict(lineup, command, model)
    against = is_asked and verdict.verdict != PROMOTE
    speaks_for = not against and verdict.challenger == model and is_in_force(verdict, lineup.live, now_ms)
    return OwnVerdict(verdict, speaks_for, against)


def grounds_of(model: StatedFacts, record: ModelRecord, now_ms: int, own: OwnVerdict | None = None) -> Iterator[Ground]:
    """Yield what is on record against a model: breaches, the verdict, reviews, its training."""
    yield from _breaches(record.breaches.get(model.digest, ()))
    yield from _verdicts(model.digest, record.verdicts.get(model.digest), own)
    yield from _reviews(model.reviews, now_ms)
    if model.weaknesses:
        text = f"its training is weak, as its manifest states: {'; '.join(model.weaknesses)}"
        yield Ground(ProblemCode.TRAINING_ON_RECORD, (f"training:{model.digest[:_SHORT]}",), text[:_MOST_TEXT])


def _breaches(events: tuple[Event, ...]) -> Iterator[Ground]:
    """Yield the latest breaches, the last one first; who names a later one has seen those before it."""
    ids = [event.event_id for event in events]
    for at, event in reversed(list(enumerate(events))):
        what = f"{event.command} at {event.at}, revision {event.revision}, by {event.actor or event.worker}"
        text = f"a breach of guards is on record, event {event.event_id}: {what}: {_figures(event)}"
        yield Ground(ProblemCode.BREACH_ON_RECORD, (ids[-1], *ids[at:-1]), text)


def _figures(event: Event) -> str:
    """Return the figures of the guards that are breached in an event's evidence, or their names."""
    kinds = breached_kinds(event.evidence)
    guards = (event.evidence or {})["guards"]
    try:
        lines = explain({"guards": {kind: guards[kind] for kind in kinds}})
    except (KeyError, TypeError, ValueError, AttributeError):  # anybody may send evidence of any form
        return ", ".join(kinds)
    return "; ".join(lines)[:_MOST_TEXT]


def _verdicts(digest: str, event: Event | None, own: OwnVerdict | None) -> Iterator[Ground]:
    """Yield the latest verdict, of the command or on record, unless it says PROMOTE."""
    own_id = f"verdict:{digest[:_SHORT]}"
    if own is not None and own.speaks_against:
        text = f"the verdict is {own.verdict.verdict}, decided by its gate {own.verdict.gate}"
        yield Ground(ProblemCode.NOT_PROMOTED, (own_id,), text)
    recorded = verdict_of(event)
    if event is None or recorded is None or recorded.verdict == PROMOTE:
        return
    if own is None or not (own.speaks_for or own.speaks_against) or stated_ms(own.verdict.at) < verdict_ms(event):
        what = f"the verdict of {recorded.at} against {recorded.live[:_SHORT]} is {recorded.verdict}"
        where = f"event {event.event_id}: {event.command} {event.kind} at {event.at}, by {event.actor or event.worker}"
        text = f"{what}, decided by its gate {recorded.gate}, on record in {where}"
        yield Ground(ProblemCode.VERDICT_ON_RECORD, (event.event_id, own_id), text)


def _reviews(reviews: ReviewRecord, now_ms: int) -> Iterator[Ground]:
    if reviews.unreadable:
        yield _review(reviews.version, f"its card cannot be read, so its reviews are unknown: {reviews.unreadable}")
    if reviews.failed is not None:
        failed = reviews.failed
        yield _review(failed.name, f"it failed a review, recorded at {failed.at} by {failed.by}")
    review = review_due(reviews.review_by, now_ms)
    if review is not None and review.days < 0:
        yield _review(reviews.version, f"its review is {review.text}")


def _review(version: str, text: str) -> Ground:
    return Ground(ProblemCode.REVIEW_ON_RECORD, (f"review:{version}",), text)
