"""A first file as a company exports it: 60,000 payments, 0.5 % of them fraud, and chargebacks some 12 days later."""

from typing import Any, NamedTuple

import numpy as np

from models.times import format_time
from support.training_files import DAY_MS, START_MS

HOUR_MS = 3_600_000


class FirstFile(NamedTuple):
    """The columns of a file, and which payments are fraud in truth, whatever labels say."""

    columns: dict[str, list[Any]]
    fraud: np.ndarray


def first_file(
    rows: int = 60_000,
    days: int = 90,
    *,
    seed: int = 1,
    fraud_share: float = 0.005,
    delay_days: float = 12.0,
    labelled_share: float = 0.0,
    signal: bool = True,
) -> FirstFile:
    """Make payments of cards with habits, and frauds in bursts of four on one card, with larger amounts.

    Args:
        rows: of which `fraud_share` are frauds.
        days: that they span.
        seed: of all that is drawn.
        fraud_share: of the payments.
        delay_days: the median time from a fraud to its chargeback.
        labelled_share: of the genuine payments, those that are labelled so, a day later; the others have no label.
        signal: whether frauds differ from other payments at all.
    """
    random = np.random.default_rng(seed)
    frauds = round(rows * fraud_share)
    cards, merchants = max(50, rows // 20), 400
    genuine = rows - frauds
    spent = random.lognormal(8.0, 0.6, cards)
    card = random.choice(cards, genuine, p=(rate := random.lognormal(0.0, 1.0, cards)) / rate.sum())
    times = random.integers(0, days * DAY_MS, genuine)
    amounts = spent[card] * random.lognormal(0.0, 0.7, genuine)
    bursts = -(-frauds // 4)
    victims, begins = random.choice(cards, bursts), random.integers(0, days * DAY_MS - 6 * HOUR_MS, bursts)
    stolen = np.repeat(victims, 4)[:frauds]
    apart = np.tile(np.arange(4), bursts)[:frauds] * random.integers(HOUR_MS // 6, HOUR_MS, frauds)
    taken = np.repeat(begins, 4)[:frauds] + apart
    if not signal:
        stolen, taken = random.choice(card, frauds), random.integers(0, days * DAY_MS, frauds)
    lost = spent[stolen] * random.lognormal(1.2 if signal else 0.0, 0.7, frauds)
    where = np.concatenate((random.integers(0, merchants, genuine), random.integers(0, merchants, frauds)))
    every = np.concatenate((times, taken))
    order = np.argsort(every, kind="stable")
    fraud = np.concatenate((np.zeros(genuine, np.bool_), np.ones(frauds, np.bool_)))[order]
    occurred = every[order] + START_MS
    delays = random.lognormal(np.log(delay_days), 0.25, rows) * DAY_MS
    known = np.where(fraud, occurred + delays, occurred + DAY_MS).astype(np.int64)
    labelled = fraud | (random.random(rows) < labelled_share)
    columns: dict[str, list[Any]] = {
        "transaction_id": [f"t{number}" for number in range(rows)],
        "card_id": [f"c{number}" for number in np.concatenate((card, stolen))[order].tolist()],
        "merchant_id": [f"m{number}" for number in where[order].tolist()],
        "occurred_at": [format_time(time) for time in occurred.tolist()],
        "amount_minor": np.maximum(np.concatenate((amounts, lost))[order], 100).astype(np.int64).tolist(),
        "currency": ["EUR"] * rows,
        "fraud": [bool(one) if has else None for one, has in zip(fraud, labelled, strict=True)],
        "labelled_at": [
            format_time(time) if has else None for time, has in zip(known.tolist(), labelled.tolist(), strict=True)
        ],
    }
    return FirstFile(columns, fraud)
