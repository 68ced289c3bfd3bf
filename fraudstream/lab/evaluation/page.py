"""An evaluation as a report: a sentence, what counts, and the sections with figures, plots and intervals."""

from collections.abc import Iterator

from fraudstream.lab.evaluation.page_features import features, scores
from fraudstream.lab.evaluation.page_sections import (
    alerts,
    calibration,
    labels,
    money,
    paired,
    ranking,
    segments,
    weeks,
)
from fraudstream.lab.evaluation.report import EvaluationReport, ModelEvaluation
from fraudstream.lab.evaluation.words import NO_INTERVAL, quantity, verdict_of_difference, with_interval, words_of
from fraudstream.ops.report.document import Headline, Provenance, Report, Section, Tone
from fraudstream.ops.report.parts import KeyFigure, KeyFigures, Note, Part
from fraudstream.ops.report.quantities import quantity_text
from fraudstream.ops.report.tables import DataTable
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
_DECIDES = "average_precision"
"""By its difference two models are told apart in the headline: it needs no threshold and no costs."""
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


def state_evaluation(report: EvaluationReport) -> Report:
    """Return an evaluation as a report, for a page and for a terminal alike."""
    first, others = report.models[0].model, report.models[1:]
    sections = {
        "In short": _in_short(report),
        "Paired differences": paired(report) if others else (),
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
    measured = f"{data.payments:,} payments of {data.file}, fingerprint {data.fingerprint[:12]}, {_held_back(report)}"
    return Report(
        f"Evaluation of {first.name} {first.version}",
        f"Model {first.digest[:12]}{against}; payments {_held_back(report)}",
        _headline(report),
        tuple(Section(title, tuple(parts)) for title, parts in sections.items()),
        Provenance(measured, stated_ms(data.since), stated_ms(data.until), stated_ms(report.made_at), code_version()),
        _FOOTNOTES,
    )


def _held_back(report: EvaluationReport) -> str:
    return "held back" if report.data.held_back else "NOT HELD BACK"


def _headline(report: EvaluationReport) -> Headline:
    if not report.data.held_back:
        reason = "These payments are NOT HELD BACK: do not compare these figures with those of other models."
        return Headline("Not a fair test: a model may have been trained on these payments", Tone.BAD, reason)
    reason = "No model was trained on these payments: they are held back."
    if not report.differences:
        return Headline(_words_of_one(report.models[0]), Tone.PLAIN, reason)
    verdict, words = words_of_difference(report)
    tones = {"better": Tone.GOOD, "worse": Tone.BAD}
    return Headline(words, tones.get(verdict, Tone.WAIT), reason)


def _words_of_one(one: ModelEvaluation) -> str:
    """Return what one model finds, in a sentence."""
    recall, precision = (with_interval(key, one.figures[key]) for key in ("recall", "precision"))
    if recall is None:
        return "Too early to say: no payment that counts is known to be fraud"
    found = f"Finds {quantity_text(recall)} of the frauds"
    return found if precision is None else f"{found}; {quantity_text(precision)} of its alerts are frauds"


def words_of_difference(report: EvaluationReport) -> tuple[str, str]:
    """Return whether the first model is better, worse or not told apart by average precision, and a sentence."""
    figure, other = report.differences[_DECIDES], report.models[1].model.label
    verdict, shown = verdict_of_difference(_DECIDES, figure.interval), with_interval(_DECIDES, figure)
    by = "" if shown is None else f": average precision differs by {quantity_text(shown)} from that of {other}"
    if verdict == NO_INTERVAL:
        return verdict, f"Too early to say{by}, and fewer than 50 cards bear on it, so it may be chance"
    return verdict, f"{verdict.capitalize()}{by}"


def _in_short(report: EvaluationReport) -> Iterator[Part]:
    data = report.data
    if report.warnings:
        warnings = tuple(f"{warning[0].upper()}{warning[1:]}." for warning in report.warnings)
        yield Note("What to know before these figures are used:", warnings)
    yield KeyFigures(tuple(_key_figure(report, key) for key in _KEY_FIGURES))
    yield DataTable(
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
    other = report.models[1].figures[key].value if len(report.models) > 1 else None
    detail = "" if other is None else f"{labels(report)[1]}: {quantity_text(quantity(key, other))}"
    return KeyFigure(words_of(key).name, with_interval(key, report.models[0].figures[key]), detail)
