"""Options and sending that the commands to a deployment's workers share."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from getpass import getuser
from typing import Any

import click
import msgspec

from fraudstream.cli.output import json_option, refuse, say
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import refused_settings, settings_or_refuse
from fraudstream.terminal import echo
from guards.shares import share_text
from models.commands import LONGEST_REASON, CommandKind, Event, EventKind, is_digest
from models.deadline import in_thread
from models.errors import ModelError
from models.two_persons import SECONDS, is_for_two
from stream.control.client import CommandRequest, PartitionArguments
from stream.control.limits_text import limits_text
from stream.redaction import holds_card_number
from stream.settings import Settings
from stream.telemetry.command_line import command_traced

Option = Callable[[Callable[..., Any]], Callable[..., Any]]


def _harmless(_context: click.Context, _option: click.Parameter, reason: str) -> str:
    """Refuse a text with a card number in it, or one that no command may have: the topic keeps it for ever."""
    if len(reason) > LONGEST_REASON:
        raise click.BadParameter(f"it has {len(reason)} characters, more than {LONGEST_REASON}")
    if holds_card_number(reason):
        raise click.BadParameter("it holds a card number; name the card by its token, or leave it out")
    return reason


reason_option = click.option("--reason", default="", callback=_harmless, help="Why; kept with the command for ever.")
revision_option = click.option(
    "--expected-revision",
    type=click.IntRange(0),
    help="The command is void if the revision is another; by default the present one.",
)
_WAIT_SECONDS = 60.0
_WATCHED = frozenset({CommandKind.CANARY, CommandKind.ROLLOUT, CommandKind.SPLIT})
"""A guard watches what these begin; what a promotion begins if the model before stays in the shadow."""
_DIGEST_SECONDS = 10.0
"""How long the command line asks the repository which model a short digest names."""
wait_option = click.option(
    "--wait", type=click.FloatRange(0, min_open=True), default=_WAIT_SECONDS, show_default=True, help="Seconds."
)
countersigned_wait_option = click.option(
    "--wait",
    type=click.FloatRange(0, min_open=True),
    help=f"Seconds; by default {_WAIT_SECONDS:g}, or {SECONDS:g} where another person has to countersign.",
)


def wait_of(settings: Settings, kind: CommandKind, wait: float | None, **arguments: Any) -> float:  # noqa: ANN401 - see below
    """Return how many seconds a command waits: what is given, or longer where another person countersigns it.

    `arguments` are those of `models.two_persons.is_for_two`.
    """
    if wait is not None:
        return wait
    return SECONDS if settings.two_persons and is_for_two(kind, **arguments) else _WAIT_SECONDS


def command_options(*own: Option, wait: Option = wait_option) -> Option:
    """Add the options that all commands to the workers have, and some of one's own."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        options: tuple[Option, ...] = (reason_option, revision_option, wait, *own, json_option)
        for option in options:
            function = option(function)
        return function

    return decorate


@contextmanager
def refused_arguments() -> Iterator[None]:
    """Exit with 2 if a request cannot be made of the arguments, before anything is sent."""
    try:
        yield
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def send_kind(kind: CommandKind, *, as_json: bool, wait: float | None, **options: Any) -> None:  # noqa: ANN401 - click's
    """Send a command of a kind with the values of its options, as `send` does; exit with 2 if they make none."""
    settings = settings_or_refuse()
    send(settings, request_of(settings, kind, wait, options), as_json=as_json)


def request_of(settings: Settings, kind: CommandKind, wait: float | None, options: Mapping[str, Any]) -> CommandRequest:
    """Return the request that the values of a command's options make; exit with 2 if they make none."""
    to, winner, arms = (options.get(name) for name in ("to_ms", "winner", "arms"))
    seconds = wait_of(settings, kind, wait, to=to, winner=winner, arms=arms)
    with refused_arguments():
        return CommandRequest(kind=kind, actor=settings.actor or getuser(), wait=seconds, **options)


def send(settings: Settings, wish: CommandRequest, *, as_json: bool) -> None:
    """Send a command, print its verdict, and exit with 1 if it was not accepted; say if no guard watches what began."""
    answer = verdict_on(settings, wish, as_json=as_json)
    say_verdict(answer, as_json=as_json)
    if answer.watch_until or answer.command in _WATCHED:
        from fraudstream.ops.rollout.guard.presence import missing_guard  # noqa: PLC0415 - numpy comes with it

        if (missing := asyncio.run(missing_guard(settings, answer))) is not None:
            echo(missing, err=True)


