"""The demo's pictures: from a view to something that rich can draw, or to one line. Nothing here reads or waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from models.commands import Event, EventKind
from stream.contract.outputs import Score
from stream.demo.scoreboard import Percentiles, Scoreboard, Tally, Truth
from stream.simulation.rows import Pattern

SHORT = 8
COLOURS = {"approve": "green", "review": "yellow", "decline": "red"}


@dataclass(frozen=True, slots=True)
class Promotion:
    """A promotion through the control topic: what was sent when, and what came back when."""

    digest: str
    sent_ms: int
    answer: Event | None = None
    answered_ms: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """All that one picture shows. Times in epoch milliseconds, `simulated_at` in the population's own time."""

    board: Scoreboard
    models: Mapping[str, str]
    """By digest, what a model is called."""
    partitions: int
    done: int
    total: int
    """Of the live transactions, how many have gone out, and how many there are."""
    now_ms: int
    simulated_at: str
    labels: int
    void: int
    promotion: Promotion | None


def picture(view: View) -> RenderableType:
    """Draw everything."""
    return Group(
        Rule(
            f"live: {view.done:,} of {view.total:,} transactions, it is {view.simulated_at[:16].replace('T', ' ')} "
            "for the cards"
        ),
        Padding(ProgressBar(total=view.total, completed=view.done), 0),  # alone it ends no line
        _facts(view),
        models_table(view.board, view.models),
        promotion_text(view),
        partitions_table(view.board, view.partitions),
        _alerts(view.board),
    )


def line(view: View) -> str:
    """Say the most important of it in one line."""
    board = view.board
    total = board.total
    decision = board.recent_decision(view.now_ms)
    return (
        f"{view.done:,}/{view.total:,} sent  {board.rate(view.now_ms):.0f} tx/s  in flight {board.in_flight}  "
        f"latency {_delay(decision)}  approve {total.approved:,} review {total.reviewed} decline {total.declined}  "
        f"precision {_share(total.precision)}  void {view.void}  revision {board.revision}"
    )


def models_table(board: Scoreboard, models: Mapping[str, str]) -> Table:
    """Draw what each revision decided, against the simulator's truth."""
    table = Table(title="who decided what (live transactions only)", title_justify="left", expand=True, box=None)
    table.add_column("revision", justify="right")
    table.add_column("model", min_width=20)
    for name in ("decided", "approve", "review", "decline", "precision", "frauds found"):
        table.add_column(name, justify="right")
    for revision, tally in sorted(board.tallies.items()):
        newest = revision == board.revision
        table.add_row(
            str(revision), _model(board.digests.get(revision), models), *_tally(tally), style="bold" if newest else ""
        )
    return table


def partitions_table(board: Scoreboard, partitions: int) -> Table:
    """Draw where each partition stands, and the first and last offset that each revision decided there."""
    revisions = sorted({revision for firsts in board.first_offsets.values() for revision in firsts})
    table = Table(title="partitions of transactions", title_justify="left", expand=True, box=None)
    for name in ("partition", "published", "decided"):
        table.add_column(name, justify="right")
    for revision in revisions:
        table.add_column(f"offsets of revision {revision}", justify="right")
    published = board.published_by_partition()
    for partition in range(partitions):
        table.add_row(
            str(partition),
            f"{published.get(partition, 0):,}",
            f"{len(board.offsets.get(partition, [])):,}",
            *(_span(board, partition, revision) for revision in revisions),
        )
    return table


def promotion_text(view: View) -> Text:
    """Say where the promotion stands."""
    promotion = view.promotion
    if promotion is None:
        return Text("promotion: none yet; the second model is promoted in the middle of the stream", style="dim")
    name = _model(promotion.digest, view.models)
    if promotion.answer is None:
        return Text(f"promotion: {name} asked for through the control topic, no verdict yet", style="yellow")
    took = promotion.answered_ms - promotion.sent_ms
    answer = promotion.answer
    said = f"promotion: {name} {answer.kind} as revision {answer.revision}, {took} ms after it was asked for"
    return Text(said, style="bold green" if answer.kind is EventKind.ACCEPTED else "bold red")


def patterns_table(board: Scoreboard) -> Table:
    """Draw how much of each kind of fraud each revision alerted."""
    revisions = sorted(board.tallies)
    table = Table(title="frauds found, by pattern", title_justify="left", box=None)
    table.add_column("pattern")
    for revision in revisions:
        table.add_column(f"revision {revision}", justify="right")
    for pattern in list(Pattern)[1:]:
        tallies = [board.patterns.get((revision, pattern), Tally()) for revision in revisions]
        table.add_row(pattern.name.lower(), *(f"{tally.caught} of {tally.frauds}" for tally in tallies))
    return table


def _facts(view: View) -> Table:
    board, total = view.board, view.board.total
    grid = Table.grid(padding=(0, 2), expand=True)
    for _ in range(3):
        grid.add_column(ratio=1, no_wrap=True)
    grid.add_row(
        f"rate [bold]{board.rate(view.now_ms):.0f}[/] tx/s, in flight [bold]{board.in_flight}[/]",
        f"decided in [bold]{_delay(board.recent_decision(view.now_ms))}[/]",
        f"read back in [bold]{_delay(board.recent_round_trip(view.now_ms))}[/]",
    )
    grid.add_row(
        f"alert precision [bold]{_share(total.precision)}[/] of {total.alerts} alerts",
        f"void scores [bold]{view.void}[/]",
        f"labels sent {view.labels:,}, applied {board.outcomes:,}",
    )
    return grid


def _alerts(board: Scoreboard) -> Table:
    table = Table(title="latest alerts, and what they really were", title_justify="left", expand=True, box=None)
    for name in ("transaction", "card", "merchant"):
        table.add_column(name)
    for name in ("amount", "score"):
        table.add_column(name, justify="right")
    for name in ("decision", "truth"):
        table.add_column(name)
    for score, truth in board.alerts:
        table.add_row(*_alert(score, truth))
    return table


def _alert(score: Score, truth: Truth) -> tuple[str, ...]:
    genuine = truth.pattern is Pattern.GENUINE
    told = "[dim]genuine[/]" if genuine else f"[red]fraud[/], {truth.pattern.name.lower()}"
    return (
        score.transaction_id,
        score.card_id,
        score.merchant_id,
        f"{score.amount_minor / 100:,.2f} {score.currency}",
        "-" if score.score is None else f"{score.score:.3f}",
        f"[{COLOURS[score.decision]}]{score.decision}[/]",
        told,
    )


def _tally(tally: Tally) -> tuple[str, ...]:
    return (
        f"{tally.decided:,}",
        f"{tally.approved:,}",
        str(tally.reviewed),
        str(tally.declined),
        f"{_share(tally.precision)} of {tally.alerts}",
        f"{_share(tally.recall)} of {tally.frauds}",
    )


def _span(board: Scoreboard, partition: int, revision: int) -> str:
    first = board.first_offsets.get(partition, {}).get(revision)
    return "-" if first is None else f"{first} to {board.last_offsets[partition][revision]}"


def _model(digest: str | None, models: Mapping[str, str]) -> str:
    return "none" if digest is None else f"{models.get(digest, 'unknown')} {digest[:SHORT]}"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _delay(delay: Percentiles | None) -> str:
    return "-" if delay is None else f"p50 {delay.p50:.0f} p99 {delay.p99:.0f} ms"
