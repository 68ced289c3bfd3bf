"""`fraudstream bench handbook`: published figures beside ours, on every split of a public handbook that a file has."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from features.declaration import load
from stream.cli.extras import needs
from stream.cli.output import json_option, refuse, say
from stream.cli.progress import bars
from stream.dataset.errors import FileError
from stream.errors import MeasurementError

if TYPE_CHECKING:
    from stream.bench.handbook import HandbookFigures


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--trees", type=click.IntRange(1), default=150, show_default=True)
@click.option("--leaves", type=click.IntRange(2), default=31, show_default=True)
@click.option("--learning-rate", type=click.FloatRange(0, 1, min_open=True), default=0.05, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="The same seed, the same figures.")
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True, help="Changes the time alone.")
@json_option
@needs("train", "duckdb", "sklearn")
def handbook(file: Path, as_json: bool, **effort: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Train and test by the protocol of a public handbook, on every split of FILE, beside its published figures.

    FILE is parquet with the book's columns: TRANSACTION_ID, TX_DATETIME, CUSTOMER_ID, TERMINAL_ID, TX_AMOUNT, TX_FRAUD.
    Models have the book's features or the default ones, and are trained on the book's week or on all that is known.
    """
    from stream.bench.handbook import PUBLISHED, HandbookEffort, measure_handbook  # noqa: PLC0415 - LightGBM, late

    try:
        with bars() as progress:
            found = measure_handbook(file, load(None), HandbookEffort(**effort), progress)
    except (FileError, MeasurementError) as error:
        refuse(str(error))
    if as_json:
        published = [one._asdict() for one in PUBLISHED]
        say(as_json, {"published": published, **msgspec.to_builtins(found)}, "")
        return
    Console().print(*_tables(found))
    for one in found.not_reached:
        click.echo(f"not in the file: {one}")


def _tables(found: "HandbookFigures") -> Iterator[Table]:
    from stream.bench.handbook import PUBLISHED, means  # noqa: PLC0415 - likewise

    table = Table(title="means over the splits", title_justify="left")
    for name in ("splits", "model", "ROC AUC", "average precision", "card precision@100", "log loss", "worst ECE"):
        table.add_column(name, justify="left" if name in {"splits", "model"} else "right")
    ours = means(found.lines)
    for splits in dict.fromkeys(one.splits for one in ours):
        for known in (one for one in PUBLISHED if one.splits == splits):
            figures = (f"{value:.3f}" for value in (known.auc, known.average_precision, known.card_precision))
            table.add_row(splits, f"published: {known.model}", *figures, "", "")
        for own in (one for one in ours if one.splits == splits):
            figures = (f"{value:.3f}" for value in (own.auc, own.average_precision, own.card_precision))
            below = f"below constant in {own.below_constant} of {own.of}"
            worst = "" if own.worst_ece is None else f"{own.worst_ece:.3f}"
            table.add_row(splits, f"ours: {own.features} features, {own.history}", *figures, below, worst)
    yield table
    yield _lines(found)


def _lines(found: "HandbookFigures") -> Table:
    table = Table(title="each split", title_justify="left")
    for name in ("test from", "features", "history", "frauds", "ROC AUC", "average precision", "card precision@100"):
        table.add_column(name, justify="left" if name in {"test from", "features", "history"} else "right")
    for name in ("log loss", "constant's", "alerts", "ECE among them", "by chance"):
        table.add_column(name, justify="right")
    for one in found.lines:
        precision, interval = one.average_precision.value or 0.0, one.average_precision.interval
        between = "" if interval is None else f" ({interval.low:.3f} to {interval.high:.3f})"
        errors = ("" if value is None else f"{value:.3f}" for value in (one.ece_alerts, one.ece_alerts_by_chance))
        table.add_row(
            one.test_since[:10],
            one.features,
            one.history,
            f"{one.frauds:,}",
            f"{one.auc.value or 0.0:.3f}",
            f"{precision:.3f}{between}",
            f"{one.card_precision:.3f}",
            f"{one.log_loss:.5f}",
            f"{one.constant_log_loss:.5f}",
            f"{one.alerts:,}",
            *errors,
        )
    return table
