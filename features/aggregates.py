"""The catalogue of aggregates: each one's name, the entities that have it, its unit and its meaning.

The modules of `features.vector` compute them; their docstrings hold formula, edge cases and source.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from features.errors import DeclarationError
from features.formulas import Formula
from features.history.store import Entity
from features.own_fields import OwnValue


class Aggregate(Enum):
    """What is computed from the transactions of a window; the value is the middle part of the feature's name."""

    COUNT = "count"
    AMOUNT_SUM = "amount_sum"
    AMOUNT_MEAN = "amount_mean"
    AMOUNT_MAX = "amount_max"
    AMOUNT_TO_MEAN = "amount_to_mean"
    AMOUNT_DEVIATION = "amount_deviation"
    OTHERS = "others"
    """Distinct counterparties; named `merchants` for a card, `cards` for a merchant or a device."""
    OTHER_FIRST = "other_first"
    """Whether the counterparty is new in the window; named `merchant_first` for a card, `card_first` for the others."""
    FRAUD_SHARE = "fraud_share"
    AMOUNT_TO_SMALLEST = "amount_to_smallest"
    AMOUNT_REPEATED = "amount_repeated"
    COUNTRIES = "countries"
    COUNTRY_JUMP = "country_jump"
    DISTANCE_FROM_LAST = "distance_from_last"
    SPEED_FROM_LAST = "speed_from_last"
    DEVICES = "devices"
    DEVICE_FIRST = "device_first"
    CATEGORY_SHARE = "category_share"
    CHANNEL_SHARE = "channel_share"
    TIME_OF_DAY_SHARE = "time_of_day_share"
    SECONDS_SINCE_LAST = "seconds_since_last"
    FRAUD_RUN = "fraud_run"
    FRAUD_LATEST = "fraud_latest"
    FRAUD_SHARE_OF_LAST_5 = "fraud_share_of_last_5"
    DAYS_SINCE_FIRST_FRAUD = "days_since_first_fraud"
    AMOUNT_TO_EARLIER_MEAN = "amount_to_earlier_mean"
    AMOUNT_TO_EARLIER_MEDIAN = "amount_to_earlier_median"
    LARGE_AMOUNTS = "large_amounts"
    LARGEST_TO_MEDIAN = "largest_to_median"
    NIGHT = "is_night"
    WEEKEND = "is_weekend"


MULTI_WINDOW = frozenset(
    {
        Aggregate.COUNT,
        Aggregate.AMOUNT_SUM,
        Aggregate.AMOUNT_MEAN,
        Aggregate.AMOUNT_MAX,
        Aggregate.FRAUD_SHARE,
    }
)
"""Computed for windows of several lengths in one pass."""
MERGEABLE = frozenset({*MULTI_WINDOW, Aggregate.AMOUNT_TO_MEAN, Aggregate.AMOUNT_DEVIATION})
"""Computable from panes."""
OF_LABELS = frozenset(
    {
        Aggregate.FRAUD_SHARE,
        Aggregate.FRAUD_RUN,
        Aggregate.FRAUD_LATEST,
        Aggregate.FRAUD_SHARE_OF_LAST_5,
        Aggregate.DAYS_SINCE_FIRST_FRAUD,
    }
)
"""Read known frauds, so a label changes them."""
OF_USUAL = frozenset({Aggregate.LARGE_AMOUNTS, Aggregate.LARGEST_TO_MEDIAN})
"""Compare the amounts of the window with the median of `USUAL_MS`, which ends where the window ends."""
USUAL_MS = 30 * 86_400_000
"""A card's usual amount is that of 30 days: a median of 90 ranks frauds no better, and needs histories of 97 days."""


class Risk(Enum):
    """How the risk of fraud depends on a feature, all others being equal, as the domain knows it."""

    ANY = "any"
    RISES = "rises"
    """A higher value never means a lower risk."""
    FALLS = "falls"
    """A higher value never means a higher risk."""


