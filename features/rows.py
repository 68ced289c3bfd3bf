"""The short way to write a row of a feature table: whose history, what of it, over which window.

    card("amount_sum", "7d")                            card_amount_sum_7d
    merchant("fraud_share", "30d", delay="7d")          merchant_fraud_share_delayed_30d
    device("cards", "1d")                               device_cards_1d
    own("is_night")                                     is_night
    paned(merchant("count", "1d", delay="7d"), "1h")    merchant_count_delayed_1d

The name follows from the row, unit and meaning from the aggregate. What can be asked is in `features.aggregates`.
"""

import re
from dataclasses import replace
from difflib import get_close_matches

from features.aggregates import AGGREGATES, Aggregate, aggregate_info, aggregate_name
from features.declaration import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Feature
from features.errors import DeclarationError
from features.formulas import Formula
from features.history.store import ENTITY_TEXT, Entity

_CALLS = {Entity.CARD: "card", Entity.MERCHANT: "merchant", Entity.DEVICE: "device", Entity.NONE: "own"}
_UNITS_MS = {"s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}
RowArguments = tuple[str | Formula, str | None, str | None]
"""What, over which window, with which delay."""
_LENGTH = re.compile(r"([1-9][0-9]{0,5})([smhd])")


def card(
    what: str | Formula, window: str | None = None, *, delay: str | None = None, meaning: str | None = None
) -> Feature:
    """Declare a feature of the card's history.

    Args:
        what: the aggregate as names write it, such as `amount_sum` or `merchants`, or a formula of one's own.
        window: its length, such as `10m`, `1h` or `30d`; None for what looks at no window.
        delay: how long before the transaction the window ends; None: with the transaction, which is in it.
        meaning: other words for the list of features.

    Raises:
        DeclarationError: the row means nothing; the message says what it should be.
    """
    return _row(Entity.CARD, (what, window, delay), meaning)


def merchant(
    what: str | Formula, window: str | None = None, *, delay: str | None = None, meaning: str | None = None
) -> Feature:
    """Declare a feature of the merchant's history; as `card` otherwise."""
    return _row(Entity.MERCHANT, (what, window, delay), meaning)


def device(
    what: str | Formula, window: str | None = None, *, delay: str | None = None, meaning: str | None = None
) -> Feature:
    """Declare a feature of the device's history, undefined where no device is told; as `card` otherwise."""
    return _row(Entity.DEVICE, (what, window, delay), meaning)


def own(what: str, *, meaning: str | None = None) -> Feature:
    """Declare a feature of the transaction alone; as `card` otherwise."""
    return _row(Entity.NONE, (what, None, None), meaning)


def paned(feature: Feature, panes: str) -> Feature:
    """Declare the same feature of a window whose ends are moved back to whole panes of a length, such as `1h`.

    What is old need not be told apart then, so that a merchant with thousands of payments an hour takes little memory.

    Raises:
        DeclarationError: it cannot be told from sums over panes, or panes so wide do not divide its window.
    """
    return replace(feature, resolution_ms=_length_ms(panes, "pane"))


def _row(entity: Entity, arguments: RowArguments, meaning: str | None) -> Feature:
    what, window, delay = arguments
    try:
        aggregate = what if isinstance(what, Formula) else _aggregate(entity, what)
        holds = aggregate_info(aggregate, entity)
        _check_window(holds.windowed, entity, arguments)
        return Feature(
            entity,
            aggregate,
            None if window is None else _length_ms(window, "window"),
            0 if delay is None else _length_ms(delay, "delay"),
            holds.unit,
            meaning or holds.meaning,
        )
    except DeclarationError as error:
        raise DeclarationError(f"{_source_text(entity, arguments)}: {error}") from None


def _check_window(windowed: bool, entity: Entity, arguments: RowArguments) -> None:  # noqa: FBT001 - what it is
    """Refuse a row without the window that its aggregate needs, or with one that it has no use for."""
    what, window, delay = arguments
    if windowed and window is None:
        raise DeclarationError(f"it needs a window, as in {_source_text(entity, (what, '7d', delay))}")
    if not windowed and (window is not None or delay is not None):
        raise DeclarationError(f"it looks at no window: write {_source_text(entity, (what, None, None))}")


def _aggregate(entity: Entity, what: str) -> Aggregate:
    """Return the aggregate of that name, or say whom to ask for it, or what there is."""
    known = _aggregates_of(entity)
    if what in known:
        return known[what]
    others = [_CALLS[kind] for kind in Entity if what in _aggregates_of(kind)]
    if others:
        raise DeclarationError(f"{ENTITY_TEXT[entity]} cannot be asked for it, but {' or '.join(others)} can")
    near = get_close_matches(str(what), known, 1)
    guess = f", did you mean {near[0]!r}? There are" if near else ", there are"
    raise DeclarationError(f"there is no {what!r} of {ENTITY_TEXT[entity]}{guess}: {', '.join(sorted(known))}")


def _aggregates_of(entity: Entity) -> dict[str, Aggregate]:
    return {aggregate_name(aggregate, entity): aggregate for aggregate, info in AGGREGATES.items() if entity in info.of}


def _length_ms(text: str, part: str) -> int:
    found = _LENGTH.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise DeclarationError(f"the {part} {text!r} is not a whole number and s, m, h or d, as in '10m', '1h', '30d'")
    return int(found[1]) * _UNITS_MS[found[2]]


def _source_text(entity: Entity, arguments: RowArguments) -> str:
    """Return a row as its author wrote it, by which he finds it."""
    what, window, delay = arguments
    parts = [what.name if isinstance(what, Formula) else repr(what)]
    if window is not None:
        parts.append(repr(window))
    if delay is not None:
        parts.append(f"delay={delay!r}")
    return f"{_CALLS[entity]}({', '.join(parts)})"
