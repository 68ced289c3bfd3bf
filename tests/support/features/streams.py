"""Small streams of transactions and labels at the edges: redelivered, repeated, conflicting, late, early labels."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from features.declaration import DAY_MS, HOUR_MS, MINUTE_MS, SLACK_MS, Feature, FeatureSet
from features.history.store import Fate, HistoryStore, Label, observe_all
from features.memory_store import MemoryStore
from features.vector.vectorise import vectorise
from support.features.recount import Recount, Row, label, transaction, transactions

START_MS = 1_700_000_000_000
GAPS_MS = (0, 1, 999, 10 * MINUTE_MS, HOUR_MS, *(days * DAY_MS for days in (1, 7, 8, 14, 30, 37, 44)))
"""The window lengths, alone and with the label delay, and the horizons."""
CARD_HORIZON_MS = 37 * DAY_MS
AMOUNTS = (0, 1, 999, 123_456, 94_906_267, 10**9, 10**12)
TOWN = (48.14, 11.58)
PLACES = (None, TOWN, TOWN, (48.141, 11.58), (-48.14, -168.42), (52.52, 13.4), (90.0, 0.0), (0.0, 180.0))
"""None, a town and a place near it, its antipode, another town, a pole, and the end of the longitudes."""
TOLD = {
    "country": (None, "DE", "DE", "FR", "US"),
    "mcc": (None, "0000", "5411", "5411", "9999"),
    "channel": (None, "pos", "ecommerce"),
    "currency": ("EUR", "EUR", "CHF"),
    "utc_offset": (0, 0, 60, -1439, 1439),
    "at": PLACES,
}


class Step(NamedTuple):
    """One step of a stream; fields that its act does not use are ignored."""

    act: str
    card: int
    merchant: int
    device: int | None
    gap_ms: int
    late_ms: int
    amount: int
    exponent: int
    back: int
    fraud: bool
    cut: bool
    told: dict[str, Any]


def gaps_of(lengths_ms: tuple[int, ...]) -> st.SearchStrategy[int]:
    """Draw one of these lengths, or a millisecond more or less."""
    return st.builds(lambda gap, off: max(0, gap + off), st.sampled_from(lengths_ms), st.sampled_from((-1, 0, 1)))


gaps = gaps_of(GAPS_MS)
ACTS = ("new", "new", "new", "new", "redelivered", "again", "conflict", "label", "early label", "tidy")
EDGES = ("edge", "horizon", "risk")
"""Acts that reach the edges of windows, horizons and labelled times on purpose."""
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "act": st.sampled_from(ACTS + EDGES),
    "card": st.integers(0, 1),
    "merchant": st.integers(0, 2),
    "device": st.sampled_from((None, 0, 1)),
    "gap_ms": gaps,
    "late_ms": st.one_of(st.just(0), gaps),
    "amount": st.sampled_from(AMOUNTS),
    "exponent": st.sampled_from((2, 2, 0, 3, 4)),
    "back": st.integers(0, 5),
    "fraud": st.booleans(),
    "cut": st.booleans(),
    "told": st.fixed_dictionaries({name: st.sampled_from(values) for name, values in TOLD.items()}),
}
streams = st.one_of(*(st.lists(st.builds(Step, **FIELDS), min_size=least, max_size=40) for least in (1, 10)))
NEAR_MS = (0, 0, 1, 59_999, 60_000, 2 * HOUR_MS - 1, 2 * HOUR_MS, 2 * HOUR_MS + 1, DAY_MS - 2 * HOUR_MS, DAY_MS)
BUSY: dict[str, st.SearchStrategy[Any]] = {
    "act": st.just("new"),
    "card": st.just(0),
    "gap_ms": st.sampled_from(NEAR_MS),
    "late_ms": st.sampled_from((0, 0, 0, 1, HOUR_MS)),
}
journeys = st.lists(st.builds(Step, **{**FIELDS, **BUSY}), min_size=4, max_size=14)
"""Streams of one busy card, so that nearly every transaction has an earlier one."""
hours = gaps_of((0, 20 * MINUTE_MS, HOUR_MS, 3 * HOUR_MS))
DENSE: dict[str, st.SearchStrategy[Any]] = {
    "act": st.sampled_from((*ACTS, "label", "redelivered", "tidy")),
    "merchant": st.just(0),
    "gap_ms": hours,
    "late_ms": st.one_of(st.just(0), hours),
}
dense_streams = st.lists(st.builds(Step, **{**FIELDS, **DENSE}), min_size=15, max_size=60)
"""Streams with one merchant and short gaps."""


class Stream:
    """The parts that the steps make, in order: batches of rows, labels, and None for a compaction.

    A row that is delivered again after `exact_for_ms` of event time is marked: its vector is not compared.
    """

    def __init__(self, of: list[Step], exact_for_ms: int = SLACK_MS) -> None:
        self._exact_for_ms = exact_for_ms
        self.parts: list[list[Row] | Label | None] = []
        self._sent: list[Row] = []
        self._now_ms = START_MS
        self._offset = 0
        for step in of:
            self._now_ms += step.gap_ms
            self._offset += 1
            getattr(self, "_" + step.act.replace(" ", "_"))(step)

    def _add(self, row: Row, step: Step) -> None:
        if step.cut or not (self.parts and isinstance(self.parts[-1], list)):
            self.parts.append([])
        self.parts[-1].append(row)  # type: ignore[union-attr]
        self._sent.append(row)

    def _earlier(self, step: Step) -> Row | None:
        return self._sent[-1 - step.back] if step.back < len(self._sent) else None

    def _new(self, step: Step) -> None:
        self._make(step, f"card-{step.card}", f"shop-{step.merchant}", self._now_ms - step.late_ms)

    def _make(self, step: Step, card: str, merchant: str, ms: int) -> None:
        what = {"card": card, "merchant": merchant, "ms": ms, "amount": step.amount, "exponent": step.exponent}
        what |= step.told
        what["device"] = None if step.device is None else f"phone-{step.device}"
        self._add(transaction(self._offset, **what), step)

    def _edge(self, step: Step) -> None:
        """Add a transaction that has an earlier one at the edge of its window."""
        row = self._earlier(step)
        if row is not None:
            self._make(step, row["card"], row["merchant"], row["ms"] + step.gap_ms)

    def _horizon(self, step: Step) -> None:
        """Add a transaction one horizon before or after its card's newest, exactly or a millisecond off."""
        card, away_ms = f"card-{step.card}", CARD_HORIZON_MS if step.cut else -CARD_HORIZON_MS
        newest_ms = max((row["ms"] for row in self._sent if row["card"] == card), default=self._now_ms)
        self._make(step, card, f"shop-{step.merchant}", newest_ms + away_ms + step.back % 3 - 1)

    def _risk(self, step: Step) -> None:
        """Add a label, and a transaction at its merchant around the time at which it is known."""
        row = self._earlier(step)
        if row is not None:
            self.parts.append(label(self._offset, row, step.fraud, row["ms"] + step.gap_ms))
            self._make(step, f"card-{step.card}", row["merchant"], row["ms"] + step.late_ms)

    def _redelivered(self, step: Step) -> None:
        row = self._earlier(step)
        age_ms = 0 if row is None else max(r["ms"] for r in self._sent) - row["ms"]
        if row is not None and age_ms < SLACK_MS:  # else it may be trimmed
            self._add(row if age_ms < self._exact_for_ms else {**row, "blurred": True}, step)

    def _again(self, step: Step) -> None:
        row = self._earlier(step)
        if row is not None:
            self._add({**row, "offset": self._offset}, step)

    def _conflict(self, step: Step) -> None:
        row = self._earlier(step)
        if row is not None:
            self._add({**row, "offset": self._offset, "amount": row["amount"] + 1, "content": row["content"] + 1}, step)

    def _label(self, step: Step) -> None:
        row = self._earlier(step)
        if row is not None:
            self.parts.append(label(self._offset, row, step.fraud, self._label_ms(step)))

    def _label_ms(self, step: Step) -> int:
        """Return a labelled time in the past or in the future."""
        return self._now_ms + (step.late_ms if step.cut else -step.late_ms)

    def _early_label(self, step: Step) -> None:
        row = {"id": f"t{self._offset + 1 + step.back}", "card": f"card-{step.card}"}
        self.parts.append(label(self._offset, row, step.fraud, self._label_ms(step)))

    def _tidy(self, _: Step) -> None:
        self.parts.append(None)


