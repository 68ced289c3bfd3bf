"""What can be asked of a history: each aggregate's name, of whom it can be asked, its unit and what it says.

Nothing here computes one. `windows` and the modules beside it do; the docstrings there hold formula, edges and source.
"""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from features.formulas import Formula
from features.history.store import Entity


class Aggregate(Enum):
    """What is made of the transactions of a window; the value is the middle of the feature's name."""

    COUNT = "count"
    AMOUNT_SUM = "amount_sum"
    AMOUNT_MEAN = "amount_mean"
    AMOUNT_MAX = "amount_max"
    AMOUNT_TO_MEAN = "amount_to_mean"
    AMOUNT_DEVIATION = "amount_deviation"
    OTHERS = "others"
    """Distinct other parties; in a name `merchants` of a card, `cards` of a merchant or a device."""
    OTHER_FIRST = "other_first"
    """Whether the other party is new here; in a name `merchant_first` of a card, `card_first` of the others."""
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
"""What is computed of windows of several lengths at once."""


MERGEABLE = frozenset({*MULTI_WINDOW, Aggregate.AMOUNT_TO_MEAN, Aggregate.AMOUNT_DEVIATION})
"""What can be told from sums over panes."""


class AggregateInfo(NamedTuple):
    """What holds of an aggregate wherever it is asked; `{other}` in a unit is the entity's other party."""

    unit: str
    meaning: str
    of: frozenset[Entity]
    windowed: bool = True


_ANYONE = frozenset({Entity.CARD, Entity.MERCHANT, Entity.DEVICE})
_CARD = frozenset({Entity.CARD})
"""Only a card's records tell place, country, device and clock."""
_NOBODY = frozenset({Entity.NONE})
OTHER_PARTY: Mapping[Entity, str] = MappingProxyType(
    {Entity.CARD: "merchant", Entity.MERCHANT: "card", Entity.DEVICE: "card"}
)

AGGREGATES: Mapping[Aggregate, AggregateInfo] = MappingProxyType(
    {
        Aggregate.COUNT: AggregateInfo("transactions", "how many there are", _ANYONE),
        Aggregate.AMOUNT_SUM: AggregateInfo("major units", "what the amounts come to", _ANYONE),
        Aggregate.AMOUNT_MEAN: AggregateInfo("major units", "sum of the amounts by count", _ANYONE),
        Aggregate.AMOUNT_MAX: AggregateInfo("major units", "the largest amount", _ANYONE),
        Aggregate.AMOUNT_TO_MEAN: AggregateInfo("ratio", "own amount by the mean", _ANYONE),
        Aggregate.AMOUNT_DEVIATION: AggregateInfo(
            "major units", "population standard deviation of the amounts", _ANYONE
        ),
        Aggregate.OTHERS: AggregateInfo("{other}s", "how many different {other}s", _ANYONE),
        Aggregate.OTHER_FIRST: AggregateInfo("0 or 1", "1 where no other one was with own {other}", _ANYONE),
        Aggregate.FRAUD_SHARE: AggregateInfo("share", "known frauds among all, 0 of none", _ANYONE),
        Aggregate.AMOUNT_TO_SMALLEST: AggregateInfo("ratio", "own amount by the smallest of the others", _ANYONE),
        Aggregate.AMOUNT_REPEATED: AggregateInfo("transactions", "others of own amount and currency", _CARD),
        Aggregate.COUNTRIES: AggregateInfo("countries", "how many different countries of merchants", _CARD),
        Aggregate.COUNTRY_JUMP: AggregateInfo("0 or 1", "1 where the latest other told another one", _CARD),
        Aggregate.DISTANCE_FROM_LAST: AggregateInfo("km", "from the place of the latest other", _CARD),
        Aggregate.SPEED_FROM_LAST: AggregateInfo("km/h", "from the place of the latest other to own", _CARD),
        Aggregate.DEVICES: AggregateInfo("devices", "how many different devices", _CARD),
        Aggregate.DEVICE_FIRST: AggregateInfo("0 or 1", "1 where no other one was on own device", _CARD),
        Aggregate.CATEGORY_SHARE: AggregateInfo("share", "others of own merchant category", _CARD),
        Aggregate.CHANNEL_SHARE: AggregateInfo("share", "others through own channel", _CARD),
        Aggregate.TIME_OF_DAY_SHARE: AggregateInfo("share", "others within 2 hours of own time of day", _CARD),
        Aggregate.SECONDS_SINCE_LAST: AggregateInfo(
            "seconds", "since the latest other one not later than own", _ANYONE, windowed=False
        ),
        Aggregate.NIGHT: AggregateInfo("0 or 1", "hour 0-6 by the transaction's own clock", _NOBODY, windowed=False),
        Aggregate.WEEKEND: AggregateInfo("0 or 1", "Saturday or Sunday by its own clock", _NOBODY, windowed=False),
    }
)


def aggregate_info(aggregate: Aggregate | Formula, entity: Entity) -> AggregateInfo:
    """Return what holds of an aggregate that is asked of an entity; a formula can be asked of anyone's history."""
    if isinstance(aggregate, Formula):
        return AggregateInfo(aggregate.unit, aggregate.meaning, _ANYONE)
    general, other = AGGREGATES[aggregate], OTHER_PARTY.get(entity, "")
    return general._replace(unit=general.unit.format(other=other), meaning=general.meaning.format(other=other))


def aggregate_name(aggregate: Aggregate | Formula, entity: Entity) -> str:
    """Return how names write an aggregate that is asked of an entity."""
    if isinstance(aggregate, Formula):
        return aggregate.name
    return aggregate.value.replace("other", OTHER_PARTY.get(entity, "other"), 1)
