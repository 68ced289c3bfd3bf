"""The export of a shop, made here, with what real exports have: other names, local times, decimals, a BOM, CRLF.

The same payments are written three times: as exported, with the columns renamed, and as a transactions file. The last
keeps what a transactions file may have: the BOM, CRLF, a space in times, any order of columns, and further ones.
"""

import csv
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

SEED, PAYMENTS, DAYS, CARDS, SHOPS = 20_260_301, 6_000, 50, 150, 12
START = datetime(2026, 3, 1, tzinfo=timezone(timedelta(hours=1)))
RISKY_SHOP = 7
"""The shop in which stolen cards are used."""
DECIMALS = MappingProxyType({"EUR": 2, "USD": 2, "JPY": 0})
EXPORTED = ("Booked at", "Amount", "Curr", "Card", "Terminal", "Reference", "Chargeback", "Branch")
NAMED = ("occurred_at", "amount_minor", "currency", "card_id", "merchant_id", "transaction_id", "fraud", "branch")


class Payment(NamedTuple):
    """One payment of the export."""

    number: int
    at: datetime
    minor: int
    currency: str
    card: int
    shop: int
    fraud: bool

    @property
    def amount(self) -> str:
        """The amount in major units, as people write it."""
        decimals = DECIMALS[self.currency]
        return f"{self.minor / 10**decimals:.{decimals}f}"


def payments() -> list[Payment]:
    """Make the payments in the order of time."""
    draw = np.random.default_rng(SEED)
    times = np.sort(draw.integers(0, DAYS * 86_400, PAYMENTS))
    made = []
    for number, seconds in enumerate(times.tolist(), 1):
        card, shop = int(draw.integers(CARDS)), int(draw.integers(SHOPS))
        fraud = shop == RISKY_SHOP and draw.random() < 0.6
        minor = int(draw.lognormal(8 + 1.5 * fraud, 0.6))
        currency = ("EUR", "EUR", "EUR", "USD", "JPY")[card % 5]
        made.append(Payment(number, START + timedelta(seconds=seconds), minor, currency, card, shop, fraud))
    return made


def as_exported(one: Payment) -> list[str]:
    """Return a row as the shop's system writes it."""
    return [
        one.at.strftime("%d.%m.%Y %H:%M"),
        one.amount,
        one.currency,
        str(one.card),
        str(one.shop),
        f"R{one.number:05d}",
        "yes" if one.fraud else "no",
        "north",
    ]


def as_renamed(one: Payment) -> list[str]:
    """Return a row with the columns renamed, and nothing else done about it."""
    return [one.at.strftime("%Y-%m-%d %H:%M:%S"), *as_exported(one)[1:]]


def as_required(one: Payment) -> list[str]:
    """Return a row of a transactions file."""
    return [
        one.at.isoformat(" "),
        str(one.minor),
        one.currency,
        f"card-{one.card}",
        f"shop-{one.shop}",
        f"R{one.number:05d}",
        str(one.fraud).lower(),
        "north",
    ]


def write_files(folder: Path) -> None:
    """Write export.csv, renamed.csv and payments.csv, and those of the last two days as today.csv and tomorrow.csv.

    changed.csv has a payment of today.csv with another amount: another payment under the same id.
    """
    made = payments()
    today, tomorrow = (made[-1].at - timedelta(days=days) for days in (2, 1))
    past = [one for one in made if one.at < today]
    now = [one for one in made if today <= one.at < tomorrow]
    _write(folder / "export.csv", EXPORTED, [as_exported(one) for one in past], ";")
    _write(folder / "renamed.csv", NAMED, [as_renamed(one) for one in past])
    _write(folder / "payments.csv", NAMED, [as_required(one) for one in past])
    _write(folder / "today.csv", NAMED, [as_required(one) for one in now])
    _write(folder / "tomorrow.csv", NAMED, [as_required(one) for one in made if one.at >= tomorrow])
    _write(folder / "changed.csv", NAMED, [as_required(now[0]._replace(minor=now[0].minor + 1))])


def _write(path: Path, heading: tuple[str, ...], rows: list[list[str]], delimiter: str = ",") -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        out = csv.writer(file, delimiter=delimiter)
        out.writerow(heading)
        out.writerows(rows)
