"""Histories on one Redis server, shared by all workers of a deployment, each remembering what it works on.

A worker drafts a batch on the histories that it remembers, and one script appends all drafts if the cards' histories
are as they were remembered; else nothing happens, the worker looks again and drafts anew. So all judging is done here,
by the same code as in memory, and the server only compares and appends. Merchants are shared: what others appended to
one comes back with the answer.

Nothing here repairs what Redis lost: a loss is noticed, said, and raises the history epoch.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple

import numpy as np

from features import records
from features.cache import Cached
from features.declaration import FeatureSet
from features.drafting import NOWHERE, Draft, Noted, Rows, draft_card_label, draft_label, draft_transactions, seen
from features.errors import StoreUnavailableError
from features.records import Entity, card_hash
from features.redis_link import RedisLink
from features.remembering import Named, Remembered
from features.store import Ints, Label, Labelled, Observed, Transactions

ATTEMPTS = 8
"""Each is lost only to another worker that wrote to one of the batch's cards in between, or to a loss."""


class Options(NamedTuple):
    """How a store uses its server.

    `prefix` begins all keys; `timeout_s` is the longest wait for one answer; `cache_bytes` bounds what is remembered.
    """

    prefix: str = "fraudstream:"
    timeout_s: float = 1.0
    cache_bytes: int = 512 << 20


DEFAULT = Options()


