"""What `fraudstream model prune` does: plans from what the broker names, prints the reasons, and deletes if asked to.

What is deleted was planned twice: the control topics are read again before the first deletion, and their last records
before every few of them, for commands that come meanwhile.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from aiokafka.errors import KafkaError
from rich.table import Table

from fraudstream.cli.output import refuse, say
from fraudstream.cli.progress import ReadingProgress
from fraudstream.cli.refusals import Refusals, refuse_error
from fraudstream.cli.repository import existing_repository_or_refuse
from fraudstream.cli.settings import refused_settings, settings_or_refuse
from fraudstream.console import terminal
from fraudstream.ops.rollout.lineup.named_models import NamedModels, NamingScope, read_latest_names, read_named_models
from fraudstream.terminal import echo
from models.artifact import read_manifest
from models.card import card_folder
from models.commands import SHORT_DIGEST
from models.errors import DamagedArtifactError, MissingArtifactError
from models.model_signatures import signature_folder
from models.overview import stored_manifests
from models.repository import Repository, StoredManifest
from models.retention import Mentions, PrunePlan, plan_prune
from models.times import format_time
from stream.clock import now_ms
from stream.control.snapshot_store import all_snapshots
from stream.errors import ControlLogError
from stream.printing import printable
from stream.settings import Settings

_DAY_MS = 86_400_000
_MOST_REASONS = 3
"""Reasons that the table has for a model; --json has all."""
_NOT_DELETED = "nothing is deleted"
_BATCH = 10
"""Models that are deleted between two looks at the last commands: a look takes seconds, a deletion much less."""
_SKEW_MS = _DAY_MS
"""How far the clocks of whoever writes to the control topics may be behind ours."""


@dataclass(frozen=True, slots=True)
class Pruning:
    """A plan, what it was made from, and the models that were deleted by it."""

    plan: PrunePlan
    stored: Mapping[str, StoredManifest | None]
    named: NamedModels
    deleted: tuple[str, ...] = ()


class _Terms(NamedTuple):
    """What is read, since when models are kept, and since when a second read misses commands."""

    scope: NamingScope
    keep_since_ms: int
    began_ms: int


def prune_models(keep_days: int, scope: NamingScope, *, applied: bool, as_json: bool) -> None:
    """Print the plan, and carry it out with `applied`; exit with 1 if not everything that names models can be read."""
    settings = settings_or_refuse()
    repository = existing_repository_or_refuse(settings)
    began_ms = now_ms()
    keep_since_ms = began_ms - keep_days * _DAY_MS
    with Refusals(settings):
        try:
            pruning = _planned(settings, repository, keep_since_ms, scope)
            if applied:
                terms = _Terms(scope._replace(decisions=False), keep_since_ms, began_ms)
                again = _planned(settings, repository, keep_since_ms, terms.scope)
                wanted = [digest for digest in again.plan.deleted if digest in pruning.plan.deleted]
                pruning = replace(pruning, deleted=_carried_out((settings, repository), again, wanted, terms))
        except ControlLogError as error:
            refuse(f"{error}; {_NOT_DELETED}")
        except (KafkaError, OSError) as error:
            refuse_error(error, settings, f"{_NOT_DELETED}, since the history is unknown: ")
    facts = {"repository": repository.place, "keep_days": keep_days, "applied": applied, **pruning_facts(pruning)}
    say(as_json, facts, "") if as_json else _print(pruning, repository, applied=applied)


def _planned(settings: Settings, repository: Repository, keep_since_ms: int, scope: NamingScope) -> Pruning:
    stored = stored_manifests(repository, repository.digests())
    named = _named(settings, repository, scope)
    return Pruning(plan_prune(stored, named.mentions, keep_since_ms), stored, named)


def _named(settings: Settings, repository: Repository, scope: NamingScope) -> NamedModels:
    named = asyncio.run(read_named_models(settings, ReadingProgress().show, scope))
    add_snapshots(named.mentions, settings, repository)
    return named


def add_snapshots(mentions: Mentions, settings: Settings, repository: Repository) -> None:
    """Note what the snapshots of the control log name, those of other estates that share the repository included.

    Raises:
        RepositoryUnavailableError: one cannot be read.
    """
    with refused_settings():
        for path, text in all_snapshots(settings, repository):
            mentions.add_control(text, f"snapshot {path}")


def _carried_out(
    places: tuple[Settings, Repository], again: Pruning, wanted: Sequence[str], terms: _Terms
) -> tuple[str, ...]:
    """Delete some models, each unless the last commands before its batch name it, and return those that are gone.

    Exits with 1 if commands cannot be read any more after some models were deleted.
    """
    settings, repository = places
    deleted = list[str]()
    for at in range(0, len(wanted), _BATCH):
        try:
            unnamed = _still_unnamed(settings, again, terms)
        except (ControlLogError, KafkaError, OSError) as error:
            if not deleted:
                raise
            refuse(
                f"{error}; {len(deleted)} of {len(wanted)} models were deleted before, and no other is: run it again"
            )
        batch = [digest for digest in wanted[at : at + _BATCH] if digest in unnamed]
        deleted += [digest for digest in batch if delete_model(repository, digest, terms.keep_since_ms)]
    return tuple(deleted)


def _still_unnamed(settings: Settings, again: Pruning, terms: _Terms) -> frozenset[str]:
    """Return the models that neither the second look nor the last commands name, themselves or by a descendant."""
    latest = asyncio.run(read_latest_names(settings, terms.scope, terms.began_ms - _SKEW_MS))
    again.named.mentions.update(latest)
    return frozenset(plan_prune(again.stored, again.named.mentions, terms.keep_since_ms).deleted)


def delete_model(repository: Repository, digest: str, keep_since_ms: int) -> bool:
    """Delete an artifact and the files beside it; False if it was stored again, or deleted, by another meanwhile.

    Of one that is stored again right after its deletion, the files beside it stay: they may be those of the new one.

    Raises:
        RepositoryUnavailableError: it cannot be deleted.
    """
    try:
        if not repository.delete(digest, keep_since_ms):
            return False
    except MissingArtifactError:
        return False
    for folder in (signature_folder(digest), card_folder(digest)):
        if repository.names(digest):
            break
        repository.remove_folder(folder)
    return True


def pruning_facts(pruning: Pruning) -> dict[str, Any]:
    """Return a prune as one object."""
    plan = pruning.plan
    return {
        "read": dict(pruning.named.records),
        "kept": [_facts(pruning, digest) | {"reasons": list(reasons)} for digest, reasons in plan.kept.items()],
        "unnamed": [_facts(pruning, digest) for digest in plan.deleted],
        "deleted": list(pruning.deleted),
    }


def _facts(pruning: Pruning, digest: str) -> dict[str, Any]:
    stored = pruning.stored[digest]
    name, version = _name(stored)
    stored_ms = None if stored is None else stored.stored_ms
    stored_at = None if stored_ms is None else format_time(stored_ms)
    return {"digest": digest, "name": name, "version": version, "stored_at": stored_at}


def _name(stored: StoredManifest | None) -> tuple[str | None, str | None]:
    try:
        manifest = None if stored is None else read_manifest(stored.value)
    except DamagedArtifactError:
        manifest = None
    return (None, None) if manifest is None else (manifest.name, manifest.version)


def _print(pruning: Pruning, repository: Repository, *, applied: bool) -> None:
    # a name may look like markup, or like an emoji's
    console = terminal()
    console.width = max(console.width, 100)
    if pruning.stored:
        console.print(prune_table(pruning))
    read = ", ".join(f"{count:,} records of {topic}" for topic, count in pruning.named.records.items())
    echo(f"\nread: {read}")
    echo(_summary(pruning, repository, applied=applied))


def prune_table(pruning: Pruning) -> Table:
    """Lay out all models, those that nothing names first, with the reasons for which each of the others is kept."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("name", "version", "digest", "stored"):
        table.add_column(column, no_wrap=True)
    table.add_column("kept because", overflow="fold")
    reasons = dict.fromkeys(pruning.plan.deleted, ("not kept: nothing names it",)) | dict(pruning.plan.kept)
    for digest, why in reasons.items():
        facts = _facts(pruning, digest)
        named = (printable(facts["name"] or "?"), printable(facts["version"] or "?"), digest[:SHORT_DIGEST])
        table.add_row(*named, (facts["stored_at"] or "")[:10], printable(_text(why)), style=_style(digest, pruning))
    return table


def _text(reasons: tuple[str, ...]) -> str:
    more = f", and {len(reasons) - _MOST_REASONS} more" if len(reasons) > _MOST_REASONS else ""
    return f"{', '.join(reasons[:_MOST_REASONS])}{more}"


def _style(digest: str, pruning: Pruning) -> str:
    return "" if digest in pruning.plan.kept else "bold"


def _summary(pruning: Pruning, repository: Repository, *, applied: bool) -> str:
    kept, unnamed = len(pruning.plan.kept), len(pruning.plan.deleted)
    if not unnamed:
        return f"every one of the {kept} models in {repository.place} is kept"
    if not applied:
        return f"dry run: {unnamed} of {kept + unnamed} models would be deleted; --apply deletes them"
    late = unnamed - len(pruning.deleted)
    stays = f"; {late} left out, since named, stored again or deleted meanwhile" if late else ""
    return f"deleted {len(pruning.deleted)} of {kept + unnamed} models in {repository.place}{stays}"
