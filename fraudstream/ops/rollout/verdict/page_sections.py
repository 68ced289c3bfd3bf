"""The sections of a verdict's page: what is saved, what differs, outcomes, declines, alerts, coverage and labels."""

from collections.abc import Iterator

from fraudstream.ops.report.charts.axis import AxisKind, ChartAxis, ReferenceLine
from fraudstream.ops.report.charts.bars import BarChart, BarSeries
from fraudstream.ops.report.charts.drawing import ChartFrame
from fraudstream.ops.report.charts.intervals import IntervalChart, IntervalRow
from fraudstream.ops.report.charts.lines import ChartLine, LineChart
from fraudstream.ops.report.decisions import DecisionCell, DecisionMatrix
from fraudstream.ops.report.parts import Cell, Note, Part
from fraudstream.ops.report.quantities import (
    Count,
    MeanMoney,
    Measure,
    Moment,
    Money,
    Percentage,
    Quantity,
    WithInterval,
    quantity_text,
)
from fraudstream.ops.report.tables import DataTable
from fraudstream.ops.rollout.outcomes.maturity import DAY_MS
from fraudstream.ops.rollout.shadow.sections import shift_table
from fraudstream.ops.rollout.verdict.declined import OtherwiseFacts
from fraudstream.ops.rollout.verdict.estimate import EstimateBasis
from fraudstream.ops.rollout.verdict.figures import Figure, ModelFigures
from fraudstream.ops.rollout.verdict.report import VerdictReport
from metrics.intervals import Interval
from models.times import stated_ms
from shadow.tally import Shift
from stream.contract.money import money_text

_MEASURES = {
    "precision": "Precision of alerts",
    "recall": "Recall of frauds",
    "first_hit_recall": "Recall of cards' first frauds",
    "savings": "Savings",
    "value_detection_rate": "Fraud money alerted",
}
_ESTIMATE_BASES = {
    EstimateBasis.MATURITY_CURVE: "frauds known so far, weighted by the maturity curve",
    EstimateBasis.PROBABILITIES: "the scores of both models, taken as probabilities",
    EstimateBasis.NOTHING: "nothing",
}
Row = tuple[Cell, ...]


def saved(report: VerdictReport) -> Iterator[Part]:
    """Show the bounds of what the challenger saves on a card, and the sums behind them."""
    loss, terms = report.loss, report.terms
    if not loss.cards:
        return
    bounds = IntervalRow("Challenger", None, loss.low_minor, loss.high_minor, strong=True)
    yield IntervalChart(
        ChartFrame(
            "What the challenger saves on a card",
            "The challenger loses less money than live if the whole interval is above 0.",
            f"From the least by the worst case to the most by the best case, each missed with a probability of at most "
            f"{terms.alpha:g}, however often one looks. Right of the line the challenger is better.",
        ),
        ChartAxis("Saved on a card", AxisKind.MONEY, terms.currency),
        (bounds,) if loss.final else (),
    )
    cap = quantity_text(Money(terms.cap_minor, terms.currency))
    yield DataTable(
        "What this rests on",
        ("", "Figure"),
        (
            ("Cards in the stretch", Count(loss.cards)),
            ("Cards that are final", Count(loss.final)),
            ("Their payments", Count(loss.payments)),
            ("Of them declined, outcome not known", Count(loss.unobserved)),
            ("Loss by what live said", Money(loss.live_minor, terms.currency)),
            ("Loss by what the challenger said", Money(loss.challenger_minor, terms.currency)),
            ("Saved in all, by the worst case", Money(loss.total_worst_minor, terms.currency)),
            (f"Cards beyond the cap of {cap}", Count(loss.capped)),
            ("Cut off there", Money(loss.beyond_minor, terms.currency)),
        ),
        "What was proved on earlier cohorts is not proved any more." if loss.changed else "",
    )
    yield DataTable(
        "Cohorts: cards by their first payment",
        ("From", "Cards", "Mature", "Saved on a card, at worst", "At best", "Proved better up to here"),
        tuple(_cohort_rows(report)),
        "The proof is about the cards that paid in the stretch, over all final cohorts. Cards that pay often appear "
        "first, so later cohorts pay more rarely; cards that did not appear are in no figure.",
    )


def _cohort_rows(report: VerdictReport) -> Iterator[Row]:
    currency = report.terms.currency
    for one in report.loss.cohorts:
        means = (
            None if minor is None else MeanMoney(minor, currency)
            for minor in (one.mean_worst_minor, one.mean_best_minor)
        )
        proof = one.proved_better if one.final else None
        yield Moment(stated_ms(one.begin)), Count(one.cards), one.final, *means, proof


