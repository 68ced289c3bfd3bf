"""`fraudstream rollout`: raises a model's share of the cards by a ladder, and says where it stands."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
from aiokafka.errors import KafkaError

from fraudstream.cli.arguments import ModelParam
from fraudstream.cli.commands import command_options, countersigned_wait_option, send_kind
from fraudstream.cli.lazy import CommandGroup
from fraudstream.cli.model_grounds import despite_option
from fraudstream.cli.output import json_option
from fraudstream.cli.promotion import send_promotion, verdict_option
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.cli.watching import watching_options
from fraudstream.ops.rollout.guard.finding import Limits
from fraudstream.terminal import echo
from guards.errors import GuardError
from guards.ladder import Ladder
from guards.paired import PAIRED_KINDS
from guards.specs import (
    DEFAULT_ROW_TIME,
    LARGEST_BUDGET_US,
    TWO_SIDED,
    ClimbSpec,
    GuardKind,
    RowTimeSpec,
    default_guards,
    guards_in_full,
    guards_json,
    read_climb,
    read_guards,
    total_alpha,
)
from models.commands import CommandKind

_DEFAULT_ALPHA = 0.05


@click.group(cls=CommandGroup)
def rollout() -> None:
    """Raise a model's share by a ladder that `fraudstream guard` climbs, and that it leaves if harm shows."""


class LadderParam(click.ParamType):
    """Reads a ladder such as `1% 10min, 5% 1h, 25% 1h, 100%`."""

    name = "ladder"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Ladder:
        """Return the ladder, or fail with what was expected."""
        try:
            return Ladder.parse(str(value))
        except GuardError as error:
            self.fail(str(error), param, ctx)


class ClimbParam(click.ParamType):
    """Reads the kinds of bad events that a rung asks for, or `none`."""

    name = "kinds"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> ClimbSpec:
        """Return the evidence to climb, or fail with what was expected."""
        names = [] if value == "none" else [name.strip() for name in str(value).split(",")]
        if unknown := [name for name in names if name not in set(TWO_SIDED)]:
            self.fail(f"{unknown[0]!r} is none of {', '.join(sorted(TWO_SIDED))}, none", param, ctx)
        return ClimbSpec(tuple(GuardKind(name) for name in names))


@rollout.command("start")
@click.argument("digest", type=ModelParam(), metavar="MODEL")
@click.option(
    "--ladder",
    required=True,
    type=LadderParam(),
    help='Shares and how long each lasts, e.g. "1% 10min, 5% 1h, 25% 1h, 100%"; a time behind 100% is how long the '
    "promotion is watched.",
)
@click.option(
    "--guards",
    "guards_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A JSON file: for each guard alpha, factor and action, for row_time budget_us and action; by default all "
    "guards, those that count events sharing --alpha.",
)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 0.2, min_open=True),
    help=f"The probability of a false alarm of any guard; by default {_DEFAULT_ALPHA:g}.",
)
@click.option(
    "--row-budget",
    type=click.FloatRange(0, LARGEST_BUDGET_US, min_open=True),
    metavar="MICROSECONDS",
    help="The processor time that the model may take for a row; above it the share is held. By default "
    f"{DEFAULT_ROW_TIME.budget_us:g}.",
)
@click.option(
    "--climb",
    type=ClimbParam(),
    help="Which bad events have to exclude a doubling before a share of 25 % or more: declined, reviewed, both with a "
    "comma between them, or none. By default both.",
)
@click.option("--salt", help="Keys the hash that chooses the cards; by default the command's id.")
@verdict_option
@despite_option
@command_options(wait=countersigned_wait_option)
def start(
    *,
    digest: str,
    ladder: Ladder,
    guards_file: Path | None,
    alpha: float | None,
    row_budget: float | None,
    climb: ClimbSpec | None,
    **options: Any,  # noqa: ANN401 - click's options
) -> None:
    """Start MODEL as a canary at the first share of a ladder, once every worker is ready with it.

    The guard raises the share when a rung's time is over, enough was decided and nothing is held, and from 25 % on when
    a model with twice as many declines or reviews is excluded: how long that takes is printed first. The last rung is a
    promotion. It ends the canary when a guard says that the model harms.
    """
    given = {"--alpha": alpha, "--row-budget": row_budget, "--climb": climb}
    if guards_file is not None and (named := [name for name, value in given.items() if value is not None]):
        given_name = named[0]
        raise click.UsageError(f"{given_name} and --guards exclude each other: the file states each guard in full")
    try:
        if guards_file is not None:
            guards = _guards_of(guards_file)
        else:
            row_time = RowTimeSpec(row_budget or DEFAULT_ROW_TIME.budget_us, DEFAULT_ROW_TIME.action)
            guards = guards_json(default_guards(alpha or _DEFAULT_ALPHA), row_time, climb or ClimbSpec())
    except GuardError as error:
        raise click.UsageError(f"--guards: {error}" if guards_file else f"--alpha: {error}") from error
    _tell(ladder, guards)
    send_promotion(CommandKind.ROLLOUT, model=digest, ladder=ladder, guards=guards, **options)


def _tell(ladder: Ladder, guards: dict[str, Any]) -> None:
    """Say how often its guards raise a false alarm, and how long its rungs will wait for evidence."""
    from fraudstream.ops.rollout.guard.forecast import NOTHING, forecast, read_rates  # noqa: PLC0415 - numpy comes with it, not with a pause

    settings, read = settings_or_refuse(), read_guards(guards)
    watch = sum(guard.alpha for kind, guard in read.items() if kind in PAIRED_KINDS)
    _say(
        f"false alarms of any guard: at most {total_alpha(read):.3g} on the ladder, and {watch:.3g} in the watch after "
        "it; each time that a rollout is started anew"
    )
    try:
        rates = asyncio.run(read_rates(settings))
    except (KafkaError, OSError) as error:  # the command itself says it better
        _say(f"the present rates cannot be read: {error}")
        rates = NOTHING
    for line in forecast(ladder, read_climb(guards) or ClimbSpec(), rates):
        _say(line)


def _say(line: str) -> None:
    echo(line, err=True)


def _guards_of(file: Path) -> dict[str, Any]:
    try:
        return guards_in_full(msgspec.json.decode(file.read_bytes()))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise click.UsageError(f"--guards: {file} is no JSON: {error}") from error


def _simple(kind: CommandKind, name: str, help_text: str) -> None:
    def run(**options: Any) -> None:  # noqa: ANN401 - click's options
        send_kind(kind, **options)

    decorated: Callable[..., None] = command_options()(run)
    rollout.command(name, help=help_text)(decorated)


_simple(CommandKind.PAUSE, "pause", "Keep the share as it is until `resume`; a guard may still end the canary.")
_simple(
    CommandKind.RESUME,
    "resume",
    "Let the guard climb on. What paused it is accepted: those guards do not hold this rollout again.",
)


@rollout.command("status")
@watching_options
@json_option
def status(limits: Limits, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Say what the share is, what it waits for, and how far each guard is from its bound.

    It counts the scores and outcomes since the rollout began by itself, so that it needs no guard that runs.
    """
    from fraudstream.cli.rollout_status import print_status  # noqa: PLC0415 - rich comes with it, not with a pause

    print_status(limits, as_json=as_json)


_simple(CommandKind.END_CANARY, "abort", "End the rollout: the live model decides for all cards again.")
