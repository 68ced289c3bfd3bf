"""`fraudstream model history`: each verdict, what it changed, who sent the command, and why."""

import asyncio
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import msgspec

from fraudstream.cli.commands import verdict_line
from fraudstream.cli.model_roles import warn
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.ops.rollout.deployments.evidence import in_words
from fraudstream.ops.rollout.verdict.words import verdict_in_words
from fraudstream.terminal import echo, echo_json
from guards.report import explain
from guards.shares import share_text
from models.arms import Canary, Split
from models.commands import SHORT_DIGEST, Command, CommandKind, Event, EventKind
from models.deadline import in_thread
from models.errors import ModelError
from models.overview import ModelOverview, overviews
from models.problems import ProblemCode
from models.promotion_rules import VERDICT
from models.repository import Repository
from models.rollouts import Rollout
from models.times import format_time
from stream.control.client import read_history
from stream.control.history import History, HistoryEntry, ModelRoles
from stream.control.limits_text import limits_text
from stream.printing import printable
from stream.redaction import redact_text
from stream.settings import Settings

_NAMES_SECONDS = 5.0
"""How long names are read from the repository; a history without them has the digests."""
_INDENT = "  "
_DOUBTS = {
    ProblemCode.UNSIGNED: "unsigned",
    ProblemCode.UNKNOWN_KEY: "signed with an unknown key",
    ProblemCode.WRONG_SIGNATURE: "wrongly signed",
}
"""What is said of the person in whose name a command was sent, where the judge found that nobody proved it."""

Names = Mapping[str, ModelOverview]
"""What the repository says of the models, by digest."""


def print_history(*, as_json: bool) -> None:
    """Print all verdicts, oldest first; exit with 1 if they cannot be read."""
    settings = settings_or_refuse()
    with Refusals(settings):
        found = asyncio.run(read_history(settings))
    warn_unknown_commands(found)
    names = names_of(settings, found.entries)
    columns = shutil.get_terminal_size().columns
    for entry, begins in zip(found.entries, begun_rollouts(found.entries), strict=True):
        if as_json:
            echo_json(msgspec.json.encode(facts(entry, names)))
            continue
        if begins is not None:
            echo(f"rollout of {label(begins.model, names)} by the ladder {begins.ladder}")
        margin = _INDENT * 2 if entry.rollout else ""
        echo(textwrap.indent(text(entry, names, columns - len(margin)), margin))
    if not found.entries and not as_json:
        echo(f"no command to deployment {settings.deployment} has a verdict yet")


def begun_rollouts(entries: Iterable[HistoryEntry]) -> Iterator[Rollout | None]:
    """Yield for each entry the rollout whose first entry it is; None for others."""
    last: str | None = None
    for entry in entries:
        rollout = entry.rollout
        yield rollout if rollout is not None and rollout.command_id != last else None
        last = last if rollout is None else rollout.command_id


def warn_unknown_commands(found: History) -> None:
    """Say on standard error if the commands behind the verdicts could not be read."""
    if found.unknown is not None:
        warn(f"who sent the commands, and why, is unknown: {found.unknown}")


def names_of(settings: Settings, entries: Iterable[HistoryEntry]) -> Names:
    """Return the models that entries name, as far as the repository says in time what they are."""
    return names_of_models(settings, {digest for entry in entries for digest in entry.digests})


def names_of_models(settings: Settings, digests: set[str]) -> Names:
    """Return what the repository says in time of some models."""
    if not digests:
        return {}
    try:
        return in_thread(partial(_read_names, settings, digests)).result(_NAMES_SECONDS)
    except TimeoutError:
        warn(f"the models' names are unknown: the repository did not answer within {_NAMES_SECONDS:g} s")
    except ModelError as error:
        warn(f"the models' names are unknown: {error}")
    return {}


def _read_names(settings: Settings, digests: set[str]) -> Names:
    repository = Repository(settings.models)
    return overviews(repository, digests.intersection(repository.digests()))


