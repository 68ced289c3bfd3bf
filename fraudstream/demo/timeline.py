"""What has happened so far, and what it led to: commands, cutovers, the kill of the worker, and hand-overs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from fraudstream.demo.blue_green import BlueGreen, CutOver
from fraudstream.demo.commands import CommandRecord
from fraudstream.demo.scoreboard import Outage, waited
from fraudstream.demo.script import Act
from fraudstream.demo.shell import typed
from fraudstream.demo.stack import GREEN
from fraudstream.demo.view import View, arms_text, payments, seconds
from models.commands import CommandKind

GOOD, BAD, OPEN = "green", "red", "yellow"
SIGNS = {GOOD: "✓", BAD: "✗", OPEN: "…"}
EVENT_COLUMNS = 28


class TimelineEntry(NamedTuple):
    """One event: when, what, the result in one line or two, and the command that was typed, if any."""

    at_ms: int
    event: str
    result: str
    style: str
    detail: str = ""
    command: str = ""

    @property
    def final(self) -> bool:
        """Whether the result will not change any more."""
        return self.style != OPEN


def timeline(view: View) -> list[TimelineEntry]:
    """Return everything that has happened, in order."""
    records = [record for record in view.commands.records if record.kind is not CommandKind.CUT_OVER]
    found = [_command(view, record) for record in records]
    if view.outage is not None:
        found.append(_kill(view, view.outage))
    if view.blue_green is not None:
        found += _fleets(view, view.blue_green)
    return sorted(found, key=lambda entry: entry.at_ms)


def timeline_table(view: View) -> Table:
    """Draw what has happened, and dimmed what is planned; times count from the beginning of the live stream."""
    table = Table(box=None, expand=True, show_header=False, padding=(0, 1), pad_edge=False)
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(width=EVENT_COLUMNS)
    table.add_column(width=1)
    table.add_column(ratio=1)
    for entry in timeline(view):
        is_live = entry.command and entry.at_ms >= view.began_ms  # what was typed before is printed above
        result = Text.assemble(
            (f"$ {entry.command}\n" if is_live else "", "cyan"),
            (entry.result, entry.style),
            (f"\n{entry.detail}" if entry.detail else "", "dim"),
        )
        table.add_row(clock(entry.at_ms - view.began_ms), entry.event, Text(SIGNS[entry.style], entry.style), result)
    for planned in view.planned:
        table.add_row(clock(int(planned.seconds * 1000)), f"[dim]{planned.action.value}[/]", "", "[dim]to come[/]")
    return table


def news(view: View) -> list[str]:
    """Return a line for each event whose result is final."""
    return [
        Text.from_markup(f"{entry.event}: {entry.result}{entry.detail and '; '}{entry.detail}").plain
        for entry in timeline(view)
        if entry.final
    ]


def act_lines(act: Act) -> Iterator[str]:
    """Yield what an act shows, the commands that do it, and where to look, a line each."""
    where = f", with the settings of {GREEN}" if act.in_green else ""
    yield f"{act.action.value}: {act.shows}{where}"
    yield from (f"  $ {typed(command)}" for command in act.commands)
    yield f"  look: {typed(act.look)}"


def clock(milliseconds: int) -> str:
    """Format minutes and seconds, negative before the live stream."""
    whole = abs(milliseconds) // 1000
    return f"{'-' if milliseconds < 0 else ''}{whole // 60}:{whole % 60:02d}"


def accepted(record: CommandRecord) -> str:
    """Name the revision that an accepted command created, how long it took, and when each worker was ready."""
    ready = ", ".join(f"{worker} ready after {seconds(at - record.sent_ms)}" for worker, at in record.ready.items())
    return f"revision {record.revision} accepted in {seconds(record.took_ms)}; {ready or 'it was kept loaded'}"


def cutover(view: View, record: CommandRecord) -> str:
    """Name the first offset in each partition that the command's revision decided, as far as announced."""
    if len(record.cutovers) < view.partitions:
        return f"in {len(record.cutovers)} of {view.partitions} partitions so far"
    offsets = " ".join(f"{partition}:{offset:,}" for partition, offset in sorted(record.cutovers.items()))
    return f"everywhere after {seconds(record.cut_over_ms - record.sent_ms)}, from {offsets}"


