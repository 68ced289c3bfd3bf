"""Appends labels, to their cards' histories and to those of merchants and devices, and predictions to those of cards.

A label's transaction, and so its merchant, is known only from its card's history. Where the histories of several labels
take too much memory together, the caller tries fewer. Of an erased transaction the history has its place alone: the
caller reads the original there, so that its merchant gets the label as if nothing were erased.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import NamedTuple, cast

from features.errors import HistoryDamagedError
from features.history import records
from features.history.append import NO_ENTITY, AppendedLabel, Visibility, append_card_label
from features.history.predictions import AppendedPrediction, append_prediction
from features.history.records import card_hash
from features.history.store import PARTIES, Entity, Ints, Label, LabelResult, Prediction, PredictionResult
from features.redis.cache import CachedHistory
from features.redis.session import HistorySession, NamedHistories, incomplete_places, rollback_on_exit

OtherHistories = Mapping[Entity, Mapping[int, CachedHistory]]


class Place(NamedTuple):
    """The place of a transaction's record: its partition, and its offset with the number of its log."""

    partition: int
    offset: int


Originals = Mapping[Place, Ints | None]
"""Transactions as rows of their cards' histories, shape (9,); None for one that is gone."""
ReadOriginals = Callable[[Collection[Place]], Awaitable[Originals]]
"""Reads the transactions at these places."""


class WantedOriginals(NamedTuple):
    """Labels are about erased transactions: nothing was appended, the records at their `places` have to be read."""

    places: Collection[Place]


async def no_originals(places: Collection[Place]) -> Originals:
    """Find none: labels of erased transactions reach their cards alone."""
    return dict.fromkeys(places)


