"""Decisions with what both models said about each: a decision and its comparison, joined."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fraudstream.ops.rollout.outcomes.columns import BY_RULES, CODES, ColumnNames, PaymentRows, index_of
from fraudstream.ops.rollout.outcomes.labels import card_hash, is_sampled, payment_hash
from fraudstream_client.arms import WHOLE_BP
from metrics.columns import Bools, Floats, Ints
from models.times import stated_ms
from shadow.comparison import Comparison, read_comparison
from stream.readers import UNREADABLE

PAIR_ROW = np.dtype(
    [
        ("payment", "u8"),
        ("compared_ms", "i8"),
        ("live_score", "f8"),
        ("challenger_score", "f8"),
        ("revision", "i4"),
        ("model", "i2"),
        ("opponent", "i2"),
        ("said", "i1"),
        ("live", "i1"),
        ("challenger", "i1"),
    ]
)
"""A comparison: `model` and `said` are those of the side that decided, `opponent` is the live side's model."""

_CANDIDATES = 200
"""So many of the largest swaps of each currency are kept with their ids; some may be of void decisions."""
_MIX = 0x9E3779B97F4A7C15
"""Spreads revision, model and decision over 64 bits: an odd number near 2^64 divided by the golden ratio."""


class SwapIds(NamedTuple):
    """The ids of a payment about which the models differ."""

    payment: int
    transaction_id: str
    card_id: str


class Pairs(NamedTuple):
    """Compared decisions of shape (n,), by card and time.

    Attributes:
        rows: the payments.
        live: what the live model said, or the rules in its place: a `DecisionCode` each.
        challenger: what the challenger said.
        live_scores: NaN where rules decided.
        challenger_scores: of the challenger.
        opponents: the live side's model, an index of the names, or `BY_RULES`.
        lags_ms: how long after the decision it was compared.
    """

    rows: PaymentRows
    live: NDArray[np.int8]
    challenger: NDArray[np.int8]
    live_scores: Floats
    challenger_scores: Floats
    opponents: NDArray[np.int16]
    lags_ms: Ints

    def where(self, mask: Bools) -> Self:
        """Return those that a mask chooses."""
        columns: tuple[NDArray[Any], ...] = self
        return type(self)._make(column[mask] for column in columns)

    @property
    def differ(self) -> Bools:
        """The decisions on which the models differ."""
        differ: Bools = self.live != self.challenger
        return differ


@dataclass(slots=True)
class PairCollector:
    """Collects the comparisons of a deployment with one challenger, of one share of the cards."""

    deployment: str
    challenger: str
    names: ColumnNames
    cards_bp: int = WHOLE_BP
    _parts: list[NDArray[Any]] = field(default_factory=list)
    _largest: dict[str, list[tuple[int, int, SwapIds]]] = field(default_factory=dict)
    _numbers: "count[int]" = field(default_factory=count)

    def add(self, values: Iterable[bytes | None]) -> None:
        """Add the values of the next records of `shadow-scores`; what is no such comparison is skipped."""
        lines = [line for value in values if (line := self._line(value or b"")) is not None]
        if lines:
            self._parts.append(np.array(lines, PAIR_ROW))

    def _line(self, value: bytes) -> tuple[Any, ...] | None:
        try:
            one = read_comparison(value)
        except UNREADABLE:
            return None
        if one.deployment not in (self.deployment, "") or one.challenger.digest != self.challenger:
            return None
        if not is_sampled(card_hash(one.card_id), self.cards_bp):
            return None
        ids = SwapIds(payment_hash(one.card_id, one.transaction_id), one.transaction_id, one.card_id)
        if one.decision_changed:
            self._remember(one, ids)
        live_score, score = (np.nan if side.score is None else side.score for side in (one.live, one.challenger))
        made, live = (self._model(side.digest) for side in (one.decided, one.live))
        said = tuple(CODES[side.decision] for side in (one.decided, one.live, one.challenger))
        return ids.payment, stated_ms(one.compared_at), live_score, score, one.revision, made, live, *said

    def _model(self, digest: str | None) -> int:
        return BY_RULES if digest is None else index_of(self.names.models, digest)

    def _remember(self, one: Comparison, ids: SwapIds) -> None:
        kept = self._largest.setdefault(one.currency, [])
        entry = (one.amount_minor, -next(self._numbers), ids)
        if len(kept) < _CANDIDATES:
            heapq.heappush(kept, entry)
        else:
            heapq.heappushpop(kept, entry)

    def ids(self, currency: str) -> dict[int, SwapIds]:
        """Return the ids of the largest swaps in a currency, by payment."""
        return {ids.payment: ids for _, _, ids in self._largest.get(currency, [])}

    def pairs(self, rows: PaymentRows) -> Pairs:
        """Join decisions with their comparisons, each with the first; others have none and are left out.

        A comparison belongs to a decision if payment, revision, model and decision are the same: a worker that did not
        know yet that it had lost a partition compared decisions that are void.
        """
        found = np.concatenate([np.empty(0, PAIR_ROW), *self._parts])
        keys, firsts = np.unique(_keys(found), return_index=True)
        if not len(keys):
            rows, at = rows[:0], np.empty(0, np.intp)
        else:
            wanted = _keys(rows)
            place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            has_pair = keys[place] == wanted
            rows, at = rows[has_pair], firsts[place[has_pair]]
        chosen = found[at]
        return Pairs(
            rows,
            chosen["live"],
            chosen["challenger"],
            chosen["live_score"],
            chosen["challenger_score"],
            chosen["opponent"],
            chosen["compared_ms"] - rows["decided_ms"],
        )


def _keys(rows: NDArray[Any]) -> NDArray[np.uint64]:
    """Return 64 bits that stand for payment, revision, model and what that said."""
    made = (rows["revision"].astype(np.uint64) << np.uint64(20)) + (
        (rows["model"].astype(np.int64) + 1).astype(np.uint64) << np.uint64(2)
    )
    keys: NDArray[np.uint64] = rows["payment"] ^ ((made + rows["said"].astype(np.uint64)) * np.uint64(_MIX))
    return keys