def swaps(report: VerdictReport) -> Iterator[Part]:
    """Show what the models decide differently, in payments, cards and money, with the largest payments."""
    currency = report.terms.currency
    if not report.swaps:
        yield Note("They decide everything alike." if report.coverage.compared else "")
        return
    if all(set(one.amount_minor) <= {currency} for one in report.swaps):
        cells = {
            (one.live.value, one.challenger.value): DecisionCell(one.events, one.amount_minor.get(currency, 0))
            for one in report.swaps
        }
        yield DecisionMatrix("Payments that they decide differently", "Live", "Challenger", currency, cells)
    heads = ("From live to challenger", "Payments", "Cards", "Amounts", "Fraud", "Genuine", "Declined, not known")
    yield DataTable("Each pair of decisions", (*heads, "Known fraud"), tuple(_swap_rows(report)))
    yield BarChart(
        ChartFrame(
            "Known fraud in what they decide differently", "Amounts of known frauds for each pair of decisions."
        ),
        tuple(f"{one.live.value} to {one.challenger.value}" for one in report.swaps),
        (BarSeries("Known fraud", tuple(one.fraud_minor.get(currency, 0) for one in report.swaps)),),
        ChartAxis("Amount", AxisKind.MONEY, currency),
        "From live's decision to the challenger's",
    )
    yield DataTable(
        f"The largest of them in {currency}",
        ("Transaction", "Card", "Time", "Amount", "Live", "Challenger", "Live's score", "Challenger's", "Outcome"),
        tuple(_largest_rows(report)),
    )


def _swap_rows(report: VerdictReport) -> Iterator[Row]:
    for one in report.swaps:
        pair, amounts = f"{one.live.value} to {one.challenger.value}", money_text(one.amount_minor)
        counts = (Count(one.frauds), Count(one.genuine), Count(one.unobserved))
        fraud = Money(one.fraud_minor.get(report.terms.currency, 0), report.terms.currency)
        yield pair, Count(one.events), Count(one.cards), amounts, *counts, fraud


def _largest_rows(report: VerdictReport) -> Iterator[Row]:
    for one in report.largest:
        scores = (None if score is None else Measure(score, 4) for score in (one.live_score, one.challenger_score))
        amount, time = Money(one.amount_minor, report.terms.currency), Moment(stated_ms(one.occurred_at))
        decisions = (one.live.value, one.challenger.value)
        yield one.transaction_id, one.card_id, time, amount, *decisions, *scores, one.outcome


def matured(report: VerdictReport) -> Iterator[Part]:
    """Compare the models on payments whose outcome is known."""
    facts, terms = report.matured, report.terms
    if not facts.payments:
        return
    yield Note(
        f"{facts.payments:,} payments of {facts.cards:,} cards, {facts.frauds:,} of them fraud: "
        f"{money_text({terms.currency: facts.fraud_minor})}."
    )
    rows = tuple(IntervalRow(name, *_ends(facts.differences[key])) for key, name in _MEASURES.items())
    yield IntervalChart(
        ChartFrame(
            "Challenger less live",
            "Right of the line the challenger is better.",
            "In percentage points, with 95 % intervals by card, for one look.",
        ),
        ChartAxis("Difference", AxisKind.SHARE),
        rows,
    )
    sides = (facts.live, facts.challenger)
    shares: tuple[Row, ...] = tuple(
        (name, *(figure_quantity(getattr(one, key)) for one in sides), figure_quantity(facts.differences[key]))
        for key, name in _MEASURES.items()
    )
    cards = (
        f"Card precision at {terms.cards_a_day} a day",
        *(figure_quantity(one.card_precision) for one in sides),
        "",
    )
    yield DataTable("Shares", ("", "Live", "Challenger", "Difference"), (*shares, cards), "95 % intervals in brackets.")
    yield DataTable("Counts and money", ("", "Live", "Challenger"), tuple(_count_rows(sides, terms.currency)))


def _count_rows(sides: tuple[ModelFigures, ModelFigures], currency: str) -> Iterator[Row]:
    counts = {"Alerts": "alerts", "Reviews": "reviews", "Declines": "declines", "Frauds alerted": "frauds_caught"}
    amounts = {"Loss": "loss_minor", "Fraud not alerted": "fraud_lost_minor", "Fraud alerted": "fraud_stopped_minor"}
    for name, key in counts.items():
        yield name, *(Count(getattr(one, key)) for one in sides)
    for name, key in amounts.items():
        yield name, *(Money(getattr(one, key), currency) for one in sides)


