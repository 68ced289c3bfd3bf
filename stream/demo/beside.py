"""The shadow's panel: what the challenger would have decided, beside what was decided, against the truth."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from models.commands import CommandKind
from models.policy import Decision
from shadow.tally import Pair, Tally
from stream.demo.chronicle import RevisionComparison, total
from stream.demo.view import View, money, share

ORDER = (Decision.APPROVE, Decision.REVIEW, Decision.DECLINE)
COLOURS = {Decision.APPROVE: "green", Decision.REVIEW: "yellow", Decision.DECLINE: "red"}


def shadow_title(view: View) -> str:
    """Say who is beside whom."""
    lane = view.lanes.newest
    if lane is None:
        return "in the shadow"
    challenger, live = f"[bold]{view.model(lane.challenger)}[/]", f"[bold]{view.model(lane.live)}[/]"
    over = "" if lane.revision == view.board.revision else ", over"
    if watched(view, lane):
        return f"watched after the promotion: {challenger}, in the shadow of {live} (revision {lane.revision}{over})"
    return f"before a promotion: {challenger}, in the shadow of {live} (revision {lane.revision}{over})"


def watched(view: View, lane: RevisionComparison) -> bool:
    """Tell whether the challenger is there because it was live before."""
    promotions = [change for change in view.chronicle.changes if change.kind is CommandKind.PROMOTE]
    return lane.revision in [change.revision for change in promotions]


def shadow_panel(view: View, *, wide: bool) -> RenderableType:
    """Draw the newest lane whole, and those before it in a line each."""
    lane = view.lanes.newest
    if lane is None:
        return Text("no comparison yet", style="dim")
    matrix, facts = swaps_table(lane), facts_table(view, lane)
    earlier = [lane_line(view, other) for number, other in sorted(view.lanes.by_revision.items()) if other is not lane]
    if not wide:
        return Group(facts, matrix, *earlier)
    both = Table.grid(padding=(0, 3), expand=True)
    both.add_column(no_wrap=True)
    both.add_column(ratio=1, no_wrap=True)
    both.add_row(matrix, facts)
    return Group(both, *earlier)


def swaps_table(lane: RevisionComparison) -> Table:
    """Draw what was decided (down) by what the challenger would have decided (across): events, and money if swapped."""
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("live \\ challenger", style="dim", no_wrap=True)
    for decision in ORDER:
        table.add_column(decision.value, justify="right", no_wrap=True)
    tally = lane.tally
    for live in ORDER:
        table.add_row(live.value, *(_cell(tally, (live, challenger)) for challenger in ORDER))
    return table


def _cell(tally: Tally, pair: Pair) -> Text:
    (live, challenger), counted = pair, total(tally, [pair])
    if not counted.events:
        return Text("·", "dim")
    if live is challenger:
        return Text(f"{counted.events:,}", "dim")
    return Text(money(counted), COLOURS[challenger])


def facts_table(view: View, lane: RevisionComparison) -> Table:
    """Draw coverage, agreement, shift, and whom the truth gives right."""
    challenger, live = view.model(lane.challenger), view.model(lane.live)
    tally, quantiles = lane.tally, lane.shift.band_quantiles
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_row("compared", f"[bold]{share(view.coverage(lane))}[/] of {view.decided(lane):,} decisions")
    table.add_row("agreed", f"[bold]{share(lane.agreement, 1)}[/], {tally.changed:,} decisions swapped")
    apart = "-" if quantiles is None else "  ".join(f"{bands:+d}" for bands in quantiles)
    table.add_row("bands apart, p1 p50 p99", apart)
    table.add_row(f"frauds only {challenger} alerts", f"[bold]{money(lane.only_challenger(fraud=True))}[/]")
    table.add_row(f"frauds only {live} alerts", f"[bold]{money(lane.only_live(fraud=True))}[/]")
    alarms = f"{lane.only_challenger(fraud=False).events:,} {challenger}, {lane.only_live(fraud=False).events:,} {live}"
    table.add_row("false alarms of one only", alarms)
    return table


def lane_line(view: View, lane: RevisionComparison) -> Text:
    """Say the most important of a lane in one line."""
    challenger, live = view.model(lane.challenger), view.model(lane.live)
    frauds = f"{money(lane.only_challenger(fraud=True))}, only {live} {money(lane.only_live(fraud=True))}"
    return Text(
        f"before: {challenger} beside {live}, {share(view.coverage(lane))} compared, "
        f"{share(lane.agreement, 1)} agreed; frauds only {challenger} {frauds}",
        style="dim",
    )
