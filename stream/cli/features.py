"""`fraudstream features …`: what is computed here, what it costs to keep, and having histories put together anew."""

from typing import Any

import click
from rich.console import Console

from features.declaration import Feature, FeatureSet
from features.history.records import RECORD_BYTES
from stream.cli.features_table import listing
from stream.cli.saying import features_or_refuse, json_option, say, settings_or_refuse


@click.group()
def features() -> None:
    """See the features that are computed here, and have their histories put together anew."""


@features.command("rebuild")
@click.option("--reason", metavar="TEXT", default="no reason given", help="Why, for the logs of all workers.")
@click.option("--here", is_flag=True, help="Do it in this process: for a deployment whose workers do not run.")
@json_option
def rebuild_command(reason: str, here: bool, as_json: bool) -> None:  # noqa: FBT001 - flags
    """Have all histories put together anew from Kafka.

    Until that is done decisions wait, or say that their histories are incomplete (FRAUDSTREAM_REDIS_DOWN). Ended early,
    this ends nothing: the workers go on.
    """
    from stream.cli.features_rebuild import rebuild  # noqa: PLC0415 - models and telemetry come with it, for it alone

    rebuild(reason, as_json, here=here)


@features.command("list")
@click.option("--set", "module", metavar="MODULE", help="Another table than the one of FRAUDSTREAM_FEATURES.")
@json_option
def list_command(module: str | None, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Print the features in the order of the vector: what each says, and what it makes histories keep.

    Of two tables in FRAUDSTREAM_FEATURES it is the newest, the one named last.
    """
    feature_set = features_or_refuse(settings_or_refuse().features if module is None else module).newest
    if as_json:
        say(as_json, facts(feature_set), "")
    else:
        console = Console(highlight=False)
        console.print(listing(feature_set, console.width))


def facts(feature_set: FeatureSet) -> dict[str, Any]:
    """Return a table as one object; times are in milliseconds."""
    return {
        "fingerprint": feature_set.fingerprint,
        "features": [_row(row) for row in feature_set.rows],
        "histories": {
            kind.value: {"horizon_ms": horizon_ms, "record_bytes": RECORD_BYTES[kind]}
            for kind, horizon_ms in feature_set.horizons_ms.items()
        },
    }


def _row(row: Feature) -> dict[str, Any]:
    return {
        "name": row.name,
        "entity": row.entity.value,
        "window_ms": row.window_ms,
        "delay_ms": row.delay_ms,
        "unit": row.unit,
        "meaning": row.meaning,
        "depends_on_arrival": row.depends_on_arrival,
        "keeps_ms": row.keeps_ms,
        "record_bytes": RECORD_BYTES.get(row.entity, 0),
    }