def facts(entry: HistoryEntry, names: Names) -> dict[str, Any]:
    """Return the event with who and why, and with the models in use before and after it."""
    command = entry.command
    event: dict[str, Any] = msgspec.to_builtins(entry.event)
    return {
        **event,
        **author_facts(entry),
        "force": command and command.force,
        **({"despite": list(despite)} if (despite := _despite(entry)) else {}),
        "issued_at": command and command.issued_at,
        "void": entry.void,
        "rollout": entry.rollout and entry.rollout.command_id,
        "before": _roles_facts(entry.before, names),
        "after": _roles_facts(entry.after, names),
    }


def _roles_facts(roles: ModelRoles, names: Names) -> dict[str, Any]:
    return {
        "live": model_facts(roles.live, names),
        "challenger": model_facts(roles.challenger, names),
        "canary": canary_facts(roles.canary, names),
        "split": split_facts(roles.split, names),
        "limits": None if roles.limits is None else msgspec.to_builtins(roles.limits),
        "quarantined": [model_facts(digest, names) for digest in sorted(roles.quarantined)],
    }


def canary_facts(canary: Canary | None, names: Names) -> dict[str, Any] | None:
    """Return a canary's model, share and salt for JSON; None for no canary."""
    if canary is None:
        return None
    return {**(model_facts(canary.model, names) or {}), "share_bp": canary.share_bp, "salt": canary.salt}


def split_facts(split: Split | None, names: Names) -> dict[str, Any] | None:
    """Return the arms of a split by name, its salt and the number of excluded cards for JSON; None for no split."""
    if split is None:
        return None
    arms = {arm.name: {**(model_facts(arm.model, names) or {}), "share_bp": arm.share_bp} for arm in split.arms}
    return {"arms": arms, "salt": split.salt, "excluded_cards": len(split.exclude)}


def author_facts(entry: HistoryEntry) -> dict[str, str | None]:
    """Return who sent the command behind a verdict and why, for JSON, without card numbers.

    Whom a command names that was refused for its signature is `claimed`, and no `actor`.
    """
    actor, reason = _author(entry)
    said = None if actor is None else redact_text(actor)
    claim = {} if _doubt(entry) is None else {"claimed": said}
    return {
        "actor": None if claim else said,
        **claim,
        "reason": None if reason is None else redact_text(reason),
    }


def model_facts(digest: str | None, names: Names) -> dict[str, Any] | None:
    """Return a model's digest, name and version for JSON; None for no model."""
    if digest is None:
        return None
    manifest = names[digest].manifest if digest in names else None
    return {"digest": digest, "name": manifest and manifest.name, "version": manifest and manifest.version}


def text(entry: HistoryEntry, names: Names, columns: int) -> str:
    """Return an entry for people: the verdict in one line, and below it what changed, who, and why."""
    below = [
        *_changes(entry, names),
        *_grounds(entry),
        *(f"{one.code}: {one.detail}" for one in entry.event.problems),
        sender(entry),
    ]
    return "\n".join([verdict_line(entry.event), *(wrapped(line, columns) for line in below)])


