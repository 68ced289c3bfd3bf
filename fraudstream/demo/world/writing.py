"""Writes a world: its history as a transactions file, the rest as `transaction/1` and `label/1` records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
from numpy.typing import NDArray

from fraudstream.demo.world.population import CATEGORIES, CURRENCIES, EURO, IS_ONLINE, TOWNS
from fraudstream.demo.world.rows import Pattern
from fraudstream.demo.world.spending import NONE
from fraudstream.demo.world.world import REPORTED_BY, World, card_name, device_name, merchant_name, transaction_name
from models.times import format_time

CHUNK = 50_000
FORMATS = {".parquet": "FORMAT parquet, COMPRESSION zstd", ".csv": "FORMAT csv, HEADER"}

HISTORY = """
SELECT printf('tx-%08d', number) AS transaction_id, printf('card-%06d', card) AS card_id,
    printf('shop-%05d', merchant) AS merchant_id, make_timestamptz(occurred_ms * 1000) AS occurred_at, amount_minor,
    home.currency AS currency, CASE WHEN device >= 0 THEN printf('dev-%07d', device) END AS device_id,
    kind.mcc AS mcc, kind.channel AS channel, place.country AS merchant_country, home.country AS card_country,
    CASE WHEN isnan(latitude) THEN NULL ELSE latitude END AS latitude,
    CASE WHEN isnan(longitude) THEN NULL ELSE longitude END AS longitude,
    CASE WHEN labelled_ms <= $known_ms THEN fraud END AS fraud,
    CASE WHEN labelled_ms <= $known_ms THEN make_timestamptz(labelled_ms * 1000) END AS labelled_at
FROM columns
JOIN towns AS home ON home.town = card_town
JOIN towns AS place ON place.town = merchant_town
JOIN kinds AS kind ON kind.category = columns.category
ORDER BY number
"""


class LiveTransaction(NamedTuple):
    """One transaction as it is published, and the truth about it, which is not published."""

    transaction: dict[str, Any]
    pattern: Pattern

    @property
    def fraud(self) -> bool:
        """Whether it is fraud."""
        return self.pattern is not Pattern.GENUINE


def minor_amounts(world: World, start: int, stop: int) -> NDArray[np.int64]:
    """Return the amounts of rows `start` to `stop` in the minor unit of each card's own currency."""
    rate = np.array([CURRENCIES.get(town.country, EURO).per_euro for town in TOWNS])
    rows = slice(start, stop)
    home = world.population.home[world.rows.card[rows]]
    amounts: NDArray[np.float64] = np.rint(
        world.rows.amount[rows] * rate[home] * 100
    )  # every currency here has two decimals
    return np.maximum(amounts, 1.0).astype(np.int64, copy=False)


def write_history(world: World, target: Path) -> int:
    """Write the rows before the cut as a transactions file, parquet or CSV by the name's suffix; return how many.

    `fraud` and `labelled_at` are null where the truth was not known at the cut.

    Raises:
        ValueError: the suffix is another.
    """
    if target.suffix not in FORMATS:
        raise ValueError(f"{target.name}: a transactions file ends in {' or '.join(FORMATS)}")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("columns", _columns(world))
        connection.register("towns", _towns())
        connection.register("kinds", _kinds())
        history = f"CREATE TABLE history AS {HISTORY}"
        connection.execute(history, {"known_ms": world.plan.live_start_ms})
        path = str(target).replace("'", "''")
        connection.execute(f"COPY history TO '{path}' ({FORMATS[target.suffix]})")
    return world.cut


def live(world: World) -> Iterator[LiveTransaction]:
    """Yield the live transactions in order of time, as `transaction/1` with the truth."""
    for start in range(world.cut, len(world.rows), CHUNK):
        stop = min(start + CHUNK, len(world.rows))
        amounts = minor_amounts(world, start, stop).tolist()
        for row, amount in zip(range(start, stop), amounts, strict=True):
            yield LiveTransaction(_transaction(world, row, amount), Pattern(int(world.rows.pattern[row])))


