"""One payment, the histories in which it is appended, and all that is done with what was read under their keys."""

from collections.abc import Mapping

from features.declaration import FeatureSet
from features.history import records
from features.history.append import (
    Visibility,
    append_card_label,
    append_transactions,
    rows_by_entity,
    visible_histories,
)
from features.history.compaction import compact_in_memory
from features.history.store import Entity, Observed
from features.redis.cache import CachedHistory
from features.vector.vectorise import vectorise
from support.features.recount import label, transaction, transactions

NOW_MS = 1_700_000_000_000
NAMES = {Entity.CARD: "card-1", Entity.MERCHANT: "shop-1", Entity.DEVICE: "phone-1"}
PAYMENT = transaction(1, card="card-1", merchant="shop-1", device="phone-1", ms=NOW_MS)


def history(kind: Entity) -> CachedHistory:
    """Return the empty history in which `PAYMENT` will be appended."""
    return CachedHistory(kind, records.HASHES[kind](NAMES[kind]), NAMES[kind], b"key")


def use(which: FeatureSet, entries: Mapping[Entity, CachedHistory]) -> None:
    """Append `PAYMENT` and a label to histories, compute all features with them, and compact them."""
    batch, keep = transactions([PAYMENT]), which.retentions
    new = rows_by_entity(batch, tuple(keep))
    result = append_transactions({kind: [entry] for kind, entry in entries.items()}, new, keep)
    visible = {
        kind: visible_histories([entry], result.positions[kind], new[kind].rows, Visibility(keep[kind]))
        for kind, entry in entries.items()
    }
    vectorise(which, batch, Observed(result.fates, visible, 1, incomplete=False))
    said = records.label_row(label(1, PAYMENT, fraud=True, at_ms=NOW_MS))
    append_card_label(entries[Entity.CARD], said, Visibility(keep[Entity.CARD]))
    for kind, entry in entries.items():
        entry.commit()
        compact_in_memory(entry, keep[kind], 1)
