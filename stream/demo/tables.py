"""Tables of what the scoreboard knows: who decided what, which frauds were found, the latest alerts."""

from __future__ import annotations

from rich.table import Table

from stream.contract.outputs import Score
from stream.demo.beside import COLOURS
from stream.demo.scoreboard import Scoreboard, Truth, TruthTally
from stream.demo.view import SHORT, View, share
from stream.demo.world.rows import Pattern

FRAUDS = list(Pattern)[1:]


def models_table(view: View) -> Table:
    """Draw what each revision decided, against the simulator's truth."""
    board = view.board
    table = Table(expand=True, box=None, padding=(0, 1), pad_edge=False)
    table.add_column("rev", justify="right", no_wrap=True)
    table.add_column("model", no_wrap=True)
    for name in ("decided", "approve", "review", "decline", "precision", "frauds found"):
        table.add_column(name, justify="right", no_wrap=True)
    for revision, tally in sorted(board.tallies.items()):
        digest = board.digests.get(revision)
        name = f"{view.model(digest)} [dim]{(digest or '')[:SHORT]}[/]"
        table.add_row(str(revision), name, *_tally(tally), style="bold" if revision == board.revision else "")
    return table


def patterns_table(view: View) -> Table:
    """Draw how right each revision was, and how much of each kind of fraud it alerted."""
    board = view.board
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("rev", justify="right", no_wrap=True)
    table.add_column("model", no_wrap=True)
    for name in ("decided", "precision", "found", *(pattern.name.lower() for pattern in FRAUDS)):
        table.add_column(name, justify="right", no_wrap=True)
    for revision, tally in sorted(board.tallies.items()):
        kinds = [board.patterns.get((revision, pattern), TruthTally()) for pattern in FRAUDS]
        table.add_row(
            str(revision),
            view.model(board.digests.get(revision)),
            f"{tally.decided:,}",
            f"{share(tally.precision)} of {tally.alerts}",
            f"{share(tally.recall)} of {tally.frauds}",
            *(f"{kind.caught}/{kind.frauds}" for kind in kinds),
        )
    return table


def alerts_table(board: Scoreboard) -> Table:
    """Draw the latest alerts, and what they really were."""
    table = Table(expand=True, box=None, padding=(0, 1), pad_edge=False)
    for name in ("transaction", "card", "merchant"):
        table.add_column(name, no_wrap=True)
    for name in ("amount", "score"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("decision", "truth"):
        table.add_column(name, no_wrap=True)
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


def _tally(tally: TruthTally) -> tuple[str, ...]:
    return (
        f"{tally.decided:,}",
        f"{tally.approved:,}",
        str(tally.reviewed),
        str(tally.declined),
        f"{share(tally.precision)} of {tally.alerts}",
        f"{share(tally.recall)} of {tally.frauds}",
    )
