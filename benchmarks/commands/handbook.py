"""`python -m benchmarks handbook`: published figures beside ours, on each split of a public handbook in a file."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.table import Table

from features.declaration import load
from fraudstream.cli.extras import needs
from fraudstream.cli.output import json_option, say
from fraudstream.cli.progress import bars
from fraudstream.cli.refusals import Refusals
from fraudstream.console import terminal
from fraudstream.terminal import echo

if TYPE_CHECKING:
    from benchmarks.handbook import HandbookFigures


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--trees", type=click.IntRange(1), default=150, show_default=True)
@click.option("--leaves", type=click.IntRange(2), default=31, show_default=True)
@click.option("--learning-rate", type=click.FloatRange(0, 1, min_open=True), default=0.05, show_default=True)
@click.option(
    "--trials",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Search parameters in so many trials, on what is known before the first test, with --trees at most.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="The same seed, the same figures.")
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True, help="Changes the time alone.")
@json_option
@needs("train", "duckdb", "sklearn")
def handbook(file: Path, as_json: bool, **effort: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Train and test by the protocol of a public handbook, on every split of FILE, beside its published figures.

    FILE is parquet with the book's columns: TRANSACTION_ID, TX_DATETIME, CUSTOMER_ID, TERMINAL_ID, TX_AMOUNT, TX_FRAUD.
    Models have the book's features or the default ones, and are trained on the book's week or on all that is known.
    """
    from benchmarks.handbook import PUBLISHED, HandbookEffort, measure_handbook  # noqa: PLC0415 - LightGBM, late

    with Refusals(), bars() as progress:
        found = measure_handbook(file, load(None), HandbookEffort(**effort), progress)
    if as_json:
        published = [one._asdict() for one in PUBLISHED]
        say(as_json, {"published": published, **msgspec.to_builtins(found)}, "")
        return
    terminal().print(*_tables(found), sep="\n\n")
    if found.search is not None:
        chosen = ", ".join(f"{name} {value:.4g}" for name, value in found.search.chosen.items())
        echo(f"searched: {found.search.first:.4f} to {found.search.best:.4f} on the week before; {chosen}")
    echo("AP: average precision. CP@100: card precision. Log loss: below the constant's. ECE: of alerts, the worst.")
    for one in found.not_reached:
        echo(f"not in the file: {one}")


def _tables(found: "HandbookFigures") -> Iterator[Table]:
    from benchmarks.handbook import PUBLISHED, means  # noqa: PLC0415 - likewise

    table = _table("means over the splits", ("splits", "model"), ("AUC", "AP", "CP@100", "log loss", "ECE"))
    ours = means(found.lines)
    for splits in dict.fromkeys(one.splits for one in ours):
        for known in (one for one in PUBLISHED if one.splits == splits):
            figures = (f"{value:.3f}" for value in (known.auc, known.average_precision, known.card_precision))
            table.add_row(splits, f"{known.model}, published", *figures, "", "")
        for own in (one for one in ours if one.splits == splits):
            figures = (f"{value:.3f}" for value in (own.auc, own.average_precision, own.card_precision))
            worst = "" if own.worst_ece is None else f"{own.worst_ece:.3f}"
            below = f"{own.below_constant} of {own.of}"
            searched = ", searched" if own.searched else ""
            table.add_row(splits, f"{own.features} set, {own.history}{searched}, ours", *figures, below, worst)
    yield table
    yield _lines(found)


def _table(title: str, names: tuple[str, ...], figures: tuple[str, ...]) -> Table:
    table = Table(title_justify="left", header_style="bold", pad_edge=False, box=None, padding=(0, 2, 0, 0))
    for at, name in enumerate(names):
        table.add_column(f"{title}\n{name}" if not at else f"\n{name}", no_wrap=True)
    for name in figures:
        table.add_column(f"\n{name}", justify="right", no_wrap=True)
    return table


def _lines(found: "HandbookFigures") -> Table:
    figures = ("frauds", "AUC", "AP", "95 %", "CP@100", "log loss", "constant's", "alerts", "ECE", "by chance")
    table = _table("test from", ("", "set", "history"), figures)
    for one in found.lines:
        precision, interval = one.average_precision.value or 0.0, one.average_precision.interval
        errors = ("" if value is None else f"{value:.3f}" for value in (one.ece_alerts, one.ece_alerts_by_chance))
        table.add_row(
            one.test_since[:10],
            one.features,
            f"{one.history}, searched" if one.searched else one.history,
            f"{one.frauds:,}",
            f"{one.auc.value or 0.0:.3f}",
            f"{precision:.3f}",
            "" if interval is None else f"{interval.low:.3f} to {interval.high:.3f}",
            f"{one.card_precision:.3f}",
            f"{one.log_loss:.5f}",
            f"{one.constant_log_loss:.5f}",
            f"{one.alerts:,}",
            *errors,
        )
    return table
