"""`fraudstream dead-letters`: what the workers refused, sending it again, and passing over what they cannot read."""

import asyncio
import shutil
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

import click
import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from fraudstream.cli.commands import reason_option, send_partition_command, wait_option
from fraudstream.cli.lazy import CommandGroup
from fraudstream.cli.letter_text import listed, shown
from fraudstream.cli.output import json_option, refuse, say
from fraudstream.cli.progress import bars
from fraudstream.cli.refusals import Refusals, refuse_error
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.ops.repair.kept_letters import KeptLetter, Redrive
from fraudstream.ops.repair.redrive import Choice, find_letters, original_of, plan_redrive, send_again
from fraudstream.terminal import echo, echo_json
from models.commands import CommandKind
from models.errors import InvalidTimeError
from models.times import parse_time_ms
from stream.contract.codes import DeadLetterCode
from stream.control.client import PartitionArguments
from stream.printing import printable
from stream.recovery.replayed_input import ReplayedInput, read_input_from_outside
from stream.redaction import redact_thoroughly
from stream.scan import Record, unreadable_at
from stream.settings import Settings

Result = TypeVar("Result")
_code_option = click.option(
    "--code", "codes", type=click.Choice([code.value for code in DeadLetterCode]), multiple=True, help="Repeatable."
)

_CHECK_SECONDS = 10.0


@click.group("dead-letters", cls=CommandGroup)
def dead_letters() -> None:
    """List refused records, send them again, and pass over those that no worker can read."""