class PredictionPart(Enum):
    """What a row reads of a prediction from storage."""

    VALUE = "value"
    AGE = "age"


_PREDICTION_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")


@dataclass(frozen=True, slots=True)
class StoredPrediction:
    """A prediction from storage, by its name, in place of an aggregate: `prediction("teacher", "6h", "2d")`.

    Raises:
        DeclarationError: the name cannot be that of a feature.
    """

    name: str
    part: PredictionPart = PredictionPart.VALUE

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _PREDICTION_NAME.fullmatch(self.name):
            raise DeclarationError(
                f"the prediction {self.name!r} cannot be a feature: its name must be 1 to 64 letters, digits and "
                "any of . _ @ - (a name with a colon is a token, but LightGBM refuses it as a feature name)"
            )

    @property
    def column(self) -> str:
        """The middle part of the feature's name."""
        return self.name if self.part is PredictionPart.VALUE else f"{self.name}_{self.part.value}"


Computed = Aggregate | Formula | StoredPrediction | OwnValue
"""What a row computes."""


class AggregateInfo(NamedTuple):
    """What holds for an aggregate whatever its entity; `{other}` in a unit or meaning is the entity's counterparty.

    `risk` is that of its features whose row declares none.
    """

    unit: str
    meaning: str
    of: frozenset[Entity]
    windowed: bool = True
    risk: Risk = Risk.ANY


_ANYONE = frozenset({Entity.CARD, Entity.MERCHANT, Entity.DEVICE})
_CARD = frozenset({Entity.CARD})
"""Only a card's records hold place, country, device and wall clock."""
_NOBODY = frozenset({Entity.NONE})
_PREDICTION = frozenset({Entity.PREDICTION})
OTHER_PARTY: Mapping[Entity, str] = MappingProxyType(
    {Entity.CARD: "merchant", Entity.MERCHANT: "card", Entity.DEVICE: "card"}
)
AGGREGATES: Mapping[Aggregate, AggregateInfo] = MappingProxyType(
    {
        Aggregate.COUNT: AggregateInfo("transactions", "number of transactions", _ANYONE),
        Aggregate.AMOUNT_SUM: AggregateInfo("major units", "sum of the amounts", _ANYONE),
        Aggregate.AMOUNT_MEAN: AggregateInfo("major units", "sum of the amounts divided by count", _ANYONE),
        Aggregate.AMOUNT_MAX: AggregateInfo("major units", "the largest amount", _ANYONE),
        Aggregate.AMOUNT_TO_MEAN: AggregateInfo("ratio", "own amount divided by the mean", _ANYONE),
        Aggregate.AMOUNT_DEVIATION: AggregateInfo(
            "major units", "population standard deviation of the amounts", _ANYONE
        ),
        Aggregate.OTHERS: AggregateInfo("{other}s", "number of different {other}s", _ANYONE),
        Aggregate.OTHER_FIRST: AggregateInfo("0 or 1", "1 if no other was with own {other}", _ANYONE),
        Aggregate.FRAUD_SHARE: AggregateInfo("share", "known frauds among all, 0 if none", _ANYONE, risk=Risk.RISES),
        Aggregate.AMOUNT_TO_SMALLEST: AggregateInfo(
            "ratio", "own amount divided by the smallest of the others", _ANYONE
        ),
        Aggregate.AMOUNT_REPEATED: AggregateInfo("transactions", "others of own amount and currency", _CARD),
        Aggregate.COUNTRIES: AggregateInfo("countries", "number of different merchant countries", _CARD),
        Aggregate.COUNTRY_JUMP: AggregateInfo("0 or 1", "1 if the latest other was in another country", _CARD),
        Aggregate.DISTANCE_FROM_LAST: AggregateInfo("km", "distance from the latest other place", _CARD),
        Aggregate.SPEED_FROM_LAST: AggregateInfo(
            "km/h", "speed from the latest other place to own", _CARD, risk=Risk.RISES
        ),
        Aggregate.DEVICES: AggregateInfo("devices", "number of different devices", _CARD),
        Aggregate.DEVICE_FIRST: AggregateInfo("0 or 1", "1 if no other was on own device", _CARD),
        Aggregate.CATEGORY_SHARE: AggregateInfo("share", "others of own merchant category", _CARD),
        Aggregate.CHANNEL_SHARE: AggregateInfo("share", "others through own channel", _CARD),
        Aggregate.TIME_OF_DAY_SHARE: AggregateInfo("share", "others within 2 hours of own time of day", _CARD),
        Aggregate.SECONDS_SINCE_LAST: AggregateInfo(
            "seconds", "since the latest other not later than own", _ANYONE, windowed=False
        ),
        Aggregate.FRAUD_RUN: AggregateInfo(
            "transactions", "known frauds since the latest other that is none", _ANYONE, risk=Risk.RISES
        ),
        Aggregate.FRAUD_LATEST: AggregateInfo("0 or 1", "1 if the latest is a known fraud", _ANYONE, risk=Risk.RISES),
        Aggregate.FRAUD_SHARE_OF_LAST_5: AggregateInfo(
            "share", "known frauds among the latest five", _ANYONE, risk=Risk.RISES
        ),
        Aggregate.DAYS_SINCE_FIRST_FRAUD: AggregateInfo("days", "since the first known fraud", _ANYONE),
        Aggregate.AMOUNT_TO_EARLIER_MEAN: AggregateInfo("ratio", "own amount divided by the mean of the others", _CARD),
        Aggregate.AMOUNT_TO_EARLIER_MEDIAN: AggregateInfo(
            "ratio", "own amount divided by the median of the others", _CARD
        ),
        Aggregate.LARGE_AMOUNTS: AggregateInfo(
            "transactions", "others above 2.5 times the median of the others of 30 days", _CARD
        ),
        Aggregate.LARGEST_TO_MEDIAN: AggregateInfo(
            "ratio", "the largest other divided by the median of the others of 30 days", _CARD
        ),
        Aggregate.NIGHT: AggregateInfo("0 or 1", "1 if the hour is 0-6 by the local clock", _NOBODY, windowed=False),
        Aggregate.WEEKEND: AggregateInfo(
            "0 or 1", "1 on Saturday or Sunday by the local clock", _NOBODY, windowed=False
        ),
    }
)


