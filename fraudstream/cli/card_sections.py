"""The contents of a model card: sections of named facts, in the order of the guidance on model risk of 2026 (SR 26-2).

Each section says which of the guidance's questions it answers. What nobody has stated is shown as "not stated", so that
a reader sees what is missing; nothing here says that a model complies with anything.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from fraudstream.cli.model_beside import ModelSurroundings, relative_text
from fraudstream.cli.policy_text import policy_lines
from fraudstream.lab.training.policy_facts import PolicyFacts
from models.artifact import Manifest, MeasuredModel, TrainingData, configuration_fingerprint
from models.card import StatedCard
from models.times import format_time

NOT_STATED = "not stated"
DISCLAIMER = (
    "This card arranges facts about one model by the questions of the interagency guidance on model risk management "
    "of April 2026 (SR 26-2, OCC Bulletin 2026-13), which replaced SR 11-7. It proves no compliance with any guidance."
)
_MOST_FEATURES = 200
_NOTHING_STATED = StatedCard(owner="")


@dataclass(frozen=True, slots=True)
class CardSubject:
    """What a card is made from; `at_ms` is when, in epoch milliseconds, and `changes` what became of the model.

    `changes` are its verdicts in words, oldest first; None where the control log could not be read.
    """

    digest: str
    manifest: Manifest
    stored_ms: int | None
    beside: ModelSurroundings
    changes: tuple[str, ...] | None
    at_ms: int


@dataclass(frozen=True, slots=True)
class CardSection:
    """A section: its title, the part of the guidance with the question that it answers, and facts by name.

    A fact that has several values is a list.
    """

    title: str
    answers: str
    facts: tuple[tuple[str, str | tuple[str, ...]], ...]


Facts = Iterator[tuple[str, str | tuple[str, ...]]]


def _model(subject: CardSubject, stated: StatedCard) -> Facts:
    manifest = subject.manifest
    yield "Name and version", f"{manifest.name} {manifest.version}"
    yield "Digest", subject.digest
    yield "Stored", NOT_STATED if subject.stored_ms is None else format_time(subject.stored_ms)
    yield "Kind", _kind(manifest)
    yield "Owner", _text(stated.owner)
    yield "Contact", _text(stated.contact)
    yield "Materiality", _text(stated.materiality)
    yield "Exposure", _text(stated.exposure)


def _use(subject: CardSubject, stated: StatedCard) -> Facts:
    yield "Purpose", _text(stated.purpose)
    yield "Users", _text(stated.users)
    yield "Not for", _texts(stated.out_of_scope)
    yield "Output", "the probability that a card payment is fraud, from 0 to 1"
    for name, text in policy_lines(PolicyFacts.of(subject.manifest)):
        yield (name.capitalize() or "Otherwise"), text


def _development(subject: CardSubject, stated: StatedCard) -> Facts:
    manifest = subject.manifest
    yield "Method", _text(stated.method)
    yield "Data in words", _text(stated.data)
    if manifest.training is not None:
        yield from _data_set_facts("Trained on", manifest.training)
        if (days := manifest.training.maturity_days) is not None:
            yield "Payments without a label", f"count as genuine when they are {days:g} days old"
    if manifest.imported is not None:
        yield "Trained elsewhere, until", manifest.imported.trained_until or "an unknown time"
        yield from _data_set_facts("Calibrated on", manifest.imported.calibrated_on)
    shown = manifest.feature_names[:_MOST_FEATURES]
    more = len(manifest.feature_names) - len(shown)
    yield f"Features ({len(manifest.feature_names)})", ", ".join(shown) + (f", and {more} more" if more else "")
    yield "Feature fingerprint", manifest.fingerprint
    yield "Parameters", ", ".join(f"{name} {value}" for name, value in sorted(manifest.parameters.items()))
    yield "Seed", str(manifest.seed)
    yield "Configuration fingerprint", configuration_fingerprint(manifest.parameters, manifest.seed)
    yield from _code(manifest)
    labels = (relative_text(subject.beside, one) for one in subject.beside.ancestors)
    yield "Descends from", tuple(labels) or "no other model"


def _limits(_subject: CardSubject, stated: StatedCard) -> Facts:
    yield "Assumptions", _texts(stated.assumptions)
    yield "Limitations", _texts(stated.limitations)
    yield "Fairness", _text(stated.fairness)


def _tests(subject: CardSubject, stated: StatedCard) -> Facts:
    of = "training file" if subject.manifest.imported is None else "vectors that it was imported with"
    yield "Measured on", f"the end of the {of}, which chose nothing: neither trees, nor calibration, nor thresholds"
    if subject.manifest.measured is not None:
        yield "Measured model", _measured(subject.manifest.measured)
    for name, value in sorted(subject.manifest.metrics.items()):
        yield f"Metric {name}", f"{value:.4f}"
    yield (
        "Weak about its training",
        _texts(subject.manifest.weaknesses) if subject.manifest.weaknesses else "nothing known",
    )
    yield "Validated by", _text(stated.validated_by)
    yield "Validated on", _day(stated.validated_on)
    yield "Validation", _text(stated.validation)
    yield "Open findings", _texts(stated.findings)


def _monitoring(subject: CardSubject, stated: StatedCard) -> Facts:
    review = subject.beside.review
    yield "What is watched", _texts(stated.monitoring)
    yield "If it fails", _text(stated.fallback)
    outcomes = (
        f"{one.review}, {one.recorded_at} by {one.recorded_by}" for one in subject.beside.versions if one.review
    )
    yield "Next review", NOT_STATED if review is None else review.text
    yield "Reviews", tuple(outcomes) or NOT_STATED


def _governance(subject: CardSubject, stated: StatedCard) -> Facts:
    yield "Approved by", _text(stated.approved_by)
    yield "Approved on", _day(stated.approved_on)
    signed = (f"key {one.key}, {one.problem or f'by {one.person}'}" for one in subject.beside.signatures)
    yield "Signatures", tuple(signed) or "none"
    versions = (f"{one.recorded_at} by {one.recorded_by}" for one in subject.beside.versions)
    yield "Versions of this card", tuple(versions) or "none"
    unknown = "unknown, since the control log could not be read"
    yield "Commands about it", unknown if subject.changes is None else subject.changes or "none"
    later = (relative_text(subject.beside, one) for one in subject.beside.descendants)
    yield "Models that descend from it", tuple(later) or "none"


def _third_parties(subject: CardSubject, stated: StatedCard) -> Facts:
    made, imported = subject.manifest.provenance, subject.manifest.imported
    yield "Products", _texts(stated.third_parties)
    if imported is not None:
        yield "Trained elsewhere", f"imported from a model file with the SHA-256 {imported.model_file}"
    versions = () if made is None else tuple(f"{name} {version}" for name, version in sorted(made.libraries.items()))
    yield "Libraries", (*versions, f"Python {made.python}") if made is not None else NOT_STATED


def _kind(manifest: Manifest) -> str:
    trees = manifest.parameters.get("num_iterations")
    count = "gradient-boosted trees" if trees is None else f"{trees} gradient-boosted trees"
    return f"{count} (LightGBM), with a table that turns margins into probabilities"


def _data_set_facts(name: str, span: TrainingData) -> Facts:
    share = span.frauds / max(span.rows, 1)
    yield (
        name,
        f"{span.since} to {span.until}: {span.rows:,} payments, {span.frauds:,} frauds ({share:.2%})",
    )
    yield "Data fingerprint", span.fingerprint


def _measured(measured: MeasuredModel) -> str:
    before, test = measured.training, measured.test
    return (
        f"one that was made in the same way of {before.rows:,} payments from {before.since} to {before.until}, and "
        f"measured on {test.rows:,} from {test.since} to {test.until}; the stored one was fitted again to all that was "
        "known, and has seen these"
    )


def _code(manifest: Manifest) -> Facts:
    made = manifest.provenance
    yield "Code", f"fraudstream {manifest.code_version}"
    if made is not None:
        yield "Code fingerprint", made.code
        yield "Commit", made.commit or NOT_STATED


def _text(value: str | None) -> str:
    return value or NOT_STATED


def _texts(values: Iterable[str] | None) -> str | tuple[str, ...]:
    return tuple(values or ()) or NOT_STATED


def _day(value: date | None) -> str:
    return NOT_STATED if value is None else value.isoformat()


_SECTIONS: tuple[tuple[str, str, Callable[[CardSubject, StatedCard], Facts]], ...] = (
    ("The model", "Overview: which model is this, and how much depends on it?", _model),
    ("Purpose and use", "Development and use: what is it for, and what is it not for?", _use),
    ("Data and development", "Development and use: on what was it built, and how?", _development),
    ("Assumptions and limitations", "Development and use: where may it be wrong?", _limits),
    ("Testing and validation", "Validation: what shows that it works, and who challenged it?", _tests),
    ("Monitoring", "Monitoring: how is it noticed that it no longer works?", _monitoring),
    ("Governance and controls", "Governance: who answers for it, who approved it, and who changed what?", _governance),
    ("Third parties", "Vendor and other third-party products: what in it comes from others?", _third_parties),
)


def card_sections(subject: CardSubject) -> tuple[CardSection, ...]:
    """Return the sections of a model's card."""
    stated = subject.beside.card or _NOTHING_STATED
    return tuple(CardSection(title, answers, tuple(facts(subject, stated))) for title, answers, facts in _SECTIONS)