@dead_letters.command("list")
@_code_option
@click.option("--topic", help="The topic of the originals, as Kafka names it.")
@click.option("--since", metavar="TIME", help="Refused from then on, RFC 3339 with a zone.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="The newest ones.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each, a line each.")
def list_letters(codes: tuple[str, ...], topic: str | None, since: str | None, limit: int, *, as_json: bool) -> None:
    """List dead letters, the newest last."""
    settings = settings_or_refuse()
    letters = _found(settings, Choice(codes, topic, _since_ms(since)))[-limit:]
    if as_json:
        for letter in letters:
            echo_json(msgspec.json.encode(letter.facts()))
        return
    columns = shutil.get_terminal_size().columns
    for letter in letters:
        echo(listed(letter, columns))


@dead_letters.command("show")
@click.argument("name", metavar="TRANSACTION_ID|TOPIC:PARTITION:OFFSET")
@json_option
def show(name: str, *, as_json: bool) -> None:
    """Show a dead letter: of a transaction, or of the record at a place.

    What it does not keep is read at its place, and shown without card numbers.
    """
    settings = settings_or_refuse()
    found = _found(settings, Choice(names=(name,)))
    if not found:
        refuse(f"there is no dead letter of {name}")
    letter = found[-1]
    record: Record | None = letter.record if letter.has_value else _run(settings, original_of(settings, letter))
    text = b"" if record is None else redact_thoroughly(record.value or b"")
    value = text.decode("utf-8", "backslashreplace")
    headers = {one: (text or b"").decode("utf-8", "backslashreplace") for one, text in letter.record.headers}
    redacted = letter.redacted or text is not (b"" if record is None else record.value or b"")
    facts = letter.facts() | {"redacted": redacted, "truncated": letter.truncated}
    if not letter.has_value:
        facts["original"] = "gone" if record is None else "read at its place"
    say(as_json, facts | {"headers": headers, "value": value}, shown(facts, headers, value))


@dead_letters.command("redrive")
@_code_option
@click.option("--id", "names", metavar="ID", multiple=True, help="A transaction or TOPIC:PARTITION:OFFSET; repeatable.")
@click.option("--all", "everything", is_flag=True, help="All dead letters.")
@click.option("--yes", is_flag=True, help="Send; without it, only what would be sent is printed.")
@click.option("--again", is_flag=True, help="Send also what was sent again before.")
@json_option
def redrive(
    *,
    codes: tuple[str, ...],
    names: tuple[str, ...],
    everything: bool,
    yes: bool,
    again: bool,
    as_json: bool,
) -> None:
    """Send the originals of dead letters again: as they were, to their own partition, with their own time.

    Originals that are gone, or that hold a card number, are refused by name, and the command then ends with 1.
    """
    if sum(map(bool, (codes, names, everything))) != 1:
        raise click.UsageError("give one of --code, --id and --all")
    settings = settings_or_refuse()
    letters = _found(settings, Choice(codes=codes, names=names))
    missing = [name for name in names if not any(letter.named((name,)) for letter in letters)]
    with bars() as progress:
        replayed = _run(settings, read_input_from_outside(settings))
        plan = _run(settings, plan_redrive(settings, letters, partial(_why_void, replayed), progress, again=again))
        if yes:
            plan = _run(settings, send_again(settings, plan, progress))
    _report(plan, missing, yes=yes, as_json=as_json)
    if plan.refused or missing:
        raise SystemExit(1)


def _why_void(replayed: ReplayedInput, letter: KeptLetter) -> str:
    """Return why a letter is no verdict on its original, which was judged otherwise; empty if it is one."""
    topic, partition, offset = letter.source
    if letter.log != replayed.log(topic):
        return f"it is of log {letter.log} of the topic, which was made anew since"
    if offset in replayed.refused.of(topic, partition, letter.log):
        return ""
    return (
        "it is late, or of a deployment that decided silently: the worker that owned the partition has given the "
        "record another verdict"
    )


def _report(plan: Redrive, missing: list[str], *, yes: bool, as_json: bool) -> None:
    """Print what was or would be sent again, and what is refused."""
    refused = [{"id": letter.transaction_id, "source": str(letter.source), "why": why} for letter, why in plan.refused]
    refused += [{"id": name, "source": None, "why": "there is no such dead letter"} for name in missing]
    sent = [{"id": letter.transaction_id, "source": str(letter.source)} for letter, _ in plan.sent]
    facts = {"dry_run": not yes, "sent": sent, "sent_before": len(plan.before), "refused": refused}
    lines = [f"refused: {one['id'] or ''} {one['source'] or ''}: {one['why']}" for one in refused]
    lines += [f"{'sent' if yes else 'would be sent'}: {one['id'] or ''} {one['source']}" for one in sent]
    counts = f"{len(sent)} {'sent' if yes else 'to be sent'}, {len(plan.before)} sent before, {len(refused)} refused"
    say(
        as_json, facts, "\n".join([*map(printable, lines), counts if yes else f"{counts}; nothing was sent: add --yes"])
    )


def _found(settings: Settings, choice: Choice) -> list[KeptLetter]:
    with bars() as progress:
        return _run(settings, find_letters(settings, choice, progress))


def _run(settings: Settings, work: Coroutine[Any, Any, Result]) -> Result:
    with Refusals(settings):
        return asyncio.run(work)


def _since_ms(since: str | None) -> int:
    try:
        return 0 if since is None else max(parse_time_ms(since).epoch_ms, 0)
    except InvalidTimeError as error:
        raise click.BadParameter(str(error), param_hint="--since") from error


@dead_letters.command("skip")
@click.option("--topic", required=True, help="As /health/ready names it.")
@click.option("--partition", type=click.IntRange(0), required=True)
@click.option("--offset", type=click.IntRange(0), required=True, help="The first unreadable offset.")
@reason_option
@wait_option
@json_option
def skip(
    *,
    topic: str,
    partition: int,
    offset: int,
    reason: str,
    wait: float,
    as_json: bool,
) -> None:
    """Pass over the records at an offset that cannot be read, or go on behind a run of dead letters, on the record.

    A partition that was halted goes on when the last record of its run is skipped; `/health/ready` names its offset.
    """
    if not reason:
        raise click.UsageError("--reason is needed: it is kept with the command for ever")
    settings = settings_or_refuse()
    echo(_doubt(settings, TopicPartition(topic, partition), offset), err=True, nl=False)
    arguments = PartitionArguments(topic, partition, offset=offset)
    send_partition_command(settings, CommandKind.SKIP, arguments, (reason, wait, as_json))


def _doubt(settings: Settings, tp: TopicPartition, offset: int) -> str:
    """Return a line that says why a skip would change nothing: workers pass over a range by its first offset."""
    try:
        found = asyncio.run(asyncio.wait_for(unreadable_at(settings, tp, offset), _CHECK_SECONDS))
    except UnknownTopicOrPartitionError as error:
        refuse_error(error, settings, "the command was not sent: ")
    except (KafkaError, OSError, TimeoutError) as error:
        return f"warning: it cannot be checked whether offset {offset} is unreadable: {error!r}\n"
    if found is None:
        if _found(settings, Choice(names=(f"{tp.topic}:{tp.partition}:{offset}",))):
            return ""
        return f"warning: what is at offset {offset} can be read here, so there is nothing to pass over\n"
    if found.first != offset:
        return f"warning: no unreadable range begins at offset {offset}; it lies in that from {found.first} on\n"
    return ""
