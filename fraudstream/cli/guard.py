"""`fraudstream guard`: watches canaries, splits and promotions, and acts by commands; checks what a guard did."""

import asyncio
from pathlib import Path

import click

from fraudstream.cli.commands import verdict_line
from fraudstream.cli.lazy import CommandGroup
from fraudstream.cli.output import json_option, say
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import refused_settings, settings_for_arms_or_refuse
from fraudstream.cli.watching import watching_options
from fraudstream.ops.rollout.guard.finding import Limits
from guards.report import explain


@click.group(cls=CommandGroup, invoke_without_command=True)
@watching_options
@click.option(
    "--checkpoint",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file that keeps what was counted, so that a restart reads only what is new. It may be lost.",
)
@click.pass_context
def guard(context: click.Context, limits: Limits, checkpoint: Path | None) -> None:
    """Watch canaries, splits and promotions until SIGTERM: climb a rollout's ladder, and end what harms.

    It acts by commands, so that it may be killed, and so that two of them do no harm. A canary, a split or a watched
    promotion without a ladder is guarded too, by all guards at a total alpha of 0.05.

    Beside that, it tells of incidents, on the topic `incidents` and to FRAUDSTREAM_INCIDENT_WEBHOOK, and watches what
    live models see and say for drift.
    """
    if context.invoked_subcommand is not None:
        return
    settings = settings_for_arms_or_refuse()
    from fraudstream.ops.rollout.guard.main import run_guard  # noqa: PLC0415 - not for help or a refused setting
    from fraudstream.ops.watch.beside import beside_guard  # noqa: PLC0415 - likewise
    from fraudstream.ops.watch.incidents.webhook import with_secret  # noqa: PLC0415 - likewise

    with refused_settings():
        raise SystemExit(run_guard(with_secret(settings), limits, checkpoint, beside_guard))


@guard.command("replay")
@click.argument("command_id")
@json_option
def replay(command_id: str, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Compute the evidence of a guard's command again from the topics; exit with 1 if it differs."""
    from fraudstream.ops.rollout.guard.again import recounted  # noqa: PLC0415 - likewise

    settings = settings_for_arms_or_refuse()
    with Refusals(settings):
        found = asyncio.run(recounted(settings, command_id))
    verdict = "; ".join(found.differences) or "the topics say the same"
    text = "\n".join([verdict_line(found.verdict), *(f"  {line}" for line in explain(found.counted)), verdict])
    facts = {
        "command_id": command_id,
        "equal": not found.differences,
        "differences": found.differences,
        "stated": found.stated,
        "counted": found.counted,
    }
    say(as_json, facts, text)
    if found.differences:
        raise SystemExit(1)
