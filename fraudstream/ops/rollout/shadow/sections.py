"""A shadow report as a headline and sections; `fraudstream shadow report` and the demo print them.

It holds no verdict: `fraudstream shadow verdict` tells whether the changed decisions are worth their cost.
"""

from collections.abc import Iterator

from fraudstream.ops.report.document import Headline, Provenance, Report, Section, Tone
from fraudstream.ops.report.parts import Cell, Folded, Note, Part
from fraudstream.ops.report.quantities import Count, Measure, Moment, Money, Percentage, by_money, quantity_text
from fraudstream.ops.report.tables import DataTable
from fraudstream.ops.rollout.shadow.report import ShadowReport
from fraudstream_client.outputs import Decision
from models.commands import SHORT_DIGEST
from shadow.tally import Pair, Shift, Tally
from stream.code_version import code_version

_TRUSTED_COVERAGE = 0.99
"""Below this share of compared decisions the rest cannot be trusted; the verdict's gate has the same default."""
_CHANGES = tuple((live, challenger) for live in Decision for challenger in Decision if live is not challenger)


def state_shadow(report: ShadowReport) -> Report:
    """Return what a challenger would have decided as a report."""
    against = ", ".join(
        f"{(digest or 'rules')[:SHORT_DIGEST]} ({count:,} payments)"
        for digest, count in sorted(report.tally.opponents.items(), key=str)
    )
    return Report(
        f"Challenger {report.digest[:SHORT_DIGEST]} in the shadow",
        f"against {against or 'nobody yet'}; {_when(report)}",
        _headline(report),
        (Section("Coverage", tuple(_coverage(report))), *tally_sections(report.tally)),
        Provenance(
            f"{report.eligible:,} decisions that had to be compared, by the time of their records",
            report.since_ms,
            report.until_ms,
            report.until_ms,
            code_version(),
        ),
    )


def _when(report: ShadowReport) -> str:
    since, until = quantity_text(Moment(report.term.since_ms)), report.term.until_ms
    end = "" if until is None else f" until {quantity_text(Moment(until))}"
    return f"{'is' if report.now else 'was'} in the shadow since {since}{end}"


def _headline(report: ShadowReport) -> Headline:
    compared, changed, coverage = report.tally.compared, report.tally.changed, report.coverage
    if coverage is None:
        return Headline("Too early to say: no decision had to be compared yet", Tone.WAIT)
    if not compared:
        words = f"Too early to say: none of {report.eligible:,} decisions was compared"
        return Headline(words, Tone.WAIT, reason=_missing(report))
    if coverage < _TRUSTED_COVERAGE:
        words = f"Too few to say: {compared:,} of {report.eligible:,} decisions were compared"
        return Headline(words, Tone.WAIT, reason=_missing(report))
    if not changed:
        return Headline(f"Alike: it would have decided 0 of {compared:,} payments otherwise", Tone.PLAIN)
    share = quantity_text(Percentage(changed / compared))
    return Headline(
        f"Different: it would have decided {changed:,} of {compared:,} payments otherwise ({share})",
        Tone.PLAIN,
        reason="Whether that is better is told by `fraudstream shadow verdict`, once frauds are known.",
    )


def _missing(report: ShadowReport) -> str:
    counts = {
        "skipped": report.missed.skipped,
        "failed": report.missed.failed,
        "skipped or failed at most": report.possibly_missed,
        "under way or lost": report.unexplained,
    }
    return f"Of the others: {', '.join(f'{count:,} {name}' for name, count in counts.items() if count)}."


def _coverage(report: ShadowReport) -> Iterator[Part]:
    """Count the decisions that were to be compared, by result."""
    whole = report.eligible
    counts = {
        "To be compared": whole,
        "Compared": report.tally.compared,
        "Skipped: no room, or no process": report.missed.skipped,
        "Failed: no score, or not written": report.missed.failed,
        **({"Skipped or failed, at most": report.possibly_missed} if report.astride.missed else {}),
        "Unexplained: under way, or lost": report.unexplained,
    }
    rows = ((name, Count(count), Percentage(count / whole)) for name, count in counts.items() if whole)
    yield DataTable("Decisions that had to be compared", ("", "Count", "Share"), tuple(rows))
    if report.astride.missed:
        skipped, failed = report.astride.skipped, report.astride.failed
        yield Note(
            f"Workers reported {skipped:,} skipped and {failed:,} failed for periods that "
            "begin before this window: as many of them are counted as are missing."
        )