def declined(report: VerdictReport) -> Iterator[Part]:
    """Bound what was declined both ways, and show what lots tell of it."""
    facts, currency = report.declined, report.terms.currency
    if not facts.events:
        return
    yield Note(
        f"{facts.events:,} payments ({money_text({currency: facts.amount_minor})}) were declined and have no label. "
        "Nobody knows what they would have been; no figure counts them as good."
    )
    sides = {"The challenger would not decline": facts.otherwise, "Live would not decline": facts.reverse}
    known = {name: one for name, one in sides.items() if one.events}
    yield IntervalChart(
        ChartFrame(
            "What the challenger saves on them",
            "Bounds if all of them are genuine, and if all of them are fraud.",
            "From all fraud to all genuine; the truth is between.",
        ),
        ChartAxis("Saved", AxisKind.MONEY, currency),
        tuple(IntervalRow(name, None, *_saved_bounds(one)) for name, one in known.items()),
    )
    heads = ("", "Payments", "Cards", "Amount", "Would approve", "Saved if all fraud", "Saved if all genuine")
    yield DataTable("Bounds", heads, tuple(_otherwise_row(name, one, currency) for name, one in known.items()))
    if facts.lots is None:
        yield Note("No declined payment was let through by a lot, so nothing more can be said of them.")
        return
    lots = facts.lots
    saved = _money_figure(lots.saved_minor, currency)
    yield DataTable(
        "Estimates from payments that lots let through",
        ("", "Figure"),
        (
            ("Lots drawn", Count(lots.drawn)),
            ("Let through and matured", Count(lots.let_through)),
            ("Share of declined payments with a lot", _share(lots.coverage)),
            ("Share of their money", _share(lots.money_coverage)),
            ("Fraud among what live declined", figure_quantity(lots.fraud_share)),
            ("What the challenger saves on them", saved),
            ("Recall of live", figure_quantity(lots.live_recall)),
            ("Recall of the challenger", figure_quantity(lots.challenger_recall)),
        ),
        "By inverse propensity, with 95 % intervals by card; they tell nothing of declined payments without a lot.",
    )


def _saved_bounds(one: OtherwiseFacts) -> tuple[float, float]:
    low, high = sorted((one.saved_if_fraud_minor, one.saved_if_genuine_minor))
    return low, high


def _otherwise_row(name: str, one: OtherwiseFacts, currency: str) -> Row:
    bounds = (Money(one.saved_if_fraud_minor, currency), Money(one.saved_if_genuine_minor, currency))
    amount = Money(one.amount_minor, currency)
    return name, Count(one.events), Count(one.cards), amount, Count(one.approved), *bounds


def alerts(report: VerdictReport) -> Iterator[Part]:
    """Show alerts a day against the budget, and times."""
    facts, times = report.alerts, report.latency
    if not report.coverage.compared:
        return
    yield BarChart(
        ChartFrame(
            "Alerts a day",
            "Alerts of both models a day on average and on the busiest day.",
            f"Payments that are reviewed or declined, over {facts.days:,.1f} days.",
        ),
        ("on average", "on the busiest day"),
        (
            BarSeries("Live", (facts.live_per_day, facts.live_busiest)),
            BarSeries("Challenger", (facts.challenger_per_day, facts.challenger_busiest)),
        ),
        ChartAxis("Alerts"),
        budget=ReferenceLine("budget of the average", facts.budget),
    )
    yield DataTable(
        "Alerts a day",
        ("", "Live", "Challenger", "Budget"),
        (
            (
                "On average",
                Measure(facts.live_per_day, 1),
                Measure(facts.challenger_per_day, 1),
                Measure(facts.budget, 1),
            ),
            ("On the busiest day", Count(facts.live_busiest), Count(facts.challenger_busiest), ""),
        ),
    )
    budget = report.terms.row_us
    of_budget = "no budget is stated" if budget is None else f"budget {budget:,.1f} µs"
    rows: tuple[tuple[str, Quantity | None, str], ...] = (
        ("Processor time for a row of the challenger", _maybe(times.row_us, "\N{MICRO SIGN}s"), of_budget),
        ("From record to decision, median", _maybe(times.live_p50, "ms"), "live"),
        ("From record to decision, 99th percentile", _maybe(times.live_p99, "ms"), "live"),
        ("From decision to comparison, median", _maybe(times.lag_p50, "ms"), "the shadow's queue"),
        ("From decision to comparison, 99th percentile", _maybe(times.lag_p99, "ms"), "the shadow's queue"),
    )
    yield DataTable("Times", ("", "Figure", ""), tuple(row for row in rows if row[1] is not None))


