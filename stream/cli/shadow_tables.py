"""A shadow report as people like to read it. It gives no verdict: what a swap is worth is its reader's to say."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from models.policy import Decision
from models.times import format_time
from shadow.tally import Pair, Shift, Tally
from stream.contract.iso import CURRENCY_DECIMALS
from stream.reporting import Report

_SHORT = 12


def tables(found: Report) -> RenderableType:
    """Lay a report out: who, how much of it, scores, decisions, and those that would have been others."""
    parts: list[RenderableType] = [Text(_title(found), style="bold"), Text(_when(found)), coverage(found)]
    if found.astride.missed:
        parts.append(Text(_astride(found)))
    if found.tally.compared:
        parts += [scores(found.tally), decisions(found.tally), swaps(found.tally)]
    return Group(*parts)


def _title(found: Report) -> str:
    against = ", ".join(
        f"{(digest or 'rules')[:_SHORT]} ({_count(count)})"
        for digest, count in sorted(found.tally.opponents.items(), key=str)
    )
    return f"challenger {found.digest[:_SHORT]} against {against or 'nobody yet'}"


def _when(found: Report) -> str:
    since, until = format_time(found.term.since_ms), found.term.until_ms
    end = "" if until is None else f" until {format_time(until)}"
    state = "is in the shadow" if found.now else "was in the shadow"
    return f"{state} since {since}{end}; decisions from {format_time(found.since_ms)} to {format_time(found.until_ms)}"


def _astride(found: Report) -> str:
    skipped, failed = found.astride.skipped, found.astride.failed
    return (
        f"Workers told of {_count(skipped)} skipped and {_count(failed)} failed in times that reach back before this "
        "window: as many of them are counted as are missing."
    )


def coverage(found: Report) -> Table:
    """Say how many decisions were to be compared, and what became of them."""
    table = _table("coverage", "decisions", "share")
    rows = {
        "to be compared": found.eligible,
        "compared": found.tally.compared,
        "skipped: no room, or no process": found.missed.skipped,
        "failed: no score, or not written": found.missed.failed,
        **({"skipped or failed, at most": found.perhaps} if found.astride.missed else {}),
        "unexplained: under way, or lost": found.unexplained,
    }
    for name, count in rows.items():
        table.add_row(name, _count(count), _share(count, found.eligible))
    return table


def scores(tally: Tally) -> Table:
    """Say how far the challenger's scores are from the live ones."""
    table, shift = _table("scores, challenger less live", "", ""), Shift.of(tally)
    if shift.band_quantiles is None or shift.mean is None:
        table.add_row("no decision had a live score", "", "")
        return table
    low, middle, high = shift.band_quantiles
    table.add_row("mean of the probability", f"{shift.mean:+.6f}", "")
    table.add_row("mean of its absolute value", f"{shift.mean_absolute:.6f}", "")
    table.add_row("bands, 50 is odds doubled", f"{middle:+d}", f"1st to 99th percentile: {low:+d} to {high:+d}")
    table.add_row("stability index of the bands", f"{shift.stability_index:.4f}", "below 0.1 reads as alike")
    return table


def decisions(tally: Tally) -> Table:
    """Say how often each of the two decides what."""
    table = _table("decisions", "live", "", "challenger", "")
    for decision in Decision:
        live, challenger = tally.decided(decision)
        shares = _share(live, tally.compared), _share(challenger, tally.compared)
        table.add_row(decision.value, _count(live), shares[0], _count(challenger), shares[1])
    return table


def swaps(tally: Tally) -> Table:
    """Say which decisions would have been others, in events and in money."""
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
    decimals = CURRENCY_DECIMALS.get(currency, 0)
    whole, rest = divmod(tally.minor.get((currency, pair), 0), 10**decimals)
    return f"{whole:,}.{rest:0{decimals}d}" if decimals else f"{whole:,}"


def _count(count: int) -> str:
    return f"{count:,}"


def _share(count: int, total: int) -> str:
    return f"{count / total:.2%}" if total else ""