def _command(view: View, record: CommandRecord) -> TimelineEntry:
    at_ms, event = record.sent_ms or record.answered_ms, _event(view, record)
    command = view.command(record.kind, record.model)
    if record.answer is None:
        return TimelineEntry(at_ms, event, "asked for, no verdict yet", OPEN, command=command)
    if not record.accepted:
        return TimelineEntry(at_ms, event, f"refused: {record.refusal}", BAD, command=command)
    if not _changes_live_model(view, record):
        return TimelineEntry(at_ms, event, accepted(record), GOOD, command=command)
    style = GOOD if len(record.cutovers) >= view.partitions else OPEN
    detail = cutover(view, record)
    if record.kind is CommandKind.END_CANARY and view.canary is not None:
        detail = arms_text(view.canary)
    return TimelineEntry(at_ms, event, accepted(record), style, detail, command)


def _event(view: View, record: CommandRecord) -> str:
    model = view.model(record.model)
    match record.kind:
        case CommandKind.PROMOTE:
            return f"[bold]{model}[/] goes live"
        case CommandKind.CHALLENGE:
            return f"[bold]{model}[/] goes into the shadow"
        case CommandKind.ROLLOUT:
            return f"[bold]{model}[/] gets some cards"
        case CommandKind.END_CANARY:
            return "[bold]the guard ends it[/]"
        case CommandKind.ROLL_BACK:
            return f"rolled back to [bold]{model}[/]" if record.model else "the promotion is rolled back"
        case _:
            return str(record.kind or "a command")


def _changes_live_model(view: View, record: CommandRecord) -> bool:
    """Tell whether the command changed the live model while payments were live."""
    return record.sent_ms >= view.began_ms > 0 and record.kind is not CommandKind.CHALLENGE


def _kill(view: View, outage: Outage) -> TimelineEntry:
    event = "[bold]worker killed[/] (SIGKILL)"
    if outage.back_ms is None:
        lasted = seconds(view.now_ms - outage.killed_ms)
        waiting = f"{payments(view.board.in_flight)} waiting for the new worker, for {lasted} now"
        return TimelineEntry(outage.killed_ms, event, waiting, OPEN)
    result = f"back after {seconds(outage.gap_ms)}; {payments(len(waited(view.board, outage)))} waited"
    if outage.caught_up_ms is None:
        return TimelineEntry(outage.killed_ms, event, f"{result}, {view.board.in_flight:,} are still undecided", OPEN)
    result += f", caught up {seconds(outage.caught_up_ms - outage.back_ms)} later"
    return TimelineEntry(outage.killed_ms, event, result, GOOD, _uncommitted(outage))


def _uncommitted(outage: Outage) -> str:
    if not outage.uncommitted:
        return ""
    return f"{outage.uncommitted:,} decisions were written, not committed: read again, not decided again"


def _fleets(view: View, state: BlueGreen) -> Iterator[TimelineEntry]:
    """Yield the start of the second fleet, and each hand-over."""
    if state.started_ms is not None:
        yield _start(view, state, state.started_ms)
    for cut in state.hand_overs:
        yield _cut_over(view, cut)


def _start(view: View, state: BlueGreen, started_ms: int) -> TimelineEntry:
    event = f"[bold]{GREEN}[/] starts beside it"
    if state.problem:
        return TimelineEntry(started_ms, event, state.problem, BAD)
    if state.ready_ms is None:
        lasts = seconds(view.now_ms - started_ms)
        return TimelineEntry(started_ms, event, f"{state.waits_for or 'its worker starts'}, for {lasts} now", OPEN)
    result = f"ready after {seconds(state.ready_ms - started_ms)}: its histories are filled from Kafka"
    return TimelineEntry(started_ms, event, result, GOOD, f"it decides each payment silently, to scores-{GREEN}")


def _cut_over(view: View, cut: CutOver) -> TimelineEntry:
    event = f"[bold]{cut.to}[/] takes over{'' if cut.to == GREEN else ' again'}"
    at_ms, command, report = cut.run.began_ms, typed(cut.run.command), cut.handover
    if cut.run.ended_ms is None:
        return TimelineEntry(at_ms, event, f"it runs for {seconds(view.now_ms - at_ms)} now", OPEN, command=command)
    if cut.problem or cut.result is None or report is None:
        return TimelineEntry(at_ms, event, cut.problem, BAD, command=command)
    pause = seconds(report.longest_pause_ms)
    result = f"go by {len(cut.result.gates)} gates; term {report.term}, longest pause {pause}"
    return TimelineEntry(at_ms, event, result, GOOD, command=command)