class RedisStore:
    """Keeps the promises of `features.store` on one Redis server, 6.2 or later; `now_ms` is the wall clock, for expiry.

    `connect` comes first. Calls of one store are made one after the other, whoever makes them.
    """

    def __init__(
        self,
        url: str,
        deployment: str,
        feature_set: FeatureSet,
        now_ms: Callable[[], int],
        options: Options = DEFAULT,
    ) -> None:
        keys = f"{options.prefix}{deployment}:"
        self._link = RedisLink(url, f"{keys}epoch".encode(), options.timeout_s)
        self._remembered = Remembered(self._link, keys, feature_set, now_ms)
        self._remembered.bound(options.cache_bytes)
        self._card_horizon_ms = feature_set.horizon_ms(Entity.CARD)
        self._merchant_horizon_ms = feature_set.horizon_ms(Entity.MERCHANT)
        self._lock = asyncio.Lock()

    @property
    def history_epoch(self) -> int:
        """The epoch of the latest answer."""
        return self._remembered.epoch

    @property
    def incomplete(self) -> bool:
        """Whether Redis was seen to lose records since this store was connected."""
        return self._remembered.incomplete

    async def connect(self) -> None:
        """Check the server and join the deployment's history epoch.

        Raises:
            StoreRefusedError: the server is too old, may evict, or does not let us in.
            StoreUnavailableError: it does not answer.
        """
        async with self._lock:
            await self._link.check_server()
            await self._remembered.join()

    @property
    def new(self) -> bool:
        """Whether `connect` found nothing of this deployment: it is new, or its server was emptied meanwhile."""
        return self._remembered.new

    async def declare_loss(self, what: str) -> None:
        """Raise the history epoch over a loss that only the caller could notice.

        Raises:
            StoreUnavailableError: the server does not answer.
        """
        async with self._lock:
            await self._remembered.lose(what)

    async def close(self) -> None:
        """Let the server go."""
        await self._link.close()

    async def ping(self) -> None:
        """Return if the server answers.

        Raises:
            StoreUnavailableError: it does not.
        """
        await self._link.ping()

    async def observe(self, transactions: Transactions) -> Observed:
        """Append and return what is visible, as the port says."""
        card_rows = records.card_rows(transactions)
        rows = Rows(card_rows, records.merchant_rows(transactions, card_rows))
        of_cards = Named(Entity.CARD, rows.merchant[:, records.OTHER].tolist(), transactions.card_ids)
        of_merchants = Named(Entity.MERCHANT, rows.card[:, records.OTHER].tolist(), transactions.merchant_ids)
        async with self._lock:
            for _ in range(ATTEMPTS):
                observed = await self._observe(of_cards, of_merchants, rows)
                if observed is not None:
                    return observed
        raise _contended()

    async def _observe(self, of_cards: Named, of_merchants: Named, rows: Rows) -> Observed | None:
        """Try once; None if a card changed meanwhile."""
        cards, merchants = await self._remembered.recall(of_cards, of_merchants)
        with _drafts_of(chain(cards, merchants)):
            draft = draft_transactions(cards, merchants, rows, self._card_horizon_ms)
            moved = await self._remembered.commit(cards, merchants) if cards else frozenset()
        if moved is None:
            return None
        return self._observed(cards, merchants, rows, _relocated(draft, merchants, rows.merchant, moved))

    def _observed(self, cards: Sequence[Cached], merchants: Sequence[Cached], rows: Rows, draft: Draft) -> Observed:
        return Observed(
            fates=draft.fates,
            cards=seen(cards, draft.card_positions, rows.card, self._card_horizon_ms),
            merchants=seen(merchants, draft.merchant_positions, rows.merchant, self._merchant_horizon_ms),
            card_positions=np.array(draft.card_positions, np.int64),
            merchant_positions=np.array(draft.merchant_positions, np.int64),
            history_epoch=self._remembered.epoch,
            incomplete=self._remembered.incomplete,
        )

    async def label(self, labels: Sequence[Label]) -> Sequence[Labelled]:
        """Append labels as the port says."""
        async with self._lock:
            for _ in range(ATTEMPTS):
                answers = await self._label(labels) if labels else []
                if answers is not None:
                    return answers
        raise _contended()

    async def _label(self, labels: Sequence[Label]) -> list[Labelled] | None:
        """Try once; None if a card changed meanwhile."""
        ids = [label.card_id for label in labels]
        (cards,) = await self._remembered.recall(Named(Entity.CARD, [card_hash(card_id) for card_id in ids], ids))
        rows = [records.label_row(label) for label in labels]
        with _drafts_of(cards):
            noted = [draft_card_label(card, row, self._card_horizon_ms) for card, row in zip(cards, rows, strict=True)]
            merchants = await self._merchants_of(noted)
            with _drafts_of(merchants.values()):
                for row, note in zip(rows, noted, strict=True):
                    _draft_at_merchant(merchants, row, note)
                if await self._remembered.commit(cards, list(merchants.values())) is None:
                    return None
        return [self._labelled(*each, merchants) for each in zip(labels, rows, noted, strict=True)]

    async def _merchants_of(self, noted: Sequence[Noted]) -> dict[int, Cached]:
        """Recall the merchants of known transactions; one of which nothing is kept any more is left out."""
        known = [n.standing.transaction for n in noted if n.standing.transaction is not None]
        hashes = list({int(transaction[records.OTHER]) for transaction in known})
        (entries,) = await self._remembered.recall(Named(Entity.MERCHANT, hashes, [""] * len(hashes)))
        return {entry.entity: entry for entry in entries if not entry.is_absent}

    def _labelled(self, label: Label, row: Ints, noted: Noted, merchants: dict[int, Cached]) -> Labelled:
        transaction = noted.standing.transaction
        merchant = None if transaction is None else merchants.get(int(transaction[records.OTHER]))
        return Labelled(
            status=noted.standing.status,
            merchant_id=label.merchant_id if merchant is None else merchant.entity_id,
            occurred_ms=label.occurred_ms if transaction is None else int(transaction[records.TIME]),
            history_epoch=self._remembered.epoch,
            card_position=noted.position,
            merchant_position=None if merchant is None else merchant.find(int(row[records.ID])),
        )

    async def tidy(self) -> None:
        """Trim what has become invisible in the histories that grew since the last call, one after the other."""
        for entry, kind in self._remembered.grown():
            async with self._lock:
                await self._remembered.trim(entry, kind)


@contextmanager
def _drafts_of(entries: Iterable[Cached]) -> Iterator[None]:
    """Take back, however the block ends, all drafts that were not confirmed in it."""
    try:
        yield
    finally:
        for entry in entries:
            entry.retract()


def _relocated(draft: Draft, merchants: Sequence[Cached], rows: Ints, moved: frozenset[Cached]) -> Draft:
    """Look again for the records in those merchants' histories to which others had appended first."""
    for i, merchant in enumerate(merchants) if moved else ():
        if merchant in moved and draft.merchant_positions[i] != NOWHERE:
            position = merchant.find(int(rows[i, records.ID]))
            draft.merchant_positions[i] = NOWHERE if position is None else position
    return draft


def _draft_at_merchant(merchants: dict[int, Cached], row: Ints, noted: Noted) -> None:
    """Let a label follow its transaction into its merchant's history."""
    transaction = noted.standing.transaction
    merchant = None if transaction is None else merchants.get(int(transaction[records.OTHER]))
    if transaction is not None and merchant is not None:
        draft_label(merchant, row, int(transaction[records.TIME]))


def _contended() -> StoreUnavailableError:
    return StoreUnavailableError(f"cards' histories changed under {ATTEMPTS} attempts in a row; ask again")
