"""What the topics hold of one decision's card, merchant and device: so little that it can be made again at once.

Nothing here reads a topic.
"""

from features.history.store import Transactions
from stream.contract.outputs import Score


class Only:
    """Takes in what one decision's card, merchant and device have on the topics, and leaves the rest."""

    def __init__(self, score: Score, device_id: str | None) -> None:
        self._card_id = score.card_id
        self._merchant_id = score.merchant_id
        self._device_id = device_id
        self._places: set[tuple[int, int]] = set()
        self._ids: set[tuple[str, str]] = set()

    def transactions(self, batch: Transactions) -> list[int]:
        """Return which transactions of a batch are of these parties, and remember them."""
        found = [i for i in range(len(batch)) if self._is_ours(batch, i)]
        for i in found:
            self._places.add((int(batch.partition[i]), int(batch.offset[i])))
            self._ids.add((batch.card_ids[i], batch.transaction_ids[i]))
        return found

    def _is_ours(self, batch: Transactions, i: int) -> bool:
        device_id = batch.device_ids[i]
        same = batch.card_ids[i] == self._card_id or batch.merchant_ids[i] == self._merchant_id
        return same or (device_id is not None and device_id == self._device_id)

    def decision(self, partition: int, offset: int) -> bool:
        """Tell whether a decision is about one of them."""
        return (partition, offset) in self._places

    def label(self, card_id: str, transaction_id: str) -> bool:
        """Tell whether a label is about one of them."""
        return card_id == self._card_id or (card_id, transaction_id) in self._ids