_PREDICTION_INFO: Mapping[PredictionPart, AggregateInfo] = MappingProxyType(
    {
        PredictionPart.VALUE: AggregateInfo("value", "the latest prediction of that name about the card", _PREDICTION),
        PredictionPart.AGE: AggregateInfo("seconds", "since the latest prediction was computed", _PREDICTION),
    }
)


def aggregate_info(aggregate: Computed, entity: Entity) -> AggregateInfo:
    """Return unit, meaning and entities of an aggregate for one entity; a formula applies to any, or to none."""
    if isinstance(aggregate, StoredPrediction):
        return _PREDICTION_INFO[aggregate.part]
    if isinstance(aggregate, OwnValue):
        field = aggregate.field
        return AggregateInfo(field.unit if field else "", field.meaning if field else "", _NOBODY, windowed=False)
    if isinstance(aggregate, Formula):
        windowed = entity is not Entity.NONE
        return AggregateInfo(aggregate.unit, aggregate.meaning, _ANYONE | _NOBODY, windowed=windowed)
    general, other = AGGREGATES[aggregate], OTHER_PARTY.get(entity, "")
    return general._replace(unit=general.unit.format(other=other), meaning=general.meaning.format(other=other))


def aggregate_name(aggregate: Computed, entity: Entity) -> str:
    """Return the aggregate's part of a feature name, for one entity."""
    if isinstance(aggregate, StoredPrediction | OwnValue):
        return aggregate.column
    if isinstance(aggregate, Formula):
        return aggregate.name
    return aggregate.value.replace("other", OTHER_PARTY.get(entity, "other"), 1)
