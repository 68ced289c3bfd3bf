"""The end of the demo: what was shown, in numbers that can be pasted somewhere, and where to go from here.

What to read after the demo, and how to go on. A test holds that every page is there.
"""

from __future__ import annotations

from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table

from models.commands import CommandKind
from stream.demo.beside import watched
from stream.demo.chronicle import RevisionComparison
from stream.demo.scoreboard import Percentiles
from stream.demo.script import CHAOS_SESSION_SECONDS
from stream.demo.summary import Chaos, Run, Summary
from stream.demo.tables import patterns_table
from stream.demo.timeline import accepted, cutover
from stream.demo.view import View, money, payments, seconds, share

NEARLY_ALL = 0.99


class Page(NamedTuple):
    """A page of the repository, its section if one is meant, and why one would read it."""

    path: str
    section: str
    why: str


PAGES = (
    Page("docs/tutorial/first-promotion.md", "", "the same, on your own Kafka and Redis"),
    Page("docs/how-to/consume-decisions.md", "", "how any consumer tells which decision counts"),
    Page("docs/architecture.md", "", "how it works, batch by batch, and where faults go"),
    Page("docs/explanation/models-and-who-is-live.md", "", "commands, verdicts, and how a model becomes live"),
    Page("docs/how-to/run-a-shadow.md", "", "what the shadow promises, and how its report is read"),
    Page("docs/how-to/read-traces-and-metrics.md", "", "traces, metrics, and when to look at which"),
    Page("docs/how-to/run-in-containers.md", "", "the same with Apache Kafka, Jaeger and Prometheus, in containers"),
)
GO_ON = (
    ("fraudstream demo --chaos", "kills the worker in the middle"),
    ("fraudstream demo --keep", "leaves it running at the end, for your own hands"),
)


def reading_list() -> list[tuple[str, str]]:
    """Return where to read on, and why."""
    return [(f"{page.path}{page.section and f', {page.section!r}'}", page.why) for page in PAGES]


def report(run: Run, summary: Summary) -> RenderableType:
    """Draw the end."""
    view = run.view
    return Group(
        Rule("what was shown"),
        facts(view, summary),
        "",
        patterns_table(view),
        "",
        verdict(summary),
        "",
        onward(),
    )


def facts(view: View, summary: Summary) -> Table:
    """Draw the numbers, in a line or two for each thing that was shown."""
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
    for _, lane in sorted(view.lanes.by_revision.items()):
        table.add_row(*_shadow(view, lane))
    table.add_row("promotion", _change(view, CommandKind.PROMOTE))
    if summary.chaos is not None:
        table.add_row("chaos", _chaos(summary.chaos))
    table.add_row("roll-back", _change(view, CommandKind.ROLL_BACK))
    return table


def verdict(summary: Summary) -> str:
    """Say whether all held, and if not, everything that did not."""
    if not summary.ok:
        return "[bold red]not as it must be[/]:\n" + "\n".join(f"  {problem}" for problem in summary.problems)
    lost = ", the killed worker's included" if summary.chaos is not None else ""
    return (
        f"[bold green]all checks held[/]: every payment decided exactly once{lost}; no offset skipped, no void score, "
        f"no partition back to an older revision. {summary.seconds:.0f} s in all."
    )


def onward() -> Table:
    """Draw what to read next, and how to go on."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_row("[bold]read next[/]", "")
    for path, why in reading_list():
        table.add_row(f"  {path}", f"[dim]{why}[/]")
    table.add_row("[bold]go on[/]", "")
    for command, what in GO_ON:
        table.add_row(f"  {command}", f"[dim]{what}[/]")
    return table


def _shadow(view: View, lane: RevisionComparison) -> tuple[str, str]:
    challenger, live = view.model(lane.challenger), view.model(lane.live)
    coverage = view.coverage(lane)
    whole = view.outage is None or not watched(view, lane) or coverage is None or coverage >= NEARLY_ALL
    said = (
        f"{challenger} beside {live}: {share(coverage)} of {view.decided(lane):,} compared"
        f"{'' if whole else ' (the shadow lets a backlog go by)'}, {share(lane.agreement, 1)} agreed; "
        f"frauds that only {challenger} alerts: {money(lane.only_challenger(fraud=True))}; "
        f"only {live}: {money(lane.only_live(fraud=True))}"
    )
    return "watch" if watched(view, lane) else "shadow", said


def _change(view: View, kind: CommandKind) -> str:
    change = view.chronicle.change(kind)
    if change is None or change.answer is None:
        return "no verdict"
    if not change.accepted:
        return f"{view.model(change.model)} refused: {change.refusal}"
    return f"{view.model(change.model)}: {accepted(change)}; decides {cutover(view, change)}"


def _chaos(chaos: Chaos) -> str:
    uncommitted = (
        ""
        if chaos.uncommitted is None
        else f" {chaos.uncommitted:,} decisions had not been committed: read again, and not made again."
    )
    return (
        f"worker killed, payments in flight: {chaos.in_flight}; another, started at once, decided after "
        f"{seconds(chaos.gap_ms)}: the time to start, while the group waits {CHAOS_SESSION_SECONDS} s (its session "
        f"timeout) for the dead one. {payments(chaos.waited)} waited, the longest {seconds(chaos.longest_wait_ms)}; "
        f"worked off {seconds(chaos.caught_up_ms)} after the kill.{uncommitted}"
    )


def _except(chaos: Chaos | None) -> str:
    return "" if chaos is None else f" (without the {chaos.waited:,} that the kill kept waiting)"


def _both(delay: Percentiles | None) -> str:
    return "-" if delay is None else f"p50 {delay.p50:.0f} ms, p99 {delay.p99:.0f} ms"
