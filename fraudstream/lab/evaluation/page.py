"""An evaluation as one HTML page: what counts, and the sections with figures, plots and intervals."""

from collections.abc import Iterator

from fraudstream.lab.evaluation.page_features import features, scores
from fraudstream.lab.evaluation.page_sections import alerts, calibration, money, paired, ranking, segments, weeks
from fraudstream.lab.evaluation.report import EvaluationReport
from fraudstream.lab.evaluation.words import quantity, with_interval, words_of
from fraudstream.ops.report.document import Provenance, Report, Section
from fraudstream.ops.report.parts import KeyFigure, KeyFigures, Note, Part
from fraudstream.ops.report.quantities import WithInterval, quantity_text
from fraudstream.ops.report.tables import Table
from models.times import stated_ms
from stream.code_version import code_version

_KEY_FIGURES = (
    "average_precision",
    "first_hit_recall",
    "auc",
    "card_precision",
    "recall",
    "precision",
    "ece_alerts",
)
_FOOTNOTES = (
    "Features are computed point in time, by the code of the worker: a payment sees what was known when it occurred.",
    "Intervals are for one look, of 95 %, by bootstrap over cards with all their payments.",
    "A figure has no interval where fewer than 50 cards bear on it.",
    "Differences are paired: both models are measured on the same draws of cards.",
    "ROC AUC, average precision and card precision are of cards not known compromised when the payment's day began.",
    "First-hit recall is the share of cards with fraud whose first fraud in the file was an alert.",
    "At a budget, the highest scores of each UTC day are alerts; a draw takes cards with the alerts that they had.",
    "Savings are the avoided part of the loss of the cheapest of approving, reviewing and declining everything.",
    "The constant of log loss is the share of fraud of these payments, the best constant there is.",
    "Calibration errors are somewhat high, as is the stability index: chance adds to both, and never subtracts.",
    "Amounts of several currencies are never added.",
)


def evaluation_page(report: EvaluationReport) -> str:
    """Return the page of an evaluation; the same report gives the same bytes in one version of fraudstream.

    Raises:
        MissingMatplotlibError: matplotlib is not installed.
    """
    first, others = report.models[0].model, report.models[1:]
    sections = {"In short": _in_short(report)}
    if others:
        sections["Paired differences"] = paired(report)
    sections |= {
        "Ranking": ranking(report),
        "Alerts": alerts(report),
        "Money": money(report),
        "Calibration": calibration(report),
        "Week by week": weeks(report),
        "Segments": segments(report),
        "Features": features(report),
        "Scores": scores(report),
    }
    against = f", against {others[0].model.label}" if others else ""
    data = report.data
    held_back = "held back" if data.held_back else "NOT HELD BACK"
    measured = f"{data.payments:,} payments of {data.file}, fingerprint {data.fingerprint[:12]}, {held_back}"
    return Report(
        f"Evaluation of {first.name} {first.version}",
        f"Model {first.digest[:12]}{against}; payments {held_back}",
        None,
        tuple(Section(title, tuple(parts)) for title, parts in sections.items()),
        Provenance(measured, stated_ms(data.since), stated_ms(data.until), stated_ms(report.made_at), code_version()),
        _FOOTNOTES,
    ).html()


def _in_short(report: EvaluationReport) -> Iterator[Part]:
    data = report.data
    if data.held_back:
        yield Note("No model was trained on these payments: they are held back.")
    else:
        yield Note("These payments are NOT HELD BACK: do not compare these figures with those of other models.")
    if report.warnings:
        yield Note(points=report.warnings)
    yield KeyFigures(tuple(_key_figure(report, key) for key in _KEY_FIGURES))
    yield Table(
        "What the figures rest on",
        ("", "Figure"),
        (
            ("Payments", f"{data.payments:,} of {data.cards:,} cards, on {data.days:,} days"),
            ("Frauds", f"{data.frauds:,}, {data.frauds / data.payments:.3%} of the payments"),
            ("Left out without an outcome", f"{data.unlabelled:,}"),
            ("Left out as too young", f"{data.young:,}"),
            ("Of cards known to be compromised", f"{data.blocked:,}, not in the ranking"),
            *(
                (f"Trained until ({one.model.label})", one.model.trained_until or "nobody said")
                for one in report.models
            ),
        ),
    )


def _key_figure(report: EvaluationReport, key: str) -> KeyFigure:
    figure, found = report.models[0].figures[key], list[str]()
    written = with_interval(key, figure)
    if isinstance(written, WithInterval):
        found.append(written.bounds)
    if len(report.models) > 1:
        found.append(f"the other: {quantity_text(quantity(key, report.models[1].figures[key].value))}")
    return KeyFigure(words_of(key).name, quantity(key, figure.value), "; ".join(found))
