"""Read a file of rules, TOML or JSON, in which cards are tokens: card numbers are refused.

A file states conditions on fields, declared ones and the contract's, by their names and in their units and words. They
become bounds of the features that have the fields' values.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec

from features.own_fields import CONTRACT_FIELDS, NO_FIELDS, DeclaredFields, FieldKind, OwnValue, category_code
from fraudstream.lab.training.request import RulesFileError
from models.expected import without_pattern
from models.list_rules import ListedText, RuleSet
from stream.redaction import holds_card_number

LARGEST_BYTES = 16 * 1024 * 1024


class FieldCondition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a field must be: a number beyond a bound, in the field's unit; one of some texts; true or false."""

    above: float | None = None
    below: float | None = None
    among: Annotated[tuple[ListedText, ...], msgspec.Meta(min_length=1)] | None = None
    is_: bool | None = msgspec.field(default=None, name="is")

    @property
    def stated(self) -> str:
        """The names of what is stated."""
        named = {"above": self.above, "below": self.below, "among": self.among, "is": self.is_}
        return " and ".join(name for name, value in named.items() if value is not None)


_EXPECTED = {
    FieldKind.NUMBER: ("above or below", ("above", "below", "above and below")),
    FieldKind.CATEGORY: ("among, a list of texts", ("among",)),
    FieldKind.FLAG: ("is, true or false", ("is",)),
}


def read_rules(path: Path, declared: DeclaredFields = NO_FIELDS) -> RuleSet:
    """Read the rules of a file that ends in .toml or .json, whose conditions may be on these fields.

    Raises:
        RulesFileError: it cannot be read, holds no rules, holds a card number, or names a field that is not declared.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise RulesFileError(f"{path}: has more than {LARGEST_BYTES:,} bytes: lists of cards belong into features")
        raw = _decoded(path)
        if problems := list(_with_features(raw, declared)):
            raise RulesFileError("\n".join(f"{path}: {problem}" for problem in problems))
        rules = msgspec.convert(raw, RuleSet)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.DecodeError) as error:
        raise RulesFileError(f"{path}: {without_pattern(error)}") from error
    if problems := list(_card_numbers(rules)):
        raise RulesFileError("\n".join(f"{path}: {problem}" for problem in problems))
    return rules


def _decoded(path: Path) -> Any:  # noqa: ANN401 - what the file holds
    if path.suffix == ".toml":
        return tomllib.loads(path.read_text(encoding="utf-8"))
    if path.suffix == ".json":
        return msgspec.json.decode(path.read_bytes())
    raise RulesFileError(f"{path}: ends in {path.suffix!r}: expected .toml or .json")


def _with_features(raw: Any, declared: DeclaredFields) -> Iterator[str]:  # noqa: ANN401 - what the file holds
    """Make conditions on features of those on fields, in place; yield what prevents it.

    What has another form is left to the decoder of rules, which says where.
    """
    rules = raw.get("rules") if isinstance(raw, dict) else None
    for rule in rules if isinstance(rules, list) else ():
        if isinstance(rule, dict) and isinstance(rule.setdefault("features", {}), dict):
            for problem in _with_features_of(rule, declared):
                yield f"rule {rule.get('name')}: {problem}"


def _with_features_of(rule: dict[str, Any], declared: DeclaredFields) -> Iterator[str]:
    features = rule["features"]
    if any(isinstance(one, dict) and {"among", "codes"} & one.keys() for one in features.values()):
        yield "texts of a category stand under `fields`, by the field's name"
    try:
        conditions = msgspec.convert(rule.pop("fields", {}), dict[str, FieldCondition])
    except msgspec.ValidationError as error:
        yield f"fields: {without_pattern(error)}"
        return
    for name, condition in conditions.items():
        bound = _bound_of(name, condition, declared)
        if isinstance(bound, str):
            yield bound
        elif features.setdefault(OwnValue(name).column, bound) is not bound:
            yield f"{name} is stated under `fields` and under `features`"


def _bound_of(name: str, condition: FieldCondition, declared: DeclaredFields) -> dict[str, Any] | str:
    """Return the bound of a field's feature, as a manifest has it; a text: why there is none."""
    field = declared.found(name)
    if field is None:
        known = ", ".join([*declared.by_name, *CONTRACT_FIELDS])
        return f"no field {name} is declared in FIELDS of the features' module; there are {known}"
    if field.kind is FieldKind.TOKEN:
        return f"{name} is a token, which no feature has and no output shows: rules cannot look at it"
    expected, forms = _EXPECTED[field.kind]
    if condition.stated not in forms:
        return f"{name} is a {field.kind.value}, with {condition.stated or 'nothing'}: expected {expected}"
    if condition.is_ is not None:
        return {"above": 0.5} if condition.is_ else {"below": 0.5}
    texts = condition.among
    if texts is None:
        return {name: value for name in ("above", "below") if (value := getattr(condition, name)) is not None}
    return {"among": list(texts), "codes": [category_code(name, text) for text in texts]}


def _card_numbers(rules: RuleSet) -> Iterator[str]:
    """Yield each rule that lists card numbers; the message does not repeat them."""
    for rule in rules.rules:
        texts = (*rule.cards, *rule.merchants, *(text for one in rule.features.values() for text in one.among))
        if count := sum(map(holds_card_number, texts)):
            yield (
                f"rule {rule.name}: {count} of its entries are card numbers; list the tokens that payments carry in "
                "card_id and merchant_id"
            )
