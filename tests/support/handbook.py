"""The public handbook stream as records of the contract; its tests are skipped if it is not beside the project.

Mapping: card = CUSTOMER_ID, merchant = TERMINAL_ID, amount = TX_AMOUNT in cents of EUR, time = TX_DATETIME as UTC.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from support.paths import HANDBOOK

TRANSACTIONS = HANDBOOK / "transactions-2018-04-01_2018-07-31.parquet"
DAY_MS = 86_400_000
LABEL_DELAY_MS = 7 * DAY_MS
HORIZON_MS = 37 * DAY_MS

PUBLISHED = {
    "is_weekend": "TX_DURING_WEEKEND",
    "is_night": "TX_DURING_NIGHT",
    **{f"card_count_{n}d": f"CUSTOMER_ID_NB_TX_{n}DAY_WINDOW" for n in (1, 7, 30)},
    **{f"card_amount_mean_{n}d": f"CUSTOMER_ID_AVG_AMOUNT_{n}DAY_WINDOW" for n in (1, 7, 30)},
    **{f"merchant_count_delayed_{n}d": f"TERMINAL_ID_NB_TX_{n}DAY_WINDOW" for n in (1, 7, 30)},
    **{f"merchant_fraud_share_delayed_{n}d": f"TERMINAL_ID_RISK_{n}DAY_WINDOW" for n in (1, 7, 30)},
}
"""Our features that the published table has, and their names there."""

needs_handbook = pytest.mark.skipif(not TRANSACTIONS.exists(), reason=f"the handbook stream is not at {HANDBOOK}")


def rows(terminals: int, most: int) -> list[dict[str, Any]]:
    """Return the first `most` transactions at the terminals below a number: whole merchant histories, in order."""
    table = pq.read_table(TRANSACTIONS)
    table = table.filter(pc.less(pc.cast(table["TERMINAL_ID"], "int64"), terminals)).slice(0, most)
    columns = {name: table[name].to_pylist() for name in ("TRANSACTION_ID", "CUSTOMER_ID", "TERMINAL_ID", "TX_FRAUD")}
    times = pc.cast(pc.cast(table["TX_DATETIME"], "timestamp[ms]"), "int64").to_pylist()
    amounts = [round(float(amount) * 100) for amount in table["TX_AMOUNT"].to_pylist()]
    return [
        {
            "transaction_id": f"h-{identity}",
            "card_id": f"c-{card}",
            "merchant_id": f"m-{merchant}",
            "occurred_at": time,
            "amount_minor": amount,
            "currency": "EUR",
            "fraud": bool(fraud),
        }
        for identity, card, merchant, fraud, time, amount in zip(*columns.values(), times, amounts, strict=True)
    ]


def transaction(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as a transaction."""
    return {name: value for name, value in row.items() if name != "fraud"}


def label(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row's label, known seven days later."""
    return {
        "transaction_id": row["transaction_id"],
        "card_id": row["card_id"],
        "fraud": row["fraud"],
        "labelled_at": row["occurred_at"] + LABEL_DELAY_MS,
        "reported_by": "chargeback",
    }


def weeks(stream: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Split a stream into stretches no longer than the label delay: a stretch's labels matter only after it."""
    at = 0
    while at < len(stream):
        end = stream[at]["occurred_at"] + LABEL_DELAY_MS
        stretch = [row for row in stream[at:] if row["occurred_at"] < end]
        yield stretch
        at += len(stretch)


class Recount:
    """Recounts every feature of the default set that needs a history from all earlier rows: slow and simple."""

    def __init__(self) -> None:
        self.cards: dict[str, list[dict[str, Any]]] = {}
        self.merchants: dict[str, list[dict[str, Any]]] = {}

    def features(self, row: dict[str, Any]) -> dict[str, float | None]:
        """Add a row and return its features."""
        card, merchant = self.cards.setdefault(row["card_id"], []), self.merchants.setdefault(row["merchant_id"], [])
        now = row["occurred_at"]
        found: dict[str, float | None] = {"card_seconds_since_last": None}
        seen = [one["occurred_at"] for one in card if one["occurred_at"] > now - HORIZON_MS]
        if seen:
            found["card_seconds_since_last"] = (now - max(seen)) / 1000
        card.append(row)
        merchant.append(row)
        for name, days in (("10m", 1 / 144), ("1h", 1 / 24), ("1d", 1), ("7d", 7), ("30d", 30)):
            window = [one for one in card if now - days * DAY_MS < one["occurred_at"] <= now]
            amounts = [one["amount_minor"] for one in window]
            found[f"card_count_{name}"] = len(window)
            found[f"card_amount_sum_{name}"] = sum(amounts) / 100
            found[f"card_amount_mean_{name}"] = sum(amounts) / 100 / len(amounts)
            found[f"card_amount_max_{name}"] = max(amounts) / 100
        month = [one for one in card if now - 30 * DAY_MS < one["occurred_at"] <= now]
        found["card_merchants_30d"] = len({one["merchant_id"] for one in month})
        found["card_merchant_first_30d"] = sum(one["merchant_id"] == row["merchant_id"] for one in month) == 1
        for name, days in (("1d", 1), ("7d", 7), ("30d", 30)):
            window = [
                one
                for one in merchant
                if now - LABEL_DELAY_MS - days * DAY_MS < one["occurred_at"] <= now - LABEL_DELAY_MS
            ]
            found[f"merchant_count_delayed_{name}"] = len(window)
            frauds = sum(one["fraud"] for one in window)
            found[f"merchant_fraud_share_delayed_{name}"] = frauds / len(window) if window else 0
        return found
