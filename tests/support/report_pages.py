"""Pages of a verdict and of a split from made-up figures, with every part that a page can have."""

import math

import numpy as np

from fraudstream.ops.report.charts.axis import AxisKind, ChartAxis, ReferenceLine
from fraudstream.ops.report.charts.bars import BarChart, BarSeries
from fraudstream.ops.report.charts.drawing import ChartFrame
from fraudstream.ops.report.charts.histograms import HistogramChart, HistogramSeries
from fraudstream.ops.report.charts.intervals import IntervalChart, IntervalRow
from fraudstream.ops.report.charts.lines import ChartLine, LineChart
from fraudstream.ops.report.charts.reliability import ReliabilityBin, ReliabilityChart, ReliabilityCurve
from fraudstream.ops.report.decisions import DecisionCell, DecisionMatrix
from fraudstream.ops.report.document import Headline, Provenance, Report, Section, Tone
from fraudstream.ops.report.parts import KeyFigure, KeyFigures, Note
from fraudstream.ops.report.quantities import Count, Measure, Moment, Money, Percentage, WithInterval
from fraudstream.ops.report.tables import DataTable

START_MS = 1_772_323_200_000
"""2026-03-01 UTC."""
DAY_MS = 86_400_000
DAYS = 84
LIVE, CHALLENGER = "cards:12 3f9a02c1", "cards:13 81d07a5b"
PROVENANCE = Provenance(
    "topics scores, shadow-scores and outcomes of the deployment default: 1,204,118 payments of 96,410 cards",
    START_MS,
    START_MS + DAYS * DAY_MS,
    START_MS + DAYS * DAY_MS + 3_723_000,
    "0.1.0",
)
EUR = "EUR"
SAVINGS = ChartAxis("Savings of the challenger over live, per card", AxisKind.MONEY, EUR)


def maturity_curve() -> LineChart:
    """The share of frauds known by age, with a band that narrows as payments get older."""
    ages = tuple(float(day) for day in range(0, 91, 2))
    known = [1 - math.exp(-age / 18) for age in ages]
    spread = [0.015 + 0.05 * age / 90 for age in ages]
    line = ChartLine(
        "frauds known",
        ages,
        tuple(known),
        tuple(max(share - width, 0.0) for share, width in zip(known, spread, strict=True)),
        tuple(min(share + width, 1.0) for share, width in zip(known, spread, strict=True)),
    )
    return LineChart(
        ChartFrame(
            "How old a fraud is when it becomes known",
            "Half of all frauds are known after 12 days, and 96 % after 60 days.",
            "Share of the frauds that will be known at all. Band: 95 % interval by card; at high ages it rests on few "
            "payments.",
        ),
        ChartAxis("Age of the payment in days"),
        ChartAxis("Share of frauds known", AxisKind.SHARE),
        (line,),
        span=(0.0, 1.0),
    )


def savings_over_time() -> LineChart:
    """A confidence sequence of the difference in savings, that excludes 0 at last."""
    days = np.arange(1, DAYS - 59)
    middle = 42.0 + 60 * np.sin(days / 3.1) / days
    width = 260 / np.sqrt(days)
    return LineChart(
        ChartFrame(
            "Savings of the challenger over live",
            "The confidence sequence excludes 0 from 12 April on.",
            "Band: 95 % confidence sequence, valid however often it is looked at.",
        ),
        ChartAxis("Matured until", AxisKind.TIME),
        ChartAxis("Savings per card", AxisKind.MONEY, EUR),
        (
            ChartLine(
                "difference",
                tuple(START_MS + day * DAY_MS for day in days.tolist()),
                tuple(middle.tolist()),
                tuple((middle - width).tolist()),
                tuple((middle + width).tolist()),
            ),
        ),
    )


def alert_volume() -> BarChart:
    """Alerts of each day, of both models, against the budget."""
    days = 28
    generator = np.random.default_rng(1)
    live, challenger = (generator.poisson(mean, days) for mean in (187, 171))
    return BarChart(
        ChartFrame(
            "Alerts a day against the budget",
            "The challenger stays below 200 alerts a day on 27 of 28 days, live on 22.",
            "Reviews and declines together; the last 28 days.",
        ),
        tuple(f"{day:02d} May" for day in range(1, days + 1)),
        (BarSeries(LIVE, tuple(live.tolist())), BarSeries(CHALLENGER, tuple(challenger.tolist()))),
        ChartAxis("Alerts", AxisKind.COUNT),
        "Day (UTC)",
        ReferenceLine("budget", 200),
    )


