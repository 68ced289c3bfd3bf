"""What must hold of two hand-overs when the demo ends: each check returns its problems, none if all is well."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fraudstream.demo.blue_green import BlueGreen
from fraudstream.demo.scoreboard import Scoreboard
from fraudstream.demo.stack import FIRST, GREEN
from fraudstream.ops.rollout.deployments.handover import announced_in
from fraudstream.ops.rollout.deployments.publishers import TermStart, publishers_of
from models.commands import Event


def not_handed_over(state: BlueGreen) -> tuple[str, ...]:
    """Report a second fleet that could not take over, and hand-overs that were not made or not finished."""
    if state.problem:
        return (f"{GREEN} could not take over: {state.problem}",)
    problems = [] if state.silent.compared else [f"no silent decision of {GREEN} was compared"]
    runs = {run.to: run for run in state.hand_overs}
    for to in (GREEN, FIRST):
        run = runs.get(to)
        if run is None or run.ended_ms is None:
            problems.append(f"the hand-over to {to} was not made")
        elif run.problem:
            problems.append(f"the hand-over to {to} failed: {run.problem}")
    return tuple(problems)


def terms_unlike_log(board: Scoreboard, events: Iterable[Event], partitions: Iterable[int]) -> tuple[str, ...]:
    """Name partitions that did not change their fleet at exactly one offset for each term of the event log."""
    starts: Sequence[TermStart] = publishers_of(events).starts
    wanted = [(start.number, start.deployment) for start in starts]
    problems = []
    for partition in partitions:
        found = [(one.term, one.deployment) for one in board.terms.stretches.get(partition, ())]
        if found != wanted:
            problems.append(f"partition {partition}: published by {_in_words(found)}; the log says {_in_words(wanted)}")
    return tuple(problems)


def handovers_unlike_announced(
    board: Scoreboard, events: Sequence[Event], partitions: Iterable[int]
) -> tuple[str, ...]:
    """Compare the `handover` events with the first offsets of each term that the scores themselves show."""
    problems = []
    for term in [start.number for start in publishers_of(events).starts[1:]]:
        announced = announced_in(events, term)
        for partition in partitions:
            stretch = board.terms.stretch(partition, term)
            first = None if stretch is None else stretch.first_offset
            if announced.get(partition) != first:
                said = announced.get(partition)
                problems.append(f"partition {partition}: term {term} began at offset {first}, announced was {said}")
    return tuple(problems)


def handovers_unlike_reported(board: Scoreboard, state: BlueGreen) -> tuple[str, ...]:
    """Compare what `cut-over` printed with the first offsets of each term that the scores themselves show."""
    problems = []
    reports = [run.result.handover for run in state.hand_overs if run.result is not None]
    for report in filter(None, reports):
        for one in report.partitions:
            stretch = board.terms.stretch(one.partition, report.term)
            first = None if stretch is None else stretch.first_offset
            if one.first_offset not in (None, first):
                said = f"began at offset {first}, `cut-over` said {one.first_offset}"
                problems.append(f"partition {one.partition}: term {report.term} {said}")
    return tuple(problems)


def _in_words(terms: Sequence[tuple[int, str]]) -> str:
    return ", ".join(f"{deployment or 'nobody'} in term {term}" for term, deployment in terms) or "nobody"
