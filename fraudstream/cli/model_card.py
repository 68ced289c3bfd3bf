"""What `fraudstream model card` does: records what an owner states, and writes a model's card as Markdown or HTML."""

import asyncio
from getpass import getuser
from pathlib import Path
from typing import Any

import click
from aiokafka.errors import KafkaError

from fraudstream.cli.card_sections import DISCLAIMER, NOT_STATED, CardSection, CardSubject, card_sections
from fraudstream.cli.model_beside import surroundings, surroundings_facts
from fraudstream.cli.model_history import names_of, text, warn_unknown_commands
from fraudstream.cli.model_roles import explained, warn
from fraudstream.cli.output import refuse, say
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.repository import existing_repository_or_refuse
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.ops.report.document import Headline, Provenance, Report, Section, Tone
from fraudstream.ops.report.markdown import in_markdown
from fraudstream.ops.report.parts import Note
from fraudstream.ops.report.tables import DataTable
from models.artifact import MANIFEST, read_manifest
from models.card import CardVersion, ReviewOutcome, StatedCard, read_card, store_card
from models.commands import SHORT_DIGEST
from models.errors import InvalidCardError
from models.problems import Problem
from models.repository import Repository
from models.times import format_time
from stream.clock import now_ms
from stream.code_version import code_version
from stream.control.client import read_history
from stream.errors import ControlLogError
from stream.settings import Settings

_ENDINGS = (".md", ".html")
_LONGEST_LINE = 1_000


def write_model_card(
    name: str, record: tuple[Path, ReviewOutcome | None] | None, out: Path | None, *, as_json: bool
) -> None:
    """Record a version of a card, if there is one, and write the card; exit with 1 if the model or a file is unusable.

    `record` is the file that states the version, and the outcome of a review that it records.

    Exits with 2 for a file whose ending is neither .md nor .html.
    """
    if out is not None and out.suffix not in _ENDINGS:
        raise click.UsageError(f"--out: {out.name} ends in neither {' nor '.join(_ENDINGS)}")
    settings = settings_or_refuse()
    repository = existing_repository_or_refuse(settings)
    recorded = None if record is None else _version(settings, *record)
    with Refusals():
        digest = repository.resolve(name)
        if isinstance(digest, Problem):
            refuse(f"{digest.detail}; `fraudstream model list` lists the models")
        if recorded is not None:
            store_card(repository, digest, recorded)
        subject = _subject(settings, repository, digest)
    stated = state_card(subject)
    if out is not None:
        _write(out, stated.html() if out.suffix == ".html" else in_markdown(stated))
    shown = f"wrote {out}" if out is not None else in_markdown(stated).rstrip("\n")
    say(as_json, card_facts(subject) | stated.facts() | {"out": None if out is None else str(out)}, shown)


def _stated(record: Path) -> StatedCard:
    try:
        return read_card(record.read_text(encoding="utf-8"))
    except (InvalidCardError, UnicodeDecodeError) as error:
        refuse(f"--record: {record}: {error}")
    except OSError as error:
        refuse(f"--record: {record} cannot be read: {error.strerror}")


def _version(settings: Settings, record: Path, review: ReviewOutcome | None) -> CardVersion:
    stated, actor = _stated(record), settings.actor or getuser()
    return CardVersion(recorded_at=format_time(now_ms()), recorded_by=actor, card=stated, review=review)


def _subject(settings: Settings, repository: Repository, digest: str) -> CardSubject:
    manifest = read_manifest(repository.fetch(digest)[MANIFEST])
    stored_ms = repository.manifest(digest).stored_ms
    beside = surroundings(settings, repository, digest)
    return CardSubject(digest, manifest, stored_ms, beside, _changes(settings, digest), now_ms())


def _changes(settings: Settings, digest: str) -> tuple[str, ...] | None:
    """Return the verdicts about a model in words; None where the control log cannot be read."""
    try:
        found = asyncio.run(read_history(settings))
    except (ControlLogError, KafkaError, OSError) as error:
        warn(f"what became of the model is unknown: {explained(settings, error)}")
        return None
    warn_unknown_commands(found)
    entries = tuple(entry for entry in found.entries if entry.concerns(digest))
    names = names_of(settings, entries)
    return tuple(" ".join(text(entry, names, _LONGEST_LINE).split()) for entry in entries)


def _write(out: Path, page: str) -> None:
    try:
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        refuse(f"--out: {out} cannot be written: {error.strerror}")


def card_facts(subject: CardSubject) -> dict[str, Any]:
    """Return a card as one object: its sections, and what is recorded."""
    sections = [
        {"title": one.title, "answers": one.answers, "facts": [list(fact) for fact in one.facts]}
        for one in card_sections(subject)
    ]
    return {"digest": subject.digest, "sections": sections, **surroundings_facts(subject.beside)}


def state_card(subject: CardSubject) -> Report:
    """Return a card as a report, for a page and for Markdown alike; the same card gives the same bytes in a version."""
    data = subject.manifest.training or (subject.manifest.imported and subject.manifest.imported.calibrated_on)
    measured = f"model {subject.digest}" + (f", fitted to {data.rows:,} payments" if data else "")
    sections = card_sections(subject)
    return Report(
        f"Model card: {subject.manifest.name} {subject.manifest.version}",
        f"{subject.digest[:SHORT_DIGEST]}, for those who review it",
        _headline(subject, sections),
        tuple(map(_section, sections)),
        Provenance(measured, None, None, subject.at_ms, code_version()),
        (DISCLAIMER,),
    )


def _headline(subject: CardSubject, sections: tuple[CardSection, ...]) -> Headline:
    """Say whether a review failed or is overdue, and otherwise whether everything is stated."""
    facts = [fact for section in sections for fact in section.facts]
    missing = [name for name, value in facts if value == NOT_STATED]
    reason = f"Not stated: {', '.join(missing)}." if missing else ""
    review = subject.beside.review
    outcomes = [one for one in subject.beside.versions if one.review is not None]
    if outcomes and outcomes[-1].review == "failed":
        at, by = outcomes[-1].recorded_at, outcomes[-1].recorded_by
        return Headline(f"Failed: its last review, {at} by {by}", Tone.BAD, reason=reason)
    if review is not None and review.days < 0:
        return Headline(f"Review {review.text}", Tone.BAD, reason=reason)
    if missing:
        return Headline(f"Incomplete: {len(missing)} of {len(facts)} facts are not stated", Tone.WAIT, reason=reason)
    return Headline(f"Complete: all {len(facts)} facts are stated", Tone.PLAIN)


def _section(section: CardSection) -> Section:
    rows = tuple((name, value) for name, value in section.facts if isinstance(value, str))
    lists = [(name, value) for name, value in section.facts if not isinstance(value, str)]
    listed = (Note(f"{name}:", value) for name, value in lists)
    return Section(section.title, (DataTable(section.answers, ("What", "Fact"), rows), *listed))
