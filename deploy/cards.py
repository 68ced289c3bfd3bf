"""An invented card population as files: what a first model is trained on, and what is published afterwards.

Nothing here trains or publishes; `first-model` and `publish-cards` beside it do.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import duckdb

from models.times import format_time
from stream.clock import now_ms
from stream.demo.script import Script
from stream.demo.traffic import as_of, invent
from stream.demo.world.rows import DAY_MS
from stream.demo.world.world import World
from stream.demo.world.writing import write_history

PART = 1_000
"""Transactions in a file of live ones: what is published in one go."""

SLICE = """
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
    """Write `history.parquet`, `warm.parquet` and `live/NNNNN.parquet` into FOLDER, the last of them in order of time.

    `warm` is the end of the history, without which the stream's histories would be younger than those trained on. In
    it and in the live files only fraud is labelled, as case management reports it.
    """
    script = Script(seed=seed, cards=cards, rate=PART, seconds=parts)
    world = invent(script, now_ms())
    write_history(world, folder / "history.parquet")
    with TemporaryDirectory(dir=folder) as workplace:
        whole = Path(workplace) / "whole.parquet"
        write_history(as_of(world, -world.plan.live_days), whole)
        write_parts(whole, Path(workplace), world, script)
        (Path(workplace) / "warm.parquet").rename(folder / "warm.parquet")
        shutil.rmtree(folder / "live", ignore_errors=True)
        (Path(workplace) / "live").rename(folder / "live")
    click.echo(f"{world.cut} transactions of {cards} cards in the history, {parts * PART} to publish behind them")


def write_parts(whole: Path, target: Path, world: World, script: Script) -> None:
    """Cut what is published out of a file with everything: the end of the history, and the live parts."""
    start, end = world.plan.live_start_ms, world.plan.live_start_ms + world.plan.live_days * DAY_MS
    (target / "live").mkdir()
    pieces: list[tuple[Path, tuple[int, int], int | None, int]] = [
        (target / "warm.parquet", (start - script.warm_days * DAY_MS, start), None, 0)
    ]
    pieces += [
        (target / f"live/{number + 1:05d}.parquet", (start, end), PART, number * PART)
        for number in range(script.live_count // PART)
    ]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for path, (from_ms, until_ms), count, skip in pieces:
            values = {"from": format_time(from_ms), "until": format_time(until_ms), "count": count, "skip": skip}
            connection.execute(SLICE.format(path), {"whole": str(whole), **values})


if __name__ == "__main__":
    main()
