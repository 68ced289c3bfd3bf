"""The demo's live picture: from a view to something that rich can draw, or to one line. Nothing here reads or waits."""

from __future__ import annotations

from rich.box import ROUNDED
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from stream.demo.beside import shadow_panel, shadow_title
from stream.demo.tables import alerts_table, models_table
from stream.demo.timeline import moments, story_table
from stream.demo.view import View, delay, share

WIDE = 100
"""From so many columns on, things stand side by side."""


class Picture:
    """Draws a view as wide as there is room: the most important at the top, since the bottom may be cut off."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        view, wide = self._view, options.max_width >= WIDE
        yield Rule(_title(view))
        bar = ProgressBar(total=max(view.total, view.done), completed=view.done, complete_style="cyan")
        yield Padding(bar, 0)  # alone it ends no line
        yield facts_table(view, columns=3 if wide else 2)
        yield _panel(story_table(view), "what happened")
        yield _panel(shadow_panel(view, wide=wide), shadow_title(view))
        yield _panel(models_table(view), "who decided what, against the simulator's truth")
        yield _panel(alerts_table(view.board), "latest alerts, and what they really were")


def picture(view: View) -> RenderableType:
    """Draw everything."""
    return Group(Picture(view))


def line(view: View) -> str:
    """Say the most important of it in one line."""
    board, lane = view.board, view.lanes.newest
    total = board.total
    beside = (
        "" if lane is None else f"  shadow {share(view.coverage(lane))} compared, {share(lane.agreement, 1)} agreed"
    )
    return (
        f"{view.done:,}/{view.total:,} sent  {board.rate(view.now_ms):.0f} tx/s  in flight {board.in_flight}  "
        f"latency {delay(board.recent_decision(view.now_ms))}  "
        f"approve {total.approved:,} review {total.reviewed} decline {total.declined}  "
        f"precision {share(total.precision)}{beside}  void {view.void}  revision {board.revision}"
    )


def news(view: View) -> list[str]:
    """Say what has happened so far, in a line each; only what is over."""
    return [
        Text.from_markup(f"{moment.what}: {moment.verdict}{moment.detail and '; '}{moment.detail}").plain
        for moment in moments(view)
        if moment.settled
    ]


def facts_table(view: View, columns: int) -> Table:
    """Draw how fast it goes, in so many columns."""
    board, total = view.board, view.board.total
    grid = Table.grid(padding=(0, 2), expand=True)
    for _ in range(columns):
        grid.add_column(ratio=1, no_wrap=True)
    facts = [
        f"rate [bold]{board.rate(view.now_ms):.0f}[/] tx/s, in flight [bold]{board.in_flight}[/]",
        f"decided in [bold]{delay(board.recent_decision(view.now_ms))}[/]",
        f"read back in [bold]{delay(board.recent_round_trip(view.now_ms))}[/]",
        f"alert precision [bold]{share(total.precision)}[/] of {total.alerts} alerts",
        f"void scores [bold]{view.void}[/]",
        f"labels sent {view.labels:,}, applied {board.outcomes:,}",
    ]
    for first in range(0, len(facts), columns):
        grid.add_row(*facts[first : first + columns])
    return grid


def _title(view: View) -> str:
    simulated = view.simulated_at[:16].replace("T", " ")
    return f"fraudstream: {view.done:,} of {view.total:,} live payments, it is {simulated} for the cards"


def _panel(what: RenderableType, title: str) -> Panel:
    return Panel(what, title=title, title_align="left", box=ROUNDED, border_style="dim", padding=(0, 1))