async def outcomes(stream: Stream, feature_set: FeatureSet, pick: Callable[[], HistoryStore]) -> list[Any]:
    """Send a stream through a store, or through several that share a server, and return fates with vectors' bytes."""
    result: list[Any] = []
    for part in stream.parts:
        store = pick()
        if part is None:
            await store.compact()
        elif isinstance(part, Label):
            await store.label([part])
        else:
            told = [
                each
                async for some, observed in observe_all(store, transactions(part))
                for each in zip(observed.fates, vectorise(feature_set, some, observed).tolist(), strict=True)
            ]
            result += [(fate, compared(row, fate, vector)) for row, (fate, vector) in zip(part, told, strict=True)]
    return result


def recounted(stream: Stream, feature_set: FeatureSet) -> list[Any]:
    """Return the outcomes of the same stream from the oracle."""
    recount, result = Recount(feature_set), []
    for part in stream.parts:
        if isinstance(part, Label):
            recount.label(part)
        for row in part if isinstance(part, list) else ():
            fate, values = recount.observe(row)
            result.append((fate, compared(row, fate, values)))
    return result


def compared(row: Row, fate: Fate, values: list[float]) -> tuple[str, ...] | None:
    """Return the bits of a vector; None if it is not to be compared."""
    return bits(values) if fate is Fate.DECIDE and "blurred" not in row else None


def bits(values: list[float]) -> tuple[str, ...]:
    """Return the values as texts that are equal only if the bits are; all NaN are equal."""
    return tuple("nan" if value != value else float(value).hex() for value in np.array(values, np.float64).tolist())  # noqa: PLR0124


def last(feature: Feature, *rows: Row) -> float:
    """Return one feature of the last of these transactions, in memory."""
    feature_set, batch = FeatureSet((feature,)), transactions(list(rows))
    return float(vectorise(feature_set, batch, MemoryStore(feature_set).observe_now(batch))[-1, 0])
