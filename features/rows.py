"""Functions that declare a row of a feature table: entity, aggregate and window.

    card("amount_sum", "7d")                            card_amount_sum_7d
    merchant("fraud_share", "30d", delay="7d")          merchant_fraud_share_delayed_30d
    device("cards", "1d")                               device_cards_1d
    prediction("teacher", delay="6h", max_age="2d")     prediction_teacher_delayed_2d
    prediction_age("teacher", delay="6h", max_age="2d") prediction_teacher_age_delayed_2d
    own("is_night")                                     is_night
    own("account_age_days")                             own_account_age_days
    paned(merchant("count", "1d", delay="7d"), "1h")    merchant_count_delayed_1d

The name follows from the row; unit and meaning come from the aggregate (`features.aggregates`).
"""

import re
from dataclasses import replace
from difflib import get_close_matches

from features.aggregates import (
    AGGREGATES,
    Aggregate,
    PredictionPart,
    Risk,
    StoredPrediction,
    aggregate_info,
    aggregate_name,
)
from features.declaration import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Feature
from features.errors import DeclarationError
from features.formulas import Formula
from features.history.store import ENTITY_TEXT, Entity
from features.own_fields import CONTRACT_FIELDS, OwnValue

RowArguments = tuple[str | Formula, str | None, str | None]
"""Aggregate, window and delay, as the caller wrote them."""
_CALLS = {Entity.CARD: "card", Entity.MERCHANT: "merchant", Entity.DEVICE: "device", Entity.NONE: "own"}
_UNITS_MS = {"s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}
_LENGTH = re.compile(r"([1-9][0-9]{0,5})([smhd])")


def card(
    what: str | Formula,
    window: str | None = None,
    *,
    delay: str | None = None,
    meaning: str | None = None,
    risk: str | None = None,
) -> Feature:
    """Declare a feature of the card's history.

    Args:
        what: the aggregate as in feature names, such as `amount_sum` or `merchants`, or a formula.
        window: the window's length, such as `10m`, `1h` or `30d`; None for an aggregate without a window.
        delay: how long before the transaction the window ends; None: at the transaction, which is included.
        meaning: replaces the aggregate's description in lists of features.
        risk: `rises` if a higher value never means a lower risk of fraud, `falls` if never a higher one, `any` if
            neither is known; `train --monotone` keeps to it. None: as the aggregate says.

    Raises:
        DeclarationError: the row is invalid; the message says what is expected.
    """
    return _row(Entity.CARD, (what, window, delay), meaning, risk)


def merchant(
    what: str | Formula,
    window: str | None = None,
    *,
    delay: str | None = None,
    meaning: str | None = None,
    risk: str | None = None,
) -> Feature:
    """Declare a feature of the merchant's history; arguments as for `card`."""
    return _row(Entity.MERCHANT, (what, window, delay), meaning, risk)


def device(
    what: str | Formula,
    window: str | None = None,
    *,
    delay: str | None = None,
    meaning: str | None = None,
    risk: str | None = None,
) -> Feature:
    """Declare a feature of the device's history, undefined without a device; arguments as for `card`."""
    return _row(Entity.DEVICE, (what, window, delay), meaning, risk)


def own(what: str | Formula, *, meaning: str | None = None, risk: str | None = None) -> Feature:
    """Declare a feature of the transaction alone.

    Args:
        what: an aggregate without a history, such as `is_night`; a field that the module declares in `FIELDS`, or one
            of the contract (`features.own_fields.CONTRACT_FIELDS`); or a formula, which takes one's own payment alone.
        meaning: as for `card`.
        risk: as for `card`.

    Raises:
        DeclarationError: the row is invalid. Whether a field is declared shows when the module has been imported.
    """
    if isinstance(what, Formula) or what in _aggregates_of(Entity.NONE):
        return _row(Entity.NONE, (what, None, None), meaning, risk)
    value = OwnValue(what, CONTRACT_FIELDS.get(what))
    info = aggregate_info(value, Entity.NONE)
    fixed = info.risk if risk is None else _risk(risk)
    return Feature(Entity.NONE, value, None, 0, info.unit, meaning or info.meaning, risk=fixed)


def prediction(name: str, delay: str, max_age: str, *, meaning: str | None = None) -> Feature:
    """Declare the value of a prediction from storage (`prediction/1`) about the card as a feature.

    A payment at time t reads the prediction of this name that was computed last, at t - delay or before.

    Args:
        name: the prediction's name, as its records have it.
        delay: how long after its computation a prediction may come, such as `6h`; one that comes later is never read.
        max_age: how old it may be, such as `2d`: counted from its computation.
        meaning: what it predicts, for the documentation.

    Raises:
        DeclarationError: the row is invalid; the message says what is expected.
    """
    return _prediction(StoredPrediction(name), (delay, max_age), meaning)


def prediction_age(name: str, delay: str, max_age: str, *, meaning: str | None = None) -> Feature:
    """Declare how many seconds ago the prediction was computed that `prediction` reads; arguments as there."""
    return _prediction(StoredPrediction(name, PredictionPart.AGE), (delay, max_age), meaning)


def _prediction(stored: StoredPrediction, lengths: tuple[str, str], meaning: str | None) -> Feature:
    delay, max_age = lengths
    info = aggregate_info(stored, Entity.PREDICTION)
    call = "prediction" if stored.part is PredictionPart.VALUE else "prediction_age"
    try:
        return Feature(
            Entity.PREDICTION,
            stored,
            _length_ms(max_age, "greatest age"),
            _length_ms(delay, "delay"),
            info.unit,
            meaning or info.meaning,
        )
    except DeclarationError as error:
        raise DeclarationError(f"{call}({stored.name!r}, {delay!r}, {max_age!r}): {error}") from None


def paned(feature: Feature, panes: str) -> Feature:
    """Declare the same feature over a window whose ends are moved back to multiples of a pane length, such as `1h`.

    Old transactions can then be merged into panes, so that a merchant with thousands of payments an hour takes
    little memory.

    Raises:
        DeclarationError: the aggregate cannot be computed from panes, or the panes do not divide its window.
    """
    return replace(feature, resolution_ms=_length_ms(panes, "pane"))


def _row(entity: Entity, arguments: RowArguments, meaning: str | None, risk: str | None) -> Feature:
    what, window, delay = arguments
    try:
        aggregate = what if isinstance(what, Formula) else _aggregate(entity, what)
        info = aggregate_info(aggregate, entity)
        _check_window(info.windowed, entity, arguments)
        return Feature(
            entity,
            aggregate,
            None if window is None else _length_ms(window, "window"),
            0 if delay is None else _length_ms(delay, "delay"),
            info.unit,
            meaning or info.meaning,
            risk=info.risk if risk is None else _risk(risk),
        )
    except DeclarationError as error:
        raise DeclarationError(f"{_source_text(entity, arguments)}: {error}") from None


def _risk(text: str) -> Risk:
    try:
        return Risk(text)
    except ValueError:
        raise DeclarationError(f"its risk is 'rises', 'falls' or 'any', not {text!r}") from None


def _check_window(windowed: bool, entity: Entity, arguments: RowArguments) -> None:  # noqa: FBT001 - AggregateInfo.windowed
    """Refuse a row without the window that its aggregate needs, or with a window that it does not use."""
    what, window, delay = arguments
    if windowed and window is None:
        raise DeclarationError(f"it needs a window, as in {_source_text(entity, (what, '7d', delay))}")
    if not windowed and (window is not None or delay is not None):
        raise DeclarationError(f"it has no window: write {_source_text(entity, (what, None, None))}")


def _aggregate(entity: Entity, what: str) -> Aggregate:
    """Return the aggregate of that name; the error lists what the entity has, or which entities have this one."""
    known = _aggregates_of(entity)
    if what in known:
        return known[what]
    others = [_CALLS[kind] for kind in Entity if what in _aggregates_of(kind)]
    if others:
        raise DeclarationError(f"{ENTITY_TEXT[entity]} does not have it: use {' or '.join(others)}")
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
    """Return the row as its author wrote it, so that it is found in the source."""
    what, window, delay = arguments
    parts = [what.name if isinstance(what, Formula) else repr(what)]
    if window is not None:
        parts.append(repr(window))
    if delay is not None:
        parts.append(f"delay={delay!r}")
    return f"{_CALLS[entity]}({', '.join(parts)})"