class LabelAppender:
    """Appends labels in a session; the histories of several labels take at most `batch_bytes` together."""

    def __init__(self, session: HistorySession, batch_bytes: int) -> None:
        self._session = session
        self._state = session.state
        self._batch_bytes = batch_bytes

    async def try_once(
        self, labels: Sequence[Label], *, again: bool, originals: Originals
    ) -> list[LabelResult] | WantedOriginals | None:
        """Try once; None if a card changed meanwhile, no result if the histories of several labels take too much.

        Nothing is appended if some are about erased transactions that are not among the `originals`.

        Raises:
            HistoryDamagedError: cards lack records, so that it is unknown what their labels are about.
        """
        ids = [label.card_id for label in labels]
        named = NamedHistories([card_hash(card_id) for card_id in ids], ids)
        loaded = await self._session.load({Entity.CARD: named}, self._batch_bytes)
        cards = [card for card in loaded[Entity.CARD] if card is not None]
        damaged = {} if again else incomplete_places(loaded)
        if damaged:
            raise HistoryDamagedError(frozenset(damaged.values()), frozenset(damaged))
        rows = [records.label_row(label) for label in labels[: len(cards)]]
        with rollback_on_exit([cards]):
            retentions = self._state.retentions
            visibility = Visibility(retentions[Entity.CARD], self._state.displaced)
            appended = [append_card_label(card, row, visibility) for card, row in zip(cards, rows, strict=True)]
            erased = {at: place for at, one in enumerate(appended) if (place := _place_of_erased(one)) is not None}
            if wanted := set(erased.values()) - originals.keys():
                return WantedOriginals(wanted)
            for at, place in erased.items():
                appended[at] = _with_transaction(appended[at], originals[place])
            others = await self._load_others(appended)
            if len(labels) > 1 and (others is None or len(cards) < len(labels)):
                return []
            with rollback_on_exit(known.values() for known in (others or {}).values()):
                return await self._commit_labels(labels, rows, appended, others or {})

    async def _commit_labels(
        self,
        labels: Sequence[Label],
        rows: Sequence[Ints],
        appended: Sequence[AppendedLabel],
        others: OtherHistories,
    ) -> list[LabelResult] | None:
        """Append labels, which are in their cards' histories, to the other ones, and commit all of them."""
        retentions = self._state.retentions
        for kind, known in others.items():
            for row, one in zip(rows, appended, strict=True):
                _append_to_other(known, row, one, (kind, retentions[kind].allows_panes))
        cards = [cast("CachedHistory", one.card) for one in appended]
        if await self._session.commit({Entity.CARD: cards, **_everyone(others)}) is None:
            return None
        if not await self._session.reduce_erased({Entity.CARD: cards}, ()):
            return None
        if await self._appeared_meanwhile(appended, others):
            return None
        return [self._label_result(*each, others) for each in zip(labels, rows, appended, strict=True)]

    async def _load_others(self, appended: Sequence[AppendedLabel]) -> dict[Entity, dict[int, CachedHistory]] | None:
        """Load the merchants and devices of known transactions; those without a stored history are left out.

        None if those of several labels take too much.
        """
        others: dict[Entity, dict[int, CachedHistory]] = {}
        for kind in PARTIES:
            if kind not in self._state.retentions:
                continue
            hashes = list({entity for one in appended if (entity := one.entity(kind))})
            named = NamedHistories(hashes, [""] * len(hashes))
            found = (await self._session.load({kind: named}, self._batch_bytes))[kind]
            if len(found) < len(hashes):
                return None
            others[kind] = {entry.entity: entry for entry in found if entry and not entry.is_absent}
        return others

    async def _appeared_meanwhile(self, appended: Sequence[AppendedLabel], others: OtherHistories) -> bool:
        """Tell whether a missing history exists now: a transaction was on its way to it."""
        wanted = {kind: {entity for one in appended if (entity := one.entity(kind))} for kind in others}
        if all(wanted[kind] <= known.keys() for kind, known in others.items()):
            return False
        now = await self._load_others(appended) or {}
        return any(known.keys() != now.get(kind, {}).keys() for kind, known in others.items())

    def _label_result(self, label: Label, row: Ints, appended: AppendedLabel, others: OtherHistories) -> LabelResult:
        transaction = appended.verdict.transaction
        merchant = others[Entity.MERCHANT].get(appended.entity(Entity.MERCHANT) or NO_ENTITY)
        return LabelResult(
            status=appended.verdict.status,
            merchant_id=label.merchant_id if merchant is None else merchant.entity_id,
            occurred_ms=label.occurred_ms if transaction is None else int(transaction[records.TIME]),
            history_epoch=self._state.epoch,
            card_position=appended.position,
            merchant_position=None if merchant is None else merchant.find(int(row[records.ID])),
        )


def _place_of_erased(label: AppendedLabel) -> Place | None:
    """Return the place of a label's transaction if that is all that is left of it."""
    row = label.verdict.transaction
    if row is None or not records.are_marked(row[records.FLAGS : records.FLAGS + 1])[0]:
        return None
    return Place(int(row[records.FLAGS]) >> records.PARTITION_SHIFT, int(row[records.OFFSET]))


def _with_transaction(label: AppendedLabel, original: Ints | None) -> AppendedLabel:
    """Return a label with its transaction as it was sent, if that is the one."""
    left = label.verdict.transaction
    assert left is not None  # noqa: S101 - it is erased
    if original is None or original[records.ID] != left[records.ID]:
        return label
    return label._replace(verdict=label.verdict._replace(transaction=original))


def _everyone(others: OtherHistories) -> dict[Entity, list[CachedHistory]]:
    return {kind: list(known.values()) for kind, known in others.items()}


def _append_to_other(
    known: Mapping[int, CachedHistory], row: Ints, appended: AppendedLabel, kind: tuple[Entity, bool]
) -> None:
    """Append a label to its transaction's other history; `kind` is the entity and whether it has panes."""
    history = known.get(appended.entity(kind[0]) or NO_ENTITY)
    if history is not None:
        appended.append_to(history, row, allows_panes=kind[1])


class PredictionAppender:
    """Appends predictions in a session; the histories of one call take at most `batch_bytes` together.

    Any worker may append to these histories while another one reads them for payments of the card, so they are shared:
    an append goes behind what others have appended meanwhile.
    """

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
