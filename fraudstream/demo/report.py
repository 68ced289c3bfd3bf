"""The final report: what was shown, in figures, whether all checks passed, and where to go from here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.rule import Rule
from rich.table import Table

from fraudstream.demo.blue_green import BlueGreen
from fraudstream.demo.commands import CommandRecord
from fraudstream.demo.comparisons import RevisionComparison
from fraudstream.demo.fleets import BlueGreenSummary, budget_text, places_text, silent_text
from fraudstream.demo.panel import comparison_texts, revisions_table, role
from fraudstream.demo.plan import CHAOS_SESSION_SECONDS
from fraudstream.demo.scoreboard import Percentiles
from fraudstream.demo.shell import CommandRun, typed
from fraudstream.demo.summary import CanarySummary, ChaosSummary, RunFacts, Summary
from fraudstream.demo.timeline import accepted, cutover
from fraudstream.demo.view import QUIET, QUIET_COMMAND, QUIET_PAGE, View, payments, seconds
from guards.shares import share_text
from models.commands import CommandKind

NEARLY_ALL = 0.99


class Page(NamedTuple):
    """A page of the repository, perhaps one section of it, and what it explains."""

    path: str
    section: str
    why: str


PAGES = (
    Page("docs/tutorial/first-promotion.md", "", "the same, on your own Kafka and Redis"),
    Page("docs/how-to/consume-decisions.md", "", "how any consumer tells which decision counts"),
    Page("docs/architecture.md", "", "how it works, batch by batch, and where faults go"),
    Page("docs/explanation/models-and-who-is-live.md", "", "commands, verdicts, and how a model becomes live"),
    Page("docs/how-to/run-in-containers.md", "", "the same with Apache Kafka, Jaeger and Prometheus, in containers"),
)
GO_ON = (
    ("fraudstream demo --chaos", "kills the worker in the middle"),
    ("fraudstream demo --blue-green", "lets a second fleet take over, and hands back"),
    ("fraudstream demo --report verdict.html", "ends with the verdict on the challenger, as a page"),
    ("fraudstream demo --keep", "leaves everything running at the end, for your own commands"),
)


def report(run: RunFacts, summary: Summary) -> RenderableType:
    """Draw the report."""
    parts: tuple[RenderableType, ...] = (
        Rule("what was shown"),
        facts(run.view, summary),
        "",
        revisions_table(run.view),
        "",
        *checks_lines(run, summary),
        "",
        verdict(summary),
        "",
        next_steps(),
    )
    return Group(*parts)


def facts(view: View, summary: Summary) -> Table:
    """Draw the figures, a line or two for each thing that was shown, with the command that did it."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    live = summary.published - summary.warm
    table.add_row(
        "payments",
        f"{live:,} live at {summary.rate:.0f}/s, after {summary.warm:,} that filled the histories: {summary.decided:,} "
        f"decided, {summary.void} void scores; {summary.outcomes:,} labels applied",
    )
    table.add_row(
        "latency",
        f"decided in {_both(summary.latency)}; read back in {_both(summary.round_trip)}, counted from when each was due"
        f"{_except(summary.chaos)}",
    )
    table.add_row("", quiet_text())
    for _, compared in sorted(view.comparisons.by_revision.items()):
        table.add_row(role(view, compared), _shadow(view, compared))
    table.add_row("promotion", _command(view, CommandKind.PROMOTE))
    if summary.chaos is not None:
        table.add_row("chaos", _chaos(summary.chaos))
    table.add_row("roll-back", _command(view, CommandKind.ROLL_BACK))
    if view.canary is not None and summary.canary is not None:
        table.add_row("guard", _guard(view, summary.canary))
    if view.blue_green is not None and summary.blue_green is not None:
        _add_fleets(table, view.blue_green, summary.blue_green)
    return table


def quiet_text() -> str:
    """Return what a quiet machine shows, where that is documented, and why the demo shows more."""
    return (
        f"a quiet machine reads back in {_both(QUIET)} at 100/s: [cyan]{QUIET_COMMAND}[/] ({QUIET_PAGE}). There, load, "
        "broker, Redis and one worker have two cores to themselves. Here the simulator, the screen, the challenger's "
        f"process, a guard and each command that starts share {os.cpu_count()} with them"
    )


def checks_lines(run: RunFacts, summary: Summary) -> Iterator[str]:
    """Yield what checked the run, and what it found."""
    yield "[bold]checked by[/]"
    decided = summary.audit.get("decided", 0)
    others = sum(summary.audit.values()) - decided
    yield _typed(run.audit)
    yield f"    {decided:,} offsets decided, of {summary.published:,} published; {others:,} in another state"
    if run.replay is not None:
        yield _typed(run.replay)
        words = {
            True: "is equal, counted again from the topics",
            False: "is not equal, counted again from the topics",
            None: "was not counted again: the embedded broker states too early an end (docs/decisions/0002)",
        }
        yield f"    the guard's evidence {words[summary.evidence_equal]}"
    done = [one for one in run.view.runs if one.ended_ms is not None and not one.problem]
    yield f"  the exit codes of the acts' commands: {len(done)} of {len(run.view.runs)} accepted"
    yield "  the demo itself, which reads the topics as any consumer can"


def _typed(run: CommandRun) -> str:
    return f"  [cyan]$ {escape(typed(run.command))}[/]"


