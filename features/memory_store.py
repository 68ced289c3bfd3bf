"""Histories in this process's memory: the store of offline work (training, backtests, the demo) and of tests.

It keeps the promises of `features.history.store` to the letter, with two limits: nobody else sees it, and it ends with
the process. What is invisible is trimmed as histories grow, and what may be is folded, so its size follows the horizon,
not the length of the stream.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from features.history import records
from features.history.append import (
    NO_ENTITY,
    AppendedLabel,
    EntityRows,
    Visibility,
    append_card_label,
    append_transactions,
    rows_by_entity,
    visible_histories,
)
from features.history.compaction import compact_in_memory
from features.history.displaced import NONE_DISPLACED
from features.history.history import History
from features.history.retention import Retention
from features.history.store import Entity, Ints, Label, LabelResult, Observed, RetentionPolicy, Transactions

FIRST_EPOCH = 1

HistoryLookup = Callable[[Entity, int], History | None]
"""Gives a copy of what is known elsewhere of a history, by its kind and hash; None where nothing is."""


def no_history(_kind: Entity, _entity: int) -> None:
    """Recall nothing."""


class MemoryStore:
    """Keeps the histories that a feature set looks at, for as long as its horizons say, or as `retentions` says.

    A history that is met for the first time begins with what `lookup` gives.
    """

    def __init__(
        self,
        policy: RetentionPolicy,
        lookup: HistoryLookup = no_history,
        retentions: Mapping[Entity, Retention] | None = None,
    ) -> None:
        self._lookup = lookup
        self._visible = policy.retentions
        self._retentions = retentions or self._visible
        self._displaced = NONE_DISPLACED
        self._histories: dict[Entity, dict[int, History]] = {kind: {} for kind in self._retentions}

    async def observe(self, transactions: Transactions) -> Observed:
        """Append and return what is visible, as the port says; see also `observe_now`."""
        return self.observe_now(transactions)

    def observe_now(self, transactions: Transactions) -> Observed:
        """Do what `observe` does, for callers without an event loop; nothing here ever waits."""
        theirs = rows_by_entity(transactions, tuple(self._retentions))
        histories = {kind: self._of(kind, one) for kind, one in theirs.items()}
        draft = append_transactions(histories, theirs, self._retentions)
        visible = {
            kind: visible_histories(
                histories[kind], draft.positions[kind], theirs[kind].rows, Visibility(retention, self._displaced)
            )
            for kind, retention in self._visible.items()
        }
        for kind, touched in histories.items():
            _commit(touched, self._retentions[kind])
        return Observed(fates=draft.fates, histories=visible, history_epoch=FIRST_EPOCH, incomplete=False)

    async def label(self, labels: Sequence[Label]) -> Sequence[LabelResult]:
        """Append labels as the port says; see also `label_now`."""
        return self.label_now(labels)

    def label_now(self, labels: Sequence[Label]) -> Sequence[LabelResult]:
        """Do what `label` does, for callers without an event loop."""
        return [self._label(label) for label in labels]

    async def compact(self) -> None:
        """Trim or fold every history that is worth it."""
        for kind, retention in self._retentions.items():
            for history in self._histories[kind].values():
                compact_in_memory(history, retention, FIRST_EPOCH)

    def _of(self, kind: Entity, one: EntityRows) -> list[History | None]:
        """Return the histories of one kind, new ones where there are none."""
        return [
            None if entity == NO_ENTITY else self._history(kind, entity, entity_id)
            for entity, entity_id in zip(one.hashes, one.ids, strict=True)
        ]

    def _history(self, kind: Entity, entity: int, entity_id: str) -> History:
        known = self._histories[kind]
        history = known.get(entity)
        if history is None:
            found = self._lookup(kind, entity)
            history = known[entity] = found or History(entity, entity_id, records.COLUMNS[kind])
        return history

    def _label(self, label: Label) -> LabelResult:
        """Append one label to its card's history, and to the other parties' where its transaction is known."""
        row = records.label_row(label)
        card = self._history(Entity.CARD, records.card_hash(label.card_id), label.card_id)
        noted = append_card_label(card, row, Visibility(self._retentions[Entity.CARD], self._displaced))
        card.commit()
        positions = {kind: self._follow(kind, row, noted) for kind in self._retentions if kind is not Entity.CARD}
        return self._labelled(label, noted, positions[Entity.MERCHANT])

    def _follow(self, kind: Entity, row: Ints, noted: AppendedLabel) -> int | None:
        history = self._histories[kind].get(noted.party(kind) or NO_ENTITY)
        if history is None:
            return None
        position = noted.follow(history, row, allows_panes=self._retentions[kind].allows_panes)
        history.commit()
        return position

    def _labelled(self, label: Label, noted: AppendedLabel, merchant_position: int | None) -> LabelResult:
        transaction = noted.verdict.transaction
        merchant = self._histories[Entity.MERCHANT].get(noted.party(Entity.MERCHANT) or NO_ENTITY)
        return LabelResult(
            status=noted.verdict.status,
            merchant_id=label.merchant_id if merchant is None else merchant.entity_id,
            occurred_ms=label.occurred_ms if transaction is None else int(transaction[records.TIME]),
            history_epoch=FIRST_EPOCH,
            card_position=noted.position,
            merchant_position=merchant_position,
        )


def _commit(touched: Iterable[History | None], retention: Retention) -> None:
    """Confirm what was drafted, and trim rather than let a buffer grow."""
    for history in touched:
        if history is not None:
            history.commit()
            if history.is_full:
                compact_in_memory(history, retention, FIRST_EPOCH)
