"""Two fleets in figures: who published from which offset on, after what pause, and how their decisions differ."""

from __future__ import annotations

import msgspec
from rich.table import Table

from fraudstream.demo.blue_green import BUDGET, BlueGreen, CutOverRun
from fraudstream.demo.scoreboard import Scoreboard
from fraudstream.demo.stack import FIRST, GREEN
from fraudstream.demo.view import View, seconds, share
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
    return BlueGreenSummary(
        ready_ms=(state.ready_ms or 0) - (state.started_ms or 0) if is_ready else None,
        compared=state.silent.compared,
        differing=state.silent.differing,
        hand_overs=tuple(map(_cut_over, state.hand_overs)),
        terms=terms_of(board, state),
    )


def terms_of(board: Scoreboard, state: BlueGreen) -> tuple[TermSummary, ...]:
    """Return each term of the event log, as the scores show it."""
    return tuple(_term(board, start) for start in publishers_of(state.events).starts)


def _term(board: Scoreboard, start: TermStart) -> TermSummary:
    number = start.number
    stretches = {partition: board.terms.stretch(partition, number) for partition in sorted(board.terms.stretches)}
    pauses = {partition: board.terms.pause_ms(partition, number) for partition in stretches}
    return TermSummary(
        term=number,
        deployment=start.deployment,
        decisions=board.terms.decisions(number),
        first_offsets={one: stretch.first_offset for one, stretch in stretches.items() if stretch is not None},
        pause_ms={partition: pause for partition, pause in pauses.items() if pause is not None},
        late=board.terms.late.get(number, 0),
    )


def _cut_over(run: CutOverRun) -> CutOverSummary:
    gates = () if run.result is None else run.result.gates
    return CutOverSummary(
        to=run.to,
        gates={gate.gate: gate.found for gate in gates},
        took_ms=None if run.ended_ms is None else run.ended_ms - run.asked_ms,
        problem=run.problem,
    )


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
        places = places_text(one) if one.pause_ms else "[dim]from the beginning[/]"
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
    """Return how many silent decisions differ from the published ones, and how."""
    silent = state.silent
    if not silent.compared:
        return "nothing compared yet"
    changes = ", ".join(
        f"{published} → {decided} {count:,}" for (published, decided), count in silent.changes.most_common()
    )
    differing = f"{silent.differing:,} ({share(silent.differing / silent.compared, 1)}) decided otherwise"
    return f"{silent.compared:,} compared, {differing}{changes and ': '}{changes}"


def publisher_text(state: BlueGreen) -> str:
    """Return who publishes in which term."""
    term = publishers_of(state.events).term
    silent = "" if state.started_ms is None else f", {FIRST if term.publisher == GREEN else GREEN} decides silently"
    return f"{term.publisher} publishes in term {term.number}{silent}"


def budget_text(run: CutOverRun) -> str:
    """Return what the gate on differences found, and what is allowed on purpose; empty if it was not asked."""
    found = {} if run.result is None else {gate.gate: gate for gate in run.result.gates}
    gate = found.get("differences")
    if gate is None:
        return "only its own state counts on the way back"
    return f"differences {gate.found}; --budget {BUDGET} in place of 1%: its model is meant to decide otherwise"
