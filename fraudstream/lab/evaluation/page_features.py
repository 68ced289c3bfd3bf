"""The sections of an evaluation's page on features and scores: what they mean to a model, and how far they moved."""

from collections.abc import Iterator, Sequence

from fraudstream.lab.evaluation.page_sections import interval_row, labels
from fraudstream.lab.evaluation.report import EvaluationReport, FeatureEvaluation, ModelEvaluation
from fraudstream.lab.evaluation.words import with_interval
from fraudstream.ops.report.charts.axis import ChartAxis, ReferenceLine
from fraudstream.ops.report.charts.drawing import ChartFrame
from fraudstream.ops.report.charts.histograms import HistogramChart, HistogramSeries
from fraudstream.ops.report.charts.intervals import MOST_ROWS, IntervalChart
from fraudstream.ops.report.parts import Folded, Note, Part
from fraudstream.ops.report.quantities import Percentage
from fraudstream.ops.report.tables import DataTable

_SHOWN = MOST_ROWS
"""Features in the charts."""
_LISTED = 12
"""Features in the table; those below it are folded."""
_HEADS = (
    "Feature",
    "Average precision lost if permuted",
    "Gain in training",
    "Stability index",
    "Undefined before",
    "Undefined now",
)


def features(report: EvaluationReport) -> Iterator[Part]:
    """Show what features mean to each model, and how far they have moved."""
    data = report.data
    yield Note(
        f"Drift is measured against {data.reference_payments:,} payments of the {data.reference}, from "
        f"{data.reference_since} to {data.reference_until}. An index below 0.1 is commonly read as stable, above 0.25 "
        "as another population. Features that say nearly the same share their importance."
    )
    for name, one in zip(labels(report), report.models, strict=True):
        yield IntervalChart(
            ChartFrame(
                f"What {name} goes by",
                "Average precision that is lost if a feature has the values of other payments.",
                f"The {min(_SHOWN, len(one.features))} most important features; intervals of 95 % by card.",
            ),
            ChartAxis("Average precision lost"),
            tuple(interval_row(feature.name, feature.permuted) for feature in one.features[:_SHOWN]),
        )
        yield _moved(name, one)
        yield _table(f"Features of {name}", one.features[:_LISTED])
        others = one.features[_LISTED:]
        yield Folded(f"The other {len(others)} features of {name}", (_table(f"Further features of {name}", others),))


def _moved(name: str, one: ModelEvaluation) -> IntervalChart:
    moved = sorted(one.features, key=lambda feature: -(feature.stability.value or 0.0))[:_SHOWN]
    return IntervalChart(
        ChartFrame(
            f"Features of {name} that moved most",
            "The population stability index against the reference.",
            f"The {len(moved)} with the largest index.",
        ),
        ChartAxis("Stability index"),
        tuple(interval_row(feature.name, feature.stability) for feature in moved),
        reference=0.1,
    )


def _table(caption: str, features_of: Sequence[FeatureEvaluation]) -> DataTable:
    rows = tuple(
        (
            feature.name,
            with_interval("average_precision", feature.permuted),
            Percentage(feature.gain, 1),
            with_interval("score_stability", feature.stability),
            Percentage(feature.undefined_before, 1),
            Percentage(feature.undefined, 1),
        )
        for feature in features_of
    )
    return DataTable(caption, _HEADS, rows)


def scores(report: EvaluationReport) -> Iterator[Part]:
    """Show how scores are distributed, now and in the reference."""
    for name, one in zip(labels(report), report.models, strict=True):
        yield HistogramChart(
            ChartFrame(
                f"Bands of {name}",
                "Payments by band of the score.",
                "Band 500 is a probability of 1 in 100; 50 more double the odds.",
            ),
            ChartAxis("Band"),
            tuple(float(edge) for edge in one.scores.edges),
            (
                HistogramSeries(f"reference ({report.data.reference})", one.scores.reference),
                HistogramSeries("payments that count", one.scores.evaluated),
            ),
            tuple(_thresholds(one)),
        )


def _thresholds(one: ModelEvaluation) -> Iterator[ReferenceLine]:
    """Yield the bands from which payments are reviewed and declined, if they are within the chart."""
    edges = one.scores.edges
    for name, band in (("review", one.review_band), ("decline", one.decline_band)):
        if band is not None and edges[0] <= band <= edges[-1]:
            yield ReferenceLine(name, float(band))
