"""The arms of a split as commands and events carry them: what is wrong with them, and what an event divides."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from fraudstream_client.arms import CANARY, LIVE, WHOLE_BP
from fraudstream_client.field_types import FORM_OF_TOKENS
from guards.excluded import ExcludedCards
from guards.shares import share_text
from models.arms import Arm, Split
from models.commands import (
    FORM_OF_EXCLUDED,
    MOST_EXCLUDED,
    AcceptedArm,
    Command,
    Event,
    ExcludedCard,
    RequestedArm,
    Token,
)
from models.decline_cap import MOST_NOTED_ARMS
from models.expected import LONGEST_QUOTATION, expected

MOST_ARMS = MOST_NOTED_ARMS - 1
"""Beside `live`: the windows of the cap on declines of so many arms have room in a commit's note."""
_RESERVED = (LIVE, CANARY)


def arms_problems(value: object) -> Iterator[str]:
    """Yield everything that is wrong with the `arms` of a `split`; nothing if it can be read as arms."""
    if not isinstance(value, Mapping) or not value:
        yield 'arms: expected an object such as {"a": {"model": "81d07a5b", "share_bp": 1000}}'
        return
    if len(value) > MOST_ARMS:
        yield f"arms: {len(value)}, more than {MOST_ARMS} beside {LIVE}"
        return
    shares = []
    for name, fields in value.items():
        yield from _name_problems(name)
        yield from _arm_problems(_shown(name), fields)
        shares.append(_field(fields, "share_bp"))
    total = sum(share for share in shares if isinstance(share, int))
    if total > WHOLE_BP:
        yield f"arms: their shares add up to {share_text(total)}; what is left of 100% is {LIVE}'s, so lower some"


def exclude_problems(value: object) -> Iterator[str]:
    """Yield everything that is wrong with the `exclude` of a `split`; nothing if it is a list of hashes and ids."""
    yield from _listed_problems(value, ExcludedCard, f"each is {FORM_OF_EXCLUDED}")


def card_problems(card_ids: Sequence[str]) -> Iterator[str]:
    """Yield everything that is wrong with the ids of cards that are to be excluded."""
    yield from _listed_problems(card_ids, Token, f"a `card_id` is {FORM_OF_TOKENS}")


def _listed_problems(value: object, kind: Any, form: str) -> Iterator[str]:  # noqa: ANN401 - what annotates a type
    if not isinstance(value, list | tuple):
        yield "exclude: expected a list of cards"
    elif len(value) > MOST_EXCLUDED:
        yield f"exclude: {len(value):,} cards, more than {MOST_EXCLUDED:,}"
    elif wrong := sum(not _is_like(card, kind) for card in value):
        yield f"exclude: {wrong:,} of {len(value):,} are no cards; {form}"


def excluded_of(record: Command | Event) -> ExcludedCards:
    """Return the cards that a command or an event excludes."""
    return ExcludedCards.of(record.exclude, record.exclude_key_check)


def _is_like(value: object, kind: Any) -> bool:  # noqa: ANN401 - a type, or what annotates one
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _name_problems(name: object) -> Iterator[str]:
    if name in _RESERVED:
        yield f"arms.{name}: no arm of a split may be called {name}; choose another name"
        return
    if not _is_like(name, Token):
        yield f"arms: the name of an arm is {FORM_OF_TOKENS}, not {_shown(name)!r}"


def _arm_problems(name: str, fields: object) -> Iterator[str]:
    for field in msgspec.structs.fields(RequestedArm):
        value = _field(fields, field.name)
        if value is None:
            yield f"arms.{name}.{field.name}: missing; an arm has model and share_bp"
            continue
        try:
            msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            yield f"arms.{name}.{field.name}: expected {expected(field.type)}"


def _field(fields: object, name: str) -> object:
    return fields.get(name) if isinstance(fields, Mapping) else getattr(fields, name, None)


def _shown(name: object) -> str:
    text = str(name)
    return text if len(text) <= LONGEST_QUOTATION // 2 else f"{len(text)} characters"


def accepted_arms(split: Split) -> dict[str, AcceptedArm]:
    """Return a split's arms as an event has them."""
    return {arm.name: AcceptedArm(arm.model, arm.share_bp) for arm in split.arms}


def split_of(event: Event) -> Split | None:
    """Return the split that an accepted `split` begins; None if the event declares none."""
    if event.arms is None or event.salt is None or any(True for _ in arms_problems(event.arms)):
        return None
    arms = tuple(Arm(name, one.model, one.share_bp) for name, one in sorted(event.arms.items()))
    return Split(arms, event.salt, excluded_of(event))
