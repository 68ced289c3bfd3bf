"""What is on record against a model, for people: the option that accepts it, and what a way back says of it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import click
from aiokafka.errors import KafkaError

from fraudstream.cli.commands import request_of, say_verdict, verdict_on
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.terminal import echo
from models.commands import CommandKind, Event, EventKind
from models.record_rules import Ground, StatedFacts, grounds_of
from stream.clock import now_ms
from stream.control.client import read_fold
from stream.errors import ControlLogError
from stream.printing import printable
from stream.redaction import redact_text
from stream.settings import Settings

_SHORT = 12

despite_option = click.option(
    "--despite",
    multiple=True,
    metavar="EVENT_ID",
    help="Accept what is on record against MODEL, by the id that the refusal names; repeatable. Needs --reason.",
)


def send_way_back(kind: CommandKind, *, wait: float | None, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - click's
    """Send a command that returns to an earlier model as `send_kind` does, and then say what is on record against it.

    A way back is never refused for that, nor does it wait for it.
    """
    settings = settings_or_refuse()
    answer = verdict_on(settings, request_of(settings, kind, wait, options), as_json=as_json)
    if answer.kind is EventKind.ACCEPTED:
        _tell(settings, answer)
    say_verdict(answer, as_json=as_json)


def _tell(settings: Settings, answer: Event) -> None:
    if answer.model is None:
        return
    try:
        record = asyncio.run(read_fold(settings)).record
    except (ControlLogError, KafkaError, OSError):
        return  # the command is accepted, which is what matters
    for ground in grounds_of(StatedFacts(answer.model), record, now_ms()):
        echo(f"{answer.model[:_SHORT]}: {printable(redact_text(ground.text))}", err=True)


def ground_facts(grounds: tuple[Ground, ...]) -> list[dict[str, str]]:
    """Return what is on record against a model, for JSON; `id` is what `--despite` takes."""
    return [{"code": one.code, "id": one.ids[0], "text": redact_text(one.text)} for one in grounds]


def ground_lines(grounds: tuple[Ground, ...]) -> Iterator[tuple[str, str]]:
    """Yield what is on record against a model as lines, each with its name."""
    for one in grounds:
        yield "on record", f"{redact_text(one.text)} (--despite {one.ids[0]})"
