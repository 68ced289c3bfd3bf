"""`fraudstream features`: drafts, checks and lists features, and what they cost; computes vectors; rebuilds.

The list has one layout for wide terminals and one for narrow ones.
"""

from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from features.declaration import DAY_MS, Feature, FeatureSet, window_text
from features.history.records import RECORD_BYTES
from features.history.store import ENTITY_TEXT, Entity
from fraudstream.cli.extras import needs
from fraudstream.cli.feature_sets import features_or_refuse
from fraudstream.cli.lazy import CommandGroup
from fraudstream.cli.output import json_option, say
from fraudstream.cli.predictions_option import predictions_option
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.console import terminal

WIDE = 140
"""The least number of columns at which a feature takes one line; below it, its meaning is under its name."""


def listing(feature_set: FeatureSet, width: int) -> RenderableType:
    """Lay out a feature set for a terminal of this width, and its totals."""
    table = _wide(feature_set) if width >= WIDE else _narrow(feature_set)
    return Group(table, Text(""), *(Text(line) for line in _totals(feature_set)))


def _wide(feature_set: FeatureSet) -> Table:
    table = _table("#", "feature", "of", "window", "delay", "unit", "arrival", "keeps", "meaning")
    for number, row in enumerate(feature_set.rows):
        window, delay, arrival, keeps = _facts(row)
        table.add_row(str(number), row.name, _whose(row), window, delay, row.unit, arrival, keeps, row.meaning)
    return table


def _narrow(feature_set: FeatureSet) -> Table:
    table = _table("#", "feature", "window", "delay", "arrival", "keeps")
    for number, row in enumerate(feature_set.rows):
        described = Text.assemble(row.name, "\n", (f"{row.unit}: {row.meaning}", "dim"))
        window, delay, arrival, keeps = _facts(row)
        table.add_row(str(number), described, window, delay, arrival, keeps.partition(" ")[0])
    return table


def _whose(row: Feature) -> str:
    return "" if row.entity is Entity.NONE else row.entity.value


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for column in columns:
        number = column in {"#", "window", "delay", "keeps"}
        table.add_column(column, justify="right" if number else "left", no_wrap=column not in {"feature", "meaning"})
    return table


def _facts(row: Feature) -> tuple[str, str, str, str]:
    """Return window, delay, whether the order of arrival matters, and what a history keeps for the feature."""
    window = "" if row.window_ms is None else window_text(row.window_ms)
    delay = window_text(row.delay_ms) if row.delay_ms else ""
    keeps = f"{_days(row.retention_ms)} x {RECORD_BYTES[row.entity]} B" if row.entity in RECORD_BYTES else ""
    return window, delay, "yes" if row.depends_on_arrival else "", keeps


def _totals(feature_set: FeatureSet) -> list[str]:
    kept = [
        f"The history of {ENTITY_TEXT[kind]} keeps {_days(horizon_ms)} of records, {RECORD_BYTES[kind]} bytes each."
        for kind, horizon_ms in feature_set.horizons_ms.items()
    ]
    arrival = sum(row.depends_on_arrival for row in feature_set.rows)
    return [
        *kept,
        f"{len(feature_set)} features; the order in which partitions' payments arrive can change {arrival} of them.",
        f"fingerprint {feature_set.fingerprint}",
    ]


def _days(length_ms: int) -> str:
    """Write a length in days, rounded up to a tenth."""
    return f"{-(-length_ms * 10 // DAY_MS) / 10:g}d"


@click.group(cls=CommandGroup)
def features() -> None:
    """Draft, check and list the features that are computed here, compute them, and rebuild their histories."""


@features.command("rebuild")
@click.option("--reason", metavar="TEXT", default="no reason given", help="The reason, for the logs of all workers.")
@click.option("--here", is_flag=True, help="Rebuild in this process, for a deployment whose workers do not run.")
@json_option
def rebuild_command(reason: str, here: bool, as_json: bool) -> None:  # noqa: FBT001 - flags
    """Rebuild all histories from Kafka.

    Until that is done, decisions wait or say that their histories are incomplete (FRAUDSTREAM_REDIS_DOWN). Stopping
    this command does not stop the rebuild: the workers continue it.
    """
    from fraudstream.cli.rebuild import rebuild  # noqa: PLC0415 - models and telemetry come with it, for it alone

    rebuild(reason, as_json, here=here)


