"""Decisions whose features are those of histories that lack payments, and that do not say so."""

from collections import Counter
from collections.abc import Iterable

from fraudstream_client.outputs import Score
from stream.scoring.encode import HISTORY_INCOMPLETE


def miscounted(scores: Iterable[Score]) -> list[str]:
    """Return the unmarked decisions whose card count differs from the number of the card's payments so far."""
    found, seen = [], Counter[str]()
    for score in sorted(scores, key=lambda one: (one.source.partition, one.source.offset)):
        seen[score.card_id] += 1
        counted = (score.features or {})["card_count_30d"]
        if counted != seen[score.card_id] and HISTORY_INCOMPLETE not in score.degraded:
            found.append(f"{score.transaction_id}: {counted} of {seen[score.card_id]}")
    return found
