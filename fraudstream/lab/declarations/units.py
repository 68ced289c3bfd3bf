"""Units that fields usually have, and the unit that a name states: `account_age_days`, `ip_distance_km`.

Units are for readers; a common word is understood by all of them.
"""

from collections.abc import Sequence

from stream.contract.iso import CURRENCY_DECIMALS

_BY_WORD = {
    "years": ("years", "year", "yrs"),
    "months": ("months", "month"),
    "weeks": ("weeks", "week"),
    "days": ("days", "day"),
    "hours": ("hours", "hrs"),
    "minutes": ("minutes", "mins"),
    "seconds": ("seconds", "secs", "sec"),
    "ms": ("ms", "millis", "milliseconds"),
    "km": ("km", "kilometers", "kilometres"),
    "miles": ("miles",),
    "meters": ("meters", "metres"),
    "km/h": ("kmh", "kph"),
    "percent": ("pct", "percent", "percentage"),
    "share": ("share", "ratio", "fraction"),
    "score": ("score", "risk", "probability", "proba"),
    "degrees": ("latitude", "longitude", "lat", "lon", "lng", "long"),
    "count": ("count", "counts", "num", "n", "number"),
    "bytes": ("bytes",),
    "minor units": ("cents", "minor"),
    "major units": ("amount", "amt", "balance", "limit", "price", "spend", "income", "salary", "total"),
}
_UNIT_OF_WORD = {word: unit for unit, words in _BY_WORD.items() for word in words}
_CURRENCIES = frozenset(code.lower() for code in CURRENCY_DECIMALS)
MONEY = frozenset(_BY_WORD["major units"])
"""Words of names that stand for amounts of money."""
_OTHERS = {"number", "ratio", "%", "category", "token", "0 or 1", "hour", "m", "s", "transactions", "cards", "events"}
UNITS = frozenset({*_BY_WORD, *_UNIT_OF_WORD, *_CURRENCIES, *_OTHERS})
"""All common units, in lower case."""
_STATED = frozenset({"years", "months", "weeks", "days", "hours", "minutes", "seconds", "ms", "km", "miles", "percent"})
"""Units that a name states without doubt."""


def unit_of_name(name: str) -> str:
    """Return the unit that the last word of a field's name states without doubt, such as `days`; else an empty text."""
    unit = _UNIT_OF_WORD.get(name.rpartition("_")[2], "")
    return unit if unit in _STATED else ""


def guessed_unit(words: Sequence[str], currency: str) -> str:
    """Return the unit that the words of a column's name suggest, amounts in `currency`; an empty text if none does."""
    of_currency = next((word.upper() for word in words if word in _CURRENCIES), "")
    for word in reversed(words):
        unit = _UNIT_OF_WORD.get(word, "")
        if unit == "major units":
            return of_currency or currency or unit
        if unit:
            return unit
    return of_currency
