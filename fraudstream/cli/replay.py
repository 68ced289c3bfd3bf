"""`fraudstream replay`: replays one decision from its own record and from the logs, and prints each step."""

from collections.abc import Iterator

import click
import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fraudstream.cli.extras import needs
from fraudstream.cli.feature_sets import features_or_refuse
from fraudstream.cli.output import json_option, say
from fraudstream.cli.progress import bars
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.console import terminal

_SHOWN = 5


@click.command()
@click.argument("transaction_id")
@click.option("--card", metavar="CARD_ID", help="The transaction's card: several cards may use one id; also faster.")
@json_option
@needs("train", "duckdb")
def replay(transaction_id: str, card: str | None, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Replay the decision about a transaction, from its own record and from the logs.

    That is the published decision; where another deployment made it, the silent one of this deployment if there is one.
    """
    from fraudstream.cli.repository import repository_or_refuse  # noqa: PLC0415 - fsspec, late
    from fraudstream.lab.rescoring.replay import replay as run  # noqa: PLC0415 - it needs the extra `train`

    settings = settings_or_refuse()
    sets = features_or_refuse(settings.features)
    repository_or_refuse(settings)
    with Refusals(settings), bars() as progress:
        found = run(settings, sets, (transaction_id, card), progress)
    if as_json:
        say(as_json, msgspec.to_builtins(found), "")
    else:
        terminal().print(_shown(msgspec.to_builtins(found)))


def _shown(found: dict) -> RenderableType:  # type: ignore[type-arg]
    """Lay out a replay."""
    scores = f"{found['scores_topic']} offset {found['scores_offset']}"
    place = f"partition {found['partition']} offset {found['offset']}, {scores}, by {found['deployment']}"
    head = f"{found['transaction_id']} of {found['card_id']}, decided at {found['decided_at']}: {place}"
    parts: list[RenderableType] = [Text(head, style="bold")]
    if found["note"]:
        parts.append(Text(found["note"]))
    parts += [Text(line) for line in _settings(found["settings"])]
    parts.append(_steps(found["from_record"]))
    if found["overruled"] is not None:
        why = found["overruled"]
        parts.append(Text(f"\noverruled by {why['by']}: {why['from']} became {found['decision']}"))
    logs = found["logs"]
    if logs is None:
        parts.append(Text(f"\nfrom the logs: {found['logs_note']}"))
    else:
        parts += [_history(one) for one in logs["histories"]]
        parts += [_features(logs["features"]), Text(_verdict(logs))]
    return Group(*parts)


def _settings(found: dict) -> Iterator[str]:  # type: ignore[type-arg]
    """Yield what of the settings differs, and nothing where they are equal."""
    if found["note"]:
        yield f"settings of the decision: {found['note']}"
    for setting, (recorded, here) in found["differing"].items():
        yield f"other settings here: {setting} was {_value(recorded)}, and is {_value(here)}"


def _value(text: str | None) -> str:
    return "not stated" if text is None else text or "empty"


def _steps(steps: list[dict]) -> Table:  # type: ignore[type-arg]
    table = _table("from its own record", "recorded", "rescored", "", "")
    for step in steps:
        table.add_row(step["step"], _text(step["recorded"]), _text(step["again"]), _sign(step["equal"]), step["note"])
    return table


def _history(one: dict) -> Table:  # type: ignore[type-arg]
    counts = f"{one['visible']} records visible; {one['position']} before it by its position"
    parties = [party for party in ("card", "merchant") if party != one["kind"]]
    table = _table("transaction", "occurred", "amount", *parties)
    table.title, table.title_style = f"\n{one['kind']} {one['id']}: {counts}", "bold"
    for record in one["newest"][:_SHOWN]:
        amount = f"{record['amount_minor']} {record['currency']}"
        others = [record[f"{party}_id"] for party in parties]
        table.add_row(record["transaction_id"], record["occurred_at"], amount, *others)
    if len(one["newest"]) > _SHOWN:
        table.add_row("…")
    return table


def _features(features: list[dict]) -> Table:  # type: ignore[type-arg]
    table = _table("from the logs", "recorded", "rescored", "")
    for one in features:
        table.add_row(one["name"], _text(one["recorded"]), _text(one["again"]), _sign(one["equal"]))
    return table


def _verdict(logs: dict) -> str:  # type: ignore[type-arg]
    why = f", explained by {', '.join(logs['reasons'])}" if logs["reasons"] else ""
    outputs = f"score {_text(logs['score'])}, band {_text(logs['band'])}, {logs['decision'] or logs['fate']}"
    return f"\nfrom the logs: {outputs}; {logs['verdict']}{why}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title_justify="left", header_style="bold", pad_edge=False, box=None, padding=(0, 3, 0, 0))
    table.add_column(f"\n{title}", overflow="fold")
    for column in columns:
        table.add_column(f"\n{column}", overflow="fold")
    return table


def _text(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _sign(equal: bool | None) -> str:  # noqa: FBT001 - what it shows
    return "" if equal is None else "equal" if equal else "different"