def _add_fleets(table: Table, state: BlueGreen, summary: BlueGreenSummary) -> None:
    """Add the second fleet and both hand-overs."""
    table.add_row(
        "green",
        f"a second fleet with a model of its own, its histories filled from Kafka, was ready "
        f"{seconds(summary.ready_ms)} after its start; beside the first one: {silent_text(state)}",
    )
    terms = {one.deployment: one for one in summary.terms[1:]}
    for name, cut in zip(("hand-over", "way back"), state.hand_overs, strict=False):
        term = terms.get(cut.to)
        if cut.problem or cut.result is None or term is None:
            table.add_row(name, f"to {cut.to} failed: {escape(cut.problem)}")
            continue
        table.add_row(
            name,
            f"{_typed(cut.run).strip()}\n"
            f"to {cut.to} in term {term.term}, {seconds(cut.run.took_ms)} with its {len(cut.result.gates)} gates; "
            f"{budget_text(cut)}. "
            f"First offset and pause: {places_text(term)}; {term.late} void scores of the fleet before",
        )


def verdict(summary: Summary) -> str:
    """Return that all checks passed, or all problems."""
    if not summary.ok:
        return "[bold red]checks failed[/]:\n" + "\n".join(f"  {problem}" for problem in summary.problems)
    canary = ", every card's arm as its hash says" if summary.canary is not None else ""
    lost = ", the killed worker's included" if summary.chaos is not None else ""
    void, fleets = "no void score", ""
    if summary.blue_green is not None:
        void = f"{summary.void} void scores, all of a replaced fleet" if summary.void else void
        fleets = " in its term; each partition changed its fleet at one offset a term, as its handover event says"
    return (
        f"[bold green]all checks passed[/]: every payment decided exactly once{lost}; no offset skipped, "
        f"{void}, no partition back to an older revision{fleets}{canary}. {summary.seconds:.0f} s in all."
    )


def next_steps() -> Table:
    """Draw what to read next, and what else to run."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_row("[bold]read next[/]", "[dim]in fraudstream's repository[/]")
    for page in PAGES:
        table.add_row(f"  {page.path}{page.section and f', {page.section!r}'}", f"[dim]{page.why}[/]")
    table.add_row("[bold]go on[/]", "")
    for command, what in GO_ON:
        table.add_row(f"  {command}", f"[dim]{what}[/]")
    return table


def _shadow(view: View, compared: RevisionComparison) -> str:
    coverage = view.coverage(compared)
    partial, note = coverage is not None and coverage < NEARLY_ALL, ""
    if partial and role(view, compared) == "canary":
        note = " (since the challenger's process runs)"
    elif partial and view.outage is not None and role(view, compared) == "watch":
        note = " (the shadow skips a backlog)"
    return "; ".join(comparison_texts(view, compared, note))


def _command(view: View, kind: CommandKind) -> str:
    record = view.commands.last(kind)
    if record is None or record.answer is None:
        return "no verdict"
    command = _dollar(view, record)
    if not record.accepted:
        return f"{command}{view.model(record.model)} refused: {escape(record.refusal)}"
    return (
        f"{command}{view.model(record.model)}: {accepted(record)}; decides {cutover(view, record)} (partition:offset)"
    )


def _dollar(view: View, record: CommandRecord) -> str:
    command = view.command(record.kind, record.model)
    return f"[cyan]$ {escape(command)}[/]\n" if command else ""


def _guard(view: View, canary: CanarySummary) -> str:
    record = view.commands.last(CommandKind.ROLLOUT)
    command = "" if record is None else _dollar(view, record)
    name, breached = view.model(canary.model), ", ".join(canary.breached)
    declined = f"{canary.declined:,} of {payments(canary.decided)} declined"
    if canary.after_breach_ms is None or canary.to_breach_ms is None:
        return f"{command}{name} was not ended; {declined}"
    own, live = canary.first_declines
    return (
        f"{command}{name} had {share_text(canary.share_bp)} of the cards, {declined}: breached ({breached}) "
        f"{seconds(max(canary.to_breach_ms, 0))} after its start, decided last "
        f"{seconds(max(canary.after_breach_ms, 0))} after that; first declines: {own} by it, {live} by the live model"
    )


def _chaos(chaos: ChaosSummary) -> str:
    uncommitted = (
        ""
        if chaos.uncommitted is None
        else f" {chaos.uncommitted:,} decisions had not been committed: read again, and not decided again."
    )
    return (
        f"worker killed, payments in flight: {chaos.in_flight}; the next one, started at once, decided after "
        f"{seconds(chaos.gap_ms)}: it starts while the group waits for the killed one (session timeout "
        f"{CHAOS_SESSION_SECONDS} s). {payments(chaos.waited)} waited, the longest {seconds(chaos.longest_wait_ms)}; "
        f"the backlog was decided {seconds(chaos.caught_up_ms)} after the kill.{uncommitted}"
    )


def _except(chaos: ChaosSummary | None) -> str:
    return "" if chaos is None else f" (without the {chaos.waited:,} that the kill kept waiting)"


def _both(delay: Percentiles | None) -> str:
    return "-" if delay is None else f"p50 {delay.p50:.0f} ms, p99 {delay.p99:.0f} ms"
