"""Two fleets in figures: who published from which offset on, after what pause, and how their decisions differ.

Pauses and differences are those that `deployment cut-over` prints; offsets are compared with the scores.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from rich.table import Table

from fraudstream.demo.blue_green import BlueGreen, CutOver
from fraudstream.demo.scoreboard import Scoreboard
from fraudstream.demo.script import BUDGET
from fraudstream.demo.stack import FIRST, GREEN
from fraudstream.demo.view import View, seconds, share
from fraudstream.ops.rollout.deployments.handover import announced_in
from fraudstream.ops.rollout.deployments.publishers import TermStart, publishers_of


class TermSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One term. By partition: its first offset, and the pause in milliseconds since the decision before.

    `late` scores were written in it by the fleet of the term before, which had not noticed yet; they are void.
    """

    term: int
    deployment: str
    decisions: int
    first_offsets: dict[int, int]
    pause_ms: dict[int, int]
    late: int

    @property
    def longest_pause_ms(self) -> int | None:
        """The longest pause of a partition; None if there was none."""
        return max(self.pause_ms.values(), default=None)


class CutOverSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One run of `cut-over`: its gates with what was found, how long it took, and what went wrong, if anything."""

    to: str
    gates: dict[str, str]
    took_ms: int | None
    problem: str


class BlueGreenSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The act with a second fleet. `ready_ms` after its start it was ready to take over; None: it never was.

    Of its silent decisions so many were `compared` with the published ones, of which some are `differing`.
    """

    ready_ms: int | None
    compared: int
    differing: int
    hand_overs: tuple[CutOverSummary, ...]
    terms: tuple[TermSummary, ...]


def summary_of(board: Scoreboard, state: BlueGreen) -> BlueGreenSummary:
    """Return the act in figures."""
    is_ready = state.ready_ms is not None and state.started_ms is not None
    compared, differing = compared_of(state)
    return BlueGreenSummary(
        ready_ms=(state.ready_ms or 0) - (state.started_ms or 0) if is_ready else None,
        compared=compared,
        differing=differing,
        hand_overs=tuple(map(_cut_over, state.hand_overs)),
        terms=terms_of(board, state),
    )


def compared_of(state: BlueGreen) -> tuple[int, int]:
    """Return of how many silent decisions the hand-over knew, and how many of them differed."""
    found = [cut.result.comparison for cut in state.hand_overs if cut.result is not None and cut.result.comparison]
    return (found[0]["compared"], found[0]["changed"]) if found else (0, 0)


def terms_of(board: Scoreboard, state: BlueGreen) -> tuple[TermSummary, ...]:
    """Return each term of the event log, as the scores and the hand-overs show it."""
    return tuple(_term(board, state, start) for start in publishers_of(state.events).starts)


def _term(board: Scoreboard, state: BlueGreen, start: TermStart) -> TermSummary:
    number = start.number
    firsts = {partition: board.first_of_term(partition, number) for partition in sorted(board.first_offsets)}
    reports = [cut.handover for cut in state.hand_overs]
    reported = [one for report in reports if report is not None and report.term == number for one in report.partitions]
    return TermSummary(
        term=number,
        deployment=start.deployment,
        decisions=board.publishers[number].total() if number in board.publishers else 0,
        first_offsets={partition: first for partition, first in firsts.items() if first is not None},
        pause_ms={one.partition: one.pause_ms for one in reported if one.pause_ms is not None},
        late=board.late[number],
    )


def _cut_over(cut: CutOver) -> CutOverSummary:
    gates = () if cut.result is None else cut.result.gates
    return CutOverSummary(
        to=cut.to,
        gates={gate.gate: gate.found for gate in gates},
        took_ms=cut.run.took_ms,
        problem=cut.problem,
    )


# --- what must hold of two hand-overs when the demo ends


