"""The page of `fraudstream model show`: what a model is, what it was trained on, and what became of it."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from aiokafka.errors import KafkaError
from rich.table import Table

from features.errors import DeclarationError
from features.vector.sets import load_sets
from fraudstream.cli.model_beside import (
    ModelSurroundings,
    code_lines,
    surroundings,
    surroundings_facts,
    surroundings_lines,
)
from fraudstream.cli.model_grounds import ground_facts, ground_lines
from fraudstream.cli.model_history import Names, facts, names_of, text, warn_unknown_commands
from fraudstream.cli.model_roles import UNKNOWN, Roles, explained, roles_of, warn
from fraudstream.cli.output import refuse, say
from fraudstream.cli.policy_text import policy_lines
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.repository import existing_repository_or_refuse
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.console import terminal
from fraudstream.lab.training.policy_facts import PolicyFacts
from fraudstream.terminal import echo
from models.artifact import MANIFEST, DistilledFrom, Manifest, TrainingData, configuration_fingerprint, read_manifest
from models.card import review_record
from models.model_record import ModelRecord
from models.problems import Problem
from models.record_rules import Ground, StatedFacts, grounds_of
from models.times import format_time
from stream.clock import now_ms
from stream.control.client import read_history
from stream.control.history import HistoryEntry
from stream.errors import ControlLogError
from stream.printing import printable
from stream.settings import PREFIX, Settings

_MOST_NAMES = 6
"""Features that are named on the page; --json has them all."""


@dataclass(frozen=True, slots=True)
class ModelPage:
    """A verified model, its role and the verdicts about it, oldest first; `manifest_bytes` are as they are stored.

    `computed` tells whether the feature set of the settings is the model's; None where it cannot be loaded. `beside`
    is what else the repository has about it. `on_record` is what speaks against it.
    """

    digest: str
    manifest: Manifest
    manifest_bytes: bytes
    size: int
    stored_ms: int | None
    place: str
    roles: Roles
    entries: tuple[HistoryEntry, ...]
    computed: bool | None
    beside: ModelSurroundings
    on_record: tuple[Ground, ...] = ()


def show_model(name: str, *, as_json: bool) -> None:
    """Print a model; exit with 1 if the repository has no such model, or not as its digest says."""
    settings = settings_or_refuse()
    page = _page(settings, name)
    names = names_of(settings, page.entries)
    if as_json:
        say(as_json, page_facts(page, names), "")
    else:
        _print(page, names)


def _page(settings: Settings, name: str) -> ModelPage:
    repository = existing_repository_or_refuse(settings)
    with Refusals():
        digest = repository.resolve(name)
        if isinstance(digest, Problem):
            refuse(f"{digest.detail}; `fraudstream model list` lists the models")
        contents = repository.fetch(digest)
        manifest, stored_ms = read_manifest(contents[MANIFEST]), repository.manifest(digest).stored_ms
        beside = surroundings(settings, repository, digest)
        stated = StatedFacts(digest, manifest.weaknesses, review_record(repository, digest))
    roles, entries, record = _past(settings, digest)
    return ModelPage(
        digest,
        manifest,
        contents[MANIFEST],
        sum(map(len, contents.values())),
        stored_ms,
        repository.place,
        roles,
        entries,
        _computed(settings, manifest),
        beside,
        tuple(grounds_of(stated, record, now_ms())),
    )


def _past(settings: Settings, digest: str) -> tuple[Roles, tuple[HistoryEntry, ...], ModelRecord]:
    """Return the present roles, the verdicts about a model, and the record; none is known without the control log."""
    try:
        found = asyncio.run(read_history(settings))
    except (ControlLogError, KafkaError, OSError) as error:
        warn(f"the model's role and its verdicts are unknown: {explained(settings, error)}")
        return UNKNOWN, (), ModelRecord()
    warn_unknown_commands(found)
    entries = tuple(entry for entry in found.entries if entry.concerns(digest))
    return roles_of(found.lineup), entries, found.record


def _computed(settings: Settings, manifest: Manifest) -> bool | None:
    try:
        return manifest.fingerprint in load_sets(settings.features).by_fingerprint
    except DeclarationError as error:
        warn(f"whether the model's features are computed here is unknown: {error}")
        return None


def page_facts(page: ModelPage, names: Names) -> dict[str, Any]:
    """Return all that the manifest holds, and what is known of the model besides."""
    manifest: dict[str, Any] = msgspec.json.decode(page.manifest_bytes)
    return manifest | {
        "digest": page.digest,
        "role": page.roles.by_digest.get(page.digest),
        "arms": page.roles.arms(page.digest),
        "roles_known": page.roles.revision is not None,
        "stored_at": None if page.stored_ms is None else format_time(page.stored_ms),
        "bytes": page.size,
        "computed_here": page.computed,
        **surroundings_facts(page.beside),
        **({"on_record": ground_facts(page.on_record)} if page.on_record else {}),
        "history": [facts(entry, names) for entry in page.entries],
    }


def _print(page: ModelPage, names: Names) -> None:
    # a name may look like markup, or like an emoji's
    console = terminal()
    manifest = page.manifest
    console.print(f"{manifest.name} {manifest.version}", style="bold")
    console.print(_pairs(_lines(page)))
    measured_on = "training file" if manifest.imported is None else "vectors that it was imported with"
    of_whom = "" if manifest.measured is None else ", by the model that was made when it began"
    console.print(f"\nmeasured on the end of the {measured_on}{of_whom}", style="bold")
    console.print(_pairs((name, f"{value:.4f}") for name, value in manifest.metrics.items()))
    if page.entries:
        console.print("\nverdicts", style="bold")
        for entry in page.entries:
            echo(text(entry, names, console.width))


def _pairs(lines: Iterable[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in lines:
        table.add_row(printable(name), printable(value))
    return table


def _lines(page: ModelPage) -> Iterator[tuple[str, str]]:
    """Yield what is known of the model, each with its name; values that would be empty are left out."""
    manifest = page.manifest
    stored = "" if page.stored_ms is None else f"{format_time(page.stored_ms)} "
    yield "digest", page.digest
    yield "role", _role(page)
    yield from ground_lines(page.on_record)
    yield "stored", f"{stored}in {page.place}, {page.size:,} bytes"
    if manifest.training is not None:
        yield from _data_set_lines("trained on", manifest.training)
        if (days := manifest.training.maturity_days) is not None:
            yield "labels", f"a payment without one counts as genuine when it is {days:g} days old"
    if manifest.measured is not None:
        before, test = manifest.measured.training, manifest.measured.test
        yield "measured", f"on {test.since} to {test.until}, by a model of {before.since} to {before.until}"
    if manifest.imported is not None:
        yield "imported", f"trained elsewhere, until {manifest.imported.trained_until or 'an unknown time'}"
        yield "model file", manifest.imported.model_file
        yield from _data_set_lines("calibrated on", manifest.imported.calibrated_on)
    yield "features", _features(page)
    yield "fingerprint", f"{manifest.fingerprint}, {_COMPUTED[page.computed]}"
    yield from policy_lines(PolicyFacts.of(manifest))
    yield "parameters", ", ".join(f"{name} {value}" for name, value in sorted(manifest.parameters.items()))
    yield "seed", str(manifest.seed)
    yield "configured", configuration_fingerprint(manifest.parameters, manifest.seed)
    yield from code_lines(manifest)
    if manifest.distilled is not None:
        yield from _teachers(manifest.distilled)
    yield from surroundings_lines(page.beside)


def _teachers(distilled: DistilledFrom) -> Iterator[tuple[str, str]]:
    """Yield the lines about what a student learned from."""
    for one in distilled.ensemble:
        yield "distilled from", f"{one.digest}, weight {one.weight:.3g}"
    if distilled.scores_file is not None:
        stated = distilled.scores_file
        yield "distilled from", f"scores of the file {stated.digest}, of a model trained until {stated.trained_until}"


def _data_set_lines(name: str, span: TrainingData) -> Iterator[tuple[str, str]]:
    """Yield the lines about the transactions that a model was fitted to."""
    yield name, f"{span.since} to {span.until}"
    yield (
        "",
        f"{span.rows:,} transactions, {span.frauds:,} frauds ({span.frauds / max(span.rows, 1):.2%})",
    )
    yield "data digest", span.fingerprint


def _role(page: ModelPage) -> str:
    if page.roles.revision is None:
        return "unknown"
    return f"{page.roles.text(page.digest) or 'none'}, at revision {page.roles.revision}"


_COMPUTED = {
    True: "computed here",
    False: f"not computed here: {PREFIX}FEATURES names another feature set",
    None: "unknown whether computed here",
}


def _features(page: ModelPage) -> str:
    names = page.manifest.feature_names
    more = f", and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    imported = page.manifest.imported
    how = ", by position" if imported is not None and imported.features_by_position else ""
    return f"{len(names)}: {', '.join(names[:_MOST_NAMES])}{more}{how}"
