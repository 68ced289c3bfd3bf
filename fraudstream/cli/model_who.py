"""`fraudstream model who --at TIME`: who was live then, for which cards, since which payments, by whom and why."""

import asyncio
import shutil
from collections.abc import Iterator
from typing import Any

import click

from fraudstream.cli.model_history import (
    Names,
    author_facts,
    canary_facts,
    label,
    model_facts,
    names_of,
    sender,
    split_facts,
    warn_unknown_commands,
    wrapped,
)
from fraudstream.cli.output import refuse, say
from fraudstream.cli.progress import bars
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_for_arms_or_refuse
from fraudstream.ops.rollout.lineup.who import FirstDecision, Reign, WhoAt, who_at
from guards.shares import share_text
from models.arms import Split
from models.times import format_time
from stream.clock import now_ms

_HUNDREDTHS = 100


def print_who(time_ms: int, *, as_json: bool) -> None:
    """Print who was live at a time; exit with 1 if nobody was, or if `scores` contradict it."""
    settings = settings_for_arms_or_refuse()
    if time_ms > now_ms():
        raise click.UsageError(f"--at: {format_time(time_ms)} is not in the past, so nobody knows who will be live")
    with Refusals(settings), bars() as bar:
        found = asyncio.run(
            who_at(settings, time_ms, lambda stage, share: bar(stage, round(share * _HUNDREDTHS), _HUNDREDTHS))
        )
    warn_unknown_commands(found.history)
    if found.reign is None:
        refuse(f"no model of deployment {settings.deployment} was live at {format_time(time_ms)}")
    names = names_of(settings, [found.reign.entry])
    columns = shutil.get_terminal_size().columns
    lines = [f"{format_time(time_ms)}  revision {_revisions(found.reign)}", *_lines(found, found.reign, names)]
    text = "\n".join([lines[0], *(wrapped(line, columns) for line in lines[1:])])
    say(as_json, facts(found, found.reign, names) | {"at": format_time(time_ms)}, text)
    if any(one.disagrees for one in found.partitions.values()):
        raise SystemExit(1)


def facts(found: WhoAt, reign: Reign, names: Names) -> dict[str, Any]:
    """Return the answer for JSON."""
    return {
        "revision": reign.first,
        "until_revision": reign.until,
        "since": reign.entry.event.at,
        "command_id": reign.entry.event.command_id,
        "live": model_facts(reign.live, names),
        "canary": canary_facts(reign.canary, names),
        "split": split_facts(reign.split, names),
        **author_facts(reign.entry),
        "partitions": {str(partition): one._asdict() for partition, one in found.partitions.items()},
    }


def _revisions(reign: Reign) -> str:
    if reign.until is None:
        return f"{reign.first} and later"
    last = reign.until - 1
    return str(reign.first) if last == reign.first else f"{reign.first} to {last}"


def _lines(found: WhoAt, reign: Reign, names: Names) -> Iterator[str]:
    canary, split = reign.canary, reign.split
    others = "all cards" if canary is None and split is None else "all other cards"
    yield f"live: {label(reign.live, names)} for {others}"
    if canary is not None:
        yield f"canary: {label(canary.model, names)} for {share_text(canary.share_bp)} of the cards, salt {canary.salt}"
    if split is not None:
        yield from _arm_lines(split, names)
    yield f"since {reign.entry.event.at}, command {reign.entry.event.command_id}"
    yield sender(reign.entry)
    for partition, one in found.partitions.items():
        yield f"partition {partition}: {_first(one)}"
    if not found.partitions:
        yield "no payment was decided by it yet"


def _arm_lines(split: Split, names: Names) -> Iterator[str]:
    for arm in split.arms:
        share = share_text(arm.share_bp)
        yield f"arm {arm.name}: {label(arm.model, names)} for {share} of the cards, salt {split.salt}"
    if split.exclude:
        yield f"excluded: {len(split.exclude):,} cards, which are always the live model's"


def _first(one: FirstDecision) -> str:
    if one.disagrees is not None:
        return f"scores disagree: {one.disagrees}"
    if one.decided is None:
        return f"from offset {one.cutover} on by its cutover event; scores have no decision of it (any more)"
    if one.earlier_deleted:
        return f"at offset {one.decided} it decided; the scores before are deleted, so its first payment is not known"
    said = "scores and cutover event agree" if one.cutover is not None else "by scores, its cutover event is missing"
    return f"from offset {one.decided} on; {said}"
