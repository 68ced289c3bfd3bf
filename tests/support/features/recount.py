"""The oracle of histories: every feature recounted from a plain list of the appended records, one at a time.

It shares only the feature table, the format of a batch and the packing of traits with the product; integers and
fractions are Python's own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from features.aggregates import AGGREGATES, Aggregate
from features.declaration import DAY_MS, Feature, FeatureSet
from features.history import records
from features.history.store import Entity, Fate, Label, Transactions
from support.features.recount_past import OF_OTHERS, OF_SEQUENCES, OF_USUAL

Row = dict[str, object]


def transactions(rows: list[dict[str, object]]) -> Transactions:
    """Turn plain rows into the columns of a batch."""

    def column(name: str, kind: type = np.int64) -> np.ndarray:
        return np.array([row[name] for row in rows], kind)

    return Transactions(
        transaction_ids=[str(row["id"]) for row in rows],
        card_ids=[str(row["card"]) for row in rows],
        merchant_ids=[str(row["merchant"]) for row in rows],
        occurred_ms=column("ms"),
        utc_offset_minutes=column("utc_offset"),
        amount_minor=column("amount"),
        exponent=column("exponent"),
        content=column("content", np.uint64),
        partition=column("partition"),
        offset=column("offset"),
        device_ids=[row["device"] for row in rows],  # type: ignore[misc]
        place=np.array([0 if row["at"] is None else records.pack_place(*row["at"]) for row in rows], np.int64),  # type: ignore[misc]
        traits=np.array(list(map(packed, rows)), np.int64),
    )


def everything() -> FeatureSet:
    """Return every aggregate of a card, a merchant and a device, with and without a delay."""
    rows = []
    for aggregate, about in AGGREGATES.items():
        for entity in sorted(about.of, key=lambda kind: kind.value):
            for delay_ms in (0, 7 * DAY_MS) if about.windowed else (0,):
                window_ms = 7 * DAY_MS if about.windowed else None
                rows.append(Feature(entity, aggregate, window_ms, delay_ms, "any", "any"))
    return FeatureSet(tuple(rows))


def packed(row: Row) -> int:
    """Pack the traits of a row, and whether it has a place."""
    told = records.pack_traits(row["mcc"], row["country"], row["channel"], row["utc_offset"], row["currency"])  # type: ignore[arg-type]
    return told | ((row["at"] is not None) << records.HAS_PLACE.shift)


def transaction(offset: int, **changes: object) -> Row:
    """Make one plain row; `changes` replace the values that all rows share."""
    row: Row = {"id": f"t{offset}", "card": "card-1", "merchant": "shop-1", "ms": 1_700_000_000_000 + offset * 1000}
    row |= {"utc_offset": 0, "amount": 1000, "exponent": 2, "partition": 0, "offset": offset}
    row |= {"device": None, "at": None, "mcc": None, "country": None, "channel": None, "currency": "EUR"}
    row |= changes
    return {"content": abs(hash((row["id"], row["ms"], row["amount"], row["merchant"]))) % 2**63, **row}


def label(offset: int, of: Row, fraud: bool, at_ms: int, **changes: object) -> Label:  # noqa: FBT001 - the verdict
    """Make a label for a plain row."""
    said: Row = {"reported_by": "analyst", "merchant_id": None, "occurred_ms": None, "partition": 0, "offset": offset}
    said |= {"transaction_id": of["id"], "card_id": of["card"], "fraud": fraud, "labelled_ms": at_ms}
    return Label(**{**said, **changes})  # type: ignore[arg-type]


@dataclass
class Recount:
    """Whole logs, never trimmed: each entry is ("t", row) or ("l", label, row of its transaction)."""

    feature_set: FeatureSet
    cards: dict[str, list[tuple]] = field(default_factory=dict)
    merchants: dict[str, list[tuple]] = field(default_factory=dict)
    devices: dict[str, list[tuple]] = field(default_factory=dict)

    def observe(self, row: Row) -> tuple[Fate, list[float]]:
        """Decide the fate of one transaction by the contract, count it, and recount its features."""
        fate, own = self.count(row)
        return fate, [] if own is None else self.features(own)

    def count(self, row: Row) -> tuple[Fate, Row | None]:
        """Decide the fate of one transaction by the contract, and count it; None if it gets no decision."""
        card = self.cards.setdefault(str(row["card"]), [])
        horizon = self.feature_set.horizons_ms[Entity.CARD]
        newest = max((e[1]["ms"] for e in card if e[0] == "t"), default=-(10**18))
        same = [e[1] for e in card if e[0] == "t" and e[1]["id"] == row["id"]]
        if [s for s in same if (s["partition"], s["offset"]) == (row["partition"], row["offset"])]:
            own = same[-1]
        elif row["ms"] <= newest - horizon:
            return Fate.TOO_LATE, None
        elif [s for s in same if s["ms"] > newest - horizon]:
            return (Fate.REPEATED if same[-1]["content"] == row["content"] else Fate.CONFLICT), None
        else:
            own = row
            card.append(("t", own))
            for log in self._others(own):
                log.append(("t", own))
                for entry in card:
                    if entry[0] == "l" and entry[1].transaction_id == own["id"]:
                        append_label(log, entry[1])
        return Fate.DECIDE, own

    def features(self, own: Row) -> list[float]:
        """Recount the features of a transaction that was counted."""
        kept = self.feature_set.horizons_ms
        logs = {kind: log for kind, log in self._logs(own).items() if kind in kept and log is not None}
        before = {kind: self._visible(log, own, kind) for kind, log in logs.items()} | {Entity.NONE: []}
        return [
            value(f, own, before[f.entity], self.feature_set) if f.entity in before else math.nan
            for f in self.feature_set.rows
        ]

    def _logs(self, row: Row) -> dict[Entity, list[tuple] | None]:
        """Return the logs of a transaction's entities; None if it has no device."""
        device = row["device"]
        return {
            Entity.CARD: self.cards.setdefault(str(row["card"]), []),
            Entity.MERCHANT: self.merchants.setdefault(str(row["merchant"]), []),
            Entity.DEVICE: None if device is None else self.devices.setdefault(str(device), []),
        }

    def _others(self, row: Row) -> list[list[tuple]]:
        return [log for kind, log in self._logs(row).items() if kind is not Entity.CARD and log is not None]

    def label(self, said: Label) -> None:
        """Append a label once to its card's log, and to the other logs of its transaction."""
        card = self.cards.setdefault(said.card_id, [])
        horizon = self.feature_set.horizons_ms[Entity.CARD]
        newest = max((e[1]["ms"] for e in card if e[0] == "t"), default=-(10**18))
        ours = [e[1] for e in card if e[0] == "t" and e[1]["id"] == said.transaction_id]
        for log in [card] + [log for t in ours if t["ms"] > newest - horizon for log in self._others(t)]:
            append_label(log, said)

    def _visible(self, log: list[tuple], own: Row, entity: Entity) -> list[tuple]:
        end = next(i for i, e in enumerate(log) if e[0] == "t" and e[1] is own)
        newest = max(e[1]["ms"] for e in log[: end + 1] if e[0] == "t")
        oldest = newest - self.feature_set.horizons_ms[entity]
        oldest -= oldest % max((row.resolution_ms for row in self.feature_set.rows if row.entity is entity), default=1)
        time = lambda e: e[1]["ms"] if e[0] == "t" else e[1].labelled_ms  # noqa: E731 - one line of arithmetic
        return [e for e in log[:end] if time(e) > oldest]