def not_handed_over(state: BlueGreen) -> tuple[str, ...]:
    """Report a second fleet that could not take over, and hand-overs that were not made or not finished."""
    if state.problem:
        return (f"{GREEN} could not take over: {state.problem}",)
    problems = []
    cuts = {cut.to: cut for cut in state.hand_overs}
    for to in (GREEN, FIRST):
        cut = cuts.get(to)
        if cut is None or cut.run.ended_ms is None:
            problems.append(f"the hand-over to {to} was not made")
        elif cut.problem:
            problems.append(f"the hand-over to {to} failed: {cut.problem}")
    return tuple(problems)


def published_by_others(board: Scoreboard, state: BlueGreen) -> tuple[str, ...]:
    """Name terms in which another fleet decided than the one that the event log names.

    No decision is of an older term than the one before it, so each partition changed its fleet once for each term.
    """
    named = {start.number: start.deployment for start in publishers_of(state.events).starts}
    problems = []
    for term in sorted(named.keys() | board.publishers.keys()):
        deployments, wanted = sorted(board.publishers.get(term, ())), named.get(term, "nobody")
        if deployments != [wanted]:
            found = " and ".join(deployments) or "nobody"
            problems.append(f"term {term}: decided by {found}; the log says {wanted}")
    return tuple(problems)


def handovers_unlike_scores(board: Scoreboard, state: BlueGreen, partitions: Iterable[int]) -> tuple[str, ...]:
    """Compare the first offsets that `cut-over` printed, and that the fleet announced, with those of the scores.

    On a busy machine a partition may have been announced only after `cut-over` had looked.
    """
    problems = []
    for report in filter(None, (cut.handover for cut in state.hand_overs)):
        reported = {one.partition: one for one in report.partitions}
        since = announced_in(state.events, report.term)
        for partition in partitions:
            first = board.first_of_term(partition, report.term)
            found = reported.get(partition)
            printed, announced = (None, None) if found is None else (found.first_offset, found.announced)
            announced = since.get(partition) if announced is None else announced
            if first is None or printed not in (None, first) or announced != first:
                problems.append(
                    f"partition {partition}: term {report.term} began at offset {first}; `cut-over` says {printed}, "
                    f"announced was {announced}"
                )
    return tuple(problems)


# --- how it is shown


def fleets_table(view: View, state: BlueGreen) -> Table:
    """Draw who published in which term: from which offset of each partition on, and after what pause."""
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("term", justify="right", no_wrap=True)
    table.add_column("published by", no_wrap=True)
    table.add_column("decisions", justify="right", no_wrap=True)
    table.add_column("first offset and pause in each partition")
    table.add_column("void", justify="right", no_wrap=True)
    terms = terms_of(view.board, state)
    for one in terms:
        is_newest = one is terms[-1]
        places = places_text(one) if one.term else "[dim]from the beginning[/]"
        columns = (str(one.term), one.deployment, f"{one.decisions:,}", places, f"{one.late}")
        table.add_row(*columns, style="bold" if is_newest else "")
    return table


def places_text(term: TermSummary) -> str:
    """Return the first offset of a term in each partition, with the pause before it."""
    return "  ".join(
        f"{partition}:{offset:,} {seconds(term.pause_ms.get(partition))}"
        for partition, offset in term.first_offsets.items()
    )


def silent_text(state: BlueGreen) -> str:
    """Return how many silent decisions differ from the published ones, as the hand-over found them."""
    compared, differing = compared_of(state)
    if not compared:
        return "compared with the published decisions by the hand-over"
    return f"{compared:,} compared, {differing:,} ({share(differing / compared, 1)}) decided otherwise"


def publisher_text(state: BlueGreen) -> str:
    """Return who publishes in which term."""
    term = publishers_of(state.events).term
    silent = "" if state.started_ms is None else f", {FIRST if term.publisher == GREEN else GREEN} decides silently"
    return f"{term.publisher} publishes in term {term.number}{silent}"


def budget_text(cut: CutOver) -> str:
    """Return what the gate on differences found, and what is allowed on purpose; empty if it was not asked."""
    found = {} if cut.result is None else {gate.gate: gate for gate in cut.result.gates}
    gate = found.get("differences")
    if gate is None:
        return "only its own state counts on the way back"
    return f"differences {gate.found}; --budget {BUDGET} in place of 1%: its model is meant to decide otherwise"