def swaps_in_money() -> BarChart:
    """What the challenger would have stopped and let go, in money."""
    return BarChart(
        ChartFrame("Fraud that only one of them stops", "The challenger stops EUR 31,200 more than it lets go."),
        ("approve to review", "approve to decline", "review to approve", "decline to approve"),
        (
            BarSeries("fraud stopped", (3_120_050, 1_841_000, 0, None)),
            BarSeries("fraud let go", (0, 0, -1_204_000, -643_075)),
        ),
        ChartAxis("Amount", AxisKind.MONEY, EUR),
        "From live's decision to the challenger's",
    )


def decisions() -> DecisionMatrix:
    """Payments by both models' decisions."""
    cells = {
        ("approve", "approve"): DecisionCell(1_182_630, 5_120_331_201),
        ("approve", "review"): DecisionCell(3_911, 41_209_377),
        ("approve", "decline"): DecisionCell(402, 9_120_450),
        ("review", "approve"): DecisionCell(4_120, 21_200_000),
        ("review", "review"): DecisionCell(9_871, 120_770_912),
        ("review", "decline"): DecisionCell(733, 15_102_001),
        ("decline", "approve"): DecisionCell(97, 1_030_910),
        ("decline", "review"): DecisionCell(310, 6_400_230),
        ("decline", "decline"): DecisionCell(2_044, 51_223_019),
    }
    return DecisionMatrix("Payments by what both decided", f"live {LIVE}", f"challenger {CHALLENGER}", EUR, cells)


def reliability() -> ReliabilityChart:
    """Reliability of both models; the lowest bin of live has no fraud."""
    scores = [0.0002, 0.0008, 0.003, 0.012, 0.05, 0.21, 0.62]
    counts = [620_000, 310_000, 150_000, 60_000, 21_000, 5_200, 1_900]

    def curve(name: str, factor: float, least: float) -> ReliabilityCurve:
        shares = [min(factor * score, 1.0) if score > least else 0.0 for score in scores]
        widths = [2 * math.sqrt(max(share, 1e-5) / count) for share, count in zip(shares, counts, strict=True)]
        return ReliabilityCurve(
            name,
            tuple(
                ReliabilityBin(score, share, max(share - width, 0.0), min(share + width, 1.0), count)
                for score, share, width, count in zip(scores, shares, widths, counts, strict=True)
            ),
        )

    return ReliabilityChart(
        ChartFrame(
            "Does a score say how many are fraud?",
            "The challenger's scores agree with the observed shares; live's are too high.",
            "Both axes logarithmic. Vertical lines: 95 % intervals by card. A share of 0 is drawn at the lower edge.",
        ),
        (curve(LIVE, 0.7, 0.0005), curve(CHALLENGER, 1.02, 0.0)),
    )


def score_shift() -> HistogramChart:
    """Bands of the scores of both models."""
    edges = tuple(float(edge) for edge in range(0, 1_000, 50))
    middle = np.array(edges[:-1]) + 25
    live, challenger = ((1_204_118 * np.exp(-(((middle - mean) / 120) ** 2)) / 4.25).astype(int) for mean in (310, 345))
    return HistogramChart(
        ChartFrame(
            "Score bands of both models", "The challenger's bands are 35 higher in the middle; the PSI is 0.11."
        ),
        ChartAxis("Band (500 is 1 in 100, 50 more doubles the odds)"),
        edges,
        (HistogramSeries(LIVE, tuple(live.tolist())), HistogramSeries(CHALLENGER, tuple(challenger.tolist()))),
        (ReferenceLine("review", 560), ReferenceLine("decline", 720)),
    )


