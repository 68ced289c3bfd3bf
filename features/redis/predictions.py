"""Appends predictions from storage to their cards' predictions.

Any worker may append to these histories while another one reads them for payments of the card, so they are shared: an
append goes behind what others have appended meanwhile.
"""

from collections.abc import Sequence
from typing import cast

from features.history import records
from features.history.predictions import AppendedPrediction, append_prediction
from features.history.store import Entity, Prediction, PredictionResult
from features.redis.cache import CachedHistory
from features.redis.session import HistorySession, NamedHistories, rollback_on_exit


class PredictionAppender:
    """Appends predictions in a session; the histories of one call take at most `batch_bytes` together."""

    def __init__(self, session: HistorySession, batch_bytes: int) -> None:
        self._session = session
        self._batch_bytes = batch_bytes

    async def try_once(self, predictions: Sequence[Prediction]) -> list[PredictionResult] | None:
        """Try once to append the first ones, as many as fit, at least one; None if a history changed meanwhile."""
        ids = [prediction.card_id for prediction in predictions]
        named = NamedHistories([records.card_hash(card_id) for card_id in ids], ids)
        loaded = await self._session.load({Entity.PREDICTION: named}, self._batch_bytes)
        histories = [cast("CachedHistory", one) for one in loaded[Entity.PREDICTION]]
        some = predictions[: len(histories)]
        with rollback_on_exit([histories]):
            appended = [
                append_prediction(history, records.prediction_row(prediction))
                for history, prediction in zip(histories, some, strict=True)
            ]
            moved = await self._session.commit({Entity.PREDICTION: histories})
        if moved is None:
            return None
        return [
            self._result(history, prediction, one, is_moved=history in moved)
            for history, prediction, one in zip(histories, some, appended, strict=True)
        ]

    def _result(
        self, history: CachedHistory, prediction: Prediction, appended: AppendedPrediction, *, is_moved: bool
    ) -> PredictionResult:
        """Return what became of a prediction, judged again where others' records came to lie before it."""
        if is_moved:
            appended = append_prediction(history, records.prediction_row(prediction))
        return PredictionResult(appended.status, self._session.state.epoch, appended.position)