def say_verdict(answer: Event, *, as_json: bool) -> None:
    """Print a verdict, and exit with 1 if the command was not accepted."""
    say(as_json, msgspec.to_builtins(answer), verdict_text(answer))
    if answer.kind is not EventKind.ACCEPTED:
        raise SystemExit(1)


def verdict_on(settings: Settings, wish: CommandRequest, *, as_json: bool) -> Event:
    """Send a command and return its verdict; exit with 1 if there is none in time.

    While there is no verdict, standard error says so if no worker is there to give one.
    """
    told, wish = _Told(wish.wait), with_whole_digests(settings, wish)
    if settings.two_persons and is_for_two(wish.kind, to=wish.to_ms, winner=wish.winner, arms=wish.arms):
        echo(
            f"this command counts once another person has run, within {wish.wait:g} s and with a key of their own: "
            f"fraudstream model countersign {wish.command_id}",
            err=True,
        )
    with Refusals(settings, "the command was not sent: "), refused_settings():
        command_id, answer = asyncio.run(command_traced(settings, wish, told.tell))
    if answer is None:
        if as_json:
            say(as_json, {"command_id": command_id, "kind": None}, "")
        refuse(f"no verdict within {wish.wait:g} s; command {command_id} has expired{told.advice}")
    return answer


def with_whole_digests(settings: Settings, wish: CommandRequest) -> CommandRequest:
    """Return a request that names its models whole, as far as the repository says which they are.

    What is signed is then one model, whatever is stored later. What this machine cannot find, the judge looks up.
    """
    arms = wish.arms or {}
    short = {name for name in (wish.model, *(arm.model for arm in arms.values())) if name and not is_digest(name)}
    if not short:
        return wish
    try:
        whole = in_thread(partial(_whole_digests, settings, short)).result(_DIGEST_SECONDS)
    except (ModelError, TimeoutError):
        return wish
    return replace(
        wish,
        model=whole.get(wish.model or "", wish.model),
        arms=wish.arms
        and {name: msgspec.structs.replace(arm, model=whole.get(arm.model, arm.model)) for name, arm in arms.items()},
    )


def _whole_digests(settings: Settings, names: Iterable[str]) -> dict[str, str]:
    from models.repository import Repository  # noqa: PLC0415 - fsspec, which most commands do not need

    repository = Repository(settings.models)
    found = {name: repository.resolve(name) for name in names}
    return {name: digest for name, digest in found.items() if isinstance(digest, str)}


class _Told:
    """Prints what a waiting operator should know, and remembers it for the end."""

    def __init__(self, wait: float) -> None:
        self._wait = wait
        self.advice = ": is a worker running and ready? Its /health/ready says why not"

    def tell(self, message: str) -> None:
        """Print that nobody judges, and when the command expires."""
        echo(f"{message}; the command expires {self._wait:g} s after it was sent (--wait)", err=True)
        self.advice = ": when a worker runs, send the command again"


def send_partition_command(
    settings: Settings, kind: CommandKind, arguments: PartitionArguments, options: tuple[str, float, bool]
) -> None:
    """Send a command about a partition; `options` are its reason, its wait, and whether to print JSON."""
    reason, wait, as_json = options
    with refused_arguments():
        request = CommandRequest(kind, settings.actor or getuser(), reason, wait, partition=arguments)
    send(settings, request, as_json=as_json)


def verdict_text(event: Event) -> str:
    """Return a verdict and its problems as text."""
    lines = [verdict_line(event), *(f"  {problem.code}: {problem.detail}" for problem in event.problems)]
    return "\n".join(line.rstrip() for line in lines)


def verdict_line(event: Event) -> str:
    """Return a verdict without its problems in one line."""
    line = f"{event.at}  revision {event.revision}  {event.kind}  {event.command or ''} {_object(event)}"
    return line.rstrip()


def _split_text(event: Event) -> str:
    arms = sorted((event.arms or {}).items())
    begun = ", ".join(f"{name} {arm.model[:12]} at {share_text(arm.share_bp)}" for name, arm in arms)
    return begun or f"{event.winner} {(event.model or '')[:12]}"


def _object(event: Event) -> str:
    """Return what a verdict is about: a model, arms, limits, a term, a partition, or a command."""
    if event.arms is not None or event.winner is not None:
        return _split_text(event)
    if event.countersigns is not None:
        return event.countersigns
    if event.limits is not None:
        return limits_text(event.limits)
    if event.term is not None:
        return f"term {event.term}"
    if event.topic is None:
        share = "" if event.share_bp is None else f" at {share_text(event.share_bp)}"
        past = "" if event.to is None else f" as at {event.to}"
        return f"{(event.model or '')[:12]}{share}{past}"
    where = event.up_to if event.offset is None else event.offset
    return f"{event.topic} {event.partition} offset {where}"
