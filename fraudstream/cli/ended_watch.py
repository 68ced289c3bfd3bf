"""Say that a command ends the watch of a fresh promotion, and ask for the one that would do so by the way.

During a watch the model before scores in the shadow, and a guard rolls the promotion back if it harms. A challenger
takes that place, and who names one may not know of the promotion, which may be minutes old and another person's.
"""

import asyncio

import click
from aiokafka.errors import KafkaError

from fraudstream.cli.output import refuse
from fraudstream.terminal import echo
from models.commands import Event, EventKind
from models.lineup import Lineup
from models.times import stated_ms
from stream.clock import now_ms
from stream.control.client import read_fold
from stream.errors import ControlLogError
from stream.settings import Settings

_SHORT = 12
_SECOND_MS, _MINUTE_MS, _HOUR_MS = 1_000, 60_000, 3_600_000

yes_option = click.option("--yes", is_flag=True, help="Do not ask whether the watch of a fresh promotion is to end.")


def tell_ended_watch(settings: Settings, lineup: Lineup | None = None) -> None:
    """Print that a command ends a watch, if it does; nothing where that is not known. Without a lineup it is read."""
    try:
        found = asyncio.run(read_fold(settings)).lineup if lineup is None else lineup
    except (ControlLogError, KafkaError, OSError):
        return  # sending says what is wrong
    if (ended := ended_watch(found, now_ms())) is not None:
        echo(ended, err=True)


def ended_watch(lineup: Lineup, at_ms: int) -> str | None:
    """Say which promotion is watched, until when, and that it will not be; None if none is."""
    until_ms = lineup.watched_until_ms
    if until_ms is None or until_ms <= at_ms or lineup.live is None:
        return None
    began = _beginning(lineup, until_ms)
    whose = "" if began is None else f" at revision {began.revision} by {began.actor or 'an unknown person'}"
    return (
        f"the watch of the promotion of {lineup.live[:_SHORT]}{whose} ends in {_duration(until_ms - at_ms)}; this ends "
        f"it now if it is accepted: nothing compares it with {(lineup.challenger or '')[:_SHORT]} any more then, and "
        "no guard rolls it back"
    )


def _beginning(lineup: Lineup, until_ms: int) -> Event | None:
    """Return the acceptance that began the watch that lasts until a time."""
    accepted = (
        event
        for event in lineup.answers.values()
        if event.kind is EventKind.ACCEPTED and event.watch_until and stated_ms(event.watch_until) == until_ms
    )
    return max(accepted, key=lambda event: event.revision, default=None)


def _duration(left_ms: int) -> str:
    """Return a time in words, rounded up."""
    for unit_ms, name in ((_HOUR_MS, "h"), (_MINUTE_MS, "min")):
        if left_ms > 2 * unit_ms:
            return f"{-(-left_ms // unit_ms)} {name}"
    return f"{-(-left_ms // _SECOND_MS)} s"


def ask_to_end_watch() -> None:
    """Exit with 1, having sent nothing, unless a person says yes."""
    try:
        if click.confirm("End the watch?", err=True):
            return
    except click.Abort:  # the end of the input: nobody is there to answer
        echo("", err=True)
        refuse("nobody answered, so nothing was sent: --yes ends the watch without a question")
    refuse("nothing was sent")
