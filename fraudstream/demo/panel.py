"""The live panel of the demo, and the same in one line for a log."""

from __future__ import annotations

from rich.box import ROUNDED
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fraudstream.demo.comparisons import RevisionComparison
from fraudstream.demo.fleets import fleets_table, publisher_text, silent_text
from fraudstream.demo.script import SHORT
from fraudstream.demo.shell import typed
from fraudstream.demo.stack import GREEN
from fraudstream.demo.timeline import timeline_table
from fraudstream.demo.view import QUIET, View, amount, arms_text, delay, share
from fraudstream.ops.report.terminal import parts_on_terminal
from fraudstream.ops.rollout.shadow.sections import changed_decisions
from guards.report import likelihood_text
from guards.shares import share_text
from models.commands import CommandKind


def panel(view: View) -> Panel:
    """Draw everything, the most important at the top: a small terminal cuts off the bottom."""
    newest, total = view.comparisons.newest, max(view.total, view.done)  # a late action makes the stream longer
    bar = Padding(ProgressBar(total=total, completed=view.done, complete_style="cyan"), 0)
    parts: list[RenderableType] = [bar, figures_table(view), "", timeline_table(view), "", revisions_table(view), ""]
    if view.begun:
        parts.insert(3, f"[bold]{view.begun[-1].shows}[/]; look: [cyan]{typed(view.begun[-1].look)}[/]")
    if view.canary is not None and view.canary.end is None:
        parts.append(f"[bold]guard on declines[/]: {arms_text(view.canary)}")
    if view.blue_green is not None:
        parts += [f"[bold]{publisher_text(view.blue_green)}[/]", fleets_table(view, view.blue_green)]
        parts += [f"[bold]{GREEN} while silent[/]: {silent_text(view.blue_green)}"]
    if newest is None:
        parts.append(Text("no comparison yet", style="dim"))
    else:
        compared, frauds = comparison_texts(view, newest)
        parts += [
            f"[bold]{role(view, newest)}[/]: {compared}",
            frauds,
            parts_on_terminal((changed_decisions(newest.tally),)),
        ]
    simulated = view.simulated_at[:16].replace("T", " ")
    title = f"fraudstream: {view.done:,} of {total:,} live payments, simulated time {simulated}"
    return Panel(Group(*parts), title=title, title_align="left", box=ROUNDED, border_style="dim", padding=(0, 1))


def line(view: View) -> str:
    """Return the most important figures in one line."""
    board, newest = view.board, view.comparisons.newest
    total, shadow = board.total, ""
    if newest is not None:
        shadow = f"  shadow {share(view.coverage(newest))} compared, {share(newest.agreement, 1)} agreed"
    watched = ""
    if view.canary is not None:
        watched = f"  canary: {likelihood_text(view.canary.evidence)}, ended at {view.canary.bound:,.0f} times"
    if view.blue_green is not None:
        watched = f"  {publisher_text(view.blue_green)}"
    return (
        f"{view.done:,}/{view.total:,} sent  {board.rate(view.now_ms):.0f} tx/s  in flight {board.in_flight}  "
        f"latency {delay(board.recent_decision(view.now_ms))}  "
        f"approve {total.approved:,} review {total.reviewed} decline {total.declined}  "
        f"precision {share(total.precision)}{shadow}{watched}  void {view.void}  "
        f"revision {None if board.newest is None else board.newest.revision}"
    )


def figures_table(view: View) -> Table:
    """Draw rates, latencies, and what went wrong or is missing."""
    board, total, quiet = view.board, view.board.total, f"[dim](quiet: {QUIET.p50:.0f}, {QUIET.p99:.0f})[/]"
    grid = Table.grid(padding=(0, 2), expand=True)
    grid.add_column(ratio=1, no_wrap=True)
    grid.add_column(ratio=1, no_wrap=True)
    grid.add_row(
        f"rate [bold]{board.rate(view.now_ms):.0f}[/] tx/s, in flight [bold]{board.in_flight}[/]",
        f"alert precision [bold]{share(total.precision)}[/] of {total.alerts} alerts",
    )
    grid.add_row(
        f"decided in [bold]{delay(board.recent_decision(view.now_ms))}[/]",
        f"void scores [bold]{view.void}[/]",
    )
    grid.add_row(
        f"read back in [bold]{delay(board.recent_round_trip(view.now_ms))}[/] {quiet}",
        f"labels sent {view.labels:,}, applied {board.outcomes:,}",
    )
    return grid


def revisions_table(view: View) -> Table:
    """Draw how right each revision was by the simulator's truth."""
    board = view.board
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    if view.blue_green is not None:
        table.add_column("term", justify="right", no_wrap=True)
    table.add_column("rev", justify="right", no_wrap=True)
    table.add_column("model", no_wrap=True)
    for name in ("decided", "alert precision", "frauds found"):
        table.add_column(name, justify="right", no_wrap=True)
    for key, tally in sorted(board.tallies.items()):
        digest = board.digests.get(key)
        table.add_row(
            *(() if view.blue_green is None else (str(key.term),)),
            str(key.revision),
            f"{view.model(digest)}{_canary_of(view, key.revision)} [dim]{(digest or '')[:SHORT]}[/]",
            f"{tally.decided:,}",
            f"{share(tally.precision)} of {tally.alerts}",
            f"{share(tally.recall)} of {tally.frauds}",
            style="bold" if key == board.newest else "",
        )
    return table


def _canary_of(view: View, revision: int) -> str:
    canary = view.canary
    if canary is None or canary.revision != revision:
        return ""
    return f" and {view.model(canary.model)} ({share_text(canary.share_bp)})"


def role(view: View, compared: RevisionComparison) -> str:
    """Name the challenger's role: `shadow` before its promotion, `watch` if it was live before; or it is a `canary`."""
    if view.canary is not None and view.canary.revision == compared.revision:
        return "canary"
    promotions = [record.revision for record in view.commands.records if record.kind is CommandKind.PROMOTE]
    return "watch" if compared.revision in promotions else "shadow"


def comparison_texts(view: View, compared: RevisionComparison, note: str = "") -> tuple[str, str]:
    """Summarise the comparisons of a revision, with a note on those that are missing, and the frauds of one model."""
    challenger, live = view.model(compared.challenger), view.model(compared.live)
    coverage, decided = share(view.coverage(compared)), view.decided(compared)
    agreed = (
        f"{challenger} beside {live}: {coverage} of {decided:,} compared{note}, {share(compared.agreement, 1)} agreed"
    )
    only = amount(compared.only_challenger(fraud=True)), amount(compared.only_live(fraud=True))
    return agreed, f"frauds alerted only by {challenger}: {only[0]}; only by {live}: {only[1]}"
