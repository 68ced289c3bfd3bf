"""The story so far: what happened when, and what the fleet made of it. Nothing here knows a topic or a process."""

from __future__ import annotations

from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from models.commands import CommandKind
from stream.demo.chronicle import Change
from stream.demo.scoreboard import Outage, waited
from stream.demo.view import View, payments, seconds

GOOD, BAD, OPEN, QUIET = "green", "red", "yellow", "dim"
WHAT_COLUMNS = 28
SIGNS = {GOOD: "✓", BAD: "✗", OPEN: "…", QUIET: "·"}


class TimelineEntry(NamedTuple):
    """One thing that happened: when, what, and what came of it, in one line or two."""

    at_ms: int
    what: str
    verdict: str
    style: str
    detail: str = ""

    @property
    def settled(self) -> bool:
        """Whether nothing more will come of it."""
        return self.style != OPEN


def moments(view: View) -> list[TimelineEntry]:
    """Return everything that has happened, in order."""
    found = [_moment(view, change) for change in view.chronicle.changes]
    if view.outage is not None:
        found.append(_death(view, view.outage))
    return sorted(found, key=lambda moment: moment.at_ms)


def story_table(view: View) -> Table:
    """Draw what happened, and dimly what is still to come; times count from the beginning of the live stream."""
    table = Table(box=None, expand=True, show_header=False, padding=(0, 1), pad_edge=False)
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(width=WHAT_COLUMNS)
    table.add_column(width=1)
    table.add_column(ratio=1)
    for moment in moments(view):
        said = Text.assemble((moment.verdict, moment.style), (f"\n{moment.detail}" if moment.detail else "", "dim"))
        table.add_row(clock(moment.at_ms - view.began_ms), moment.what, Text(SIGNS[moment.style], moment.style), said)
    for scene in view.to_come:
        table.add_row(clock(int(scene.seconds * 1000)), f"[dim]{scene.act.value}[/]", "", "[dim]to come[/]")
    return table


def clock(milliseconds: int) -> str:
    """Write minutes and seconds, with a sign for what was before."""
    whole = abs(milliseconds) // 1000
    return f"{'-' if milliseconds < 0 else ''}{whole // 60}:{whole % 60:02d}"


def _moment(view: View, change: Change) -> TimelineEntry:
    at_ms, what = change.asked_ms or change.answered_ms, _what(view, change)
    if change.answer is None:
        return TimelineEntry(at_ms, what, "asked for, no verdict yet", OPEN)
    if not change.accepted:
        return TimelineEntry(at_ms, what, f"refused: {change.refusal}", BAD)
    style = GOOD if len(change.cutovers) >= view.partitions or not _moves(view, change) else OPEN
    return TimelineEntry(at_ms, what, accepted(change), style, cutover(view, change) if _moves(view, change) else "")


def _what(view: View, change: Change) -> str:
    model = view.model(change.model)
    match change.kind:
        case CommandKind.PROMOTE:
            return f"[bold]{model}[/] goes live"
        case CommandKind.CHALLENGE:
            return f"[bold]{model}[/] goes into the shadow"
        case CommandKind.ROLL_BACK:
            return f"rolled back to [bold]{model}[/]"
        case _:
            return str(change.kind or "a command")


def accepted(change: Change) -> str:
    """Say which revision an accepted command made, how fast, and which workers were ready when."""
    ready = ", ".join(f"{worker} ready after {seconds(at - change.asked_ms)}" for worker, at in change.ready.items())
    waited_for = ready or "it was kept loaded"
    return f"revision {change.revision} accepted in {seconds(change.took_ms)}; {waited_for}"


def cutover(view: View, change: Change) -> str:
    """Say since which offsets the change's revision decides, as far as that is announced."""
    if len(change.cutovers) < view.partitions:
        return f"in {len(change.cutovers)} of {view.partitions} partitions so far"
    offsets = " ".join(f"{partition}:{offset:,}" for partition, offset in sorted(change.cutovers.items()))
    return f"everywhere after {seconds(change.cut_over_ms - change.asked_ms)}, from {offsets}"


def _moves(view: View, change: Change) -> bool:
    """Tell whether it changed who decides payments that were live."""
    return change.asked_ms >= view.began_ms > 0 and change.kind is not CommandKind.CHALLENGE


def _death(view: View, outage: Outage) -> TimelineEntry:
    what = "[bold]worker killed[/] (SIGKILL)"
    if outage.back_ms is None:
        gone = seconds(view.now_ms - outage.killed_ms)
        waiting = f"{payments(view.board.in_flight)} waiting for the new worker, for {gone} now"
        return TimelineEntry(outage.killed_ms, what, waiting, OPEN)
    number = len(waited(view.board, outage))
    verdict = f"back after {seconds(outage.gap_ms)}; {payments(number)} waited"
    if outage.caught_up_ms is None:
        return TimelineEntry(outage.killed_ms, what, f"{verdict}, {view.board.in_flight:,} are still undecided", OPEN)
    verdict += f", caught up {seconds(outage.caught_up_ms - outage.back_ms)} later"
    return TimelineEntry(outage.killed_ms, what, verdict, GOOD, _kept(outage))


def _kept(outage: Outage) -> str:
    if not outage.uncommitted:
        return ""
    return f"{outage.uncommitted:,} decisions were written and not committed: read again, not made again"