def _maybe(value: float | None, unit: str) -> Quantity | None:
    return None if value is None else Measure(value, 0 if unit == "ms" else 1, unit)


def coverage(report: VerdictReport) -> Iterator[Part]:
    """Count what was compared, and show how far the scores are apart."""
    facts, shift = report.coverage, report.shift
    if not facts.eligible:
        return
    counts: dict[str, int | None] = {
        "Had to be compared": facts.eligible,
        "Compared": facts.compared,
        "Of them a minute late or more": facts.late,
        "Skipped: no room, or no process": facts.skipped,
        "Failed: no score, or not written": facts.failed,
        "Unexplained: under way, or lost": facts.unexplained,
    }
    rows = ((name, None if one is None else Count(one), _of(one, facts.eligible)) for name, one in counts.items())
    yield DataTable("Decisions", ("", "Count", "Share"), tuple(rows))
    figures = Shift(shift.mean, shift.mean_absolute, shift.band_quantiles, shift.stability_index)
    yield shift_table(shift.scored, figures)


def _of(count: int | None, whole: int) -> Quantity | None:
    return Percentage(count / whole) if count is not None and whole else None


def labels(report: VerdictReport) -> Iterator[Part]:
    """Show how soon frauds become known, and how many are labelled."""
    curve, known = report.curve, report.labels
    yield LineChart(
        ChartFrame(
            "Share of frauds known by age",
            f"The curve rests on {curve.frauds:,} frauds and reaches to {curve.reach_ms / DAY_MS:,.0f} days.",
            f"Of {curve.frauds:,} frauds; corrected for those that are too young to be known. What is known later than "
            f"after {curve.reach_ms / DAY_MS:,.0f} days is in no share.",
        ),
        ChartAxis("Age of the payment in days"),
        ChartAxis("Known", AxisKind.SHARE),
        (
            ChartLine(
                "Frauds known",
                tuple(age / DAY_MS for age, _ in curve.points),
                tuple(share for _, share in curve.points),
            ),
        ),
        span=(0.0, 1.0),
    )
    yield DataTable(
        f"Age at which frauds are known, of {curve.frauds:,}",
        ("Share of frauds", "Age"),
        tuple((f"{float(share):.0%}", Measure(age / DAY_MS, 1, "days")) for share, age in curve.ages_ms.items()),
    )
    if not known.payments:
        return
    yield DataTable(
        "Labels of matured payments that were not declined",
        ("", "Figure"),
        (
            ("Payments", Count(known.payments)),
            ("Frauds labelled", Count(known.frauds)),
            ("Frauds expected by live's scores", Measure(known.expected, 1)),
            ("Labelled of expected", _share(known.share)),
        ),
    )


def estimated(report: VerdictReport) -> Iterator[Part]:
    """Show what the challenger is estimated to save, which is no ground for a promotion."""
    facts, currency = report.estimate, report.terms.currency
    if not facts.payments:
        return
    sum_of_all = _money_figure(Figure(facts.saved_minor, facts.interval), currency)
    yield Note("This is no ground for a promotion: it tells what to expect until labels have come.")
    yield DataTable(
        "What the challenger saves on all payments",
        ("", "Figure"),
        (
            ("Saved, estimated", sum_of_all),
            ("Payments", Count(facts.payments)),
            ("Left out", Count(facts.left_out)),
        ),
        f"It rests on {_ESTIMATE_BASES[facts.basis]}. 95 % interval by card.",
    )


def _share(value: float | None) -> Quantity | None:
    return None if value is None else Percentage(value)


def _ends(figure: Figure) -> tuple[float | None, float | None, float | None]:
    low, high = figure.interval or (None, None)
    return figure.value, low, high


def figure_quantity(figure: Figure) -> Quantity | None:
    """Return a share with its interval."""
    if figure.value is None or figure.interval is None:
        return _share(figure.value)
    return WithInterval(*(Percentage(one) for one in (figure.value, *figure.interval)))


def _money_figure(figure: Figure, currency: str) -> Quantity | None:
    """Return an amount in minor units with its interval."""
    if figure.value is None:
        return None
    interval: Interval | None = figure.interval
    amounts = [Money(round(one), currency) for one in (figure.value, *(interval or ()))]
    return amounts[0] if interval is None else WithInterval(*amounts)