def tally_sections(tally: Tally) -> tuple[Section, ...]:
    """Return what was compared: scores, decisions of both models, and decisions that differ; empty if nothing was."""
    return (
        Section("Scores", (shift_table(tally.scored, Shift.of(tally)),)),
        Section(
            "Decisions",
            (_decisions(tally), *((changed_decisions(tally), _other_money(tally)) if tally.compared else ())),
        ),
    )


def shift_table(scored: int, shift: Shift) -> DataTable:
    """Show how far the challenger's scores are from the live ones; empty if no payment has both."""
    low, middle, high = (None if band is None else Count(band) for band in shift.band_quantiles or (None, None, None))
    rows: tuple[tuple[str, Cell], ...] = (
        ("Payments with both scores", Count(scored) if scored else None),
        ("Mean of the probability", None if shift.mean is None else Measure(shift.mean, 6)),
        ("Mean of its absolute value", None if shift.mean_absolute is None else Measure(shift.mean_absolute, 6)),
        ("Bands, median (50 is odds doubled)", middle),
        ("Bands, 1st percentile", low),
        ("Bands, 99th percentile", high),
        ("Stability index of the bands", None if shift.stability_index is None else Measure(shift.stability_index, 4)),
    )
    note = "A stability index below 0.1 is read as alike."
    return DataTable("Scores, challenger less live", ("", "Figure"), rows, note)


def _decisions(tally: Tally) -> DataTable:
    """Count the decisions of each model."""
    heads, whole = ("", "Live", "Share of live", "Challenger", "Share of challenger"), tally.compared
    rows = (
        (decision.value, Count(live), Percentage(live / whole), Count(challenger), Percentage(challenger / whole))
        for decision in Decision
        for live, challenger in (tally.decided(decision),)
        if whole
    )
    return DataTable("Decisions of both", heads, tuple(rows))


def changed_decisions(tally: Tally) -> Part:
    """Show the decisions that differ between the models, by count, and by amount in the currency of most money."""
    if not tally.changed:
        return Note(f"Decided otherwise: 0 of {tally.compared:,}")
    currency, *others = _currencies(tally) or ("",)
    rows = tuple(
        (_named(pair), Count(count), _money(tally, currency, pair))
        for pair in _CHANGES
        if (count := tally.events.get(pair))
    )
    caption = f"Decided otherwise: {tally.changed:,} of {tally.compared:,}"
    return DataTable(caption, ("From live to challenger", "Payments", "Amount"), rows, _note_on(currency, others))


def _note_on(currency: str, others: list[str]) -> str:
    return f"Payments of all currencies; amounts in {currency} alone." if others else ""


def _other_money(tally: Tally) -> Folded:
    """Fold the amounts of decisions that differ in the other currencies."""
    others = _currencies(tally)[1:]
    tables = (
        DataTable(
            f"Decided otherwise, in {currency}",
            ("From live to challenger", "Amount"),
            tuple((_named(pair), _money(tally, currency, pair)) for pair in _CHANGES),
        )
        for currency in others
    )
    return Folded(f"Amounts in {', '.join(others)}", tuple(tables))


def _currencies(tally: Tally) -> tuple[str, ...]:
    """Return the currencies of decisions that differ, that with most money first."""
    return by_money({code: sum(tally.minor.get((code, pair), 0) for pair in _CHANGES) for code in tally.currencies})


def _named(pair: Pair) -> str:
    return " to ".join(decision.value for decision in pair)


def _money(tally: Tally, currency: str, pair: Pair) -> Cell:
    """Return the amount of a pair of decisions; nothing if there was no payment of this currency."""
    minor = tally.minor.get((currency, pair), 0)
    return Money(minor, currency) if minor else ""