def verdict_page() -> Report:
    """A verdict on a challenger: PROMOTE, with every part that a verdict has."""
    gates = DataTable(
        "Gates, in the order in which they are asked",
        ("Gate", "Passed", "Found", "Required"),
        (
            ("coverage", "yes", "99.94 % of live's payments compared", "at least 99.5 %"),
            ("latency", "yes", "99th percentile 12.1 ms", "at most 100 ms"),
            ("alert budget", "yes", "171 alerts a day", "at most 200"),
            ("savings", "yes", "EUR 0.42 a card (0.11 to 0.73)", "above 0"),
        ),
        "A gate that fails makes HOLD or REJECT; the first that does decides.",
    )
    figures = KeyFigures(
        (
            KeyFigure("Savings per card", Money(42, EUR), "0.11 to 0.73, on 61,044 cards"),
            KeyFigure("Recall of the challenger", Percentage(0.731, 1), "71.2 % to 75.0 %; live 68.4 %"),
            KeyFigure("Precision of its alerts", Percentage(0.214, 1), "20.3 % to 22.6 %; live 19.0 %"),
            KeyFigure("Payments compared", Count(1_203_402), "99.94 % of live's"),
            KeyFigure("Alerts a day", Count(171), "budget 200"),
            KeyFigure("Of declines that live alone made", None, "unobserved; bounded below"),
        )
    )
    largest = DataTable(
        "The largest payments on which they differ",
        ("Transaction", "Time", "Live", "Challenger", "Amount", "Fraud"),
        tuple(
            (f"t-{9_120_334 + 7 * place}", Moment(START_MS + place * 31_000_000), "approve", "decline", money, fraud)
            for place, (money, fraud) in enumerate(
                zip(
                    [Money(minor, EUR) for minor in range(948_050, 210_000, -24_050)],
                    ["yes", "yes", "no", "not known yet", "yes", "no"] * 6,
                    strict=False,
                )
            )
        ),
        "Amounts as billed to the card's account.",
    )
    quality = DataTable(
        "On matured labels",
        ("Measure", "Live", "Challenger", "Difference"),
        (
            ("Precision", *_shares(0.190, 0.182, 0.198), *_shares(0.214, 0.203, 0.226), *_shares(0.024, 0.010, 0.038)),
            ("Recall", *_shares(0.684, 0.661, 0.706), *_shares(0.731, 0.712, 0.750), *_shares(0.047, 0.021, 0.073)),
            ("Card precision at 100", *_shares(0.31, 0.29, 0.33), *_shares(0.36, 0.34, 0.38), None),
            ("AUC", Measure(0.941), Measure(0.957), Measure(0.016)),
        ),
        "In brackets: 95 % intervals by card.",
    )
    differences = IntervalChart(
        ChartFrame("Differences of the challenger from live", "All four intervals are above 0."),
        ChartAxis("Difference", AxisKind.SHARE),
        (
            IntervalRow("Precision", 0.024, 0.010, 0.038),
            IntervalRow("Recall", 0.047, 0.021, 0.073),
            IntervalRow("Value detection rate", 0.051, 0.019, 0.083, strong=True),
            IntervalRow("Card precision at 100", 0.05, 0.02, None),
            IntervalRow("Precision of live's declines", None, None, None),
        ),
    )
    return Report(
        "Verdict on a challenger",
        f"Challenger {CHALLENGER} against live {LIVE}, deployment default, currency EUR",
        Headline(
            "Better: saves EUR 0.11 to 0.73 a card",
            Tone.GOOD,
            "PROMOTE, decided by the gate savings",
            "Savings per card are EUR 0.42, 95 % confidence sequence EUR 0.11 to EUR 0.73; required: above 0.",
        ),
        (
            Section("In short", (figures, gates)),
            Section("What they decide differently", (decisions(), swaps_in_money(), largest)),
            Section("Savings over time", (savings_over_time(),)),
            Section("On matured labels", (quality, differences)),
            Section("Alerts", (alert_volume(),)),
            Section("Scores", (score_shift(), reliability())),
            Section(
                "Labels",
                (
                    Note("A payment is matured when it is labelled, or older than 60 days, and then genuine."),
                    maturity_curve(),
                    Note(
                        points=(
                            "What live declined is unobserved: it is bounded both ways, and never counted as good.",
                            "A card counts once, with its payments of the first 28 days.",
                        )
                    ),
                ),
            ),
        ),
        PROVENANCE,
        (
            "Savings are against the cheapest of approving, reviewing or declining everything.",
            "Costs: a review EUR 3.00; a wrong decline EUR 2.00 and 5 % of the amount; a missed fraud its amount.",
        ),
    )


