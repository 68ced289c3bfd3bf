"""Histories in this process's memory: the store of offline work (training, backtests, the demo) and of tests.

It implements `features.history.store`, for one process and as long as that lives. It trims and compacts histories as
they grow, so its size follows the horizon and not the length of the stream.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from features.history import records
from features.history.append import (
    NO_ENTITY,
    NO_LIMIT,
    AppendedLabel,
    EntityRows,
    Visibility,
    append_card_label,
    append_transactions,
    fitting,
    rows_by_entity,
    visible_histories,
)
from features.history.compaction import compact_in_memory
from features.history.displaced import NONE_DISPLACED
from features.history.history import History
from features.history.predictions import append_prediction, visible_predictions
from features.history.retention import Retention
from features.history.rules import are_held
from features.history.store import (
    PARTIES,
    Entity,
    Histories,
    Ints,
    Label,
    LabelResult,
    Observed,
    Prediction,
    PredictionResult,
    RetentionPolicy,
    Transactions,
)

FIRST_EPOCH = 1

HistoryLookup = Callable[[Entity, int], History | None]
"""Returns a copy of a history kept elsewhere, by entity and hash; None if there is none."""


def no_history(_kind: Entity, _entity: int) -> None:
    """Find no history."""


class MemoryStore:
    """Implements the port in memory; `retentions` replaces the policy's where histories must be kept for longer.

    A history that is read for the first time starts with what `lookup` returns. `most_bytes` is the limit of what the
    transactions of one answer see together.
    """

    def __init__(
        self,
        policy: RetentionPolicy,
        lookup: HistoryLookup = no_history,
        retentions: Mapping[Entity, Retention] | None = None,
        most_bytes: int = NO_LIMIT,
    ) -> None:
        self._most_bytes = most_bytes
        self._lookup = lookup
        self._visible = policy.retentions
        self._retentions = retentions or self._visible
        self._displaced = NONE_DISPLACED
        self._histories: dict[Entity, dict[int, History]] = {kind: {} for kind in self._retentions}

    async def observe(self, transactions: Transactions) -> Observed:
        """Append and return what is visible, as the port says; see also `observe_now`."""
        return self.observe_now(transactions)

    def observe_now(self, transactions: Transactions) -> Observed:
        """Do what `observe` does, for callers without an event loop."""
        rows = rows_by_entity(transactions, tuple(self._retentions))
        histories = {kind: self._of(kind, one) for kind, one in rows.items()}
        count = fitting(histories, self._most_bytes)
        rows = {kind: one.first(count) for kind, one in rows.items()}
        histories = {kind: some[:count] for kind, some in histories.items()}
        appended = append_transactions(histories, rows, self._retentions, displaced=self._displaced)
        visible: dict[Entity, Histories] = {
            kind: visible_histories(
                histories[kind],
                appended.positions[kind],
                rows[kind].rows,
                Visibility(retention, self._displaced, shares_long=self._most_bytes < NO_LIMIT),
            )
            for kind, retention in self._visible.items()
            if kind is not Entity.PREDICTION
        }
        if Entity.PREDICTION in self._visible:
            cards = rows[Entity.CARD]
            visible[Entity.PREDICTION] = visible_predictions(
                self._of(Entity.PREDICTION, cards),
                cards.rows[:, records.TIME],
                self._visible[Entity.PREDICTION],
                histories[Entity.CARD],
            )
        for kind, of_kind in histories.items():
            _commit(of_kind, self._retentions[kind])
        return Observed(fates=appended.fates, histories=visible, history_epoch=FIRST_EPOCH, incomplete=False)

    async def holds(self, transactions: Transactions) -> Sequence[bool]:
        """Tell which transactions are in their cards' histories, as the port says."""
        cards = rows_by_entity(transactions, (Entity.CARD,))[Entity.CARD]
        return are_held(self._of(Entity.CARD, cards), cards.rows)

    async def label(self, labels: Sequence[Label]) -> Sequence[LabelResult]:
        """Append labels as the port says; see also `label_now`."""
        return self.label_now(labels)

    def label_now(self, labels: Sequence[Label]) -> Sequence[LabelResult]:
        """Do what `label` does, for callers without an event loop."""
        return [self._label(label) for label in labels]

    async def predict(self, predictions: Sequence[Prediction]) -> Sequence[PredictionResult]:
        """Append predictions as the port says; see also `predict_now`."""
        return self.predict_now(predictions)

    def predict_now(self, predictions: Sequence[Prediction]) -> Sequence[PredictionResult]:
        """Do what `predict` does, for callers without an event loop."""
        return [self._predict(prediction) for prediction in predictions]

    def _predict(self, prediction: Prediction) -> PredictionResult:
        entity = records.card_hash(prediction.card_id)
        history = self._history(Entity.PREDICTION, entity, prediction.card_id)
        appended = append_prediction(history, records.prediction_row(prediction))
        _commit([history], self._retentions[Entity.PREDICTION])
        return PredictionResult(appended.status, FIRST_EPOCH, appended.position)

    async def compact(self) -> None:
        """Trim or compact every history where that is worthwhile; see also `compact_now`."""
        self.compact_now()

    def compact_now(self) -> None:
        """Do what `compact` does, for callers without an event loop."""
        for kind, retention in self._retentions.items():
            for history in self._histories[kind].values():
                compact_in_memory(history, retention, FIRST_EPOCH)

    def _of(self, kind: Entity, one: EntityRows) -> list[History | None]:
        """Return the histories of one entity kind, creating those that are missing."""
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
        """Append one label to its card's history, and to the other entities' if its transaction is known."""
        row = records.label_row(label)
        card = self._history(Entity.CARD, records.card_hash(label.card_id), label.card_id)
        appended = append_card_label(card, row, Visibility(self._retentions[Entity.CARD], self._displaced))
        card.commit()
        positions = {kind: self._append_to_other(kind, row, appended) for kind in PARTIES if kind in self._retentions}
        return self._label_result(label, appended, positions[Entity.MERCHANT])

    def _append_to_other(self, kind: Entity, row: Ints, appended: AppendedLabel) -> int | None:
        history = self._histories[kind].get(appended.entity(kind) or NO_ENTITY)
        if history is None:
            return None
        position = appended.append_to(history, row, allows_panes=self._retentions[kind].allows_panes)
        history.commit()
        return position

    def _label_result(self, label: Label, appended: AppendedLabel, merchant_position: int | None) -> LabelResult:
        transaction = appended.verdict.transaction
        merchant = self._histories[Entity.MERCHANT].get(appended.entity(Entity.MERCHANT) or NO_ENTITY)
        return LabelResult(
            status=appended.verdict.status,
            merchant_id=label.merchant_id if merchant is None else merchant.entity_id,
            occurred_ms=label.occurred_ms if transaction is None else int(transaction[records.TIME]),
            history_epoch=FIRST_EPOCH,
            card_position=appended.position,
            merchant_position=merchant_position,
        )


def _commit(histories: Iterable[History | None], retention: Retention) -> None:
    """Commit the appended records; trim or compact a history before its buffer would grow."""
    for history in histories:
        if history is not None:
            history.commit()
            if history.is_full:
                compact_in_memory(history, retention, FIRST_EPOCH)