@features.command("compute")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write: .parquet, .pq or .csv; `model import` takes parquet.",
)
@click.option("--threads", type=click.IntRange(1, 1024), default=2, show_default=True, help="Of reading the file.")
@predictions_option
@json_option
@needs("train", "duckdb")
def compute_command(
    file: Path,
    out: Path,
    threads: int,
    predictions: Path | None,
    as_json: bool,  # noqa: FBT001 - a flag
) -> None:
    """Compute the features of a transactions FILE (parquet, CSV), to train a model of your own on them.

    Each vector is the one that a worker computes at that time, from earlier transactions and the labels known by then.
    Labels are beside the vectors. Of two feature sets in FRAUDSTREAM_FEATURES it computes the newest.
    """
    from fraudstream.cli.features_compute import compute  # noqa: PLC0415 - it needs the extra `train`

    compute(file, out, threads, predictions, as_json=as_json)


@features.command("draft")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the module there, not printed.")
@click.option(
    "--write-to",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the transactions file, too, .parquet or .csv: with the contract's columns and the fields.",
)
@click.option("--column", "columns", multiple=True, metavar="FIELD=COLUMN", help="State a column; FIELD= for none.")
@click.option("--currency", default="", metavar="CODE", help="Of a file without a column of currencies.")
@click.option(
    "--amounts", type=click.Choice(["major", "minor"]), help="The units of amounts; by default by their name."
)
@click.option("--threads", type=click.IntRange(1, 1024), default=2, show_default=True, help="Of reading the file.")
@json_option
@needs("train", "duckdb")
def draft_command(
    *,
    file: Path,
    output: Path | None,
    write_to: Path | None,
    columns: tuple[str, ...],
    amounts: str | None,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - click's options
) -> None:
    """Draft a module of features from a FILE (parquet, CSV) of payments whose columns may have any names.

    It says which columns are taken for the time, the amount, the card, the merchant and the label, and how sure that
    is; which others become fields of your own; and which are left out, and why: leaks first. Edit what it drafts.
    """
    from fraudstream.cli.features_draft import run_draft, stated_columns  # noqa: PLC0415 - it needs the extra `train`
    from fraudstream.lab.declarations.draft import DraftRequest  # noqa: PLC0415 - likewise

    in_minor = None if amounts is None else amounts == "minor"
    stated = stated_columns(columns)
    request = DraftRequest(file=file, stated=stated, in_minor=in_minor, write_to=write_to, **options)
    run_draft(request, output, as_json=as_json)


@features.command("check")
@click.argument("module", required=False)
@json_option
def check_command(module: str | None, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Say all that is wrong with a MODULE of features, by default with those of FRAUDSTREAM_FEATURES.

    Formulas are called on generated payments, with fields absent and at the ends of their bounds. Warnings are of what
    works, and may be a slip. Exits with 1 if something is wrong.
    """
    from fraudstream.cli.features_check import run_check  # noqa: PLC0415 - what generates payments, for it alone

    run_check(settings_or_refuse().features if module is None else module, as_json=as_json)


@features.command("list")
@click.option("--set", "module", metavar="MODULE", help="Another feature set than that of FRAUDSTREAM_FEATURES.")
@click.option("--cost", "with_cost", is_flag=True, help="Measure what each row costs in bytes and microseconds.")
@json_option
def list_command(module: str | None, with_cost: bool, as_json: bool) -> None:  # noqa: FBT001 - flags
    """Print the features in the order of the vector: what each means, and what histories keep for it.

    Of two feature sets in FRAUDSTREAM_FEATURES it prints the newest, the one named last. With --cost it prints what
    each row costs instead: measured here, on generated payments.
    """
    settings = settings_or_refuse()
    sets = features_or_refuse(settings.features) if module is None else features_or_refuse(module, "--set")
    feature_set = sets.newest
    if with_cost:
        from fraudstream.cli.features_cost import print_cost  # noqa: PLC0415 - what generates payments, for it alone

        print_cost(feature_set, facts(feature_set), as_json=as_json)
    elif as_json:
        say(as_json, facts(feature_set), "")
    else:
        console = terminal()
        console.print(listing(feature_set, console.width))


def facts(feature_set: FeatureSet) -> dict[str, Any]:
    """Return a feature set as one object; times are in milliseconds."""
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
        "keeps_ms": row.retention_ms,
        "record_bytes": RECORD_BYTES.get(row.entity, 0),
    }