def _shares(estimate: float, low: float, high: float) -> tuple[WithInterval]:
    return (WithInterval(Percentage(estimate, 1), Percentage(low, 1), Percentage(high, 1)),)


def split_page() -> Report:
    """A report of a split with two arms and live: no winner yet."""
    arms = ("live", "control", "new")
    table = DataTable(
        "Arms",
        ("Arm", "Model", "Cards", "Decisions", "Alert rate", "Decline rate", "Fraud lost", "Fraud stopped", "Savings"),
        (
            _arm("live", "cards:12 3f9a02c1", (77_128, 963_294), (2_410_077, 8_120_490)),
            _arm("control", "cards:12 3f9a02c1", (9_641, 120_412), (301_260, 1_015_061)),
            _arm("new", "cards:13 81d07a5b", (9_641, 120_412), (263_118, 1_053_203)),
        ),
        "Amounts are those of all payments of an arm; arms differ in size.",
    )
    lost = IntervalChart(
        ChartFrame(
            "Fraud lost, per card",
            "The arm new loses less than control; the interval of the difference still includes 0.",
            "Confidence sequences for all arms together at 95 % (Bonferroni).",
        ),
        ChartAxis("Fraud lost per card", AxisKind.MONEY, EUR),
        (
            IntervalRow("live", 31, 29, 33),
            IntervalRow("control", 31, 26, 37),
            IntervalRow("new", 27, 22, 33),
        ),
        reference=None,
    )
    difference = IntervalChart(
        ChartFrame("Differences from live, per card", "Both intervals include 0."),
        ChartAxis("Savings per card, over live", AxisKind.MONEY, EUR),
        (IntervalRow("control", 0, -6, 6), IntervalRow("new", 4, -2, 10, strong=True)),
    )
    days = np.arange(1, 29)
    sequences = LineChart(
        ChartFrame("Savings per card over live", "The band of new narrows from 24 to 6 cents around 4 cents."),
        ChartAxis("Day", AxisKind.TIME),
        ChartAxis("Savings per card", AxisKind.MONEY, EUR),
        tuple(
            ChartLine(
                name,
                tuple(START_MS + day * DAY_MS for day in days.tolist()),
                tuple((mean + 8 * np.cos(days / 2 + phase) / days).tolist()),
                tuple((mean - 32 / np.sqrt(days)).tolist()),
                tuple((mean + 32 / np.sqrt(days)).tolist()),
            )
            for name, mean, phase in (("control", 0.0, 0.0), ("new", 4.0, 1.0))
        ),
    )
    ratio = DataTable(
        "Cards per arm against the shares",
        ("Arm", "Share", "Cards", "Expected"),
        tuple(
            (arm, Percentage(share), Count(cards), Count(expected))
            for arm, share, cards, expected in zip(
                arms, (0.8, 0.1, 0.1), (77_128, 9_641, 9_641), (77_128, 9_641, 9_641), strict=True
            )
        ),
    )
    return Report(
        "Report of a split",
        "Arms control (10 %) and new (10 %) beside live, deployment default, currency EUR",
        Headline(
            "Too early to say: no arm is better with certainty",
            Tone.WAIT,
            "NOT YET",
            "new saves EUR 0.04 a card more than live, -0.02 to 0.10: 0 is included.",
        ),
        (
            Section("Arms", (table, ratio)),
            Section("Money", (lost, difference, sequences)),
        ),
        PROVENANCE,
    )


def _arm(
    name: str, model: str, sizes: tuple[int, int], amounts: tuple[int, int]
) -> tuple[str, str, Count, Count, Percentage, Percentage, Money, Money, Percentage]:
    cards, decisions_made = sizes
    lost, stopped = (Money(amount, EUR) for amount in amounts)
    saved = Percentage(amounts[1] / sum(amounts), 1)
    return (
        name, model, Count(cards), Count(decisions_made), Percentage(0.0131), Percentage(0.0021), lost, stopped, saved
    )  # fmt: skip
