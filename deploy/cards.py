"""Writes the transactions of simulated cards to files: a history to train a first model on, and live parts to publish.

`first-model` trains on them, and `publish-cards` publishes them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import duckdb

from fraudstream.demo.plan import DemoPlan
from fraudstream.demo.traffic import as_of, simulate_plan
from fraudstream.demo.world.rows import DAY_MS
from fraudstream.demo.world.world import World
from fraudstream.demo.world.writing import write_history
from models.times import format_time
from stream.clock import now_ms

BATCH = 1_000
"""Transactions in a file of live ones, which is published as a whole."""

COPY_SLICE = """
COPY (
    SELECT * REPLACE (CASE WHEN fraud THEN fraud END AS fraud) FROM read_parquet($whole)
    WHERE occurred_at >= $from AND occurred_at < $until ORDER BY occurred_at, transaction_id LIMIT $count OFFSET $skip
) TO '{}' (FORMAT parquet)
"""


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--cards", type=click.IntRange(100), default=500, show_default=True)
@click.option("--parts", type=click.IntRange(1), default=60, show_default=True, help="Of a thousand live transactions.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
def main(folder: Path, cards: int, parts: int, seed: int) -> None:
    """Write `history.parquet`, `warm.parquet` and `live/NNNNN.parquet`, numbered by time, into FOLDER.

    `warm` is the end of the history; without it the stream's histories would be shorter than those trained on. In it
    and in the live files only frauds are labelled, as case management reports them.
    """
    script = DemoPlan(seed=seed, cards=cards, rate=BATCH, seconds=parts)
    world = simulate_plan(script, now_ms())
    write_history(world, folder / "history.parquet")
    with TemporaryDirectory(dir=folder) as work:
        whole = Path(work) / "whole.parquet"
        write_history(as_of(world, -world.plan.live_days), whole)
        write_slices(whole, Path(work), world, script)
        (Path(work) / "warm.parquet").rename(folder / "warm.parquet")
        shutil.rmtree(folder / "live", ignore_errors=True)
        (Path(work) / "live").rename(folder / "live")
    click.echo(f"{world.cut} transactions of {cards} cards in the history, {parts * BATCH} to publish after them")


def write_slices(whole: Path, target: Path, world: World, script: DemoPlan) -> None:
    """Write the end of the history and the live parts, sliced from the file `whole`."""
    start, end = world.plan.live_start_ms, world.plan.live_start_ms + world.plan.live_days * DAY_MS
    (target / "live").mkdir()
    slices: list[tuple[Path, tuple[int, int], int | None, int]] = [
        (target / "warm.parquet", (start - script.warm_days * DAY_MS, start), None, 0)
    ]
    slices += [
        (target / f"live/{number + 1:05d}.parquet", (start, end), BATCH, number * BATCH)
        for number in range(script.live_count // BATCH)
    ]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for path, (from_ms, until_ms), count, skip in slices:
            values = {"from": format_time(from_ms), "until": format_time(until_ms), "count": count, "skip": skip}
            connection.execute(COPY_SLICE.format(path), {"whole": str(whole), **values})


if __name__ == "__main__":
    main()
