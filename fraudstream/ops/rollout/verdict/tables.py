"""A verdict as tables of rich, in the order in which it is reached: the word, the gates, and what they rest on."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fraudstream.ops.rollout.outcomes.costs import Cost
from fraudstream.ops.rollout.outcomes.maturity import DAY_MS
from fraudstream.ops.rollout.verdict.declined import DeclinedFacts, LotFacts, OtherwiseFacts
from fraudstream.ops.rollout.verdict.estimate import EstimateBasis, EstimateFacts
from fraudstream.ops.rollout.verdict.figures import Figure, MaturedFacts
from fraudstream.ops.rollout.verdict.gates import VerdictWord
from fraudstream.ops.rollout.verdict.losses import LossFacts
from fraudstream.ops.rollout.verdict.report import CurveFacts, VerdictReport
from fraudstream.ops.rollout.verdict.swaps import CoverageFacts, LargestSwap, ShiftFacts, SwapFacts
from fraudstream.ops.rollout.verdict.terms import VerdictTerms
from metrics.intervals import Interval
from stream.contract.money import money_text, number_text

_SHORT = 12
_STYLES = {VerdictWord.PROMOTE: "bold green", VerdictWord.HOLD: "bold yellow", VerdictWord.REJECT: "bold red"}
ESTIMATE_BASES = {
    EstimateBasis.MATURITY_CURVE: "frauds known so far, weighted by the maturity curve",
    EstimateBasis.PROBABILITIES: "the scores of both models, taken as probabilities",
    EstimateBasis.NOTHING: "nothing",
}


def verdict_tables(report: VerdictReport) -> RenderableType:
    """Render a verdict."""
    parts: list[RenderableType] = [*_heading(report), gates(report), cohorts(report.loss, report.terms)]
    parts += [coverage(report.coverage), shift(report.shift)]
    parts += [swaps(report.swaps), largest(report.largest, report.terms), alerts(report)]
    parts += [matured(report.matured, report.terms), declined(report.declined, report.terms)]
    parts += [labels(report), estimated(report.estimate, report.terms), Text(f"\n{costs_text(report.terms)}")]
    return Group(*parts)


def _heading(report: VerdictReport) -> list[RenderableType]:
    against = ", ".join(f"{one[:_SHORT]} ({count:,})" for one, count in sorted(report.live.items())) or "nobody yet"
    stretch = report.stretch
    return [
        Text(f"{report.verdict.value}, decided by the gate {report.gate.value}", style=_STYLES[report.verdict]),
        Text(f"challenger {report.challenger[:_SHORT]} against {against}, in {report.terms.currency}"),
        Text(
            f"payments from {stretch.first or 'none'} to {stretch.last or 'none'}, known as of {stretch.as_of}; "
            f"matured before {stretch.settled_before or 'none'}"
        ),
    ]


def gates(report: VerdictReport) -> Table:
    """List the gates, with what to do about those that are not passed."""
    table = Table(title_justify="left", header_style="bold", pad_edge=False, box=None, padding=(0, 3, 0, 0))
    for column in ("\ngate", "\n", "\nfound", "\nasked for"):
        table.add_column(column)
    for one in report.gates:
        passed = Text("passed", style="green") if one.passed else Text("NOT PASSED", style="bold")
        table.add_row(one.gate.value, passed, one.found, one.required)
        if not one.passed:
            table.add_row("", "", Text(one.advice, style="dim"), "")
    return table


def cohorts(facts: LossFacts, terms: VerdictTerms) -> Table:
    """Show what is saved on the cards of each cohort, and whether that was proved with it and those before."""
    table = _table(f"saved on a card, by first payment, {terms.currency}", "cards", "at worst", "at best", "proved")
    for one in facts.cohorts:
        means = ("" if minor is None else _money(minor, terms) for minor in (one.mean_worst_minor, one.mean_best_minor))
        proof = ("better" if one.proved_better else "not yet") if one.final else "not final"
        table.add_row(f"from {one.begin}", f"{one.cards:,}", *means, proof)
    return table


def coverage(facts: CoverageFacts) -> Table:
    """Count the decisions that had to be compared, by what became of that."""
    table = _table("coverage", "decisions", "share")
    rows = {
        "to be compared": facts.eligible,
        "compared": facts.compared,
        "of them a minute late or more": facts.late,
        "skipped: no room, or no process": facts.skipped,
        "failed: no score, or not written": facts.failed,
        **({"unexplained: under way, or lost": facts.unexplained} if facts.unexplained is not None else {}),
    }
    for name, count in rows.items():
        table.add_row(name, f"{count:,}", f"{count / facts.eligible:.2%}" if facts.eligible else "")
    return table


def shift(facts: ShiftFacts) -> Table:
    """Show how far the challenger's scores are from live's."""
    table = _table("scores, challenger less live", "", "")
    if facts.band_quantiles is None or facts.mean is None:
        table.add_row("no decision had a live score", "", "")
        return table
    low, middle, high = facts.band_quantiles
    table.add_row("mean of the probability", f"{facts.mean:+.6f}", "")
    table.add_row("mean of its absolute value", f"{facts.mean_absolute:.6f}", "")
    table.add_row("bands, 50 is odds doubled", f"{middle:+d}", f"1st to 99th percentile: {low:+d} to {high:+d}")
    table.add_row("stability index of the bands", f"{facts.stability_index:.4f}", "below 0.1 is read as alike")
    return table


def swaps(found: tuple[SwapFacts, ...]) -> Table:
    """Count the decisions that differ, and what is known of them."""
    table = _table("decided otherwise", "events", "cards", "amount", "fraud", "genuine", "declined, not known")
    for one in found:
        table.add_row(
            f"{one.live.value} → {one.challenger.value}",
            f"{one.events:,}",
            f"{one.cards:,}",
            money_text(one.amount_minor),
            f"{one.frauds:,}",
            f"{one.genuine:,}",
            f"{one.unobserved:,}",
        )
    if not found:
        table.add_row("none", *[""] * 6)
    return table


def largest(found: tuple[LargestSwap, ...], terms: VerdictTerms) -> RenderableType:
    """List the largest payments on which the models differ."""
    if not found:
        return Text("")
    table = _table(f"largest of them, {terms.currency}", "amount", "card", "live", "challenger", "scores", "outcome")
    for one in found:
        scores = " → ".join("" if score is None else f"{score:.4f}" for score in (one.live_score, one.challenger_score))
        amount = number_text(one.amount_minor, terms.currency)
        table.add_row(
            one.transaction_id, amount, one.card_id, one.live.value, one.challenger.value, scores, one.outcome
        )
    return table


def alerts(report: VerdictReport) -> Table:
    """Show alerts a day, and times."""
    facts, times = report.alerts, report.latency
    table = _table("alerts a day, and time", "live", "challenger", "budget")
    table.add_row("alerts", f"{facts.live_per_day:,.1f}", f"{facts.challenger_per_day:,.1f}", f"{facts.budget:,.1f}")
    table.add_row("on the busiest day", f"{facts.live_busiest:,}", f"{facts.challenger_busiest:,}", "")
    row_us = "not measured" if times.row_us is None else f"{times.row_us:,.1f} µs"
    budget = "" if report.terms.row_us is None else f"{report.terms.row_us:,.1f} µs"
    table.add_row("processor time a row", "", row_us, budget)
    if times.lag_p50 is not None:
        table.add_row("decision, median and 99 %", f"{times.live_p50:,} and {times.live_p99:,} ms", "", "")
        table.add_row("to its comparison", "", f"{times.lag_p50:,} and {times.lag_p99:,} ms", "")
    return table


def matured(facts: MaturedFacts, terms: VerdictTerms) -> Table:
    """Compare the models on payments whose outcome is known."""
    title = f"{facts.payments:,} matured payments, {facts.frauds:,} frauds"
    table = _table(title, "live", "challenger", "difference")
    for name, label in (
        ("precision", "precision of alerts"),
        ("recall", "recall of frauds"),
        ("first_hit_recall", "recall of cards' first frauds"),
        ("savings", "savings"),
        ("value_detection_rate", "fraud money alerted"),
    ):
        sides = (figure_text(getattr(one, name)) for one in (facts.live, facts.challenger))
        table.add_row(label, *sides, figure_text(facts.differences[name], sign="+"))
    sides = (figure_text(one.card_precision) for one in (facts.live, facts.challenger))
    table.add_row(f"card precision at {terms.cards_a_day} a day", *sides, "")
    models = (facts.live, facts.challenger)
    table.add_row("reviews", *(f"{one.reviews:,}" for one in models), "")
    table.add_row("declines", *(f"{one.declines:,}" for one in models), "")
    currency = terms.currency
    table.add_row(f"loss, {currency}", *(_money(one.loss_minor, terms) for one in models), "")
    table.add_row(f"fraud not alerted, {currency}", *(_money(one.fraud_lost_minor, terms) for one in models), "")
    return table


def figure_text(figure: Figure, sign: str = "") -> str:
    """Return a share with its interval, in percent."""
    if figure.value is None:
        return "not defined"
    text, interval = f"{figure.value:{sign}.1%}", figure.interval
    return text if interval is None else f"{text} ({interval.low:{sign}.1%} to {interval.high:{sign}.1%})"


def declined(facts: DeclinedFacts, terms: VerdictTerms) -> Table:
    """Bound what was declined both ways, with what lots tell of it."""
    table = _table("declined, so nobody knows", "payments", "amount", "saved if all fraud", "saved if all genuine")
    table.add_row("all", f"{facts.events:,}", _money(facts.amount_minor, terms), "", "")
    _add_otherwise(table, "challenger would not", facts.otherwise, terms)
    if facts.reverse.events:
        _add_otherwise(table, "live would not", facts.reverse, terms)
    if facts.lots is not None:
        _add_lots(table, facts.lots, terms)
    return table


def _add_otherwise(table: Table, name: str, facts: OtherwiseFacts, terms: VerdictTerms) -> None:
    bounds = (_money(one, terms) for one in (facts.saved_if_fraud_minor, facts.saved_if_genuine_minor))
    table.add_row(name, f"{facts.events:,}", _money(facts.amount_minor, terms), *bounds)


def _add_lots(table: Table, lots: LotFacts, terms: VerdictTerms) -> None:
    of_all = "" if lots.coverage is None else f", {lots.coverage:.1%} of all declined"
    table.add_row(f"lots drawn{of_all}", f"{lots.drawn:,}", f"{lots.let_through:,} let through", "", "")
    table.add_row("fraud among them, estimated", "", figure_text(lots.fraud_share), "", "")
    saved = _money(lots.saved_minor.value or 0.0, terms) + _money_interval(lots.saved_minor.interval, terms)
    table.add_row("saved on them, estimated", "", saved, "", "")
    recalls = f"live {figure_text(lots.live_recall)}, challenger {figure_text(lots.challenger_recall)}"
    table.add_row("recall, estimated", "", recalls, "", "")


def labels(report: VerdictReport) -> Table:
    """Show how soon frauds become known."""
    curve: CurveFacts = report.curve
    table = _table(f"frauds known by age, of {curve.frauds:,}", *(f"{float(one):.0%}" for one in curve.ages_ms))
    days = (f"{age / DAY_MS:,.1f} days" for age in curve.ages_ms.values())
    table.add_row(f"up to {curve.reach_ms / DAY_MS:,.0f} days", *days)
    return table


def estimated(facts: EstimateFacts, terms: VerdictTerms) -> Table:
    """Show what is estimated before labels, which is no ground for a promotion."""
    table = _table("estimate before labels: no ground for a promotion", "")
    table.add_row("rests on", ESTIMATE_BASES[facts.basis])
    table.add_row("payments, left out", f"{facts.payments:,}, {facts.left_out:,}")
    if facts.saved_minor is not None:
        table.add_row("the challenger saves", _money(facts.saved_minor, terms) + _money_interval(facts.interval, terms))
    return table


def costs_text(terms: VerdictTerms) -> str:
    """Return the costs and the assumptions of a verdict in words."""
    costs, currency = terms.costs, terms.currency
    review = Cost(costs.review_fixed_minor, costs.review_share_bp).text(currency)
    wrong = Cost(costs.decline_fixed_minor, costs.decline_share_bp).text(currency)
    return (
        f"A missed fraud costs its amount, a review {review}, a wrong decline {wrong}. Unlabelled payments count as "
        f"genuine after {terms.maturity_days:g} days. A card counts with its first {terms.card_days:g} days, up to "
        f"{_money(terms.cap_minor, terms)}, with all cards that appeared in the same {terms.card_days:g} days. What is "
        "proved is about the mean of the cards that paid in the stretch and are final now; "
        f"alpha is {terms.alpha:g}. "
        f"{terms.label_share:.0%} of frauds are taken to be labelled, at least {terms.least_labels:.0%} of that."
    )


def _table(title: str, *columns: str) -> Table:
    table = Table(title_justify="left", header_style="bold", pad_edge=False, box=None, padding=(0, 3, 0, 0))
    table.add_column(f"\n{title}", min_width=34)
    for column in columns:
        table.add_column(f"\n{column}", justify="right", no_wrap=True)
    return table


def _money(amount_minor: float, terms: VerdictTerms) -> str:
    rounded = round(amount_minor)
    return f"{'-' if rounded < 0 else ''}{number_text(abs(rounded), terms.currency)}"


def _money_interval(interval: Interval | None, terms: VerdictTerms) -> str:
    return "" if interval is None else f" ({_money(interval.low, terms)} to {_money(interval.high, terms)})"