def labels(world: World, from_ms: int, until_ms: int) -> Iterator[dict[str, Any]]:
    """Yield the fraud that becomes known from `from_ms` until before `until_ms`, as `label/1`, in order of report."""
    known = (world.labelled_ms >= from_ms) & (world.labelled_ms < until_ms) & (world.rows.pattern != Pattern.GENUINE)
    rows = np.flatnonzero(known)
    for row in rows[np.argsort(world.labelled_ms[rows], kind="stable")].tolist():
        yield {
            "schema": "label/1",
            "transaction_id": transaction_name(row),
            "card_id": card_name(int(world.rows.card[row])),
            "merchant_id": merchant_name(int(world.rows.merchant[row])),
            "occurred_at": format_time(int(world.rows.occurred_ms[row])),
            "fraud": True,
            "labelled_at": format_time(int(world.labelled_ms[row])),
            "reported_by": REPORTED_BY[0 if world.by_customer[row] else 1],
            "fraud_type": Pattern(int(world.rows.pattern[row])).name.lower(),
        }


def _transaction(world: World, row: int, amount_minor: int) -> dict[str, Any]:
    """Return one row as `transaction/1`."""
    rows, shops = world.rows, world.population.merchants
    card, merchant = int(rows.card[row]), int(rows.merchant[row])
    kind, home = CATEGORIES[shops.category[merchant]], TOWNS[world.population.home[card]]
    written: dict[str, Any] = {
        "schema": "transaction/1",
        "transaction_id": transaction_name(row),
        "card_id": card_name(card),
        "merchant_id": merchant_name(merchant),
        "occurred_at": format_time(int(rows.occurred_ms[row])),
        "amount_minor": amount_minor,
        "currency": CURRENCIES.get(home.country, EURO).code,
        "mcc": kind.mcc,
        "channel": kind.channel,
        "merchant_country": TOWNS[shops.town[merchant]].country,
        "card_country": home.country,
    }
    if world.device[row] != NONE:
        written["device_id"] = device_name(int(world.device[row]))
    if not IS_ONLINE[shops.category[merchant]]:
        written["latitude"], written["longitude"] = (round(float(degrees), 5) for degrees in shops.place[merchant])
    return written


def _columns(world: World) -> dict[str, NDArray[Any]]:
    """Return the history's rows as columns, with numbers for names and towns."""
    past, shops = slice(0, world.cut), world.population.merchants
    card, merchant = world.rows.card[past], world.rows.merchant[past]
    return {
        "number": np.arange(world.cut, dtype=np.int64),
        "card": card,
        "merchant": merchant,
        "occurred_ms": world.rows.occurred_ms[past],
        "amount_minor": minor_amounts(world, 0, world.cut),
        "card_town": world.population.home[card],
        "merchant_town": shops.town[merchant],
        "category": shops.category[merchant],
        "device": world.device[past],
        "latitude": np.round(shops.place[merchant, 0], 5),
        "longitude": np.round(shops.place[merchant, 1], 5),
        "fraud": world.rows.pattern[past] != Pattern.GENUINE,
        "labelled_ms": world.labelled_ms[past],
    }


def _towns() -> dict[str, NDArray[Any]]:
    """Return the towns as columns."""
    return {
        "town": np.arange(len(TOWNS), dtype=np.int32),
        "country": np.array([town.country for town in TOWNS], dtype=object),
        "currency": np.array([CURRENCIES.get(town.country, EURO).code for town in TOWNS], dtype=object),
    }


def _kinds() -> dict[str, NDArray[Any]]:
    """Return the categories as columns."""
    return {
        "category": np.arange(len(CATEGORIES), dtype=np.int32),
        "mcc": np.array([kind.mcc for kind in CATEGORIES], dtype=object),
        "channel": np.array([kind.channel for kind in CATEGORIES], dtype=object),
    }
