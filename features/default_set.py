"""The default table of features, as the contract lists it; a deployment's own table can start from `FEATURES`.

Nothing here is computed: each row says what a column means.
"""

from features.declaration import DAY_MS, HOUR_MS, MINUTE_MS, Aggregate, Feature, window_text
from features.entities import Entity

LABEL_DELAY_MS = 7 * DAY_MS
"""Risk features look no nearer than this: what is younger has hardly any label yet."""

CARD_WINDOWS_MS = (10 * MINUTE_MS, HOUR_MS, DAY_MS, 7 * DAY_MS, 30 * DAY_MS)
MERCHANT_WINDOWS_MS = (DAY_MS, 7 * DAY_MS, 30 * DAY_MS)
MONTH_MS = 30 * DAY_MS


def _card(aggregate: Aggregate, window_ms: int | None, unit: str, meaning: str) -> Feature:
    what = aggregate.value.replace("other", "merchant", 1)
    name = f"card_{what}" if window_ms is None else f"card_{what}_{window_text(window_ms)}"
    return Feature(name, Entity.CARD, aggregate, window_ms, 0, unit, meaning)


def _merchant(aggregate: Aggregate, window_ms: int, unit: str, meaning: str) -> Feature:
    name = f"merchant_{aggregate.value}_delayed_{window_text(window_ms)}"
    return Feature(name, Entity.MERCHANT, aggregate, window_ms, LABEL_DELAY_MS, unit, meaning)


FEATURES: tuple[Feature, ...] = (
    *(_card(Aggregate.COUNT, w, "transactions", "how many, own included") for w in CARD_WINDOWS_MS),
    *(_card(Aggregate.AMOUNT_SUM, w, "major units", "what they come to") for w in CARD_WINDOWS_MS),
    *(_card(Aggregate.AMOUNT_MEAN, w, "major units", "sum by count") for w in CARD_WINDOWS_MS),
    *(_card(Aggregate.AMOUNT_MAX, w, "major units", "the largest") for w in CARD_WINDOWS_MS),
    _card(Aggregate.OTHERS, MONTH_MS, "merchants", "how many different ones, own included"),
    _card(Aggregate.SECONDS_SINCE_LAST, None, "seconds", "since the latest other transaction not later than own"),
    _card(Aggregate.OTHER_FIRST, MONTH_MS, "0 or 1", "1 where the card was not at this merchant before"),
    _card(Aggregate.AMOUNT_TO_MEAN, MONTH_MS, "ratio", "own amount by the mean, own included"),
    _card(Aggregate.AMOUNT_DEVIATION, MONTH_MS, "major units", "population standard deviation of the amounts"),
    *(_merchant(Aggregate.COUNT, w, "transactions", "how many, a label delay ago") for w in MERCHANT_WINDOWS_MS),
    *(_merchant(Aggregate.FRAUD_SHARE, w, "share", "known frauds among them, 0 of none") for w in MERCHANT_WINDOWS_MS),
    Feature("is_night", Entity.NONE, Aggregate.NIGHT, None, 0, "0 or 1", "hour 0-6 by the transaction's own clock"),
    Feature("is_weekend", Entity.NONE, Aggregate.WEEKEND, None, 0, "0 or 1", "Saturday or Sunday by its own clock"),
)