def wrapped(line: str, columns: int) -> str:
    """Return a line below a verdict, without card numbers, in lines of a terminal's width."""
    return textwrap.fill(
        printable(redact_text(line)),
        max(columns, 40),
        initial_indent=_INDENT,
        subsequent_indent=_INDENT * 2,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _changes(entry: HistoryEntry, names: Names) -> Iterator[str]:
    before, after = entry.before, entry.after
    if entry.void:
        yield "void: it changed nothing, another verdict came first"
    if before.live != after.live:
        yield f"live: {label(before.live, names)} -> {label(after.live, names)}"
    yield from _arm_changes(entry, names)
    if before.challenger != after.challenger:
        yield f"shadow: {label(before.challenger, names)} -> {label(after.challenger, names)}{_until(entry)}"
    if before.limits != after.limits:
        yield f"limits: {limits_text(before.limits)} -> {limits_text(after.limits)}"
    for digest in sorted(after.quarantined - before.quarantined):
        yield f"quarantined: {label(digest, names)}"
    for digest in sorted(before.quarantined - after.quarantined):
        yield f"no longer quarantined: {label(digest, names)}"


def _canary(canary: Canary | None, names: Names) -> str:
    return "none" if canary is None else f"{label(canary.model, names)} at {share_text(canary.share_bp)}"


def _arm_changes(entry: HistoryEntry, names: Names) -> Iterator[str]:
    before, after = entry.before, entry.after
    if before.canary != after.canary:
        yield f"canary: {_canary(before.canary, names)} -> {_canary(after.canary, names)}"
    if before.split != after.split:
        won = "" if entry.event.winner is None else f", won by {entry.event.winner}"
        yield f"split: {_split(before.split, names)} -> {_split(after.split, names)}{won}"


def _split(split: Split | None, names: Names) -> str:
    if split is None:
        return "none"
    excluded = f", {len(split.exclude):,} cards excluded" if split.exclude else ""
    return (
        ", ".join(f"{arm.name} {label(arm.model, names)} at {share_text(arm.share_bp)}" for arm in split.arms)
        + excluded
    )


def _grounds(entry: HistoryEntry) -> Iterator[str]:
    """Say in words on what evidence of guards, of a verdict or of the gates of a hand-over, a command was sent."""
    if entry.event.kind is EventKind.RESTORING:
        return
    said = entry.event.evidence or (entry.command.evidence if entry.command is not None else None)
    if said is None:
        return
    try:
        yield from _words_of(entry, said)
    except (KeyError, TypeError, ValueError, AttributeError):  # anybody may send evidence of any form
        yield f"on the ground of {msgspec.json.encode(said).decode()}"


def _words_of(entry: HistoryEntry, said: Mapping[str, Any]) -> Iterator[str]:
    if entry.event.command is CommandKind.CUT_OVER:
        yield from in_words(said)
    else:
        yield from verdict_in_words(said) if VERDICT in said else explain(said)


def label(digest: str | None, names: Names) -> str:
    """Return a model's name, version and short digest, as far as they are known."""
    if digest is None:
        return "none"
    return names[digest].label if digest in names else digest[:SHORT_DIGEST]


def _until(entry: HistoryEntry) -> str:
    if entry.after.challenger is None or entry.watched_until_ms is None:
        return ""
    return f" until {format_time(entry.watched_until_ms)}"


def sender(entry: HistoryEntry) -> str:
    """Say who sent the command behind a verdict, and why; of a restore, who wrote how much back."""
    actor, reason = _author(entry)
    if entry.event.kind is EventKind.RESTORING:
        unproved = len((entry.event.evidence or {}).get("unproved", ()))
        doubtful = f", {unproved} of them not proved by their commands" if unproved else ""
        return f"by {actor}, {entry.event.records or 'some'} events{doubtful}: {reason or 'no reason given'}"
    if actor is None:
        return "by: unknown, the command could not be read"
    if (doubt := _doubt(entry)) is not None:
        return f"claimed: {actor}, {doubt}: {reason or 'no reason given'}"
    forced = " (forced)" if entry.command is not None and entry.command.force else ""
    second = "" if entry.event.countersigned_by is None else f", countersigned by {entry.event.countersigned_by}"
    despite = f" despite {', '.join(_despite(entry))}" if _despite(entry) else ""
    return f"by {actor}{second}{forced}{despite}: {reason or 'no reason given'}"


def _doubt(entry: HistoryEntry) -> str | None:
    """Say why nobody knows who sent a command that was refused; None if its signature was not the reason."""
    codes = {problem.code for problem in entry.event.problems}
    return next((text for code, text in _DOUBTS.items() if code in codes), None)


def _despite(entry: HistoryEntry) -> tuple[str, ...]:
    """Return what of the record the command accepted, by its acceptance or, where it was refused, by itself."""
    return entry.event.despite or (() if entry.command is None else entry.command.despite)


def _author(entry: HistoryEntry) -> tuple[str | None, str | None]:
    """Return who sent the command and why; an acceptance says it too, where the command cannot be read any more."""
    said: Command | Event = entry.event if entry.command is None else entry.command
    return said.actor, said.reason
