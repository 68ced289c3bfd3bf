"""A shadow report as tables of rich; `fraudstream shadow report` and the demo print them.

The tables hold no verdict: whether a changed decision is worth its cost is for the reader to judge.
"""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fraudstream.ops.rollout.shadow.report import ShadowReport
from models.policy import Decision
from models.times import format_time
from shadow.tally import Pair, Shift, Tally
from stream.contract.money import number_text

_SHORT = 12


def report_tables(report: ShadowReport) -> RenderableType:
    """Render a report: the two models, coverage, and the tables of its tally if anything was compared."""
    parts: list[RenderableType] = [Text(_title(report), style="bold"), Text(_when(report)), coverage(report)]
    if report.astride.missed:
        parts.append(Text(_astride(report)))
    if report.tally.compared:
        parts.append(tally_tables(report.tally))
    return Group(*parts)


def tally_tables(tally: Tally) -> RenderableType:
    """Render what was compared: scores, decisions of both models, and decisions that differ."""
    return Group(scores(tally), decisions(tally), changed_decisions(tally))


def _title(report: ShadowReport) -> str:
    against = ", ".join(
        f"{(digest or 'rules')[:_SHORT]} ({_count(count)})"
        for digest, count in sorted(report.tally.opponents.items(), key=str)
    )
    return f"challenger {report.digest[:_SHORT]} against {against or 'nobody yet'}"


def _when(report: ShadowReport) -> str:
    since, until = format_time(report.term.since_ms), report.term.until_ms
    end = "" if until is None else f" until {format_time(until)}"
    state = "is in the shadow" if report.now else "was in the shadow"
    return (
        f"{state} since {since}{end}; decisions from {format_time(report.since_ms)} to {format_time(report.until_ms)}"
    )


def _astride(report: ShadowReport) -> str:
    skipped, failed = report.astride.skipped, report.astride.failed
    return (
        f"Workers reported {_count(skipped)} skipped and {_count(failed)} failed for periods that begin before this "
        "window: as many of them are counted as are missing."
    )


def coverage(report: ShadowReport) -> Table:
    """Count the decisions that were to be compared, by result."""
    table = _table("coverage", "decisions", "share")
    rows = {
        "to be compared": report.eligible,
        "compared": report.tally.compared,
        "skipped: no room, or no process": report.missed.skipped,
        "failed: no score, or not written": report.missed.failed,
        **({"skipped or failed, at most": report.possibly_missed} if report.astride.missed else {}),
        "unexplained: under way, or lost": report.unexplained,
    }
    for name, count in rows.items():
        table.add_row(name, _count(count), _share(count, report.eligible))
    return table


def scores(tally: Tally) -> Table:
    """Show how far the challenger's scores are from the live ones."""
    table, shift = _table("scores, challenger less live", "", ""), Shift.of(tally)
    if shift.band_quantiles is None or shift.mean is None:
        table.add_row("no decision had a live score", "", "")
        return table
    low, middle, high = shift.band_quantiles
    table.add_row("mean of the probability", f"{shift.mean:+.6f}", "")
    table.add_row("mean of its absolute value", f"{shift.mean_absolute:.6f}", "")
    table.add_row("bands, 50 is odds doubled", f"{middle:+d}", f"1st to 99th percentile: {low:+d} to {high:+d}")
    table.add_row("stability index of the bands", f"{shift.stability_index:.4f}", "below 0.1 is read as alike")
    return table


def decisions(tally: Tally) -> Table:
    """Count the decisions of each model."""
    table = _table("decisions", "live", "", "challenger", "")
    for decision in Decision:
        live, challenger = tally.decided(decision)
        shares = _share(live, tally.compared), _share(challenger, tally.compared)
        table.add_row(decision.value, _count(live), shares[0], _count(challenger), shares[1])
    return table


def changed_decisions(tally: Tally) -> Table:
    """Show the decisions that differ between the models, by count and amount."""
    table = _table(
        f"decided otherwise: {_count(tally.changed)} of {_count(tally.compared)}", "events", *tally.currencies
    )
    for live in Decision:
        for challenger in Decision:
            pair = (live, challenger)
            if live is not challenger and tally.events.get(pair):
                money = [_money(tally, code, pair) for code in tally.currencies]
                table.add_row(f"{live.value} → {challenger.value}", _count(tally.events[pair]), *money)
    if not tally.changed:
        table.add_row("none", "", *("" for _ in tally.currencies))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title_justify="left", header_style="bold", pad_edge=False, box=None, padding=(0, 3, 0, 0))
    table.add_column(f"\n{title}", min_width=34)
    for column in columns:
        table.add_column(f"\n{column}", justify="right", no_wrap=True)
    return table


def _money(tally: Tally, currency: str, pair: Pair) -> str:
    return number_text(tally.minor.get((currency, pair), 0), currency)


def _count(count: int) -> str:
    return f"{count:,}"


def _share(count: int, total: int) -> str:
    return f"{count / total:.2%}" if total else ""
