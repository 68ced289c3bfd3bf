"""Histories in this process's memory: the store of offline work (training, backtests, the demo) and of tests.

It keeps the promises of `features.store` to the letter, with two limits: nobody else sees it, and it ends with the
process. What is invisible is trimmed as histories grow, so its size follows the horizon, not the length of the stream.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from features import records
from features.declaration import FeatureSet
from features.drafting import Rows, draft_card_label, draft_label, draft_transactions, seen
from features.histories import History
from features.records import Entity, card_hash
from features.store import Label, Labelled, Observed, Transactions

FIRST_EPOCH = 1


class MemoryStore:
    """Keeps the histories that `feature_set` looks at, for as long as its horizons say."""

    def __init__(self, feature_set: FeatureSet) -> None:
        self._card_horizon_ms = feature_set.horizon_ms(Entity.CARD)
        self._merchant_horizon_ms = feature_set.horizon_ms(Entity.MERCHANT)
        self._cards: dict[int, History] = {}
        self._merchants: dict[int, History] = {}

    async def observe(self, transactions: Transactions) -> Observed:
        """Append and return what is visible, as the port says; see also `observe_now`."""
        return self.observe_now(transactions)

    def observe_now(self, transactions: Transactions) -> Observed:
        """Do what `observe` does, for callers without an event loop; nothing here ever waits."""
        card_rows = records.card_rows(transactions)
        rows = Rows(card_rows, records.merchant_rows(transactions, card_rows))
        card_hashes, merchant_hashes = rows.merchant[:, records.OTHER].tolist(), rows.card[:, records.OTHER].tolist()
        cards = [_history(self._cards, *named) for named in zip(card_hashes, transactions.card_ids, strict=True)]
        merchants = [
            _history(self._merchants, *named) for named in zip(merchant_hashes, transactions.merchant_ids, strict=True)
        ]
        draft = draft_transactions(cards, merchants, rows, self._card_horizon_ms)
        seen_of_cards = seen(cards, draft.card_positions, rows.card, self._card_horizon_ms)
        seen_of_merchants = seen(merchants, draft.merchant_positions, rows.merchant, self._merchant_horizon_ms)
        _settle(cards, self._card_horizon_ms)
        _settle(merchants, self._merchant_horizon_ms)
        return Observed(
            fates=draft.fates,
            cards=seen_of_cards,
            merchants=seen_of_merchants,
            card_positions=np.array(draft.card_positions, np.int64),
            merchant_positions=np.array(draft.merchant_positions, np.int64),
            history_epoch=FIRST_EPOCH,
            incomplete=False,
        )

    async def label(self, labels: Sequence[Label]) -> Sequence[Labelled]:
        """Append labels as the port says; see also `label_now`."""
        return self.label_now(labels)

    def label_now(self, labels: Sequence[Label]) -> Sequence[Labelled]:
        """Do what `label` does, for callers without an event loop."""
        return [self._label(label) for label in labels]

    async def tidy(self) -> None:
        """Trim every history that is worth it."""
        for histories, horizon_ms in (
            (self._cards, self._card_horizon_ms),
            (self._merchants, self._merchant_horizon_ms),
        ):
            for history in histories.values():
                _trim(history, horizon_ms)

    def _label(self, label: Label) -> Labelled:
        """Append one label to its card's history, and to its merchant's where its transaction is known."""
        row = records.label_row(label)
        card = _history(self._cards, card_hash(label.card_id), label.card_id)
        noted = draft_card_label(card, row, self._card_horizon_ms)
        card.settle()
        transaction = noted.standing.transaction
        merchant = None if transaction is None else self._merchants.get(int(transaction[records.OTHER]))
        position = None
        if transaction is not None and merchant is not None:
            position = draft_label(merchant, row, int(transaction[records.TIME]))
            merchant.settle()
        return Labelled(
            status=noted.standing.status,
            merchant_id=label.merchant_id if merchant is None else merchant.entity_id,
            occurred_ms=label.occurred_ms if transaction is None else int(transaction[records.TIME]),
            history_epoch=FIRST_EPOCH,
            card_position=noted.position,
            merchant_position=position,
        )


def _history(histories: dict[int, History], entity: int, entity_id: str) -> History:
    """Return an entity's history, a new one if there is none."""
    history = histories.get(entity)
    if history is None:
        history = histories[entity] = History(entity, entity_id)
    return history


def _settle(touched: Iterable[History], horizon_ms: int) -> None:
    """Confirm what was drafted, and trim rather than let a buffer grow."""
    for history in touched:
        history.settle()
        if history.is_full:
            _trim(history, horizon_ms)


def _trim(history: History, horizon_ms: int) -> None:
    count = history.invisible(horizon_ms)
    if count:
        history.trim(count)
