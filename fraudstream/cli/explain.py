"""`fraudstream explain`: writes the reasons for alerts beside the stream; lists the reason codes."""

import click
from rich.table import Table

from features.errors import DeclarationError
from features.reason_codes import VERSION
from features.reasons import ReasonTable, load_reasons
from fraudstream.cli.arguments import MomentParam
from fraudstream.cli.lazy import CommandGroup
from fraudstream.cli.output import json_option, say
from fraudstream.cli.settings import refused_settings, settings_or_refuse
from fraudstream.console import terminal
from fraudstream.terminal import echo
from stream.settings import PREFIX, Settings


@click.group(cls=CommandGroup, invoke_without_command=True)
@click.option(
    "--since",
    "since_ms",
    type=MomentParam(),
    help="Where nothing was explained yet, begin with alerts of this time; by default with the oldest that are there.",
)
@click.pass_context
def explain(context: click.Context, since_ms: int | None) -> None:
    """Write the reasons for every alert to `explanations` until SIGTERM.

    It reads valid scores that are not `approve`, and needs their features: FRAUDSTREAM_SCORE_FEATURES of the workers
    must be `alerts` or `all`. Several processes share the partitions.
    """
    if context.invoked_subcommand is not None:
        return
    settings = settings_or_refuse()
    table = _table_or_refuse(settings)
    from fraudstream.ops.watch.explanations.main import run_explain  # noqa: PLC0415 - not for help or a refused setting

    with refused_settings():
        raise SystemExit(run_explain(settings, table, since_ms))


@explain.command("codes")
@json_option
def codes(as_json: bool) -> None:  # noqa: FBT001 - a flag
    """List the reason codes, their features, and what a customer may be told of each."""
    table = _table_or_refuse(settings_or_refuse())
    if as_json:
        listed = [
            {"code": one.code, "features": [phrase.stem for phrase in one.phrases], "customer": one.customer}
            for one in table.codes
        ]
        say(as_json, {"version": VERSION, "codes": listed}, "")
        return
    shown = Table("code", "features, without window", "for a customer", title=f"reason codes, version {VERSION}")
    for one in table.codes:
        shown.add_row(one.code, "\n".join(phrase.stem for phrase in one.phrases), one.customer)
    terminal().print(shown)


def _table_or_refuse(settings: Settings) -> ReasonTable:
    """Return the reason codes of a deployment; exit with 2 if its own cannot be used."""
    try:
        return load_reasons(settings.features)
    except DeclarationError as error:
        echo(f"{PREFIX}FEATURES: {error}", err=True)
        raise SystemExit(2) from error