def append_label(log: list[tuple], said: Label) -> None:
    """Append a label unless the log has it, at whatever partition and offset."""
    key = said._replace(partition=0, offset=0, merchant_id=None, occurred_ms=None)
    if key not in [
        e[1]._replace(partition=0, offset=0, merchant_id=None, occurred_ms=None) for e in log if e[0] == "l"
    ]:
        log.append(("l", said))


def value(feature: Feature, own: Row, before: list[tuple], feature_set: FeatureSet) -> float:
    """Recount one feature."""
    t = own["ms"]
    wall = t + own["utc_offset"] * 60_000
    if feature.aggregate is Aggregate.NIGHT:
        return float(wall // 3_600_000 % 24 <= 6)
    if feature.aggregate is Aggregate.WEEKEND:
        return float((wall // 86_400_000 + 3) % 7 >= 5)
    others = [e[1] for e in before if e[0] == "t"]
    if feature.aggregate is Aggregate.SECONDS_SINCE_LAST:
        gaps = [t - o["ms"] for o in others if o["ms"] <= t]
        return min(gaps) / 1000 if gaps else math.nan
    begin, end = window(feature, own, others, feature_set)
    rows = [o for o in others if begin < o["ms"] <= end] + ([] if feature.delay_ms else [own])
    labels = [e[1] for e in before if e[0] == "l" and e[1].labelled_ms <= t]
    if feature.aggregate in OF_SEQUENCES:
        past = [(t - r["ms"], is_fraud(r, labels)) for r in rows if r is not own]
        return OF_SEQUENCES[feature.aggregate](sorted(past))
    if feature.aggregate in OF_USUAL:
        usual = [o for o in others if end - 30 * DAY_MS < o["ms"] <= end]
        return OF_USUAL[feature.aggregate]([exact(r) for r in rows if r is not own], [exact(r) for r in usual])
    return of_window(feature, own, rows, labels)


def exact(row: Row) -> int:
    """Return an amount in units of 10^-4."""
    return row["amount"] * 10 ** (4 - row["exponent"])


def window(feature: Feature, own: Row, others: list[Row], feature_set: FeatureSet) -> tuple[int, int]:
    """Return the moment after which a window begins and the one at which it ends; own transaction is added apart."""
    t, width = own["ms"], feature.resolution_ms
    begin, end = t - feature.delay_ms - feature.window_ms, t - feature.delay_ms
    seen = bounds(feature.entity, max([t, *(o["ms"] for o in others)]), feature_set)
    if not seen:
        return begin, end
    if width > 1:
        begin -= begin % width
        if feature.delay_ms:
            end -= end % width
        elif end <= seen[1]:
            end -= (end - 1) % width + 1
    return max(begin, seen[width]), end


def bounds(entity: Entity, newest: int, feature_set: FeatureSet) -> dict[int, int]:
    """Return, by resolution, the moment after which features see anything; empty if all are exact."""
    day, week = 86_400_000, 7 * 86_400_000
    rows = [row for row in feature_set.rows if row.entity is entity]
    widths = sorted({1, *(row.resolution_ms for row in rows)})
    tail, found = 0, {}
    for width, wider in pairwise(widths):
        reach = [r.window_ms + r.delay_ms + (width if width > 1 else 0) for r in rows if r.resolution_ms == width]
        tail = max(tail, max(reach) + min(week, max(day, *reach)) if reach else 3_600_000)
        found[width] = (newest - tail) // wider * wider
    return found and {**found, widths[-1]: -(10**18)}


def of_window(feature: Feature, own: Row, rows: list[Row], labels: list[Label]) -> float:
    """Recount one aggregate of the transactions in the window."""
    if feature.aggregate in AMOUNTS:
        return AMOUNTS[feature.aggregate]([exact(r) for r in rows], exact(own))
    if feature.aggregate in OF_OTHERS:
        return OF_OTHERS[feature.aggregate](own, [r for r in rows if r is not own], any(r is own for r in rows))
    n, other = len(rows), "merchant" if feature.entity is Entity.CARD else "card"
    match feature.aggregate:
        case Aggregate.COUNT:
            return float(n)
        case Aggregate.OTHERS:
            return float(len({r[other] for r in rows}))
        case Aggregate.OTHER_FIRST:
            return float(sum(r[other] == own[other] for r in rows if r is not own) == 0)
        case _:
            return sum(is_fraud(r, labels) for r in rows) / n if n else 0.0


def deviation(amounts: list[int]) -> float:
    """Take a single root, of an exact integer."""
    n = len(amounts)
    return math.sqrt(float(n * sum(a * a for a in amounts) - sum(amounts) ** 2)) / (n * 1e4) if n else math.nan


AMOUNTS: dict[Aggregate, Callable[[list[int], int], float]] = {
    Aggregate.AMOUNT_SUM: lambda amounts, _: float(sum(amounts)) / 1e4,
    Aggregate.AMOUNT_MEAN: lambda amounts, _: float(sum(amounts)) / (len(amounts) * 1e4) if amounts else math.nan,
    Aggregate.AMOUNT_MAX: lambda amounts, _: float(max(amounts)) / 1e4 if amounts else math.nan,
    Aggregate.AMOUNT_TO_MEAN: lambda amounts, own: (
        float(own * len(amounts)) / float(sum(amounts)) if sum(amounts) else math.nan
    ),
    Aggregate.AMOUNT_DEVIATION: lambda amounts, _: deviation(amounts),
}


def is_fraud(row: Row, labels: list[Label]) -> bool:
    """Use the latest label; of labels with the same time, the one with the latest offset."""
    ours = [said for said in labels if (said.card_id, said.transaction_id) == (row["card"], row["id"])]
    return bool(ours) and max(ours, key=lambda said: (said.labelled_ms, said.offset, said.partition)).fraud
